"""Format, sanitize and self-test: their dwords, by the shifts that libnvme has for them."""

from __future__ import annotations

import pytest

from aionvme.spec import media
from aionvme.spec.entries import Sqe


def test_format() -> None:
    """LBAFL 3:0, MSET 4, PI 7:5, PIL 8, SES 11:9, LBAFU 13:12."""
    sqe = Sqe.decode(media.format_nvm(7, lbaf=0x2B, ses=2, pi=3, pil=True, mset=True))
    assert (sqe.opc, sqe.nsid) == (0x80, 7)
    assert sqe.cdw10 == 0xB | 1 << 4 | 3 << 5 | 1 << 8 | 2 << 9 | 2 << 12
    assert Sqe.decode(media.format_nvm(7, lbaf=0)).cdw10 == 0
    for lbaf in (-1, 64):
        with pytest.raises(ValueError, match="6 bits"):
            media.format_nvm(1, lbaf=lbaf)


def test_sanitize() -> None:
    """As libnvme's test of it: crypto erase, AUSE, two passes, NDAS, and the pattern in dword 11."""
    sqe = Sqe.decode(media.sanitize(4, ause=True, owpass=2, ndas=True, ovrpat=0x101010))
    assert (sqe.opc, sqe.cdw10, sqe.cdw11) == (0x84, 4 | 1 << 3 | 2 << 4 | 1 << 9, 0x101010)
    sqe = Sqe.decode(media.sanitize(3, oipbp=True, emvs=True))
    assert sqe.cdw10 == 3 | 1 << 8 | 1 << 10


def test_self_test() -> None:
    """The code is in dword 10; abort is Fh."""
    sqe = Sqe.decode(media.device_self_test(media.SelfTestCode.ABORT, nsid=3))
    assert (sqe.opc, sqe.nsid, sqe.cdw10) == (0x14, 3, 0xF)


def test_capabilities() -> None:
    """Bits of SANICAP as SPDK and libnvme have them."""
    sanicap = media.Sanicap(1 << 0 | 1 << 2 | 1 << 29 | 2 << 30)
    assert (sanicap.ces, sanicap.bes, sanicap.ows, sanicap.ndi, sanicap.nodmmas) == (1, 0, 1, 1, 2)
    assert media.Dsto(1).one
