"""Owns the sub-commands that show what Identify gives."""

from __future__ import annotations

from typing import Annotated

from aionvme.cli.nvme.frame import Call, Commands
from aionvme.cli.nvme.options import NamespaceId, switch, value
from aionvme.spec import entries
from aionvme.spec.identify import IdentifyNamespace
from aionvme.spec.opcodes import Cns, CommandSet

__all__ = ["VendorSpecific", "commands", "read", "vendor_part"]

commands = Commands("Identify")

_CONTROLLER_ID = 0xFFFF


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
    sqe = entries.identify(cns, nsid=nsid, cntid=cntid, csi=csi, uuid_index=uuid_index)
    with call.ctrlr.dma_alloc(4096) as buf:
        await call.ctrlr.admin_raw(sqe, data=buf)
        return bytes(buf)


def vendor_part(call: Call, data: bytes, wanted: bool) -> None:
    """What the vendor has in a structure, dumped for a person who wants it."""
    if wanted and call.human:
        from aionvme.cli import console
        from aionvme.cli.nvme.output import hex_dump

        console.result("vendor specific:", "bold")
        console.result(hex_dump(data))


VendorSpecific = Annotated[bool, switch("--vendor-specific", "-V", help="Dump the vendor's own part.")]


@commands.add("id-ctrl", example="id-ctrl mock: -H")
async def id_ctrl(call: Call, vendor_specific: VendorSpecific = False) -> None:
    """Show Identify Controller: who made it, and what it can do."""
    from aionvme.cli.nvme.keys_identify import CONTROLLER

    raw = await read(call, Cns.CONTROLLER)
    call.show(CONTROLLER.document(raw), raw=raw, title="Identify Controller")
    vendor_part(call, raw[3072:], vendor_specific)


@commands.add("id-ns", example="id-ns mock: -n 1 -o json")
async def id_ns(
    call: Call,
    nsid: NamespaceId = None,
    force: Annotated[
        bool, switch("--force", help="A namespace that is allocated will do, attached or not.")
    ] = False,
    vendor_specific: VendorSpecific = False,
) -> None:
    """Show Identify Namespace: size, formats, protection; of FFFFFFFFh what all namespaces have in common."""
    from aionvme.cli.nvme.keys_identify import NAMESPACE, verbose_formats

    nsid = call.nsid(nsid)
    raw = await read(call, Cns.ALLOCATED_NAMESPACE if force else Cns.NAMESPACE, nsid=nsid)
    document = NAMESPACE.document(raw)
    if call.detail and not call.human:
        document["lbafs"] = verbose_formats(raw)
    call.show(document, raw=raw, title=f"Identify Namespace {nsid}")
    vendor_part(call, raw[384:], vendor_specific)


@commands.add("list-ns", example="list-ns mock:?namespaces=2")
async def list_ns(
    call: Call,
    nsid: Annotated[int, value("--namespace-id", "-n", help="The first that is wanted.")] = 1,
    csi: Annotated[int | None, value("--csi", "-y", help="Of this I/O command set.")] = None,
    every: Annotated[bool, switch("--all", "-a", help="Those of the subsystem, attached or not.")] = False,
) -> None:
    """List the namespaces that are attached to the controller."""
    from aionvme.cli.nvme.keys_identify import nsid_list

    if csi is None:
        cns = Cns.ALLOCATED_NAMESPACES if every else Cns.ACTIVE_NAMESPACES
    else:
        cns = Cns.CSI_ALLOCATED_NAMESPACES if every else Cns.CSI_ACTIVE_NAMESPACES
    # The command gives those after an identifier (Base 2.0, 5.17.2.2).
    raw = await read(call, cns, nsid=max(nsid, 1) - 1, csi=csi or 0)
    call.show(nsid_list(raw), raw=raw, title="Namespaces")


@commands.add("list-ctrl", example="list-ctrl 0000:01:00.0 -n 1")
async def list_ctrl(
    call: Call,
    cntid: Annotated[int, value("--cntid", "-c", help="The first that is wanted.")] = 0,
    nsid: Annotated[
        int | None, value("--namespace-id", "-n", help="Those that this namespace is attached to.")
    ] = None,
) -> None:
    """List the controllers of the subsystem."""
    from aionvme.cli.nvme.keys_identify import controller_list

    cns = Cns.CONTROLLERS if nsid is None else Cns.ATTACHED_CONTROLLERS
    raw = await read(call, cns, nsid=nsid or 0, cntid=cntid)
    call.show(controller_list(raw), raw=raw, title="Controllers")


@commands.add(
    "cmdset-ind-id-ns", "cmd-set-independent-id-ns", example="cmdset-ind-id-ns 0000:01:00.0 -n 1 -o json"
)
async def cmdset_ind_id_ns(call: Call, nsid: NamespaceId = None) -> None:
    """Show what Identify says of a namespace whatever its I/O command set."""
    from aionvme.cli.nvme.keys_identify import INDEPENDENT_NAMESPACE

    nsid = call.nsid(nsid)
    raw = await read(call, Cns.INDEPENDENT_NAMESPACE, nsid=nsid)
    call.show(INDEPENDENT_NAMESPACE.document(raw), raw=raw, title=f"Identify Namespace {nsid}")


@commands.add("ns-descs", example="ns-descs mock: -n 1")
async def ns_descs(call: Call, nsid: NamespaceId = None) -> None:
    """Show the identifiers of a namespace: EUI64, NGUID, UUID, I/O command set."""
    from aionvme.cli.nvme.keys_identify import namespace_descriptors

    nsid = call.nsid(nsid)
    raw = await read(call, Cns.NAMESPACE_DESCRIPTORS, nsid=nsid)
    call.show(namespace_descriptors(raw), raw=raw, title=f"Descriptors of namespace {nsid}")


_UuidIndex = Annotated[int, value("--uuid-index", "-U", help="UUID index.")]


@commands.add("nvm-id-ns", example="nvm-id-ns mock: -n 1")
async def nvm_id_ns(call: Call, nsid: NamespaceId = None, uuid_index: _UuidIndex = 0) -> None:
    """Show what the NVM command set's Identify says of a namespace: storage tags, preferred sizes."""
    from aionvme.cli.nvme.keys_identify import nvm_namespace

    nsid = call.nsid(nsid)
    common = IdentifyNamespace.decode(await read(call, Cns.NAMESPACE, nsid=nsid))
    raw = await read(call, Cns.CSI_NAMESPACE, nsid=nsid, csi=CommandSet.NVM, uuid_index=uuid_index)
    call.show(nvm_namespace(raw, common), raw=raw, title=f"NVM command set, namespace {nsid}")


@commands.add("nvm-id-ctrl", example="nvm-id-ctrl mock:")
async def nvm_id_ctrl(call: Call) -> None:
    """Show what the NVM command set's Identify says of the controller: limits of its commands."""
    from aionvme.cli.nvme.keys_identify import NVM_CONTROLLER

    raw = await read(call, Cns.CSI_CONTROLLER, csi=CommandSet.NVM)
    call.show(NVM_CONTROLLER.document(raw), raw=raw, title="NVM command set")


@commands.add("id-iocs", example="id-iocs 0000:01:00.0")
async def id_iocs(
    call: Call,
    controller_id: Annotated[
        int, value("--controller-id", "-c", help="Of which controller; FFFFh for this one.")
    ] = _CONTROLLER_ID,
) -> None:
    """Show which I/O command sets can be used together."""
    from aionvme.cli.nvme.keys_identify import command_sets

    raw = await read(call, Cns.COMMAND_SETS, cntid=controller_id)
    call.show(command_sets(raw), raw=raw, title="I/O command sets")


@commands.add("primary-ctrl-caps", example="primary-ctrl-caps 0000:01:00.0")
async def primary_ctrl_caps(
    call: Call, cntlid: Annotated[int, value("--cntlid", "-c", help="The first that is wanted.")] = 0
) -> None:
    """Show which resources a primary controller can give its secondary controllers."""
    from aionvme.cli.nvme.keys_identify import PRIMARY_CONTROLLER

    raw = await read(call, Cns.PRIMARY_CONTROLLER, cntid=cntlid)
    call.show(PRIMARY_CONTROLLER.document(raw), raw=raw, title="Primary controller capabilities")


@commands.add("list-secondary", example="list-secondary 0000:01:00.0")
async def list_secondary(
    call: Call,
    cntid: Annotated[int, value("--cntid", "-c", help="The first that is wanted.")] = 0,
    num_entries: Annotated[int, value("--num-entries", "-e", help="How many at most.")] = 127,
) -> None:
    """List the secondary controllers of a primary controller, and what each was given."""
    from aionvme.cli.nvme.keys_identify import secondary_controllers

    raw = await read(call, Cns.SECONDARY_CONTROLLERS, cntid=cntid)
    call.show(secondary_controllers(raw, num_entries), raw=raw, title="Secondary controllers")
