"""Owns the sub-commands that show what is of a namespace's blocks and hosts: LBA status, reservations."""

from __future__ import annotations

from typing import Annotated

from aionvme.cli.nvme.frame import Call, Commands
from aionvme.cli.nvme.options import NamespaceId, switch, value
from aionvme.errors import UsageError

__all__ = ["commands"]

commands = Commands("Namespaces")


@commands.add("get-lba-status", example="get-lba-status mock: -n 1 -s 0 -m 1023 -a 0x11")
async def get_lba_status(
    call: Call,
    nsid: NamespaceId = None,
    start_lba: Annotated[int, value("--start-lba", "-s", help="First logical block.")] = 0,
    max_dw: Annotated[int, value("--max-dw", "-m", help="Dwords of the answer at most, 0's based.")] = 1023,
    action: Annotated[
        int, value("--action", "-a", help="0x10 scan, 0x11 what is tracked, 0x2 allocated blocks.")
    ] = 0x11,
    range_len: Annotated[
        int, value("--range-len", "-l", help="Logical blocks; 0 to the end of the namespace.")
    ] = 0,
) -> None:
    """Show which blocks may not be recoverable."""
    from aionvme.cli.nvme.keys_status import lba_status
    from aionvme.spec.lba_status import LbaStatusHead, get_lba_status

    nbytes = 4 * (max_dw + 1)
    if not LbaStatusHead.SIZE <= nbytes <= 1 << 20:
        raise UsageError("--max-dw: from 1 to 262143")
    nsid = call.nsid(nsid)
    sqe = get_lba_status(nsid=nsid, lba=start_lba, nblocks=range_len, action=action, nbytes=nbytes)
    with call.ctrlr.dma_alloc(nbytes) as buf:
        await call.ctrlr.admin_raw(sqe, data=buf)
        raw = bytes(buf)
    call.show(lba_status(raw), raw=raw, title=f"LBA status of namespace {nsid}")


@commands.add("resv-report", example="resv-report mock: -n 1 -o json")
async def resv_report(
    call: Call,
    nsid: NamespaceId = None,
    numd: Annotated[int | None, value("--numd", "-d", help="Dwords that are shown at most.")] = None,
    eds: Annotated[
        bool,
        switch("--eds", "-e", help="With host identifiers of 128 bits; by default as this host has them."),
    ] = False,
) -> None:
    """Show the reservation of a namespace, and which hosts are registered."""
    from aionvme.cli.nvme.keys_status import reservation

    namespace = call.namespace(nsid)
    async with call.ctrlr.alloc_io_qpair() as qp:
        cpl = await qp.reservation_report(namespace, extended=True if eds else None)
    raw = cpl.value.encode()
    if numd is not None:
        raw = raw[: 4 * numd]
    call.show(
        reservation(raw, extended=cpl.value.extended),
        raw=raw,
        title=f"Reservations of namespace {namespace.nsid}",
    )
