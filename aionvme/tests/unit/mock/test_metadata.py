"""Metadata and protection information: where it goes, what is made of it, what is checked, each error."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aionvme import pi
from aionvme.errors import UsageError
from aionvme.mock import MockController, NamespaceConfig
from aionvme.mock.guard import crc16, crc64
from aionvme.spec.identify import IdentifyNamespace
from aionvme.spec.identify_sets import IdentifyNvmNamespace
from aionvme.tests.quick import examples
from aionvme.tests.unit.mock.raw import PAGE, Queue, Raw

Make = Callable[..., Raw]
WRITE, READ, UNCORRECTABLE, COMPARE, ZEROES, DSM, VERIFY = 0x01, 0x02, 0x04, 0x05, 0x08, 0x09, 0x0C
GUARD, APP, REF, PRACT = 4 << 26, 2 << 26, 1 << 26, 1 << 29
ALL_CHECKS = GUARD | APP | REF
STC, DEALLOCATE = 1 << 24, 1 << 25
INVALID_PI, GUARD_ERROR, APP_ERROR, REF_ERROR, STORAGE_ERROR = 0x181, 0x282, 0x283, 0x284, 0x288
MiB = 1 << 20


class Disk:
    """A namespace with metadata, and a place in memory for data and one for metadata."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.config = raw.mock.options.namespaces[0]
        self.queue: Queue = raw.create(1)
        self.data = raw.memory.take(17)
        self.listed = raw.memory.take(1)
        self.meta = raw.memory.take(2)
        raw.memory.bytes[self.listed : self.listed + 8 * 16] = b"".join(
            struct.pack("<Q", raw.memory.iova + self.data + PAGE * index) for index in range(1, 17)
        )

    def put(self, data: bytes, meta: bytes = b"") -> None:
        self.raw.memory.bytes[self.data : self.data + len(data)] = data
        self.raw.memory.bytes[self.meta : self.meta + len(meta)] = meta

    def got(self, nbytes: int) -> bytes:
        return self.raw.memory.bytes[self.data : self.data + nbytes]

    def got_meta(self, nbytes: int) -> bytes:
        return self.raw.memory.bytes[self.meta : self.meta + nbytes]

    def run(self, opcode: int, lba: int, nblocks: int = 1, *, flags12: int = 0, **fields: int) -> int:
        iova = self.raw.memory.iova
        nbytes = nblocks * (self.config.lba + self.config.metadata * self.config.extended)
        prp2 = iova + (self.listed if nbytes > 2 * PAGE else self.data + PAGE)
        fields = {"prp1": iova + self.data, "prp2": prp2, "mptr": iova + self.meta, "cdw14": lba} | fields
        return self.queue.run(
            opcode, nsid=1, cdw10=lba & 0xFFFFFFFF, cdw11=lba >> 32, cdw12=flags12 | (nblocks - 1), **fields
        ).code


@pytest.fixture
def disk(make: Make) -> Callable[..., Disk]:
    return lambda **options: Disk(make(**options))


def protection(block: bytes, *, app: int = 0, ref: int = 0, before: bytes = b"") -> bytes:
    """With a guard of 16 bits, by arithmetic of our own."""
    return struct.pack(">HHI", slow_crc16(block + before), app, ref)


def protection64(block: bytes, *, app: int = 0, space: int = 0, before: bytes = b"") -> bytes:
    return struct.pack(">QH", slow_crc64(block + before), app) + space.to_bytes(6, "big")


def slow_crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x8BB7 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


def slow_crc64(data: bytes) -> int:
    crc = (1 << 64) - 1
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x9A6C9329AC4BC9B5 if crc & 1 else 0)
    return crc ^ (1 << 64) - 1


def test_published_vectors() -> None:
    """The checks of the CRC catalogue, and those of 4096 bytes in the NVM command set."""
    assert crc16(b"123456789") == 0xD0DB
    assert crc64(b"123456789") == 0xAE8B14860A799888
    assert crc64(bytes(4096)) == 0x6482D367EB22B64E
    assert crc64(b"\xff" * 4096) == 0xC0DDBA7302ECA3AC
    assert crc64(bytes(range(256)) * 16) == 0x3E729F5F6750449C
    assert (crc16(b""), crc64(b"")) == (0, 0)


@given(data=st.binary(max_size=700))
def test_any_crc(data: bytes) -> None:
    """The table gives what the polynomial gives."""
    assert crc16(data) == slow_crc16(data)
    assert crc64(data) == slow_crc64(data)


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("stored", ["memory", "file"])
def test_metadata(disk: Callable[..., Disk], tmp_path: object, extended: bool, stored: str) -> None:
    """It is stored with its block and comes back, from a buffer of its own or from among the data."""
    options = {"storage": f"{tmp_path}/blocks"} if stored == "file" else {}
    one = disk(metadata=16, extended=extended, size=MiB, **options)
    data, meta = random.Random(5).randbytes(1536), random.Random(6).randbytes(48)
    mixed = b"".join(data[512 * i :][:512] + meta[16 * i :][:16] for i in range(3))
    one.put(mixed if extended else data, meta)
    assert one.run(WRITE, 5, 3) == 0
    assert one.raw.mock.peek(1, 5, 3) == data
    assert one.raw.mock.peek_metadata(1, 5, 3) == meta
    assert one.raw.mock.peek_metadata(1, 4) == one.raw.mock.peek_metadata(1, 8) == bytes(16)
    assert one.run(COMPARE, 5, 3) == 0
    one.put(bytes(2000), bytes(48))
    assert one.run(READ, 5, 3) == 0
    assert one.got(1584) == (mixed if extended else data + bytes(48))
    assert one.got_meta(48) == (bytes(48) if extended else meta)
    one.raw.mock.poke_metadata(1, 6, bytes(16))
    assert one.run(COMPARE, 5, 3) == 0x285


def test_metadata_pointer(disk: Callable[..., Disk]) -> None:
    """PRPs want it at a dword, SGLs take any byte; memory that is not mapped is no place for it."""
    one = disk(metadata=8)
    base = one.raw.memory.iova
    one.put(b"\x11" * 512, bytes(range(1, 12)))
    assert one.run(WRITE, 0, mptr=base + one.meta + 2) == 0x02
    assert one.run(WRITE, 0, mptr=base + one.meta + 1, flags=0x40, prp2=512) == 0
    assert one.raw.mock.peek_metadata(1, 0) == bytes(range(2, 10))
    assert one.run(WRITE, 0, mptr=0x5000_0000_0000) == 0x04
    aligned = disk(metadata=8, sgls=1)
    assert aligned.run(WRITE, 0, mptr=base + aligned.meta + 1, flags=0x40, prp2=512) == 0x02


def test_metadata_sgl(disk: Callable[..., Disk]) -> None:
    """PSDT 10b: MPTR is the place of a descriptor; a length that is wrong has a status of its own (10h)."""
    one = disk(metadata=8)
    base, where = one.raw.memory.iova, one.raw.memory.take(1)

    def describe(*parts: tuple[int, int]) -> None:
        entries = b"".join(struct.pack("<QII", base + at, length, 0) for at, length in parts)
        if len(parts) > 1:
            entries = struct.pack("<QII", base + where + 16, len(entries), 0x30 << 24) + entries
        one.raw.memory.bytes[where : where + len(entries)] = entries

    one.put(b"\x22" * 1024, bytes(range(32)))
    for parts in ([(one.meta + 3, 16)], [(one.meta + 3, 5), (one.meta + 8, 11)]):
        describe(*parts)
        assert one.run(WRITE, 0, 2, flags=0x80, prp2=1024, mptr=base + where) == 0
        assert one.raw.mock.peek_metadata(1, 0, 2) == bytes(range(3, 19))
    for length in (15, 17):
        describe((one.meta, length))
        assert one.run(READ, 0, 2, flags=0x80, prp2=1024, mptr=base + where) == 0x10
    assert one.run(READ, 0, 2, flags=0x80, prp2=1024, mptr=base + where + 4) == 0x02


def test_transfer_size(disk: Callable[..., Disk]) -> None:
    """MDTS counts metadata where it is among the data."""
    assert disk(metadata=8, mdts=8192).run(READ, 0, 16) == 0
    assert disk(metadata=8, mdts=8192, extended=True).run(READ, 0, 16) == 0x02
    assert disk(metadata=8, mdts=8192, extended=True).run(READ, 0, 15) == 0
    assert disk(metadata=8, mdts=8192, extended=True, pi=1).run(READ, 0, 16, flags12=PRACT) == 0


def test_identify(make: Make) -> None:
    """The format, its protection and its storage tag, where Identify has them."""
    raw = make(
        namespaces=[
            NamespaceConfig(metadata=8, pi=1, pi_first=True),
            NamespaceConfig(metadata=64, extended=True, pi=3, guard=64, sts=12),
            NamespaceConfig(metadata=16),
        ]
    )
    first, second, third = (raw.identify(0x00, nsid=nsid)[1] for nsid in (1, 2, 3))
    assert [(data[26], data[27], data[28], data[29]) for data in (first, second, third)] == [
        (0, 3, 0b11111, 0b1001),
        (0x11, 3, 0b11111, 0b0011),
        (2, 3, 0b11111, 0),
    ]
    assert [struct.unpack_from("<H", first, 128 + 4 * index)[0] for index in range(3)] == [8, 64, 16]
    extended = raw.identify(0x05, nsid=2)[1]
    assert struct.unpack_from("<I", extended, 16)[0] == 12 | 2 << 7
    assert struct.unpack_from("<Q", extended)[0] == (1 << 12) - 1
    assert struct.unpack_from("<I", raw.identify(0x01)[1], 96)[0] >> 15 & 1


@pytest.mark.parametrize(
    "options",
    [
        {"pi": 1}, {"pi": 1, "metadata": 8, "guard": 64}, {"extended": True}, {"guard": 32}, {"sts": 4},
        {"pi": 4, "metadata": 8}, {"pi": 1, "metadata": 8, "sts": 33},
    ],
)  # fmt: skip
def test_impossible_formats(options: dict[str, int]) -> None:
    """A format that can't be is the caller's mistake."""
    with pytest.raises(UsageError):
        NamespaceConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("pi", [1, 2, 3])
def test_insert_and_strip(disk: Callable[..., Disk], pi: int) -> None:
    """PRACT makes the protection information of a write, and takes it off a read."""
    one = disk(metadata=8, pi=pi)
    data = random.Random(7).randbytes(1536)
    one.put(data)
    assert one.run(WRITE, 9, 3, flags12=PRACT, cdw15=0x1234, mptr=0) == 0
    refs = (9, 9, 9) if pi == 3 else (9, 10, 11)
    expected = b"".join(protection(data[512 * i :][:512], app=0x1234, ref=refs[i]) for i in range(3))
    assert one.raw.mock.peek_metadata(1, 9, 3) == expected
    one.put(bytes(1536))
    checks = ALL_CHECKS if pi != 3 else GUARD | APP
    assert one.run(READ, 9, 3, flags12=PRACT | checks, cdw15=0xFFFF1234, mptr=0) == 0
    assert one.got(1536) == data
    assert one.run(READ, 9, 3, flags12=checks, cdw15=0xFFFF1234) == 0
    assert one.got_meta(24) == expected


@pytest.mark.parametrize("pi_first", [False, True])
@pytest.mark.parametrize("extended", [False, True])
def test_more_metadata_than_protection(disk: Callable[..., Disk], pi_first: bool, extended: bool) -> None:
    """PRACT then overwrites what the host sends, and passes what it reads; the guard is of what goes before."""
    one = disk(metadata=64, pi=1, pi_first=pi_first, extended=extended)
    data, meta = random.Random(8).randbytes(512), random.Random(9).randbytes(64)
    one.put(data + meta if extended else data, meta)
    assert one.run(WRITE, 9, flags12=PRACT, cdw15=0x77) == 0
    if pi_first:
        expected = protection(data, app=0x77, ref=9) + meta[8:]
    else:
        expected = meta[:56] + protection(data, app=0x77, ref=9, before=meta[:56])
    assert one.raw.mock.peek_metadata(1, 9) == expected
    assert one.run(READ, 9, flags12=PRACT | ALL_CHECKS, cdw15=0xFFFF0077) == 0
    assert (one.got(576)[512:] if extended else one.got_meta(64)) == expected
    one.put(data + expected if extended else data, expected)
    assert one.run(WRITE, 9, flags12=ALL_CHECKS, cdw15=0xFFFF0077) == 0
    # A comparison leaves the protection information out.
    other = b"\xee" * 8 + meta[8:] if pi_first else meta[:56] + b"\xee" * 8
    one.put(data + other if extended else data, other)
    assert one.run(COMPARE, 9) == 0
    wrong = other[:30] + bytes([other[30] ^ 1]) + other[31:]
    one.put(data + wrong if extended else data, wrong)
    assert one.run(COMPARE, 9) == 0x285


@pytest.mark.parametrize("opcode", [READ, WRITE, VERIFY, COMPARE])
def test_check_errors(disk: Callable[..., Disk], opcode: int) -> None:
    """Each part of it has an error of its own, where its check is asked for; nothing is changed."""
    one = disk(metadata=8, pi=1)
    data = random.Random(10).randbytes(512)
    good = protection(data, app=0x1234, ref=9)
    guard, app, ref = (bytes(b ^ (i == at) for i, b in enumerate(good)) for at in (0, 3, 7))
    for meta, check, error in ((guard, GUARD, GUARD_ERROR), (app, APP, APP_ERROR), (ref, REF, REF_ERROR)):
        one.put(data, good)
        assert one.run(WRITE, 9, flags12=ALL_CHECKS, cdw15=0xFFFF1234) == 0
        if opcode == WRITE:
            one.put(data, meta)
        else:
            one.raw.mock.poke_metadata(1, 9, meta)
        for checks in range(8):
            flags12 = checks << 26
            expected = error if flags12 & check else 0
            assert one.run(opcode, 9, flags12=flags12, cdw15=0xFFFF1234) == expected
            if opcode == WRITE and expected:
                assert one.raw.mock.peek_metadata(1, 9) == good
            elif opcode == WRITE:
                one.raw.mock.poke_metadata(1, 9, good)


def test_application_mask(disk: Callable[..., Disk]) -> None:
    """Only the bits of the mask are compared."""
    one = disk(metadata=8, pi=1)
    one.put(bytes(512))
    assert one.run(WRITE, 0, flags12=PRACT, cdw15=0x1234) == 0
    for mask_and_tag, status in ((0xFF001200, 0), (0xFF001300, APP_ERROR), (0x00005555, 0), (0xFFFF1234, 0)):
        assert one.run(READ, 0, flags12=APP, cdw15=mask_and_tag) == status


@pytest.mark.parametrize("pi", [1, 2, 3])
def test_escape(disk: Callable[..., Disk], pi: int) -> None:
    """An application tag of ones switches the checks off; type 3 asks for a reference tag of ones too."""
    one = disk(metadata=8, pi=pi)
    checks = ALL_CHECKS if pi != 3 else GUARD | APP
    one.raw.mock.poke_metadata(1, 0, b"\x12\x34\xff\xff\0\0\0\0")
    assert one.run(READ, 0, flags12=checks) == (GUARD_ERROR if pi == 3 else 0)
    one.raw.mock.poke_metadata(1, 0, b"\x12\x34" + b"\xff" * 6)
    assert one.run(READ, 0, flags12=checks) == 0
    one.raw.mock.poke_metadata(1, 0, b"\x12\x34\xff\xfe" + b"\xff" * 4)
    assert one.run(READ, 0, flags12=checks) == GUARD_ERROR


def test_initial_reference_tag(disk: Callable[..., Disk]) -> None:
    """Type 1 wants the address in it, type 2 takes any, type 3 has no check of it (81h)."""
    for opcode in (READ, WRITE, COMPARE, VERIFY, ZEROES):
        assert disk(metadata=8, pi=1).run(opcode, 9, flags12=REF, cdw14=8) == INVALID_PI
        assert disk(metadata=8, pi=3).run(opcode, 9, flags12=REF) == INVALID_PI
    one = disk(metadata=8, pi=2)
    one.put(bytes(1024))
    assert one.run(WRITE, 9, 2, flags12=PRACT, cdw14=0xFFFFFFFF) == 0
    assert struct.unpack(">4xI4xI", one.raw.mock.peek_metadata(1, 9, 2)) == (0xFFFFFFFF, 0)
    assert one.run(READ, 9, 2, flags12=REF, cdw14=0xFFFFFFFF) == 0
    assert one.run(READ, 10, 1, flags12=REF, cdw14=0) == 0
    assert one.run(READ, 10, 1, flags12=REF, cdw14=1) == REF_ERROR


def test_no_action(disk: Callable[..., Disk]) -> None:
    """Compare and Verify have no PRACT."""
    one = disk(metadata=8, pi=1)
    assert one.run(COMPARE, 0, flags12=PRACT) == INVALID_PI
    assert one.run(VERIFY, 0, flags12=PRACT) == INVALID_PI


def test_never_written(disk: Callable[..., Disk], tmp_path: object) -> None:
    """A block that was never written, or was deallocated, reads as zeros with protection of ones."""
    for options in ({}, {"storage": f"{tmp_path}/blocks", "size": MiB}):
        one = disk(metadata=16, pi=1, **options)
        fresh = bytes(8) + b"\xff" * 8
        one.put(b"\x33" * 512, b"\x44" * 16)
        assert one.run(READ, 3, flags12=ALL_CHECKS) == 0
        assert (one.got(512), one.got_meta(16)) == (bytes(512), fresh)
        one.put(b"\x33" * 512, b"\x44" * 16)
        assert one.run(WRITE, 3) == 0
        one.put(struct.pack("<IIQ", 0, 1, 3))
        assert one.queue.run(DSM, nsid=1, prp1=one.raw.memory.iova + one.data, cdw11=4).code == 0
        assert one.run(READ, 3, flags12=ALL_CHECKS) == 0
        assert (one.got(512), one.got_meta(16)) == (bytes(512), fresh)


@pytest.mark.parametrize("deallocate", [0, DEALLOCATE])
def test_write_zeroes(disk: Callable[..., Disk], deallocate: int) -> None:
    """Zeros all over, deallocated or not; their protection information is zeros too, or made with PRACT."""
    one = disk(metadata=8, pi=1)
    one.raw.mock.poke_metadata(1, 3, b"\x11" * 16)
    assert one.run(ZEROES, 3, 2, flags12=deallocate) == 0
    assert one.raw.mock.peek_metadata(1, 3, 2) == bytes(16)
    assert one.run(ZEROES, 3, 2, flags12=PRACT | deallocate, cdw15=0x55) == 0
    expected = protection(bytes(512), app=0x55, ref=3) + protection(bytes(512), app=0x55, ref=4)
    assert one.raw.mock.peek_metadata(1, 3, 2) == expected
    assert one.run(READ, 3, 2, flags12=ALL_CHECKS, cdw15=0xFFFF0055) == 0


def test_verify_many(disk: Callable[..., Disk]) -> None:
    """Verify finds an error in the last of many blocks."""
    one = disk(metadata=8, pi=1, size=MiB)
    assert one.run(ZEROES, 0, 2048, flags12=PRACT) == 0
    assert one.run(VERIFY, 0, 2048, flags12=ALL_CHECKS) == 0
    one.raw.mock.poke_metadata(1, 2047, protection(bytes(512), ref=2046))
    assert one.run(VERIFY, 0, 2048, flags12=ALL_CHECKS) == REF_ERROR
    assert one.run(VERIFY, 0, 2047, flags12=ALL_CHECKS) == 0


@settings(max_examples=examples(80), deadline=None)
@given(data=st.data())
def test_any_format(data: st.DataObject) -> None:
    """Whatever the format, what PRACT made is what arithmetic of our own makes, and passes every check."""
    guard = data.draw(st.sampled_from([16, 64]), label="guard")
    size, bits = (8, 32) if guard == 16 else (16, 48)
    pi = data.draw(st.integers(1, 3), label="type")
    config = NamespaceConfig(
        size=MiB, metadata=size + data.draw(st.sampled_from([0, 0, 8, 56]), label="more"), guard=guard, pi=pi,
        extended=data.draw(st.booleans(), label="extended"), pi_first=data.draw(st.booleans(), label="first"),
        sts=data.draw(st.integers(0, bits), label="sts"),
    )  # fmt: skip
    ref_bits = bits - config.sts
    storage = data.draw(st.integers(0, (1 << config.sts) - 1), label="storage tag")
    app = data.draw(st.integers(0, 0xFFFE), label="application tag")
    lba = data.draw(st.integers(0, 2000), label="lba")
    ref = data.draw(st.integers(0, (1 << ref_bits) - 1), label="reference tag") if pi != 1 else lba
    ref &= (1 << ref_bits) - 1
    nblocks = data.draw(st.integers(1, 8), label="nblocks")
    seed = random.Random(data.draw(st.integers(0, 1 << 32), label="seed"))
    space = storage << ref_bits | ref
    tags = {"cdw14": space & 0xFFFFFFFF, "cdw3": space >> 32, "cdw15": 0xFFFF0000 | app}
    with MockController(drive="step", namespaces=[config]) as mock, Raw(mock) as raw:
        raw.enable()
        one = Disk(raw)
        blocks = [seed.randbytes(512) for _ in range(nblocks)]
        metas = [seed.randbytes(config.metadata) for _ in range(nblocks)]
        stripped = config.metadata == size
        if config.extended and not stripped:
            one.put(b"".join(block + meta for block, meta in zip(blocks, metas, strict=True)))
        else:
            one.put(b"".join(blocks), b"".join(metas))
        assert one.run(WRITE, lba, nblocks, flags12=PRACT, **tags) == 0
        expected = []
        for index, (block, meta) in enumerate(zip(blocks, metas, strict=True)):
            now = storage << ref_bits | (ref + (index if pi != 3 else 0)) & (1 << ref_bits) - 1
            at = config.pi_offset
            if guard == 16:
                info = protection(block, app=app, ref=now, before=meta[:at])
            else:
                info = protection64(block, app=app, space=now, before=meta[:at])
            expected.append(meta[:at] + info + meta[at + size :])
        stored = mock.peek_metadata(1, lba, nblocks)
        assert stored == b"".join(expected)
        checks = (ALL_CHECKS if pi != 3 else GUARD | APP) | STC
        assert one.run(READ, lba, nblocks, flags12=checks, **tags) == 0
        assert one.run(VERIFY, lba, nblocks, flags12=checks, **tags) == 0
        if config.sts:
            flipped = space ^ 1 << bits - 1
            other = tags | {"cdw14": flipped & 0xFFFFFFFF, "cdw3": flipped >> 32}
            assert one.run(VERIFY, lba, nblocks, flags12=STC, **other) == STORAGE_ERROR


@settings(max_examples=examples(60), deadline=None)
@given(data=st.data())
def test_host_and_controller_agree(data: st.DataObject) -> None:
    """What the host's side (`aionvme.pi`) makes passes the mock's checks, and the other way round.

    The host knows the format by Identify alone. The two share no code.
    """
    guard = data.draw(st.sampled_from([16, 64]), label="guard")
    kind = data.draw(st.integers(1, 3), label="type")
    config = NamespaceConfig(
        size=MiB, metadata=data.draw(st.sampled_from([16, 24, 64]), label="metadata"), guard=guard, pi=kind,
        pi_first=data.draw(st.booleans(), label="first"), sts=data.draw(st.integers(0, 24), label="sts"),
    )  # fmt: skip
    storage = data.draw(st.integers(0, (1 << config.sts) - 1), label="storage tag")
    app = data.draw(st.integers(0, 0xFFFE), label="application tag")
    lba = data.draw(st.integers(0, 200), label="lba")
    blocks = data.draw(st.binary(min_size=1024, max_size=1024), label="data")
    with MockController(drive="step", namespaces=[config]) as mock, Raw(mock) as raw:
        raw.enable()
        one = Disk(raw)
        fmt = pi.Format.of(
            IdentifyNamespace.decode(raw.identify(0x00, nsid=1)[1]),
            IdentifyNvmNamespace.decode(raw.identify(0x05, nsid=1)[1]),
        )
        cdw2, cdw3, cdw14 = fmt.command_dwords(lba, storage)
        tags = {"cdw2": cdw2, "cdw3": cdw3, "cdw14": cdw14, "cdw15": 0xFFFF0000 | app}
        checks = (ALL_CHECKS if kind != 3 else GUARD | APP) | STC
        meta = bytearray(random.Random(lba).randbytes(2 * config.metadata))
        pi.generate(fmt, blocks, meta, ref_tag=lba, app_tag=app, storage_tag=storage)
        one.put(blocks, bytes(meta))
        assert one.run(WRITE, lba, 2, flags12=checks, **tags) == 0
        one.put(blocks, bytes(meta))
        assert one.run(WRITE, lba, 2, flags12=PRACT, **tags) == 0
        assert mock.peek_metadata(1, lba, 2) == meta
        pi.verify(
            fmt, mock.peek(1, lba, 2), mock.peek_metadata(1, lba, 2),
            ref_tag=lba, app_tag=app, app_mask=0xFFFF, storage_tag=storage, check_ref=kind != 3,
        )  # fmt: skip
