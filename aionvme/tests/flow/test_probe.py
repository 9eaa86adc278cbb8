"""Finding and attaching controllers: whom it asks, what runs side by side, and what is left when it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import pytest

import aionvme
from aionvme.admin import claims
from aionvme.mock import MockController
from aionvme.pci.device import PciDevice
from aionvme.tests.flow.support import (
    IDENTIFY,
    PATIENCE,
    Recorder,
    closed_rig,
    fetched,
    kinds,
    quiet,
    turns,
    until,
)
from aionvme.tests.leaks import Census

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks", "no_claims")]

FAILED = aionvme.ControllerFailedError


@pytest.fixture
def no_claims() -> Generator[None]:
    """Afterwards every function may be taken again."""
    yield
    assert claims._claims == {}


@attrs.define
class Log:
    """The callbacks of a probe, and what they were called with."""

    wanted: Callable[[PciDevice], bool] = lambda _device: True
    asked: list[str] = attrs.field(factory=list)
    attached: list[aionvme.Controller] = attrs.field(factory=list)
    removed: list[aionvme.Controller] = attrs.field(factory=list)

    def probe_cb(self, ctx: object, pci_dev: PciDevice, opts: aionvme.ControllerOptions) -> bool:
        """Notes that it was asked."""
        assert ctx is self
        opts.abort_timeout = 0.05
        self.asked.append(pci_dev.bdf)
        return self.wanted(pci_dev)

    def attach_cb(
        self, ctx: object, pci_dev: PciDevice, ctrlr: aionvme.Controller, _opts: aionvme.ControllerOptions
    ) -> None:
        """Keeps the controller."""
        assert ctx is self
        assert ctrlr.pci_dev == pci_dev
        self.attached.append(ctrlr)

    def remove_cb(self, ctx: object, ctrlr: aionvme.Controller) -> None:
        """Notes that it was removed."""
        assert ctx is self
        self.removed.append(ctrlr)

    def probe(self, *addresses: Any) -> Coroutine[Any, Any, None]:
        """A probe with these callbacks."""
        return aionvme.probe(
            self, self.probe_cb, self.attach_cb, remove_cb=self.remove_cb, addresses=addresses
        )

    async def close(self) -> None:
        """Detaches all."""
        for ctrlr in self.attached:
            await aionvme.detach(ctrlr)


@asynccontextmanager
async def logged(**keywords: Any) -> AsyncIterator[Log]:
    """A log whose controllers are detached at the end."""
    log = Log(**keywords)
    try:
        async with asyncio.timeout(PATIENCE):
            yield log
    finally:
        await log.close()


# -- whom it asks ------------------------------------------------------------------------------------------------------


async def test_two_probes_at_once_ask_once() -> None:
    """What one probe is bringing up, another neither asks for nor takes."""
    with MockController() as first, MockController() as second:
        async with logged() as log:
            await asyncio.gather(log.probe(first, second), log.probe(second, first))
            assert sorted(log.asked) == sorted([first.pci_dev.bdf, second.pci_dev.bdf])
            assert len(log.attached) == 2


async def test_probes_in_two_threads_ask_once() -> None:
    """Of two threads that probe at once one gets each device."""
    mocks = [MockController() for _ in range(4)]
    logs = [Log(), Log()]

    async def in_thread(log: Log) -> None:
        await log.probe(*mocks)
        await log.close()

    await asyncio.gather(*(asyncio.to_thread(asyncio.run, in_thread(log)) for log in logs))
    # One that was detached before the other thread looked may have been asked for again.
    attached = [ctrlr.pci_dev.bdf for log in logs for ctrlr in log.attached]
    assert set(attached) == {mock.pci_dev.bdf for mock in mocks}
    for mock in mocks:
        closed_rig(mock)
        mock.close()


async def test_what_is_connected_is_not_asked_for() -> None:
    """A controller that `connect` has, or is bringing up, is claimed; a connect to it says that it is in use."""
    with MockController() as mock:
        held = mock.hold(qid=0, opcode=IDENTIFY, count=1)
        connecting = asyncio.ensure_future(_connect(mock))
        await until(lambda: held.commands)
        async with logged() as log:
            await log.probe(mock)
            assert log.asked == []
            with pytest.raises(aionvme.AddressError, match="in use"):
                await _connect(mock)
            held.release(1)
            ctrlr = await connecting
            await log.probe(mock)
            assert log.asked == []
            await ctrlr.close()
            await log.probe(mock)
            assert len(log.attached) == 1


async def test_what_is_not_wanted_may_be_taken_by_another() -> None:
    """A probe that was told no, or whose callback raised, leaves nothing claimed and no mock of its own behind."""
    with MockController() as mock:
        async with logged(wanted=lambda _device: False) as log:
            await log.probe(mock, "mock:", "mock:")
            assert len(log.asked) == 3
        async with logged(wanted=lambda device: device == mock.pci_dev or 1 // 0) as log:
            with pytest.raises(ZeroDivisionError):
                await log.probe(mock, "mock:")
            assert log.attached == []
        await (await _connect(mock)).close()


async def test_one_name_twice() -> None:
    """Two devices that give the same name are two; one device that is listed twice is one."""
    with MockController() as first, MockController() as second:
        second.pci_dev = first.pci_dev
        async with logged() as log:
            await log.probe(first, first, second)
            assert len(log.asked) == 2
            one, other = log.attached
            await one.close()
            await log.probe(first, second)
            assert len(log.attached) == 3
            assert not other.closed


async def test_an_address_is_one_mock_in_each_of_its_places() -> None:
    """Two equal addresses make two mocks, and are not made again while they are attached."""
    async with logged() as log:
        await log.probe("mock:", "mock:?lba=4096", "mock:")
        assert len(log.attached) == 3
        await log.probe("mock:", "mock:?lba=4096", "mock:")
        assert len(log.asked) == 3
        await log.attached[0].close()
        await log.probe("mock:", "mock:?lba=4096", "mock:")
        assert len(log.asked) == 4


# -- side by side ------------------------------------------------------------------------------------------------------


async def test_each_is_attached_as_soon_as_it_is_up() -> None:
    """A controller that hangs delays no other: they are attached while it is still waited for."""
    with MockController() as slow, MockController() as first, MockController() as second:
        held = slow.hold(qid=0, count=1)
        async with logged() as log:
            probing = asyncio.ensure_future(log.probe(slow, first, second))
            await until(lambda: len(log.attached) == 2)
            await turns()
            assert not probing.done()
            assert {ctrlr.pci_dev for ctrlr in log.attached} == {first.pci_dev, second.pci_dev}
            held.release(1)
            await probing
            assert len(log.attached) == 3


async def test_what_cannot_be_had_is_reported_together() -> None:
    """A device in use, one that does not exist, one that never answers: each is in the group; the others come up."""
    quiet()
    with MockController() as good, MockController() as used, MockController(timeout=0.5) as dead:
        dead.stuck = True
        function = used.open()
        async with logged() as log:
            with pytest.raises(ExceptionGroup, match="4 of 5") as caught:
                await log.probe("0000:ff:1f.7", used, dead, "vfio-user:/run/nothing", good)
            assert sorted(type(error).__name__ for error in caught.value.exceptions) == [
                "AddressError",
                "AddressError",
                "AddressError",
                "ControllerFailedError",
            ]
            assert [ctrlr.pci_dev for ctrlr in log.attached] == [good.pci_dev]
        function.close()
        dead.stuck = False
        await (await _connect(used)).close()
        await (await _connect(dead)).close()


async def test_attach_cb_that_raises() -> None:
    """Its controller is closed, since nobody can be counted on to have it; the error is reported, others come up."""
    with MockController() as bad, MockController() as good:
        log = Log()

        def attach_cb(ctx: Log, device: PciDevice, ctrlr: aionvme.Controller, opts: Any) -> None:
            if device == bad.pci_dev:
                raise LookupError("no room")
            log.attach_cb(ctx, device, ctrlr, opts)

        with pytest.raises(ExceptionGroup, match="1 of 2") as caught:
            await aionvme.probe(log, log.probe_cb, attach_cb, addresses=[bad, good])
        assert [type(error) for error in caught.value.exceptions] == [LookupError]
        assert [ctrlr.pci_dev for ctrlr in log.attached] == [good.pci_dev]
        closed_rig(bad)
        await log.close()


async def test_callbacks_are_plain_functions() -> None:
    """A coroutine function, whose result nobody would await, is refused; so is one address for a list."""

    async def nobody_awaits(*_args: object) -> bool:
        return True

    log = Log()
    for callbacks in (
        (nobody_awaits, log.attach_cb, None),
        (log.probe_cb, nobody_awaits, None),
        (log.probe_cb, log.attach_cb, nobody_awaits),
    ):
        probe_cb, attach_cb, remove_cb = callbacks
        with pytest.raises(TypeError, match="coroutine function"):
            await aionvme.probe(None, probe_cb, attach_cb, remove_cb=remove_cb, addresses=[])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a list"):
        await aionvme.probe(None, log.probe_cb, log.attach_cb, addresses="mock:")


# -- cancelling --------------------------------------------------------------------------------------------------------


class CancelledAt:
    """Awaits a coroutine, and cancels the task that does so when it waits for the nth time."""

    def __init__(self, coro: Coroutine[Any, Any, Any], nth: int) -> None:
        self._coro = coro
        self._nth = nth
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._coro.__await__()
        thrown: BaseException | None = None
        while True:
            try:
                waited = inner.throw(thrown) if thrown is not None else next(inner)
            except StopIteration as end:
                return end.value
            self.waits += 1
            if self.waits == self._nth:
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_soon(task.cancel)
            thrown = None
            try:
                yield waited
            except BaseException as error:
                thrown = error


@attrs.frozen
class Sickness:
    """A controller to cancel the bring-up of: how it is, and at how many of its awaits."""

    name: str
    options: dict[str, Any]
    most: int = 1 << 30
    silent: bool = False
    stuck: bool = False


SICK = [
    # The loop drives it, so that each command is waited for; all awaits from the first to the last.
    Sickness("well", {"drive": "loop"}),
    Sickness("well, of many namespaces, with shadow doorbells", {"drive": "loop", "namespaces": 3}),
    Sickness("slow", {"ready_delay": 60, "timeout": 60}, most=4),
    Sickness("stuck", {"timeout": 0.5}, most=4, stuck=True),
    Sickness("silent", {"timeout": 0.5}, silent=True),
]


@pytest.mark.spread("loop")
@pytest.mark.parametrize("sick", SICK, ids=lambda sick: sick.name)
async def test_cancelled_at_each_await(sick: Sickness) -> None:
    """Wherever bring-up is cancelled the device is disabled, and there is no descriptor, thread, task or claim left."""
    quiet()
    timeout = 0.1 if sick.silent else 60.0
    opts = aionvme.ControllerOptions(admin_timeout=timeout, abort_timeout=0.02, shadow_doorbells=True)
    nth, waits = 0, 1 << 30
    # Until it ends before it waits so often, well or badly.
    while nth < min(sick.most, waits + 1):
        nth += 1
        with MockController(**sick.options) as mock:
            mock.silent, mock.stuck = sick.silent, sick.stuck
            before = await Census.of_loop()
            attempt = CancelledAt(_connect(mock, opts), nth)
            ctrlr = None
            with suppress(asyncio.CancelledError, aionvme.NvmeError):
                ctrlr = await asyncio.create_task(_await(attempt))
            waits = attempt.waits
            if ctrlr is not None:
                await ctrlr.close()
            assert await before.leaked() == [], f"cancelled at await {nth}"
            assert claims._claims == {}
            mock.silent = mock.stuck = False
            closed_rig(mock)
    # Identifying, features and limits are a dozen commands and more.
    assert nth > (10 if sick.name.startswith("well") else 1)


async def _await(awaitable: Any) -> Any:
    return await awaitable


async def test_cancelled_probe_leaves_what_was_attached() -> None:
    """What was up is its owner's; of the others nothing is left, of those that had not begun neither."""
    with MockController() as up, MockController() as slow, MockController() as dead:
        slow.hold(qid=0, opcode=IDENTIFY)
        dead.silent = True
        async with logged() as log:
            probing = asyncio.ensure_future(log.probe(up, slow, dead))
            await until(lambda: log.attached)
            await fetched(slow, 1, qid=0)
            probing.cancel()
            slow.silent = False
            assert await kinds([probing]) == [asyncio.CancelledError]
            [ctrlr] = log.attached
            assert ctrlr.pci_dev == up.pci_dev
            async with ctrlr.alloc_io_qpair() as qp:
                await qp.flush(ctrlr.namespaces[1])
        dead.silent = False
        for mock in (up, slow, dead):
            closed_rig(mock)


async def test_probe_cancelled_before_it_began() -> None:
    """Bring-ups that never ran their first step have claimed nothing, and left no mock behind."""
    log = Log()
    probing = asyncio.create_task(log.probe("mock:", "mock:"))
    # The task has asked, and made a task for each; those have not had their turn.
    asyncio.get_running_loop().call_soon(probing.cancel)
    assert await kinds([probing]) == [asyncio.CancelledError]
    assert len(log.asked) == 2
    assert log.attached == []


async def test_a_dropped_controller_is_free_again() -> None:
    """A controller that was collected without a close warns, and may be probed for again."""
    with MockController() as mock:
        log = Log()
        await log.probe(mock)
        with pytest.warns(ResourceWarning, match="was not closed"):
            log.attached.clear()
        async with logged() as log:
            await log.probe(mock)
            assert len(log.attached) == 1


async def _connect(mock: Any, opts: aionvme.ControllerOptions | None = None) -> aionvme.Controller:
    return await aionvme.connect(mock, opts)


async def test_remove_cb_is_called_once() -> None:
    """Requested or by surprise, `remove_cb` is told of a removal once, and of a close not at all."""
    quiet()
    with MockController() as asked, MockController() as gone, MockController() as stays:
        async with logged() as log:
            await log.probe(asked, gone, stays)
            asked.request_removal()
            gone.remove()
            await until(lambda: len(log.removed) == 2)
            for ctrlr in log.attached:
                await ctrlr.close()
            await turns()
            assert {ctrlr.pci_dev for ctrlr in log.removed} == {asked.pci_dev, gone.pci_dev}


async def test_remove_cb_that_raises() -> None:
    """What it raises goes to the loop's exception handler; the controller is closed all the same."""
    quiet()
    with MockController() as mock:
        log = Log()

        def remove_cb(_ctx: object, _ctrlr: aionvme.Controller) -> None:
            raise LookupError("gone?")

        await aionvme.probe(log, log.probe_cb, log.attach_cb, remove_cb=remove_cb, addresses=[mock])
        with Recorder() as recorder:
            mock.request_removal()
            await until(lambda: recorder.contexts)
            assert isinstance(recorder.contexts[0]["exception"], LookupError)
        [ctrlr] = log.attached
        await ctrlr.close()
        with pytest.raises(aionvme.AddressError, match="removed"):
            mock.open()
