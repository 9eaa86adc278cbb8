"""The 64 bytes that SPDK's functions post, against dwords written by hand from the figures of the specification.

NVM Command Set 1.0, 3.2; reservations are of Base 2.0, 7. Flags are SPDK's numbers, written out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from aionvme import spdk
from aionvme.spdk import handles
from aionvme.tests.unit.qpair.device import Device, device

LBA = 0x12_3456_789A
PLACE = {10: 0x3456789A, 11: 0x12, 12: 2}
FUA, LR, PRACT, GUARD, APP, REF = 1 << 30, 1 << 31, 1 << 29, 1 << 28, 1 << 27, 1 << 26
STREAMS, PLACEMENT, DEAC = 1 << 20, 2 << 20, 1 << 25


class Controller:
    """Stands for a controller, of which only memory is asked, and whether host identifiers are long."""

    def __init__(self, made: Device) -> None:
        self.dma_alloc = made.alloc
        self.data = SimpleNamespace(ctratt=1)


class Copies:
    """The limits of Copy in Identify Namespace."""

    mssrl, mcl, msrc = 64, 64, 7


@pytest.fixture
def dev() -> Iterator[Device]:
    """A queue pair that SPDK's functions know."""
    with device(sgls=1 | 1 << 17) as made:
        ctrlr = Controller(made)
        handles._qpairs[made.qp] = handles.QpairState(ctrlr)  # type: ignore[arg-type]
        yield made
        del handles._qpairs[made.qp]


def _ext(**fields: Any) -> spdk.spdk_nvme_ns_cmd_ext_io_opts:
    return spdk.spdk_nvme_ns_cmd_ext_io_opts(**fields)


def _done(_arg: object, _cpl: object) -> None:
    """A callback."""


CB = (_done, None)
Call = Callable[[Any, Any, Any, Any], int]
PI = {"metadata_size": 8, "pi_type": 2, "pi_size": 8}
# A call with (ns, qpair, payload, metadata), the namespace, and the dwords without memory.
CALLS: dict[str, tuple[Call, dict[str, Any], dict[int, int]]] = {
    "read": (lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_read(n, q, p, LBA, 3, *CB, LR), {}, {0: 2, 12: 0x8000_0002}),
    "write": (lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_write(n, q, p, LBA, 3, *CB, FUA), {}, {0: 1, 12: 0x4000_0002}),
    "compare": (lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_compare(n, q, p, LBA, 3, *CB, 0), {}, {0: 5}),
    # Directive type in dword 12, 23:20; what it specifies in dword 13, 31:16 (NVM 1.0, 3.2.6).
    "stream": (
        lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_write_ext(
            n, q, p, LBA, 3, *CB, _ext(io_flags=STREAMS, cdw13=0xBEEF_0000)),
        {}, {0: 1, 12: 0x0010_0002, 13: 0xBEEF_0000}),
    "placement": (
        lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_writev_ext(
            n, q, LBA, 3, _done, [p], lambda arg, offset: None, lambda arg: arg[0],
            _ext(io_flags=PLACEMENT | FUA, cdw13=0x0007_0000)),
        {}, {0: 1, 12: 0x4020_0002, 13: 0x0007_0000}),
    "placement, one call": (
        lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_write(n, q, p, LBA, 3, *CB, PLACEMENT), {}, {0: 1, 12: 0x0020_0002}),
    # Tags: dword 14 is the reference tag, dword 15 the mask above the application tag.
    "write with tags": (
        lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_write_with_md(n, q, p, m, LBA, 3, *CB, GUARD | APP, 0xFF0F, 0x1234),
        PI, {0: 1, 12: 0x1800_0002, 15: 0xFF0F_1234}),
    "read with tags": (
        lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_read_with_md(n, q, p, m, LBA, 3, *CB, APP, 0xFFFF, 0x1234),
        PI, {0: 2, 12: 0x0800_0002, 15: 0xFFFF_1234}),
    # Dword 12: DEAC is bit 25.
    "write zeroes": (lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_write_zeroes(n, q, LBA, 3, *CB, 0), {}, {0: 8}),
    "write zeroes, deallocated": (
        lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_write_zeroes(n, q, LBA, 3, *CB, DEAC | FUA), {},
        {0: 8, 12: 0x4200_0002}),
    "write uncorrectable": (
        lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_write_uncorrectable(n, q, LBA, 3, *CB), {}, {0: 4}),
    "verify": (lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_verify(n, q, LBA, 3, *CB, LR), {}, {0: 12, 12: 0x8000_0002}),
    "flush": (lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_flush(n, q, *CB), {}, {0: 0, 10: 0, 11: 0, 12: 0}),
    # NR in dword 10, AD, IDW and IDR are bits 2 to 0 of dword 11.
    "deallocate": (
        lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_dataset_management(n, q, 4, [(1, 2), (5, 6)], 2, *CB), {},
        {0: 9, 10: 1, 11: 4, 12: 0}),
    "integral": (
        lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_dataset_management(n, q, 3, [(1, 2)], 1, *CB), {},
        {0: 9, 10: 0, 11: 3, 12: 0}),
    "copy": (
        lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_copy(
            n, q, [spdk.spdk_nvme_scc_source_range(slba=5, nlb=1), (9, 1)], 2, LBA, *CB), {}, {0: 0x19, 12: 1}),
    # Action in 2:0, IEKEY 3, type in 15:8; CPTPL in 31:30 of Register. Report: dwords, 0's based, and EDS.
    "register": (
        lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_reservation_register(
            n, q, spdk.spdk_nvme_reservation_register_data(1, 2), True, 2, 3, *CB), {},
        {0: 0x0D, 10: 0xC000_000A, 11: 0, 12: 0}),
    "acquire": (
        lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_reservation_acquire(
            n, q, spdk.spdk_nvme_reservation_acquire_data(1, 2), False, 1, 4, *CB), {},
        {0: 0x11, 10: 0x401, 11: 0, 12: 0}),
    "release": (
        lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_reservation_release(
            n, q, spdk.spdk_nvme_reservation_key_data(1), True, 1, 5, *CB), {},
        {0: 0x15, 10: 0x509, 11: 0, 12: 0}),
    "report": (
        lambda n, q, p, m: spdk.spdk_nvme_ns_cmd_reservation_report(n, q, p, 4096, *CB), {},
        {0: 0x0E, 10: 1023, 11: 1, 12: 0}),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_dwords(dev: Device, name: str) -> None:
    """A function of SPDK's posts one command, which is what the specification's figures say."""
    call, fields, expected = CALLS[name]
    payload, metadata = dev.alloc(4096), dev.alloc(64)
    ns = dev.namespace(data=Copies(), **fields)
    assert call(ns, dev.qp, payload, metadata) == 0
    [sqe] = dev.commands()
    words = list(struct.unpack("<16I", sqe))
    words[0] &= 0xFF3F
    found = {number: word for number, word in enumerate(words) if word and not 4 <= number <= 9}
    assert found == {number: word for number, word in (PLACE | {1: 7} | expected).items() if word}
    dev.complete(sqe)
    dev.qp.process_completions()


def test_cdw13_below_the_directive_is_not_supported(dev: Device) -> None:
    """Of dword 13 there is only the upper half here: anything in the lower is refused, and nothing is posted."""
    opts = _ext(io_flags=STREAMS, cdw13=1)
    assert spdk.spdk_nvme_ns_cmd_write_ext(dev.namespace(), dev.qp, dev.alloc(4096), 0, 1, *CB, opts) == -95
    assert dev.commands() == []
