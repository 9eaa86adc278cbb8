"""What is done to the media as a whole: format, sanitize and self-test (NVMe Base 2.0, 5.14, 5.24 and 5.9)."""

from __future__ import annotations

from enum import IntEnum, unique

from aionvme.spec.bits import Bits, bits
from aionvme.spec.entries import Sqe
from aionvme.spec.opcodes import AdminOpcode

# -- format --------------------------------------------------------------------------------------------------


@unique
class SecureErase(IntEnum):
    """SES: what a format does with the user data (NVMe Base 2.0, 5.14)."""

    NONE = 0
    USER_DATA = 1
    CRYPTOGRAPHIC = 2


class FormatCdw10(Bits, width=32):
    """Format NVM, command dword 10 (NVMe Base 2.0, 5.14)."""

    lbafl = bits(0, 4, "LBA format, bits 3:0")
    mset = bits(4, 1, "Metadata follows each block's data; else it has a buffer of its own")
    pi = bits(5, 3, "Type of protection information, 0 for none")
    pil = bits(8, 1, "Protection information is the first bytes of metadata; else the last")
    ses = bits(9, 3, "Secure erase: `SecureErase`")
    lbafu = bits(12, 2, "LBA format, bits 5:4")


def format_nvm(nsid: int, *, lbaf: int, ses: int = 0, pi: int = 0, pil: bool = False, mset: bool = False) -> bytes:
    """Format NVM (NVMe Base 2.0, 5.14)."""
    if not 0 <= lbaf < 64:
        raise ValueError(f"lbaf {lbaf}: does not fit in 6 bits")
    dword = FormatCdw10(lbafl=lbaf & 0xF, lbafu=lbaf >> 4, mset=int(mset), pi=pi, pil=int(pil), ses=ses)
    return Sqe(opc=AdminOpcode.FORMAT_NVM, nsid=nsid, cdw10=dword.value).encode()


# -- sanitize ------------------------------------------------------------------------------------------------


@unique
class SanitizeAction(IntEnum):
    """SANACT: which sanitize operation is begun, or how a failed one is left (NVMe Base 2.0, 5.24)."""

    EXIT_FAILURE = 1
    BLOCK_ERASE = 2
    OVERWRITE = 3
    CRYPTO_ERASE = 4
    EXIT_MEDIA_VERIFICATION = 5
    """After Base 2.0."""


class SanitizeCdw10(Bits, width=32):
    """Sanitize, command dword 10 (NVMe Base 2.0, 5.24)."""

    sanact = bits(0, 3, "Action: `SanitizeAction`")
    ause = bits(3, 1, "A failure may be left without another sanitize operation")
    owpass = bits(4, 4, "Passes of an overwrite, 0 for 16")
    oipbp = bits(8, 1, "The overwrite's pattern is inverted between passes")
    ndas = bits(9, 1, "Blocks are not deallocated afterwards")
    emvs = bits(10, 1, "Media verification is entered afterwards (after Base 2.0)")


class Sanicap(Bits, width=32):
    """Sanitize capabilities of Identify Controller (NVMe Base 2.0, 5.17.2.1)."""

    ces = bits(0, 1, "Crypto erase")
    bes = bits(1, 1, "Block erase")
    ows = bits(2, 1, "Overwrite")
    vers = bits(3, 1, "Media verification (after Base 2.0)")
    ndi = bits(29, 1, "NDAS is not supported")
    nodmmas = bits(30, 2, "Media is modified after a sanitize operation with NDAS: 1 no, 2 yes")


def sanitize(
    action: int,
    *,
    ause: bool = False,
    owpass: int = 0,
    oipbp: bool = False,
    ndas: bool = False,
    emvs: bool = False,
    ovrpat: int = 0,
) -> bytes:
    """Sanitize (NVMe Base 2.0, 5.24); dword 11 is the overwrite's pattern."""
    dword = SanitizeCdw10(
        sanact=action, ause=int(ause), owpass=owpass, oipbp=int(oipbp), ndas=int(ndas), emvs=int(emvs)
    )
    return Sqe(opc=AdminOpcode.SANITIZE, cdw10=dword.value, cdw11=ovrpat).encode()


# -- device self-test ----------------------------------------------------------------------------------------


@unique
class SelfTestCode(IntEnum):
    """STC: which self-test is begun, or that the one under way is aborted (NVMe Base 2.0, 5.9)."""

    SHORT = 0x1
    EXTENDED = 0x2
    VENDOR = 0xE
    ABORT = 0xF


class SelfTestCdw10(Bits, width=32):
    """Device Self-test, command dword 10 (NVMe Base 2.0, 5.9)."""

    stc = bits(0, 4, "Self-test code: `SelfTestCode`")


class Dsto(Bits, width=8):
    """Device self-test options of Identify Controller (NVMe Base 2.0, 5.17.2.1)."""

    one = bits(0, 1, "One self-test at a time in the whole NVM subsystem; else one for each controller")


def device_self_test(code: int, *, nsid: int) -> bytes:
    """Device Self-test (NVMe Base 2.0, 5.9).

    Args:
        code: A `SelfTestCode`.
        nsid: A namespace; 0 for the controller without any, FFFFFFFFh for all that are active.
    """
    return Sqe(opc=AdminOpcode.DEVICE_SELF_TEST, nsid=nsid, cdw10=SelfTestCdw10(stc=code).value).encode()
