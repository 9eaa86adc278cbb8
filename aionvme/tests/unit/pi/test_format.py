"""Formats: from Identify data, what is refused, and how tags lie in the storage and reference space."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme import pi
from aionvme.errors import UsageError
from aionvme.spec.identify import Dps, Flbas, IdentifyNamespace, LbaFormat
from aionvme.spec.identify_sets import ExtendedFormat, ExtendedFormatBits, IdentifyNvmNamespace, Pic
from aionvme.tests.unit.spec import golden


def namespace(
    *, pit: int = 1, first: int = 0, extended: int = 0, index: int = 0, ms: int = 16
) -> IdentifyNamespace:
    """A namespace in the LBA format `index` of 4 KiB blocks."""
    lbaf = (*(LbaFormat(ms=0, lbads=9) for _ in range(index)), LbaFormat(ms=ms, lbads=12))
    flbas = Flbas(low=index & 0xF, high=index >> 4, extended=extended).to_int()
    return IdentifyNamespace(
        nlbaf=len(lbaf) - 1, lbaf=lbaf, flbas=flbas, dps=Dps(pit=pit, first=first).to_int()
    )


def nvm(*, pic: int = 0, index: int = 0, lbstm: int = 2**64 - 1, **fields: int) -> IdentifyNvmNamespace:
    """The NVM command set's own data, with one extended LBA format."""
    entry = ExtendedFormat(value=ExtendedFormatBits(**fields).to_int())
    return IdentifyNvmNamespace(
        elbaf=(*(ExtendedFormat() for _ in range(index)), entry), pic=pic, lbstm=lbstm
    )


def test_of_a_namespace_of_qemu() -> None:
    """QEMU's second namespace has blocks of 4096 bytes, 8 bytes of metadata and protection of type 1."""
    space = IdentifyNamespace.decode(golden.read_bytes("qemu-10.0.2", "id-ns-2"))
    own = IdentifyNvmNamespace.decode(golden.read_bytes("qemu-10.0.2", "nvm-id-ns-2"))
    expected = pi.Format(block_size=4096, metadata_size=8, pi_type=1, extended=space.extended)
    assert pi.Format.of(space) == expected
    fmt = pi.Format.of(space, own)
    assert fmt == pi.Format(
        block_size=4096, metadata_size=8, pi_type=1, extended=space.extended, storage_tag_mask=0
    )
    data, metadata = bytearray(8192), bytearray(16)
    pi.generate(fmt, data, metadata, ref_tag=7)
    assert metadata.hex() == "00000000000000070000000000000008"


def test_of_a_namespace_without_protection() -> None:
    """A namespace that has none cannot be asked for it."""
    space = IdentifyNamespace.decode(golden.read_bytes("qemu-10.0.2", "id-ns-1"))
    with pytest.raises(UsageError, match="without protection information"):
        pi.Format.of(space)


@pytest.mark.parametrize("index", [0, 3, 15, 16, 40])
@pytest.mark.parametrize(("pit", "first", "extended"), [(1, 0, 0), (2, 1, 0), (3, 0, 1)])
def test_of_identify_data(index: int, pit: int, first: int, extended: int) -> None:
    """All that the format is comes from DPS, FLBAS, and the entries of the format in use."""
    fmt = pi.Format.of(
        namespace(pit=pit, first=first, extended=extended, index=index),
        nvm(index=index, pif=2, sts=18, lbstm=0xFF),
    )
    assert fmt == pi.Format(
        block_size=4096,
        metadata_size=16,
        pi_type=pit,
        guard=pi.Guard.CRC64,
        pi_first=bool(first),
        extended=bool(extended),
        storage_tag_bits=18,
        storage_tag_mask=0xFF,
    )


def test_qualified_format() -> None:
    """PIF 3 points to QPIF, if PIC says that there is one."""
    fields: dict[str, int] = {"pif": 3, "qpif": 1, "sts": 16}
    assert pi.Format.of(namespace(), nvm(pic=Pic(qpifs=1).to_int(), **fields)).guard is pi.Guard.CRC32C
    with pytest.raises(UsageError, match="not known here: 3"):
        pi.Format.of(namespace(), nvm(**fields))
    with pytest.raises(UsageError, match="not known here: 9"):
        pi.Format.of(namespace(), nvm(pic=Pic(qpifs=1).to_int(), pif=3, qpif=9))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"block_size": 0}, "a block of 0 bytes"),
        ({"pi_type": 0}, "type 0"),
        ({"pi_type": 4}, "type 4"),
        ({"metadata_size": 7}, "7 bytes of metadata cannot hold the 8 bytes"),
        ({"guard": pi.Guard.CRC64, "metadata_size": 8}, "8 bytes of metadata cannot hold the 16 bytes"),
        ({"storage_tag_bits": 33}, "0 to 32"),
        ({"storage_tag_bits": -1}, "0 to 32"),
        ({"guard": pi.Guard.CRC64, "metadata_size": 16, "storage_tag_bits": 49}, "0 to 48"),
        ({"guard": pi.Guard.CRC32C, "metadata_size": 16, "storage_tag_bits": 15}, "16 to 64"),
        ({"guard": pi.Guard.CRC32C, "metadata_size": 16, "storage_tag_bits": 65}, "16 to 64"),
    ],
)
def test_refused(fields: dict[str, Any], why: str) -> None:
    """A format that the specification does not have is not made."""
    with pytest.raises(UsageError, match=why):
        pi.Format(**{"block_size": 4096, "metadata_size": 8, **fields})


def test_places() -> None:
    """First or last in the metadata; what is before it is under the guard."""
    last = pi.Format(block_size=512, metadata_size=20)
    first = pi.Format(block_size=512, metadata_size=20, pi_first=True)
    assert (last.pi_size, last.pi_offset, last.covered_metadata) == (8, 12, 12)
    assert (first.pi_size, first.pi_offset, first.covered_metadata) == (8, 0, 0)


def test_initial_ref_tag() -> None:
    """Type 1 takes the low bits of an LBA; the others refuse a tag that is too large."""
    of_type = {pi_type: pi.Format(block_size=512, metadata_size=8, pi_type=pi_type) for pi_type in (1, 2, 3)}
    assert of_type[1].initial_ref_tag(0x12_3456_789A) == 0x3456_789A
    assert of_type[2].initial_ref_tag(0xFFFF_FFFF) == 0xFFFF_FFFF
    for pi_type, tag in ((1, -1), (2, 1 << 32), (3, 1 << 32), (3, -1)):
        with pytest.raises(UsageError, match="does not fit in 32 bits"):
            of_type[pi_type].initial_ref_tag(tag)


def test_command_dwords_of_the_specification() -> None:
    """The three examples of NVM Command Set 1.0, 5.2.1.4.1."""
    small = pi.Format(block_size=512, metadata_size=8)
    assert small.command_dwords(0x89ABCDEF) == (0, 0, 0x89ABCDEF)
    middle = pi.Format(block_size=4096, metadata_size=16, guard=pi.Guard.CRC32C, storage_tag_bits=32)
    assert middle.command_dwords(0x3333_4444_5555, 0x1111_2222) == (0x1111, 0x2222_3333, 0x4444_5555)
    large = pi.Format(block_size=4096, metadata_size=16, guard=pi.Guard.CRC64, storage_tag_bits=18)
    assert large.command_dwords(0x3FFF_FFFE, 0x1_2345) == (0, 0x48D1, 0x7FFF_FFFE)


@given(guard=st.sampled_from(pi.Guard), bits=st.integers(0, 64), data=st.data())
def test_the_dwords_are_what_lies_in_the_block(guard: pi.Guard, bits: int, data: st.DataObject) -> None:
    """A command's dwords are the storage and reference space of its first block, whatever the tags' sizes."""
    most = {pi.Guard.CRC16: 32, pi.Guard.CRC32C: 64, pi.Guard.CRC64: 48}[guard]
    bits = max(min(bits, most), 16 if guard is pi.Guard.CRC32C else 0)
    fmt = pi.Format(block_size=16, metadata_size=16, guard=guard, storage_tag_bits=bits, pi_type=2)
    ref_tag = data.draw(st.integers(0, fmt.ref_tag_mask))
    storage_tag = data.draw(st.integers(0, 2**bits - 1))
    metadata = bytearray(16)
    pi.generate(fmt, bytes(16), metadata, ref_tag=ref_tag, storage_tag=storage_tag)
    dwords = fmt.command_dwords(ref_tag, storage_tag)
    space = b"".join(dword.to_bytes(4, "big") for dword in dwords)
    assert space.endswith(metadata[-(fmt.ref_tag_bits + bits) // 8 :])
