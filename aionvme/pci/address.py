"""Owns the text forms of addresses: what a user writes to say which controller is meant."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl
from uuid import UUID

import attrs

from aionvme.errors import AddressError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "IOMMU_MODES",
    "MalformedAddressError",
    "MockAddress",
    "PciAddress",
    "VfioUserAddress",
    "parse_address",
    "parse_bdf",
    "parse_size",
]

#: How a function may be opened: chosen by what the machine has, or as told.
IOMMU_MODES = ("auto", "group", "iommufd", "noiommu")

# Without noiommu, which is only known so that its refusal says why: it is no remedy for anything.
_FORMS = (
    '"0000:01:00.0" (with "?iommu=auto|group|iommufd&vf_token=UUID"), '
    '"mock:" (with "?size=1GiB&lba=4096&namespaces=2"), "vfio-user:/run/ctrl" (with "?timeout=5"), '
    'and SPDK\'s "trtype:PCIE traddr:0000:01:00.0"'
)

_HEX = "[0-9a-fA-F]"
# A domain above FFFFh is what the kernel gives to functions behind a VMD bridge.
_BDF = re.compile(rf"(?:({_HEX}{{1,8}})[:.])?({_HEX}{{1,2}})[:.]({_HEX}{{1,2}})[.]([0-7])")

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
_DECIMAL_UNITS = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_SIZE = re.compile(r"(\d+)\s*([KMGTP]?)(iB|B)?", re.IGNORECASE)


class MalformedAddressError(AddressError, UsageError):
    """What is no address, or has an option that there is not: wrong usage, which a device that is not there is not."""


@attrs.frozen
class PciAddress:
    """A function of PCI.

    Attributes:
        bdf: Domain, bus, device and function as in sysfs: "0000:01:00.0".
        iommu: One of `IOMMU_MODES`.
        vf_token: The secret that the owner of the physical function set, for a virtual function.
        subnqn, ns: As in SPDK's form; kept, not used.
    """

    bdf: str
    iommu: str = "auto"
    vf_token: UUID | None = None
    subnqn: str | None = None
    ns: int | None = None

    def __str__(self) -> str:
        options = [] if self.iommu == "auto" else [f"iommu={self.iommu}"]
        if self.vf_token is not None:
            options.append(f"vf_token={self.vf_token}")
        return self.bdf + ("?" + "&".join(options) if options else "")


def _read_only(options: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(options))


@attrs.frozen
class MockAddress:
    """A controller in software, made for the one who connects.

    Attributes:
        options: As written; the mock knows which there are.
    """

    options: Mapping[str, str] = attrs.field(factory=dict, converter=_read_only, hash=False)

    def __str__(self) -> str:
        return "mock:" + (
            "?" + "&".join(f"{key}={value}" for key, value in self.options.items()) if self.options else ""
        )


@attrs.frozen
class VfioUserAddress:
    """A controller that another process serves by vfio-user.

    Attributes:
        path: The UNIX socket, or the folder that has it under the name `cntrl`.
        subnqn, ns: As in SPDK's form; kept, not used.
        timeout: Seconds that the server has to answer a message. One that takes longer is taken for lost.
    """

    path: str
    subnqn: str | None = None
    ns: int | None = None
    timeout: float = 5.0

    def __str__(self) -> str:
        seconds = repr(self.timeout).removesuffix(".0")
        return self.name + ("" if seconds == "5" else f"?timeout={seconds}")

    @property
    def name(self) -> str:
        """The address without its options, by which the controller is known."""
        return f"vfio-user:{self.path}"


def parse_address(text: str) -> PciAddress | MockAddress | VfioUserAddress:
    """Reads an address.

    Args:
        text: One of the forms that the error message lists.

    Raises:
        MalformedAddressError: It is none of them.
        TypeError: It is not text.
    """
    if not isinstance(text, str):
        raise TypeError(f"an address is a str, not {type(text).__name__}")
    text = text.strip()
    if re.match(r"(?i)(trtype|traddr|subnqn|ns)\s*[:=]", text):
        return _parse_transport_id(text)
    scheme, colon, rest = text.partition(":")
    if colon and scheme.lower() == "mock":
        return _parse_mock(text, rest)
    if colon and scheme.lower() == "vfio-user":
        return _parse_vfio_user(text, rest)
    place, _, query = text.partition("?")
    return _pci_address(text, place, query)


def parse_bdf(text: str) -> str:
    """Reads a PCI address, with or without its domain, and gives it as sysfs writes it.

    Raises:
        MalformedAddressError: It is not a PCI address.
    """
    match = _BDF.fullmatch(text.strip())
    if match is None and re.match(r"(/dev/)?nvme\d", text.strip()):
        raise MalformedAddressError(
            f"{text!r} is the kernel's name of a drive, not an address. Run `aionvme list` to see its PCI address, "
            "and `aionvme bind` to take it from the kernel"
        )
    if match is None:
        raise _bad(text, "it is no PCI address")
    domain, bus, device, function = (int(part or "0", 16) for part in match.groups())
    if device > 0x1F:
        raise _bad(text, f"a PCI device number is at most 1f, this is {device:x}")
    return f"{domain:04x}:{bus:02x}:{device:02x}.{function:x}"


def parse_size(text: str) -> int:
    """Reads a number of bytes: "4096", "512KiB", "1GiB"; "1G" is 1 GiB and "1GB" is 10**9.

    Raises:
        AddressError: It is not one.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or ((match[3] or "").lower() == "ib" and not match[2]):
        raise AddressError(f'{text!r} is not a size: write it like "4096", "512KiB", "64MiB" or "1GiB"')
    decimal = match[2] and (match[3] or "").upper() == "B"
    return int(match[1]) * (_DECIMAL_UNITS if decimal else _UNITS)[match[2].upper()]


def _bad(text: str, why: str) -> MalformedAddressError:
    return MalformedAddressError(f"{text!r} is not an address: {why}. Accepted are {_FORMS}")


def _options(text: str, query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise _bad(text, f"{query!r} is not made of KEY=VALUE joined by &") from None
    options: dict[str, str] = {}
    for key, value in pairs:
        if key in options:
            raise _bad(text, f"{key} is given twice")
        if not value:
            raise _bad(text, f"{key} has no value")
        options[key] = value
    return options


def _parse_mock(text: str, rest: str) -> MockAddress:
    if rest and not rest.startswith("?"):
        raise _bad(text, 'after "mock:" come nothing or options')
    return MockAddress(_options(text, rest[1:]))


def _parse_vfio_user(text: str, rest: str) -> VfioUserAddress:
    path, _, query = rest.partition("?")
    if not path:
        raise _bad(text, "the path is missing")
    options = _options(text, query)
    unknown = sorted(options.keys() - {"timeout"})
    if unknown:
        raise _bad(text, f"a vfio-user server has no option {unknown[0]!r}")
    if not options:
        return VfioUserAddress(path)
    try:
        timeout = float(options["timeout"])
    except ValueError:
        timeout = 0.0
    if not 0 < timeout <= 3600:
        raise _bad(text, f"timeout is a number of seconds up to 3600, {options['timeout']!r} is none")
    return VfioUserAddress(path, timeout=timeout)


def _pci_address(text: str, place: str, query: str) -> PciAddress:
    options = _options(text, query)
    unknown = sorted(options.keys() - {"iommu", "vf_token"})
    if unknown:
        raise _bad(text, f"a PCI function has no option {unknown[0]!r}")
    iommu = options.get("iommu", "auto")
    if iommu not in IOMMU_MODES:
        raise _bad(text, f"{iommu!r} is no way to use the IOMMU")
    token = options.get("vf_token")
    try:
        vf_token = None if token is None else UUID(token)
    except ValueError:
        raise _bad(text, f"vf_token is a UUID, {token!r} is none") from None
    return PciAddress(parse_bdf(place), iommu, vf_token)


def _parse_transport_id(text: str) -> PciAddress | VfioUserAddress:
    fields: dict[str, str] = {}
    for word in text.split():
        # SPDK takes both signs, and the value may have either in it.
        match = re.fullmatch(r"([^:=]+)[:=](.+)", word)
        if match is None:
            raise _bad(text, f"{word!r} is not KEY:VALUE")
        key, value = match[1].lower(), match[2]
        if key not in ("trtype", "traddr", "subnqn", "ns") or key in fields:
            raise _bad(text, f"{key!r} is given twice" if key in fields else f"there is no key {key!r}")
        fields[key] = value
    return _from_transport_id(text, fields)


def _from_transport_id(text: str, fields: dict[str, str]) -> PciAddress | VfioUserAddress:
    trtype, traddr = fields.get("trtype", "").upper(), fields.get("traddr")
    if traddr is None:
        raise _bad(text, "traddr is missing")
    ns = fields.get("ns")
    if ns is not None and not (ns.isascii() and ns.isdigit()):
        raise _bad(text, f"ns is a number, {ns!r} is none")
    nsid = None if ns is None else int(ns)
    if trtype == "PCIE":
        return PciAddress(parse_bdf(traddr), subnqn=fields.get("subnqn"), ns=nsid)
    if trtype == "VFIOUSER":
        return VfioUserAddress(traddr, subnqn=fields.get("subnqn"), ns=nsid)
    raise _bad(text, f"trtype is PCIE or VFIOUSER, not {trtype!r}")
