"""Transfers cut into commands: at the largest transfer, at the boundary, and where memory cannot be described further.

Every command that is posted is read from the ring and walked as a controller would.
"""

from __future__ import annotations

import itertools
import random
import re
import struct
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aionvme.errors import UsageError
from aionvme.pci.backing import PAGE
from aionvme.tests.quick import examples
from aionvme.tests.unit.pci.recording import address_of
from aionvme.tests.unit.qpair.device import Device, device
from aionvme.tests.unit.qpair.model import Run, merged, part, prp_prefix, total, walk_prps
from aionvme.tests.unit.qpair.posted import SGLS, Posted, Shape, check

BUFFER = 128 * PAGE

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


@given(
    shape=shapes,
    segments=st.lists(st.tuples(places, lengths, st.integers(0, 9)), min_size=1, max_size=24),
    write=st.booleans(),
    forced=st.sampled_from([None, None, True, False]),
    lba=st.integers(0, 5000),
)
@settings(max_examples=examples(400), deadline=None)
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
@settings(max_examples=examples(300), deadline=None)
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
@settings(max_examples=examples(100), deadline=None)
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
@settings(max_examples=examples(60), deadline=None)
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
@settings(max_examples=examples(60), deadline=None)
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
