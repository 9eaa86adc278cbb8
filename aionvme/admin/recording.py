"""Owns who listens to the commands of a controller: recordings, and those who listen to every controller."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aionvme.errors import UsageError
from aionvme.trace.writing import KINDS_OF_DATA, Writer

if TYPE_CHECKING:
    from aionvme.admin.core import Core
    from aionvme.qpair.governed import GovernedQueuePair
    from aionvme.qpair.tap import Listener, Tap

__all__ = ["Recorded", "listening", "watch"]

_watchers: list[Callable[[str], Listener]] = []


@contextlib.contextmanager
def watch(make: Callable[[str], Listener]) -> Iterator[None]:
    """Has `make(name)` called for each controller that is brought up meanwhile, and what that gives listen to it."""
    _watchers.append(make)
    try:
        yield
    finally:
        _watchers.remove(make)


def begin(core: Core) -> None:
    """A controller is about to be brought up."""
    for make in _watchers:
        _listen(core, make(str(core)))


def _listen(core: Core, listener: Listener | Tap) -> None:
    core.tap.add(listener)
    for qp in core.all_queues():
        qp.set_tap(core.tap)


def _leave(core: Core, listener: Listener | Tap) -> None:
    core.tap.remove(listener)
    for qp in core.all_queues():
        qp.set_tap(core.listening)


@contextlib.contextmanager
def listening(core: Core, listener: Listener) -> Iterator[None]:
    """Meanwhile `listener` is told of every command and completion of all queue pairs."""
    _listen(core, listener)
    try:
        yield
    finally:
        _leave(core, listener)


def listen(ctrlr: Recorded, listener: Listener | Tap) -> Callable[[], None]:
    """Has `listener` told of every command and completion of a controller, until what this gives is called."""
    ctrlr._check_open()
    _listen(ctrlr._core, listener)
    return partial(_leave, ctrlr._core, listener)


def queues(ctrlr: Recorded) -> list[GovernedQueuePair]:
    """The queue pairs that are listened to now, the admin queue pair first."""
    return list(ctrlr._core.all_queues())


def state(ctrlr: Recorded) -> str:
    """Where the controller is in its life, in words."""
    return ctrlr._core.state.value


class _Host:
    """What a recording has to know of the controller, and of the memory that it reaches."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.page_size = core.page_size

    def facts(self) -> dict[str, Any]:
        core = self._core
        assert core.data is not None
        return {
            "device": {
                "address": str(core),
                "model": core.data.mn.strip(),
                "firmware": core.data.fr.strip(),
                "vendor": core.data.vid,
            },
            "namespaces": {
                str(nsid): {
                    "nblocks": ns.nblocks,
                    "block_size": ns.block_size,
                    "metadata_size": ns.metadata_size,
                    "extended": ns.extended,
                }
                for nsid, ns in core.namespaces.items()
            },
        }

    def unit(self, nsid: int) -> int:
        ns = self._core.namespaces.get(nsid)
        if ns is None:
            return 0
        return ns.block_size + (ns.metadata_size if ns.extended else 0)

    def reach(self, iova: int, nbytes: int) -> bytes | None:
        for address, length, start in self._core.dma.mappings():
            if start <= iova and iova + nbytes <= start + length:
                return ctypes.string_at(address + iova - start, nbytes)
        return None


class Recorded:
    """The part of `Controller` that is recorded."""

    _core: Core

    def _check_open(self) -> None:
        raise NotImplementedError

    @contextlib.contextmanager
    def record(self, path: str | Path, *, data: str = "none") -> Iterator[Writer]:
        """Meanwhile writes every command and completion of all queue pairs, with their times, to a file.

        `aionvme trace` shows it, `aionvme.replay` executes it again; docs/testing.md has the format. The file is
        written line by line, and can be read however the process ends.

        Args:
            path: Where to; what is there is overwritten.
            data: "none"; "digest" for the SHA-256 of what each command transfers; or "full" for the data itself, which
                a replay needs that is to write. The file is then as confidential as what is on the device.

        Raises:
            UsageError: There is no such kind of `data`, or the controller is closed.
            OSError: The file could not be made; or, at the end, not all of it could be written.
        """
        if data not in KINDS_OF_DATA:
            raise UsageError(f"data is one of {', '.join(KINDS_OF_DATA)}, not {data!r}")
        self._check_open()
        writer = Writer(path, _Host(self._core), data)
        try:
            with listening(self._core, writer):
                yield writer
        finally:
            writer.close()
        if writer.error is not None:
            raise writer.error
