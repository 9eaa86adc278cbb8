"""Owns `aionvme list` and `aionvme list-subsys`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

import aionvme
from aionvme.cli import console
from aionvme.cli.nvme.options import FormatOption, Output, switch
from aionvme.cli.standing import standing
from aionvme.pci.discovery import discover
from aionvme.pci.host import Host

if TYPE_CHECKING:
    from aionvme.cli.standing import Standing

__all__ = ["list_", "list_subsys"]

_HEADINGS = ("ADDRESS", "ID", "MODEL", "DRIVER", "IOMMU", "NUMA", "HELD BY", "USE")
_NAMESPACES = ("ADDRESS", "NAMESPACE", "SERIAL", "MODEL", "USED", "SIZE", "FORMAT", "FIRMWARE")

_Addresses = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ADDRESS]...", help="Controllers to connect to, and to tell of as well; none by default."
    ),
]


def list_(
    ctx: typer.Context,
    addresses: _Addresses = None,
    output_format: FormatOption = Output.NORMAL,
    verbose: Annotated[
        bool,
        switch("--verbose", "-v", help="With -o json: subsystems, and controllers and namespaces of each."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print JSON of who has each function, and how.")
    ] = False,
) -> None:
    """List this machine's NVMe functions: who has each, and how it can be used.

    -o json is nvme-cli's list instead: the namespaces of the kernel's controllers, and of those whose addresses are
    given.
    """
    host = ctx.find_object(Host) or Host()
    if output_format != Output.NORMAL or addresses:
        _list_namespaces(host, addresses or [], output_format, verbose)
        return
    found = [standing(device, host) for device in discover(host.sys)]
    if as_json:
        console.print_json([_as_json(one) for one in found])
    elif found:
        console.table(_HEADINGS, [_as_row(one) for one in found])
    else:
        console.result("This machine has no NVMe function (none on PCI is of class 010802).")
        console.note("The mock controller is always there: run `aionvme hello mock:`")


def _list_namespaces(host: Host, addresses: list[str], output_format: Output, verbose: bool) -> None:
    from aionvme.cli.nvme import inventory, output

    told = aionvme.run(inventory.told_of(addresses)) if addresses else []
    document = inventory.devices(host, told)
    if output_format == Output.NORMAL:
        console.table(_NAMESPACES, [_namespace_row(each) for each in document["Devices"]])
    else:
        output.print_document(inventory.detailed(host, told) if verbose else document, output_format)


def _namespace_row(device: dict[str, Any]) -> tuple[str, ...]:
    return (
        device["DevicePath"],
        str(device["NameSpace"]),
        device["SerialNumber"],
        device["ModelNumber"],
        console.size(device["UsedBytes"]),
        console.size(device["PhysicalSize"]),
        f"{device['SectorSize']} B",
        device["Firmware"],
    )


def list_subsys(
    ctx: typer.Context,
    addresses: _Addresses = None,
    output_format: FormatOption = Output.NORMAL,
    verbose: Annotated[
        bool, switch("--verbose", "-v", help="With -o json: what each subsystem is, too.")
    ] = False,
) -> None:
    """List NVM subsystems, and the controllers by which each is reached."""
    from aionvme.cli.nvme import inventory, output

    host = ctx.find_object(Host) or Host()
    told = aionvme.run(inventory.told_of(addresses)) if addresses else []
    document = inventory.subsystems(host, told, detail=verbose)
    if output_format != Output.NORMAL:
        output.print_document(document, output_format)
        return
    if not document[0]["Subsystems"]:
        console.result("This machine's kernel has no NVM subsystem.")
        console.note(
            "One of another controller is listed if its address is given: `aionvme list-subsys mock:`; `aionvme list` "
            "shows this machine's functions"
        )
    for subsystem in document[0]["Subsystems"]:
        console.result(f"{subsystem['Name']} - NQN={subsystem['NQN']}", "bold")
        for path in subsystem["Paths"]:
            console.result(" +- {Name} {Transport} {Address} {State}".format(**path))


def _as_row(one: Standing) -> tuple[str, ...]:
    device = one.device
    return (
        device.bdf,
        f"{device.vendor_id:04x}:{device.device_id:04x}",
        one.model or "-",
        device.driver or "-",
        _or_dash(device.iommu_group),
        _or_dash(device.numa_node),
        "; ".join(one.held_by) or "-",
        one.use,
    )


def _or_dash(number: int | None) -> str:
    return "-" if number is None else str(number)


def _as_json(one: Standing) -> dict[str, Any]:
    device = one.device
    return {
        "address": device.bdf,
        "vendor_id": device.vendor_id,
        "device_id": device.device_id,
        "model": one.model,
        "driver": device.driver,
        "iommu_group": device.iommu_group,
        "numa_node": device.numa_node,
        "block_devices": one.block_devices,
        "held_by": one.held_by,
        "usable": one.usable,
        "use": one.use,
    }
