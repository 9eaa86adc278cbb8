"""Owns the journeys of transfers whose memory is in several places: as PRPs, as SGLs, by callbacks and by a copy."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

import aionvme
from aionvme.qpair.sgl import SglCallbacks
from aionvme.tests.journeys.device import STALE, Device, MiB, fill, pattern, refused, stale

PAGE = 4096


def _pieces(buf: Any, places: Sequence[tuple[int, int]]) -> list[memoryview]:
    view = memoryview(buf)
    return [view[offset : offset + nbytes] for offset, nbytes in places]


def _scatter(parts: Sequence[memoryview], data: bytes) -> None:
    at = 0
    for part in parts:
        part[:] = data[at : at + len(part)]
        at += len(part)
    assert at == len(data)


def _gathered(parts: Sequence[memoryview]) -> bytes:
    return b"".join(bytes(part) for part in parts)


def _untouched(buf: Any, places: Sequence[tuple[int, int]]) -> bool:
    rest = bytearray(buf)
    for offset, nbytes in places:
        rest[offset : offset + nbytes] = bytes([STALE]) * nbytes
    return set(rest) == {STALE}


def _pages(total: int) -> list[tuple[int, int]]:
    """Places that PRPs can say: the first begins late, the last ends early, out of order, with gaps."""
    places, left = [(9 * PAGE + 512, PAGE - 512)], total - (PAGE - 512)
    for page in itertools.chain((7, 2, 3, 12, 5), range(14, 40, 2)):
        if left:
            places.append((page * PAGE, min(left, PAGE)))
            left -= places[-1][1]
    return places


def _dwords(total: int) -> list[tuple[int, int]]:
    """Places that only an SGL can say: at multiples of 4 bytes, of such lengths, on no page's limits."""
    places, at = [], 40 * PAGE
    for nbytes in itertools.cycle((4, 508, 1000, 12, 300, PAGE, 36)):
        nbytes = min(nbytes, total)
        at -= nbytes + 20
        places.append((at, nbytes))
        total -= nbytes
        if not total:
            return places
    raise AssertionError("unreachable")


async def _there_and_back(
    device: Device, queue: tuple[Any, Any, Any], places: list[tuple[int, int]], lba: int, seed: int, *, sgl: Any,
    uses_sgl: bool, **options: Any,
) -> None:  # fmt: skip
    """Write from these places, compare, read into them; what is between them stays as it is."""
    ctrlr, ns, qp = queue
    total = sum(nbytes for _, nbytes in places)
    nblocks, data = total // device.block_size, pattern(seed, total)
    with stale(ctrlr, 41 * PAGE) as out, stale(ctrlr, 41 * PAGE) as back:
        source, target = _pieces(out, places), _pieces(back, places)
        _scatter(source, data)
        request = qp.writev(ns, source, lba, nblocks, sgl=sgl, **options)
        await request
        assert request.used_sgl == uses_sgl
        await qp.comparev(ns, source, lba, nblocks, sgl=sgl, **options)
        source[-1][-1] ^= 1
        await refused(
            qp.comparev(ns, source, lba, nblocks, sgl=sgl, **options), aionvme.StatusCode.COMPARE_FAILURE
        )
        request = qp.readv(ns, target, lba, nblocks, sgl=sgl, **options)
        await request
        assert request.used_sgl == uses_sgl
        assert _gathered(target) == data
        assert _untouched(back, places)
        del source, target
    device.record_blocks(lba, data)


async def page_lists(device: Device) -> None:
    """Pages from all over a buffer are one transfer with PRPs, and with SGLs where these are asked for."""
    async with device.queue_pair() as queue:
        lba, places = device.blocks(2 * MiB), _pages(8 * PAGE)
        await _there_and_back(device, queue, places, lba, 7000, sgl=False, uses_sgl=False)
        lba += device.blocks(8 * PAGE)
        await _there_and_back(device, queue, places, lba, 7001, sgl=True, uses_sgl=True)


async def unaligned_segments(device: Device) -> None:
    """Segments that no PRP can say go by SGLs unasked; with PRPs alone they are refused, or copied if asked."""
    async with device.queue_pair() as queue:
        ctrlr, ns, qp = queue
        lba, places = device.blocks(2 * MiB + MiB // 4), _dwords(5 * PAGE)
        await _there_and_back(device, queue, places, lba, 7100, sgl=None, uses_sgl=True)
        lba += device.blocks(5 * PAGE)
        await _there_and_back(device, queue, places, lba, 7101, sgl=False, uses_sgl=False, bounce=True)
        with stale(ctrlr, 41 * PAGE) as buf:
            parts, before = _pieces(buf, places), qp.counters["completions"]
            for call in (qp.readv, qp.writev, qp.comparev):
                with pytest.raises(aionvme.UsageError, match="bounce"):
                    call(ns, parts, lba, device.blocks(5 * PAGE), sgl=False)
            assert qp.counters["completions"] == before
            del parts


async def odd_segments(device: Device) -> None:
    """Where SGLs take any byte, so do segments; where they take dwords alone, an odd one is refused."""
    async with device.queue_pair() as queue:
        lba = device.blocks(2 * MiB + MiB // 2)
        places = [(1, 7), (PAGE + 3, 2 * PAGE - 8), (5 * PAGE - 1, 1)]
        if queue[0].data.sgls & 3 == 1:
            await _there_and_back(device, queue, places, lba, 7200, sgl=None, uses_sgl=True)
        else:
            with stale(queue[0], 41 * PAGE) as buf, pytest.raises(aionvme.UsageError, match="bounce"):
                queue[2].readv(queue[1], _pieces(buf, places), lba, device.blocks(2 * PAGE))
        lba += device.blocks(2 * PAGE)
        await _there_and_back(device, queue, places, lba, 7201, sgl=False, uses_sgl=False, bounce=True)


async def one_buffer_as_sgl(device: Device) -> None:
    """Plain reads, writes and compares may be made to use SGLs; the data is the same."""
    async with device.queue_pair() as (ctrlr, ns, qp):
        lba, nblocks = device.blocks(2 * MiB + 3 * MiB // 4), device.blocks(5 * PAGE) + 1
        data = pattern(7300, nblocks * device.block_size)
        with ctrlr.dma_alloc(len(data) + PAGE) as out, stale(ctrlr, len(data) + PAGE) as back:
            view = memoryview(out)[100:]
            # One after the other: a controller executes what it has together in any order.
            for call, where in (
                (qp.write, fill(view, data)),
                (qp.compare, view),
                (qp.read, memoryview(back)[12:]),
            ):
                request = call(ns, where, lba, nblocks, sgl=True)
                await request
                assert request.used_sgl
            del where
            assert bytes(back) == bytes([STALE]) * 12 + data + bytes([STALE]) * (PAGE - 12)
            del view
        device.record_blocks(lba, data)


async def more_segments_than_a_command_takes(device: Device) -> None:
    """A transfer in more segments than one list can hold becomes several commands, and is one call."""
    async with device.queue_pair() as (ctrlr, ns, qp):
        piece = device.block_size // 2
        count = 2 * device.blocks(200 * 1024) if device.block_size < PAGE else 2 * 40
        lba, nblocks = device.blocks(3 * MiB), count // 2
        data = pattern(7400, count * piece)
        with stale(ctrlr, 2 * len(data)) as out, stale(ctrlr, 2 * len(data)) as back:
            places = [(2 * piece * i + 4, piece) for i in range(count - 1)]
            places.append((2 * piece * (count - 1), piece))
            source, target = _pieces(out, places), _pieces(back, places)
            _scatter(source, data)
            before = qp.counters["completions"]
            await qp.writev(ns, source, lba, nblocks)
            if count > 256:
                assert qp.counters["completions"] - before > 1
            await qp.readv(ns, target, lba, nblocks)
            assert _gathered(target) == data
            assert _untouched(back, places)
            del source, target
        device.record_blocks(lba, data)


async def segments_from_callbacks(device: Device) -> None:
    """Segments that callbacks give, buffers and addresses, are as good as a sequence."""
    async with device.queue_pair() as (ctrlr, ns, qp):
        lba, places = device.blocks(3 * MiB + MiB // 2), _pages(6 * PAGE)
        nblocks, data = device.blocks(6 * PAGE), pattern(7500, 6 * PAGE)
        with stale(ctrlr, 41 * PAGE) as out, stale(ctrlr, 41 * PAGE) as back:
            _scatter(_pieces(out, places), data)
            asked: list[int] = []

            def reset(parts: list[Any], offset: int) -> None:
                asked.append(offset)

            source: list[Any] = list(_pieces(out, places))
            await qp.writev(ns, SglCallbacks(reset, lambda parts: parts.pop(0), source), lba, nblocks)
            first = back.array("uint8").__array_interface__["data"][0]
            target = [(first + offset, nbytes) for offset, nbytes in places]
            await qp.readv(ns, SglCallbacks(reset, lambda parts: parts.pop(0), target), lba, nblocks)
            assert asked == [0, 0]
            assert _gathered(_pieces(back, places)) == data
            assert _untouched(back, places)
        device.record_blocks(lba, data)


async def bit_buckets(device: Device) -> None:
    """Where SGLs have bit buckets a read leaves out what they take; elsewhere they are refused."""
    async with device.queue_pair() as (ctrlr, ns, qp):
        lba, size = device.scratch + 128, device.block_size
        data = pattern(7600, 4 * size)
        with ctrlr.dma_alloc(4 * size) as out, stale(ctrlr, 4 * size) as back:
            await qp.write(ns, fill(out, data), lba, 4)
            iov = [memoryview(back)[:size], (None, 2 * size), memoryview(back)[size : 2 * size]]
            if "bit buckets" in device.lacks:
                with pytest.raises(aionvme.UsageError, match="bit bucket"):
                    qp.readv(ns, iov, lba, 4)
            else:
                await qp.readv(ns, iov, lba, 4)
                assert bytes(back)[: 2 * size] == data[:size] + data[3 * size :]
                assert set(bytes(back)[2 * size :]) == {STALE}
            del iov


WRITING = (
    page_lists,
    unaligned_segments,
    odd_segments,
    one_buffer_as_sgl,
    more_segments_than_a_command_takes,
    segments_from_callbacks,
)
OTHERS = (bit_buckets,)
