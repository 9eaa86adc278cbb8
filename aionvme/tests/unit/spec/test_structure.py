"""The mechanism by which structures and words are declared."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.spec.bits import Bits, bits
from aionvme.spec.errors import DecodeError, NvmeError
from aionvme.spec.identify import LbaFormat
from aionvme.spec.structure import (
    Structure,
    array,
    ascii_text,
    nested,
    raw_bytes,
    u8,
    u16,
    u32,
    u64,
    u128,
    uint,
    uints,
    utf8_text,
)


class Flags(Bits, width=8):
    """A byte of flags."""

    low = bits(0, 3)
    high = bits(7)


class Point(Structure, size=4):
    """A small structure."""

    x: int = u16(0, "First")
    y: int = u8(3, "Second, behind a gap")


class Every(Structure, size=128):
    """Every kind of row."""

    a: int = u8(0, bits=Flags)
    b: int = u16(1)
    c: int = u32(3)
    d: int = u64(7)
    e: int = u128(15)
    f: int = uint(31, 3)
    text: str = ascii_text(34, 8)
    nqn: str = utf8_text(42, 8)
    raw: bytes = raw_bytes(50, 6)
    point: Point = nested(56, Point)
    points: tuple[Point, ...] = array(60, Point, 3)
    numbers: tuple[int, ...] = uints(72, 2, 4)


POINTS = st.builds(Point, x=st.integers(0, 0xFFFF), y=st.integers(0, 0xFF))
ASCII = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=8)


def numbers_of(nbytes: int) -> st.SearchStrategy[int]:
    """Integers that fit in `nbytes`."""
    return st.integers(0, (1 << 8 * nbytes) - 1)


EVERY = st.builds(
    Every,
    a=numbers_of(1),
    b=numbers_of(2),
    c=numbers_of(4),
    d=numbers_of(8),
    e=numbers_of(16),
    f=numbers_of(3),
    text=ASCII,
    nqn=ASCII,
    raw=st.binary(max_size=6),
    point=POINTS,
    points=st.lists(POINTS, max_size=3).map(tuple),
    numbers=st.lists(numbers_of(2), max_size=4).map(tuple),
)


@given(EVERY)
def test_what_is_encoded_decodes_to_the_same(value: Every) -> None:
    """Encoding and decoding lose nothing."""
    assert Every.decode(value.encode()) == value


@given(st.binary(min_size=4, max_size=4))
def test_bytes_in_no_row_are_the_only_ones_that_are_lost(data: bytes) -> None:
    """A structure's bytes come back but for those that no row names."""
    assert Point.decode(data).encode() == data[:2] + b"\0" + data[3:]


@given(st.integers(0, Every.SIZE - 1))
def test_truncated_bytes_are_refused(length: int) -> None:
    """Any shorter input raises, and the exception is one of ours and a ValueError."""
    with pytest.raises(DecodeError, match=rf"Every has 128 bytes, and here are {length}") as caught:
        Every.decode(bytes(length))
    assert isinstance(caught.value, NvmeError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_longer_bytes_of_any_kind_are_taken(kind: type) -> None:
    """What lies behind the structure does not matter, nor what kind of buffer it is in."""
    assert Point.decode(kind(b"\x01\x02\xff\x03rest")) == Point(x=0x0201, y=3)


def test_a_default_is_all_zeros_but_for_text() -> None:
    """A structure made without arguments encodes to zeros, with spaces where ASCII is padded."""
    assert Every().encode() == bytes(34) + b" " * 8 + bytes(86)
    assert Every.decode(bytes(128)) == Every()


def test_layout_is_as_declared() -> None:
    """Each kind of row lands at its offset, least significant byte first."""
    value = Every(a=0x81, b=0x0302, c=0x07060504, f=0x0C0B0A, text="abc", nqn="é", raw=b"\x01")
    data = value.encode()
    assert data[:7] == bytes((0x81, 2, 3, 4, 5, 6, 7))
    assert data[31:34] == b"\x0a\x0b\x0c"
    assert data[34:42] == b"abc     "
    assert data[42:50] == b"\xc3\xa9" + bytes(6)
    assert data[50:56] == b"\x01" + bytes(5)


def test_short_tuples_and_bytes_are_filled() -> None:
    """A shorter tuple or bytes value means zeros behind it, in equality and length too."""
    value = Every(points=(Point(x=1),), numbers=[7], raw=bytearray(b"\x01"))  # type: ignore[arg-type]
    assert value.points == (Point(x=1), Point(), Point())
    assert value.numbers == (7, 0, 0, 0)
    assert value.raw == b"\x01\0\0\0\0\0"


def test_text_that_is_not_clean_still_decodes() -> None:
    """Bytes that are no ASCII or no UTF-8 never make a decoder raise."""
    data = bytearray(128)
    data[34:42] = b"\xffab \0\0\0\0"
    data[42:50] = b"ok\xff\0junk"
    value = Every.decode(data)
    assert value.text == "\xffab"
    assert value.nqn == "ok\ufffd"


@pytest.mark.parametrize(
    "fields",
    [
        {"a": 256},
        {"a": -1},
        {"f": 1 << 24},
        {"text": "nine chars"},
        {"nqn": "ééééé"},
        {"raw": b"1234567"},
        {"points": (Point(),) * 4},
        {"numbers": (1,) * 5},
        {"numbers": (1 << 16,)},
    ],
)
def test_a_value_that_does_not_fit_is_refused(fields: dict[str, object]) -> None:
    """Encoding never truncates: it says which field does not fit."""
    (name,) = fields
    with pytest.raises(ValueError, match=rf"Every\.{name}: .* does not fit in"):
        Every(**fields).encode()  # type: ignore[arg-type]


def test_unknown_fields_are_refused() -> None:
    """A misspelt field is a TypeError, as of any function."""
    with pytest.raises(TypeError, match="Point has no field z"):
        Point(z=1)  # type: ignore[call-arg]


def test_structures_do_not_change() -> None:
    """No attribute can be set, deleted or added."""
    point = Point(x=1)
    with pytest.raises(AttributeError, match="a Point does not change: x"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="a Point does not change: x"):
        del point.x
    with pytest.raises(AttributeError):
        point.other = 2  # type: ignore[attr-defined]


def test_structures_are_values() -> None:
    """Equal fields make equal structures with equal hashes, and another class is never equal."""

    class Other(Structure, size=4):
        """The same table under another name."""

        x: int = u16(0)
        y: int = u8(3)

    assert Point(x=1, y=2) == Point(x=1, y=2)
    assert hash(Point(x=1, y=2)) == hash(Point(x=1, y=2))
    assert Point(x=1) != Point(x=2)
    assert Point() != Other()


def test_structures_are_copied_pickled_and_replaced() -> None:
    """Copies are equal, and a replacement differs in the named fields alone."""
    value = Every(a=1, points=(Point(x=1),))
    assert copy.copy(value) == copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value
    assert value.replace(b=2, points=()) == Every(a=1, b=2)
    with pytest.raises(TypeError, match="Every has no field z"):
        value.replace(z=1)


def test_repr_shows_what_is_not_zero() -> None:
    """The repr is the constructor call, without fields and tails of zeros."""
    assert repr(Point()) == "Point()"
    value = Every(text="hi", raw=b"\1", points=(Point(), Point(y=1)))
    assert repr(value) == "Every(text='hi', raw=b'\\x01', points=(Point(), Point(y=1)))"
    assert eval(repr(value)) == value


def test_to_dict_is_json() -> None:
    """The dictionary holds every field in a form that JSON has."""
    plain = json.loads(json.dumps(Every(raw=b"\x0a", points=(Point(x=1),)).to_dict()))
    assert list(plain) == list(Every.ROWS)
    assert plain["raw"] == "0a0000000000"
    assert plain["point"] == {"x": 0, "y": 0}
    assert plain["points"][0] == {"x": 1, "y": 0}
    assert plain["numbers"] == [0, 0, 0, 0]


def test_rows_tell_the_table() -> None:
    """Name, offset, size, words and bits of a field can be looked up."""
    row = Every.ROWS["a"]
    assert (row.name, row.offset, row.size, row.bits) == ("a", 0, 1, Flags)
    assert Point.ROWS["y"].doc == "Second, behind a gap"


def test_a_duplicate_name_fails_at_import() -> None:
    """A table cannot declare a name twice, by any kind of row."""
    with pytest.raises(TypeError, match="x is declared twice"):

        class Twice(Structure, size=4):
            x: int = u8(0)
            x: int = u8(1)  # type: ignore[no-redef]  # noqa: PIE794

    with pytest.raises(TypeError, match="en is declared twice"):

        class TwiceBits(Bits, width=8):
            en = bits(0)
            en = bits(1)  # noqa: PIE794


def test_an_overlap_or_a_row_outside_fails_at_import() -> None:
    """Rows that overlap, or leave the structure, are refused with their name."""
    with pytest.raises(TypeError, match=r"Overlap\.y overlaps x"):

        class Overlap(Structure, size=4):
            x: int = u16(0)
            y: int = u16(1)

    with pytest.raises(TypeError, match=r"Outside\.x .* leaves the 4 bytes"):

        class Outside(Structure, size=4):
            x: int = u16(3)

    with pytest.raises(TypeError, match=r"OverlapBits\.b overlaps a"):

        class OverlapBits(Bits, width=8):
            a = bits(0, 4)
            b = bits(3)

    with pytest.raises(TypeError, match=r"OutsideBits\.a .* leaves the 8 bits"):

        class OutsideBits(Bits, width=8):
            a = bits(7, 2)


def test_bits_must_be_as_wide_as_their_field() -> None:
    """A byte's table does not fit a word's field."""
    with pytest.raises(TypeError, match="Flags has 8 bits and its field 2 bytes"):
        u16(0, bits=Flags)


@given(st.integers(0, 0xFF), st.integers(0, 7))
def test_setting_a_field_leaves_the_other_bits(value: int, low: int) -> None:
    """A field's bits are replaced, and all others, named or not, stay."""
    word = Flags.from_int(value)
    word.low = low
    assert word.low == low
    assert word.to_int() == value & ~7 | low


def test_bits_refuse_what_does_not_fit() -> None:
    """A value too wide for a field or a word, or an unknown field, is refused."""
    with pytest.raises(ValueError, match=r"Flags\.low: 8 does not fit in 3 bits"):
        Flags(low=8)
    with pytest.raises(ValueError, match="does not fit in 3 bits"):
        Flags().low = -1
    with pytest.raises(ValueError, match="256 does not fit in 8 bits"):
        Flags(256)
    with pytest.raises(TypeError, match="Flags has no field middle"):
        Flags(middle=1)
    with pytest.raises(AttributeError):
        Flags().middle = 1  # type: ignore[attr-defined]


def test_bits_are_compared_shown_and_listed() -> None:
    """Words of one class are equal by value; the repr shows fields that are not zero."""
    assert Flags(0x81) == Flags(low=1, high=1)
    assert Flags(1) != Flags(2)
    assert Flags(0) != Point()
    assert repr(Flags(0x85)) == "Flags(low=0x5, high=0x1)"
    assert Flags(0x85).to_dict() == {"low": 5, "high": 1}
    assert int(Flags(0x85)) == 0x85
    assert (Flags.low.low, Flags.low.width, Flags.high.mask) == (0, 3, 1)


def test_a_structure_is_an_attrs_class() -> None:
    """What works on any attrs class works on a structure: fields by name, evolve, asdict."""
    made: Any = LbaFormat(ms=8, lbads=12)
    assert attrs.has(LbaFormat)
    assert [field.name for field in attrs.fields(LbaFormat)] == list(LbaFormat.ROWS)
    assert attrs.evolve(made, lbads=9) == LbaFormat(ms=8, lbads=9)
    assert attrs.asdict(made)["lbads"] == 12
