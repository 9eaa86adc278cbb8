"""Registers: offsets and bits as other people's headers have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.spec import registers
from aionvme.spec.bits import Bits
from aionvme.spec.registers import Aqa, Cap, Cc, Cmbloc, Cmbsz, Csts, Reg, Vs, cq_doorbell, sq_doorbell

# From the static asserts in SPDK's nvme_spec.h.
OFFSETS = {
    "CAP": 0x00,
    "VS": 0x08,
    "INTMS": 0x0C,
    "INTMC": 0x10,
    "CC": 0x14,
    "CSTS": 0x1C,
    "NSSR": 0x20,
    "AQA": 0x24,
    "ASQ": 0x28,
    "ACQ": 0x30,
    "CMBLOC": 0x38,
    "CMBSZ": 0x3C,
    "BPINFO": 0x40,
    "BPRSEL": 0x44,
    "BPMBL": 0x48,
    "CMBMSC": 0x50,
    "CMBSTS": 0x58,
    "CMBEBS": 0x5C,
    "CMBSWTP": 0x60,
    "NSSD": 0x64,
    "CRTO": 0x68,
    "PMRCAP": 0xE00,
    "PMRCTL": 0xE04,
    "PMRSTS": 0xE08,
    "PMREBS": 0xE0C,
    "PMRSWTP": 0xE10,
    "PMRMSCL": 0xE14,
    "PMRMSCU": 0xE18,
    "DOORBELLS": 0x1000,
}
# Shift and mask of each field: from FreeBSD's nvme.h for CAP, CC, CSTS, AQA and PMRCAP, from QEMU's nvme.h
# for CMBLOC and CMBSZ, from the bit fields of SPDK's nvme_spec.h for the others.
FIELDS = {
    "Cap": "mqes 0 ffff cqr 16 1 ams 17 3 to 24 ff dstrd 32 f nssrs 36 1 css 37 ff bps 45 1 cps 46 3 "
    "mpsmin 48 f mpsmax 52 f pmrs 56 1 cmbs 57 1 nsss 58 1 crwms 59 1 crims 60 1",
    "Vs": "ter 0 ff mnr 8 ff mjr 16 ffff",
    "Cc": "en 0 1 css 4 7 mps 7 f ams 11 7 shn 14 3 iosqes 16 f iocqes 20 f crime 24 1",
    "Csts": "rdy 0 1 cfs 1 1 shst 2 3 nssro 4 1 pp 5 1 st 6 1",
    "Aqa": "asqs 0 fff acqs 16 fff",
    "Cmbloc": "bir 0 7 cqmms 3 1 cqpds 4 1 cdpmls 5 1 cdpcils 6 1 cdmmms 7 1 cqda 8 1 ofst 12 fffff",
    "Cmbsz": "sqs 0 1 cqs 1 1 lists 2 1 rds 3 1 wds 4 1 szu 8 f sz 12 fffff",
    "Bpinfo": "bpsz 0 7fff brs 24 3 abpid 31 1",
    "Bprsel": "bprsz 0 3ff bprof 10 fffff bpid 31 1",
    "Cmbmsc": "cre 0 1 cmse 1 1 cba 12 fffffffffffff",
    "Cmbsts": "cbai 0 1",
    "Cmbebs": "cmbszu 0 f cmbrbb 4 1 cmbwbz 8 ffffff",
    "Cmbswtp": "cmbswtu 0 f cmbswtv 8 ffffff",
    "Crto": "crwmt 0 ffff crimt 16 ffff",
    "Pmrcap": "rds 3 1 wds 4 1 bir 5 7 pmrtu 8 3 pmrwbm 10 f pmrto 16 ff cmss 24 1",
    "Pmrctl": "en 0 1",
    "Pmrsts": "err 0 ff nrdy 8 1 hsts 9 7 cbai 12 1",
    "Pmrebs": "pmrszu 0 f rbb 4 1 pmrwbz 8 ffffff",
    "Pmrswtp": "pmrswtu 0 f pmrswtv 8 ffffff",
    "Pmrmscl": "cmse 1 1 cba 12 fffff",
}
REGISTERS: dict[str, type[Bits]] = {
    name: each
    for name, each in vars(registers).items()
    if isinstance(each, type) and issubclass(each, Bits) and each is not Bits
}


def test_offsets_are_those_of_spdk() -> None:
    """Every register lies where SPDK asserts it."""
    assert {reg.name: int(reg) for reg in Reg} == OFFSETS


@pytest.mark.parametrize("name", FIELDS)
def test_fields_are_those_of_other_headers(name: str) -> None:
    """Every field has the shift and the mask that another header gives it."""
    words = FIELDS[name].split()
    expected = {
        field: (int(shift), int(mask, 16))
        for field, shift, mask in zip(words[::3], words[1::3], words[2::3], strict=True)
    }
    assert {field: (row.low, row.mask) for field, row in REGISTERS[name].FIELDS.items()} == expected


def test_every_register_is_compared() -> None:
    """No register is left out of the comparison."""
    assert set(REGISTERS) == set(FIELDS)


@pytest.mark.parametrize("kind", REGISTERS.values())
@given(data=st.data())
def test_any_value_comes_back(kind: type[Bits], data: st.DataObject) -> None:
    """A register read and written unchanged is unchanged, reserved bits and all."""
    value = data.draw(st.integers(0, (1 << kind.WIDTH) - 1))
    word = kind.from_int(value)
    assert word.to_int() == value
    for name, field in word.to_dict().items():
        setattr(word, name, field)
    assert word.to_int() == value


def test_capabilities_of_a_known_controller() -> None:
    """A CAP as QEMU has it: 2048 entries, contiguous, 7.5 s, NVM and other sets, pages of 4 KiB to 64 KiB."""
    cap = Cap.from_int(0x0040_0830_0F01_07FF)
    assert (cap.mqes, cap.cqr, cap.ams, cap.to, cap.dstrd) == (2047, 1, 0, 15, 0)
    assert (cap.nssrs, cap.css, cap.mpsmin, cap.mpsmax) == (1, 0b1000001, 0, 4)
    assert (cap.bps, cap.pmrs, cap.cmbs, cap.crwms, cap.crims) == (0, 0, 0, 0, 0)


def test_a_configuration_is_built_field_by_field() -> None:
    """CC for the NVM command set: entries of 64 and 16 bytes, and enabled, is 00460001h."""
    cc = Cc.from_int(0)
    cc.iosqes, cc.iocqes, cc.en = 6, 4, 1
    assert cc.to_int() == 0x0046_0001
    cc.shn = 1
    assert cc.to_int() == 0x0046_4001
    cc.css = 6
    assert cc.to_int() == 0x0046_4061


def test_status_version_and_queue_attributes_by_hand() -> None:
    """Small registers taken apart by hand."""
    assert Csts.from_int(0b1001).to_dict() == {
        "rdy": 1,
        "cfs": 0,
        "shst": 2,
        "nssro": 0,
        "pp": 0,
        "st": 0,
    }
    assert str(Vs.from_int(0x0001_0400)) == "1.4.0"
    assert Aqa(asqs=31, acqs=63).to_int() == 0x003F_001F


def test_size_of_the_memory_buffer() -> None:
    """Sizes count in units of 4 KiB to 64 GiB (Base 2.0, 3.1.3.12)."""
    size = Cmbsz(sz=3, szu=2)
    assert (size.unit, size.nbytes) == (1 << 20, 3 << 20)
    assert Cmbsz(sz=1, szu=6).nbytes == 64 << 30
    assert Cmbloc(ofst=1, bir=2).to_int() == 0x1002


@pytest.mark.parametrize(
    ("qid", "dstrd", "sq", "cq"),
    [(0, 0, 0x1000, 0x1004), (1, 0, 0x1008, 0x100C), (1, 4, 0x1080, 0x10C0), (0xFFFF, 0, 0x80FF8, 0x80FFC)],
)
def test_doorbells(qid: int, dstrd: int, sq: int, cq: int) -> None:
    """Tail and head doorbells of a queue lie one stride apart, two strides to the next queue."""
    assert (sq_doorbell(qid, dstrd), cq_doorbell(qid, dstrd)) == (sq, cq)
