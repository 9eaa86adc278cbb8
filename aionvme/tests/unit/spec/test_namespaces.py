"""Namespace management and attachment: the structures by offsets of other people's headers, and the commands."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.errors import DecodeError
from aionvme.spec import namespaces
from aionvme.spec.entries import Sqe
from aionvme.spec.namespaces import (
    NamespaceSpec,
    PrimaryControllerCapabilities,
    SecondaryController,
    SecondaryControllerList,
    decode_secondary_controllers,
)

# libnvme: struct nvme_ns_mgmt_host_sw_specified, field by field with what is reserved between them.
SPEC = struct.Struct("<QQ10xB2xBB61xI4xHH280xQH105xBIII256s3328x")
# Linux and libnvme: struct nvme_primary_ctrl_cap and nvme_secondary_ctrl.
PRIMARY = struct.Struct("<HHB27xIIHHHH16xIIHHHH4016x")
SECONDARY = struct.Struct("<HHB3xHHH18x")


def test_sizes() -> None:
    """Each has the size that the specification gives it."""
    assert SPEC.size == NamespaceSpec.SIZE == 4096
    assert PRIMARY.size == PrimaryControllerCapabilities.SIZE == 4096
    assert SECONDARY.size == SecondaryController.SIZE == 32
    assert SecondaryControllerList.SIZE == 4096


def test_namespace_spec() -> None:
    """Every field lies where libnvme has it, and encodes to the same bytes."""
    handles = struct.pack("<128H", *range(100, 228))
    data = SPEC.pack(1 << 40, 1 << 39, 0x51, 0x0B, 1, 2, 3, 4, (1 << 48) - 1, 5, 6, 7, 8, 9, handles)
    spec = NamespaceSpec.decode(data)
    assert (spec.nsze, spec.ncap, spec.flbas, spec.dps, spec.nmic) == (1 << 40, 1 << 39, 0x51, 0x0B, 1)
    assert (spec.anagrpid, spec.nvmsetid, spec.endgid, spec.lbstm) == (2, 3, 4, (1 << 48) - 1)
    assert (spec.nphndls, spec.znsco, spec.rar, spec.ror, spec.rnumzrwa) == (5, 6, 7, 8, 9)
    assert spec.phndl == tuple(range(100, 228))
    assert spec.encode() == data


def test_primary_controller() -> None:
    """Every field lies where Linux has it, and encodes to the same bytes."""
    data = PRIMARY.pack(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    found = PrimaryControllerCapabilities.decode(data)
    assert list(found.to_dict().values()) == list(range(1, 16))
    assert found.encode() == data


def test_secondary_controllers() -> None:
    """The list has as many entries as it says; each lies where Linux has it."""
    entries = [SECONDARY.pack(n, 1, n & 1, n + 10, n + 20, n + 30) for n in (2, 3)]
    data = (b"\x02" + bytes(31) + b"".join(entries)).ljust(4096, b"\0")
    second, third = decode_secondary_controllers(data)
    assert (second.scid, second.pcid, second.online, second.vfn, second.nvq, second.nvi) == (
        2,
        1,
        False,
        12,
        22,
        32,
    )
    assert third.online
    assert [each.encode() for each in (second, third)] == entries
    assert SecondaryControllerList.decode(data).encode() == data
    with pytest.raises(DecodeError, match="127 entries at most"):
        decode_secondary_controllers(b"\xff" * 4096)


@given(st.binary(max_size=4200))
def test_hostile_bytes(data: bytes) -> None:
    """Whatever the bytes are, they decode or raise our own error."""
    for decode in (NamespaceSpec.decode, PrimaryControllerCapabilities.decode, decode_secondary_controllers):
        try:
            decode(data)
        except DecodeError:
            assert len(data) < 4096 or data[0] > 127


def test_commands() -> None:
    """Opcodes and dwords are those of libnvme's own tests of them: SEL in dword 10, CSI in dword 11 from bit 24."""
    create = Sqe.decode(namespaces.create_namespace(csi=2))
    assert (create.opc, create.nsid, create.cdw10, create.cdw11) == (0x0D, 0, 0, 2 << 24)
    delete = Sqe.decode(namespaces.delete_namespace(5))
    assert (delete.opc, delete.nsid, delete.cdw10) == (0x0D, 5, 1)
    for action in (0, 1):
        sqe = Sqe.decode(namespaces.namespace_attachment(5, action))
        assert (sqe.opc, sqe.nsid, sqe.cdw10) == (0x15, 5, action)
