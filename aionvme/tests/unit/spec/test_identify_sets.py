"""Identify structures of the I/O command sets: against another decoder's reading and header."""

from __future__ import annotations

from typing import Any

import pytest

from aionvme.spec.errors import DecodeError
from aionvme.spec.identify_sets import (
    ExtendedFormat,
    ExtendedFormatBits,
    IdentifyIndependentNamespace,
    IdentifyNvmController,
    IdentifyNvmNamespace,
    IdentifyZonedController,
    IdentifyZonedNamespace,
    ZonedFormat,
)
from aionvme.tests.unit.spec.golden import read_bytes, read_json

# Sums of the member sizes of libnvme's structures.
OFFSETS: dict[Any, str] = {
    IdentifyIndependentNamespace: "nsfeat 0 nmic 1 rescap 2 fpi 3 anagrpid 4 nsattr 8 nvmsetid 10 endgid 12"
    " nstat 14",
    IdentifyNvmController: "vsl 0 wzsl 1 wusl 2 dmrl 3 dmrsl 4 dmsl 8 aocs 18",
    IdentifyNvmNamespace: "lbstm 0 pic 8 pifa 9 elbaf 12 npdgl 268 nprg 272 npra 276 nors 280 npdal 284"
    " lbapss 288 tlbaag 292",
    IdentifyZonedController: "zasl 0",
    IdentifyZonedNamespace: "zoc 0 ozcs 2 mar 4 mor 8 rrl 12 frl 16 rrl1 20 rrl2 24 rrl3 28 frl1 32 frl2 36"
    " frl3 40 numzrwa 44 zrwafg 48 zrwasz 50 zrwacap 52 lbafe 2816 vs 3840",
}
CAPTURES = [
    ("qemu-10.0.2", "cmdset-ind-id-ns-1", IdentifyIndependentNamespace),
    ("qemu-10.0.2", "cmdset-ind-id-ns-2", IdentifyIndependentNamespace),
    ("qemu-10.0.2", "nvm-id-ctrl", IdentifyNvmController),
    ("spdk-26.05", "nvm-id-ctrl", IdentifyNvmController),
    ("qemu-10.0.2", "nvm-id-ns-1", IdentifyNvmNamespace),
    ("qemu-10.0.2", "nvm-id-ns-2", IdentifyNvmNamespace),
    ("qemu-10.0.2", "zns-id-ctrl", IdentifyZonedController),
    ("qemu-10.0.2", "zns-id-ns-1", IdentifyZonedNamespace),
]
# Fields of revisions that the tables do not have yet. No captured controller sets one.
LATER = {"kpiocap", "wzdsl", "ver", "lbamqf", "kpios", "maxkt", "rgrpid"}


@pytest.mark.parametrize("kind", OFFSETS)
def test_every_field_lies_where_libnvme_has_it(kind: Any) -> None:
    """Names and offsets agree with libnvme, and each structure has 4096 bytes."""
    words = OFFSETS[kind].split()
    assert kind.SIZE == len(kind().encode()) == 4096
    assert {name: row.offset for name, row in kind.ROWS.items()} == dict(
        zip(words[::2], map(int, words[1::2]), strict=True)
    )


@pytest.mark.parametrize(("controller", "name", "kind"), CAPTURES)
def test_structures_read_as_nvme_cli_reads_them(controller: str, name: str, kind: Any) -> None:
    """Every field that nvme-cli prints has the same value here, and the bytes come back."""
    data = read_bytes(controller, name)
    ours = kind.decode(data)
    theirs = read_json(controller, name)
    assert {field: theirs.pop(field, 0) for field in LATER} == dict.fromkeys(LATER, 0)
    for at, each in enumerate(theirs.pop("elbafs", [])):
        assert ExtendedFormatBits(ours.elbaf[at].value).to_dict() == each
    for at, each in enumerate(theirs.pop("lbafe", [])):
        assert ours.lbafe[at].to_dict() == each
    assert {field: getattr(ours, field) for field in theirs} == theirs
    assert ours.encode() == data


def test_extensions_of_formats_by_hand() -> None:
    """STS 6:0, PIF 8:7, QPIF 12:9; zone size in eight bytes, extension size behind it."""
    assert ExtendedFormat.decode(bytes.fromhex("a0020000")).value == 0x2A0
    assert ExtendedFormatBits(0x2A0).to_dict() == {"sts": 32, "pif": 1, "qpif": 1}
    assert ZonedFormat.decode(bytes.fromhex("0020000000000000 02") + bytes(7)) == ZonedFormat(
        zsze=8192, zdes=2
    )


@pytest.mark.parametrize("kind", OFFSETS)
def test_truncated_structures_are_refused(kind: Any) -> None:
    """One byte short is a DecodeError."""
    with pytest.raises(DecodeError):
        kind.decode(bytes(4095))
