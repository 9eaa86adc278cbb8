"""Owns the sub-commands that show what Identify gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from aionvme.cli.nvme.frame import Call, Commands
from aionvme.cli.nvme.options import NamespaceId, switch

if TYPE_CHECKING:
    pass

__all__ = ["commands"]

commands = Commands("Identify")

_CONTROLLER_ID = 0xFFFF
_ALL = 0xFFFFFFFF


async def read(
    call: Call,
    cns: int,
    *,
    nsid: int = 0,
    cntid: int = 0,
    csi: int = 0,
    uuid_index: int = 0,
) -> bytes:
    """The 4096 bytes of an Identify, as they came."""
    from aionvme.spec import entries

    sqe = entries.identify(cns, nsid=nsid, cntid=cntid, csi=csi, uuid_index=uuid_index)
    with call.ctrlr.dma_alloc(4096) as buf:
        await call.ctrlr.admin_raw(sqe, data=buf)
        return bytes(buf)


def _vendor_part(call: Call, data: bytes, wanted: bool) -> None:
    if wanted and call.human:
        from aionvme.cli import console
        from aionvme.cli.nvme.output import hex_dump

        console.result("vendor specific:", "bold")
        console.result(hex_dump(data))


_VendorSpecific = Annotated[bool, switch("--vendor-specific", "-V", help="Dump the vendor's own part.")]


@commands.add("id-ctrl", example="id-ctrl mock: -H")
async def id_ctrl(call: Call, vendor_specific: _VendorSpecific = False) -> None:
    """Show Identify Controller: who made it, and what it can do."""
    from aionvme.cli.nvme.keys_identify import CONTROLLER
    from aionvme.spec.opcodes import Cns

    raw = await read(call, Cns.CONTROLLER)
    call.show(CONTROLLER.document(raw), raw=raw, title="Identify Controller")
    _vendor_part(call, raw[3072:], vendor_specific)


@commands.add("id-ns", example="id-ns mock: -n 1 -o json")
async def id_ns(
    call: Call,
    nsid: NamespaceId = None,
    force: Annotated[
        bool, switch("--force", help="A namespace that is allocated will do, attached or not.")
    ] = False,
    vendor_specific: _VendorSpecific = False,
) -> None:
    """Show Identify Namespace: size, formats, protection; of FFFFFFFFh what all namespaces have in common."""
    from aionvme.cli.nvme.keys_identify import NAMESPACE
    from aionvme.spec.opcodes import Cns

    nsid = call.nsid(nsid)
    raw = await read(call, Cns.ALLOCATED_NAMESPACE if force else Cns.NAMESPACE, nsid=nsid)
    call.show(NAMESPACE.document(raw), raw=raw, title=f"Identify Namespace {nsid}")
    _vendor_part(call, raw[384:], vendor_specific)
