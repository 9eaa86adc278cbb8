"""Read, Write, Compare and their vectors: whatever the memory, PRPs or SGLs, what was written is what is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.qpair.sgl import SglCallbacks
from aionvme.spec.status import StatusCode
from aionvme.tests.flow.io.spoken import OK, SPELLINGS, alloc, code, joined, noise, say, scattered, spelled
from aionvme.tests.flow.support import rig

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]

SGL = pytest.mark.parametrize("sgl", [None, True, False])
PAGE = 4096


@spelled
@SGL
async def test_read_write_compare(spelling: str, sgl: bool | None) -> None:
    """What is written is stored, what is stored is read, and a compare tells whether it is the same."""
    async with rig(MockController(timeout=0.5, size=1 << 20)) as r:
        data = noise(5 * PAGE)
        out, back = alloc(r, data), alloc(r, 5 * PAGE)
        cpl = await say(spelling, r.qp, "write", r.ns, out, 3, 40, sgl=sgl)
        assert code(cpl) == OK
        assert r.mock.peek(1, 3, 40) == data
        assert r.mock.peek(1, 2) == r.mock.peek(1, 43) == bytes(512)
        await say(spelling, r.qp, "read", r.ns, back, 3, 40, sgl=sgl)
        assert bytes(back) == data
        assert code(await say(spelling, r.qp, "compare", r.ns, back, 3, 40, sgl=sgl)) == OK
        r.mock.poke(1, 42, bytes(512))
        assert (
            code(await say(spelling, r.qp, "compare", r.ns, back, 3, 40, sgl=sgl))
            == StatusCode.COMPARE_FAILURE
        )
        assert code(await say(spelling, r.qp, "compare", r.ns, back, 3, 39, sgl=sgl)) == OK
        await r.works()


@spelled
async def test_which_pointers_were_used(spelling: str) -> None:
    """Up to two pages go by PRPs, more in one piece by one SGL descriptor; either can be had on demand."""
    async with rig() as r:
        buf = r.ctrlr.dma_alloc(16 * PAGE)
        used = []
        for nblocks, sgl in ((1, None), (16, None), (17, None), (17, False), (1, True)):
            method = r.qp.read if spelling == "await" else r.qp.submit_read
            request = method(r.ns, buf, 0, nblocks, sgl=sgl)
            await request
            used.append(request.used_sgl)
        assert used == [False, False, True, False, True]


SPANS = {
    "pages": [(3 * PAGE, PAGE), (PAGE, PAGE), (5 * PAGE, PAGE), (0, PAGE)],
    "first and last odd": [(PAGE - 512, 512), (2 * PAGE, PAGE), (4 * PAGE, 3 * PAGE), (7 * PAGE, 512)],
    "dwords": [(4, 8), (100, 4), (2048, 1012), (5 * PAGE + 20, 512)],
    "bytes": [(1, 511), (1001, 3), (2001, 1022)],
    "neighbours": [(8, 512), (520, 512), (1032, 512)],
}


@spelled
@pytest.mark.parametrize("name", SPANS)
async def test_vectors(spelling: str, name: str) -> None:
    """Segments of any length anywhere are written and read in their order, by SGLs where PRPs cannot."""
    async with rig(MockController(timeout=0.5, size=1 << 20)) as r:
        spans = SPANS[name]
        nbytes = sum(length for _, length in spans)
        out, back = alloc(r, noise(8 * PAGE)), alloc(r, 8 * PAGE)
        parts = scattered(out, *spans)
        await say(spelling, r.qp, "writev", r.ns, parts, 9, nbytes // 512)
        assert r.mock.peek(1, 9, nbytes // 512) == joined(parts)
        into = scattered(back, *spans)
        await say(spelling, r.qp, "readv", r.ns, into, 9, nbytes // 512)
        assert joined(into) == joined(parts)
        assert bytes(back).count(0xA5) >= 8 * PAGE - nbytes
        assert code(await say(spelling, r.qp, "comparev", r.ns, into, 9, nbytes // 512)) == OK
        memoryview(into[-1])[0] ^= 1
        cpl = await say(spelling, r.qp, "comparev", r.ns, into, 9, nbytes // 512)
        assert code(cpl) == StatusCode.COMPARE_FAILURE


@spelled
@pytest.mark.parametrize("sgls", [0, 2])
async def test_bounce(spelling: str, sgls: int) -> None:
    """What neither PRPs nor the controller's SGLs can say is refused, and goes by a copy if that is asked for."""
    async with rig(MockController(timeout=0.5, size=1 << 20, sgls=sgls)) as r:
        out, back = alloc(r, noise(PAGE)), alloc(r, PAGE)
        spans = [(1, 511), (1001, 3), (2001, 1022)]
        parts, into = scattered(out, *spans), scattered(back, *spans)
        for method in (r.qp.writev, r.qp.readv, r.qp.comparev):
            with pytest.raises(aionvme.UsageError, match="bounce=True"):
                method(r.ns, parts, 9, 3)
        await say(spelling, r.qp, "writev", r.ns, parts, 9, 3, bounce=True)
        assert r.mock.peek(1, 9, 3) == joined(parts)
        await say(spelling, r.qp, "readv", r.ns, into, 9, 3, bounce=True)
        assert joined(into) == joined(parts)
        assert bytes(back).count(0xA5) >= PAGE - 1536
        assert code(await say(spelling, r.qp, "comparev", r.ns, into, 9, 3, bounce=True)) == OK


@spelled
async def test_bounce_of_memory_that_is_not_mapped(spelling: str) -> None:
    """A copy reaches memory that the device does not; a read that failed changes none of it."""
    async with rig(MockController(timeout=0.5, size=1 << 20)) as r:
        parts = [bytearray(noise(300, 1)), bytearray(noise(212, 2))]
        await say(spelling, r.qp, "writev", r.ns, parts, 1, 1, bounce=True)
        assert r.mock.peek(1, 1) == b"".join(parts)
        into = [bytearray(100), bytearray(412)]
        r.mock.fail(StatusCode.UNRECOVERED_READ_ERROR, opcode=2)
        assert code(await say(spelling, r.qp, "readv", r.ns, into, 1, 1, bounce=True)) == 0x281
        assert b"".join(into) == bytes(512)
        await say(spelling, r.qp, "readv", r.ns, into, 1, 1, bounce=True)
        assert b"".join(into) == b"".join(parts)


@spelled
async def test_bit_buckets(spelling: str) -> None:
    """What falls into a bucket is read and kept nowhere: what is around it goes where it belongs."""
    async with rig(MockController(timeout=0.5, size=1 << 20)) as r:
        data = noise(4 * 512)
        r.mock.poke(1, 7, data)
        back = alloc(r, PAGE)
        first, last = scattered(back, (0, 100), (2000, 48))
        await say(spelling, r.qp, "readv", r.ns, [first, (None, 1900), last], 7, 4)
        assert bytes(first) == data[:100]
        assert bytes(last) == data[2000:]
        assert bytes(back).count(0xA5) >= PAGE - 148
        assert code(await say(spelling, r.qp, "readv", r.ns, [(None, 2048)], 7, 4)) == OK


async def test_bit_buckets_that_a_controller_has_not() -> None:
    """Without SGLS bit 16 a bucket is refused, and a copy stands in for it if that is asked for; in a write always."""
    async with rig(MockController(timeout=0.5, size=1 << 20, sgls=1)) as r:
        data = noise(512)
        r.mock.poke(1, 7, data)
        back = alloc(r, PAGE)
        iov: list[Any] = [(None, 500), memoryview(back)[:12]]
        with pytest.raises(aionvme.UsageError, match="bit bucket"):
            r.qp.readv(r.ns, iov, 7, 1)
        with pytest.raises(aionvme.UsageError, match="bit bucket"):
            r.qp.writev(r.ns, iov, 7, 1)
        await r.qp.readv(r.ns, iov, 7, 1, bounce=True)
        assert bytes(back)[:12] == data[500:]
        await r.works()


@spelled
async def test_callbacks_give_the_segments(spelling: str) -> None:
    """`reset_sgl_fn` is told where to begin, `next_sge_fn` gives buffers, addresses and buckets, until it is enough."""
    async with rig(MockController(timeout=0.5, size=1 << 20)) as r:
        data = noise(1024)
        r.mock.poke(1, 7, data)
        back = alloc(r, PAGE)
        told: list[Any] = []

        def give(arg: Any) -> Any:
            told.append(arg)
            return segments.pop(0)

        segments: list[Any] = [
            memoryview(back)[:512],
            (None, 500),
            (address(back) + 1000, 12),
            "never asked for",
        ]
        callbacks = SglCallbacks(lambda arg, offset: told.append((arg, offset)), give, "mine")
        assert code(await say(spelling, r.qp, "readv", r.ns, callbacks, 7, 2)) == OK
        assert told == [("mine", 0), "mine", "mine", "mine"]
        assert bytes(back)[:512] == data[:512]
        assert bytes(back)[1000:1012] == data[1012:]


def address(buf: Any) -> int:
    """Where a buffer is in this process."""
    return int(np.frombuffer(buf, np.uint8).ctypes.data)


@pytest.mark.parametrize("count", [1, 2, 64, 65, 1024, 4096])
@pytest.mark.parametrize("sgls", [0, 1])
async def test_many_segments(count: int, sgls: int) -> None:
    """From 1 to 4096 segments are one call: pages without SGLs, and with them blocks in any order."""
    async with rig(MockController(timeout=0.5, size=64 << 20, sgls=sgls)) as r:
        size = 512 if sgls else PAGE
        nblocks = count * size // 512
        data = noise(count * size)
        out, back = alloc(r, data), alloc(r, count * size)
        order = [(7 * n + 3) % count for n in range(count)] if count % 7 else list(range(count))
        spans = [(number * size, size) for number in order]
        await r.qp.writev(r.ns, scattered(out, *spans), 0, nblocks)
        assert r.mock.peek(1, 0, nblocks) == joined(scattered(out, *spans))
        await r.qp.readv(r.ns, scattered(back, *spans), 0, nblocks)
        assert bytes(back) == data


@spelled
@pytest.mark.parametrize("options", [{"mdts": 0}, {"mdts": 1}, {"noiob": 7}, {"noiob": 8, "mdts": 2}])
async def test_split_transfers(spelling: str, options: dict[str, Any]) -> None:
    """Longer than MDTS and over boundaries, a transfer is all there, and ends as one."""
    async with rig(MockController(timeout=0.5, size=4 << 20, **options), depth=3) as r:
        data = noise(200 * 512)
        out, back = alloc(r, data), alloc(r, 200 * 512)
        for name, buf in (("write", out), ("read", back)):
            assert code(await say(spelling, r.qp, name, r.ns, buf, 5, 200)) == OK
        assert r.mock.peek(1, 5, 200) == bytes(back) == data


@spelled
async def test_first_error_of_a_split_transfer(spelling: str) -> None:
    """One piece fails: that status is the call's, and the rest is not posted."""
    async with rig(MockController(timeout=0.5, mdts=1), depth=1) as r:
        buf = r.ctrlr.dma_alloc(160 * 512)
        r.mock.fail(StatusCode.UNRECOVERED_READ_ERROR, opcode=2, nth=3)
        before = r.mock.queue(1).fetched
        assert code(await say(spelling, r.qp, "read", r.ns, buf, 0, 160)) == 0x281
        assert r.mock.queue(1).fetched - before == 3
        await r.works()


@spelled
async def test_flush(spelling: str) -> None:
    """A flush succeeds."""
    async with rig() as r:
        assert code(await say(spelling, r.qp, "flush", r.ns)) == OK


@spelled
async def test_raw_with_data(spelling: str) -> None:
    """Commands as 64 bytes move data like others."""
    async with rig() as r:
        data = noise(3 * PAGE)
        out, back = alloc(r, data), alloc(r, 3 * PAGE)
        sqe = bytearray(64)
        sqe[0], sqe[4], sqe[40], sqe[48] = 1, 1, 9, 23
        assert code(await say(spelling, r.qp, "io_raw", sqe, data=out, write=True)) == OK
        assert r.mock.peek(1, 9, 24) == data
        sqe[0] = 2
        assert code(await say(spelling, r.qp, "io_raw", sqe, data=back)) == OK
        assert bytes(back) == data


@pytest.mark.parametrize("flags", [aionvme.IoFlags.FORCE_UNIT_ACCESS, aionvme.IoFlags.LIMITED_RETRY])
async def test_flags_are_taken(flags: aionvme.IoFlags) -> None:
    """Reads, writes and compares take them."""
    async with rig() as r:
        for name in ("write", "read", "compare"):
            for spelling in SPELLINGS:
                assert code(await say(spelling, r.qp, name, r.ns, r.buf, 0, 1, io_flags=flags)) == OK
