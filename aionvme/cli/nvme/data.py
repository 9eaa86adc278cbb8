"""Owns the sub-commands that read, write and compare blocks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import attrs

from aionvme.cli import console
from aionvme.cli.nvme import acting
from aionvme.cli.nvme.acting import LongForce, LongTimeout, check_can_ask, may_destroy, timed
from aionvme.cli.nvme.frame import Call, Commands
from aionvme.cli.nvme.options import (
    BlockCount,
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
# Write Zeroes of a whole namespace, in dword 12 (libnvme's NVME_IO_NSZ, bit 7 of its upper half).
_NSZ = 23

RefTag = Annotated[
    int | None, value("--ref-tag", "-r", help="Reference tag of the first block.", parser=byte_count)
]
AppTag = Annotated[int, value("--app-tag", "-a", help="Application tag.")]
AppMask = Annotated[
    int, value("--app-tag-mask", "-m", help="The bits of the application tag that are checked.")
]
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


def _storage_tag(letter: str) -> Any:
    return value("--storage-tag", letter, help="Storage tag.", parser=byte_count)


_StorageCheck = Annotated[bool, switch("--storage-tag-check", "-C", help="Check the storage tag.")]
DirType = Annotated[int, value("--dir-type", "-T", help="Directive type.")]
DirSpec = Annotated[int, value("--dir-spec", "-S", help="Directive specific.")]


@attrs.frozen(kw_only=True)
class _Transfer:
    """What Read, Write and Compare are told; not each option means something to each of them."""

    nsid: NamespaceId = None
    start_block: StartBlock = 0
    block_count: Annotated[
        int | None,
        value("--block-count", "-c", help="Number of logical blocks, 0's based: 0 is one block."),
    ] = None
    block_size: Annotated[
        int | None,
        value("--block-size", "-b", help="Bytes of a block; that of the namespace.", parser=byte_count),
    ] = None
    data_size: DataSize = None
    metadata_size: MetadataSize = None
    ref_tag: RefTag = None
    data: DataFile = None
    metadata: MetadataFile = None
    prinfo: _PrInfo = 0
    app_tag_mask: AppMask = 0
    app_tag: AppTag = 0
    storage_tag: Annotated[int, _storage_tag("-g")] = 0
    limited_retry: Retry = False
    force_unit_access: Fua = False
    storage_tag_check: _StorageCheck = False
    dir_type: DirType = 0
    dir_spec: DirSpec = 0
    dsm: Annotated[int, value("--dsm", "-D", help="Dataset management hints, 8 bits.")] = 0
    show_command: Annotated[bool, switch("--show-command", "-V", help="Show the command first.")] = False
    dry_run: Annotated[bool, switch("--dry-run", "-w", help="Show the command, and do not send it.")] = False
    latency: Annotated[bool, switch("--latency", "-t", help="Say how long it took.")] = False
    force: LongForce = False
    timeout: LongTimeout = None
    raw_binary: acting.OwnB = False

    @property
    def flags(self) -> int:
        """The `IoFlags`."""
        return flags_of(self.prinfo, self.limited_retry, self.force_unit_access, self.storage_tag_check)

    def unit(self, ns: Namespace) -> int:
        """Bytes of a block as it is transferred (NVM Command Set 1.0, 5.2.2)."""
        if self.block_size not in (None, ns.block_size):
            raise UsageError(f"--block-size: namespace {ns.nsid} has blocks of {ns.block_size} bytes")
        stripped = self.flags & IoFlags.PRACT and ns.pi_type and ns.metadata_size == ns.pi_size
        return ns.block_size + (ns.metadata_size if ns.extended and not stripped else 0)

    def blocks(self, ns: Namespace) -> int:
        """How many."""
        if self.block_count is not None:
            return self.block_count + 1
        assert self.data_size is not None
        return -(-self.data_size // self.unit(ns))

    def check(self, name: str) -> None:
        """What can be said before there is a controller."""
        if self.block_count is None and not self.data_size:
            raise UsageError(f"{name}: data size not provided: give -z, or -c with a number of blocks")
        if self.block_count is not None and self.block_count >= _MOST_BLOCKS:
            raise UsageError(f"{name}: --block-count is 0's based, at most {_MOST_BLOCKS - 1}")
        # That they are some, too, is said here and not once there is a controller.
        assert self.flags >= 0

    def show_fields(self, opcode: NvmOpcode, ns: Namespace) -> None:
        """The command as nvme-cli shows it."""
        acting.fields(
            [
                ("opcode", opcode, "02x"),
                ("nsid", ns.nsid, "02x"),
                ("flags", 0, "02x"),
                ("control", (self.flags >> 16 | self.dir_type << 4) & 0xFFFF, "04x"),
                ("nblocks", self.blocks(ns) - 1, "04x"),
                ("slba", self.start_block, "x"),
                ("dsmgmt", self.dir_spec << 16 | self.dsm, "08x"),
                ("reftag", self.ref_tag or 0, "x"),
                ("apptag", self.app_tag, "04x"),
                ("appmask", self.app_tag_mask, "04x"),
            ]
        )


@attrs.frozen(kw_only=True)
class _Checks:
    """What Write Zeroes and Verify are told."""

    nsid: NamespaceId = None
    start_block: StartBlock = 0
    block_count: BlockCount = 0
    limited_retry: Retry = False
    force_unit_access: Fua = False
    prinfo: _PrInfo = 0
    ref_tag: RefTag = None
    app_tag_mask: AppMask = 0
    app_tag: AppTag = 0
    storage_tag: Annotated[int, _storage_tag("-S")] = 0
    storage_tag_check: _StorageCheck = False

    @property
    def flags(self) -> int:
        """The `IoFlags`."""
        return flags_of(self.prinfo, self.limited_retry, self.force_unit_access, self.storage_tag_check)


def flags_of(prinfo: int, limited_retry: bool, force_unit_access: bool, storage_tag_check: bool) -> int:
    """The `IoFlags` of the options."""
    if prinfo > 0xF:
        raise UsageError(f"--prinfo has 4 bits, not {prinfo:#x}")
    flags = prinfo << PRINFO_SHIFT
    flags |= IoFlags.LIMITED_RETRY if limited_retry else 0
    flags |= IoFlags.FORCE_UNIT_ACCESS if force_unit_access else 0
    return flags | (IoFlags.STORAGE_TAG_CHECK if storage_tag_check else 0)


def _tags(told: _Transfer | _Checks) -> dict[str, Any]:
    return {
        "ref_tag": told.ref_tag,
        "app_tag": told.app_tag,
        "app_mask": told.app_tag_mask,
        "storage_tag": told.storage_tag,
    }


async def _transfer(
    call: Call, opcode: NvmOpcode, told: _Transfer, source: bytes | None
) -> tuple[bytes, bytes]:
    """Executes it; the data and the metadata that it moved."""
    ns = call.namespace(told.nsid)
    if told.show_command or told.dry_run:
        told.show_fields(opcode, ns)
    if told.dry_run:
        return b"", b""
    nblocks = told.blocks(ns)
    nbytes = nblocks * told.unit(ns)
    if told.data_size is not None and told.data_size < nbytes:
        console.note(f"Rounding data size to fit block count ({nbytes} bytes)")
    wanted = told.metadata_size is not None or told.metadata is not None
    with call.ctrlr.dma_alloc(nbytes) as buf:
        view = memoryview(buf)
        if source is not None:
            view[: min(len(source), nbytes)] = source[:nbytes]
        metadata = None
        if wanted and ns.metadata_size and not ns.extended:
            metadata = call.ctrlr.dma_alloc(nblocks * ns.metadata_size)
            if source is not None:
                memoryview(metadata)[:] = acting.read_input(told.metadata, nblocks * ns.metadata_size)
        async with call.ctrlr.alloc_io_qpair() as qp:
            begun = time.perf_counter_ns()
            await _send(qp, opcode, told, ns, buf, nblocks, metadata)
            taken = (time.perf_counter_ns() - begun) // 1000
        if told.latency:
            console.note(f" latency: {opcode.name.lower()}: {taken} us")
        return bytes(view), bytes(metadata) if metadata is not None else b""


async def _send(
    qp: IoQueuePair, opcode: NvmOpcode, told: _Transfer, ns: Namespace, buf: Any, nblocks: int, metadata: Any
) -> None:
    lba = told.start_block
    directive: dict[str, Any] = {"dtype": told.dir_type, "dspec": told.dir_spec}
    if told.dsm:
        from aionvme.spec import nvm

        tags = {key: found or 0 for key, found in _tags(told).items() if key != "storage_tag"}
        sqe = nvm.transfer(opcode, ns.nsid, lba, nblocks, flags=told.flags, dsm=told.dsm, **directive, **tags)
        await qp.io_raw(sqe, data=buf, metadata=metadata, write=opcode != NvmOpcode.READ)
        return
    spell = {NvmOpcode.READ: qp.read, NvmOpcode.WRITE: qp.write, NvmOpcode.COMPARE: qp.compare}
    await spell[opcode](
        ns, buf, lba, nblocks, io_flags=told.flags, metadata=metadata, **directive, **_tags(told)
    )


@commands.add("read", example="read mock: -s 0 -z 4096 > FILE")
def read(call: Call, told: _Transfer) -> None:
    """Read blocks to a file, which is overwritten if there is one, or to standard output."""
    timed(call, told.timeout)
    told.check("read")
    if not told.dry_run:
        acting.check_output(told.data)
    moved, extra = call.run(lambda connected: _transfer(connected, NvmOpcode.READ, told, None))
    if told.dry_run:
        return
    acting.write_output(told.data, moved)
    if extra:
        acting.write_output(told.metadata, extra)
    console.note("read: Success")


def _outward(call: Call, opcode: NvmOpcode, told: _Transfer, question: str) -> None:
    """Write or Compare."""
    name = opcode.name.lower()
    timed(call, told.timeout)
    told.check(name)
    if told.dry_run:
        call.run(lambda connected: _transfer(connected, opcode, told, None))
        return
    if question:
        check_can_ask(call, told.force)
    source = acting.read_input(told.data, told.data_size)

    async def act(connected: Call) -> None:
        if question:
            await may_destroy(connected, question, told.force)
        await _transfer(connected, opcode, told, source)

    call.run(act)
    console.note(f"{name}: Success")


@commands.add("write", example="write mock: -s 0 -z 4096 -d FILE")
def write(call: Call, told: _Transfer) -> None:
    """Write blocks from a file or from standard input; what is missing of the last block is zeros."""
    _outward(call, NvmOpcode.WRITE, told, f"write blocks from {told.start_block} on")


@commands.add("compare", example="compare mock: -s 0 -z 4096 -d FILE")
def compare(call: Call, told: _Transfer) -> None:
    """Have the controller compare blocks with a file or standard input; a difference is its status."""
    _outward(call, NvmOpcode.COMPARE, told, "")


# -- without data ------------------------------------------------------------------------------------------------------


@commands.add("write-zeroes", example="write-zeroes mock: -s 0 -c 7 -d")
def write_zeroes(
    call: Call,
    told: _Checks,
    deac: Annotated[bool, switch("--deac", "-d", help="They may be deallocated.")] = False,
    dir_type: DirType = 0,
    dir_spec: Annotated[int, value("--dir-spec", "-D", help="Directive specific.")] = 0,
    namespace_zeroes: Annotated[
        bool,
        switch(
            "--namespace-zeroes", "-Z", help="All blocks of the namespace, where the controller has that."
        ),
    ] = False,
    force: LongForce = False,
) -> None:
    """Set blocks to zeros."""
    lba, nblocks, flags = told.start_block, told.block_count + 1, told.flags
    if dir_type > 0xF or dir_spec > 0xFFFF:
        raise UsageError("--dir-type has 4 bits, --dir-spec 16")
    check_can_ask(call, force)
    which = "all blocks" if namespace_zeroes else f"{nblocks} blocks from {lba} on"

    async def act(connected: Call) -> None:
        ns = connected.namespace(told.nsid)
        await may_destroy(connected, f"set {which} to zeros", force)
        async with connected.ctrlr.alloc_io_qpair() as qp:
            if not (dir_type or namespace_zeroes):
                await qp.write_zeroes(ns, lba, nblocks, deallocate=deac, io_flags=flags, **_tags(told))
                return
            from aionvme.spec import nvm
            from aionvme.spec.entries import Sqe

            tags = {key: found or 0 for key, found in _tags(told).items() if key != "storage_tag"}
            sqe = Sqe.decode(nvm.write_zeroes(ns.nsid, lba, nblocks, deallocate=deac, flags=flags, **tags))
            word = sqe.cdw12 | dir_type << 20 | int(namespace_zeroes) << _NSZ
            await qp.io_raw(sqe.replace(cdw12=word, cdw13=dir_spec << 16).encode())

    call.run(act)
    call.say("NVME Write Zeroes Success")


@commands.add("write-uncor", example="write-uncor mock: -s 8 -c 0")
def write_uncor(
    call: Call,
    nsid: NamespaceId = None,
    start_block: StartBlock = 0,
    block_count: BlockCount = 0,
    dir_type: DirType = 0,
    dir_spec: DirSpec = 0,
    force: LongForce = False,
) -> None:
    """Make blocks unreadable, until they are written again."""
    from aionvme.spec import nvm

    check_can_ask(call, force)

    async def act(connected: Call) -> None:
        ns = connected.namespace(nsid)
        sqe = nvm.write_uncorrectable(ns.nsid, start_block, block_count + 1, dtype=dir_type, dspec=dir_spec)
        await may_destroy(connected, f"make {block_count + 1} blocks from {start_block} on unreadable", force)
        async with connected.ctrlr.alloc_io_qpair() as qp:
            await qp.io_raw(sqe)

    call.run(act)
    call.say("NVME Write Uncorrectable Success")


@commands.add("verify", example="verify mock: -s 0 -c 7")
async def verify(call: Call, told: _Checks) -> None:
    """Have the controller check blocks without a transfer."""
    ns = call.namespace(told.nsid)
    async with call.ctrlr.alloc_io_qpair() as qp:
        await qp.verify(ns, told.start_block, told.block_count + 1, io_flags=told.flags, **_tags(told))
    call.say("NVME Verify Success")


@commands.add("flush", example="flush mock: -n 1")
async def flush(call: Call, nsid: NamespaceId = None) -> None:
    """Have everything that was written on the medium; of FFFFFFFFh of all namespaces."""
    from aionvme.spec import nvm

    async with call.ctrlr.alloc_io_qpair() as qp:
        await qp.io_raw(nvm.flush(call.nsid(nsid)))
    call.say("NVMe Flush: success")
