"""SPDK's structures: their bytes, their text form, and what they become of ours."""

from __future__ import annotations

import errno

import pytest

import aionvme
from aionvme import spdk


@pytest.mark.parametrize(
    ("text", "trtype", "traddr", "subnqn"),
    [
        ("trtype:PCIe traddr:0000:04:00.0", 256, "0000:04:00.0", ""),
        ("traddr=0000:04:00.0\ttrtype=pcie", 256, "0000:04:00.0", ""),
        ("trtype:VFIOUSER traddr:/run/ctrl subnqn:nqn.2019-07.io:a", 1024, "/run/ctrl", "nqn.2019-07.io:a"),
        ("trtype:PCIE", 256, "", ""),
    ],
)
def test_transport_id(text: str, trtype: int, traddr: str, subnqn: str) -> None:
    """SPDK's text is read, with either separator, in any order and case."""
    trid = spdk.spdk_nvme_transport_id()
    assert spdk.spdk_nvme_transport_id_parse(trid, text) == 0
    assert (trid.trtype, trid.traddr, trid.subnqn) == (trtype, traddr, subnqn)


@pytest.mark.parametrize("text", ["trtype:TCP traddr:10.0.0.1", "nonsense", "traddr:", "speed:fast"])
def test_transport_id_that_is_none(text: str) -> None:
    """What this driver does not have, or is no such text, is -EINVAL, and changes nothing."""
    trid = spdk.spdk_nvme_transport_id(traddr="before")
    assert spdk.spdk_nvme_transport_id_parse(trid, text) == -errno.EINVAL
    assert trid == spdk.spdk_nvme_transport_id(traddr="before")


def test_transport_id_keeps_what_is_not_named() -> None:
    """Fields that the text does not name stay as they are."""
    trid = spdk.spdk_nvme_transport_id(traddr="before")
    assert spdk.spdk_nvme_transport_id_parse(trid, "trtype:vfiouser") == 0
    assert (trid.traddr, trid.trstring) == ("before", "VFIOUSER")


def test_controller_options_go_both_ways() -> None:
    """Options survive the way to ours and back, and differ in no field."""
    chosen = spdk.spdk_nvme_ctrlr_opts(
        num_io_queues=3,
        io_queue_size=9,
        arb_mechanism=1,
        arbitration_burst=2,
        low_priority_weight=3,
        medium_priority_weight=4,
        high_priority_weight=5,
        admin_queue_size=16,
        admin_timeout_ms=7000,
        no_shn_notification=True,
        command_set=6,
        extended_host_id=bytes(range(16)),
        io_timeout_ms=8000,
        keep_alive_timeout_ms=9000,
    )
    ours = aionvme.ControllerOptions()
    chosen.write_to(ours)
    assert (ours.io_queue_depth, ours.low_priority_weight, ours.io_timeout) == (8, 4, 8.0)
    assert spdk.spdk_nvme_ctrlr_opts.of(ours) == chosen


def test_default_options() -> None:
    """The defaults are those of ours."""
    opts = spdk.spdk_nvme_ctrlr_opts(num_io_queues=1, io_queue_size=2, io_timeout_ms=3)
    spdk.spdk_nvme_ctrlr_get_default_ctrlr_opts(opts, 0)
    assert opts == spdk.spdk_nvme_ctrlr_opts.of(aionvme.ControllerOptions())


def test_command() -> None:
    """Every field of a command is at its offset in the 64 bytes."""
    cmd = spdk.spdk_nvme_cmd(
        opc=0x11,
        fuse=2,
        psdt=1,
        nsid=0x04030201,
        cdw2=2,
        cdw3=3,
        mptr=0x1122334455667788,
        prp1=0x99AABBCCDDEEFF00,
        prp2=5,
        cdw10=10,
        cdw11=11,
        cdw12=12,
        cdw13=13,
        cdw14=14,
        cdw15=15,
    )
    raw = bytes(cmd)
    assert raw[:8] == bytes.fromhex("11420000 01020304")
    assert raw[8:16] == bytes.fromhex("02000000 03000000")
    assert raw[16:40] == bytes.fromhex("8877665544332211 00ffeeddccbbaa99 0500000000000000")
    assert raw[40:] == b"".join(bytes((number, 0, 0, 0)) for number in range(10, 16))


def test_reservation_keys() -> None:
    """Keys are little-endian, one after the other."""
    assert bytes(spdk.spdk_nvme_reservation_key_data(1)) == b"\1" + bytes(7)
    assert bytes(spdk.spdk_nvme_reservation_register_data(1, 2)) == b"\1" + bytes(7) + b"\2" + bytes(7)
    assert bytes(spdk.spdk_nvme_reservation_acquire_data(1, 2)) == b"\1" + bytes(7) + b"\2" + bytes(7)


def test_controller_list() -> None:
    """The count comes first, then the identifiers, in 4096 bytes."""
    raw = bytes(spdk.spdk_nvme_ctrlr_list([1, 0x203]))
    assert (raw[:6], len(raw)) == (b"\x02\x00\x01\x00\x03\x02", 4096)
