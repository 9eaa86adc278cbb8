"""The three CRCs: values that other people have published, and division bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aionvme import pi
from aionvme.pi.crc import CRC16, CRC32C, CRC32C_BY_TABLE, CRC64, guards
from aionvme.tests.unit.pi import model

UP = bytes(range(256)) * 16
DOWN = UP[::-1]
DIGITS = b"1234567890" * 32

# The check values of the CRC catalogue; NVM Command Set 1.0, 5.2.1.2.1 and 5.2.1.3.5 (4 KiB); Linux's crypto/testmgr.h.
# The check value that the specification gives for its CRC-64 is another, and none that its own 4 KiB cases agree with.
PUBLISHED = [
    (CRC16, b"123456789", 0xD0DB),
    (CRC16, b"abc", 0x443B),
    (CRC16, DIGITS[:79], 0x4B70),
    (CRC16, b"abc" + b"d" * 53, 0x9CE3),
    (CRC16, DIGITS[:319], 0x44C6),
    (CRC32C, b"123456789", 0xE3069283),
    (CRC32C, bytes(4096), 0x98F94189),
    (CRC32C, b"\xff" * 4096, 0x25C1FE13),
    (CRC32C, UP, 0x9C71FE32),
    (CRC32C, DOWN, 0x214941A8),
    (CRC64, b"123456789", 0xAE8B1486_0A799888),
    (CRC64, bytes(4096), 0x6482D367_EB22B64E),
    (CRC64, b"\xff" * 4096, 0xC0DDBA73_02ECA3AC),
    (CRC64, UP, 0x3E729F5F_6750449C),
    (CRC64, DOWN, 0x9A2DF64B_8E9E517E),
]
NONE = np.zeros(0, np.uint8)


def array(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def of(kind: int, data: bytes, tail: bytes = b"") -> int:
    """The CRC of one block in two pieces."""
    out = np.zeros(1, np.uint64)
    guards(kind, array(data), 0, len(data), array(tail), 0, len(tail), out)
    return int(out[0])


@pytest.mark.parametrize(("kind", "data", "value"), PUBLISHED)
def test_published_values(kind: int, data: bytes, value: int) -> None:
    """Each CRC is the one that others know by that name."""
    assert of(kind, data) == value


@pytest.mark.parametrize(("kind", "data", "value"), [row for row in PUBLISHED if len(row[1]) < 512])
def test_the_model_has_the_published_values(kind: int, data: bytes, value: int) -> None:
    """The model that the other tests compare with is right itself."""
    assert model.crc(pi.Guard(kind), data) == value


@given(kind=st.sampled_from([CRC16, CRC32C, CRC64]), data=st.binary(max_size=80), cut=st.integers(0, 80))
def test_any_length_in_two_pieces(kind: int, data: bytes, cut: int) -> None:
    """Whatever the length, and wherever the data ends and the metadata begins, it is one message."""
    assert of(kind, data[:cut], data[cut:]) == model.crc(pi.Guard(kind), data)


@given(
    kind=st.sampled_from([CRC16, CRC32C, CRC64]),
    count=st.integers(1, 4),
    length=st.integers(0, 40),
    gap=st.integers(0, 9),
    tail_length=st.integers(0, 20),
    tail_gap=st.integers(0, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_strides(
    kind: int, count: int, length: int, gap: int, tail_length: int, tail_gap: int, seed: int
) -> None:
    """Each block is taken where its stride says, and nothing of what lies between counts."""
    random = np.random.default_rng(seed)
    data = random.integers(0, 256, count * (length + gap), np.uint8)
    tail = random.integers(0, 256, count * (tail_length + tail_gap), np.uint8)
    out = np.zeros(count, np.uint64)
    guards(kind, data, length + gap, length, tail, tail_length + tail_gap, tail_length, out)
    for number in range(count):
        at, tail_at = number * (length + gap), number * (tail_length + tail_gap)
        covered = bytes(data[at : at + length]) + bytes(tail[tail_at : tail_at + tail_length])
        assert int(out[number]) == model.crc(pi.Guard(kind), covered)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_the_table_is_what_the_instruction_is(data: bytes, cut: int) -> None:
    """A processor without the instruction has the same CRC-32C, for any length in one or two pieces."""
    assert of(CRC32C_BY_TABLE, data[:cut], data[cut:]) == of(CRC32C, data)


@pytest.mark.parametrize("kind", [-1, 4])
def test_unknown_crc(kind: int) -> None:
    """What is none of the three is refused."""
    with pytest.raises(ValueError, match="there is no CRC"):
        guards(kind, array(b"x"), 1, 1, NONE, 0, 0, np.zeros(1, np.uint64))


@pytest.mark.parametrize(
    ("stride", "length", "tail_stride", "tail_length"),
    [(8, 9, 0, 0), (9, 8, 0, 0), (8, 8, 0, 1), (8, 8, 4, 1), (-8, 8, 0, 0), (8, -1, 0, 0), (8, 8, 0, -1)],
)
def test_never_outside_the_buffers(stride: int, length: int, tail_stride: int, tail_length: int) -> None:
    """Lengths and strides that lead out of a buffer are refused, not read."""
    with pytest.raises(ValueError, match=r"negative|too short"):
        guards(
            CRC16, array(bytes(16)), stride, length, NONE, tail_stride, tail_length, np.zeros(2, np.uint64)
        )


def test_no_blocks() -> None:
    """For no blocks nothing is done."""
    guards(CRC64, NONE, 0, 0, NONE, 0, 0, np.zeros(0, np.uint64))
