"""Owns `aionvme list`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aionvme.cli import console
from aionvme.cli.standing import standing
from aionvme.pci.discovery import discover
from aionvme.pci.host import Host

if TYPE_CHECKING:
    from aionvme.cli.standing import Standing

__all__ = ["list_"]

_HEADINGS = ("ADDRESS", "ID", "MODEL", "DRIVER", "IOMMU", "NUMA", "HELD BY", "USE")


def list_(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print JSON.")] = False,
) -> None:
    """List this machine's NVMe functions: who has each, and how it can be used."""
    host = ctx.find_object(Host) or Host()
    found = [standing(device, host) for device in discover(host.sys)]
    if as_json:
        console.print_json([_as_json(one) for one in found])
    elif found:
        console.table(_HEADINGS, [_as_row(one) for one in found])
    else:
        console.result("This machine has no NVMe function (none on PCI is of class 010802).")
        console.note("The mock controller is always there: run `aionvme hello mock:`")


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
