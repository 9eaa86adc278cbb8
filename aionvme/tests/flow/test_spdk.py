"""Programs in SPDK's style from probe to detach, on the mock, without a loop and in one."""

from __future__ import annotations

import errno
from typing import Any

import pytest

import aionvme
from aionvme import spdk
from aionvme.mock import MockController
from aionvme.spdk.driving import PRIVATE
from aionvme.tests.flow.spdk_stage import (
    Stage,
    both_ways,
    breath,
    memory,
    stage,
    until,
    value,
)


@pytest.fixture(autouse=True)
def _no_loop_is_left() -> Any:
    """A thread's private loop goes with its last controller."""
    yield
    assert PRIVATE._loop is None


class Probed:
    """The callbacks of a probe, and what they were given."""

    def __init__(self, *, wanted: bool = True) -> None:
        self.wanted: bool = wanted
        self.asked: list[Any] = []
        self.attached: list[tuple[Any, aionvme.Controller, Any]] = []
        self.removed: list[aionvme.Controller] = []

    def probe_cb(self, ctx: Any, trid: Any, opts: Any) -> bool:
        assert ctx == self
        self.asked.append(trid)
        opts.io_queue_size = 33
        return self.wanted

    def attach_cb(self, ctx: Any, trid: Any, ctrlr: aionvme.Controller, opts: Any) -> None:
        assert ctx == self
        self.attached.append((trid, ctrlr, opts))

    def remove_cb(self, ctx: Any, ctrlr: aionvme.Controller) -> None:
        assert ctx == self
        self.removed.append(ctrlr)

    def probe(self, *mocks: Any) -> Any:
        return spdk.spdk_nvme_probe(list(mocks), self, self.probe_cb, self.attach_cb, self.remove_cb)

    async def detach(self) -> None:
        for _trid, ctrlr, _opts in self.attached:
            assert await value(spdk.spdk_nvme_detach(ctrlr)) == 0


def read(on: Stage, buf: memoryview, arg: Any = None) -> int:
    return spdk.spdk_nvme_ns_cmd_read(on.ns, on.qp, buf, 0, 1, on.cb, arg, 0)


# -- finding and attaching -------------------------------------------------------------------------------------------


@both_ways
async def test_probe() -> None:
    """Each wanted controller is attached with the options that were chosen, and not reported a second time."""
    probed = Probed()
    with MockController() as one, MockController() as two:
        assert await value(probed.probe(one, two)) == 0
        assert [trid.traddr for trid in probed.asked] == [one.pci_dev.bdf, two.pci_dev.bdf]
        assert all(trid.trtype == spdk.SPDK_NVME_TRANSPORT_PCIE for trid in probed.asked)
        trids = {trid.traddr for trid, _ctrlr, _opts in probed.attached}
        assert trids == {one.pci_dev.bdf, two.pci_dev.bdf}
        for trid, ctrlr, opts in probed.attached:
            assert trid.pci_dev == ctrlr.pci_dev
            assert (opts.io_queue_size, ctrlr.opts.io_queue_depth) == (33, 32)
        again = Probed()
        assert await value(again.probe(one, two)) == 0
        assert again.asked == []
        await probed.detach()


@both_ways
async def test_probe_takes_only_what_is_wanted() -> None:
    """A controller for which the callback says no stays free."""
    probed = Probed(wanted=False)
    with MockController() as mock:
        assert await value(probed.probe(mock)) == 0
        assert (len(probed.asked), probed.attached) == (1, [])
        mock.open().close()


@both_ways
async def test_probe_as_announced() -> None:
    """The announcement's three arguments are taken, and its callbacks are given the PCI device."""
    asked: list[Any] = []

    def probe_cb(_ctx: Any, pci_dev: Any, _opts: Any) -> bool:
        asked.append(pci_dev)
        return False

    code = await value(spdk.spdk_nvme_probe("ctx", probe_cb, lambda *_args: None))
    # Which devices this machine has is another matter: the announced form looks at all of them.
    assert code == 0
    assert asked == [device for device in aionvme.discover() if device.bound_to_vfio]


def test_probe_needs_callbacks() -> None:
    """Too few arguments are a TypeError, as for any function."""
    with pytest.raises(TypeError, match="attach_cb"):
        spdk.spdk_nvme_probe(None, None)


@both_ways
async def test_probe_that_fails() -> None:
    """One that does not come up makes it -1; the other is attached all the same."""
    probed = Probed()
    with MockController() as good, MockController(timeout=0.5) as bad:
        bad.stuck = True
        assert await value(probed.probe(bad, good)) == -1
        assert [ctrlr.pci_dev for _trid, ctrlr, _opts in probed.attached] == [good.pci_dev]
        await probed.detach()


@both_ways
async def test_probe_with_options_that_cannot_be() -> None:
    """An option of the callback's that cannot be makes it -1."""

    def probe_cb(_ctx: Any, _trid: Any, opts: Any) -> bool:
        opts.num_io_queues = 0
        return True

    with MockController() as mock:
        code = await value(spdk.spdk_nvme_probe(mock, None, probe_cb, lambda *_args: None, None))
        assert code == -1
        mock.open().close()


def test_probe_callbacks_may_block() -> None:
    """Without a loop an attach callback may allocate a queue pair, as in SPDK."""
    qpairs: list[Any] = []
    ctrlrs: list[aionvme.Controller] = []

    def attach_cb(_ctx: Any, _trid: Any, ctrlr: aionvme.Controller, _opts: Any) -> None:
        ctrlrs.append(ctrlr)
        qpairs.append(spdk.spdk_nvme_ctrlr_alloc_io_qpair(ctrlr, None, 0))

    with MockController() as mock:
        assert spdk.spdk_nvme_probe(mock, None, lambda *_args: True, attach_cb, None) == 0
        assert spdk.spdk_nvme_qpair_get_id(qpairs[0]) == 1
        assert spdk.spdk_nvme_ctrlr_free_io_qpair(qpairs[0]) == 0
        assert spdk.spdk_nvme_detach(ctrlrs[0]) == 0


@both_ways
async def test_attach_callback_that_raises() -> None:
    """Its exception comes out of the probe once every controller has been handed over."""
    seen: list[aionvme.Controller] = []

    def attach_cb(_ctx: Any, _trid: Any, ctrlr: aionvme.Controller, _opts: Any) -> None:
        seen.append(ctrlr)
        raise LookupError("mine")

    with MockController() as one, MockController() as two:
        with pytest.raises(LookupError, match="mine"):
            await value(spdk.spdk_nvme_probe([one, two], None, lambda *_args: True, attach_cb, None))
        assert len(seen) == 2
        for ctrlr in seen:
            assert await value(spdk.spdk_nvme_detach(ctrlr)) == 0


@both_ways
async def test_removal() -> None:
    """A controller that is gone is told of once, by the next probe; polling says -ENXIO, and detach still works."""
    probed = Probed()
    with MockController() as mock:
        assert await value(probed.probe(mock)) == 0
        _trid, ctrlr, _opts = probed.attached[0]
        mock.remove()
        await until(lambda: spdk.spdk_nvme_ctrlr_process_admin_completions(ctrlr) == -errno.ENXIO)
        assert probed.removed == [ctrlr]
        assert spdk.spdk_nvme_ctrlr_is_failed(ctrlr)
        assert await value(spdk.spdk_nvme_probe([], None, lambda *_args: False, probed.attach_cb, None)) == 0
        assert probed.removed == [ctrlr]
        await probed.detach()


@both_ways
async def test_removal_callback_that_was_set() -> None:
    """A callback that was set afterwards takes the place of the probe's, and the next probe calls it."""
    removed: list[Any] = []
    probed = Probed()
    with MockController() as mock:
        assert await value(probed.probe(mock)) == 0
        _trid, ctrlr, _opts = probed.attached[0]
        spdk.spdk_nvme_ctrlr_set_remove_cb(ctrlr, lambda ctx, gone: removed.append((ctx, gone)), "ctx")
        mock.remove()
        await until(lambda: _turned(ctrlr) and ctrlr.closed)
        assert await value(spdk.spdk_nvme_probe([], None, lambda *_args: False, probed.attach_cb, None)) == 0
        assert (removed, probed.removed) == ([("ctx", ctrlr)], [])
        await probed.detach()


def _turned(_ctrlr: aionvme.Controller) -> bool:
    """Lets the private loop turn, and calls nobody back."""
    PRIVATE.turn(at_once=True)
    return True


@both_ways
async def test_connect() -> None:
    """A controller is named by SPDK's structure, its text, or any address; one that cannot be had is None."""
    trid = spdk.spdk_nvme_transport_id(traddr="mock:?lba=4096&size=1MiB")
    ctrlr = await value(spdk.spdk_nvme_connect(trid, None, 0))
    assert spdk.spdk_nvme_ns_get_sector_size(ctrlr.namespaces[1]) == 4096
    assert spdk.spdk_nvme_ctrlr_get_transport_id(ctrlr).traddr == ctrlr.pci_dev.bdf
    assert await value(spdk.spdk_nvme_detach(ctrlr)) == 0
    ctrlr = await value(spdk.spdk_nvme_connect("mock:", None, 0))
    assert await value(spdk.spdk_nvme_detach(ctrlr)) == 0
    for bad in ("trtype:PCIe traddr:ffff:ff:1f.7", None, ["mock:", "mock:"], "nonsense"):
        assert await value(spdk.spdk_nvme_connect(bad, None, 0)) is None
    with MockController() as mock:
        bad_opts = spdk.spdk_nvme_ctrlr_opts(io_queue_size=1)
        assert await value(spdk.spdk_nvme_connect(mock, bad_opts, 0)) is None


@both_ways
async def test_detach() -> None:
    """Commands end and are called back before it returns; afterwards the controller is unknown."""
    with MockController() as mock:
        ctrlr = await value(spdk.spdk_nvme_connect(mock, None, 0))
        qp = await value(spdk.spdk_nvme_ctrlr_alloc_io_qpair(ctrlr, None, 0))
        on = Stage(mock, ctrlr, qp, ctrlr.namespaces[1])
        buf = memory()
        for index in range(10):
            assert read(on, buf, index) == 0
        assert spdk.spdk_nvme_ctrlr_cmd_get_feature(ctrlr, 7, 0, None, 0, on.cb, "admin") == 0
        assert await value(spdk.spdk_nvme_detach(ctrlr)) == 0
        assert sorted(str(arg) for arg, _cpl in on.calls) == [*map(str, range(10)), "admin"]
        assert all(spdk.spdk_nvme_cpl_is_success(cpl) for _arg, cpl in on.calls)
        mock.open().close()
        assert spdk.spdk_nvme_detach(ctrlr) == -errno.EINVAL
        assert spdk.spdk_nvme_ctrlr_process_admin_completions(ctrlr) == -errno.EINVAL
        assert spdk.spdk_nvme_qpair_process_completions(qp, 0) == -errno.EINVAL
        assert await value(spdk.spdk_nvme_ctrlr_alloc_io_qpair(ctrlr, None, 0)) is None
        assert await value(spdk.spdk_nvme_ctrlr_reset(ctrlr)) == -1
        spdk.spdk_free(buf)


@both_ways
async def test_detach_that_cannot_shut_down() -> None:
    """It is -1, and the controller is given back."""
    with MockController(timeout=0.5) as mock:
        ctrlr = await value(spdk.spdk_nvme_connect(mock, None, 0))
        mock.stuck = True
        assert await value(spdk.spdk_nvme_detach(ctrlr)) == -1
        assert spdk.spdk_nvme_detach(ctrlr) == -errno.EINVAL


# -- queue pairs -----------------------------------------------------------------------------------------------------


@both_ways
async def test_queue_pair_options() -> None:
    """Options, or a priority alone as announced, make the queue pair; what cannot be gives None."""
    with MockController(wrr=True, num_io_queues=3) as mock:
        opts = spdk.spdk_nvme_ctrlr_opts(io_queue_size=17, arb_mechanism=spdk.SPDK_NVME_CC_AMS_WRR)
        ctrlr = await value(spdk.spdk_nvme_connect(mock, opts, 0))
        alloc = spdk.spdk_nvme_ctrlr_alloc_io_qpair
        chosen = spdk.spdk_nvme_io_qpair_opts()
        spdk.spdk_nvme_ctrlr_get_default_io_qpair_opts(ctrlr, chosen, 0)
        assert (chosen.qprio, chosen.io_queue_size) == (spdk.SPDK_NVME_QPRIO_URGENT, 17)
        chosen.io_queue_size, chosen.qprio = 9, spdk.SPDK_NVME_QPRIO_LOW
        first = await value(alloc(ctrlr, chosen, 0))
        second = await value(alloc(ctrlr, spdk.SPDK_NVME_QPRIO_HIGH))
        third = await value(alloc(ctrlr, None, 0))
        assert [spdk.spdk_nvme_qpair_get_queue_depth(qp) for qp in (first, second, third)] == [8, 16, 16]
        assert [mock.queue(qp.qid).qprio for qp in (first, second, third)] == [3, 1, 0]
        assert await value(alloc(ctrlr, None, 0)) is None  # all are in use
        assert await value(spdk.spdk_nvme_ctrlr_free_io_qpair(third)) == 0
        assert not spdk.spdk_nvme_qpair_is_connected(third)
        for bad in (
            4,
            spdk.spdk_nvme_io_qpair_opts(qprio=9),
            spdk.spdk_nvme_io_qpair_opts(create_only=True),
            spdk.spdk_nvme_io_qpair_opts(async_mode=True),
            spdk.spdk_nvme_io_qpair_opts(io_queue_size=1),
        ):
            assert await value(alloc(ctrlr, bad, 0)) is None
        assert await value(spdk.spdk_nvme_detach(ctrlr)) == 0


@both_ways
async def test_callbacks_come_from_polling() -> None:
    """No callback is called before its queue pair is polled, and at most as many as are asked for."""
    async with stage() as on:
        buf = memory()
        for index in range(5):
            assert read(on, buf, index) == 0
        await until(lambda: on.mock.queue(on.qp.qid).posted == 5)
        for _ in range(50):
            await breath()
        assert on.calls == []
        assert spdk.spdk_nvme_qpair_get_num_outstanding_reqs(on.qp) == 5
        assert spdk.spdk_nvme_qpair_process_completions(on.qp, 2) == 2
        assert [arg for arg, _cpl in on.calls] == [0, 1]
        assert spdk.spdk_nvme_qpair_process_completions(on.qp, 0) == 3
        assert spdk.spdk_nvme_qpair_process_completions(on.qp, 0) == 0


@both_ways
async def test_no_callback() -> None:
    """A command without one is submitted and polled for all the same."""
    async with stage() as on:
        none: Any = None
        assert spdk.spdk_nvme_ns_cmd_flush(on.ns, on.qp, none, None) == 0
        await until(lambda: spdk.spdk_nvme_qpair_process_completions(on.qp, 0) == 1)


@both_ways
async def test_full_queue_pair() -> None:
    """A command that finds no slot is -ENOMEM; once it was polled there is room."""
    async with stage(io_queue_size=5) as on:
        buf = memory()
        assert [read(on, buf) for _ in range(5)] == [0, 0, 0, 0, -errno.ENOMEM]
        await on.done(4)
        await on.ok(read(on, buf))


@both_ways
async def test_callback_that_submits() -> None:
    """A callback may submit the next command; polling the queue pair within it finds nothing."""
    async with stage() as on:
        buf = memory()
        codes: list[int] = []

        def chain(left: int, cpl: Any) -> None:
            codes.append(spdk.spdk_nvme_qpair_process_completions(on.qp, 0))
            if not left:
                on.cb(left, cpl)
                return
            code = spdk.spdk_nvme_ns_cmd_read(on.ns, on.qp, buf, 0, 1, chain, left - 1, 0)
            codes.append(code)

        assert spdk.spdk_nvme_ns_cmd_read(on.ns, on.qp, buf, 0, 1, chain, 3, 0) == 0
        await on.done()
        assert set(codes) == {0}


@both_ways
async def test_callback_that_raises() -> None:
    """Its exception goes to the loop's handler, and the next callback is called all the same."""
    async with stage() as on:
        buf = memory()

        def bad(_arg: Any, _cpl: Any) -> None:
            raise LookupError("mine")

        assert spdk.spdk_nvme_ns_cmd_read(on.ns, on.qp, buf, 0, 1, bad, None, 0) == 0
        await on.ok(read(on, buf))


@both_ways
async def test_free_with_commands() -> None:
    """Freeing waits for the commands and calls them back, also one that is half of a pair; twice is nothing more."""
    async with stage() as on:
        buf = memory()
        first = spdk.SPDK_NVME_IO_FLAGS_FUSE_FIRST
        for _ in range(8):
            assert read(on, buf) == 0
        assert spdk.spdk_nvme_ns_cmd_compare(on.ns, on.qp, buf, 0, 1, on.cb, "half", first) == 0
        assert await value(spdk.spdk_nvme_ctrlr_free_io_qpair(on.qp)) == 0
        assert len(on.calls) == 9
        assert read(on, buf) == -errno.EINVAL
        assert await value(spdk.spdk_nvme_ctrlr_free_io_qpair(on.qp)) == 0


def test_free_in_a_callback() -> None:
    """Without a loop a callback may free its queue pair: it goes when all have been called."""

    async def journey() -> None:
        async with stage() as on:
            buf = memory()

            def done(arg: Any, cpl: Any) -> None:
                on.cb(arg, cpl)
                assert spdk.spdk_nvme_ctrlr_free_io_qpair(on.qp) == 0
                assert spdk.spdk_nvme_detach(on.ctrlr) == -errno.EBUSY

            for _ in range(3):
                assert spdk.spdk_nvme_ns_cmd_read(on.ns, on.qp, buf, 0, 1, done, None, 0) == 0
            await until(lambda: spdk.spdk_nvme_qpair_process_completions(on.qp, 0) != 0 and on.calls)
            assert not spdk.spdk_nvme_qpair_is_connected(on.qp)
            assert len(on.calls) == 3

    with pytest.raises(StopIteration):
        journey().send(None)
