"""Owns the sub-commands that read, write and compare blocks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs

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

__all__ = ["PRINFO_SHIFT", "AppMask", "AppTag", "Fua", "RefTag", "Retry", "commands", "flags_of"]

commands = Commands("Blocks")

_MOST_BLOCKS = 1 << 16
PRINFO_SHIFT = 26

_Count = Annotated[
    int | None, value("--block-count", "-c", help="Number of logical blocks, 0's based: 0 is one block.")
]
RefTag = Annotated[
    int | None, value("--ref-tag", "-r", help="Reference tag of the first block.", parser=byte_count)
]
AppTag = Annotated[int, value("--app-tag", "-a", help="Application tag.")]
AppMask = Annotated[
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
Retry = Annotated[bool, switch("--limited-retry", "-l", help="Give up early.")]
Fua = Annotated[bool, switch("--force-unit-access", "-f", help="To or from the medium, past any cache.")]
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


def flags_of(prinfo: int, limited_retry: bool, force_unit_access: bool, storage_tag_check: bool) -> int:
    """The `IoFlags` of the options."""
    if prinfo > 0xF:
        raise UsageError(f"--prinfo has 4 bits, not {prinfo:#x}")
    flags = prinfo << PRINFO_SHIFT
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
    ref_tag: RefTag = None,
    data: DataFile = None,
    metadata: MetadataFile = None,
    prinfo: _PrInfo = 0,
    app_tag_mask: AppMask = 0,
    app_tag: AppTag = 0,
    storage_tag: _StorageTag = 0,
    limited_retry: Retry = False,
    force_unit_access: Fua = False,
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
        flags=flags_of(prinfo, limited_retry, force_unit_access, storage_tag_check),
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
    ref_tag: RefTag = None,
    data: DataFile = None,
    metadata: MetadataFile = None,
    prinfo: _PrInfo = 0,
    app_tag_mask: AppMask = 0,
    app_tag: AppTag = 0,
    storage_tag: _StorageTag = 0,
    limited_retry: Retry = False,
    force_unit_access: Fua = False,
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
        flags=flags_of(prinfo, limited_retry, force_unit_access, storage_tag_check),
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
    ref_tag: RefTag = None,
    data: DataFile = None,
    metadata: MetadataFile = None,
    prinfo: _PrInfo = 0,
    app_tag_mask: AppMask = 0,
    app_tag: AppTag = 0,
    storage_tag: _StorageTag = 0,
    limited_retry: Retry = False,
    force_unit_access: Fua = False,
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
        flags=flags_of(prinfo, limited_retry, force_unit_access, storage_tag_check),
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
    limited_retry: Retry = False,
    force_unit_access: Fua = False,
    prinfo: _PrInfo = 0,
    ref_tag: RefTag = None,
    app_tag_mask: AppMask = 0,
    app_tag: AppTag = 0,
    storage_tag: Annotated[int, value("--storage-tag", "-S", help="Storage tag.", parser=byte_count)] = 0,
    storage_tag_check: _StorageCheck = False,
    force: LongForce = False,
) -> None:
    """Set blocks to zeros."""
    flags = flags_of(prinfo, limited_retry, force_unit_access, storage_tag_check)
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
    limited_retry: Retry = False,
    force_unit_access: Fua = False,
    prinfo: _PrInfo = 0,
    ref_tag: RefTag = None,
    app_tag: AppTag = 0,
    app_tag_mask: AppMask = 0,
    storage_tag: Annotated[int, value("--storage-tag", "-S", help="Storage tag.", parser=byte_count)] = 0,
    storage_tag_check: _StorageCheck = False,
) -> None:
    """Have the controller check blocks without a transfer."""
    flags = flags_of(prinfo, limited_retry, force_unit_access, storage_tag_check)
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
