"""Transfers cut into commands: at the largest transfer, at the boundary, and where memory cannot be described further.

Every command that is posted is read from the ring and walked as a controller would.
"""

from __future__ import annotations

import itertools
import random
import re
import struct
from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aionvme.errors import UsageError
from aionvme.pci.backing import PAGE
from aionvme.tests.unit.pci.recording import address_of, pages
from aionvme.tests.unit.qpair.device import Device, device
from aionvme.tests.unit.qpair.model import Run, merged, part, prp_prefix, total, walk_prps, walk_sgl

BUFFER = 128 * PAGE
SGLS = {"none": 0, "any": 1 | 1 << 16 | 1 << 17, "dwords": 2 | 1 << 16 | 1 << 17, "no buckets": 1 | 1 << 17,
        "metadata": 1 | 1 << 16 | 1 << 19}  # fmt: skip
BESIDE, LISTED = 1 << 17, 1 << 19  # metadata beside an SGL in one piece, or by an SGL of its own


@attrs.frozen
class Shape:
    """A controller and a namespace."""

    block_size: int
    metadata_size: int
    extended: bool
    boundary: int
    page_size: int
    max_transfer: int
    sgls: int
    depth: int

    @property
    def unit(self) -> int:
        return self.block_size + self.metadata_size * self.extended


shapes = st.builds(
    Shape,
    block_size=st.sampled_from([512, 4096]),
    metadata_size=st.sampled_from([0, 0, 8, 16, 64]),
    extended=st.booleans(),
    boundary=st.sampled_from([0, 0, 1, 3, 8, 100]),
    page_size=st.sampled_from([PAGE, PAGE, 2 * PAGE, 16 * PAGE]),
    max_transfer=st.sampled_from([PAGE, 2 * PAGE, 8 * PAGE, 32 * PAGE, 1 << 20]),
    sgls=st.sampled_from(list(SGLS.values())),
    depth=st.integers(1, 5),
)

places = st.one_of(
    st.integers(0, BUFFER // PAGE - 1).map(lambda n: PAGE * n),
    st.integers(0, BUFFER // 4 - 1).map(lambda n: 4 * n),
)
lengths = st.one_of(
    st.integers(1, 12).map(lambda n: PAGE * n),
    st.integers(1, 8).map(lambda n: 512 * n),
    st.integers(1, 3 * PAGE // 4).map(lambda n: 4 * n),
)


@attrs.frozen
class Posted:
    """A command, walked."""

    opcode: int
    lba: int
    nblocks: int
    data: list[Run]
    metadata: list[Run]
    ref_tag: int

    @classmethod
    def look(cls, dev: Device, shape: Shape) -> None:
        """Has a device show its commands so."""
        dev.look = lambda sqe: cls.of(dev, shape, sqe)

    @classmethod
    def of(cls, dev: Device, shape: Shape, sqe: bytes) -> Posted:
        flags = sqe[1]
        mptr, prp1, prp2, lba, cdw12, _cdw13, cdw14 = struct.unpack_from("<QQQQIII", sqe, 16)
        nblocks = (cdw12 & 0xFFFF) + 1
        nbytes = nblocks * shape.unit
        assert flags in (0, 0x40, 0x80)
        if flags:
            assert shape.sgls
            data = walk_sgl(sqe[24:40], dev.fetch)
        else:
            data = walk_prps(prp1, prp2, nbytes, shape.page_size, dev.fetch)
        assert total(data) == nbytes
        metadata: list[Run] = [(mptr, nblocks * shape.metadata_size)] if mptr else []
        if flags == 0x80:
            # MPTR is where one descriptor is, at a multiple of 8 (Base 2.0, 3.3.3.1).
            assert shape.sgls & LISTED
            assert mptr % 8 == 0
            metadata = walk_sgl(dev.fetch(mptr, 16), dev.fetch)
        elif flags and mptr:
            assert shape.sgls & BESIDE
        return cls(sqe[0], lba, nblocks, data, metadata, cdw14)


def check(
    shape: Shape, posted: list[Posted], lba: int, nblocks: int, data: Sequence[Run], metadata: Sequence[Run]
) -> None:
    """The commands are the transfer: each block once, in order, in no command that is too long."""
    at = lba
    for piece in posted:
        assert piece.lba == at
        assert piece.nblocks * shape.unit <= max(shape.max_transfer, shape.unit)
        if shape.boundary:
            assert piece.lba // shape.boundary == (piece.lba + piece.nblocks - 1) // shape.boundary
        assert piece.data == part(data, (at - lba) * shape.unit, piece.nblocks * shape.unit)
        if metadata:
            size = shape.metadata_size
            assert piece.metadata == part(metadata, (at - lba) * size, piece.nblocks * size)
        else:
            assert piece.metadata == []
        at += piece.nblocks
    assert at == lba + nblocks


@given(
    shape=shapes,
    segments=st.lists(st.tuples(places, lengths, st.integers(0, 9)), min_size=1, max_size=24),
    write=st.booleans(),
    forced=st.sampled_from([None, None, True, False]),
    lba=st.integers(0, 5000),
)
@settings(max_examples=400, deadline=None)
def test_segments_are_cut_into_commands_that_say_all_of_them(
    shape: Shape, segments: list[tuple[int, int, int]], write: bool, forced: bool | None, lba: int
) -> None:
    """Whatever the segments, page size, largest transfer, boundary, and way to describe: each block is moved once.

    What is refused is a block that cannot be described, and the message says at which byte.
    """
    if forced and not shape.sgls:
        forced = None
    with device(
        page_size=shape.page_size, max_transfer=shape.max_transfer, sgls=shape.sgls, depth=shape.depth
    ) as dev:
        buf, metadata = dev.alloc(BUFFER), None
        view = memoryview(buf)
        iov: list[Any] = []
        data: list[Run] = []
        for place, nbytes, kind in segments:
            if kind == 0 and not write and shape.sgls & 1 << 16 and forced is not False:
                iov.append((None, nbytes))
                data.append((None, nbytes))
            else:
                nbytes = min(nbytes, BUFFER - place)
                iov.append(view[place : place + nbytes] if kind % 2 else (address_of(buf) + place, nbytes))
                data.append((buf.iova + place, nbytes))
        nblocks = total(data) // shape.unit
        if nblocks == 0:
            return
        data = part(data, 0, nblocks * shape.unit)
        runs: list[Run] = []
        if shape.metadata_size and not shape.extended:
            metadata = dev.alloc(nblocks * shape.metadata_size)
            runs = [(metadata.iova, nblocks * shape.metadata_size)]
        ns = dev.namespace(
            block_size=shape.block_size,
            metadata_size=shape.metadata_size,
            extended=shape.extended,
            boundary=shape.boundary,
        )
        call = dev.qp.submit_writev if write else dev.qp.submit_readv
        try:
            Posted.look(dev, shape)
            posted = dev.all_commands(call, ns, iov, lba, nblocks, metadata=metadata, sgl=forced)
        except UsageError as error:
            stuck = re.search(r"iov, at byte (\d+),", str(error))
            assert stuck
            assert shape.sgls not in (SGLS["any"], SGLS["metadata"]) or forced is False
            rest = part(data, int(stuck[1]), total(data))
            assert (
                forced is True
                or prp_prefix(rest, shape.page_size, shape.max_transfer // shape.page_size) < shape.unit
            )
            assert dev.commands() == []
        else:
            check(shape, posted, lba, nblocks, data, runs)
            assert {piece.opcode for piece in posted} == {1 if write else 2}


@given(
    shape=shapes,
    offset=st.integers(0, PAGE // 4).map(lambda n: 4 * n),
    nblocks=st.integers(1, 96),
    lba=st.integers(0, 5000),
    forced=st.sampled_from([None, True, False]),
)
@settings(max_examples=300, deadline=None)
def test_a_buffer_is_cut_as_seldom_as_can_be(
    shape: Shape, offset: int, nblocks: int, lba: int, forced: bool | None
) -> None:
    """A buffer at any offset takes as many commands as its size and the boundary ask for, and no more."""
    if forced and not shape.sgls:
        forced = None
    with device(
        page_size=shape.page_size, max_transfer=shape.max_transfer, sgls=shape.sgls, depth=shape.depth
    ) as dev:
        buf = dev.dma.alloc(offset + nblocks * shape.unit, align=shape.page_size)
        ns = dev.namespace(
            block_size=shape.block_size,
            metadata_size=shape.metadata_size,
            extended=shape.extended,
            boundary=shape.boundary,
        )
        metadata = (
            dev.alloc(nblocks * shape.metadata_size)
            if shape.unit == shape.block_size and shape.metadata_size
            else None
        )
        Posted.look(dev, shape)
        posted = dev.all_commands(
            dev.qp.submit_read, ns, memoryview(buf)[offset:], lba, nblocks, metadata=metadata, sgl=forced
        )
        data = [(buf.iova + offset, nblocks * shape.unit)]
        runs = [(metadata.iova, nblocks * shape.metadata_size)] if metadata is not None else []
        check(shape, posted, lba, nblocks, data, runs)
        most = max(shape.max_transfer // shape.unit, 1)
        for piece, after in itertools.pairwise(posted):
            full = piece.nblocks == most
            assert full or (shape.boundary and after.lba % shape.boundary == 0)


@given(count=st.integers(1, 4096), seed=st.integers(0, 1 << 32), sgls=st.sampled_from([0, 1]))
@settings(max_examples=20, deadline=None)
def test_one_to_4096_segments(count: int, seed: int, sgls: int) -> None:
    """So many pages, or with SGLs pieces of any length, in any order are one call."""
    chosen = random.Random(seed)
    with device(sgls=sgls, depth=8) as dev:
        buf = dev.alloc(4 << 20)
        view = memoryview(buf)
        if sgls:
            spans = [(4 * chosen.randrange(1 << 19), 4 * chosen.randint(1, 100)) for _ in range(count)]
        else:
            spans = [(PAGE * chosen.randrange(1024), PAGE) for _ in range(count)]
        data: list[Run] = [(buf.iova + place, nbytes) for place, nbytes in spans]
        nblocks = total(data) // 512
        if nblocks == 0:
            return
        shape = Shape(512, 0, False, 0, PAGE, 128 << 10, sgls, 8)
        Posted.look(dev, shape)
        posted = dev.all_commands(
            dev.qp.submit_writev,
            dev.namespace(),
            [view[place : place + nbytes] for place, nbytes in spans],
            9,
            nblocks,
        )
        check(shape, posted, 9, nblocks, part(data, 0, 512 * nblocks), [])


@pytest.mark.parametrize("sgls", [0, 1 | 1 << 17])
def test_metadata_in_pieces_for_the_device(sgls: int) -> None:
    """A command's metadata is in one piece: where it is not, the transfer is cut between two blocks."""
    with device(sgls=sgls) as dev:
        memory = pages(3)
        view = memoryview(memory)
        # Out of order, so that no two are neighbours for the device.
        registered = [dev.dma.register(view[PAGE * n : PAGE * (n + 1)]) for n in (0, 2, 1)]
        runs = dev.iommu.runs(address_of(memory) + 64, 2 * PAGE)
        assert len(runs) == 3
        buf, nblocks = dev.alloc(512 * 128), 128
        ns = dev.namespace(metadata_size=64)
        shape = Shape(512, 64, False, 0, PAGE, 128 << 10, sgls, 16)
        Posted.look(dev, shape)
        posted = dev.all_commands(dev.qp.submit_read, ns, buf, 7, nblocks, metadata=view[64 : 64 + 2 * PAGE])
        check(shape, posted, 7, nblocks, [(buf.iova, 512 * nblocks)], runs)
        assert [piece.nblocks for piece in posted] == [63, 64, 1]
        for registration in registered:
            registration.close()


def scattered(dev: Device, count: int, seed: int) -> tuple[memoryview, int]:
    """Pages in one stretch here, each elsewhere for the device; and their address."""
    memory = pages(count)
    view = memoryview(memory)
    order = list(range(0, count, 2)) + list(range(1, count, 2))
    if seed:
        random.Random(seed).shuffle(order)
    for number in order:
        dev.dma.register(view[PAGE * number : PAGE * (number + 1)])
    return view, address_of(memory)


@pytest.mark.parametrize("sgls", [1 | LISTED, 1 | BESIDE | LISTED, 2 | LISTED])
def test_metadata_said_by_an_sgl(sgls: int) -> None:
    """Where SGLS bit 19 is set, metadata in several pieces for the device is one command's, wherever a block's is cut."""
    with device(sgls=sgls) as dev:
        view, address = scattered(dev, 3, 0)
        buf, nblocks = dev.alloc(512 * 128), 128
        shape = Shape(512, 64, False, 0, PAGE, 128 << 10, sgls, 16)
        Posted.look(dev, shape)
        for offset in (64, 100, 4):
            runs = dev.iommu.runs(address + offset, 64 * nblocks)
            assert len(runs) == 3
            for call in (dev.qp.submit_read, dev.qp.submit_write, dev.qp.submit_compare):
                posted = dev.all_commands(
                    call, dev.namespace(metadata_size=64), buf, 7, nblocks, metadata=view[offset:]
                )
                check(shape, posted, 7, nblocks, [(buf.iova, 512 * nblocks)], runs)
                assert len(posted) == 1


def test_metadata_of_a_forced_sgl() -> None:
    """One descriptor is at MPTR where only SGLS bit 19 is set; where neither is, an SGL beside metadata is refused."""
    with device(sgls=1 | LISTED) as dev:
        buf, metadata = dev.alloc(4096), dev.alloc(64)
        sqe = dev.command(
            dev.qp.submit_write, dev.namespace(metadata_size=8), buf, 7, 8, metadata=metadata, sgl=True
        )
        assert sqe[1] == 0x80
        (mptr,) = struct.unpack_from("<Q", sqe, 16)
        assert dev.fetch(mptr, 16) == struct.pack("<QI3xB", metadata.iova, 64, 0)
    with device(sgls=1 | BESIDE) as dev:
        buf, metadata = dev.alloc(4096), dev.alloc(128)
        sqe = dev.command(
            dev.qp.submit_write,
            dev.namespace(metadata_size=8),
            buf,
            7,
            8,
            metadata=memoryview(metadata)[3:],
            sgl=True,
        )
        assert (sqe[1], struct.unpack_from("<Q", sqe, 16)[0]) == (0x40, metadata.iova + 3)
    with device(sgls=1) as dev:
        buf, metadata = dev.alloc(4096), dev.alloc(64)
        with pytest.raises(
            UsageError, match=r"no SGL beside separate metadata \(SGLS bits 17 and 19 are 0\)"
        ):
            dev.qp.write(dev.namespace(metadata_size=8), buf, 7, 8, metadata=metadata, sgl=True)
        assert dev.command(
            dev.qp.submit_write, dev.namespace(metadata_size=8), buf, 7, 8, metadata=metadata
        )[1] == 0  # fmt: skip


@given(
    size=st.sampled_from([8, 16, 64, 128]),
    offset=st.integers(0, PAGE // 4).map(lambda n: 4 * n),
    nblocks=st.integers(1, 200),
    sgls=st.sampled_from([0, *SGLS.values(), 1, 2 | LISTED]),
    forced=st.sampled_from([None, None, False]),
    seed=st.integers(0, 3),
    name=st.sampled_from(["submit_read", "submit_write", "submit_compare"]),
)
@settings(max_examples=200, deadline=None)
def test_metadata_anywhere_is_said_or_refused(
    size: int, offset: int, nblocks: int, sgls: int, forced: bool | None, seed: int, name: str
) -> None:
    """Metadata in any pieces goes with its blocks, or the call says at which byte no command can say it."""
    with device(sgls=sgls, max_transfer=1 << 20) as dev:
        view, address = scattered(dev, 8, seed)
        runs = dev.iommu.runs(address + offset, size * nblocks)
        ends = list(itertools.accumulate(nbytes for _, nbytes in runs))[:-1]
        compared = name == "submit_compare"
        broken = [end for end in ends if compared or end % size]
        listed = sgls & LISTED and forced is not False
        buf = dev.alloc(512 * nblocks)
        shape = Shape(512, size, False, 0, PAGE, 1 << 20, sgls, 16)
        Posted.look(dev, shape)
        ns = dev.namespace(metadata_size=size)
        call = getattr(dev.qp, name)
        if broken and not listed:
            with pytest.raises(UsageError, match=f"metadata: byte {broken[0]} is elsewhere .* in one piece"):
                call(ns, buf, 7, nblocks, metadata=view[offset:], sgl=forced)
            assert dev.commands() == []
            return
        posted = dev.all_commands(call, ns, buf, 7, nblocks, metadata=view[offset:], sgl=forced)
        check(shape, posted, 7, nblocks, [(buf.iova, 512 * nblocks)], runs)


REFS = {
    "type 1": ({"pi_type": 1, "pi_size": 8, "metadata_size": 8}, {}, 1000, 32),
    "type 1, wrapping": ({"pi_type": 1, "pi_size": 8, "metadata_size": 8}, {}, (1 << 32) - 10, 32),
    "type 2, wrapping": ({"pi_type": 2, "pi_size": 8, "metadata_size": 8}, {"ref_tag": 0xFFFF_FFF0}, 5, 32),
    "storage tag, wrapping": (
        {"pi_type": 2, "pi_size": 8, "metadata_size": 8, "storage_tag_bits": 12},
        {"ref_tag": 0xFFFF0, "storage_tag": 0xABC}, 5, 20),
    "64-bit guard, carrying": (
        {"pi_type": 2, "pi_size": 16, "metadata_size": 16}, {"ref_tag": 0xFFFF_FFF8}, 5, 48),
    "64-bit guard, wrapping": (
        {"pi_type": 2, "pi_size": 16, "metadata_size": 16, "storage_tag_bits": 8},
        {"ref_tag": 0xFF_FFFF_FFF8, "storage_tag": 0xA5}, 5, 40),
    "32-bit guard, wrapping": (
        {"pi_type": 2, "pi_size": 16, "metadata_size": 16, "tag_bits": 80, "storage_tag_bits": 16},
        {"ref_tag": 0xFFFF_FFFF_FFFF_FFF8, "storage_tag": 0xA5B6}, 5, 64),
}  # fmt: skip


@pytest.mark.parametrize("name", REFS)
def test_reference_tags_count_from_piece_to_piece(name: str) -> None:
    """The initial reference tag of each command goes with its first block, within its width; nothing else changes."""
    fields, keywords, lba, width = REFS[name]
    with device(max_transfer=PAGE) as dev:
        ns = dev.namespace(**fields)
        buf, metadata = dev.alloc(48 * 512), dev.alloc(48 * 16)
        sqes = dev.all_commands(dev.qp.submit_write, ns, buf, lba, 48, metadata=metadata, **keywords)
        assert len(sqes) == 6
        first = keywords.get("ref_tag", lba)
        for number, sqe in enumerate(sqes):
            cdw2, cdw3, cdw14 = struct.unpack_from("<II", sqe, 8) + struct.unpack_from("<I", sqe, 56)
            tags = cdw2 << 64 | cdw3 << 32 | cdw14
            assert tags & (1 << width) - 1 == (first + 8 * number) % (1 << width)
            assert tags >> width == keywords.get("storage_tag", 0)


def test_reference_tags_of_type_3_stay() -> None:
    """They do not count (NVM Command Set 1.0, 5.2.1.5)."""
    with device(max_transfer=PAGE) as dev:
        ns = dev.namespace(pi_type=3, pi_size=8, metadata_size=8)
        buf, metadata = dev.alloc(48 * 512), dev.alloc(48 * 8)
        sqes = dev.all_commands(dev.qp.submit_write, ns, buf, 5, 48, metadata=metadata, ref_tag=77)
        assert [struct.unpack_from("<I", sqe, 56)[0] for sqe in sqes] == [77] * 6


@given(
    first=st.integers(0, 1000), nblocks=st.integers(1, 3000), boundary=st.sampled_from([0, 1, 7, 256]),
    limit=st.sampled_from([0, 512, 4096, 100 * 512]),
    name=st.sampled_from(["verify", "write_zeroes", "write_uncorrectable"]),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_ranges_are_cut_at_their_own_limits(
    first: int, nblocks: int, boundary: int, limit: int, name: str
) -> None:
    """Verify, Write Zeroes and Write Uncorrectable: VSL, WZSL and WUSL, and the boundary; the data's limit is none."""
    with device(max_transfer=PAGE, **{f"{name}_bytes": limit}) as dev:
        sqes = dev.all_commands(
            getattr(dev.qp, f"submit_{name}"), dev.namespace(boundary=boundary), first, nblocks)  # fmt: skip
        at = first
        for sqe in sqes:
            lba, cdw12 = struct.unpack_from("<QI", sqe, 40)
            count = (cdw12 & 0xFFFF) + 1
            assert lba == at
            assert not limit or count * 512 <= limit
            assert not boundary or lba // boundary == (lba + count - 1) // boundary
            assert sqe[16:40] == bytes(24)
            at += count
        assert at == first + nblocks
        if not limit and not boundary:
            assert len(sqes) == 1


def test_more_blocks_than_a_command_can_say() -> None:
    """NLB has 16 bits: 65,536 blocks, and the rest in another command."""
    with device() as dev:
        sqes = dev.all_commands(dev.qp.submit_write_zeroes, dev.namespace(), 5, 65536 + 3)
        assert [struct.unpack_from("<QI", sqe, 40) for sqe in sqes] == [(5, 0xFFFF), (65541, 2)]


ranges = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 5000)), min_size=1, max_size=600)


@given(
    pairs=ranges,
    most=st.integers(0, 255),
    longest=st.sampled_from([0, 1000]),
    blocks=st.sampled_from([0, 5000, 1 << 20]),
)
@settings(max_examples=60, deadline=None)
def test_dataset_management_is_cut_at_its_limits(
    pairs: list[tuple[int, int]], most: int, longest: int, blocks: int
) -> None:
    """DMRL, DMRSL and DMSL: what the commands say together is the ranges, cut and in order."""
    with device(depth=4, dsm_ranges=most, dsm_range_blocks=longest, dsm_blocks=blocks) as dev:
        found: list[Run] = []
        dev.look = lambda sqe: (sqe, _payload(dev, sqe, 16 * (sqe[40] + 1)))
        for sqe, data in dev.all_commands(
            dev.qp.submit_dataset_management, dev.namespace(), pairs, deallocate=True
        ):
            count, attributes = struct.unpack_from("<II", sqe, 40)
            assert attributes == 4
            assert count < (most or 256)
            said = [(lba, nblocks) for _, nblocks, lba in struct.iter_unpack("<IIQ", data)]
            assert not longest or max(nblocks for _, nblocks in said) <= longest
            assert not blocks or total(said) <= blocks
            found += said
        assert merged(found) == merged(pairs)


@given(pairs=ranges, mssrl=st.integers(1, 0xFFFF), mcl=st.integers(100, 1 << 20), msrc=st.integers(0, 255))
@settings(max_examples=60, deadline=None)
def test_copy_is_cut_at_its_limits(pairs: list[tuple[int, int]], mssrl: int, mcl: int, msrc: int) -> None:
    """MSSRL, MCL and MSRC: the commands read the ranges in order, and write one after another."""

    @attrs.frozen
    class Data:
        mssrl: int
        mcl: int
        msrc: int

    mssrl = max(mssrl, 20)
    destination = at = 1 << 30
    with device(depth=4) as dev:
        found: list[Run] = []
        ns = dev.namespace(data=Data(mssrl, mcl, msrc))
        dev.look = lambda sqe: (sqe, _payload(dev, sqe, 32 * (sqe[48] + 1)))
        for sqe, data in dev.all_commands(dev.qp.submit_copy, ns, pairs, destination):
            lba, cdw12 = struct.unpack_from("<QI", sqe, 40)
            count = (cdw12 & 0xFF) + 1
            assert lba == at
            assert count <= msrc + 1
            said = [(slba, nlb + 1) for _, slba, nlb, _ in struct.iter_unpack("<QQH14s", data)]
            assert max(nblocks for _, nblocks in said) <= mssrl
            assert total(said) <= mcl
            found += said
            at += total(said)
        assert merged(found) == merged(pairs)
        assert at == destination + total(pairs)


def _payload(dev: Device, sqe: bytes, nbytes: int) -> bytes:
    prp1, prp2 = struct.unpack_from("<QQ", sqe, 24)
    return b"".join(
        dev.fetch(iova, length)
        for iova, length in walk_prps(prp1, prp2, nbytes, PAGE, dev.fetch)
        if iova is not None
    )


def test_copy_ranges_are_no_more_than_a_command_transfers() -> None:
    """Of a page per command: 128 ranges of 32 bytes, or 102 of 40."""

    @attrs.frozen
    class Data:
        mssrl: int = 9
        mcl: int = 10000
        msrc: int = 255

    with device(max_transfer=PAGE) as dev:
        ns, pairs = dev.namespace(data=Data()), [(2 * n, 1) for n in range(300)]
        sqes = dev.all_commands(dev.qp.submit_copy, ns, pairs, 1000)
        assert [sqe[48] + 1 for sqe in sqes] == [128, 128, 44]
        sqes = dev.all_commands(dev.qp.submit_copy, ns, pairs, 1000, format=1)
        assert [(sqe[48] + 1, sqe[49]) for sqe in sqes] == [(102, 1), (102, 1), (96, 1)]
