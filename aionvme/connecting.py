"""Owns the way from an address to a controller and back: `connect`, `probe`, `detach`, and `run`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import inspect
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable, Iterable
from functools import partial
from typing import Any, Protocol, TypeVar

import attrs

from aionvme.admin import claims
from aionvme.admin.claims import Claim
from aionvme.admin.controller import Controller
from aionvme.admin.options import ControllerOptions
from aionvme.errors import AddressError, NvmeError
from aionvme.pci.address import MockAddress, PciAddress, VfioUserAddress, parse_address
from aionvme.pci.device import PciDevice
from aionvme.pci.discovery import discover, find
from aionvme.pci.function import Function
from aionvme.qpair.opening import Opening
from aionvme.qpair.poller import run_to_end, wait_to_end

T = TypeVar("T")


_MORE_DESCRIPTORS = (
    "a controller takes one for each of its interrupt vectors, and some for its memory. Raise the limit (`ulimit -n`), "
    "or use fewer vectors (ControllerOptions.num_io_queues)"
)


class Device(Protocol):
    """What can be connected to besides an address: something that opens as a function, such as a `MockController`."""

    @property
    def pci_dev(self) -> PciDevice:
        """Which function it is."""

    def open(self) -> Function:
        """The function behind the seam; `AddressError` if it is in use."""


Address = str | PciAddress | MockAddress | VfioUserAddress | Device


@attrs.frozen
class _Source:
    """Where a function comes from.

    Attributes:
        pci_dev: Which one it will be.
        open: Opens it.
        drop: Called if it is never opened.
        blocks: Whether opening takes long enough to be done in a thread.
    """

    pci_dev: PciDevice
    open: Callable[[], Function]
    drop: Callable[[], object] = lambda: None
    blocks: bool = False


def _parse(address: Address) -> PciAddress | MockAddress | VfioUserAddress | Device:
    if isinstance(address, str):
        return parse_address(address)
    if isinstance(address, PciAddress | MockAddress | VfioUserAddress):
        return address
    if not (hasattr(address, "open") and hasattr(address, "pci_dev")):
        raise TypeError(f"an address is a str or a MockController, not {type(address).__name__}")
    return address


def _source(address: PciAddress | MockAddress | VfioUserAddress | Device) -> _Source:
    # Imported here: a program has one kind of controller, and does not load the ways to the others.
    if isinstance(address, PciAddress):
        # Taking a function from the kernel resets it, which takes a tenth of a second and more.
        return _Source(find(address.bdf), partial(_open_pci, address), blocks=True)
    if isinstance(address, MockAddress):
        from aionvme.mock import MockController

        mock = MockController.from_options(address.options)
        return _Source(mock.pci_dev, lambda: mock.open(owned=True), mock.close)
    if isinstance(address, VfioUserAddress):
        from aionvme.pci.vfio_user.opening import describe, open_vfio_user

        return _Source(describe(address), partial(open_vfio_user, address), blocks=True)
    return _Source(address.pci_dev, address.open)


def _open_pci(address: PciAddress) -> Function:
    from aionvme.pci.vfio import open_vfio

    return open_vfio(address)


class _Object:
    """What an object is known by that need not be hashable: itself."""

    def __init__(self, device: object) -> None:
        self.device = device

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Object) and other.device is self.device

    def __hash__(self) -> int:
        return id(self.device)


def _key(address: PciAddress | MockAddress | VfioUserAddress | Device) -> Hashable:
    """What a function is claimed by. Of two objects that give the same name each is one of its own."""
    if isinstance(address, PciAddress):
        return address.bdf
    if isinstance(address, VfioUserAddress):
        from aionvme.pci.vfio_user.opening import socket_path

        return socket_path(address)
    return str(address) if isinstance(address, MockAddress) else _Object(address)


async def _attach(
    source: _Source, opts: ControllerOptions, claim: Claim, on_removed: Any = None
) -> Controller:
    """Opens the function and brings the controller up; whatever happens, an end of it releases the claim."""
    ends = contextlib.ExitStack()
    ends.callback(claim.release)
    try:
        function = await _open(source)
        ctrlr = await Controller.attach(function, opts, on_closed=ends.close, on_removed=on_removed)
    except BaseException as error:
        claim.release()
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            raise OSError(error.errno, f"{source.pci_dev}: {error.strerror}: {_MORE_DESCRIPTORS}") from error
        raise
    if os.environ.get("AIONVME_METRICS"):
        try:
            await _publish(ctrlr, ends)
        except BaseException:
            await run_to_end(ctrlr.close())
            raise
    return ctrlr


async def _publish(ctrlr: Controller, ends: contextlib.ExitStack) -> None:
    """Has `aionvme top` see a controller, as the environment asks, until it is closed."""
    from aionvme.metrics.publishing import publish_unasked

    publication = await publish_unasked(ctrlr)
    if publication is not None:
        ends.callback(publication.stop)


async def _open(source: _Source) -> Function:
    if not source.blocks:
        return source.open()
    opening = asyncio.get_running_loop().run_in_executor(None, source.open)
    try:
        return await wait_to_end(opening)
    except asyncio.CancelledError:
        if opening.exception() is None:
            await run_to_end(_close(opening.result()))
        raise


async def _close(function: Function) -> None:
    await asyncio.get_running_loop().run_in_executor(None, function.close)


def connect(address: Address, opts: ControllerOptions | None = None) -> Opening[Controller]:
    """Opens a controller: `ctrlr = await connect(...)`, or `async with connect(...) as ctrlr`, which closes it.

    Args:
        address: "0000:01:00.0", "mock:", SPDK's "trtype:PCIE traddr:0000:01:00.0", ..., or a `MockController`.
        opts: How to bring it up; it is copied, and `Controller.opts` says how it was.

    Raises:
        AddressError: There is no such controller, or it can't be had: the message says what to run.
        ControllerFailedError: It does not come up.
        ControllerLostError: It is gone.
        StatusError: It refused a command that every controller must take.
    """
    return Opening(lambda: _connect(address, opts), f"connect({address!r})")


async def _connect(address: Address, opts: ControllerOptions | None) -> Controller:
    if opts is not None and not isinstance(opts, ControllerOptions):
        raise TypeError(f"opts is an aionvme.ControllerOptions or None, not {type(opts).__name__}")
    chosen = attrs.evolve(opts) if opts is not None else ControllerOptions()
    parsed = _parse(address)
    # "mock:" makes another mock each time.
    key = object() if isinstance(parsed, MockAddress) else _key(parsed)
    source = _source(parsed)
    claim = claims.take(key)
    if claim is None:
        raise AddressError(f"{source.pci_dev} is in use: this process has it already, or is connecting to it")
    return await _attach(source, chosen, claim)


async def detach(ctrlr: Controller) -> None:
    """Shuts a controller down and gives it back: `await ctrlr.close()` by another name. See `Controller.close`."""
    await ctrlr.close()


ProbeCallback = Callable[[Any, PciDevice, ControllerOptions], bool]
AttachCallback = Callable[[Any, PciDevice, Controller, ControllerOptions], object]
RemoveCallback = Callable[[Any, Controller], object]


async def probe(
    cb_ctx: Any,
    probe_cb: ProbeCallback,
    attach_cb: AttachCallback,
    *,
    remove_cb: RemoveCallback | None = None,
    addresses: Iterable[Address] | None = None,
) -> None:
    """Finds controllers, asks for each whether it is wanted, and brings up the wanted ones side by side.

    Call it again to find new ones: a function that this process has, or is bringing up, is not asked for again.

    Args:
        cb_ctx: Handed to the callbacks, which are plain functions.
        probe_cb: `probe_cb(cb_ctx, pci_dev, opts) -> bool`: true claims the function; may change `opts`. What it
            raises is raised here, and nothing is brought up.
        attach_cb: `attach_cb(cb_ctx, pci_dev, ctrlr, opts)`, as soon as that controller is up, with the options as
            finally used. The controller is the callback's from here on: `probe` does not close it, unless the
            callback raises.
        remove_cb: `remove_cb(cb_ctx, ctrlr)`, once, when a controller that was attached is removed: the system asked
            for it, or it is gone. Its commands have ended by then, with `ControllerLostError` at the worst; it closes
            by itself.
        addresses: Where to look; by default every NVMe function that is bound to vfio-pci. An address that makes a
            mock stands for one mock in each of its places in the list: called again, `probe` makes only those that it
            has not got.

    Raises:
        ExceptionGroup: Some could not be had, or did not come up, or their `attach_cb` raised; each of the others was
            attached all the same.
        asyncio.CancelledError: What was up by then has been attached, and nothing is left of the others.
    """
    for callback in (probe_cb, attach_cb, remove_cb):
        if inspect.iscoroutinefunction(callback):
            raise TypeError(
                f"{callback!r} is a coroutine function: the callbacks of probe are plain functions"
            )
    if isinstance(addresses, str):
        raise TypeError("addresses is a list of addresses, not one")
    if addresses is None:
        addresses = [PciAddress(device.bdf) for device in discover() if device.bound_to_vfio]
    errors: list[Exception] = []
    candidates = _ask(cb_ctx, probe_cb, addresses, errors)
    count = len(errors) + len(candidates)
    told = partial(remove_cb, cb_ctx) if remove_cb is not None else None
    try:
        bring_ups = (candidate.bring_up(cb_ctx, attach_cb, told) for candidate in candidates)
        ended = await asyncio.gather(*bring_ups, return_exceptions=True)
    finally:
        for candidate in candidates:
            candidate.give_up()
    for error in ended:
        if isinstance(error, Exception):
            errors.append(error)
        elif error is not None:
            raise error
    if errors:
        raise ExceptionGroup(f"{len(errors)} of {count} controllers could not be attached", errors)


def _ask(
    cb_ctx: Any, probe_cb: ProbeCallback, addresses: Iterable[Address], errors: list[Exception]
) -> list[_Candidate]:
    """Claims what is free and wanted. Nothing here awaits: no other task can claim the same meanwhile."""
    parsed: list[Any] = []
    for address in addresses:
        try:
            parsed.append(_parse(address))
        except AddressError as error:
            errors.append(error)
    candidates: list[_Candidate] = []
    places: Counter[Hashable] = Counter()
    asked: set[Hashable] = set()
    try:
        for address in parsed:
            key = _key(address)
            if isinstance(address, MockAddress):
                places[key] += 1
                key = (key, places[key])
            if key in asked:
                continue
            asked.add(key)
            try:
                candidate = _Candidate.claim(address, key)
            except AddressError as error:
                errors.append(error)
                continue
            if candidate is None:
                continue
            candidates.append(candidate)
            if not probe_cb(cb_ctx, candidate.source.pci_dev, candidate.opts):
                candidates.pop().give_up()
    except BaseException:
        for candidate in candidates:
            candidate.give_up()
        raise
    return candidates


class _Candidate:
    """A function that `probe` has claimed, until its controller is attached or it is given up."""

    def __init__(self, source: _Source, claim: Claim) -> None:
        self.source = source
        self.opts = ControllerOptions()
        self._claim = claim
        self._begun = False

    @classmethod
    def claim(
        cls, address: PciAddress | MockAddress | VfioUserAddress | Device, key: Hashable
    ) -> _Candidate | None:
        """Claims a function; None if somebody has it."""
        claim = claims.take(key)
        if claim is None:
            return None
        try:
            return cls(_source(address), claim)
        except BaseException:
            claim.release()
            raise

    async def bring_up(self, cb_ctx: Any, attach_cb: AttachCallback, told: Any) -> None:
        """Has the controller attached."""
        self._begun = True
        ctrlr = await _attach(self.source, self.opts, self._claim, told)
        try:
            attach_cb(cb_ctx, ctrlr.pci_dev, ctrlr, ctrlr.opts)
        except BaseException:
            # Nobody can be counted on to have it.
            with contextlib.suppress(NvmeError):
                await run_to_end(ctrlr.close())
            raise

    def give_up(self) -> None:
        """It is not to be brought up; nothing if that was begun, which ends in order by itself."""
        if not self._begun:
            self._begun = True
            self._claim.release()
            self.source.drop()


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Runs a coroutine on a new uvloop event loop, as `asyncio.run` does on asyncio's own."""
    import uvloop

    with asyncio.Runner(debug=debug, loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
