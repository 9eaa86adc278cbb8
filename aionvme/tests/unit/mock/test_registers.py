"""Registers and configuration space: enabling, disabling, shutting down, and what can't be written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aionvme.errors import UsageError
from aionvme.tests.unit.mock.raw import (
    ACQ,
    AQA,
    ASQ,
    CAP,
    CC,
    CC_ENABLE,
    CSTS,
    INTMC,
    INTMS,
    NSSR,
    PAGE,
    VS,
    Raw,
)

Make = Callable[..., Raw]


def test_capabilities(make: Make) -> None:
    """CAP and VS say what the options said, field by field."""
    raw = make(enable=False, queue_entries=256, wrr=True, timeout=7.5, dstrd=1, mpsmax=2)
    cap = raw.function.read64(CAP)
    assert cap & 0xFFFF == 255
    assert cap >> 16 & 1 == 1
    assert cap >> 17 & 3 == 1
    assert cap >> 24 & 0xFF == 15
    assert cap >> 32 & 0xF == 1
    assert cap >> 37 & 0xFF == 1
    assert (cap >> 48 & 0xF, cap >> 52 & 0xF) == (0, 2)
    assert cap >> 59 & 3 == 1
    assert raw.function.read32(CAP) | raw.function.read32(CAP + 4) << 32 == cap
    assert raw.function.read32(VS) == 0x00020000
    assert raw.function.read32(0x68) == 15  # CRTO.CRWMT


def test_read_only_and_reserved(make: Make) -> None:
    """Writes to CAP, VS, CSTS and reserved registers change nothing; reserved registers read as zeros."""
    raw = make(enable=False)
    before = {offset: raw.function.read32(offset) for offset in range(0, 0x1000, 4)}
    for offset in before:
        if offset not in (INTMS, INTMC, CC, NSSR, AQA, ASQ, ASQ + 4, ACQ, ACQ + 4):
            raw.function.write32(offset, 0xFFFFFFFF)
    assert {offset: raw.function.read32(offset) for offset in before} == before
    assert all(value == 0 for offset, value in before.items() if offset > 0x68)


def test_queue_addresses_in_halves(make: Make) -> None:
    """ASQ and ACQ take a 64-bit write or two 32-bit ones, and have no bits below a page."""
    raw = make(enable=False)
    raw.function.write64(ASQ, 0x1234_5678_9ABC_DEF0)
    assert raw.function.read64(ASQ) == 0x1234_5678_9ABC_D000
    raw.function.write32(ACQ, 0x9ABC_DEF0)
    raw.function.write32(ACQ + 4, 0x1234_5678)
    assert raw.function.read64(ACQ) == 0x1234_5678_9ABC_D000


@pytest.mark.parametrize(
    ("aqa", "cc", "asq_offset"),
    [
        (31 << 16, CC_ENABLE, 0),
        (31, CC_ENABLE, 0),
        (31 << 16 | 31, CC_ENABLE | 5 << 7, 0),
        (31 << 16 | 31, CC_ENABLE | 1 << 4, 0),
        (31 << 16 | 31, CC_ENABLE | 1 << 11, 0),
        (31 << 16 | 31, CC_ENABLE | 2 << 7, PAGE),
    ],
)
def test_bad_configurations(make: Make, aqa: int, cc: int, asq_offset: int) -> None:
    """Admin queue of one entry, page size, command set or arbitration that is not offered: CFS, no RDY."""
    raw = make(enable=False)
    raw.function.write32(AQA, aqa)
    raw.function.write64(ASQ, 0x10000 + asq_offset)
    raw.function.write64(ACQ, 0x20000)
    raw.function.write32(CC, cc)
    assert raw.function.read32(CSTS) == 2
    raw.function.write32(CC, 0)
    assert raw.function.read32(CSTS) == 0


def test_disable_drops_queues(make: Make) -> None:
    """CC.EN=0 ends every queue and outstanding command, keeps AQA, ASQ and ACQ; EN=1 starts anew."""
    raw = make()
    queue = raw.create(1)
    with raw.mock.hold(opcode=2) as held:
        queue.post(2, cid=9, nsid=1, prp1=raw.page_iova)
        queue.ring()
        raw.step()
        assert held.commands == [(1, 9, 2)]
        raw.function.write32(CC, 0)
        assert held.commands == []
    assert (raw.function.read32(CSTS), raw.mock.num_queues) == (0, 0)
    assert raw.function.read32(AQA) == 31 << 16 | 31
    raw.enable()
    assert raw.identify(1)[0].status == 0


def test_ready_takes_its_time(make: Make) -> None:
    """With ready_delay RDY follows EN later, and CAP.TO is no less than that."""
    raw = make(enable=False, ready_delay=2.0, timeout=0.5)
    assert raw.function.read64(CAP) >> 24 & 0xFF == 4
    with pytest.raises(AssertionError):
        raw.enable()
    assert raw.function.read32(CSTS) == 0


def test_ready_after_delay(make: Make) -> None:
    """A short ready_delay passes, and the controller then works."""
    raw = make(enable=False, ready_delay=0.01)
    with pytest.raises(AssertionError):
        raw.enable()
    while raw.function.read32(CSTS) == 0:
        pass
    assert raw.identify(1)[0].status == 0


@pytest.mark.parametrize("kind", [1, 2])
def test_shutdown(raw: Raw, kind: int) -> None:
    """Normal and abrupt shutdown end with SHST complete; nothing is executed until a reset."""
    raw.function.write32(CC, CC_ENABLE | kind << 14)
    assert raw.function.read32(CSTS) == 2 << 2 | 1
    raw.admin.post(0x06, nsid=0, prp1=raw.page_iova, cdw10=1)
    raw.admin.ring()
    assert raw.mock.step() == 0
    raw.function.write32(CC, 0)
    assert raw.function.read32(CSTS) == 0
    raw.enable()
    assert raw.identify(1)[0].status == 0


def test_slow_shutdown(make: Make) -> None:
    """With shutdown_delay SHST says first that it is under way."""
    raw = make(shutdown_delay=0.02)
    raw.function.write32(CC, CC_ENABLE | 1 << 14)
    seen = {raw.function.read32(CSTS) >> 2 & 3}
    while 2 not in seen:
        seen.add(raw.function.read32(CSTS) >> 2 & 3)
    assert seen == {1, 2}


def test_subsystem_reset(raw: Raw) -> None:
    """NSSR takes "NVMe" only; it resets everything and sets NSSRO, which is cleared by writing 1."""
    raw.function.write32(NSSR, 0x12345678)
    assert raw.function.read32(CSTS) == 1
    raw.function.write32(NSSR, 0x4E564D65)
    assert (raw.function.read32(CSTS), raw.function.read32(CC), raw.function.read32(AQA)) == (1 << 4, 0, 0)
    raw.function.write32(CSTS, 1 << 4)
    assert raw.function.read32(CSTS) == 0


def test_interrupt_mask_registers(raw: Raw) -> None:
    """INTMS sets and INTMC clears the bits that are written, and both read as the mask."""
    raw.function.write32(INTMS, 0b1011)
    raw.function.write32(INTMC, 0b0010)
    assert (raw.function.read32(INTMS), raw.function.read32(INTMC)) == (0b1001, 0b1001)


def test_function_level_reset(raw: Raw) -> None:
    """Function level reset leaves DMA mappings; registers and the command register are as at first."""
    raw.function.reset()
    assert (raw.function.read32(CC), raw.function.read32(CSTS), raw.function.read32(AQA)) == (0, 0, 0)
    assert raw.function.config_read(4, 2) == b"\0\0"
    raw.enable()
    assert raw.identify(1)[0].status == 0


def test_function_level_reset_by_configuration_space(raw: Raw) -> None:
    """Device Control, bit 15: the same, and the bit reads as 0; the other bits of that byte alone do nothing."""
    control = raw.function.config_read(0x68, 2)
    raw.function.config_write(0x68, control)
    raw.function.config_write(0x69, control[1:])
    assert raw.function.read32(CSTS) == 1
    raw.function.config_write(0x68, bytes((control[0], control[1] | 0x80)))
    assert (raw.function.read32(CC), raw.function.read32(CSTS), raw.function.read32(AQA)) == (0, 0, 0)
    assert raw.function.config_read(4, 2) == b"\0\0"
    assert raw.function.config_read(0x68, 2) == control
    raw.enable()
    assert raw.identify(1)[0].status == 0


def test_power_state(raw: Raw) -> None:
    """In D3hot the function reaches no memory; back in D0 it goes on where it was."""
    raw.function.config_write(0x44, b"\x03")
    raw.admin.post(0x06, prp1=raw.page_iova, cdw10=1)
    raw.function.config_write(0x44, b"\x00")
    raw.admin.ring()
    assert raw.admin.wait()[0].status == 0
    raw.function.config_write(0x44, b"\x03")
    raw.admin.post(0x06, prp1=raw.page_iova, cdw10=1)
    raw.admin.ring()
    raw.step()
    assert raw.function.read32(CSTS) & 2


def test_pci_capabilities(raw: Raw) -> None:
    """Power management, MSI-X and PCI Express as they have to be; no interrupt pin, as there is no INTx."""
    read = raw.function.config_read
    assert read(0x3D, 1) == b"\0"
    assert int.from_bytes(read(0x42, 2), "little") & 7 == 3
    assert int.from_bytes(read(0x44, 2), "little") & 8  # nothing is lost on the way back from D3hot
    assert int.from_bytes(read(0x62, 2), "little") == 2  # an endpoint, version 2
    assert int.from_bytes(read(0x64, 4), "little") >> 28 & 1  # function level reset
    vectors = (int.from_bytes(read(0x52, 2), "little") & 0x7FF) + 1
    table, pending = (int.from_bytes(read(at, 4), "little") for at in (0x54, 0x58))
    assert vectors == raw.function.num_irqs
    assert table % 4096 == 0 and pending >= table + 16 * vectors
    written = bytes([0xFF] * 256)
    before = read(0, 256)
    raw.function.config_write(0, written[:0x69] + b"\x7f" + written[0x6A:])
    changed = bytes(a ^ b for a, b in zip(before, read(0, 256), strict=True))
    writable = {0x04, 0x05, 0x0C, 0x3C, 0x44, 0x53, 0x68, 0x69, 0x70, 0x88, 0x90, *range(0x10, 0x18)}
    assert {at for at in range(256) if changed[at]} <= writable


def test_configuration_space(raw: Raw) -> None:
    """Class, ids and the chain of capabilities are there; read-only bytes can't be changed."""
    read = raw.function.config_read
    assert read(9, 3) == bytes([0x02, 0x08, 0x01])
    assert int.from_bytes(read(0, 2), "little") == raw.function.pci_dev.vendor_id
    found, at = [], read(0x34, 1)[0]
    while at:
        capability, following = read(at, 2)
        found.append(capability)
        at = following
    assert found == [0x01, 0x11, 0x10]
    raw.function.config_write(0, b"\xff" * 4)
    assert int.from_bytes(read(0, 2), "little") == raw.function.pci_dev.vendor_id
    raw.function.config_write(0x10, b"\xff" * 8)
    size = ~(int.from_bytes(read(0x10, 8), "little") & ~0xF) + 1 & (1 << 64) - 1
    assert size >= 0x2000
    assert size & (size - 1) == 0
    raw.function.read32(size - 4)
    with pytest.raises(UsageError, match="outside BAR 0"):
        raw.function.read32(size)
    assert read(4092, 4) == bytes(4)
    with pytest.raises(UsageError):
        read(4090, 8)


def test_bus_master_off(raw: Raw) -> None:
    """Without bus mastering no command can be fetched: fatal status, and a reset mends it."""
    raw.function.set_bus_master(False)
    raw.admin.post(0x06, prp1=raw.page_iova, cdw10=1)
    raw.admin.ring()
    raw.mock.step()
    assert raw.function.read32(CSTS) == 3
    raw.function.write32(CC, 0)
    assert raw.function.read32(CSTS) == 0
    raw.enable()
    assert raw.identify(1)[0].status == 0


def test_larger_pages(make: Make) -> None:
    """With CC.MPS=1 a page has 8 KiB: PRP1 covers that much, and a queue must start at one."""
    raw = make(enable=False)
    raw.memory.take(1)
    raw.enable(entries=128, cc=CC_ENABLE | 1 << 7)
    raw.memory.take(1 - raw.admin.cq // PAGE % 2)
    queue = raw.create(1, 128)
    buffer = raw.memory.take(3) + PAGE & ~(2 * PAGE - 1)
    raw.mock.poke(1, 0, bytes(range(256)) * 32)
    assert queue.run(2, nsid=1, prp1=raw.memory.iova + buffer, cdw12=15).status == 0
    assert raw.memory.bytes[buffer : buffer + 2 * PAGE] == bytes(range(256)) * 32
    cqe = raw.admin.run(0x05, prp1=raw.memory.iova + buffer + PAGE, cdw10=15 << 16 | 2, cdw11=1)
    assert cqe.code == 0x13
