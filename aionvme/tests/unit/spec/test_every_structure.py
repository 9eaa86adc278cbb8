"""Every structure of `aionvme.spec`, found by itself: read from bytes of others, and from bytes of nobody's.

A structure that is added without bytes that this package did not make fails here, and so does a decoder that lets
anything out but `DecodeError`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import random
import string
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aionvme.spec
from aionvme.admin import identify as identify_commands
from aionvme.spec import (
    directives,
    entries,
    features_data,
    identify,
    identify_sets,
    lba_status,
    namespaces,
    nvm,
    reservation,
)
from aionvme.spec.bits import Bits
from aionvme.spec.errors import DecodeError
from aionvme.spec.features import FEATURES
from aionvme.spec.intel_features import INTEL_FEATURES
from aionvme.spec.listing import Listing
from aionvme.spec.logs import LOG_PAGES, support
from aionvme.spec.structure import Structure
from aionvme.tests.unit.spec.golden import CONTROLLERS, read_bytes
from aionvme.tests.unit.spec.test_log_layouts import LAYOUTS
from aionvme.tests.unit.spec.test_logs import ana, persistent
from aionvme.tests.unit.spec.test_logs import lba_status as lba_status_log

# How many times as many examples as in CI.
MORE = int(os.environ.get("AIONVME_FUZZ", "1"))
MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(aionvme.spec.__path__, "aionvme.spec.")
]


def _own(base: type) -> list[Any]:
    """Every class of the package with that base, which has bytes."""
    return [
        value
        for module in MODULES
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
        if value is not base and getattr(value, "SIZE", None) != 0
    ]


STRUCTURES = _own(Structure)
LISTINGS = _own(Listing)
FUNCTIONS = [
    value
    for module in MODULES
    for name, value in vars(module).items()
    if inspect.isfunction(value) and name.startswith("decode_") and value.__module__ == module.__name__
]
# They take a table's entry before the bytes: see the tests of vendors, and of log pages' layouts.
OF_VENDORS = {"decode_page", "decode_feature"}


def decode(kind: Any, raw: bytes) -> Any:
    """A structure of all of its bytes: FDP events have as many as dword 0 says."""
    return kind.from_get(0xFF, raw) if kind is features_data.FdpEvents else kind.decode(raw)


def name_of(value: Any) -> str:
    return str(getattr(value, "__name__", ""))


# -- bytes of others -----------------------------------------------------------------------------------------

# Sizes of the members in order as libnvme's structures have them (entries of queues as SPDK's, the directives' page as
# QEMU's), in brackets what is reserved or came after the revision of the table.
LAYOUTS_BESIDE_LOGS: list[tuple[type[Structure], str]] = [
    (directives.IdentifyDirectives, "32 32 32 [4000]"),
    (directives.StreamsParameters, "2 2 2 1 [9] 4 2 2 2 [6]"),
    (entries.Sqe, "1 1 2 4 4 4 8 8 8 4 4 4 4 4 4"),
    (entries.Cqe, "4 4 2 2 2 2"),
    (entries.SglDescriptor, "8 4 3 1"),
    (features_data.LbaRange, "1 1 [14] 8 8 16 [16]"),
    (features_data.LbaRangeType, "4096"),
    (features_data.AutonomousPowerStateTransition, "256"),
    (features_data.HostMemoryBuffer, "4 4 4 4 [4080]"),
    (features_data.HostMemoryDescriptor, "8 4 [4]"),
    (features_data.Timestamp, "6 1 [1]"),
    (features_data.PredictableLatencyModeConfig, "2 [30] 8 8 8 [456]"),
    (features_data.HostBehaviorSupport, "1 1 1 1 2 506"),
    (features_data.HostIdentifier, "16"),
    (features_data.FdpEventType, "1 1"),
    (features_data.FdpEvents, "510"),
    (features_data.EnhancedControllerMetadata, "1 [1] 4094"),
    (features_data.ControllerMetadata, "1 [1] 4094"),
    (features_data.NamespaceMetadata, "1 [1] 4094"),
    (identify.LbaFormat, "2 1 1"),
    (identify.PowerState, "2 [1] 1 4 4 1 1 1 1 2 1 [1] 2 1 1 1 1 1 1 [4]"),
    (identify_sets.ExtendedFormat, "4"),
    (identify_sets.ZonedFormat, "8 1 [7]"),
    (lba_status.LbaStatusHead, "4 1 [3]"),
    (lba_status.LbaStatusDescriptor, "8 4 [1] 1 [2]"),
    (support.SupportedLogPages, "1024"),
    (support.CommandsSupportedAndEffects, "1024 1024 [2048]"),
    (namespaces.NamespaceSpec, "8 8 [10] 1 [2] 1 1 [61] 4 [4] 2 2 [280] 8 2 [105] 1 4 4 4 256 [3328]"),
    (namespaces.PrimaryControllerCapabilities, "2 2 1 [27] 4 4 2 2 2 2 [16] 4 4 2 2 2 2 [4016]"),
    (namespaces.SecondaryController, "2 2 1 [3] 2 2 2 [18]"),
    (namespaces.SecondaryControllerList, "1 [31] 4064"),
    (nvm.DsmRange, "4 4 8"),
    (nvm.CopyRange0, "[8] 8 2 [6] 4 2 2"),
    (nvm.CopyRange1, "[8] 8 2 [8] 10 2 2"),
    (nvm.CopyRange2, "4 [4] 8 2 [4] 2 4 2 2"),
    (nvm.CopyRange3, "4 [4] 8 2 [4] 2 [2] 10 2 2"),
    (reservation.RegisterKeys, "8 8"),
    (reservation.AcquireKeys, "8 8"),
    (reservation.ReleaseKey, "8"),
    (reservation.ReservationHeader, "4 1 2 [2] 1 [14]"),
    (reservation.RegisteredController, "2 1 [5] 8 8"),
    (reservation.RegisteredControllerExtended, "2 1 [5] 8 16 [32]"),
]
# Of these the bytes are captured; where their fields are, the tests of identify hold against other headers.
CAPTURED: list[tuple[Any, str, str]] = [
    *((identify.IdentifyController, controller, "id-ctrl") for controller in CONTROLLERS),
    *(
        (identify.IdentifyNamespace, controller, f"id-ns-{nsid}")
        for controller in CONTROLLERS
        for nsid in (1, 2)
    ),
    (identify_sets.IdentifyIndependentNamespace, "qemu-10.0.2", "cmdset-ind-id-ns-1"),
    *((identify_sets.IdentifyNvmController, controller, "nvm-id-ctrl") for controller in CONTROLLERS),
    (identify_sets.IdentifyNvmNamespace, "qemu-10.0.2", "nvm-id-ns-2"),
    (identify_sets.IdentifyZonedController, "qemu-10.0.2", "zns-id-ctrl"),
    (identify_sets.IdentifyZonedNamespace, "qemu-10.0.2", "zns-id-ns-1"),
]
ALL_LAYOUTS = LAYOUTS + LAYOUTS_BESIDE_LOGS
BIG_ENDIAN = {(nvm.CopyRange1, "elbt"), (nvm.CopyRange3, "elbt")}


def mask(kind: type[Structure]) -> bytes:
    """FFh where a structure, or one within it, has a field."""
    out = bytearray(kind.SIZE)
    for row in kind.ROWS.values():
        parts = row.default if isinstance(row.default, tuple) else (row.default,)
        nested = b"".join(mask(type(part)) for part in parts if isinstance(part, Structure))
        out[row.offset : row.end] = nested or b"\xff" * row.size
    return bytes(out)


def masked(raw: bytes, by: bytes) -> bytes:
    return bytes(one & other for one, other in zip(raw, by, strict=True))


def letters(kind: type[Structure], text: str) -> tuple[bytes, list[bytes]]:
    """Bytes of a layout, all of them letters, with zeros where it is reserved; and those of each member."""
    chance = random.Random(name_of(kind))
    raw, parts = b"", []
    for word in text.split():
        part = "".join(chance.choices(string.ascii_letters, k=int(word.strip("[]")))).encode()
        # What is reserved within a member is asked of the member's own structure.
        part = masked(part, mask(kind)[len(raw) : len(raw) + len(part)])
        raw += part
        parts += [] if word.startswith("[") else [part]
    return raw, parts


def reading(value: Any, raw: bytes, order: Any) -> Any:
    """What other people would read in a member, in the form that the field has here."""
    if isinstance(value, int):
        return int.from_bytes(raw, order)
    if isinstance(value, str):
        return raw.decode("ascii")
    if isinstance(value, tuple):
        size = len(raw) // len(value)
        parts = [raw[at : at + size] for at in range(0, len(raw), size)]
        return tuple(reading(one, part, order) for one, part in zip(value, parts, strict=True))
    return type(value).decode(raw) if isinstance(value, Structure) else raw


@pytest.mark.parametrize(("kind", "text"), ALL_LAYOUTS, ids=name_of)
def test_bytes_of_another_layout(kind: Any, text: str) -> None:
    """Each member that other people's header has is a field with that value, and the same bytes come back."""
    raw, parts = letters(kind, text)
    assert len(raw) == kind.SIZE
    value = decode(kind, raw)
    assert len(parts) == len(kind.ROWS)
    for (name, row), part in zip(kind.ROWS.items(), parts, strict=True):
        field = getattr(value, name)
        assert field == reading(field, part, "big" if (kind, name) in BIG_ENDIAN else "little"), name
        assert field != row.default
    assert value.encode() == raw


@pytest.mark.parametrize(("kind", "controller", "name"), CAPTURED)
def test_captured_bytes(kind: Any, controller: str, name: str) -> None:
    """What another controller gave is not all zeros to us, where it is not, and comes back."""
    raw = read_bytes(controller, name)
    value = kind.decode(raw)
    assert value.encode() == raw
    assert (value == kind()) == (not any(masked(raw, mask(kind))))


def test_no_structure_without_bytes_of_others() -> None:
    """Every structure of the package is in a list above; there is none that has to be left out."""
    read = {kind for kind, _ in ALL_LAYOUTS} | {kind for kind, _, _ in CAPTURED}
    assert {name_of(kind) for kind in STRUCTURES if kind not in read} == set()
    assert len(read) > 80


# A page of each kind that tells its own length: captured, or packed by hand in the tests of log pages.
PAGES: dict[str, bytes] = {
    "ErrorLog": read_bytes("qemu-10.0.2", "error-log"),
    "FdpConfigurations": read_bytes("qemu-10.0.2", "fdp-configs"),
    "FdpConfiguration": read_bytes("qemu-10.0.2", "fdp-configs")[16:],
    "FdpHandleUsage": read_bytes("qemu-10.0.2", "fdp-usage"),
    "FdpEvents": struct.pack("<I60xBBHQI16sHB5x24s", 1, 1, 7, 3, 99, 1, b"specific", 4, 5, b"vendor"),
    "AnaLog": ana(),
    "AnaGroup": ana()[16:60],
    "LbaStatusLog": lba_status_log(),
    "NamespaceLbaStatus": lba_status_log()[16:64],
    "ChangedNamespaces": struct.pack("<II", 1, 7).ljust(4096, b"\0"),
    "EventAggregate": struct.pack("<QHHH", 3, 5, 1, 9),
    "BootPartition": struct.pack("<B3xI8x", 0x15, 1 | 1 << 31).ljust(16 + (128 << 10), b"b"),
    "PersistentEventLog": persistent(),
    "PersistentEvent": struct.pack("<BBBBHQH4xHH", 13, 1, 21, 2, 7, 123456, 1, 0, 2) + b"\4\2",
    "PowerOnResetEvent": b"1.0     " + struct.pack("<HBB12xIQQ", 1, 1, 2, 3, 4, 5),
    "HardwareErrorEvent": struct.pack("<HH", 8, 0) + b"more",
    "SetFeatureEvent": struct.pack("<IIIII", 2 | 1 << 3 | 4 << 16, 0x0E, 7, 0x11223344, 99),
}


@pytest.mark.parametrize("kind", LISTINGS, ids=name_of)
def test_lists_of_others(kind: Any) -> None:
    """Every kind of list has bytes of others, which come back; without their last byte they are refused."""
    raw = PAGES[name_of(kind)]
    value = kind.decode(raw)
    assert value.encode() == raw
    assert value.to_dict()
    # Lists of what is equally long, and data that goes on to the end, are as long as their bytes.
    if name_of(kind) not in {"ErrorLog", "HardwareErrorEvent", "SetFeatureEvent"}:
        with pytest.raises(DecodeError):
            kind.decode(raw[:-1])


# -- bytes of nobody's ---------------------------------------------------------------------------------------


def hostile(most: int) -> st.SearchStrategy[bytes]:
    """Random, all ones, zeros, and small numbers, so that lists are gone into; of any length."""
    return st.one_of(
        st.binary(max_size=min(most, 600)),
        st.tuples(st.binary(max_size=100), st.integers(0, most)).map(
            lambda got: got[0].ljust(got[1], b"\xff")
        ),
        st.integers(0, most).map(bytes),
        st.lists(st.integers(0, 3), max_size=min(most, 600)).map(bytes),
    )


def refused_or_whole(decoder: Callable[[bytes], Any], raw: bytes) -> Any:
    """The value; None where `DecodeError` refused it. Whatever is decoded prints, and answers what it is asked."""
    try:
        value = decoder(raw)
    except DecodeError:
        return None
    assert repr(value)
    if isinstance(value, Structure | Listing):
        assert value.to_dict() is not None
    for name in (
        name for kind in type(value).__mro__ for name, it in vars(kind).items() if type(it) is property
    ):
        with suppress(DecodeError):
            getattr(value, name)
    return value


@pytest.mark.parametrize("kind", STRUCTURES, ids=name_of)
@settings(max_examples=8 * MORE)
@given(data=st.data())
def test_hostile_structures(kind: Any, data: st.DataObject) -> None:
    """A structure's bytes always decode, and come back where fields lie and are no text; fewer are refused."""
    size: int = kind.SIZE
    seed = data.draw(st.binary(min_size=min(size, 64), max_size=min(size, 64)))
    for raw in (seed * (size // len(seed) + 1), b"\xff" * size, bytes(size)):
        raw = raw[:size]
        value = refused_or_whole(partial(decode, kind), raw)
        texts = {name: "" for name, field in vars(value).items() if isinstance(field, str)}
        apart = bytearray(mask(kind))
        for name in texts:
            row = kind.ROWS[name]
            apart[row.offset : row.end] = bytes(row.size)
        again = value.replace(**texts).encode()
        assert masked(again, bytes(apart)) == masked(raw, bytes(apart))
    if kind not in {
        features_data.HostIdentifier,
        features_data.FdpEvents,
    }:  # These have as many as there are.
        with pytest.raises(DecodeError):
            kind.decode(raw[: size - 1])


TABLES: dict[str, Callable[[bytes], Any]] = {
    **{name_of(kind): kind.decode for kind in LISTINGS},
    "LbaStatus": lba_status.LbaStatus.decode,
    **{name_of(function): function for function in FUNCTIONS if name_of(function) not in OF_VENDORS},
    "decode_reservation_status extended": partial(reservation.decode_reservation_status, extended=True),
    **{f"Identify {cns:#04x}": decoder for cns, decoder in identify_commands._IDENTIFY_DECODERS.items()},
    **{f"Identify {cns}": decoder for cns, decoder in identify_commands._CSI_DECODERS.items()},
    **{f"log page {lid:#04x}": page.decode for lid, page in LOG_PAGES.items()},
}


@pytest.mark.parametrize("name", TABLES)
@settings(max_examples=15 * MORE)
@given(data=st.data())
def test_hostile_lists_and_answers(name: str, data: st.DataObject) -> None:
    """Every list, decoding function, Identify answer and log page, by whatever bytes there are."""
    refused_or_whole(TABLES[name], data.draw(hostile(4200)))


@pytest.mark.parametrize("kind", [*FEATURES.values(), *INTEL_FEATURES.values()], ids=name_of)
@settings(max_examples=15 * MORE)
@given(dw0=st.integers(0, 0xFFFFFFFF), cdw11=st.integers(0, 0xFFFFFFFF), data=hostile(4200))
def test_hostile_features(kind: Any, dw0: int, cdw11: int, data: bytes) -> None:
    """What Get Features gives in dword 0 and beside it; what decodes says its dwords again."""
    value = refused_or_whole(lambda raw: kind.from_get(dw0, raw, cdw11=cdw11), data)
    if value is None:
        return
    rows = kind.WORDS.values()
    told = sum(row.mask << row.low for row in rows if row.told)
    out = [(row.mask << row.low) & (cdw11 if row.told else dw0) for row in rows if row.out]
    if kind is not features_data.FdpEvents:
        assert (value.dw0, value.argument) == (sum(out), cdw11 & told)
    assert set(value.words()) >= {11}


@pytest.mark.parametrize("kind", _own(Bits), ids=name_of)
@settings(max_examples=8 * MORE)
@given(data=st.data())
def test_any_word_comes_back(kind: Any, data: st.DataObject) -> None:
    """Every table of bits takes any word, prints it, and gives it back with the bits that have no name."""
    word = data.draw(st.integers(0, (1 << kind.WIDTH) - 1))
    for value in (word, 0, (1 << kind.WIDTH) - 1):
        bits = kind(value)
        again = kind(value & ~sum(row.mask << row.low for row in kind.FIELDS.values()), **bits.to_dict())
        assert again.to_int() == value
        assert repr(bits)
        for name in (name for name, it in vars(kind).items() if type(it) is property):
            getattr(bits, name)
