"""Firmware, security, lockdown, directives, virtualization and LBA status: against dwords that libnvme gives.

The dwords are those of libnvme's own tests and of the shifts in its headers (1.x), such as
`cdw10 = act | rt << 8 | cntlid << 16`; opcodes are of the kernel's nvme.h.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.spec import directives, firmware, lba_status, security, virtualization
from aionvme.spec.directives import IdentifyDirectives, StreamsParameters, decode_stream_status
from aionvme.spec.errors import DecodeError
from aionvme.spec.lba_status import LbaStatus, LbaStatusDescriptor


def sqe(opcode: int, *cdws: int, nsid: int = 0) -> bytes:
    """64 bytes: opcode, NSID, and dwords from 10 on."""
    return struct.pack("<II32x", opcode, nsid) + struct.pack(f"<{len(cdws)}I", *cdws).ljust(24, b"\0")


COMMANDS: list[tuple[Callable[[], bytes], bytes]] = [
    # 4096 bytes are 1023 dwords, 0's based; offset 8192 is dword 2048.
    (lambda: firmware.firmware_download(offset=8192, nbytes=4096), sqe(0x11, 0x3FF, 0x800)),
    (lambda: firmware.firmware_commit(slot=3, action=1), sqe(0x10, 0x0000000B)),
    (lambda: firmware.firmware_commit(slot=7, action=3), sqe(0x10, 0x0000001F)),
    (lambda: firmware.firmware_commit(slot=0, action=6, boot_partition=1), sqe(0x10, 0x80000030)),
    (
        lambda: security.security_send(protocol=0xE9, specific=0x0201, nssf=0x01, nsid=0, nbytes=512),
        sqe(0x81, 0xE9020101, 512),
    ),
    (
        lambda: security.security_receive(protocol=1, specific=1, nssf=0, nsid=5, nbytes=2048),
        sqe(0x82, 0x01000100, 2048, nsid=5),
    ),
    (
        lambda: security.lockdown(scope=2, prohibit=True, interface=1, identifier=0x84, uuid_index=3),
        sqe(0x24, 0x00008432, 0, 0, 0, 3),
    ),
    (
        lambda: directives.directive_send(dtype=1, doper=2, dspec=0x1234, nsid=1, nbytes=8, cdw12=0xFFFF),
        sqe(0x19, 1, 0x12340102, 0xFFFF, nsid=1),
    ),
    (
        lambda: directives.directive_receive(dtype=0, doper=1, nsid=1, nbytes=4096),
        sqe(0x1A, 0x3FF, 1, nsid=1),
    ),
    (lambda: directives.directive_send(dtype=1, doper=1), sqe(0x19, 0, 0x101)),
    (
        lambda: virtualization.virtualization_management(action=8, cntlid=0x1234, resource=1, count=0xFF),
        sqe(0x1C, 0x12340108, 0xFF),
    ),
    (
        lambda: lba_status.get_lba_status(nsid=1, lba=0x123456789, nblocks=0x42, action=0x11, nbytes=4096),
        sqe(0x86, 0x23456789, 1, 0x3FF, 0x11000042, nsid=1),
    ),
]


@pytest.mark.parametrize(("build", "wanted"), COMMANDS)
def test_commands_are_these_bytes(build: Callable[[], bytes], wanted: bytes) -> None:
    """Each command has these 64 bytes."""
    assert build() == wanted


@pytest.mark.parametrize(
    "build",
    [
        lambda: firmware.firmware_download(offset=0, nbytes=6),
        lambda: firmware.firmware_download(offset=-4, nbytes=4),
        lambda: firmware.firmware_commit(slot=8, action=1),
        lambda: directives.directive_send(dtype=1, doper=1, nbytes=3),
        lambda: directives.directive_send(dtype=256, doper=1),
        lambda: virtualization.virtualization_management(action=1, cntlid=0, count=1 << 16),
        lambda: lba_status.get_lba_status(nsid=1, lba=0, nblocks=1 << 16, action=0x11, nbytes=16),
        lambda: lba_status.get_lba_status(nsid=1, lba=0, nblocks=1, action=0x11, nbytes=10),
    ],
)
def test_what_does_not_fit_is_refused(build: Callable[[], bytes]) -> None:
    """A value that does not fit in its field is no command."""
    with pytest.raises(ValueError, match=r"not|fit"):
        build()


def test_the_directives_page_has_libnvme_s_layout() -> None:
    """nvme_id_directives: 32 bytes supported, 32 bytes enabled; a bit for each type."""
    page = IdentifyDirectives.decode(b"\x03" + bytes(31) + b"\x01" + bytes(4063))
    assert [(page.supports(n), page.enables(n)) for n in range(3)] == [
        (True, True),
        (True, False),
        (False, False),
    ]
    assert page.encode() == b"\x03" + bytes(31) + b"\x01" + bytes(4063)
    with pytest.raises(ValueError, match="256"):
        page.supports(256)


def test_streams_parameters_have_libnvme_s_layout() -> None:
    """nvme_streams_directive_params: msl nssa nsso nssc, 9 reserved, sws sgs nsa nso, 6 reserved."""
    raw = struct.pack("<HHHB9xIHHH6x", 16, 15, 1, 1, 8, 32, 4, 2)
    decoded = StreamsParameters.decode(raw)
    assert (decoded.msl, decoded.nssa, decoded.nsso, decoded.nssc) == (16, 15, 1, 1)
    assert (decoded.sws, decoded.sgs, decoded.nsa, decoded.nso) == (8, 32, 4, 2)
    assert decoded.encode() == raw


def test_open_streams_are_listed() -> None:
    """nvme_streams_directive_status: a count, and as many identifiers; more than fit are not made up."""
    assert decode_stream_status(struct.pack("<HHH", 2, 7, 9)) == (7, 9)
    assert decode_stream_status(struct.pack("<HHH", 0xFFFF, 7, 9)) == (7, 9)
    assert decode_stream_status(b"") == ()


def test_lba_status_has_libnvme_s_layout() -> None:
    """nvme_lba_status: nlsd, cmpc, 3 reserved; 16 bytes each: dslba, nlb, 1 reserved, status, 2 reserved."""
    raw = (
        struct.pack("<IB3x", 2, 2)
        + struct.pack("<QIxB2x", 0x123456789, 0, 1)
        + struct.pack("<QIxB2x", 77, 9, 0)
    )
    status = LbaStatus.decode(raw)
    assert status.complete
    assert [(r.dslba, r.nblocks, r.status) for r in status.ranges] == [(0x123456789, 1, 1), (77, 10, 0)]
    assert b"".join(each.encode() for each in status.ranges) == raw[8:]
    assert not LbaStatus.decode(b"\0\0\0\0\x01\0\0\0").complete


def test_lba_status_that_lies_of_its_length_is_refused() -> None:
    """More descriptors than bytes: an error of ours, and nothing made up."""
    with pytest.raises(DecodeError, match="do not fit"):
        LbaStatus.decode(struct.pack("<IB3x", 3, 2) + bytes(LbaStatusDescriptor.SIZE * 2))


@given(st.binary(max_size=200))
def test_hostile_bytes_raise_nothing_but_our_own(data: bytes) -> None:
    """Whatever a device sends, decoding gives a value or `DecodeError`."""
    for decode in (
        LbaStatus.decode,
        IdentifyDirectives.decode,
        StreamsParameters.decode,
        decode_stream_status,
    ):
        try:
            decode(data)
        except DecodeError:
            continue
