"""Owns what is known of vendors' own log pages and features, by PCI vendor: a registry that everybody may add to.

A vendor's entry is declarative. It says whose controllers it is for, and lists pages and features; what reads and sets
them asks `Registry.of` for a controller, and needs no change for one vendor more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from aionvme.spec.errors import DecodeError
from aionvme.spec.identify import IdentifyController

__all__ = ["REGISTRY", "Extensions", "Registry", "Vendor", "VendorFeature", "VendorLogPage"]

logger = logging.getLogger("aionvme")

#: Vendor specific log pages and features (NVMe Base 2.0, 5.16.1 and 5.27.1) are from this number on.
FIRST_VENDOR_NUMBER = 0xC0

# Identify Controller, and what the vendor's directory page decodes to; None where it could not be read.
Supported = Callable[[IdentifyController, Any], bool]


def _always(_data: IdentifyController, _directory: Any) -> bool:
    return True


def _every(_data: IdentifyController) -> bool:
    return True


def _vendor_number(_instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    if not FIRST_VENDOR_NUMBER <= value <= 0xFF:
        raise ValueError(f"{attribute.name} of a vendor must be from C0h to FFh, not {value:#04x}")


def _size(_instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 0 or value % 4:
        raise ValueError(f"{attribute.name} must be a multiple of 4, or 0 for not known, not {value}")


@attrs.frozen(kw_only=True)
class VendorLogPage:
    """One log page of a vendor.

    Attributes:
        lid: Log page identifier, C0h to FFh.
        name: For people to read.
        size: Bytes of the page, a multiple of 4; 0 where it is not known: then `get_log_page` has to be told.
        decode: From the page's bytes to a value.
        supported: Whether a controller has it: of Identify Controller, and of the vendor's decoded directory page.
    """

    lid: int = attrs.field(validator=_vendor_number)
    name: str
    size: int = attrs.field(default=0, validator=_size)
    decode: Callable[[bytes], Any] = bytes
    supported: Supported = _always


@attrs.frozen(kw_only=True)
class VendorFeature:
    """One feature of a vendor.

    Attributes:
        fid: Feature identifier, C0h to FFh.
        name: For people to read.
        nbytes: Bytes of the feature's data buffer, 0 where it has none.
        decode: From completion dword 0 and the data to a value; None where dword 0 says it all.
        encode: From a value to command dword 11 and the data, None where there is none; None for a feature that is
            not set by value.
        readable: Get Features takes it.
        writable: Set Features takes it.
        supported: Whether a controller has it: of Identify Controller, and of the vendor's decoded directory page.
    """

    fid: int = attrs.field(validator=_vendor_number)
    name: str
    nbytes: int = attrs.field(default=0, validator=_size)
    decode: Callable[[int, bytes], Any] | None = None
    encode: Callable[[Any], tuple[int, bytes | None]] | None = None
    readable: bool = True
    writable: bool = True
    supported: Supported = _always


def _distinct(_instance: object, attribute: attrs.Attribute[Any], value: tuple[Any, ...]) -> None:
    numbers = [item.lid if isinstance(item, VendorLogPage) else item.fid for item in value]
    for number in numbers:
        if numbers.count(number) > 1:
            raise ValueError(f"{attribute.name}: {number:#04x} is listed twice")


def _pages(given: Iterable[VendorLogPage]) -> tuple[VendorLogPage, ...]:
    return tuple(given)


def _features(given: Iterable[VendorFeature]) -> tuple[VendorFeature, ...]:
    return tuple(given)


@attrs.frozen(kw_only=True)
class Vendor:
    """What is known of a vendor's controllers.

    Attributes:
        name: Of the entry; there is one of a name.
        vid: PCI vendor identifier, as Identify Controller gives it (VID).
        matches: Which of that vendor's controllers the entry is for, of Identify Controller; by default all.
        log_pages: Its log pages.
        features: Its features.
        directory: Identifier of one of its log pages that says which others there are: it is read when the
            controller is brought up, and given to `supported`. None for no such page.
    """

    name: str
    vid: int
    matches: Callable[[IdentifyController], bool] = _every
    log_pages: tuple[VendorLogPage, ...] = attrs.field(default=(), converter=_pages, validator=_distinct)
    features: tuple[VendorFeature, ...] = attrs.field(default=(), converter=_features, validator=_distinct)
    directory: int | None = None

    def __attrs_post_init__(self) -> None:
        if not self.name:
            raise ValueError("name must not be empty")
        if not 0 <= self.vid <= 0xFFFF:
            raise ValueError(f"vid must be a PCI vendor identifier of 16 bits, not {self.vid}")
        if self.directory is not None and self.log_page(self.directory) is None:
            raise ValueError(f"directory {self.directory:#04x} must be one of log_pages")
        if self.directory is not None and not self.directory_page.size:
            raise ValueError(f"directory {self.directory:#04x} must have a size")

    def log_page(self, lid: int) -> VendorLogPage | None:
        """Its log page of that identifier."""
        return next((page for page in self.log_pages if page.lid == lid), None)

    @property
    def directory_page(self) -> VendorLogPage:
        """The log page that `directory` names."""
        page = None if self.directory is None else self.log_page(self.directory)
        if page is None:
            raise ValueError(f"{self.name} has no directory page")
        return page


@attrs.frozen
class Extensions:
    """What the vendors know of one controller.

    Attributes:
        log_pages: Its vendor specific log pages by identifier.
        features: Its vendor specific features by identifier.
    """

    log_pages: Mapping[int, VendorLogPage] = attrs.field(factory=dict)
    features: Mapping[int, VendorFeature] = attrs.field(factory=dict)


class Registry:
    """The vendors' entries, in the order in which they were registered."""

    def __init__(self) -> None:
        self._vendors: dict[str, Vendor] = {}

    def register(self, vendor: Vendor) -> None:
        """Adds an entry. The same entry again changes nothing.

        Raises:
            TypeError: It is no `Vendor`.
            ValueError: There is another entry of its name.
        """
        if not isinstance(vendor, Vendor):
            raise TypeError(f"a vendor's entry is a Vendor, not {type(vendor).__name__}")
        if self._vendors.setdefault(vendor.name, vendor) != vendor:
            raise ValueError(
                f"name: there is a vendor's entry {vendor.name!r} already, and it says otherwise"
            )

    def unregister(self, name: str) -> None:
        """Takes an entry out.

        Raises:
            KeyError: There is none of that name.
        """
        del self._vendors[name]

    def __iter__(self) -> Iterator[Vendor]:
        return iter(list(self._vendors.values()))

    def of(self, data: IdentifyController) -> list[Vendor]:
        """The entries for a controller. An entry that fails at the question is reported, and not for it."""
        return [vendor for vendor in self if vendor.vid == data.vid and _matches(vendor, data)]


def _matches(vendor: Vendor, data: IdentifyController) -> bool:
    try:
        return bool(vendor.matches(data))
    except Exception as error:
        logger.warning("vendor %s: matches failed: %r", vendor.name, error)
        return False


def extensions(
    vendors: list[Vendor],
    data: IdentifyController,
    directories: Mapping[str, Any],
    *,
    listed: Callable[[int], bool] | None = None,
) -> Extensions:
    """What the vendors say that a controller has. Of two that know the same number, the later counts.

    Args:
        vendors: As `Registry.of` gave them.
        data: Identify Controller.
        directories: Decoded directory pages by the vendor's name; without those that could not be read.
        listed: Whether the controller's own list of its log pages has a number; None where it has no such list. It
            counts for more than `supported`.
    """
    log_pages: dict[int, VendorLogPage] = {}
    features: dict[int, VendorFeature] = {}
    for vendor in vendors:
        directory = directories.get(vendor.name)
        log_pages |= {
            page.lid: page
            for page in vendor.log_pages
            if (_has(vendor, page, data, directory) if listed is None else listed(page.lid))
        }
        features |= {item.fid: item for item in vendor.features if _has(vendor, item, data, directory)}
    return Extensions(log_pages, features)


def _has(
    vendor: Vendor, item: VendorLogPage | VendorFeature, data: IdentifyController, directory: Any
) -> bool:
    try:
        return bool(item.supported(data, directory))
    except Exception as error:
        logger.warning("vendor %s: supported of %s failed: %r", vendor.name, item.name, error)
        return False


def decode_page(page: VendorLogPage, data: bytes) -> Any:
    """A vendor's page decoded; whatever its decoder raises is a `DecodeError`."""
    return _guarded(page.name, page.decode, data)


def decode_feature(feature: VendorFeature, dw0: int, data: bytes) -> Any:
    """A vendor's feature decoded; whatever its decoder raises is a `DecodeError`. Without a decoder, dword 0."""
    if feature.decode is None:
        return dw0
    return _guarded(feature.name, feature.decode, dw0, data)


def _guarded(name: str, decode: Callable[..., Any], *args: Any) -> Any:
    try:
        return decode(*args)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(f"{name}: its decoder failed: {error!r}") from error


#: The entries of this process: those of this package, of plug-ins, and of whoever calls `aionvme.register_vendor`.
REGISTRY = Registry()
