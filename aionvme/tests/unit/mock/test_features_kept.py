"""Features of the mock that are saved, fixed, have data, or change what other commands do."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from aionvme.mock import HostMemoryState, MockController, NamespaceConfig
from aionvme.tests.unit.mock.raw import CC, CSTS, NSSR, PAGE, Queue, Raw

Make = Callable[..., Raw]
SET, GET = 0x09, 0x0A
ALL = 0xFFFFFFFF
INVALID_FIELD, INVALID_NAMESPACE, SEQUENCE_ERROR, PROTECTED = 0x02, 0x0B, 0x0C, 0x20
OUT_OF_RANGE, NOT_SAVEABLE, NOT_CHANGEABLE, OVERLAPPING = 0x80, 0x10D, 0x10E, 0x114
RANGES, TEMPERATURE, RECOVERY, CACHE, APST, HMB, THERMAL, LEVEL = (
    0x03,
    0x04,
    0x05,
    0x06,
    0x0C,
    0x0D,
    0x10,
    0x12,
)
BEHAVIOR, METADATA, NS_METADATA, MARKER, MASK, PERSISTENCE, PROTECTION = (
    0x16,
    0x7E,
    0x7F,
    0x80,
    0x82,
    0x83,
    0x84,
)


def get(raw: Raw, fid: int, *, select: int = 0, cdw11: int = 0, nsid: int = 0) -> int:
    """A feature's dword; minus its status when it failed."""
    cqe = raw.admin.run(GET, nsid=nsid, prp1=raw.page_iova, cdw10=select << 8 | fid, cdw11=cdw11)
    return -cqe.code if cqe.status else cqe.dw0


def set_(
    raw: Raw, fid: int, cdw11: int = 0, *, data: bytes = b"", nsid: int = 0, save: int = 0, **words: Any
) -> int:
    """Sets a feature; its dword, or minus its status."""
    raw.memory.bytes[raw.page : raw.page + len(data)] = data
    cqe = raw.admin.run(SET, nsid=nsid, prp1=raw.page_iova, cdw10=save << 31 | fid, cdw11=cdw11, **words)
    return -cqe.code if cqe.status else cqe.dw0


def reset(raw: Raw) -> None:
    """A controller reset."""
    raw.function.write32(CC, 0)
    raw.enable()


def test_saved_values_outlive_resets(raw: Raw) -> None:
    """A value that was saved is the current one after a reset; one that was set later without is not."""
    assert set_(raw, MARKER, 5, save=1) == 0
    assert set_(raw, MARKER, 6) == 0
    assert [get(raw, MARKER, select=select) for select in range(4)] == [6, 0, 5, 5]
    reset(raw)
    assert [get(raw, MARKER, select=select) for select in range(3)] == [5, 0, 5]
    raw.function.write32(NSSR, 0x4E564D65)
    raw.function.write32(CSTS, 1 << 4)  # NSSRO
    raw.enable()
    assert get(raw, MARKER) == 5


def test_thresholds_are_saved_each(raw: Raw) -> None:
    """Over and under threshold are saved for themselves."""
    assert set_(raw, TEMPERATURE, 350, save=1) == 0
    assert set_(raw, TEMPERATURE, 1 << 20 | 290) == 0
    reset(raw)
    assert (get(raw, TEMPERATURE), get(raw, TEMPERATURE, select=2), get(raw, TEMPERATURE, select=1)) == (
        350,
        350,
        343,
    )
    assert get(raw, TEMPERATURE, cdw11=1 << 20) == 0


def test_namespaces_are_saved_each(make: Make) -> None:
    """A namespace's value is saved for it, and for all with FFFFFFFFh."""
    raw = make(namespaces=2)
    assert set_(raw, RECOVERY, 3, nsid=ALL, save=1) == 0
    assert set_(raw, RECOVERY, 4, nsid=2, save=1) == 0
    assert set_(raw, RECOVERY, 9, nsid=1) == 0
    reset(raw)
    assert [get(raw, RECOVERY, nsid=nsid) for nsid in (1, 2)] == [3, 4]
    assert get(raw, RECOVERY, nsid=ALL, select=3) == 7
    assert get(raw, RECOVERY, nsid=ALL) == -INVALID_NAMESPACE


def test_what_can_not_be_saved_or_changed(make: Make) -> None:
    """Not saveable by nature, fixed by an option, not there by an option, and without the save bit at all."""
    raw = make(features_fixed=1 << CACHE, features_absent=1 << MARKER)
    assert set_(raw, BEHAVIOR, data=bytes(512), save=1) == -NOT_SAVEABLE
    assert set_(raw, CACHE, 0) == -NOT_CHANGEABLE
    assert get(raw, CACHE, select=3) == 1
    assert get(raw, MARKER) == set_(raw, MARKER) == -INVALID_FIELD
    plain = make(oncs=0x1FF & ~(1 << 4) & ~(1 << 5))
    assert set_(plain, MARKER, 1, save=1) == -INVALID_FIELD
    assert get(plain, MARKER, select=1) == -INVALID_FIELD
    assert get(plain, PERSISTENCE, nsid=1) == get(plain, MASK, nsid=1) == -INVALID_FIELD


def test_lba_ranges(make: Make) -> None:
    """By default one range is the whole namespace; ranges beyond it and overlapping ones are refused."""
    raw = make(size=1 << 20)
    assert get(raw, RANGES, nsid=1) == 0
    assert raw.data(48)[16:32] == struct.pack("<QQ", 0, 2048)

    def ranges(*each: tuple[int, int]) -> bytes:
        return b"".join(struct.pack("<16xQQ32x", *one) for one in each).ljust(4096, b"\0")

    assert set_(raw, RANGES, 1, data=ranges((0, 1000), (1000, 1048)), nsid=1, save=1) == 0
    reset(raw)
    assert get(raw, RANGES, nsid=1) == 1
    assert raw.data(4096) == ranges((0, 1000), (1000, 1048))
    assert set_(raw, RANGES, 1, data=ranges((0, 1000), (999, 10)), nsid=1) == -OVERLAPPING
    assert set_(raw, RANGES, 0, data=ranges((2000, 49)), nsid=1) == -OUT_OF_RANGE
    assert set_(raw, RANGES, 0, data=ranges((0, 1)), nsid=9) == -INVALID_NAMESPACE


def test_power_transitions(raw: Raw) -> None:
    """A table is kept; a transition to a state that works, or that there is not, is refused."""

    def table(itps: int) -> bytes:
        return struct.pack("<Q", 100 << 8 | itps << 3).ljust(256, b"\0")

    assert set_(raw, APST, 1, data=table(2), save=1) == 0
    reset(raw)
    assert get(raw, APST) == 1
    assert raw.data(256) == table(2)
    for wrong in (1, 3, 31):
        assert set_(raw, APST, 1, data=table(wrong)) == -INVALID_FIELD
    assert get(raw, APST, select=1) == 0
    assert raw.data(256) == bytes(256)


def test_thermal_management(raw: Raw) -> None:
    """The first temperature is below the second, and both are within what Identify says."""
    assert set_(raw, THERMAL, 310 << 16 | 320) == 0
    assert set_(raw, THERMAL, 0) == 0
    for wrong in (320 << 16 | 310, 310 << 16 | 310, 302 << 16, 374):
        assert set_(raw, THERMAL, wrong) == -INVALID_FIELD


def test_read_recovery_levels(raw: Raw) -> None:
    """The level is in dword 12; one that RRLS has not is refused."""
    assert get(raw, LEVEL) == 4
    assert set_(raw, LEVEL, cdw12=15) == 0
    assert [get(raw, LEVEL, select=select) for select in range(3)] == [15, 4, 4]
    assert set_(raw, LEVEL, cdw12=3) == -INVALID_FIELD


def test_reservation_notices(raw: Raw) -> None:
    """The mask is of a namespace, and has three bits."""
    assert set_(raw, MASK, 0xFFFFFFFF, nsid=1) == 0
    assert get(raw, MASK, nsid=1) == 0b1110
    assert set_(raw, MASK, 0, nsid=0) == -INVALID_NAMESPACE


def test_metadata(raw: Raw) -> None:
    """Elements are added, replaced and deleted by their type; what is no list of elements is refused."""

    def elements(*each: tuple[int, bytes]) -> bytes:
        packed = b"".join(struct.pack("<BBH", kind, 0, len(text)) + text for kind, text in each)
        return (bytes([len(each), 0]) + packed).ljust(4096, b"\0")

    for fid, nsid in ((METADATA, 0), (NS_METADATA, 1)):
        assert set_(raw, fid, data=elements((1, b"one"), (2, b"two")), nsid=nsid) == 0
        assert set_(raw, fid, data=elements((1, b"other")), nsid=nsid) == 0
        assert get(raw, fid, nsid=nsid) == 0
        assert raw.data(4096) == elements((2, b"two"), (1, b"other"))
        assert set_(raw, fid, 2 << 13, data=elements((1, b"more")), nsid=nsid) == 0
        assert set_(raw, fid, 1 << 13, data=elements((2, b"")), nsid=nsid) == 0
        assert get(raw, fid, nsid=nsid) == 0
        assert raw.data(4096) == elements((1, b"other"), (1, b"more"))
        assert set_(raw, fid, data=b"\xff" * 4096, nsid=nsid) == -INVALID_FIELD
        assert set_(raw, fid, 3 << 13, data=elements(), nsid=nsid) == -INVALID_FIELD


def test_the_page_of_feature_identifiers(make: Make) -> None:
    """It lists each feature that is there, and of what it is; what is listed can be read."""
    raw = make(features_absent=1 << CACHE)
    cqe = raw.admin.run(0x02, nsid=ALL, prp1=raw.page_iova, cdw10=(256 - 1) << 16 | 0x12)
    assert cqe.status == 0
    words = struct.unpack("<256I", raw.data(1024))
    for fid, word in enumerate(words):
        there = [get(raw, fid, nsid=nsid, select=3) for nsid in (0, 1)]
        assert bool(word & 1) == (there != [-INVALID_FIELD] * 2), hex(fid)
        if word:
            assert word >> 20 == (1 if there[1] & 2 else 2), hex(fid)
    assert words[CACHE] == 0
    assert words[PROTECTION] == 1 << 20 | 1


# -- write protection ------------------------------------------------------------------------------------------------


def _writes(queue: Queue, page: int) -> dict[str, Any]:
    """Statuses of commands that write, and of those that do not."""
    return {
        "write": queue.run(0x01, nsid=1, prp1=page).code,
        "zeroes": queue.run(0x08, nsid=1).code,
        "uncorrectable": queue.run(0x04, nsid=1).code,
        "deallocate": queue.run(0x09, nsid=1, prp1=page, cdw11=4).code,
        "copy": queue.run(0x19, nsid=1, prp1=page).code,
        "read": queue.run(0x02, nsid=1, prp1=page).code,
        "verify": queue.run(0x0C, nsid=1).code,
        "compare": queue.run(0x05, nsid=1, prp1=page).code,
        "flush": queue.run(0x00, nsid=1).code,
        "flush all": queue.run(0x00, nsid=ALL).code,
    }


@pytest.mark.parametrize("metadata", [0, 8])
def test_protected_namespaces(make: Make, metadata: int) -> None:
    """Whatever writes is refused with Namespace is Write Protected, and nothing else; another namespace is not."""
    raw = make(
        namespaces=[
            NamespaceConfig(size=1 << 20, metadata=metadata, extended=metadata > 0),
            NamespaceConfig(),
        ]
    )
    queue = raw.create(1)
    assert get(raw, PROTECTION, nsid=1) == 0
    assert set_(raw, PROTECTION, 1, nsid=1) == 0
    assert (get(raw, PROTECTION, nsid=1), get(raw, PROTECTION, nsid=2)) == (1, 0)
    statuses = _writes(queue, raw.page_iova)
    assert {name for name, code in statuses.items() if code == PROTECTED} == {
        "write", "zeroes", "uncorrectable", "deallocate", "copy",
    }  # fmt: skip
    assert {code for name, code in statuses.items() if code != PROTECTED} == {0}
    assert queue.run(0x01, nsid=2, prp1=raw.page_iova).code == 0
    assert set_(raw, PROTECTION, 0, nsid=1) == 0
    assert queue.run(0x01, nsid=1, prp1=raw.page_iova).code == 0


def test_states_of_write_protection(make: Make) -> None:
    """The stronger ones are not left by Set Features; one ends with a power cycle, the other never."""
    raw = make(namespaces=3)
    for nsid in (1, 2, 3):
        assert set_(raw, PROTECTION, nsid, nsid=nsid) == 0
    assert set_(raw, PROTECTION, 2, nsid=2) == 0
    for nsid in (2, 3):
        assert set_(raw, PROTECTION, 0, nsid=nsid) == -NOT_CHANGEABLE
    assert set_(raw, PROTECTION, 0, nsid=ALL) == -NOT_CHANGEABLE
    assert get(raw, PROTECTION, nsid=1) == 1
    reset(raw)
    assert [get(raw, PROTECTION, nsid=nsid) for nsid in (1, 2, 3)] == [1, 2, 3]
    raw.mock.power_cycle()
    raw.enable()
    assert [get(raw, PROTECTION, nsid=nsid) for nsid in (1, 2, 3)] == [1, 0, 3]
    assert set_(raw, PROTECTION, 4, nsid=1) == -INVALID_FIELD
    assert [get(raw, PROTECTION, nsid=1, select=select) for select in (1, 2)] == [-INVALID_FIELD] * 2
    assert get(raw, PROTECTION, nsid=1, select=3) == 6
    assert set_(raw, PROTECTION, 1, nsid=1, save=1) == -NOT_SAVEABLE
    weak = make(nwpc=1)
    assert [set_(weak, PROTECTION, state, nsid=1) for state in (2, 3)] == [-INVALID_FIELD] * 2
    assert get(make(nwpc=0), PROTECTION, nsid=1) == -INVALID_FIELD


def test_protection_is_the_subsystem_s(make: Make) -> None:
    """What one controller protects, the other can't write either."""
    raw = make()
    with raw.mock.second() as other_mock:
        other = Raw(other_mock)
        other.enable()
        queue = other.create(1)
        assert set_(raw, PROTECTION, 1, nsid=1) == 0
        assert get(other, PROTECTION, nsid=1) == 1
        assert queue.run(0x01, nsid=1, prp1=other.page_iova).code == PROTECTED
        other.close()


# -- host memory buffer ----------------------------------------------------------------------------------------------


class Lender:
    """Memory of a raw driver, lent in pieces of these pages."""

    def __init__(self, raw: Raw, *pages: int) -> None:
        self.raw = raw
        self.list = raw.memory.take(1)
        self.pieces = [(raw.memory.iova + raw.memory.take(count), count) for count in pages]
        self.fill(self.pieces)

    def fill(self, pieces: list[tuple[int, int]]) -> None:
        """Writes the descriptor list."""
        raw = b"".join(struct.pack("<QIxxxx", *piece) for piece in pieces)
        self.raw.memory.bytes[self.list : self.list + len(raw)] = raw

    def lend(self, *, mr: int = 0, **words: int) -> int:
        """Enables the buffer; minus the status when it failed."""
        address = self.raw.memory.iova + self.list
        sizes = {"cdw12": sum(count for _, count in self.pieces), "cdw15": len(self.pieces)}
        given: dict[str, Any] = sizes | {"cdw13": address & 0xFFFFFFFF, "cdw14": address >> 32} | words
        return set_(self.raw, HMB, mr << 1 | 1, **given)

    @property
    def state(self) -> HostMemoryState:
        """What the mock has."""
        return self.raw.mock.host_memory


def test_memory_is_lent_and_taken_back(make: Make) -> None:
    """The mock writes in each page; Get Features has the dwords of Set Features; disabling twice does nothing."""
    raw = make(hmmin=4)
    lender = Lender(raw, 3, 1)
    assert lender.lend() == 0
    assert lender.state.pieces == tuple((address, count * PAGE) for address, count in lender.pieces)
    for address, count in lender.pieces:
        for page in range(count):
            at = address - raw.memory.iova + page * PAGE
            assert any(raw.memory.bytes[at : at + 20])
    assert get(raw, HMB) == 1
    address = raw.memory.iova + lender.list
    assert raw.data(4096) == struct.pack("<IIII", 4, address & 0xFFFFFFFF, address >> 32, 2).ljust(
        4096, b"\0"
    )
    assert lender.lend() == -SEQUENCE_ERROR
    assert set_(raw, HMB, 0) == set_(raw, HMB, 0) == 0
    assert (lender.state.nbytes, lender.state.damaged) == (0, ())
    assert lender.state.looks >= 4
    assert get(raw, HMB) == 0


def test_memory_that_is_used_meanwhile_is_noticed(make: Make) -> None:
    """A page that the host writes, and one that it unmaps, while they are lent are damaged."""
    raw = make(hmmin=1)
    lender = Lender(raw, 2)
    assert lender.lend() == 0
    at = lender.pieces[0][0] - raw.memory.iova + PAGE
    raw.memory.bytes[at : at + 8] = bytes(8)
    for _ in range(3):
        get(raw, CACHE)
    assert lender.state.damaged == (lender.pieces[0][0] + PAGE,)
    assert set_(raw, HMB, 0) == 0
    before = lender.state.looks
    get(raw, CACHE)
    assert lender.state.looks == before


def test_memory_is_returned_after_a_reset(make: Make) -> None:
    """A reset takes it back. Returned, it has the mock's marks in it, or the mock notices that it has not."""
    raw = make(hmmin=1)
    lender = Lender(raw, 2)
    assert lender.lend() == 0
    reset(raw)
    assert get(raw, HMB) == 0
    assert lender.lend(mr=1) == 0
    assert (lender.state.returned, lender.state.damaged) == (True, ())
    reset(raw)
    at = lender.pieces[0][0] - raw.memory.iova
    raw.memory.bytes[at : at + 8] = bytes(8)
    assert lender.lend(mr=1) == 0
    assert lender.state.damaged == (lender.pieces[0][0],)


def test_memory_that_is_refused(make: Make) -> None:
    """Too little, no entry, too many, a list or a piece that is not aligned, too small a piece, a wrong sum."""
    raw = make(hmmin=2, hmminds=2, hmmaxd=2)
    lender = Lender(raw, 2, 2)
    (one, _), (two, _) = lender.pieces
    for words in ({"cdw12": 1}, {"cdw15": 0}, {"cdw15": 3}, {"cdw12": 5}):
        assert lender.lend(**words) == -INVALID_FIELD, words
    assert lender.lend(cdw13=(raw.memory.iova + lender.list) & 0xFFFFFFFF | 8) == -INVALID_FIELD
    assert lender.lend(cdw13=0, cdw14=0x7000) == -0x04
    for pieces in ([(one + 512, 2), (two, 2)], [(one, 1), (two, 3)]):
        lender.fill(pieces)
        assert lender.lend() == -INVALID_FIELD
    lender.fill(lender.pieces)
    assert lender.lend() == 0
    assert get(make(hmpre=0), HMB) == -INVALID_FIELD


def test_options_are_checked() -> None:
    """An option that does not fit in its field is refused."""
    for wrong in ({"nwpc": 8}, {"hmmaxd": 1 << 16}, {"features_absent": 1 << 256}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            MockController(**wrong)  # type: ignore[arg-type]


# -- features of some devices ----------------------------------------------------------------------------------------


def test_intel_s_features(make: Make) -> None:
    """A device of Intel's has them, with the limits of Intel's header; another device has none."""
    raw = make(intel=True, size=1 << 20)
    assert (get(raw, 0xC1), get(raw, 0xC2)) == (2047, 2047)
    assert set_(raw, 0xC1, 1000, save=1) == 0
    assert (get(raw, 0xC1), get(raw, 0xC2)) == (1000, 2047)
    assert set_(raw, 0xC1, 2048) == -0x1C0
    assert set_(raw, 0xC2, 1000) == -NOT_CHANGEABLE
    assert set_(raw, 0xC6, 2) == 0
    assert set_(raw, 0xC6, 3) == -INVALID_FIELD
    assert set_(raw, 0xC8, 0xFFFFFFFF) == 0
    assert get(raw, 0xC8) == 0x1FE
    assert set_(raw, 0xC9, 0x12345678) == 0
    assert get(raw, 0xC9) == 0x12345678
    assert set_(raw, 0xD5, 1) == 0
    assert get(raw, 0xD5) == -INVALID_FIELD
    plain = make()
    assert {get(plain, fid) for fid in (0xC1, 0xC2, 0xC6, 0xC8, 0xC9, 0xD5, 0xE2)} == {-INVALID_FIELD}


def test_latency_is_tracked_when_it_is_switched_on(make: Make) -> None:
    """Intel's latency page counts with feature E2h, and not without; a reset goes back to what was saved."""
    raw = make(intel=True)
    queue = raw.create(1)
    assert queue.run(0x02, nsid=1, prp1=raw.page_iova).status == 0

    def counted() -> bool:
        cqe = raw.admin.run(0x02, nsid=ALL, prp1=raw.page_iova, cdw10=(512 // 4 - 1) << 16 | 0xC1)
        assert cqe.status == 0
        return any(raw.data(512)[4:])

    assert not counted()
    assert set_(raw, 0xE2, 1) == 0
    assert counted()
    reset(raw)
    assert not counted()
    assert set_(raw, 0xE2, 1, save=1) == 0
    reset(raw)
    assert counted()


def test_flexible_data_placement(make: Make) -> None:
    """It is on, and stays so; types of events are switched on for a placement handle of a namespace."""
    raw = make(fdp=2)
    assert get(raw, 0x1D, cdw11=1) == 1
    assert get(raw, 0x1D, cdw11=2) == -INVALID_FIELD
    assert set_(raw, 0x1D, 1, cdw12=0) == -SEQUENCE_ERROR
    assert set_(raw, 0x1D, 1, cdw12=1) == 0
    assert set_(raw, 0x1E, 2 << 16 | 1, cdw12=1, data=b"\x00\x80", nsid=1) == 0
    assert get(raw, 0x1E, cdw11=5 << 16 | 1, nsid=1) == 5
    assert raw.data(10) == b"\x00\x01\x01\x00\x02\x00\x03\x00\x80\x01"
    assert get(raw, 0x1E, cdw11=5 << 16, nsid=1) == 5
    assert raw.data(10) == b"\x00\x00\x01\x00\x02\x00\x03\x00\x80\x00"
    assert set_(raw, 0x1E, 1 << 16 | 1, cdw12=0, data=b"\x80", nsid=1) == 0
    assert get(raw, 0x1E, cdw11=5 << 16 | 1, nsid=1) == 5
    assert raw.data(10)[-1] == 0
    assert get(raw, 0x1E, cdw11=2, nsid=1) == -INVALID_FIELD
    assert set_(raw, 0x1E, 1 << 16, cdw12=1, data=b"\x7f", nsid=1) == -INVALID_FIELD
    assert get(make(), 0x1D, cdw11=1) == -INVALID_FIELD
