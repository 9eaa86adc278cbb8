"""Owns finding the controllers that programs publish, and asking for their figures."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from aionvme.errors import DecodeError
from aionvme.metrics.publishing import folders
from aionvme.metrics.snapshot import Snapshot

__all__ = ["snapshots"]

logger = logging.getLogger("aionvme")

# A program whose loop does not turn for so long is shown as one that says nothing.
SECONDS = 2.0
_MOST_BYTES = 64 << 20


def snapshots(*, timeout: float = SECONDS) -> list[Snapshot]:
    """The figures of every controller that programs of this user publish; of all users' for root.

    Args:
        timeout: Seconds that a program has to answer; one that does not is left out, and logged.
    """
    return [snapshot for path in _sockets() if (snapshot := _ask(path, timeout)) is not None]


def _sockets() -> Iterator[Path]:
    for folder in folders():
        with contextlib.suppress(OSError):
            yield from sorted(folder.glob("*.sock"))


def _ask(path: Path, timeout: float) -> Snapshot | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect(str(path))
            sock.sendall(b"\n")
            return Snapshot.from_json(_line(sock))
        except ConnectionRefusedError:
            _clear(path)
        except (OSError, DecodeError) as error:
            logger.warning("%s: no figures: %s", path, error)
    return None


def _line(sock: socket.socket) -> bytes:
    found = bytearray()
    while not found.endswith(b"\n"):
        part = sock.recv(1 << 16)
        if not part or len(found) > _MOST_BYTES:
            raise DecodeError("it ended before its answer did")
        found += part
    return bytes(found)


def _clear(path: Path) -> None:
    # Of a process that was killed.
    with contextlib.suppress(OSError):
        if path.stat().st_uid == os.geteuid():
            path.unlink()
