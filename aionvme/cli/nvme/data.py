"""Owns the sub-commands that read, write and compare blocks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from aionvme.cli import console
from aionvme.cli.nvme import acting
from aionvme.cli.nvme.acting import LongForce, LongTimeout, check_can_ask, may_destroy, timed
from aionvme.cli.nvme.frame import Call, Commands
from aionvme.cli.nvme.options import (
    DataFile,
    DataSize,
    MetadataFile,
    MetadataSize,
    NamespaceId,
    StartBlock,
    byte_count,
    switch,
    value,
)
from aionvme.errors import UsageError
from aionvme.spec.nvm import IoFlags
from aionvme.spec.opcodes import NvmOpcode

if TYPE_CHECKING:
    from aionvme.qpair.io import IoQueuePair
    from aionvme.qpair.namespace import Namespace

__all__ = ["commands"]

commands = Commands("Blocks")

_MOST_BLOCKS = 1 << 16
_PRINFO_SHIFT = 26

_Count = Annotated[
    int | None, value("--block-count", "-c", help="Number of logical blocks, 0's based: 0 is one block.")
]
_RefTag = Annotated[
    int | None, value("--ref-tag", "-r", help="Reference tag of the first block.", parser=byte_count)
]
_AppTag = Annotated[int, value("--app-tag", "-a", help="Application tag.")]
_AppMask = Annotated[
    int, value("--app-tag-mask", "-m", help="The bits of the application tag that are checked.")
]
_StorageTag = Annotated[int, value("--storage-tag", "-g", help="Storage tag.", parser=byte_count)]
_StorageCheck = Annotated[bool, switch("--storage-tag-check", "-C", help="Check the storage tag.")]
_PrInfo = Annotated[
    int,
    value(
        "--prinfo",
        "-p",
        help="Protection: 8 insert or strip; check 4 the guard, 2 application, 1 reference tag.",
    ),
]
_Retry = Annotated[bool, switch("--limited-retry", "-l", help="Give up early.")]
_Fua = Annotated[bool, switch("--force-unit-access", "-f", help="To or from the medium, past any cache.")]
_Show = Annotated[bool, switch("--show-command", "-V", help="Show the command first.")]
_Dry = Annotated[bool, switch("--dry-run", "-w", help="Show the command, and do not send it.")]
_Latency = Annotated[bool, switch("--latency", "-t", help="Say how long it took.")]


@attrs.frozen(kw_only=True)
class _Transfer:
    """What Read, Write and Compare are told."""

    opcode: int
    nsid: int | None
    lba: int
    count: int | None
    data_size: int | None
    metadata_size: int | None
    metadata_file: Path | None
    flags: int
    tags: dict[str, Any]
    dtype: int
    dspec: int
    dsm: int
    show: bool
    dry_run: bool
    latency: bool

    @property
    def name(self) -> str:
        """The sub-command."""
        return NvmOpcode(self.opcode).name.lower()

    def unit(self, ns: Namespace) -> int:
        """Bytes of a block as it is transferred (NVM Command Set 1.0, 5.2.2)."""
        stripped = self.flags & IoFlags.PRACT and ns.pi_type and ns.metadata_size == ns.pi_size
        return ns.block_size + (ns.metadata_size if ns.extended and not stripped else 0)

    def blocks(self, ns: Namespace) -> int:
        """How many."""
        if self.count is not None:
            return self.count + 1
        assert self.data_size is not None
        return -(-self.data_size // self.unit(ns))

    def check(self) -> None:
        """What can be said before there is a controller."""
        if self.count is None and not self.data_size:
            raise UsageError(f"{self.name}: data size not provided: give -z, or -c with a number of blocks")
        if self.count is not None and self.count >= _MOST_BLOCKS:
            raise UsageError(f"{self.name}: --block-count is 0's based, at most {_MOST_BLOCKS - 1}")

    def show_fields(self, ns: Namespace) -> None:
        """The command as nvme-cli shows it."""
        acting.fields(
            [
                ("opcode", self.opcode, "02x"),
                ("nsid", ns.nsid, "02x"),
                ("flags", 0, "02x"),
                ("control", (self.flags >> 16 | self.dtype << 4) & 0xFFFF, "04x"),
                ("nblocks", self.blocks(ns) - 1, "04x"),
                ("slba", self.lba, "x"),
                ("dsmgmt", self.dspec << 16 | self.dsm, "08x"),
                ("reftag", self.tags["ref_tag"] or 0, "x"),
                ("apptag", self.tags["app_tag"], "04x"),
                ("appmask", self.tags["app_mask"], "04x"),
            ]
        )


def _flags(prinfo: int, limited_retry: bool, force_unit_access: bool, storage_tag_check: bool) -> int:
    if prinfo > 0xF:
        raise UsageError(f"--prinfo has 4 bits, not {prinfo:#x}")
    flags = prinfo << _PRINFO_SHIFT
    flags |= IoFlags.LIMITED_RETRY if limited_retry else 0
    flags |= IoFlags.FORCE_UNIT_ACCESS if force_unit_access else 0
    return flags | (IoFlags.STORAGE_TAG_CHECK if storage_tag_check else 0)


def _tags(ref_tag: int | None, app_tag: int, app_tag_mask: int, storage_tag: int) -> dict[str, Any]:
    return {
        "ref_tag": ref_tag,
        "app_tag": app_tag,
        "app_mask": app_tag_mask,
        "storage_tag": storage_tag,
    }


async def _transfer(call: Call, told: _Transfer, source: bytes | None) -> tuple[bytes, bytes]:
    """Executes it; the data and the metadata that it moved."""
    ns = call.namespace(told.nsid)
    if told.show or told.dry_run:
        told.show_fields(ns)
    if told.dry_run:
        return b"", b""
    nblocks = told.blocks(ns)
    nbytes = nblocks * told.unit(ns)
    if told.data_size is not None and told.data_size < nbytes:
        console.note(f"Rounding data size to fit block count ({nbytes} bytes)")
    wanted = told.metadata_size is not None or told.metadata_file is not None
    with call.ctrlr.dma_alloc(nbytes) as buf:
        view = memoryview(buf)
        if source is not None:
            view[: min(len(source), nbytes)] = source[:nbytes]
        metadata = None
        if wanted and ns.metadata_size and not ns.extended:
            metadata = call.ctrlr.dma_alloc(nblocks * ns.metadata_size)
            if source is not None:
                memoryview(metadata)[:] = acting.read_input(told.metadata_file, nblocks * ns.metadata_size)
        async with call.ctrlr.alloc_io_qpair() as qp:
            begun = time.perf_counter_ns()
            await _send(qp, told, ns, buf, nblocks, metadata)
            taken = (time.perf_counter_ns() - begun) // 1000
        if told.latency:
            console.note(f" latency: {told.name}: {taken} us")
        return bytes(view), bytes(metadata) if metadata is not None else b""


async def _send(
    qp: IoQueuePair, told: _Transfer, ns: Namespace, buf: Any, nblocks: int, metadata: Any
) -> None:
    if told.dsm:
        from aionvme.spec import nvm

        tags = {key: found or 0 for key, found in told.tags.items() if key != "storage_tag"}
        sqe = nvm.transfer(
            told.opcode, ns.nsid, told.lba, nblocks, flags=told.flags, dtype=told.dtype, dspec=told.dspec,
            dsm=told.dsm, **tags,
        )  # fmt: skip
        await qp.io_raw(sqe, data=buf, metadata=metadata, write=told.opcode != NvmOpcode.READ)
        return
    spell = {NvmOpcode.READ: qp.read, NvmOpcode.WRITE: qp.write, NvmOpcode.COMPARE: qp.compare}
    await spell[NvmOpcode(told.opcode)](
        ns, buf, told.lba, nblocks, io_flags=told.flags, metadata=metadata, dtype=told.dtype, dspec=told.dspec,
        **told.tags,
    )  # fmt: skip


@commands.add("read", example="read mock: -s 0 -z 4096 > FILE")
def read(
    call: Call,
    nsid: NamespaceId = None,
    start_block: StartBlock = 0,
    block_count: _Count = None,
    data_size: DataSize = None,
    metadata_size: MetadataSize = None,
    ref_tag: _RefTag = None,
    data: DataFile = None,
    metadata: MetadataFile = None,
    prinfo: _PrInfo = 0,
    app_tag_mask: _AppMask = 0,
    app_tag: _AppTag = 0,
    storage_tag: _StorageTag = 0,
    limited_retry: _Retry = False,
    force_unit_access: _Fua = False,
    storage_tag_check: _StorageCheck = False,
    dsm: Annotated[int, value("--dsm", "-D", help="Dataset management hints, 8 bits.")] = 0,
    show_command: _Show = False,
    dry_run: _Dry = False,
    latency: _Latency = False,
    timeout: LongTimeout = None,
) -> None:
    """Read blocks to a file or to standard output."""
    timed(call, timeout)
    told = _Transfer(
        opcode=NvmOpcode.READ, nsid=nsid, lba=start_block, count=block_count, data_size=data_size,
        metadata_size=metadata_size, metadata_file=metadata,
        flags=_flags(prinfo, limited_retry, force_unit_access, storage_tag_check),
        tags=_tags(ref_tag, app_tag, app_tag_mask, storage_tag), dtype=0, dspec=0, dsm=dsm,
        show=show_command, dry_run=dry_run, latency=latency,
    )  # fmt: skip
    told.check()
    if not dry_run:
        acting.check_output(data)
    moved, extra = call.run(lambda connected: _transfer(connected, told, None))
    if dry_run:
        return
    acting.write_output(data, moved)
    if extra:
        acting.write_output(metadata, extra)
    console.note("read: Success")


def _outward(call: Call, told: _Transfer, data: Path | None, question: str, force: bool) -> None:
    """Write or Compare."""
    told.check()
    if told.dry_run:
        call.run(lambda connected: _transfer(connected, told, None))
        return
    if question:
        check_can_ask(call, force)
    source = acting.read_input(data, told.data_size)

    async def act(connected: Call) -> None:
        if question:
            await may_destroy(connected, question, force)
        await _transfer(connected, told, source)

    call.run(act)
    console.note(f"{told.name}: Success")


@commands.add("write", example="write mock: -s 0 -z 4096 -d FILE")
def write(
    call: Call,
    nsid: NamespaceId = None,
    start_block: StartBlock = 0,
    block_count: _Count = None,
    data_size: DataSize = None,
    metadata_size: MetadataSize = None,
    ref_tag: _RefTag = None,
    data: DataFile = None,
    metadata: MetadataFile = None,
    prinfo: _PrInfo = 0,
    app_tag_mask: _AppMask = 0,
    app_tag: _AppTag = 0,
    storage_tag: _StorageTag = 0,
    limited_retry: _Retry = False,
    force_unit_access: _Fua = False,
    storage_tag_check: _StorageCheck = False,
    dir_type: Annotated[int, value("--dir-type", "-T", help="Directive type.")] = 0,
    dir_spec: Annotated[int, value("--dir-spec", "-S", help="Directive specific.")] = 0,
    dsm: Annotated[int, value("--dsm", "-D", help="Dataset management hints, 8 bits.")] = 0,
    show_command: _Show = False,
    dry_run: _Dry = False,
    latency: _Latency = False,
    force: LongForce = False,
    timeout: LongTimeout = None,
) -> None:
    """Write blocks from a file or from standard input; what is missing of the last block is zeros."""
    timed(call, timeout)
    told = _Transfer(
        opcode=NvmOpcode.WRITE, nsid=nsid, lba=start_block, count=block_count, data_size=data_size,
        metadata_size=metadata_size, metadata_file=metadata,
        flags=_flags(prinfo, limited_retry, force_unit_access, storage_tag_check),
        tags=_tags(ref_tag, app_tag, app_tag_mask, storage_tag), dtype=dir_type, dspec=dir_spec, dsm=dsm,
        show=show_command, dry_run=dry_run, latency=latency,
    )  # fmt: skip
    _outward(call, told, data, f"write blocks from {start_block} on", force)


@commands.add("compare", example="compare mock: -s 0 -z 4096 -d FILE")
def compare(
    call: Call,
    nsid: NamespaceId = None,
    start_block: StartBlock = 0,
    block_count: _Count = None,
    data_size: DataSize = None,
    metadata_size: MetadataSize = None,
    ref_tag: _RefTag = None,
    data: DataFile = None,
    metadata: MetadataFile = None,
    prinfo: _PrInfo = 0,
    app_tag_mask: _AppMask = 0,
    app_tag: _AppTag = 0,
    storage_tag: _StorageTag = 0,
    limited_retry: _Retry = False,
    force_unit_access: _Fua = False,
    storage_tag_check: _StorageCheck = False,
    show_command: _Show = False,
    dry_run: _Dry = False,
    latency: _Latency = False,
    timeout: LongTimeout = None,
) -> None:
    """Have the controller compare blocks with a file or standard input; a difference is its status."""
    timed(call, timeout)
    told = _Transfer(
        opcode=NvmOpcode.COMPARE, nsid=nsid, lba=start_block, count=block_count, data_size=data_size,
        metadata_size=metadata_size, metadata_file=metadata,
        flags=_flags(prinfo, limited_retry, force_unit_access, storage_tag_check),
        tags=_tags(ref_tag, app_tag, app_tag_mask, storage_tag), dtype=0, dspec=0, dsm=0,
        show=show_command, dry_run=dry_run, latency=latency,
    )  # fmt: skip
    _outward(call, told, data, "", False)


# -- without data ------------------------------------------------------------------------------------------------------


@commands.add("write-zeroes", example="write-zeroes mock: -s 0 -c 7 -d")
def write_zeroes(
    call: Call,
    nsid: NamespaceId = None,
    start_block: StartBlock = 0,
    block_count: Annotated[
        int, value("--block-count", "-c", help="Number of logical blocks, 0's based.")
    ] = 0,
    deac: Annotated[bool, switch("--deac", "-d", help="They may be deallocated.")] = False,
    limited_retry: _Retry = False,
    force_unit_access: _Fua = False,
    prinfo: _PrInfo = 0,
    ref_tag: _RefTag = None,
    app_tag_mask: _AppMask = 0,
    app_tag: _AppTag = 0,
    storage_tag: Annotated[int, value("--storage-tag", "-S", help="Storage tag.", parser=byte_count)] = 0,
    storage_tag_check: _StorageCheck = False,
    force: LongForce = False,
) -> None:
    """Set blocks to zeros."""
    flags = _flags(prinfo, limited_retry, force_unit_access, storage_tag_check)
    tags = _tags(ref_tag, app_tag, app_tag_mask, storage_tag)
    check_can_ask(call, force)

    async def act(connected: Call) -> None:
        ns = connected.namespace(nsid)
        await may_destroy(connected, f"set {block_count + 1} blocks from {start_block} on to zeros", force)
        async with connected.ctrlr.alloc_io_qpair() as qp:
            await qp.write_zeroes(ns, start_block, block_count + 1, deallocate=deac, io_flags=flags, **tags)

    call.run(act)
    call.say("NVME Write Zeroes Success")


@commands.add("write-uncor", example="write-uncor mock: -s 8 -c 0")
def write_uncor(
    call: Call,
    nsid: NamespaceId = None,
    start_block: StartBlock = 0,
    block_count: Annotated[
        int, value("--block-count", "-c", help="Number of logical blocks, 0's based.")
    ] = 0,
    force: LongForce = False,
) -> None:
    """Make blocks unreadable, until they are written again."""
    check_can_ask(call, force)

    async def act(connected: Call) -> None:
        ns = connected.namespace(nsid)
        await may_destroy(connected, f"make {block_count + 1} blocks from {start_block} on unreadable", force)
        async with connected.ctrlr.alloc_io_qpair() as qp:
            await qp.write_uncorrectable(ns, start_block, block_count + 1)

    call.run(act)
    call.say("NVME Write Uncorrectable Success")


@commands.add("verify", example="verify mock: -s 0 -c 7")
async def verify(
    call: Call,
    nsid: NamespaceId = None,
    start_block: StartBlock = 0,
    block_count: Annotated[
        int, value("--block-count", "-c", help="Number of logical blocks, 0's based.")
    ] = 0,
    limited_retry: _Retry = False,
    force_unit_access: _Fua = False,
    prinfo: _PrInfo = 0,
    ref_tag: _RefTag = None,
    app_tag: _AppTag = 0,
    app_tag_mask: _AppMask = 0,
    storage_tag: Annotated[int, value("--storage-tag", "-S", help="Storage tag.", parser=byte_count)] = 0,
    storage_tag_check: _StorageCheck = False,
) -> None:
    """Have the controller check blocks without a transfer."""
    flags = _flags(prinfo, limited_retry, force_unit_access, storage_tag_check)
    tags = _tags(ref_tag, app_tag, app_tag_mask, storage_tag)
    async with call.ctrlr.alloc_io_qpair() as qp:
        await qp.verify(call.namespace(nsid), start_block, block_count + 1, io_flags=flags, **tags)
    call.say("NVME Verify Success")


@commands.add("flush", example="flush mock: -n 1")
async def flush(call: Call, nsid: NamespaceId = None) -> None:
    """Have everything that was written on the medium; of FFFFFFFFh of all namespaces."""
    from aionvme.spec import nvm

    async with call.ctrlr.alloc_io_qpair() as qp:
        await qp.io_raw(nvm.flush(call.nsid(nsid)))
    call.say("NVMe Flush: success")


# -- ranges ------------------------------------------------------------------------------------------------------------


def _ranges(slbs: str | None, blocks: str | None) -> list[tuple[int, int]]:
    """Pairs of two lists; what the shorter one lacks is 0, as in nvme-cli."""
    first, counts = acting.numbers(slbs), acting.numbers(blocks)
    length = max(len(first), len(counts))
    if not 1 <= length <= 256:
        raise UsageError("No range definition provided: give 1 to 256 of them with --slbs and --blocks")
    pad = [0] * length
    return list(zip((first + pad)[:length], (counts + pad)[:length], strict=True))


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
    limited_retry: _Retry = False,
    force_unit_access: _Fua = False,
    prinfow: Annotated[int, value("--prinfow", "-p", help="Protection of what is written.")] = 0,
    prinfor: Annotated[int, value("--prinfor", "-P", help="Protection of what is read.")] = 0,
    ref_tag: _RefTag = None,
    expected_ref_tags: Annotated[
        str | None,
        typer.Option("--expected-ref-tags", "-R", help="Reference tag of each range that is read."),
    ] = None,
    app_tag: _AppTag = 0,
    app_tag_mask: _AppMask = 0,
    form: Annotated[int, value("--format", "-F", help="Format of the ranges.")] = 0,
    force: LongForce = False,
    raw_binary: acting.OwnB = False,
) -> None:
    """Have the controller copy ranges of blocks to one place."""
    pairs = [(lba, count + 1) for lba, count in _ranges(slbs, blocks)]
    sources = set(acting.numbers(snsids))
    if len(sources) > 1:
        raise UsageError("--snsids: the ranges of one copy are read from one namespace here")
    flags = _flags(prinfow, limited_retry, force_unit_access, False)
    check_can_ask(call, force)

    async def act(connected: Call) -> None:
        ns = connected.namespace(nsid)
        source = connected.namespace(sources.pop()) if sources else None
        await may_destroy(connected, f"overwrite blocks from {sdlba} on", force)
        async with connected.ctrlr.alloc_io_qpair() as qp:
            await qp.copy(
                ns, pairs, sdlba, format=form, source_ns=source, io_flags=flags, ref_tag=ref_tag,
                app_tag=app_tag, app_mask=app_tag_mask, source_flags=prinfor << _PRINFO_SHIFT,
                source_ref_tags=acting.numbers(expected_ref_tags) or None,
            )  # fmt: skip

    call.run(act)
    call.say("NVMe Copy: success")
