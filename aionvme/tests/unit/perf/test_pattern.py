"""The data of `--verify`: a block that is not as written is found, and said what it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme import pi
from aionvme.errors import UsageError
from aionvme.perf.pattern import Pattern
from aionvme.tests.unit.pi import model

SEED = 0x1122334455667788


def filled(block: int, count: int, lba: int = 100, seed: int = SEED) -> bytearray:
    memory = bytearray(block * count)
    Pattern(block, seed).fill(memory, lba)
    return memory


@given(st.sampled_from([512, 4096, 520]), st.integers(1, 60), st.integers(0, 2**64 - 100))
def test_what_was_written_is_right(block: int, count: int, lba: int) -> None:
    """Blocks of any size and number pass, wherever they are."""
    assert Pattern(block, SEED).wrong(filled(block, count, lba), lba) is None


@given(st.integers(1, 50), st.data())
def test_one_changed_bit_is_found(count: int, data: st.DataObject) -> None:
    """Whichever bit of whichever block is another one, that block is named."""
    memory = filled(512, count)
    bit = data.draw(st.integers(0, 8 * len(memory) - 1))
    memory[bit // 8] ^= 1 << bit % 8
    wrong = Pattern(512, SEED).wrong(memory, 100)
    assert wrong is not None
    assert f"LBA {100 + bit // 8 // 512} " in wrong


def test_the_checksum_is_a_crc_32c() -> None:
    """The last four bytes of a block are the CRC-32C of all before them, as any other program would compute it."""
    block = filled(512, 1)
    assert int.from_bytes(block[-4:], "little") == model.crc(pi.Guard.CRC32C, bytes(block[:-4]))
    assert (int.from_bytes(block[:8], "little"), int.from_bytes(block[8:16], "little")) == (100, SEED)


def test_no_two_blocks_are_alike() -> None:
    """Neither their whole nor a sector's part of them is the same in two blocks, or with two seeds."""
    pieces = [
        bytes(memory[at : at + 256])
        for memory in (filled(4096, 4), filled(4096, 4, seed=SEED + 1))
        for at in range(0, len(memory), 256)
    ]
    assert len(set(pieces)) == len(pieces)


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (filled(512, 1, 101), "LBA 100 holds the data of LBA 101"),
        (filled(512, 1, 100, SEED + 1), "LBA 100 holds what another run wrote for LBA 100"),
        (bytearray(512), "LBA 100 holds nothing but bytes 0x00"),
        (bytearray(b"\xff" * 512), "LBA 100 holds nothing but bytes 0xff"),
        (bytearray(b"ab" * 256), "LBA 100 holds data that this run did not write"),
        (filled(512, 1)[:508] + bytes(4), "LBA 100 has its own head, but its CRC-32C is "),
    ],
)
def test_it_is_said_what_is_there(there: bytearray, words: str) -> None:
    """A block of elsewhere, of an earlier run, of nothing, of others, and a damaged one are told apart."""
    wrong = Pattern(512, SEED).wrong(there, 100)
    assert wrong is not None
    assert wrong.startswith(words)


def test_pieces_from_many_places() -> None:
    """Pieces that belong to LBAs in no order are made and judged as one call; the wrong one is named."""
    pattern, lbas = Pattern(512, SEED), np.array([900, 3, 3, 77], np.uint64)
    memory = bytearray(512 * 2 * len(lbas))
    pattern.fill_of(memory, lbas, 2)
    assert memory == b"".join(filled(512, 2, int(lba)) for lba in lbas)
    assert pattern.wrong_of(memory, lbas, 2) is None
    memory[512 * 5 + 17] ^= 4
    assert "LBA 4 has its own head" in (pattern.wrong_of(memory, lbas, 2) or "")
    assert "LBA 78 holds the data of LBA 77" in (pattern.wrong_of(memory[-1024:-512] * 2, lbas[3:], 2) or "")


def test_spoiled_blocks_are_wrong() -> None:
    """Memory that is spoiled before a read is wrong in each block, whatever was in it."""
    pattern, memory = Pattern(512, SEED), filled(512, 3)
    pattern.spoil(memory)
    for at in range(3):
        assert pattern.wrong(memory[512 * at : 512 * (at + 1)], 100 + at) is not None


def test_nothing_is_right() -> None:
    """No blocks are no wrong blocks."""
    pattern = Pattern(512, SEED)
    pattern.fill(bytearray(), 5)
    pattern.spoil(bytearray())
    assert pattern.wrong(b"", 5) is None
    assert pattern.wrong_of(b"", np.empty(0, np.uint64), 1) is None


def test_what_is_no_block_is_refused() -> None:
    """Blocks that are too small for the head, memory that is no whole block, and too few pieces are refused."""
    pattern = Pattern(512, SEED)
    for size in (0, 16, 515):
        with pytest.raises(UsageError, match="block_size"):
            Pattern(size, SEED)
    with pytest.raises(UsageError, match="no whole number"):
        pattern.wrong(bytes(500), 0)
    lbas = np.zeros(2, np.uint64)
    with pytest.raises(UsageError, match="do not hold 2 pieces of 512 bytes"):
        pattern.wrong_of(bytes(1023), lbas, 1)
    with pytest.raises(UsageError, match="do not hold"):
        pattern.fill_of(bytearray(1023), lbas, 1)
