"""Owns the sub-commands whose blocks are lists of ranges: dataset management and copy."""

from __future__ import annotations

from typing import Annotated

import typer

from aionvme.cli.nvme import acting
from aionvme.cli.nvme.acting import LongForce, check_can_ask, may_destroy
from aionvme.cli.nvme.data import PRINFO_SHIFT, AppMask, AppTag, Fua, RefTag, Retry, commands, flags_of
from aionvme.cli.nvme.frame import Call
from aionvme.cli.nvme.options import NamespaceId, byte_count, switch, value
from aionvme.errors import UsageError
from aionvme.spec.opcodes import NvmOpcode

__all__ = ["commands"]


def _ranges(slbs: str | None, blocks: str | None) -> list[tuple[int, int]]:
    """Pairs of two lists; what the shorter one lacks is 0, as in nvme-cli."""
    first, counts = acting.numbers(slbs), acting.numbers(blocks)
    length = max(len(first), len(counts))
    if not 1 <= length <= 256:
        raise UsageError("No range definition provided: give 1 to 256 of them with --slbs and --blocks")
    pad = [0] * length
    return list(zip((first + pad)[:length], (counts + pad)[:length], strict=True))


def _one(option: str, text: str | None) -> int | None:
    """The number of a list that has it for each range."""
    found = set(acting.numbers(text))
    if len(found) > 1:
        raise UsageError(f"{option}: here it is one for all ranges of a copy")
    return found.pop() if found else None


@commands.add("dsm", example="dsm mock: -s 0,64 -b 8,8 -d")
def dsm(
    call: Call,
    nsid: NamespaceId = None,
    ctx_attrs: Annotated[
        str | None, typer.Option("--ctx-attrs", "-a", help="Attributes of each range.")
    ] = None,
    blocks: Annotated[
        str | None, typer.Option("--blocks", "-b", help="Number of blocks of each range.")
    ] = None,
    slbs: Annotated[str | None, typer.Option("--slbs", "-s", help="First block of each range.")] = None,
    ad: Annotated[bool, switch("--ad", "-d", help="Deallocate.")] = False,
    idw: Annotated[bool, switch("--idw", "-w", help="Will be written as a whole.")] = False,
    idr: Annotated[bool, switch("--idr", "-r", help="Will be read as a whole.")] = False,
    cdw11: Annotated[int, value("--cdw11", "-c", help="Dword 11, instead of -d, -w and -r.")] = 0,
    force: Annotated[bool, switch("--force", "-f", help="Do not ask.")] = False,
    raw_binary: acting.OwnB = False,
) -> None:
    """Tell the controller how ranges of blocks are used, such as that they are not (-d)."""
    from aionvme.spec.entries import Sqe
    from aionvme.spec.nvm import DsmCdw10, DsmCdw11, pack_dsm_ranges

    pairs = _ranges(slbs, blocks)
    attributes = (acting.numbers(ctx_attrs) + [0] * len(pairs))[: len(pairs)]
    word = cdw11 or DsmCdw11(idr=int(idr), idw=int(idw), ad=int(ad)).value
    payload = b"".join(
        pack_dsm_ranges([pair], cattr=cattr) for pair, cattr in zip(pairs, attributes, strict=True)
    )
    if DsmCdw11(word).ad:
        check_can_ask(call, force)

    async def act(connected: Call) -> None:
        sqe = Sqe(
            opc=NvmOpcode.DATASET_MANAGEMENT,
            nsid=connected.nsid(nsid),
            cdw10=DsmCdw10(nr=len(pairs) - 1).value,
            cdw11=word,
        )
        if DsmCdw11(word).ad:
            await may_destroy(connected, f"deallocate {len(pairs)} ranges of blocks", force)
        with connected.ctrlr.dma_alloc(len(payload)) as buf:
            memoryview(buf)[:] = payload
            async with connected.ctrlr.alloc_io_qpair() as qp:
                await qp.io_raw(sqe.encode(), data=buf, write=True)

    call.run(act)
    call.say("NVMe DSM: success")


@commands.add("copy", example="copy mock: -s 0,64 -b 7,7 -d 1024")
def copy(
    call: Call,
    nsid: NamespaceId = None,
    sdlba: Annotated[int, value("--sdlba", "-d", help="First block that is written.", parser=byte_count)] = 0,
    slbs: Annotated[
        str | None, typer.Option("--slbs", "-s", help="First block of each range that is read.")
    ] = None,
    blocks: Annotated[
        str | None, typer.Option("--blocks", "-b", help="Number of blocks of each range, 0's based.")
    ] = None,
    snsids: Annotated[
        str | None, typer.Option("--snsids", "-N", help="The namespace that is read, in formats 2 and 3.")
    ] = None,
    limited_retry: Retry = False,
    force_unit_access: Fua = False,
    prinfow: Annotated[int, value("--prinfow", "-p", help="Protection of what is written.")] = 0,
    prinfor: Annotated[int, value("--prinfor", "-P", help="Protection of what is read.")] = 0,
    ref_tag: RefTag = None,
    expected_ref_tags: Annotated[
        str | None,
        typer.Option("--expected-ref-tags", "-R", help="Reference tag of each range that is read."),
    ] = None,
    app_tag: AppTag = 0,
    expected_app_tags: Annotated[
        str | None, typer.Option("--expected-app-tags", "-A", help="Application tag of what is read.")
    ] = None,
    app_tag_mask: AppMask = 0,
    expected_app_tag_masks: Annotated[
        str | None,
        typer.Option("--expected-app-tag-masks", "-M", help="The bits of it that are checked."),
    ] = None,
    form: Annotated[int, value("--format", "-F", help="Format of the ranges.")] = 0,
    force: LongForce = False,
    raw_binary: acting.OwnB = False,
) -> None:
    """Have the controller copy ranges of blocks to one place."""
    pairs = [(lba, count + 1) for lba, count in _ranges(slbs, blocks)]
    source_nsid = _one("--snsids", snsids)
    source_tag = _one("--expected-app-tags", expected_app_tags)
    source_mask = _one("--expected-app-tag-masks", expected_app_tag_masks)
    flags = flags_of(prinfow, limited_retry, force_unit_access, False)
    check_can_ask(call, force)

    async def act(connected: Call) -> None:
        ns = connected.namespace(nsid)
        source = None if source_nsid is None else connected.namespace(source_nsid)
        await may_destroy(connected, f"overwrite blocks from {sdlba} on", force)
        async with connected.ctrlr.alloc_io_qpair() as qp:
            await qp.copy(
                ns, pairs, sdlba, format=form, source_ns=source, io_flags=flags, ref_tag=ref_tag,
                app_tag=app_tag, app_mask=app_tag_mask, source_flags=prinfor << PRINFO_SHIFT,
                source_ref_tags=acting.numbers(expected_ref_tags) or None, source_app_tag=source_tag or 0,
                source_app_mask=source_mask or 0,
            )  # fmt: skip

    call.run(act)
    call.say("NVMe Copy: success")
