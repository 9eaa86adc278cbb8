"""Log pages, against bytes written by hand from the specification's layouts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.spec.errors import DecodeError
from aionvme.spec.logs import CommandEffects, CommandsSupportedAndEffects, LidSupport, SupportedLogPages
from aionvme.spec.opcodes import AdminOpcode, LogPageId, NvmOpcode


def test_layouts_are_those_of_other_headers() -> None:
    """256 and twice 256 dwords, as in Linux' nvme_supported_log and nvme_effects_log."""
    assert (SupportedLogPages.SIZE, CommandsSupportedAndEffects.SIZE) == (1024, 4096)
    assert {name: (row.offset, row.size) for name, row in CommandsSupportedAndEffects.ROWS.items()} == {
        "acs": (0, 1024),
        "iocs": (1024, 1024),
    }


def test_supported_log_pages_by_hand() -> None:
    """Four bytes for each identifier: bit 0 supported, bit 1 index offset, the upper half specific."""
    page = bytearray(1024)
    page[0:4] = bytes.fromhex("01000000")
    page[0x0D * 4 : 0x0D * 4 + 4] = bytes.fromhex("01000102")
    page[0xFF * 4 : 0xFF * 4 + 4] = bytes.fromhex("02000000")
    decoded = SupportedLogPages.decode(page)
    assert [lid for lid in range(256) if decoded.supports(lid)] == [0, LogPageId.PERSISTENT_EVENTS]
    assert decoded.of(0x0D) == LidSupport(lsupp=1, lidsp=0x0201)
    assert decoded.of(0xFF) == LidSupport(ios=1)
    assert decoded.encode() == bytes(page)


def test_effects_by_hand() -> None:
    """Admin commands from byte 0 and I/O commands from byte 1024, four bytes for each opcode."""
    page = bytearray(4096)
    page[0x80 * 4 : 0x80 * 4 + 4] = bytes.fromhex("07000200")
    page[1024 + 4 : 1024 + 8] = bytes.fromhex("03000000")
    page[1024 + 8 : 1024 + 12] = bytes.fromhex("01000800")
    effects = CommandsSupportedAndEffects.decode(page)
    assert [opcode for opcode in range(256) if effects.supports_admin(opcode)] == [AdminOpcode.FORMAT_NVM]
    assert [opcode for opcode in range(256) if effects.supports_io(opcode)] == [
        NvmOpcode.WRITE,
        NvmOpcode.READ,
    ]
    assert effects.admin(AdminOpcode.FORMAT_NVM) == CommandEffects(csupp=1, lbcc=1, ncc=1, cse=2)
    assert effects.io(NvmOpcode.WRITE) == CommandEffects(csupp=1, lbcc=1)
    assert effects.io(NvmOpcode.READ) == CommandEffects(csupp=1, uss=1)
    assert effects.encode() == bytes(page)


def test_effects_have_the_bits_of_linux() -> None:
    """NVME_CMD_EFFECTS_* of Linux have these masks."""
    assert {name: field.mask << field.low for name, field in CommandEffects.FIELDS.items()} == {
        "csupp": 1 << 0,
        "lbcc": 1 << 1,
        "ncc": 1 << 2,
        "nic": 1 << 3,
        "ccc": 1 << 4,
        "cser": 0xC000,
        "cse": 0x7_0000,
        "uss": 1 << 19,
        "csp": 0xFFF0_0000,
    }


@pytest.mark.parametrize("number", [-1, 256])
def test_numbers_outside_of_a_byte_are_refused(number: int) -> None:
    """A negative opcode is not counted from the end."""
    effects, pages = CommandsSupportedAndEffects(), SupportedLogPages()
    for ask in (effects.supports_admin, effects.supports_io, pages.supports):
        with pytest.raises(ValueError, match="fit"):
            ask(number)


@pytest.mark.parametrize("kind", [SupportedLogPages, CommandsSupportedAndEffects])
def test_truncated_pages_are_refused(kind: Any) -> None:
    """One byte short is a DecodeError."""
    with pytest.raises(DecodeError):
        kind.decode(bytes(kind.SIZE - 1))


@given(st.binary(min_size=1024, max_size=1024))
def test_any_page_comes_back(data: bytes) -> None:
    """Supported log pages have no byte that the table does not cover."""
    assert SupportedLogPages.decode(data).encode() == data
