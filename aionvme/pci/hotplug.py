"""Owns `hotplug`: NVMe functions as they come and go.

The kernel's messages only say where to look: what is told is what sysfs shows then, compared with what was told before.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, Self

import attrs

from aionvme.errors import AddressError
from aionvme.pci import uevents
from aionvme.pci.discovery import discover, find
from aionvme.pci.host import Host

if TYPE_CHECKING:
    import socket
    from types import TracebackType

    from aionvme.pci.device import PciDevice

__all__ = ["Hotplug", "HotplugEvent", "announce", "hotplug"]

# Messages that are read before the loop has its turn.
_AT_ONCE = 256


@attrs.frozen
class HotplugEvent:
    """A function came or went.

    Attributes:
        kind: "added" or "removed".
        pci_dev: Which; as it was last seen, where it is gone.
        address: What `connect` and `probe` take for it: its PCI address, or the mock itself.
        bound: Whether it can be opened: it is bound to vfio-pci. Always true unless `hotplug(unbound=True)`.
    """

    kind: Literal["added", "removed"]
    pci_dev: PciDevice
    address: Any
    bound: bool = True


_listening: weakref.WeakSet[Hotplug] = weakref.WeakSet()


def announce(event: HotplugEvent) -> None:
    """For functions that the kernel does not know of: tells everybody in this process. From any thread."""
    for listener in list(_listening):
        listener.tell(event)


def hotplug(*, unbound: bool = False) -> Hotplug:
    """NVMe functions that come and go from this call on: `async for event in aionvme.hotplug()`.

    "added" is told when a function can be opened, which is when vfio-pci has been bound to it; "removed" when that has
    ended, because it was unbound, or is gone. While a controller of ours has it, the kernel waits with either until
    that is closed: what tells us is the removal request, and `probe`'s `remove_cb`.

    Nothing that comes between this call and the first iteration is missed, so call it before the first `probe`.
    Several may listen; each is told everything. Leave the loop, or `close()`, to end it.

    Args:
        unbound: Tell also of functions that another driver has, or none: "added" comes when it appears, with
            `event.bound` false, and again, with true, when vfio-pci has it.

    Raises:
        OSError: The kernel has no uevents for this process. In a network namespace of a container it has none to
            tell, and there is no error.
        RuntimeError: No event loop runs.
    """
    return Hotplug(unbound=unbound)


class Hotplug:
    """An asynchronous iterator of `HotplugEvent`, and an asynchronous context manager. Made by `hotplug`.

    It belongs to the loop that runs when it is made. Several tasks may share one: then each event goes to one of them.
    """

    def __init__(
        self, *, unbound: bool = False, host: Host | None = None, sock: socket.socket | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._unbound = unbound
        self._sys = (host or Host()).sys
        self._known: dict[str, PciDevice] = {}
        self._events: deque[HotplugEvent] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._turn = asyncio.Lock()
        self._closed = False
        # Before the first look: what changes after that is told by a message.
        self._sock = sock or uevents.open_socket()
        try:
            self._look_at_all()
        except BaseException:
            self._sock.close()
            raise
        # What is there already is no news.
        self._events.clear()
        _listening.add(self)

    # -- iterating -----------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> HotplugEvent:
        async with self._turn:
            while not self._closed:
                more = self._read()
                if self._events:
                    return self._events.popleft()
                if more:
                    await asyncio.sleep(0)
                elif not self._closed:
                    await self._wait()
        raise StopAsyncIteration

    async def _wait(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        # Only while somebody waits: nothing of ours stays in a loop that was left.
        self._loop.add_reader(self._sock, self._wake)
        try:
            await waiter
        finally:
            self._waiter = None
            if not self._closed:
                self._loop.remove_reader(self._sock)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def tell(self, event: HotplugEvent) -> None:
        """Tells of a function that the kernel does not know of. From any thread."""
        self._events.append(event)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._wake)

    async def close(self) -> None:
        """Ends it, also for a task that waits for the next event. May be called twice."""
        self._close()

    aclose = close

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        _listening.discard(self)
        if self._waiter is not None:
            self._loop.remove_reader(self._sock)
            self._wake()
        self._sock.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._close()

    def __del__(self) -> None:
        # Left by `break`: nobody waits, so nothing but the socket is open.
        if not getattr(self, "_closed", True):
            self._closed = True
            self._sock.close()

    # -- what has changed ----------------------------------------------------------------------------------------------

    def _read(self) -> bool:
        """Takes the messages that have come; whether there may be more."""
        try:
            for uevent in uevents.receive(self._sock, _AT_ONCE):
                if isinstance(uevent, uevents.Overrun):
                    self._look_at_all()
                    continue
                known = self._known.get(uevent.bdf)
                gone = uevent.action == "remove" or (
                    uevent.action == "unbind" and known is not None and known.bound_to_vfio
                )
                if gone:
                    # Told even if another is in its place by now.
                    self._forget(uevent.bdf)
                self._look_at(uevent.bdf)
        except BlockingIOError:
            return False
        return True

    def _look_at_all(self) -> None:
        found = {device.bdf for device in discover(self._sys)}
        for bdf in [*(bdf for bdf in self._known if bdf not in found), *sorted(found)]:
            self._look_at(bdf)

    def _look_at(self, bdf: str) -> None:
        try:
            device = find(bdf, self._sys)
        except (AddressError, OSError, ValueError):
            self._forget(bdf)
            return
        if not device.is_nvme or not (device.bound_to_vfio or self._unbound):
            self._forget(bdf)
            return
        known = self._known.get(bdf)
        if known is not None:
            if _same(known, device):
                return
            # Becoming usable is told alone: nothing has gone.
            if known.bound_to_vfio or not _same(known, device, but_for_driver=True):
                self._forget(bdf)
        self._known[bdf] = device
        self._add("added", device)

    def _forget(self, bdf: str) -> None:
        device = self._known.pop(bdf, None)
        if device is not None:
            self._add("removed", device)

    def _add(self, kind: Literal["added", "removed"], device: PciDevice) -> None:
        self._events.append(HotplugEvent(kind, device, device.bdf, device.bound_to_vfio))


def _same(one: PciDevice, other: PciDevice, *, but_for_driver: bool = False) -> bool:
    """Whether both may be the same function, with vfio-pci bound to it or not."""
    ids = ("vendor_id", "device_id", "subvendor_id", "subdevice_id", "revision")
    same = all(getattr(one, name) == getattr(other, name) for name in ids)
    return same and (but_for_driver or one.bound_to_vfio == other.bound_to_vfio)
