"""From an address to a controller that takes commands.

In which order, with what options, and how it can fail.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import pytest

import aionvme
from aionvme.admin.events import REQUESTS
from aionvme.mock import MockController, MockFunction, NamespaceConfig
from aionvme.pci.device import PciDevice
from aionvme.spec.registers import Reg
from aionvme.tests.flow.support import CREATE_CQ, IDENTIFY, SET_FEATURES, closed_rig, rig, turns, until
from aionvme.tests.leaks import Census

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]

MiB = 1 << 20
CC, CSTS, AQA, ASQ, ACQ = 0x14, 0x1C, 0x24, 0x28, 0x30
FAILED = aionvme.ControllerFailedError


async def _connect(mock: Any, **opts: Any) -> aionvme.Controller:
    return await aionvme.connect(mock, aionvme.ControllerOptions(**opts))


class Watched:
    """A mock that notes which registers the driver wrote, and what CC was when the function was closed."""

    def __init__(self, mock: MockController) -> None:
        self.mock = mock
        self.writes: list[tuple[int, int]] = []
        self.enabled_at_close: bool | None = None
        self.closed = 0

    @property
    def pci_dev(self) -> PciDevice:
        """The mock's."""
        return self.mock.pci_dev

    def open(self) -> MockFunction:
        """The mock's function, watched by a wrapper of its registers."""
        function = self.mock.open()
        registers = function_registers(self.mock)
        write = registers.write32

        def watched(offset: int, value: int) -> None:
            self.writes.append((offset, value))
            write(offset, value)

        registers.write32 = watched
        return function

    def enables(self) -> list[int]:
        """CC.EN as it was written, without repetitions."""
        values = [value & 1 for offset, value in self.writes if offset == CC]
        return [value for i, value in enumerate(values) if i == 0 or values[i - 1] != value]


def function_registers(mock: MockController) -> Any:
    """The registers that a mock's function writes to."""
    return mock._registers


async def test_admin_queue_is_set_up_before_the_controller_is_enabled() -> None:
    """AQA, ASQ and ACQ are written before EN; a close clears it; 64-bit addresses are whole pages."""
    with MockController() as mock:
        watched = Watched(mock)
        ctrlr = await _connect(watched, admin_queue_depth=15)
        enable = next(i for i, (offset, value) in enumerate(watched.writes) if offset == CC and value & 1)
        assert {offset for offset, _ in watched.writes[:enable]} >= {AQA, ASQ, ACQ}
        # As asked, and as many as requests for events may be outstanding.
        entries = 15 + REQUESTS
        assert dict(watched.writes[:enable])[AQA] == entries << 16 | entries
        assert dict(watched.writes[:enable])[ASQ] % 4096 == dict(watched.writes[:enable])[ACQ] % 4096 == 0
        shn = [value >> 14 & 3 for offset, value in watched.writes if offset == CC]
        assert set(shn) == {0}
        await ctrlr.close()
        assert watched.enables()[-1] == 0
        shn = [value >> 14 & 3 for offset, value in watched.writes if offset == CC]
        assert 1 in shn
        closed_rig(mock)


async def test_close_without_a_shutdown_notification() -> None:
    """With `no_shn_notification` the controller is disabled without being told of the shutdown."""
    with MockController() as mock:
        watched = Watched(mock)
        ctrlr = await _connect(watched, no_shn_notification=True)
        await ctrlr.close()
        assert {value >> 14 & 3 for offset, value in watched.writes if offset == CC} == {0}
        assert watched.enables()[-1] == 0


async def test_registers_are_read_by_their_offset() -> None:
    """One has its 32 or 64 bits as they are now; where none begins, and of a closed controller, none is read."""
    async with rig() as r:
        assert r.ctrlr.read_register(Reg.CC) & 1
        assert r.ctrlr.read_register(Reg.CAP) >> 32
        with pytest.raises(aionvme.UsageError, match="no register"):
            r.ctrlr.read_register(3)
    with pytest.raises(aionvme.UsageError):
        r.ctrlr.read_register(Reg.CC)


async def test_ready_delay_within_the_time_limit_is_waited_for() -> None:
    """A controller that takes its time, but no more than CAP.TO says, comes up.

    The loop goes on meanwhile.
    """
    with MockController(ready_delay=0.3, timeout=0.5) as mock:
        begun = time.monotonic()
        connecting = asyncio.ensure_future(_connect(mock))
        ticks = 0
        while not connecting.done():
            await asyncio.sleep(0.01)
            ticks += 1
        ctrlr = await connecting
        assert time.monotonic() - begun >= 0.3
        assert ticks >= 5
        await ctrlr.close()


async def test_never_ready() -> None:
    """A controller that does not get ready within CAP.TO has failed.

    In bounded time, and nothing of it is left.
    """
    with MockController(timeout=0.5) as mock:
        mock.stuck = True
        begun = time.monotonic()
        with pytest.raises(FAILED, match=r"did not become 1 within the 0.5 s .*CAP.TO"):
            await _connect(mock)
        assert 0.5 <= time.monotonic() - begun < 3.5
        mock.stuck = False
        closed_rig(mock)
        await (await _connect(mock)).close()


async def test_fatal_status_while_it_is_enabled() -> None:
    """CFS ends the waiting for RDY at once."""
    with MockController(ready_delay=60, timeout=60) as mock:
        connecting = asyncio.ensure_future(_connect(mock))
        await until(lambda: function_registers(mock).cc & 1)
        mock.fatal()
        with pytest.raises(FAILED, match="fatal status"):
            await connecting
        closed_rig(mock)


CANCEL_AT = [("ready", None), *(("command", number) for number in range(1, 6))]


@pytest.mark.parametrize(("where", "number"), CANCEL_AT)
async def test_cancelled_connect_leaves_nothing(where: str, number: int | None) -> None:
    """Cancelled while it waits for RDY, or for its nth admin command.

    Disabled, unmapped, closed, as before.
    """
    with MockController(ready_delay=60 if where == "ready" else 0, timeout=60) as mock:
        watched = Watched(mock)
        before = await Census.of_loop()
        held = mock.hold(qid=0)
        connecting = asyncio.ensure_future(_connect(watched))
        if number is None:
            await until(lambda: function_registers(mock).cc & 1)
        for step in range(number or 0):
            await until(lambda: held.commands or connecting.done())
            if step + 1 < (number or 0):
                held.release(1)
                await until(partial(_beyond, mock, step + 1, connecting))
        assert not connecting.done()
        held.stop()  # so that Abort is executed
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert watched.enables()[-1] == 0
        assert await before.leaked() == []
        closed_rig(mock)
        await (await _connect(mock)).close() if where != "ready" else None


@pytest.mark.parametrize("stuck", [False, True])
async def test_cancelled_connect_to_a_silent_controller(stuck: bool) -> None:
    """Where Abort gets no answer, the controller is given up after `abort_timeout`, and the cancel raised."""
    with MockController(timeout=0.5) as mock:
        mock.silent = True
        connecting = asyncio.ensure_future(_connect(mock, abort_timeout=0.05, admin_timeout=0))
        await until(lambda: _fetched(mock))
        mock.stuck = stuck
        begun = time.monotonic()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert time.monotonic() - begun < 3
        mock.silent = mock.stuck = False
        closed_rig(mock)


def _beyond(mock: MockController, count: int, connecting: asyncio.Future[Any]) -> bool:
    return mock.queue(0).fetched > count or connecting.done()


def _fetched(mock: MockController) -> int:
    try:
        return mock.queue(0).fetched
    except aionvme.UsageError:  # not there yet
        return 0


async def test_silent_controller_fails_to_come_up() -> None:
    """A controller that answers no command has failed after `admin_timeout` and `abort_timeout`."""
    with MockController(timeout=0.5) as mock:
        mock.silent = True
        with pytest.raises((FAILED, aionvme.CommandTimeoutError)):
            await _connect(mock, abort_timeout=0.05, admin_timeout=0.05)
        mock.silent = False
        closed_rig(mock)


async def test_refused_identify_is_the_error() -> None:
    """A status that bring-up cannot go on from is raised as it is."""
    with MockController() as mock:
        mock.fail(0x0006, qid=0, opcode=IDENTIFY)
        with pytest.raises(aionvme.GenericStatusError, match="INTERNAL_ERROR"):
            await _connect(mock)
        closed_rig(mock)


async def test_unknown_command_set_is_refused() -> None:
    """A command set that there is not leaves the device alone, closed."""
    with MockController() as mock:
        with pytest.raises(aionvme.UsageError, match=r"0 .NVM., 6 .all. or 7"):
            await _connect(mock, command_set=3)
        closed_rig(mock)


async def test_in_use() -> None:
    """A second connect says that the function is in use, and does not disturb the first."""
    async with rig() as r:
        with pytest.raises(aionvme.AddressError, match="in use"):
            await _connect(r.mock)
        await r.works()


async def test_options_as_finally_used() -> None:
    """`opts` says what was granted; what the caller passed is not changed."""
    with MockController(num_io_queues=3, queue_entries=64) as mock:
        opts = aionvme.ControllerOptions(
            num_io_queues=100, arb_mechanism=aionvme.ArbMechanism.WEIGHTED_ROUND_ROBIN
        )
        async with aionvme.connect(mock, opts) as ctrlr:
            assert ctrlr.opts.num_io_queues == 3
            assert ctrlr.opts.arb_mechanism is aionvme.ArbMechanism.ROUND_ROBIN
            assert ctrlr.opts.command_set == 0
            assert ctrlr.opts.host_id is not None
            assert len(ctrlr.opts.host_id) == 16
            async with ctrlr.alloc_io_qpair() as qp:
                assert qp.depth == 63
        assert (opts.num_io_queues, opts.host_id, opts.command_set) == (100, None, None)


async def test_weighted_round_robin() -> None:
    """Where the controller has it, each queue pair has its priority class, and the weights are set.

    From 1.
    """
    weights: dict[str, Any] = {
        "low_priority_weight": 2,
        "medium_priority_weight": 8,
        "high_priority_weight": 32,
    }
    async with rig(
        MockController(wrr=True, timeout=0.5), arb_mechanism=1, arbitration_burst=3, **weights
    ) as r:
        assert r.ctrlr.opts.arb_mechanism is aionvme.ArbMechanism.WEIGHTED_ROUND_ROBIN
        for qprio in aionvme.QPrio:
            async with r.ctrlr.alloc_io_qpair(qprio=qprio) as qp:
                assert r.mock.queue(qp.qid).qprio == qprio
                await qp.read(r.ns, r.buf, 0, 1)
        value = await r.ctrlr.get_feature(1)
        assert value.dw0 == 3 | 1 << 8 | 7 << 16 | 31 << 24
        await r.ctrlr.reset()
        assert (await r.ctrlr.get_feature(1)).dw0 == value.dw0
        assert r.mock.queue(1).qprio == aionvme.QPrio.MEDIUM


async def test_host_identifier_is_set() -> None:
    """The 16 bytes of the caller, or else some of this process's, are what the controller has then."""
    mine = bytes(range(1, 17))
    async with rig(host_id=mine) as r:
        assert r.ctrlr.opts.host_id == mine
        extended = r.ctrlr.data.ctratt & 1
        value = await r.ctrlr.get_feature(0x81, cdw11=extended, nbytes=16 if extended else 8)
        assert value.data == (mine if extended else mine[:8])


async def test_host_identifier_is_optional() -> None:
    """A controller that takes none comes up all the same, unless the caller chose one."""
    with MockController() as mock:
        mock.fail(0x0002, qid=0, opcode=SET_FEATURES)
        async with aionvme.connect(mock) as ctrlr:
            assert ctrlr.opts.host_id is None
        mock.fail(0x0002, qid=0, opcode=SET_FEATURES)
        with pytest.raises(aionvme.StatusError):
            await _connect(mock, host_id=bytes(range(16)))
        closed_rig(mock)


async def test_namespaces() -> None:
    """Each active namespace has its size, block size and boundary; inactive ones are not there."""
    configs = [
        NamespaceConfig(size=MiB),
        NamespaceConfig(size=4 * MiB, lba=4096, noiob=32),
        NamespaceConfig(size=MiB, active=False),
        NamespaceConfig(size=2 * MiB),
    ]
    async with rig(MockController(namespaces=configs, timeout=0.5)) as r:
        found = {
            nsid: (ns.nsid, ns.nblocks, ns.block_size, ns.boundary) for nsid, ns in r.ctrlr.namespaces.items()
        }
        assert found == {1: (1, 2048, 512, 0), 2: (2, 1024, 4096, 32), 4: (4, 4096, 512, 0)}
        buf = r.ctrlr.dma_alloc(4096)
        memoryview(buf)[:] = b"\x5a" * 4096
        await r.qp.write(r.ctrlr.namespaces[2], buf, 1023, 1)
        assert r.mock.peek(2, 1023) == b"\x5a" * 4096
        before = dict(r.ctrlr.namespaces)
        await r.ctrlr.reset()
        assert all(r.ctrlr.namespaces[nsid] is ns for nsid, ns in before.items())


@pytest.mark.parametrize(
    "opts",
    [
        {"num_io_queues": 0},
        {"num_io_queues": 65536},
        {"io_queue_depth": 0},
        {"admin_queue_depth": 1},
        {"admin_queue_depth": 4096},
        {"arbitration_burst": 8},
        {"low_priority_weight": 0},
        {"high_priority_weight": 257},
        {"arb_mechanism": 3},
        {"host_id": bytes(8)},
        {"host_id": bytes(16)},
        {"admin_timeout": -1},
        {"io_timeout": float("nan")},
        {"io_timeout": 10**400},
        {"abort_timeout": float("inf")},
    ],
)
async def test_options_that_cannot_be(opts: dict[str, Any]) -> None:
    """An option out of its range is refused when it is given, and when it is set, with its name."""
    [(name, value)] = opts.items()
    with pytest.raises(aionvme.UsageError, match=name):
        aionvme.ControllerOptions(**opts)
    given = aionvme.ControllerOptions()
    with pytest.raises(aionvme.UsageError, match=name):
        setattr(given, name, value)


async def test_probe() -> None:
    """Each device is asked for, the claimed ones come up with the options that the callback left."""
    with MockController() as first, MockController(num_io_queues=2) as second, MockController() as third:
        asked: list[str] = []
        attached: list[tuple[str, aionvme.Controller, aionvme.ControllerOptions]] = []
        ctx = object()

        def wants(got: object, pci_dev: PciDevice, opts: aionvme.ControllerOptions) -> bool:
            assert got is ctx
            asked.append(pci_dev.bdf)
            opts.io_queue_depth = 7
            opts.num_io_queues = 5
            return pci_dev != third.pci_dev

        def has(
            got: object, pci_dev: PciDevice, ctrlr: aionvme.Controller, opts: aionvme.ControllerOptions
        ) -> None:
            assert got is ctx
            attached.append((pci_dev.bdf, ctrlr, opts))

        mocks = [first, second, third]
        await aionvme.probe(ctx, wants, has, addresses=mocks)
        assert asked == [mock.pci_dev.bdf for mock in mocks]
        assert {bdf for bdf, _, _ in attached} == {first.pci_dev.bdf, second.pci_dev.bdf}
        assert {opts.num_io_queues for _, _, opts in attached} == {5, 2}
        assert all(ctrlr.opts is opts for _, ctrlr, opts in attached)
        async with attached[0][1].alloc_io_qpair() as qp:
            assert qp.depth == 7
        # Again: only what is not open here.
        asked.clear()
        await aionvme.probe(ctx, wants, has, addresses=mocks)
        assert asked == [third.pci_dev.bdf]
        assert len(attached) == 2
        for _, ctrlr, _ in attached:
            await ctrlr.close()
        asked.clear()
        await aionvme.probe(ctx, lambda *args: wants(*args) and False, has, addresses=mocks)
        assert len(asked) == 3


async def test_one_that_fails_does_not_stop_the_others() -> None:
    """The others are attached; what failed is raised afterwards, all together."""
    with MockController() as good, MockController(timeout=0.5) as bad, MockController() as better:
        bad.stuck = True
        attached: list[aionvme.Controller] = []
        with pytest.raises(ExceptionGroup, match="1 of 3") as caught:
            await aionvme.probe(
                None,
                lambda *_: True,
                lambda _ctx, _dev, ctrlr, _opts: attached.append(ctrlr),
                addresses=[good, bad, better],
            )
        assert [type(error) for error in caught.value.exceptions] == [FAILED]
        assert {ctrlr.pci_dev for ctrlr in attached} == {good.pci_dev, better.pci_dev}
        for ctrlr in attached:
            await ctrlr.close()
        bad.stuck = False
        closed_rig(bad)


async def test_admin_commands_in_both_spellings() -> None:
    """Awaited, a command gives its value; called back, the completion has it.

    A status is raised, or given.
    """
    async with rig() as r:
        told: asyncio.Queue[tuple[str, aionvme.Completion]] = asyncio.Queue()

        def tell(arg: str, cpl: aionvme.Completion) -> None:
            told.put_nowait((arg, cpl))

        data = await r.ctrlr.identify(1)
        assert data.cntlid == r.ctrlr.data.cntlid
        r.ctrlr.submit_identify(1, tell, "identify")
        arg, cpl = await told.get()
        assert (arg, cpl.value.cntlid, bool(cpl.status)) == ("identify", data.cntlid, False)

        page = await r.ctrlr.get_log_page(2)
        assert page.temperature_c > 0
        r.ctrlr.submit_get_log_page(2, tell, "log", nbytes=64)
        assert len((await told.get())[1].value) == 64

        assert await r.ctrlr.set_feature(1, cdw11=0x02) == 0
        assert (await r.ctrlr.get_feature(1)).dw0 & 7 == 2
        r.ctrlr.submit_set_feature(1, tell, "set", cdw11=0x03)
        await told.get()
        r.ctrlr.submit_get_feature(1, tell, "get")
        assert (await told.get())[1].value.dw0 & 7 == 3

        assert await r.ctrlr.abort(1, 0x3FFF) is False
        r.ctrlr.submit_abort(1, 0x3FFF, tell, "abort")
        assert (await told.get())[1].value is False

        bad = bytes([0xFF, *bytes(63)])
        with pytest.raises(aionvme.GenericStatusError) as caught:
            await r.ctrlr.admin_raw(bad)
        assert (caught.value.status.name, caught.value.opcode, caught.value.qid) == (
            "INVALID_OPCODE",
            0xFF,
            0,
        )
        r.ctrlr.submit_admin_raw(bad, tell, "raw")
        arg, cpl = await told.get()
        assert (arg, cpl.status.name, cpl.value) == ("raw", "INVALID_OPCODE", None)


async def test_admin_command_is_cancelled() -> None:
    """An admin command is aborted as an I/O command is."""
    async with rig() as r:
        r.mock.hold(qid=0, opcode=IDENTIFY, count=1)
        task: asyncio.Task[Any] = asyncio.create_task(r.ctrlr.identify(1))
        await turns()
        await until(lambda: r.mock.queue(0).opcodes[IDENTIFY] >= 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await r.ctrlr.identify(1)).cntlid == r.ctrlr.data.cntlid


async def test_several_queue_pairs() -> None:
    """Queue pairs have identifiers of their own from 1, each works, and a closed one's is used again."""
    async with rig() as r:
        async with r.ctrlr.alloc_io_qpair(depth=1) as second, r.ctrlr.alloc_io_qpair(depth=1023) as third:
            assert [r.qp.qid, second.qid, third.qid] == [1, 2, 3]
            assert [r.mock.queue(qp.qid).entries for qp in (r.qp, second, third)] == [129, 2, 1024]
            for qp in (second, third):
                await asyncio.gather(*(qp.read(r.ns, r.buf, lba, 1) for lba in range(10)))
            await second.close()
            async with r.ctrlr.alloc_io_qpair() as again:
                assert again.qid == 2
        assert r.mock.queue(0).opcodes[CREATE_CQ] == 4
