"""The public names: what other people's programs import is listed here, and only grows on purpose."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import aionvme
from aionvme import errors
from tools import public_names

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


def test_the_list_is_up_to_date() -> None:
    """Whoever adds, renames or removes a public name or a parameter says so: see docs/api-policy.md."""
    committed, found = public_names.FILE.read_text().splitlines(), public_names.lines()
    differences = sorted(set(committed) ^ set(found))
    assert differences == [], "run `python -m tools.public_names --write`, and say it in CHANGELOG.md"
    assert committed == found


def test_hidden_members_are_there() -> None:
    """What the list and the reference leave out is there to be left out."""
    for path, members in public_names.OF_THE_LAYERS.items():
        owner = getattr(aionvme, path.removeprefix("aionvme."))
        assert [name for name in members if not hasattr(owner, name)] == [], path


def test_the_reference_has_each_name() -> None:
    """Every public name is in the reference; SPDK's are in the table of docs/spdk.md."""
    pages = "".join(page.read_text() for page in (REPO / "docs").glob("api*.md"))
    shown = re.findall(r"^\.\. auto\w+:: (\S+)$", pages, re.MULTILINE)
    names = [f"{name}.{each}" for name in public_names.MODULES for each in import_module(name).__all__]
    assert sorted(shown) == sorted(name for name in names if not name.startswith("aionvme.spdk."))


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
