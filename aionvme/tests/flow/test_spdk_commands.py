"""The I/O commands under SPDK's names, without a loop and in one."""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
import pytest

from aionvme import StatusCode, spdk
from aionvme.mock import MockController, NamespaceConfig
from aionvme.tests.flow.spdk_stage import BLOCK, Stage, both_ways, memory, stage

pytestmark = pytest.mark.filterwarnings("error")

FUA = spdk.SPDK_NVME_IO_FLAGS_FORCE_UNIT_ACCESS
FIRST, SECOND = spdk.SPDK_NVME_IO_FLAGS_FUSE_FIRST, spdk.SPDK_NVME_IO_FLAGS_FUSE_SECOND
MIB = 1 << 20

# For calls whose arguments are put together.
loose: Any = spdk


class Scattered:
    """Segments, as SPDK's two callbacks name them; it is the callbacks' argument itself."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts
        self.at = 0
        self.resets: list[int] = []
        self.cpl: Any = None

    def reset(self, offset: int) -> None:
        self.resets.append(offset)
        self.at = 0

    def next(self) -> Any:
        self.at += 1
        return self.parts[self.at - 1]


def reset_sgl(scattered: Scattered, offset: int) -> None:
    scattered.reset(offset)


def next_sge(scattered: Scattered) -> Any:
    return scattered.next()


SGL = (reset_sgl, next_sge)


def with_metadata() -> MockController:
    return MockController(namespaces=[NamespaceConfig(size=MIB, metadata=8, pi=1)], timeout=0.5)


async def _written(on: Stage, data: bytes, lba: int = 0) -> None:
    await on.ok(spdk.spdk_nvme_ns_cmd_write(on.ns, on.qp, memory(data), lba, 1, on.cb, None, 0))


@both_ways
async def test_write_and_read() -> None:
    """What is written is on the namespace, with flags that reach the command, and is read back."""
    async with stage() as on:
        await on.ok(
            spdk.spdk_nvme_ns_cmd_write(on.ns, on.qp, memory(b"hello", 1024), 3, 2, on.cb, "arg", FUA)
        )
        assert on.mock.peek(1, 3)[:5] == b"hello"
        into = memory(nbytes=1024)
        assert spdk.spdk_nvme_ns_cmd_read(on.ns, on.qp, into, 3, 2, on.cb, "arg", 0) == 0
        ((arg, _cpl),) = await on.done()
        assert (arg, bytes(into[:5])) == ("arg", b"hello")


@both_ways
async def test_compare() -> None:
    """Equal blocks succeed, and others end in Compare Failure, which is an error to SPDK's macro."""
    async with stage() as on:
        await _written(on, b"same")
        await on.ok(spdk.spdk_nvme_ns_cmd_compare(on.ns, on.qp, memory(b"same"), 0, 1, on.cb, None, 0))
        code = spdk.spdk_nvme_ns_cmd_compare(on.ns, on.qp, memory(b"other"), 0, 1, on.cb, None, 0)
        await on.fails(code, StatusCode.COMPARE_FAILURE)


@both_ways
async def test_metadata() -> None:
    """Metadata of a write is on the namespace and comes back, in each of the functions that take it."""
    async with stage(with_metadata()) as on:
        data, md = memory(b"data"), memory(b"\x00\x00\x12\x34\x00\x00\x00\x05", 8)
        call: Any = (5, 1, on.cb, None)
        tags = (0x00FF, 0xAB34)  # the mask leaves the lower half of what is stored
        check = spdk.SPDK_NVME_IO_FLAGS_PRCHK_APPTAG
        await on.ok(loose.spdk_nvme_ns_cmd_write_with_md(on.ns, on.qp, data, md, *call, 0, 0xFFFF, 0x1234))
        assert on.mock.peek_metadata(1, 5) == bytes(md)
        into = memory(nbytes=8)
        await on.ok(loose.spdk_nvme_ns_cmd_read_with_md(on.ns, on.qp, data, into, *call, check, *tags))
        assert bytes(into) == bytes(md)
        await on.ok(loose.spdk_nvme_ns_cmd_compare_with_md(on.ns, on.qp, data, md, *call, check, *tags))
        code = loose.spdk_nvme_ns_cmd_read_with_md(on.ns, on.qp, data, into, *call, check, 0xFFFF, 0x4321)
        assert code == 0
        ((_arg, cpl),) = await on.done()
        assert spdk.spdk_nvme_cpl_is_pi_error(cpl)


@both_ways
async def test_metadata_of_scattered_memory() -> None:
    """The functions with callbacks and metadata take SPDK's order of arguments."""
    async with stage(with_metadata()) as on:
        md, into = memory(b"\x00\x00\x12\x34\x00\x00\x00\x05", 8), memory(nbytes=8)
        parts = Scattered(memory(b"data"))
        call: Any = (5, 1, on.cb, parts, 0, *SGL)
        await on.ok(loose.spdk_nvme_ns_cmd_writev_with_md(on.ns, on.qp, *call, md, 0xFFFF, 0x1234))
        await on.ok(loose.spdk_nvme_ns_cmd_readv_with_md(on.ns, on.qp, *call, into, 0xFFFF, 0x1234))
        assert bytes(into) == on.mock.peek_metadata(1, 5) == bytes(md)
        await on.ok(loose.spdk_nvme_ns_cmd_comparev_with_md(on.ns, on.qp, *call, md, 0xFFFF, 0x1234))


@both_ways
async def test_scattered() -> None:
    """Callbacks name the memory of a write, a compare and a read; the callback's argument is theirs as well."""
    async with stage() as on:
        out = Scattered(memory(b"one"), memory(b"two"))
        assert loose.spdk_nvme_ns_cmd_writev(on.ns, on.qp, 8, 2, on.cb, out, 0, *SGL) == 0
        ((arg, cpl),) = await on.done()
        assert arg is out
        assert spdk.spdk_nvme_cpl_is_success(cpl)
        assert set(out.resets) == {0}
        assert [on.mock.peek(1, lba)[:3] for lba in (8, 9)] == [b"one", b"two"]
        await on.ok(loose.spdk_nvme_ns_cmd_comparev(on.ns, on.qp, 8, 2, on.cb, out, 0, *SGL))
        back = Scattered(memory(), memory())
        await on.ok(loose.spdk_nvme_ns_cmd_readv(on.ns, on.qp, 8, 2, on.cb, back, 0, *SGL))
        assert [bytes(part[:3]) for part in back.parts] == [b"one", b"two"]


@both_ways
async def test_addresses_and_bit_buckets() -> None:
    """A segment is also an address and a length, and UINT64_MAX as the address is a bit bucket."""
    async with stage() as on:
        on.mock.poke(1, 0, b"A" * BLOCK + b"B" * BLOCK)
        into = memory()
        address = np.frombuffer(into, np.uint8).ctypes.data
        parts = Scattered((0xFFFFFFFFFFFFFFFF, BLOCK), (address, BLOCK))
        await on.ok(loose.spdk_nvme_ns_cmd_readv(on.ns, on.qp, 0, 2, on.cb, parts, 0, *SGL))
        assert bytes(into) == b"B" * BLOCK


@both_ways
async def test_callbacks_that_fail() -> None:
    """A callback that says an error, and one that is not there, are -EINVAL, and nothing is called back."""
    async with stage() as on:
        broken = Scattered(-errno.EFAULT)
        assert loose.spdk_nvme_ns_cmd_readv(on.ns, on.qp, 0, 1, on.cb, broken, 0, *SGL) == -errno.EINVAL
        none: Any = None
        code = spdk.spdk_nvme_ns_cmd_readv(on.ns, on.qp, 0, 1, on.cb, None, 0, none, none)
        assert code == -errno.EINVAL
        assert spdk.spdk_nvme_qpair_process_completions(on.qp, 0) == 0
        assert on.calls == []


@both_ways
async def test_extended_options() -> None:
    """The _ext and _iov functions take their flags and metadata from a structure, and None for none."""
    async with stage(with_metadata()) as on:
        md = memory(b"\x00\x00\x12\x34\x00\x00\x00\x05", 8)
        opts = spdk.spdk_nvme_ns_cmd_ext_io_opts(metadata=md, apptag_mask=0xFFFF, apptag=0x1234, io_flags=FUA)
        data = memory(b"data")
        await on.ok(spdk.spdk_nvme_ns_cmd_write_ext(on.ns, on.qp, data, 5, 1, on.cb, None, opts))
        parts = Scattered(data)
        await on.ok(loose.spdk_nvme_ns_cmd_writev_ext(on.ns, on.qp, 5, 1, on.cb, parts, *SGL, opts))
        await on.ok(spdk.spdk_nvme_ns_cmd_write_iov(on.ns, on.qp, 5, 1, on.cb, None, [data], 1, opts))
        assert on.mock.peek_metadata(1, 5) == bytes(md)
        opts.metadata = memory(nbytes=8)
        into = memory()
        await on.ok(spdk.spdk_nvme_ns_cmd_read_ext(on.ns, on.qp, into, 5, 1, on.cb, None, opts))
        assert bytes(into[:4]) == b"data"
        assert bytes(opts.metadata) == bytes(md)
        await on.ok(loose.spdk_nvme_ns_cmd_readv_ext(on.ns, on.qp, 5, 1, on.cb, Scattered(into), *SGL, opts))
        await on.ok(spdk.spdk_nvme_ns_cmd_read_iov(on.ns, on.qp, 5, 1, on.cb, None, [into, None], 1, opts))


@both_ways
async def test_extended_options_that_are_not_had() -> None:
    """Memory domains, accelerators and access hints are -ENOTSUP; more buffers than there are, -EINVAL."""
    async with stage() as on:
        into = memory()
        for opts in (
            spdk.spdk_nvme_ns_cmd_ext_io_opts(memory_domain=object()),
            spdk.spdk_nvme_ns_cmd_ext_io_opts(accel_sequence=object()),
            spdk.spdk_nvme_ns_cmd_ext_io_opts(cdw13=1),
        ):
            code = spdk.spdk_nvme_ns_cmd_read_ext(on.ns, on.qp, into, 0, 1, on.cb, None, opts)
            assert code == -errno.ENOTSUP
        code = spdk.spdk_nvme_ns_cmd_read_iov(on.ns, on.qp, 0, 1, on.cb, None, [into], 2, None)
        assert code == -errno.EINVAL
        await on.ok(spdk.spdk_nvme_ns_cmd_read_ext(on.ns, on.qp, into, 0, 1, on.cb, None, None))


@both_ways
async def test_write_zeroes() -> None:
    """The blocks read as zeroes, deallocated or not."""
    async with stage() as on:
        for flags in (0, 1 << 25, FUA):
            await _written(on, b"data", 7)
            await on.ok(spdk.spdk_nvme_ns_cmd_write_zeroes(on.ns, on.qp, 7, 1, on.cb, None, flags))
            assert on.mock.peek(1, 7) == bytes(BLOCK)


@both_ways
async def test_write_uncorrectable() -> None:
    """Reads fail until the blocks are written again."""
    async with stage() as on:
        await on.ok(spdk.spdk_nvme_ns_cmd_write_uncorrectable(on.ns, on.qp, 7, 1, on.cb, None))
        code = spdk.spdk_nvme_ns_cmd_read(on.ns, on.qp, memory(), 7, 1, on.cb, None, 0)
        await on.fails(code, StatusCode.UNRECOVERED_READ_ERROR)
        code = spdk.spdk_nvme_ns_cmd_verify(on.ns, on.qp, 7, 1, on.cb, None, 0)
        await on.fails(code, StatusCode.UNRECOVERED_READ_ERROR)
        await _written(on, b"data", 7)
        await on.ok(spdk.spdk_nvme_ns_cmd_verify(on.ns, on.qp, 7, 1, on.cb, None, FUA))


@both_ways
async def test_flush() -> None:
    """It is a command of its own, without data."""
    async with stage() as on:
        await on.ok(spdk.spdk_nvme_ns_cmd_flush(on.ns, on.qp, on.cb, None))
        on.mock.fail(StatusCode.INTERNAL_ERROR, qid=on.qp.qid, opcode=spdk.SPDK_NVME_OPC_FLUSH)
        await on.fails(spdk.spdk_nvme_ns_cmd_flush(on.ns, on.qp, on.cb, None), StatusCode.INTERNAL_ERROR)


@both_ways
async def test_dataset_management() -> None:
    """Ranges are SPDK's structures or pairs, as many as are said; attributes of a range reach the controller."""
    async with stage() as on:
        deallocate = spdk.SPDK_NVME_DSM_ATTR_DEALLOCATE
        ranges: Any
        for ranges in (
            [(3, 1), (4, 1)],
            [spdk.spdk_nvme_dsm_range(0, 1, 3), (4, 1)],
            [spdk.spdk_nvme_dsm_range(1, 1, 3), (4, 1)],
        ):
            await _written(on, b"gone", 3)
            await _written(on, b"kept", 4)
            code = spdk.spdk_nvme_ns_cmd_dataset_management(on.ns, on.qp, deallocate, ranges, 1, on.cb, None)
            await on.ok(code)
            assert (on.mock.peek(1, 3)[:4], on.mock.peek(1, 4)[:4]) == (bytes(4), b"kept")
            code = spdk.spdk_nvme_ns_cmd_dataset_management(on.ns, on.qp, deallocate, ranges, 3, on.cb, None)
            assert code == -errno.EINVAL


@both_ways
async def test_copy() -> None:
    """Ranges are SPDK's structures, 0's based, or pairs that count from 1."""
    async with stage() as on:
        await _written(on, b"here", 3)
        ranges: Any
        for dest, ranges in ((10, [(3, 1)]), (20, [spdk.spdk_nvme_scc_source_range(3, 0), (0, 1)])):
            await on.ok(spdk.spdk_nvme_ns_cmd_copy(on.ns, on.qp, ranges, 1, dest, on.cb, None))
            assert on.mock.peek(1, dest)[:4] == b"here"
        code = spdk.spdk_nvme_ns_cmd_copy(on.ns, on.qp, [(3, 1)], 1, 3, on.cb, None)
        assert code == -errno.EINVAL


@both_ways
async def test_fused_pair() -> None:
    """A compare and the write after it are one: both succeed, or the write is not done and says why."""
    async with stage() as on:
        await _written(on, b"old")
        old, new = memory(b"old"), memory(b"new")

        def pair() -> None:
            assert spdk.spdk_nvme_ns_cmd_compare(on.ns, on.qp, old, 0, 1, on.cb, "compare", FIRST) == 0
            assert spdk.spdk_nvme_ns_cmd_write(on.ns, on.qp, new, 0, 1, on.cb, "write", SECOND) == 0

        pair()
        assert [(arg, cpl.status.sc) for arg, cpl in await on.done(2)] == [("compare", 0), ("write", 0)]
        assert on.mock.peek(1, 0)[:3] == b"new"
        pair()
        assert [(arg, cpl.status.sct, cpl.status.sc) for arg, cpl in await on.done(2)] == [
            ("compare", spdk.SPDK_NVME_SCT_MEDIA_ERROR, spdk.SPDK_NVME_SC_COMPARE_FAILURE),
            ("write", spdk.SPDK_NVME_SCT_GENERIC, spdk.SPDK_NVME_SC_ABORTED_FAILED_FUSED),
        ]


@both_ways
async def test_half_of_a_fused_pair() -> None:
    """A compare that no write follows is aborted for it; a write that follows none, and other halves, are -EINVAL."""
    async with stage() as on:
        buf = memory()
        assert spdk.spdk_nvme_ns_cmd_compare(on.ns, on.qp, buf, 0, 1, on.cb, "compare", FIRST) == 0
        other = spdk.spdk_nvme_ns_cmd_write(on.ns, on.qp, buf, 1, 1, on.cb, "write", SECOND)
        assert other == -errno.EINVAL
        assert spdk.spdk_nvme_ns_cmd_read(on.ns, on.qp, buf, 0, 1, on.cb, "read", 0) == 0
        ended = {arg: cpl.status.sc for arg, cpl in await on.done(2)}
        assert ended == {"compare": spdk.SPDK_NVME_SC_ABORTED_MISSING_FUSED, "read": 0}
        for code in (
            spdk.spdk_nvme_ns_cmd_write(on.ns, on.qp, buf, 0, 1, on.cb, None, SECOND),
            spdk.spdk_nvme_ns_cmd_write(on.ns, on.qp, buf, 0, 1, on.cb, None, FIRST),
            spdk.spdk_nvme_ns_cmd_read(on.ns, on.qp, buf, 0, 1, on.cb, None, FIRST),
            loose.spdk_nvme_ns_cmd_readv(on.ns, on.qp, 0, 1, on.cb, Scattered(buf), FIRST, *SGL),
            spdk.spdk_nvme_ns_cmd_compare(on.ns, on.qp, buf, 0, 1, on.cb, None, FIRST | FUA),
        ):
            assert code == -errno.EINVAL
        assert on.calls == []


@both_ways
async def test_streams() -> None:
    """The streams directive of a write reaches the controller; of a read it is -EINVAL."""
    async with stage() as on:
        opts = spdk.spdk_nvme_ns_cmd_ext_io_opts(
            io_flags=spdk.SPDK_NVME_IO_FLAGS_STREAMS_DIRECTIVE, cdw13=5 << 16
        )
        buf = memory()
        code = spdk.spdk_nvme_ns_cmd_write_ext(on.ns, on.qp, buf, 0, 1, on.cb, None, opts)
        # The mock has no directives, and says so: the bits were there.
        await on.fails(code, StatusCode.INVALID_FIELD)
        code = spdk.spdk_nvme_ns_cmd_read_ext(on.ns, on.qp, buf, 0, 1, on.cb, None, opts)
        assert code == -errno.EINVAL


@both_ways
async def test_reservations() -> None:
    """A key is registered, a reservation acquired, reported and released."""
    async with stage() as on:
        key = spdk.spdk_nvme_reservation_register_data(nrkey=0xABCD)
        done: Any = (on.cb, None)
        await on.ok(
            loose.spdk_nvme_ns_cmd_reservation_register(
                on.ns,
                on.qp,
                key,
                False,
                spdk.SPDK_NVME_RESERVE_REGISTER_KEY,
                spdk.SPDK_NVME_RESERVE_PTPL_NO_CHANGES,
                *done,
            )
        )
        exclusive = spdk.SPDK_NVME_RESERVE_WRITE_EXCLUSIVE
        await on.ok(
            loose.spdk_nvme_ns_cmd_reservation_acquire(
                on.ns,
                on.qp,
                spdk.spdk_nvme_reservation_acquire_data(crkey=0xABCD),
                False,
                spdk.SPDK_NVME_RESERVE_ACQUIRE,
                exclusive,
                *done,
            )
        )
        report = bytearray(256)
        await on.ok(loose.spdk_nvme_ns_cmd_reservation_report(on.ns, on.qp, report, 256, *done))
        assert report[4] == exclusive
        assert report[5] == 1  # one registrant
        assert (0xABCD).to_bytes(8, "little") in report
        release = spdk.SPDK_NVME_RESERVE_RELEASE
        key_data = spdk.spdk_nvme_reservation_key_data(0x1111)
        code = loose.spdk_nvme_ns_cmd_reservation_release(
            on.ns, on.qp, key_data, False, release, exclusive, *done
        )
        await on.fails(code, StatusCode.RESERVATION_CONFLICT)
        key_data = spdk.spdk_nvme_reservation_key_data(0xABCD)
        await on.ok(
            loose.spdk_nvme_ns_cmd_reservation_release(
                on.ns, on.qp, bytes(key_data), False, release, exclusive, *done
            )
        )


@both_ways
async def test_reservation_options() -> None:
    """The key is ignored where that is said, and what happens at a loss of power is set."""
    async with stage() as on:
        register = spdk.SPDK_NVME_RESERVE_REGISTER_KEY
        replace = spdk.SPDK_NVME_RESERVE_REPLACE_KEY
        persist = spdk.SPDK_NVME_RESERVE_PTPL_PERSIST_POWER_LOSS
        key = spdk.spdk_nvme_reservation_register_data(nrkey=0xABCD)
        call = spdk.spdk_nvme_ns_cmd_reservation_register
        await on.ok(call(on.ns, on.qp, key, False, register, persist, on.cb, None))
        report = bytearray(64)
        await on.ok(spdk.spdk_nvme_ns_cmd_reservation_report(on.ns, on.qp, report, 64, on.cb, None))
        assert report[9] == 1  # PTPLS
        other = spdk.spdk_nvme_reservation_register_data(crkey=0x1111, nrkey=0x2222)
        code = call(on.ns, on.qp, other, False, replace, 0, on.cb, None)
        await on.fails(code, StatusCode.RESERVATION_CONFLICT)
        await on.ok(call(on.ns, on.qp, other, True, replace, 0, on.cb, None))


@both_ways
async def test_reservations_with_bad_payloads() -> None:
    """Keys that are too short, and a report that cannot be written or is no multiple of 4, are -EINVAL."""
    async with stage() as on:
        for call in (
            spdk.spdk_nvme_ns_cmd_reservation_register,
            spdk.spdk_nvme_ns_cmd_reservation_acquire,
            spdk.spdk_nvme_ns_cmd_reservation_release,
        ):
            assert call(on.ns, on.qp, bytes(4), False, 0, 1, on.cb, None) == -errno.EINVAL
        report = spdk.spdk_nvme_ns_cmd_reservation_report
        for payload, nbytes in ((bytes(64), 64), (bytearray(64), 62), (bytearray(64), 68)):
            assert report(on.ns, on.qp, payload, nbytes, on.cb, None) == -errno.EINVAL


@both_ways
async def test_raw() -> None:
    """A command is 64 bytes or SPDK's structure, with data and metadata; the direction is in its opcode."""
    async with stage(with_metadata()) as on:
        command: Any = {"nsid": 1, "cdw10": 6, "cdw14": 6}
        write = spdk.spdk_nvme_cmd(opc=spdk.SPDK_NVME_OPC_WRITE, **command)
        md = memory(b"\x00\x00\x00\x00\x00\x00\x00\x06", 8)
        code = spdk.spdk_nvme_ctrlr_cmd_io_raw_with_md(
            on.ctrlr, on.qp, write, memory(b"raw"), BLOCK, md, on.cb, None
        )
        await on.ok(code)
        assert (on.mock.peek(1, 6)[:3], on.mock.peek_metadata(1, 6)) == (b"raw", bytes(md))
        flush = bytes(spdk.spdk_nvme_cmd(opc=spdk.SPDK_NVME_OPC_FLUSH, nsid=1))
        await on.ok(spdk.spdk_nvme_ctrlr_cmd_io_raw(on.ctrlr, on.qp, flush, None, 0, on.cb, None))
        code = spdk.spdk_nvme_ctrlr_io_cmd_raw_no_payload_build(on.ctrlr, on.qp, flush, on.cb, None)
        await on.ok(code)
        bad = spdk.spdk_nvme_cmd(opc=0x3F, nsid=1)
        code = spdk.spdk_nvme_ctrlr_cmd_io_raw(on.ctrlr, on.qp, bad, None, 0, on.cb, None)
        await on.fails(code, StatusCode.INVALID_OPCODE)


@both_ways
async def test_raw_with_addresses_of_the_callers() -> None:
    """A command whose pointers are made by the caller reaches the memory that they name."""
    async with stage() as on:
        on.mock.poke(1, 2, b"mine" + bytes(BLOCK - 4))
        buf = on.ctrlr.dma_alloc(BLOCK)
        read = spdk.spdk_nvme_cmd(opc=spdk.SPDK_NVME_OPC_READ, nsid=1, prp1=buf.iova, cdw10=2)
        code = spdk.spdk_nvme_ctrlr_io_cmd_raw_no_payload_build(on.ctrlr, on.qp, read, on.cb, None)
        await on.ok(code)
        assert bytes(memoryview(buf)[:4]) == b"mine"


@both_ways
async def test_raw_scattered() -> None:
    """Scattered memory of a raw command is written and read by way of a copy."""
    async with stage() as on:
        write = spdk.spdk_nvme_cmd(opc=spdk.SPDK_NVME_OPC_WRITE, nsid=1, cdw10=4)
        read = spdk.spdk_nvme_cmd(opc=spdk.SPDK_NVME_OPC_READ, nsid=1, cdw10=4)
        call: Any = (on.cb,)
        out = Scattered(bytearray(b"a" * 100), bytearray(b"b" * 500))
        code = loose.spdk_nvme_ctrlr_cmd_iov_raw_with_md(
            on.ctrlr, on.qp, write, BLOCK, None, *call, out, *SGL
        )
        await on.ok(code)
        assert on.mock.peek(1, 4) == b"a" * 100 + b"b" * 412
        back = Scattered(bytearray(90), (None, 20), bytearray(500))
        code = loose.spdk_nvme_ctrlr_cmd_iov_raw_with_md(
            on.ctrlr, on.qp, read, BLOCK, None, *call, back, *SGL
        )
        await on.ok(code)
        assert back.parts[0] == b"a" * 90
        assert back.parts[2][:402] == b"b" * 402
        assert back.parts[2][402:] == bytes(98)


@both_ways
async def test_bad_arguments() -> None:
    """What cannot be is -EINVAL, a wrong type an exception, and nothing reaches the controller or a callback."""
    async with stage() as on:
        buf = memory()
        before = on.mock.queue(on.qp.qid).fetched
        for code in (
            spdk.spdk_nvme_ns_cmd_read(on.ns, on.qp, buf, on.ns.nblocks, 1, on.cb, None, 0),
            spdk.spdk_nvme_ns_cmd_read(on.ns, on.qp, buf, 0, 0, on.cb, None, 0),
            spdk.spdk_nvme_ns_cmd_read(on.ns, on.qp, buf, 0, 2, on.cb, None, 0),
            spdk.spdk_nvme_ns_cmd_read(on.ns, on.qp, bytearray(BLOCK), 0, 1, on.cb, None, 0),
            spdk.spdk_nvme_ns_cmd_read(on.ns, on.qp, buf, 0, 1, on.cb, None, 1 << 2),
            spdk.spdk_nvme_ns_cmd_read_with_md(on.ns, on.qp, buf, buf, 0, 1, on.cb, None, 0, 0, 0),
            spdk.spdk_nvme_ctrlr_cmd_io_raw(on.ctrlr, on.qp, bytes(60), None, 0, on.cb, None),
            spdk.spdk_nvme_ctrlr_cmd_io_raw(on.ctrlr, on.qp, bytes(64), buf, BLOCK + 1, on.cb, None),
        ):
            assert code == -errno.EINVAL
        text: Any = "text"
        with pytest.raises(TypeError):
            spdk.spdk_nvme_ns_cmd_read(on.ns, on.qp, buf, text, 1, on.cb, None, 0)
        assert spdk.spdk_nvme_qpair_process_completions(on.qp, 0) == 0
        assert on.calls == []
        assert on.mock.queue(on.qp.qid).fetched == before
