"""What is told of functions that come and go, in a machine in a folder, with messages as the kernel sends them."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from aionvme.pci.hotplug import Hotplug, HotplugEvent
from aionvme.tests.unit.pci.machine import BDF, FakeMachine

if TYPE_CHECKING:
    from collections.abc import Coroutine

OTHER = "0000:02:00.0"

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]


class Kernel:
    """The kernel's side: changes what sysfs shows, and sends the message."""

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.near.setblocking(False)

    def message(self, action: str, bdf: str = BDF) -> None:
        """Tells, and changes nothing."""
        self.far.send(
            f"{action}@/devices/{bdf}\0ACTION={action}\0SUBSYSTEM=pci\0PCI_SLOT_NAME={bdf}\0".encode()
        )

    def add(self, bdf: str = BDF, driver: str | None = None, **keywords: Any) -> None:
        """A function appears."""
        self.machine.function(bdf, driver=driver, group=None, **keywords)
        self.message("add", bdf)

    def bind(self, bdf: str = BDF, driver: str = "vfio-pci") -> None:
        """A driver takes it."""
        link = self.machine.sys / "bus/pci/devices" / bdf / "driver"
        link.symlink_to(self.machine.sys / "bus/pci/drivers" / driver)
        self.message("bind", bdf)

    def unbind(self, bdf: str = BDF) -> None:
        """Its driver lets go of it."""
        (self.machine.sys / "bus/pci/devices" / bdf / "driver").unlink()
        self.message("unbind", bdf)

    def remove(self, bdf: str = BDF, *, told: bool = True) -> None:
        """It goes."""
        path = self.machine.sys / "bus/pci/devices" / bdf
        for entry in path.iterdir():
            entry.unlink()
        path.rmdir()
        if told:
            self.message("remove", bdf)

    def hotplug(self, **keywords: Any) -> Hotplug:
        """What is tested."""
        return Hotplug(host=self.machine, sock=self.near, **keywords)


@pytest.fixture
def kernel(machine: FakeMachine) -> Iterator[Kernel]:
    """A machine without functions."""
    kernel = Kernel(machine)
    yield kernel
    kernel.near.close()
    kernel.far.close()


async def told(events: Hotplug) -> list[tuple[str, str, bool]]:
    """What is told without waiting: kind, address, and whether it is bound."""
    found: list[tuple[str, str, bool]] = []
    end = HotplugEvent("removed", None, "end")  # type: ignore[arg-type]
    events.tell(end)
    async for event in events:
        if event is end:
            # What was read after it was put there.
            if not events._events:
                break
            events.tell(end)
            continue
        assert event.address == event.pci_dev.bdf
        found.append((event.kind, event.pci_dev.bdf, event.bound))
    return found


async def test_added_when_it_can_be_opened(kernel: Kernel) -> None:
    """Not when it appears, but when vfio-pci has it; removed when that has ended, once."""
    async with kernel.hotplug() as events:
        kernel.add()
        assert await told(events) == []
        kernel.bind()
        assert await told(events) == [("added", BDF, True)]
        kernel.message("change")
        kernel.message("bind")
        assert await told(events) == []
        kernel.unbind()
        assert await told(events) == [("removed", BDF, True)]
        kernel.remove()
        assert await told(events) == []


async def test_unbound_functions_when_asked_for(kernel: Kernel) -> None:
    """With `unbound`, also what another driver has; becoming usable is an addition of its own."""
    async with kernel.hotplug(unbound=True) as events:
        kernel.add(driver="nvme")
        kernel.message("bind")
        assert await told(events) == [("added", BDF, False)]
        kernel.unbind()
        assert await told(events) == []
        kernel.bind()
        assert await told(events) == [("added", BDF, True)]
        kernel.unbind()
        assert await told(events) == [("removed", BDF, True), ("added", BDF, False)]
        kernel.remove()
        assert await told(events) == [("removed", BDF, False)]


async def test_other_classes_are_not_told(kernel: Kernel) -> None:
    """A function that is no NVMe controller comes and goes unnoticed."""
    async with kernel.hotplug(unbound=True) as events:
        kernel.add(class_code=0x020000)
        kernel.bind()
        kernel.unbind()
        kernel.remove()
        assert await told(events) == []


async def test_what_is_there_is_no_news(kernel: Kernel) -> None:
    """Functions that were there at the call are not told as added; that they go is."""
    kernel.machine.function(BDF, group=None)
    async with kernel.hotplug() as events:
        kernel.message("add")
        kernel.message("bind")
        assert await told(events) == []
        kernel.remove()
        assert await told(events) == [("removed", BDF, True)]


async def test_nothing_is_missed_before_the_first_iteration(kernel: Kernel) -> None:
    """What comes after the call and before anybody waits is told."""
    async with kernel.hotplug() as events:
        kernel.add(driver="vfio-pci")
        await asyncio.sleep(0)
        assert await told(events) == [("added", BDF, True)]


async def test_replaced_before_we_looked(kernel: Kernel) -> None:
    """One that was taken out, and another put in its place at once, are two events."""
    kernel.machine.function(BDF, group=None)
    async with kernel.hotplug() as events:
        kernel.remove()
        kernel.add(driver="vfio-pci")
        kernel.message("bind")
        assert await told(events) == [("removed", BDF, True), ("added", BDF, True)]


async def test_gone_before_we_looked(kernel: Kernel) -> None:
    """One that came and went before anybody looked was not there."""
    async with kernel.hotplug() as events:
        kernel.add(driver="vfio-pci")
        kernel.remove()
        assert await told(events) == []


class Overrun:
    """A socket whose buffer once ran over."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.lost = False

    def recvmsg(self, most: int) -> Any:
        """The kernel's answer."""
        if self.lost:
            self.lost = False
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        return self._sock.recvmsg(most)

    def fileno(self) -> int:
        """Of the real one."""
        return self._sock.fileno()

    def close(self) -> None:
        """Closes the real one."""
        self._sock.close()


async def test_lost_messages(kernel: Kernel) -> None:
    """After an overrun what is there is looked at anew: nothing is missed, and nothing told twice."""
    kernel.machine.function(BDF, group=None)
    sock = Overrun(kernel.near)
    async with Hotplug(host=kernel.machine, sock=sock) as events:  # type: ignore[arg-type]
        kernel.remove(told=False)
        kernel.machine.function(OTHER, group=None)
        sock.lost = True
        kernel.message("bind", OTHER)
        assert await told(events) == [("removed", BDF, True), ("added", OTHER, True)]


async def test_another_device_in_its_place_after_an_overrun(kernel: Kernel) -> None:
    """A function whose identifiers have changed is another one."""
    path = kernel.machine.function(BDF, group=None)
    sock = Overrun(kernel.near)
    async with Hotplug(host=kernel.machine, sock=sock) as events:  # type: ignore[arg-type]
        (path / "device").write_text("0xa80a\n")
        sock.lost = True
        assert await told(events) == [("removed", BDF, True), ("added", BDF, True)]


async def test_hostile_messages(kernel: Kernel) -> None:
    """Bytes that are no message change nothing, and stop nothing."""
    async with kernel.hotplug() as events:
        for message in (b"\xff" * 100, b"@", b"add@x\0SUBSYSTEM=pci\0ACTION=add\0PCI_SLOT_NAME=../..", b"\0"):
            kernel.far.send(message)
        kernel.add(driver="vfio-pci")
        assert await told(events) == [("added", BDF, True)]


async def test_it_waits_without_a_turn_of_the_loop(kernel: Kernel) -> None:
    """While nothing comes nothing runs: the waiting task is not resumed, and is when something comes."""
    async with kernel.hotplug() as events:
        reads = 0
        read = events._read

        def counted() -> bool:
            nonlocal reads
            reads += 1
            return read()

        events._read = counted  # type: ignore[method-assign]
        waiting = asyncio.ensure_future(_next(events))
        for _ in range(100):
            await asyncio.sleep(0)
        assert reads == 1
        kernel.add(driver="vfio-pci")
        assert (await waiting).kind == "added"


def _next(events: Hotplug) -> Coroutine[Any, Any, HotplugEvent]:
    return events.__anext__()


async def test_many_messages_leave_the_loop_its_turns(kernel: Kernel) -> None:
    """A flood of messages is read in bounded pieces."""
    async with kernel.hotplug() as events:
        waiting = asyncio.ensure_future(_next(events))
        sent = 0
        kernel.far.setblocking(False)
        for _ in range(400):
            try:
                kernel.message("change")
                sent += 1
            except BlockingIOError:
                await asyncio.sleep(0)
        assert sent > 50
        kernel.far.setblocking(True)
        kernel.add(driver="vfio-pci")
        assert (await waiting).address == BDF


async def test_several_listen(kernel: Kernel, machine: FakeMachine) -> None:
    """Each who listens is told everything; tasks that share one get each event once."""
    second = Kernel(machine)
    async with kernel.hotplug() as one, second.hotplug() as other:
        tasks = [asyncio.create_task(_next(one)) for _ in range(2)]
        kernel.add(BDF, "vfio-pci")
        kernel.add(OTHER, "vfio-pci")
        second.message("add", BDF)
        second.message("add", OTHER)
        assert [event.address for event in await asyncio.gather(*tasks)] == [BDF, OTHER]
        assert await told(other) == [("added", BDF, True), ("added", OTHER, True)]
    second.far.close()


async def test_close_ends_who_waits(kernel: Kernel) -> None:
    """A task that waits leaves its loop when the iterator is closed; so does one that comes later."""
    events = kernel.hotplug()

    async def listen() -> str:
        async for _ in events:
            pass
        return "ended"

    waiting = [asyncio.create_task(listen()) for _ in range(2)]
    for _ in range(5):
        await asyncio.sleep(0)
    await events.close()
    await events.close()
    assert await asyncio.gather(*waiting, listen()) == ["ended"] * 3


async def test_cancelled_while_it_waits(kernel: Kernel) -> None:
    """Nothing stays in the loop, and the next who waits is told."""
    async with kernel.hotplug() as events:
        waiting = asyncio.ensure_future(_next(events))
        await asyncio.sleep(0)
        waiting.cancel()
        assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], asyncio.CancelledError)
        kernel.add(driver="vfio-pci")
        assert (await _next(events)).kind == "added"


async def test_left_by_break(kernel: Kernel) -> None:
    """A loop that is left closes the socket when the iterator is dropped, without a word."""
    kernel.add(driver="vfio-pci")
    kernel.unbind()
    events = kernel.hotplug()
    kernel.bind()
    async for event in events:
        assert event.kind == "added"
        break
    del events
    assert kernel.near.fileno() == -1


async def test_a_first_look_that_fails_leaves_nothing(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket is closed where the iterator can't be made."""

    def fails(_root: object) -> list[Any]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("aionvme.pci.hotplug.discover", fails)
    with pytest.raises(OSError, match="Input/output"):
        kernel.hotplug()
    assert kernel.near.fileno() == -1
