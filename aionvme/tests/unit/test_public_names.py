"""The public names: what other people's programs import is listed here, and only grows on purpose."""

from __future__ import annotations

import re
from pathlib import Path

import aionvme
from aionvme import errors

REPO = Path(__file__).parents[3]
EXCEPTIONS = {
    "AddressError",
    "CommandSpecificError",
    "CommandTimeoutError",
    "ControllerFailedError",
    "ControllerLostError",
    "ControllerResetError",
    "DecodeError",
    "GenericStatusError",
    "MediaError",
    "NvmeError",
    "OperationFailedError",
    "PathError",
    "QueueFullError",
    "StatusError",
    "UsageError",
    "VendorStatusError",
    "WrongLoopError",
}
NAMES = {
    "AcquireAction",
    "ArbMechanism",
    "AsyncEvent",
    "BatchResult",
    "BorrowedController",
    "CommitAction",
    "Completion",
    "Controller",
    "ControllerOptions",
    "Cptpl",
    "DirectiveType",
    "DmaBuffer",
    "DmaRegistration",
    "ErrorEvent",
    "EventMask",
    "EventStream",
    "EventType",
    "FeatureCapabilities",
    "FeatureId",
    "FeatureSelect",
    "FeatureValue",
    "FirmwareCommitted",
    "Hotplug",
    "HotplugEvent",
    "IdentifyController",
    "IdentifyNamespace",
    "ImmediateEvent",
    "IoCommandEvent",
    "IoFlags",
    "IoQueuePair",
    "LbaStatus",
    "LbaStatusAction",
    "Lender",
    "LockdownInterface",
    "LockdownScope",
    "Namespace",
    "NamespaceSpec",
    "NoticeEvent",
    "OneShotEvent",
    "Operation",
    "PciDevice",
    "Progress",
    "QPrio",
    "RegisterAction",
    "ReleaseAction",
    "Request",
    "ReservationStatus",
    "ReservationType",
    "ResetNeeded",
    "SanitizeAction",
    "SecureErase",
    "SelfTestCode",
    "SglCallbacks",
    "SmartEvent",
    "Status",
    "StatusCode",
    "StatusCodeType",
    "Vendor",
    "VendorFeature",
    "VendorLogPage",
    "VirtualResource",
    "VirtualizationAction",
    "borrow",
    "connect",
    "detach",
    "discover",
    "hotplug",
    "lend",
    "probe",
    "register_vendor",
    "run",
}


def test_the_names_are_those_listed() -> None:
    """A new name needs a line here, and one in the changelog."""
    assert set(aionvme.__all__) == NAMES | EXCEPTIONS
    assert len(aionvme.__all__) == len(set(aionvme.__all__))


def test_each_name_is_there() -> None:
    """What is listed can be had."""
    assert [name for name in aionvme.__all__ if not hasattr(aionvme, name)] == []


def test_every_exception_is_public() -> None:
    """Whatever the driver raises can be caught by a public name."""
    assert set(errors.__all__) == EXCEPTIONS
    assert all(getattr(aionvme, name) is getattr(errors, name) for name in EXCEPTIONS)


def test_each_name_is_documented() -> None:
    """Every public name has a docstring of its own."""
    named = {name: getattr(aionvme, name) for name in aionvme.__all__}
    # A class would show that of its base.
    told = {
        name: vars(it).get("__doc__") if isinstance(it, type) else it.__doc__ for name, it in named.items()
    }
    assert [name for name, text in told.items() if not text] == []


def test_the_changelog_has_each_name() -> None:
    """Each public name is in the changelog."""
    words = set(re.findall(r"\w+", (REPO / "CHANGELOG.md").read_text()))
    assert (NAMES | EXCEPTIONS) - words == set()
