"""Owns how vendors' entries come into the registry: by `register_vendor`, and from installed plug-ins."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from aionvme.errors import UsageError
from aionvme.spec.intel import INTEL
from aionvme.spec.vendors import REGISTRY, Vendor

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "aionvme.vendors"

logger = logging.getLogger("aionvme")

# What this package knows itself.
REGISTRY.register(INTEL)

_lock = threading.Lock()
_loaded = False


def register_vendor(vendor: Vendor) -> None:
    """Makes a vendor's log pages and features known. It counts for controllers that are brought up or reset later.

    A package does the same for whoever has it installed by an entry point of the group `aionvme.vendors` that names a
    `Vendor`, or a sequence of them.

    Raises:
        UsageError: There is an entry of that name already, and it says otherwise.
    """
    try:
        REGISTRY.register(vendor)
    except ValueError as error:
        raise UsageError(str(error)) from error


def load_plugins() -> None:
    """Registers what installed packages bring, once in a process. May block: it reads files and imports.

    One that fails is a logged warning that names it, and takes nothing else with it.
    """
    global _loaded
    with _lock:
        if _loaded:
            return
        _loaded = True
        try:
            # Imported here: it takes as long as half of asyncio.
            from importlib.metadata import entry_points

            found: Iterable[EntryPoint] = entry_points(group=GROUP)
        except Exception as error:
            logger.warning("plug-ins for vendors could not be looked for: %r", error)
            return
        for entry in found:
            _load(entry)


def _load(entry: EntryPoint) -> None:
    # A plug-in may raise anything, and none of it is the user's doing.
    try:
        given = entry.load()
        for vendor in (given,) if isinstance(given, Vendor) else given:
            REGISTRY.register(vendor)
    except Exception as error:
        package = entry.dist.name if entry.dist is not None else "?"
        logger.warning(
            "the plug-in %s = %s (of the package %s) for vendors is not used: %r",
            entry.name, entry.value, package, error,
        )  # fmt: skip


def loaded() -> bool:
    """Whether `load_plugins` has nothing left to do."""
    return _loaded
