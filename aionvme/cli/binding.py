"""Owns `aionvme bind` and `aionvme unbind`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aionvme.cli import console
from aionvme.cli.standing import standing
from aionvme.errors import AddressError
from aionvme.pci import bind as binder
from aionvme.pci.address import parse_bdf
from aionvme.pci.discovery import find
from aionvme.pci.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionvme.pci.device import PciDevice

__all__ = ["bind", "unbind"]

_Addresses = Annotated[
    list[str], typer.Argument(metavar="ADDRESS", help='PCI addresses: "0000:01:00.0" or "01:00.0".')
]


def bind(ctx: typer.Context, addresses: _Addresses) -> None:
    """Take functions from the kernel and give them to vfio-pci, so that programs can use them. Needs root.

    Refused for a function with a namespace that is mounted, swapped to, part of an array, or open by somebody
    who wants it alone. Lasts until the function is unbound or the machine restarts.
    """
    _each(ctx, addresses, binder.bind, _after_bind)


def unbind(ctx: typer.Context, addresses: _Addresses) -> None:
    """Give functions back to the kernel's own driver. Needs root.

    Refused while a program has the function open.
    """
    _each(ctx, addresses, binder.unbind, _after_unbind)


def _each(
    ctx: typer.Context,
    addresses: list[str],
    act: Callable[[str, Host], PciDevice],
    tell: Callable[[PciDevice, Host], None],
) -> None:
    host = ctx.find_object(Host) or Host()
    failed = 0
    for address in addresses:
        # What is no address at all is a mistake in the call, unlike that of a function that is not there.
        parse_bdf(address)
    for address in addresses:
        try:
            before = find(address, host.sys)
            devices = standing(before, host).block_devices
            after = act(address, host)
        except (AddressError, OSError) as error:
            # The others are not to be left out for this one.
            console.error(str(error))
            failed += 1
            continue
        _tell_change(before, after, devices)
        tell(after, host)
    if failed:
        raise typer.Exit(console.ERROR)


def _tell_change(before: PciDevice, after: PciDevice, block_devices: list[str]) -> None:
    if before.driver == after.driver:
        console.result(f"{after}: {_named(after)} has it already, nothing was changed")
        return
    gone = f" (gone: {', '.join(f'/dev/{name}' for name in block_devices)})" if block_devices else ""
    console.result(f"{after}: was with {_named(before)}, is with {_named(after)} now{gone}")


def _named(device: PciDevice) -> str:
    return device.driver or "no driver"


def _after_bind(device: PciDevice, host: Host) -> None:
    now = standing(device, host)
    if now.usable:
        console.note(f"Try it with `{now.use}`; give it back with `sudo aionvme unbind {device}`")
    else:
        console.note(f"{device}: {now.use}. `aionvme hello {device}` says how to mend that")


def _after_unbind(device: PciDevice, host: Host) -> None:
    if device.driver is None:
        console.note(f"{device}: the kernel has no driver loaded for it. Run `sudo modprobe nvme`")
        return
    names = standing(device, host).block_devices
    if names:
        console.note(f"{device}: its block devices are {', '.join(f'/dev/{name}' for name in names)}")
