"""Admin commands, namespaces and queries under SPDK's names, without a loop and in one."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

import aionvme
from aionvme import StatusCode, spdk
from aionvme.mock import MockController, NamespaceConfig
from aionvme.spec.entries import Sqe
from aionvme.tests.flow.spdk_stage import both_ways, breath, memory, stage, until, value

ALL_NS = spdk.SPDK_NVME_GLOBAL_NS_TAG
MIB = 1 << 20

# For calls whose arguments are put together.
loose: Any = spdk


class Seen:
    """Admin commands of one opcode as the mock sees them, which it does not have by itself."""

    def __init__(self, mock: MockController, opcode: int, *, nbytes: int = 0, dw0: int = 0) -> None:
        self.sqes: list[Sqe] = []
        self.data: list[bytes] = []
        self._machine = mock._machine
        self._nbytes = nbytes
        self._dw0 = dw0
        mock._admin._commands[opcode] = self._execute

    def _execute(self, sqe: Sqe) -> int:
        self.sqes.append(sqe)
        if self._nbytes:
            status, data = self._machine.data_out(sqe.prp1, sqe.prp2, self._nbytes)
            assert status == 0
            self.data.append(data)
        return self._dw0


# -- log pages -------------------------------------------------------------------------------------------------------


@both_ways
async def test_log_page() -> None:
    """A page is in the payload when its callback is called, and not before; any writable buffer is one."""
    async with stage() as on:
        page = bytearray(512)
        log = spdk.SPDK_NVME_LOG_HEALTH_INFORMATION
        before = on.mock.queue(0).posted
        code = spdk.spdk_nvme_ctrlr_cmd_get_log_page(on.ctrlr, log, ALL_NS, page, 512, 0, on.cb, "arg")
        assert code == 0
        await until(lambda: on.mock.queue(0).posted > before)
        for _ in range(20):
            await breath()
        assert page == bytes(512)
        assert on.calls == []
        ((arg, cpl),) = await on.admin()
        assert (arg, spdk.spdk_nvme_cpl_is_success(cpl)) == ("arg", True)
        assert 273 < int.from_bytes(page[1:3], "little") < 400  # kelvin


@both_ways
async def test_log_page_as_announced() -> None:
    """The announcement's form has no offset."""
    async with stage() as on:
        page = memory(nbytes=64)
        log = spdk.SPDK_NVME_LOG_ERROR
        assert spdk.spdk_nvme_ctrlr_cmd_get_log_page(on.ctrlr, log, ALL_NS, page, 64, on.cb, "arg") == 0
        ((arg, cpl),) = await on.admin()
        assert (arg, spdk.spdk_nvme_cpl_is_success(cpl)) == ("arg", True)


@both_ways
async def test_log_page_of_several_commands() -> None:
    """What is longer than one command transfers is in the payload at the one callback."""
    async with stage(MockController(mdts=8192)) as on:
        content = bytes(range(256)) * 80
        on.mock.set_log_page(0xC7, content)
        page = bytearray(len(content))
        code = spdk.spdk_nvme_ctrlr_cmd_get_log_page(on.ctrlr, 0xC7, ALL_NS, page, len(page), 0, on.cb, "arg")
        assert code == 0
        ((arg, cpl),) = await on.admin()
        assert (arg, spdk.spdk_nvme_cpl_is_success(cpl), bytes(page)) == ("arg", True, content)
        assert on.calls == []


@both_ways
async def test_log_page_with_further_bits() -> None:
    """Bits of command dwords 10, 11 and 14, and an offset, reach the controller beside the driver's own."""
    async with stage() as on:
        seen = Seen(on.mock, spdk.SPDK_NVME_OPC_GET_LOG_PAGE)
        page = bytearray(1024)
        code = spdk.spdk_nvme_ctrlr_cmd_get_log_page_ext(
            on.ctrlr, 0x0D, 1, page, 1024, 4096, 1 << 15, 5 << 16, 7, on.cb, None
        )
        assert code == 0
        await on.admin()
        (sqe,) = seen.sqes
        assert (sqe.nsid, sqe.cdw10) == (1, 0xFF << 16 | 1 << 15 | 0x0D)
        assert (sqe.cdw11, sqe.cdw12, sqe.cdw13, sqe.cdw14) == (5 << 16, 4096, 0, 7)


@both_ways
async def test_bad_log_pages() -> None:
    """Sizes, offsets and payloads that cannot be are -EINVAL; a page that is not there is the controller's error."""
    async with stage() as on:
        page = bytearray(512)
        for payload, size, offset in (
            (page, 0, 0),
            (page, 510, 0),
            (page, 516, 0),
            (bytes(512), 512, 0),
            (None, 512, 0),
            (page, 512, 2),
        ):
            code = spdk.spdk_nvme_ctrlr_cmd_get_log_page(
                on.ctrlr, 2, ALL_NS, payload, size, offset, on.cb, None
            )
            assert code == -errno.EINVAL
        with pytest.raises(TypeError, match="offset"):
            spdk.spdk_nvme_ctrlr_cmd_get_log_page(on.ctrlr, 2, ALL_NS, page, 512, on.cb, None, None)
        assert spdk.spdk_nvme_ctrlr_cmd_get_log_page(on.ctrlr, 0xC5, ALL_NS, page, 512, 0, on.cb, None) == 0
        ((_arg, cpl),) = await on.admin()
        assert cpl.status == StatusCode.INVALID_LOG_PAGE


@both_ways
async def test_what_is_supported() -> None:
    """The mandatory pages and features are, and what no controller has is not."""
    async with stage() as on:
        has_page = spdk.spdk_nvme_ctrlr_is_log_page_supported
        has_feature = spdk.spdk_nvme_ctrlr_is_feature_supported
        assert has_page(on.ctrlr, spdk.SPDK_NVME_LOG_ERROR)
        assert not has_page(on.ctrlr, 0xC5)
        assert has_page(on.ctrlr, 0x0D)
        assert has_feature(on.ctrlr, spdk.SPDK_NVME_FEAT_ARBITRATION)
        assert not has_feature(on.ctrlr, 0xC5)


# -- features --------------------------------------------------------------------------------------------------------


@both_ways
async def test_features() -> None:
    """A feature that is set is read back in dword 0 of the completion."""
    async with stage() as on:
        threshold = spdk.SPDK_NVME_FEAT_TEMPERATURE_THRESHOLD
        code = spdk.spdk_nvme_ctrlr_cmd_set_feature(on.ctrlr, threshold, 321, 0, None, 0, on.cb, "set")
        assert code == 0
        await on.admin()
        assert spdk.spdk_nvme_ctrlr_cmd_get_feature(on.ctrlr, threshold, 0, None, 0, on.cb, "get") == 0
        ((arg, cpl),) = await on.admin()
        assert (arg, cpl.dw0) == ("get", 321)
        assert spdk.spdk_nvme_ctrlr_cmd_get_feature(on.ctrlr, 0xC5, 0, None, 0, on.cb, None) == 0
        ((_arg, cpl),) = await on.admin()
        assert spdk.spdk_nvme_cpl_is_error(cpl)


@both_ways
async def test_features_with_data() -> None:
    """Data of a feature goes from and to the payload."""
    async with stage() as on:
        stamp = (123456789).to_bytes(6, "little") + bytes(2)
        feature = spdk.SPDK_NVME_FEAT_TIMESTAMP
        code = spdk.spdk_nvme_ctrlr_cmd_set_feature(on.ctrlr, feature, 0, 0, stamp, 8, on.cb, None)
        assert code == 0
        await on.admin()
        back = bytearray(8)
        assert spdk.spdk_nvme_ctrlr_cmd_get_feature(on.ctrlr, feature, 0, back, 8, on.cb, None) == 0
        await on.admin()
        assert 0 <= int.from_bytes(back[:6], "little") - 123456789 < 100_000  # milliseconds


@both_ways
async def test_features_of_a_namespace() -> None:
    """Every argument is in the command as the controller sees it."""
    async with stage() as on:
        got = Seen(on.mock, spdk.SPDK_NVME_OPC_GET_FEATURES)
        done = Seen(on.mock, spdk.SPDK_NVME_OPC_SET_FEATURES, nbytes=16)
        code = spdk.spdk_nvme_ctrlr_cmd_get_feature_ns(on.ctrlr, 5, 6, None, 0, on.cb, None, 7)
        assert code == 0
        data = bytes(range(16))
        code = spdk.spdk_nvme_ctrlr_cmd_set_feature_ns(on.ctrlr, 5, 6, 8, data, 16, on.cb, None, 7)
        assert code == 0
        await on.admin(2)
        assert [(sqe.nsid, sqe.cdw10, sqe.cdw11) for sqe in got.sqes] == [(7, 5, 6)]
        assert [(sqe.nsid, sqe.cdw10, sqe.cdw11, sqe.cdw12) for sqe in done.sqes] == [(7, 5, 6, 8)]
        assert done.data == [data]


@both_ways
async def test_bad_feature_payloads() -> None:
    """A payload that is shorter than its size, or cannot be filled in, is -EINVAL."""
    async with stage() as on:
        assert spdk.spdk_nvme_ctrlr_cmd_get_feature(on.ctrlr, 14, 0, bytearray(4), 8, on.cb, None) == -22
        assert spdk.spdk_nvme_ctrlr_cmd_get_feature(on.ctrlr, 14, 0, bytes(8), 8, on.cb, None) == -22
        assert spdk.spdk_nvme_ctrlr_cmd_set_feature(on.ctrlr, 14, 0, 0, bytes(4), 8, on.cb, None) == -22


# -- raw, and abort --------------------------------------------------------------------------------------------------


@both_ways
async def test_raw_admin() -> None:
    """A command of 64 bytes with memory of every kind that a read takes; without it; and one that is refused."""
    async with stage() as on:
        page = memory(nbytes=4096)
        identify = spdk.spdk_nvme_cmd(opc=spdk.SPDK_NVME_OPC_IDENTIFY, cdw10=1)
        assert spdk.spdk_nvme_ctrlr_cmd_admin_raw(on.ctrlr, identify, page, 4096, on.cb, "arg") == 0
        ((arg, cpl),) = await on.admin()
        assert (arg, spdk.spdk_nvme_cpl_is_success(cpl)) == ("arg", True)
        assert page[:2] == on.ctrlr.data.vid.to_bytes(2, "little")
        get = bytes(spdk.spdk_nvme_cmd(opc=spdk.SPDK_NVME_OPC_GET_FEATURES, cdw10=4))
        assert spdk.spdk_nvme_ctrlr_cmd_admin_raw(on.ctrlr, get, None, 0, on.cb, None) == 0
        await on.admin()
        bad = spdk.spdk_nvme_cmd(opc=0xC1)
        assert spdk.spdk_nvme_ctrlr_cmd_admin_raw(on.ctrlr, bad, None, 0, on.cb, None) == 0
        ((_arg, cpl),) = await on.admin()
        assert cpl.status == StatusCode.INVALID_OPCODE
        for cmd, buf, size in (
            (bytes(63), None, 0),
            (identify, bytearray(4096), 4096),
            (identify, page, 8192),
        ):
            assert spdk.spdk_nvme_ctrlr_cmd_admin_raw(on.ctrlr, cmd, buf, size, on.cb, None) == -errno.EINVAL


@both_ways
async def test_abort_of_what_is_not_there() -> None:
    """An Abort of a command that has ended is a success that aborted nothing, also on the admin queue."""
    async with stage() as on, stage() as other:
        for qpair in (on.qp, None):
            assert spdk.spdk_nvme_ctrlr_cmd_abort(on.ctrlr, qpair, 0x7FFF, on.cb, None) == 0
            ((_arg, cpl),) = await on.admin()
            assert not spdk.spdk_nvme_cpl_is_abort_success(cpl)
        code = spdk.spdk_nvme_ctrlr_cmd_abort(on.ctrlr, other.qp, 1, on.cb, None)
        assert code == -errno.EINVAL
        raw = spdk.spdk_nvme_cmd()
        code = spdk.spdk_nvme_ctrlr_cmd_io_raw(on.ctrlr, other.qp, raw, None, 0, on.cb, None)
        assert code == -errno.EINVAL


@both_ways
async def test_admin_callbacks() -> None:
    """One that raises takes none of the others with it, one may submit and poll, and None is none."""
    async with stage() as on:
        polled: list[int] = []

        def again(_arg: Any, _cpl: Any) -> None:
            polled.append(spdk.spdk_nvme_ctrlr_process_admin_completions(on.ctrlr))
            assert spdk.spdk_nvme_ctrlr_cmd_get_feature(on.ctrlr, 4, 0, None, 0, on.cb, "again") == 0
            raise LookupError("mine")

        none: Any = None
        assert spdk.spdk_nvme_ctrlr_cmd_get_feature(on.ctrlr, 4, 0, None, 0, again, None) == 0
        assert spdk.spdk_nvme_ctrlr_cmd_get_feature(on.ctrlr, 4, 0, None, 0, none, None) == 0
        assert spdk.spdk_nvme_ctrlr_cmd_get_feature(on.ctrlr, 4, 0, None, 0, on.cb, "last") == 0
        assert {arg for arg, _cpl in await on.admin(2)} == {"last", "again"}
        assert polled == [0]


# -- namespaces ------------------------------------------------------------------------------------------------------


@both_ways
async def test_namespaces() -> None:
    """Every query of a namespace says what the mock was made with."""
    configs = [
        NamespaceConfig(size=MIB, noiob=64),
        NamespaceConfig(size=MIB, active=False),
        NamespaceConfig(size=2 * MIB, lba=4096, metadata=8, extended=True, pi=1),
    ]
    async with stage(MockController(namespaces=configs, mdts=65536)) as on:
        ctrlr, first, third = on.ctrlr, on.ns, on.ctrlr.namespaces[3]
        assert spdk.spdk_nvme_ctrlr_get_num_ns(ctrlr) == 3
        assert spdk.spdk_nvme_ctrlr_get_first_active_ns(ctrlr) == 1
        assert spdk.spdk_nvme_ctrlr_get_next_active_ns(ctrlr, 1) == 3
        assert spdk.spdk_nvme_ctrlr_get_next_active_ns(ctrlr, 3) == 0
        assert [spdk.spdk_nvme_ctrlr_is_active_ns(ctrlr, nsid) for nsid in (1, 2, 3)] == [True, False, True]
        assert spdk.spdk_nvme_ctrlr_get_ns(ctrlr, 2) is None
        expected: dict[Callable[[aionvme.Namespace], Any], tuple[Any, Any]] = {
            spdk.spdk_nvme_ns_get_id: (1, 3),
            spdk.spdk_nvme_ns_get_ctrlr: (ctrlr, ctrlr),
            spdk.spdk_nvme_ns_is_active: (True, True),
            spdk.spdk_nvme_ns_get_sector_size: (512, 4096),
            spdk.spdk_nvme_ns_get_extended_sector_size: (512, 4104),
            spdk.spdk_nvme_ns_get_num_sectors: (2048, 512),
            spdk.spdk_nvme_ns_get_size: (MIB, 2 * MIB),
            spdk.spdk_nvme_ns_get_md_size: (0, 8),
            spdk.spdk_nvme_ns_get_pi_type: (0, 1),
            spdk.spdk_nvme_ns_supports_extended_lba: (False, True),
            spdk.spdk_nvme_ns_supports_compare: (True, True),
            spdk.spdk_nvme_ns_supports_write_uncorrectable: (True, True),
            spdk.spdk_nvme_ns_get_optimal_io_boundary: (64, 0),
            spdk.spdk_nvme_ns_get_max_io_xfer_size: (65536, 65536),
        }
        for function, (of_first, of_third) in expected.items():
            assert (function(first), function(third)) == (of_first, of_third), function
        assert spdk.spdk_nvme_ns_get_data(first).nsze == 2048
        extended = spdk.SPDK_NVME_NS_EXTENDED_LBA_SUPPORTED | spdk.SPDK_NVME_NS_DPS_PI_SUPPORTED
        flags = spdk.spdk_nvme_ns_get_flags(first)
        assert flags & extended == 0
        assert spdk.spdk_nvme_ns_get_flags(third) == flags | extended
        assert flags & spdk.SPDK_NVME_NS_COMPARE_SUPPORTED
    assert spdk.spdk_nvme_ns_get_ctrlr(first) is None
    assert not spdk.spdk_nvme_ns_is_active(first)
    assert spdk.spdk_nvme_ns_get_flags(first) == 0
    assert spdk.spdk_nvme_ns_get_max_io_xfer_size(first) == 0


@both_ways
async def test_what_is_not_supported() -> None:
    """A controller without optional commands has no such flags, and the commands are -EINVAL."""
    async with stage(MockController(oncs=0)) as on:
        flags = spdk.spdk_nvme_ns_get_flags(on.ns)
        assert flags == spdk.SPDK_NVME_NS_FLUSH_SUPPORTED
        assert not spdk.spdk_nvme_ns_supports_compare(on.ns)
        assert not spdk.spdk_nvme_ns_supports_write_uncorrectable(on.ns)
        code = spdk.spdk_nvme_ns_cmd_write_zeroes(on.ns, on.qp, 0, 1, on.cb, None, 0)
        assert code == -errno.EINVAL


@both_ways
async def test_controller_queries() -> None:
    """Data, options, transport identifier and transfer size are the controller's."""
    async with stage(MockController(mdts=65536), io_queue_size=9) as on:
        assert spdk.spdk_nvme_ctrlr_get_data(on.ctrlr).cntlid == on.ctrlr.data.cntlid
        assert spdk.spdk_nvme_ctrlr_get_opts(on.ctrlr).io_queue_size == 9
        assert spdk.spdk_nvme_ctrlr_get_transport_id(on.ctrlr).traddr == on.mock.pci_dev.bdf
        assert spdk.spdk_nvme_ctrlr_get_max_xfer_size(on.ctrlr) == 65536
        assert not spdk.spdk_nvme_ctrlr_is_failed(on.ctrlr)
    assert spdk.spdk_nvme_ctrlr_is_failed(on.ctrlr)


# -- namespace management --------------------------------------------------------------------------------------------


@both_ways
async def test_create_namespace() -> None:
    """The command has the structure that was given, and the answer is the new identifier."""
    async with stage() as on:
        seen = Seen(on.mock, spdk.SPDK_NVME_OPC_NS_MANAGEMENT, nbytes=4096, dw0=9)
        wanted = aionvme.IdentifyNamespace(nsze=1000, ncap=900)
        assert await value(spdk.spdk_nvme_ctrlr_create_ns(on.ctrlr, wanted)) == 9
        assert await value(spdk.spdk_nvme_ctrlr_create_ns(on.ctrlr, wanted.encode()[:384])) == 9
        assert [(sqe.nsid, sqe.cdw10) for sqe in seen.sqes] == [(0, 0), (0, 0)]
        assert seen.data == [wanted.encode(), wanted.encode()]


@both_ways
async def test_delete_namespace() -> None:
    """The command has the identifier, and no data."""
    async with stage() as on:
        seen = Seen(on.mock, spdk.SPDK_NVME_OPC_NS_MANAGEMENT)
        assert await value(spdk.spdk_nvme_ctrlr_delete_ns(on.ctrlr, 5)) == 0
        (sqe,) = seen.sqes
        assert (sqe.nsid, sqe.cdw10, sqe.prp1) == (5, 1, 0)


@both_ways
async def test_attach_and_detach_namespace() -> None:
    """The commands have the identifier and the list of controllers, which is a structure, bytes, or a sequence."""
    async with stage() as on:
        seen = Seen(on.mock, spdk.SPDK_NVME_OPC_NS_ATTACHMENT, nbytes=4096)
        ctrlrs = spdk.spdk_nvme_ctrlr_list([3, 0x102])
        assert await value(spdk.spdk_nvme_ctrlr_attach_ns(on.ctrlr, 5, ctrlrs)) == 0
        assert await value(spdk.spdk_nvme_ctrlr_detach_ns(on.ctrlr, 6, [3, 0x102])) == 0
        assert await value(spdk.spdk_nvme_ctrlr_detach_ns(on.ctrlr, 6, bytes(ctrlrs))) == 0
        assert [(sqe.nsid, sqe.cdw10) for sqe in seen.sqes] == [(5, 0), (6, 1), (6, 1)]
        assert seen.data == [(b"\x02\x00\x03\x00\x02\x01").ljust(4096, b"\0")] * 3


@both_ways
async def test_namespace_management_that_is_refused() -> None:
    """A status is -ENXIO, or 0 for an identifier; what cannot be sent is -EINVAL."""
    async with stage() as on:
        management = (spdk.SPDK_NVME_OPC_NS_MANAGEMENT, spdk.SPDK_NVME_OPC_NS_ATTACHMENT)
        for opcode in management:
            on.mock.fail(StatusCode.INVALID_OPCODE, qid=0, opcode=opcode, count=None)
        assert await value(spdk.spdk_nvme_ctrlr_create_ns(on.ctrlr, bytes(4096))) == 0
        assert await value(spdk.spdk_nvme_ctrlr_delete_ns(on.ctrlr, 1)) == -errno.ENXIO
        assert await value(spdk.spdk_nvme_ctrlr_attach_ns(on.ctrlr, 1, [0])) == -errno.ENXIO
        assert await value(spdk.spdk_nvme_ctrlr_detach_ns(on.ctrlr, 1, [0])) == -errno.ENXIO
        assert await value(spdk.spdk_nvme_ctrlr_create_ns(on.ctrlr, bytes(4097))) == 0
        assert await value(spdk.spdk_nvme_ctrlr_attach_ns(on.ctrlr, 1, bytes(4097))) == -errno.EINVAL


@both_ways
async def test_asynchronous_events() -> None:
    """The callback is called by polling, with the completion of the request; the last one that was set, or none."""
    async with stage() as on:
        others: list[Any] = []
        spdk.spdk_nvme_ctrlr_register_aer_callback(on.ctrlr, lambda arg, cpl: others.append((arg, cpl)), 1)
        spdk.spdk_nvme_ctrlr_register_aer_callback(on.ctrlr, on.cb, "aer")
        on.mock.event(1, 1, 2)
        ((arg, cpl),) = await on.admin()
        assert (arg, cpl.dw0) == ("aer", 2 << 16 | 1 << 8 | 1)
        assert spdk.spdk_nvme_cpl_is_success(cpl)
        spdk.spdk_nvme_ctrlr_register_aer_callback(on.ctrlr, None, None)
        on.mock.event(2, 0, 4)
        assert spdk.spdk_nvme_ctrlr_cmd_get_feature(on.ctrlr, 4, 0, None, 0, on.cb, "feature") == 0
        assert [arg for arg, _cpl in await on.admin()] == ["feature"]
        assert others == []


@both_ways
async def test_subsystem_reset() -> None:
    """It resets; a controller that has no such reset says ENOTSUP, one that is gone fails."""
    async with stage() as on:
        assert await value(spdk.spdk_nvme_ctrlr_reset_subsystem(on.ctrlr)) == 0
        on.ctrlr._core.registers.cap.nssrs = 0
        assert await value(spdk.spdk_nvme_ctrlr_reset_subsystem(on.ctrlr)) == -errno.ENOTSUP
        on.mock.remove()
        await until(lambda: on.ctrlr.closed or spdk.spdk_nvme_ctrlr_process_admin_completions(on.ctrlr) < 0)
        assert await value(spdk.spdk_nvme_ctrlr_reset_subsystem(on.ctrlr)) == -1


def roomy(**options: object) -> MockController:
    """A mock with one namespace of 1 MiB, and room for more."""
    return MockController(timeout=0.5, size=1 << 20, capacity=4 << 20, max_namespaces=4, **options)  # type: ignore[arg-type]


@both_ways
async def test_life_of_a_namespace() -> None:
    """Created, attached, found, used, detached and deleted by SPDK's names; each step is seen without a reset."""
    async with stage(roomy()) as on:
        nsid = await value(spdk.spdk_nvme_ctrlr_create_ns(on.ctrlr, aionvme.NamespaceSpec(nsze=64, ncap=64)))
        assert (nsid, spdk.spdk_nvme_ctrlr_get_next_active_ns(on.ctrlr, 1)) == (2, 0)
        assert await value(spdk.spdk_nvme_ctrlr_attach_ns(on.ctrlr, nsid, [1])) == 0
        assert spdk.spdk_nvme_ctrlr_get_next_active_ns(on.ctrlr, 1) == nsid
        ns = spdk.spdk_nvme_ctrlr_get_ns(on.ctrlr, nsid)
        assert ns is not None
        await on.ok(spdk.spdk_nvme_ns_cmd_write_zeroes(ns, on.qp, 0, 64, on.cb, None, 0))
        assert await value(spdk.spdk_nvme_ctrlr_detach_ns(on.ctrlr, nsid, [1])) == 0
        assert not spdk.spdk_nvme_ns_is_active(ns)
        assert spdk.spdk_nvme_ns_cmd_flush(ns, on.qp, on.cb, None) == -errno.EINVAL
        assert await value(spdk.spdk_nvme_ctrlr_delete_ns(on.ctrlr, nsid)) == 0
        assert spdk.spdk_nvme_ctrlr_get_ns(on.ctrlr, nsid) is None


@both_ways
async def test_namespace_management_against_the_rules() -> None:
    """Capacity exceeded, attached twice, not attached, and deleted twice are refused by the controller."""
    async with stage(roomy()) as on:
        large = aionvme.NamespaceSpec(nsze=1 << 30, ncap=1 << 30)
        assert await value(spdk.spdk_nvme_ctrlr_create_ns(on.ctrlr, large)) == 0
        assert await value(spdk.spdk_nvme_ctrlr_attach_ns(on.ctrlr, 1, [1])) == -errno.ENXIO
        assert await value(spdk.spdk_nvme_ctrlr_detach_ns(on.ctrlr, 1, [1])) == 0
        assert await value(spdk.spdk_nvme_ctrlr_detach_ns(on.ctrlr, 1, [1])) == -errno.ENXIO
        assert await value(spdk.spdk_nvme_ctrlr_delete_ns(on.ctrlr, spdk.SPDK_NVME_GLOBAL_NS_TAG)) == 0
        assert await value(spdk.spdk_nvme_ctrlr_delete_ns(on.ctrlr, 1)) == -errno.ENXIO


@both_ways
async def test_format_namespace() -> None:
    """The namespace has the new format, under a new handle; a format that there is not is -EINVAL."""
    async with stage(roomy(namespaces=2)) as on:
        format = spdk.spdk_nvme_format(lbaf=1, ses=spdk.SPDK_NVME_FMT_NVM_SES_USER_DATA_ERASE)
        assert await value(spdk.spdk_nvme_ctrlr_format(on.ctrlr, 1, format)) == 0
        ns = spdk.spdk_nvme_ctrlr_get_ns(on.ctrlr, 1)
        assert ns is not None
        assert spdk.spdk_nvme_ns_get_sector_size(ns) == 4096
        assert not spdk.spdk_nvme_ns_is_active(on.ns)
        none = spdk.spdk_nvme_format(lbaf=9)
        assert await value(spdk.spdk_nvme_ctrlr_format(on.ctrlr, 1, none)) == -errno.EINVAL
        assert await value(spdk.spdk_nvme_ctrlr_format(on.ctrlr, spdk.SPDK_NVME_GLOBAL_NS_TAG, format)) == 0
        second = spdk.spdk_nvme_ctrlr_get_ns(on.ctrlr, 2)
        assert second is not None
        assert spdk.spdk_nvme_ns_get_sector_size(second) == 4096
