"""Batches: what is posted for which LBA and which part of the buffer, how much at once, and what each ended with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.errors import ControllerResetError, MediaError, UsageError
from aionvme.spec.status import StatusCode
from aionvme.tests.unit.qpair.device import Device, device
from aionvme.tests.unit.qpair.model import merged, part, total
from aionvme.tests.unit.qpair.posted import SGLS, Posted, Shape, check

READ, WRITE = 2, 1
FAILED = int(StatusCode.UNRECOVERED_READ_ERROR)
ABORTED = int(StatusCode.COMMAND_ABORTED_BY_HOST)


def shape_of(dev: Device, **fields: Any) -> Shape:
    """What `Posted` has to know."""
    plain = {
        "block_size": 512, "metadata_size": 0, "extended": False, "boundary": 0, "page_size": 4096,
        "max_transfer": 128 << 10, "sgls": 0, "depth": dev.depth,
    }  # fmt: skip
    return Shape(**(plain | fields))


def run(dev: Device, request: Any) -> list[int]:
    """Completes all that is posted until the request has ended; how many commands were in flight each time."""
    counts = []
    while not request.done():
        posted = dev.commands()
        counts.append(len(posted))
        assert posted or request.done()
        for sqe in posted:
            dev.complete(sqe)
    return counts


@given(
    lbas=st.lists(st.integers(0, 5000), min_size=1, max_size=40),
    nblocks=st.integers(1, 40),
    places=st.integers(1, 50),
    offset=st.integers(0, 2048).map(lambda number: 4 * number),
    queue_depth=st.none() | st.integers(1, 7),
    boundary=st.sampled_from([0, 0, 8, 24]),
    max_transfer=st.sampled_from([4096, 16384]),
    sgls=st.sampled_from(["none", "any", "dwords"]),
    torn=st.booleans(),
)
def test_each_command_is_posted(
    lbas: list[int],
    nblocks: int,
    places: int,
    offset: int,
    queue_depth: int | None,
    boundary: int,
    max_transfer: int,
    sgls: str,
    torn: bool,
) -> None:
    """Whatever the memory, the limits and the depth: each LBA once, in order, each with its part of the buffer."""
    with device(depth=7, max_transfer=max_transfer, sgls=SGLS[sgls]) as dev:
        size = nblocks * 512
        memory = np.zeros(places * size + 16384, np.uint8)
        # Mapped in two goes, the memory is in two pieces for the device.
        half = memory[: len(memory) // 2] if torn else memory
        registrations = [dev.dma.register(half), dev.dma.register(memory)]
        buf = memory[offset + -memory.ctypes.data % 4 :][: places * size]
        runs = merged(dev.iommu.runs(buf.ctypes.data, buf.nbytes))
        assert total(runs) == buf.nbytes
        shape = shape_of(dev, boundary=boundary, max_transfer=max_transfer, sgls=SGLS[sgls])
        Posted.look(dev, shape)
        ns = dev.namespace(boundary=boundary)
        request = dev.qp.read_batch(ns, buf, np.array(lbas), nblocks, queue_depth=queue_depth)
        posted = []
        while not request.done():
            commands = dev.commands()
            assert len(commands) <= (queue_depth or 7)
            assert commands or request.done()
            posted += [Posted.of(dev, shape, sqe) for sqe in commands]
            for sqe in commands:
                dev.complete(sqe)
        for number, lba in enumerate(lbas):
            pieces, blocks = [], 0
            while blocks < nblocks:
                pieces.append(posted.pop(0))
                blocks += pieces[-1].nblocks
            check(shape, pieces, lba, nblocks, part(runs, number % places * size, size), [])
        assert posted == []
        result = request.result()
        assert (result.nfailed, len(result)) == (0, len(lbas))
        assert not result.statuses.any()
        for registration in registrations:
            registration.close()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", ">i8", "u8", "<u4"])
def test_integers_of_any_kind(dtype: str) -> None:
    """LBAs may be of any integer type, in either byte order, with strides; they are copied."""
    with device() as dev:
        lbas = np.array([[1, 0], [2, 0], [127, 0], [0, 0]], dtype)[:, 0]
        request = dev.qp.write_batch(dev.namespace(), dev.alloc(512), lbas, 1)
        lbas[:] = 9
        posted = dev.commands()
        assert [int.from_bytes(sqe[40:48], "little") for sqe in posted] == [1, 2, 127, 0]
        assert {(sqe[0], int.from_bytes(sqe[4:8], "little")) for sqe in posted} == {(WRITE, 7)}
        for sqe in posted:
            dev.complete(sqe)
        dev.commands()
        assert request.result().nfailed == 0


def test_the_largest_lbas() -> None:
    """LBAs of 64 bits are posted as they are, and the last block of a namespace is within."""
    with device() as dev:
        ns = dev.namespace(nblocks=(1 << 64) - 1)
        lbas = np.array([(1 << 64) - 2, (1 << 63) + 1], np.uint64)
        dev.qp.read_batch(ns, dev.alloc(512), lbas, 1)
        assert [int.from_bytes(sqe[40:48], "little") for sqe in dev.commands()] == lbas.tolist()
        with pytest.raises(UsageError, match=r"lbas\[1\]: lba 18446744073709551615"):
            dev.qp.read_batch(ns, dev.alloc(512), np.array([0, (1 << 64) - 1], np.uint64), 1)


def test_no_commands() -> None:
    """A batch of none has ended before it began, without a command."""
    with device() as dev:
        request = dev.qp.read_batch(dev.namespace(), dev.alloc(512), np.zeros(0, int), 1)
        assert request.done()
        assert (len(request.result()), request.result().nfailed) == (0, 0)
        assert dev.commands() == []
        assert dev.command(dev.qp.submit_read, dev.namespace(), dev.alloc(512), 1, 1)[0] == READ


def test_flags_are_in_each_command() -> None:
    """Force unit access and limited retry are in every command."""
    with device(depth=2) as dev:
        request = dev.qp.write_batch(dev.namespace(), dev.alloc(512), np.arange(5), 1, io_flags=3 << 30)
        seen = []
        while not request.done():
            for sqe in dev.commands():
                seen.append(int.from_bytes(sqe[48:52], "little"))
                dev.complete(sqe)
        assert seen == [3 << 30] * 5


def test_others_take_turns_with_a_batch() -> None:
    """A command that finds all slots taken by a batch waits for one of its commands to end, not for all."""
    with device(depth=4) as dev:
        ns, buf = dev.namespace(), dev.alloc(512)
        batch = dev.qp.read_batch(ns, buf, np.arange(100), 1)
        waiting = dev.commands()
        assert len(waiting) == 4
        writes = [dev.qp.submit_write(ns, buf, lba, 1) for lba in range(3)]
        opcodes = []
        while not all(write.done() for write in writes):
            dev.complete(waiting.pop(0))
            posted = dev.commands()
            opcodes += [sqe[0] for sqe in posted]
            waiting += posted
        assert opcodes[:3] == [WRITE] * 3
        assert READ in opcodes
        for sqe in waiting:
            dev.complete(sqe)
        run(dev, batch)
        assert batch.result().nfailed == 0


def test_two_batches_take_turns() -> None:
    """Neither of two batches waits for the other to end."""
    with device(depth=4) as dev:
        ns, buf = dev.namespace(), dev.alloc(512)
        reads = dev.qp.read_batch(ns, buf, np.arange(40), 1)
        writes = dev.qp.write_batch(ns, buf, np.arange(40), 1)
        opcodes = []
        while not (reads.done() and writes.done()):
            for sqe in dev.commands():
                opcodes.append(sqe[0])
                dev.complete(sqe)
        assert (opcodes.count(READ), opcodes.count(WRITE)) == (40, 40)
        half = opcodes[:40]
        assert 16 <= half.count(WRITE) <= 24


def test_a_shallow_batch_leaves_slots_to_others() -> None:
    """With a queue depth of its own a batch has no more in flight, and others find the slots that it leaves free."""
    with device(depth=4) as dev:
        ns, buf = dev.namespace(), dev.alloc(512)
        batch = dev.qp.read_batch(ns, buf, np.arange(10), 1, queue_depth=3)
        first = dev.commands()
        assert [sqe[0] for sqe in first] == [READ] * 3
        write = dev.qp.submit_write(ns, buf, 0, 1)
        second = dev.commands()
        assert [sqe[0] for sqe in second] == [WRITE]
        for sqe in first + second:
            dev.complete(sqe)
        third = dev.commands()
        assert [sqe[0] for sqe in third] == [READ] * 3
        assert write.done()
        for sqe in third:
            dev.complete(sqe)
        assert run(dev, batch) == [3, 1, 0]


def test_statuses() -> None:
    """Each command has its own status; the error is that of the first in the order of the LBAs, with the result."""
    with device(depth=8) as dev:
        ns, buf = dev.namespace(), dev.alloc(512)
        lbas = np.arange(6)
        for checked in (True, False):
            request = dev.qp.read_batch(ns, buf, lbas, 1, check=checked)
            posted = dev.commands()
            for number in (5, 3, 0, 1, 4, 2):
                dev.complete(posted[number], {5: FAILED, 3: 0x4281}.get(number, 0))
            dev.commands()
            assert request.done()
            if checked:
                error = request.exception()
                assert isinstance(error, MediaError)
                assert error.status.dnr
                assert error.cid == int.from_bytes(posted[3][2:4], "little")
                assert error.cpl is request.cpl
                result = error.result
            else:
                result = request.result()
            assert result.statuses.tolist() == [0, 0, 0, 0x4281, 0, FAILED]
            assert result.statuses.dtype == np.uint16
            assert result.nfailed == 2


def test_the_first_piece_that_fails_is_the_command_that_fails() -> None:
    """A command of several pieces counts once, with the first status of them that came."""
    with device(depth=8, max_transfer=4096) as dev:
        request = dev.qp.read_batch(dev.namespace(), dev.alloc(16384), np.array([0, 100]), 20, check=False)
        posted = dev.commands()
        assert len(posted) == 6
        for sqe, status in zip(posted, (0, FAILED, 0x286, 0, 0, 0), strict=True):
            dev.complete(sqe, status)
        dev.commands()
        assert request.result().statuses.tolist() == [FAILED, 0]
        assert request.result().nfailed == 1


def test_a_reset_in_the_middle() -> None:
    """What was not executed to its end is told from what was: also the command of which a piece was."""
    with device(depth=4, max_transfer=4096) as dev:
        request = dev.qp.read_batch(dev.namespace(), dev.alloc(16384), np.arange(0, 80, 10), 10)
        posted = dev.commands()
        assert len(posted) == 4
        for sqe in posted[:3]:
            dev.complete(sqe)
        dev.commands()
        dev.qp.end_outstanding(ControllerResetError("reset"), False)
        assert request.done()
        error = request.exception()
        assert isinstance(error, ControllerResetError)
        assert error.result.statuses.tolist() == [0] + [ABORTED] * 7
        assert error.result.nfailed == 7


def test_memory_is_held_until_the_end() -> None:
    """A buffer that is closed while a batch uses it goes back when the device has let go."""
    with device(depth=4) as dev:
        buf = dev.alloc(4096)
        request = dev.qp.read_batch(dev.namespace(), buf, np.arange(6), 1)
        buf.close()
        iova = buf.iova
        others = [dev.alloc(4096) for _ in range(8)]
        assert iova not in {other.iova for other in others}
        run(dev, request)
        assert iova in {dev.alloc(4096).iova for _ in range(8)}
        with pytest.raises(UsageError, match="closed"):
            dev.qp.read_batch(dev.namespace(), buf, np.arange(6), 1)


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "fractions": ({"lbas": np.array([1.0])}, TypeError, "lbas must be .* integers, not of float64"),
    "booleans": ({"lbas": np.array([True])}, TypeError, "not of bool"),
    "objects": ({"lbas": np.array([object()])}, TypeError, "not of object"),
    "numbers that are too large": ({"lbas": [1 << 70]}, TypeError, "not of object"),
    "two dimensions": ({"lbas": np.zeros((2, 2), int)}, UsageError, "one dimension, not 2"),
    "a single number": ({"lbas": np.int64(3)}, UsageError, "one dimension, not 0"),
    "negative": ({"lbas": np.array([3, -1])}, UsageError, r"lbas\[1\]: lba -1"),
    "outside": ({"lbas": np.array([0, 999, 1000])}, UsageError, r"lbas\[2\]: lba 1000.*has 1000 blocks"),
    "partly outside": (
        {"lbas": np.array([998, 999]), "nblocks": 2},
        UsageError,
        r"lbas\[1\]: lba 999, nblocks 2",
    ),
    "more than there are": ({"nblocks": 1001, "lbas": np.array([0])}, UsageError, r"lbas\[0\].*nblocks 1001"),
    "no blocks": ({"nblocks": 0}, UsageError, "nblocks must be 1 or more"),
    "fewer": ({"nblocks": -1}, UsageError, "nblocks must be from 0"),
    "half a block": ({"nblocks": 0.5}, TypeError, "nblocks must be a whole number"),
    "a depth of none": ({"queue_depth": 0}, UsageError, "queue_depth must be from 1 to 16.*not 0"),
    "too deep": ({"queue_depth": 17}, UsageError, "queue_depth must be from 1 to 16.*not 17"),
    "a small buffer": ({"nblocks": 3}, UsageError, "buf has 1024 bytes; 3 blocks of 512 need 1536"),
    "no buffer": ({"buf": 5}, TypeError, "buf must be memory"),
    "unmapped": ({"buf": bytearray(1024)}, UsageError, "not mapped for DMA"),
    "flags": ({"io_flags": 1 << 29}, UsageError, "io_flags 0x20000000: this command takes only"),
    "a time": ({"timeout": -1}, UsageError, "timeout must be from 0"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("command", ["read_batch", "write_batch"])
def test_wrong_arguments(command: str, name: str) -> None:
    """Each is refused by the call, by name; nothing is posted, and nothing of the caller's is held."""
    change, error, text = WRONG[name]
    with device() as dev:
        buf = dev.alloc(1024)
        args = {"buf": buf, "lbas": np.arange(3), "nblocks": 1} | change
        with pytest.raises(error, match=text):
            getattr(dev.qp, command)(dev.namespace(nblocks=1000), **args)
        assert dev.commands() == []
        buf.close()
        assert buf.iova in {dev.alloc(4096).iova for _ in range(8)}


def test_namespaces_with_metadata_are_refused() -> None:
    """A batch moves no metadata, and says what does."""
    with device() as dev:
        buf = dev.alloc(4096)
        for extended in (False, True):
            ns = dev.namespace(metadata_size=8, extended=extended)
            with pytest.raises(UsageError, match=r"8 bytes of metadata per block.*use read"):
                dev.qp.read_batch(ns, buf, np.arange(3), 1)
            with pytest.raises(UsageError, match="use write"):
                dev.qp.write_batch(ns, buf, np.arange(3), 1)


def test_memory_that_may_not_be_written() -> None:
    """Read-only memory can be written from, and not be read into; odd addresses are refused."""
    with device() as dev:
        view = memoryview(dev.alloc(4096))
        with pytest.raises(UsageError, match="writable"):
            dev.qp.read_batch(dev.namespace(), view.toreadonly(), np.arange(3), 1)
        with pytest.raises(UsageError, match="multiple of 4"):
            dev.qp.read_batch(dev.namespace(), view[1:], np.arange(3), 1)
        run(dev, dev.qp.write_batch(dev.namespace(), view.toreadonly(), np.arange(3), 1))
