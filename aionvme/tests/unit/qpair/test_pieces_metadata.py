"""Separate metadata, wherever it is for the device: in one piece, said by an SGL, cut with its blocks, or refused."""

from __future__ import annotations

import itertools
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aionvme.errors import UsageError
from aionvme.pci.backing import PAGE
from aionvme.tests.quick import examples
from aionvme.tests.unit.pci.recording import address_of, pages
from aionvme.tests.unit.qpair.device import Device, device
from aionvme.tests.unit.qpair.posted import BESIDE, LISTED, SGLS, Posted, Shape, check


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
    """Where SGLS bit 19 is set, a command has metadata in several pieces for the device, wherever a block's is cut."""
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
@settings(max_examples=examples(200), deadline=None)
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
