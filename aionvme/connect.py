"""Owns the way from an address to a controller: `connect`, `probe`, and `run`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

import attrs

from aionvme.admin.controller import Controller
from aionvme.admin.options import ControllerOptions
from aionvme.errors import AddressError
from aionvme.pci.address import MockAddress, PciAddress, VfioUserAddress, parse_address
from aionvme.pci.device import PciDevice
from aionvme.pci.discovery import discover, find
from aionvme.pci.function import Function
from aionvme.pci.vfio import open_vfio
from aionvme.qpair.opening import Opening
from aionvme.qpair.poller import run_to_end, wait_to_end

T = TypeVar("T")


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
        blocks: Whether that takes long enough to be done in a thread.
    """

    pci_dev: PciDevice
    open: Callable[[], Function]
    blocks: bool = False


def _source(address: Address) -> _Source:
    if isinstance(address, str):
        address = parse_address(address)
    if isinstance(address, PciAddress):
        pci = address
        # Taking a function from the kernel resets it, which takes a tenth of a second and more.
        return _Source(find(pci.bdf), lambda: open_vfio(pci), blocks=True)
    if isinstance(address, MockAddress):
        # Imported here, so that a program that has a real drive does not load a controller in software.
        from aionvme.mock import MockController

        mock = MockController.from_options(address.options)
        return _Source(mock.pci_dev, lambda: mock.open(owned=True))
    if isinstance(address, VfioUserAddress):
        raise AddressError(f"{address}: vfio-user is not supported in this version")
    if not (hasattr(address, "open") and hasattr(address, "pci_dev")):
        raise TypeError(f"an address is a str or a MockController, not {type(address).__name__}")
    return _Source(address.pci_dev, address.open)


async def _attach(source: _Source, opts: ControllerOptions) -> Controller:
    if not source.blocks:
        return await Controller.attach(source.open(), opts)
    opening = asyncio.get_running_loop().run_in_executor(None, source.open)
    try:
        function = await wait_to_end(opening)
    except asyncio.CancelledError:
        if opening.exception() is None:
            await run_to_end(_close(opening.result()))
        raise
    return await Controller.attach(function, opts)


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
    chosen = attrs.evolve(opts) if opts is not None else ControllerOptions()
    return await _attach(_source(address), chosen)


ProbeCallback = Callable[[Any, PciDevice, ControllerOptions], bool]
AttachCallback = Callable[[Any, PciDevice, Controller, ControllerOptions], object]


async def probe(
    cb_ctx: Any,
    probe_cb: ProbeCallback,
    attach_cb: AttachCallback,
    *,
    addresses: Iterable[Address] | None = None,
) -> None:
    """Finds controllers, asks for each whether it is wanted, and brings up the wanted ones side by side.

    Call it again to find new ones: a function that is open already is not asked for again.

    Args:
        cb_ctx: Handed to both callbacks.
        probe_cb: `probe_cb(cb_ctx, pci_dev, opts) -> bool`: true claims the function; may change `opts`.
        attach_cb: `attach_cb(cb_ctx, pci_dev, ctrlr, opts)`: the controller is up, with the options as finally used. It
            is the callback's from here on: it is not closed by `probe`.
        addresses: Where to look; by default every NVMe function that is bound to vfio-pci.

    Raises:
        ExceptionGroup: Some did not come up; each of the others was attached all the same.
    """
    if addresses is None:
        addresses = [PciAddress(device.bdf) for device in discover() if device.bound_to_vfio]
    claimed: list[tuple[_Source, ControllerOptions]] = []
    for address in addresses:
        source = _source(address)
        if Controller.is_open(source.pci_dev):
            continue
        opts = ControllerOptions()
        if probe_cb(cb_ctx, source.pci_dev, opts):
            claimed.append((source, opts))
    ended = await asyncio.gather(
        *(_attach_one(cb_ctx, attach_cb, source, opts) for source, opts in claimed), return_exceptions=True
    )
    errors = [error for error in ended if isinstance(error, Exception)]
    if errors:
        raise ExceptionGroup(f"{len(errors)} of {len(claimed)} controllers could not be attached", errors)


async def _attach_one(
    cb_ctx: Any, attach_cb: AttachCallback, source: _Source, opts: ControllerOptions
) -> None:
    ctrlr = await _attach(source, opts)
    attach_cb(cb_ctx, ctrlr.pci_dev, ctrlr, ctrlr.opts)


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Runs a coroutine on a new uvloop event loop, as `asyncio.run` does on asyncio's own."""
    import uvloop

    with asyncio.Runner(debug=debug, loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
