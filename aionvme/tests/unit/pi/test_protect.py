"""generate and verify: every layout, against the slow model; what is caught, what is let through, what is refused."""

from __future__ import annotations

import pickle
from array import array
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aionvme import pi
from aionvme.errors import NvmeError, UsageError
from aionvme.tests.unit.pi import model

ALL = 0xFFFF
STORAGE_BITS = {pi.Guard.CRC16: (0, 32), pi.Guard.CRC32C: (16, 64), pi.Guard.CRC64: (0, 48)}
SPACE_BITS = {pi.Guard.CRC16: 32, pi.Guard.CRC32C: 80, pi.Guard.CRC64: 48}


class Case(NamedTuple):
    """A format, buffers for it, and tags that fit."""

    fmt: pi.Format
    data: bytearray
    metadata: bytearray | None
    tags: dict[str, Any]

    def generate(self) -> None:
        pi.generate(self.fmt, self.data, self.metadata, **self.tags)

    def errors(self, **changes: Any) -> list[tuple[int, pi.Check]]:
        arguments = {**self.tags, "app_mask": ALL, **changes}
        found = pi.errors(self.fmt, self.data, self.metadata, **arguments)
        return [(error.block, error.check) for error in found]


@st.composite
def formats(draw: st.DrawFn) -> pi.Format:
    """Every layout, of small blocks."""
    guard = draw(st.sampled_from(pi.Guard))
    least, most = STORAGE_BITS[guard]
    return pi.Format(
        block_size=draw(st.integers(1, 40)),
        metadata_size=sum(model.sizes(guard)) + draw(st.integers(0, 20)),
        pi_type=draw(st.integers(1, 3)),
        guard=guard,
        pi_first=draw(st.booleans()),
        extended=draw(st.booleans()),
        storage_tag_bits=draw(st.one_of(st.just(least), st.just(most), st.integers(least, most))),
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A format, two to four blocks of any content, and any tags."""
    fmt = draw(formats())
    count = draw(st.integers(2, 4))
    unit = fmt.block_size + (fmt.metadata_size if fmt.extended else 0)
    data = draw(st.binary(min_size=unit * count, max_size=unit * count))
    size = 0 if fmt.extended else fmt.metadata_size * count
    metadata = draw(st.binary(min_size=size, max_size=size))
    largest = 2 ** (SPACE_BITS[fmt.guard] - fmt.storage_tag_bits) - 1
    tags = {
        "ref_tag": draw(st.one_of(st.integers(0, largest), st.integers(max(0, largest - 2), largest))),
        "app_tag": draw(st.integers(0, ALL)),
        "storage_tag": draw(st.integers(0, 2**fmt.storage_tag_bits - 1)),
    }
    return Case(fmt, bytearray(data), None if fmt.extended else bytearray(metadata), tags)


def escapes(case: Case) -> bool:
    """Whether blocks with these tags ask for no checks."""
    ones = 2 ** (SPACE_BITS[case.fmt.guard] - case.fmt.storage_tag_bits) - 1
    return case.tags["app_tag"] == ALL and (case.fmt.pi_type != 3 or case.tags["ref_tag"] == ones)


def of_type(pi_type: int, **tags: int) -> Case:
    """Three blocks of 512 bytes with 16 bits of guard."""
    fmt = pi.Format(block_size=512, metadata_size=8, pi_type=pi_type)
    case = Case(fmt, bytearray(range(256)) * 6, bytearray(24), {"ref_tag": 5, "app_tag": 0x1234, **tags})
    case.generate()
    return case


# -- against the model -------------------------------------------------------------------------------------------------


@given(case=cases())
def test_generates_what_the_model_does(case: Case) -> None:
    """The bytes are the model's, in both buffers, and nothing else was touched."""
    expected = model.generate(case.fmt, bytes(case.data), bytes(case.metadata or b""), **case.tags)
    case.generate()
    assert (bytes(case.data), bytes(case.metadata or b"")) == expected


@given(case=cases())
def test_what_is_generated_verifies(case: Case) -> None:
    """Blocks as they were made pass every check."""
    case.generate()
    pi.verify(case.fmt, case.data, case.metadata, app_mask=ALL, **case.tags)
    assert case.errors() == []


@given(case=cases(), where=st.integers(0), bit=st.integers(0, 7))
def test_one_flipped_bit(case: Case, where: int, bit: int) -> None:
    """A bit that flips is caught in its block, by the check that it belongs to, and by no other."""
    # One more bit and the application tag would be FFFFh, with which nothing is checked.
    assume((case.tags["app_tag"] ^ ALL).bit_count() >= 2)
    case.generate()
    buffers = [case.data, case.metadata or bytearray()]
    where %= len(case.data) + len(buffers[1])
    buffer, at = (buffers[0], where) if where < len(case.data) else (buffers[1], where - len(case.data))
    buffer[at] ^= 1 << bit
    assert case.errors() == expected_failure(case, buffer is case.metadata, at, bit)


def expected_failure(case: Case, in_metadata: bool, at: int, bit: int) -> list[tuple[int, pi.Check]]:
    """What the flip of one bit has to lead to."""
    fmt = case.fmt
    if fmt.extended:
        block, place = divmod(at, fmt.block_size + fmt.metadata_size)
        place -= fmt.block_size
    else:
        block, place = divmod(at, fmt.metadata_size) if in_metadata else (at // fmt.block_size, -1)
    guard_size, app_size, space_size = model.sizes(fmt.guard)
    size = guard_size + app_size + space_size
    if place < 0:
        return [(block, pi.Check.GUARD)]
    place -= 0 if fmt.pi_first else fmt.metadata_size - size
    if place >= size:
        return []
    if place < guard_size:
        return [(block, pi.Check.GUARD)]
    if place < guard_size + app_size:
        return [(block, pi.Check.APP_TAG)]
    significance = (size - 1 - place) * 8 + bit
    if significance >= space_size * 8 - fmt.storage_tag_bits:
        return [(block, pi.Check.STORAGE_TAG)]
    return [] if fmt.pi_type == 3 else [(block, pi.Check.REF_TAG)]


@given(case=cases())
def test_other_tags(case: Case) -> None:
    """Blocks with other tags than those asked for fail in all blocks, each tag for itself."""
    assume(not escapes(case))
    case.generate()
    every = range(len(list(model.cut(case.fmt, bytes(case.data), bytes(case.metadata or b"")))))
    assert case.errors(app_tag=case.tags["app_tag"] ^ 0x8000) == [
        (block, pi.Check.APP_TAG) for block in every
    ]
    if case.fmt.storage_tag_bits:
        other = case.tags["storage_tag"] ^ 1
        assert case.errors(storage_tag=other) == [(block, pi.Check.STORAGE_TAG) for block in every]
    if case.fmt.ref_tag_bits and case.fmt.pi_type != 3:
        other = case.tags["ref_tag"] ^ 1
        assert case.errors(ref_tag=other) == [(block, pi.Check.REF_TAG) for block in every]


# -- checks chosen, masks, escapes -------------------------------------------------------------------------------------


def test_first_failure_is_raised() -> None:
    """Of several failures the first block's is raised, by guard before tags, with what was expected and found."""
    case = of_type(1)
    assert case.metadata is not None
    case.metadata[9] ^= 0x01
    case.metadata[11] ^= 0x01
    case.metadata[16] ^= 0x01
    with pytest.raises(pi.ProtectionError) as caught:
        pi.verify(case.fmt, case.data, case.metadata, app_mask=ALL, **case.tags)
    error = caught.value
    guard = model.crc(pi.Guard.CRC16, bytes(range(256)) * 2)
    assert (error.block, error.check, error.expected, error.found) == (1, "guard", guard, guard ^ 1)
    assert str(error) == f"block 1: guard {guard ^ 1:#x} where {guard:#x} was expected"
    assert isinstance(error, NvmeError)
    assert case.errors() == [(1, pi.Check.GUARD), (1, pi.Check.APP_TAG), (2, pi.Check.GUARD)]


def test_the_error_can_be_pickled() -> None:
    """It comes out of a worker process as it went in."""
    error = pickle.loads(pickle.dumps(pi.ProtectionError(3, pi.Check.REF_TAG, 1, 2)))
    assert (error.block, error.check, error.expected, error.found) == (3, pi.Check.REF_TAG, 1, 2)


@pytest.mark.parametrize(
    ("switch", "check"),
    [
        ("check_guard", pi.Check.GUARD),
        ("check_app", pi.Check.APP_TAG),
        ("check_storage", pi.Check.STORAGE_TAG),
        ("check_ref", pi.Check.REF_TAG),
    ],
)
def test_a_check_can_be_left_out(switch: str, check: pi.Check) -> None:
    """Each check has its switch."""
    fmt = pi.Format(block_size=512, metadata_size=16, guard=pi.Guard.CRC64, storage_tag_bits=8)
    data, metadata = bytes(512), bytearray(16)
    wrong: dict[str, Any] = {"ref_tag": 1, "app_tag": 1, "app_mask": ALL, "storage_tag": 1}
    left = [error.check for error in pi.errors(fmt, data, metadata, **wrong, **{switch: False})]
    assert left == [one for one in pi.Check if one is not check]
    off: dict[str, Any] = dict.fromkeys(("check_guard", "check_app", "check_storage", "check_ref"), False)
    assert pi.errors(fmt, data, metadata, **wrong, **off) == []


def test_application_tag_mask() -> None:
    """Only bits of the mask are compared, and reported; without one, none."""
    case = of_type(1)
    assert case.errors(app_tag=0x12FF, app_mask=0xFF00) == []
    assert case.errors(app_tag=0xFFFF, app_mask=0) == []
    (error, *_) = pi.errors(case.fmt, case.data, case.metadata, ref_tag=5, app_tag=0x12FF, app_mask=0x0FF0)
    assert (error.expected, error.found) == (0x02F0, 0x0230)


def test_storage_tag_mask() -> None:
    """The namespace says which bits of the storage tag count."""
    make: dict[str, Any] = {"block_size": 512, "metadata_size": 8, "storage_tag_bits": 8}
    masked = pi.Format(**make, storage_tag_mask=0xFF0F)
    data, metadata = bytes(512), bytearray(8)
    pi.generate(masked, data, metadata, ref_tag=1, storage_tag=0xAB)
    pi.verify(masked, data, metadata, ref_tag=1, storage_tag=0x5B)
    with pytest.raises(pi.ProtectionError, match="storage tag 0xb where 0xc"):
        pi.verify(masked, data, metadata, ref_tag=1, storage_tag=0x5C)


@pytest.mark.parametrize("pi_type", [1, 2])
def test_escape_of_types_1_and_2(pi_type: int) -> None:
    """An application tag of FFFFh lets anything through, in its block only."""
    case = of_type(pi_type)
    assert case.metadata is not None
    case.data[600] ^= 1
    case.metadata[10:12] = b"\xff\xff"
    case.metadata[15] ^= 1
    assert case.errors() == []
    case.data[100] ^= 1
    assert case.errors() == [(0, pi.Check.GUARD)]


def test_escape_of_type_3() -> None:
    """Type 3 wants a reference tag of ones too."""
    case = of_type(3)
    assert case.metadata is not None
    case.data[600] ^= 1
    case.metadata[10:12] = b"\xff\xff"
    assert case.errors() == [(1, pi.Check.GUARD), (1, pi.Check.APP_TAG)]
    case.metadata[12:16] = b"\xff\xff\xff\xff"
    assert case.errors() == []


@pytest.mark.parametrize("sts", [0, 20, 48])
def test_escape_looks_at_the_reference_tag_alone(sts: int) -> None:
    """The storage tag is no part of it, and without a reference tag the application tag decides."""
    fmt = pi.Format(block_size=8, metadata_size=16, pi_type=3, guard=pi.Guard.CRC64, storage_tag_bits=sts)
    data, metadata = bytearray(8), bytearray(16)
    pi.generate(fmt, data, metadata, ref_tag=fmt.ref_tag_mask, app_tag=ALL, storage_tag=0)
    data[0] ^= 1
    pi.verify(fmt, data, metadata, ref_tag=0)


def test_reference_tags_count_on_over_all_ones() -> None:
    """After the largest reference tag comes 0 (NVM Command Set 1.0, 5.2.3); type 3 stays where it is."""
    tags = {}
    for pi_type in (1, 2, 3):
        case = of_type(pi_type, ref_tag=0xFFFF_FFFE)
        tags[pi_type] = [bytes(case.metadata or b"")[at + 4 : at + 8].hex() for at in (0, 8, 16)]
    assert tags[1] == tags[2] == ["fffffffe", "ffffffff", "00000000"]
    assert tags[3] == ["fffffffe"] * 3


def test_type_1_takes_a_whole_lba() -> None:
    """The tag is the LBA's least significant bits, in both directions."""
    case = of_type(1, ref_tag=0xAB_0000_0005)
    assert (case.metadata or b"")[4:8].hex() == "00000005"
    assert case.errors() == []
    assert case.errors(ref_tag=5) == []


# -- buffers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bytearray, memoryview, np.ndarray, "two dimensions", array])
def test_any_writable_buffer(kind: Any) -> None:
    """Whatever has the buffer protocol will do, of whatever type and shape."""
    case = of_type(2)
    data, metadata = bytearray(case.data), bytearray(24)
    views: dict[Any, tuple[Any, Any]] = {
        bytearray: (data, metadata),
        memoryview: (memoryview(data).cast("I"), memoryview(metadata)),
        np.ndarray: (np.frombuffer(data, ">u4"), np.frombuffer(metadata, np.int64)),
        "two dimensions": (
            np.frombuffer(data, "u1").reshape(3, 512),
            np.frombuffer(metadata, "u1").reshape(3, 8),
        ),
        array: (array("d", bytes(data)), array("Q", bytes(metadata))),
    }
    one, two = views[kind]
    pi.generate(case.fmt, one, two, **case.tags)
    assert bytes(two) == bytes(case.metadata or b"")
    pi.verify(case.fmt, one, two, **case.tags)


def test_data_may_be_read_only() -> None:
    """Only what takes the protection information has to be writable."""
    case = of_type(1)
    metadata = bytearray(24)
    pi.generate(case.fmt, bytes(case.data), metadata, **case.tags)
    assert metadata == case.metadata
    pi.verify(case.fmt, bytes(case.data), bytes(metadata), **case.tags)


SEPARATE = pi.Format(block_size=512, metadata_size=8)
EXTENDED = pi.Format(block_size=512, metadata_size=8, extended=True)


@pytest.mark.parametrize(
    ("fmt", "data", "metadata", "why"),
    [
        (SEPARATE, bytearray(1024), None, "none is given"),
        (SEPARATE, bytearray(1024), bytearray(8), "data of 2 blocks, and metadata of 1"),
        (SEPARATE, bytearray(1000), bytearray(16), "data of 1000 bytes is not"),
        (SEPARATE, bytearray(1024), bytearray(15), "metadata of 15 bytes is not"),
        (SEPARATE, bytearray(), bytearray(), "data of 0 bytes is not"),
        (SEPARATE, bytearray(512), bytes(8), "read-only"),
        (SEPARATE, np.zeros(1024, np.uint8)[::2], bytearray(8), "data is not C contiguous"),
        (SEPARATE, np.zeros((2, 256), np.uint8).T, bytearray(8), "data is not C contiguous"),
        (SEPARATE, bytearray(512), np.zeros(16, np.uint8)[::2], "metadata is not C contiguous"),
        (SEPARATE, np.zeros(64, "M8[s]"), bytearray(8), "data cannot be seen as bytes"),
        (EXTENDED, bytearray(520), bytearray(8), "not apart"),
        (EXTENDED, bytearray(512), None, "whole blocks of 520 bytes"),
        (EXTENDED, bytes(520), None, "read-only"),
    ],
)
def test_buffers_that_do_not_fit(fmt: pi.Format, data: Any, metadata: Any, why: str) -> None:
    """Each misfit has its sentence, and nothing is written."""
    with pytest.raises(UsageError, match=why):
        pi.generate(fmt, data, metadata, ref_tag=0, app_tag=0xAAAA)
    held = [np.asarray(buffer).tobytes() for buffer in (data, metadata) if buffer is not None]
    assert b"\xaa" not in b"".join(held)


def test_what_is_no_buffer() -> None:
    """A wrong type is a TypeError."""
    with pytest.raises(TypeError):
        pi.generate(SEPARATE, [0] * 512, bytearray(8), ref_tag=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"app_tag": 0x10000}, "application tag 0x10000"),
        ({"app_tag": -1}, "application tag -0x1"),
        ({"storage_tag": 1}, "storage tag 0x1 does not fit in 0 bits"),
        ({"ref_tag": -1}, "reference tag -0x1"),
    ],
)
def test_tags_that_do_not_fit(tags: dict[str, Any], why: str) -> None:
    """A tag that the field cannot hold is refused in both directions."""
    arguments: dict[str, Any] = {"ref_tag": 0, **tags}
    with pytest.raises(UsageError, match=why):
        pi.generate(SEPARATE, bytes(512), bytearray(8), **arguments)
    with pytest.raises(UsageError, match=why):
        pi.verify(SEPARATE, bytes(512), bytearray(8), **arguments)
    with pytest.raises(UsageError, match="mask 0x10000"):
        pi.verify(SEPARATE, bytes(512), bytearray(8), ref_tag=0, app_mask=0x10000)
