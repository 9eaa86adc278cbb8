"""Owns telling other programs of this user a controller's figures: a UNIX socket, which answers with a snapshot.

The protocol: whoever connects sends a line, which may be empty, and is sent a snapshot as a line of JSON for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from aionvme.errors import AddressError, NvmeError
from aionvme.metrics.measured import Measured
from aionvme.qpair.opening import Opening

if TYPE_CHECKING:
    from aionvme.admin.controller import Controller

__all__ = ["Publication", "folders", "publish", "publish_unasked"]

logger = logging.getLogger("aionvme")


def _of_runtime(uid: int) -> list[Path]:
    own = os.environ.get("XDG_RUNTIME_DIR")
    return [*([Path(own) / "aionvme"] if own else []), Path(f"/run/user/{uid}/aionvme")]


def _of_temporary(uid: int) -> Path:
    return Path(f"/tmp/aionvme-{uid}")


def folders() -> list[Path]:
    """Where sockets of this user may be, the first that can be made first; root sees those of all users."""
    uid = os.geteuid()
    found = [*_of_runtime(uid), _of_temporary(uid)]
    if uid == 0:
        found += sorted(Path("/run/user").glob("*/aionvme")) + sorted(Path("/tmp").glob("aionvme-*"))
    return list(dict.fromkeys(found))


def _folder() -> Path:
    """Where this process has its sockets; made, and for this user alone.

    Raises:
        AddressError: No such folder can be had.
    """
    why, uid = "", os.geteuid()
    for folder in [*_of_runtime(uid), _of_temporary(uid)]:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
        except OSError as error:
            why = str(error)
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not found.st_mode & 0o077:
            return folder
        why = f"{folder} is not a folder of this user's alone"
    raise AddressError(f"figures cannot be published: {why}; set XDG_RUNTIME_DIR to a folder of your own")


def publish(ctrlr: Controller) -> Opening[Publication]:
    """Has `aionvme top`, and `snapshots` in any program of this user, see a controller: `async with publish(ctrlr):`.

    Its commands are counted and timed meanwhile; whoever asks has it read its SMART log page, once in 10 s at most.
    Queue pairs of programs that borrow it are not seen.

    Raises:
        AddressError: There is no place for the socket.
        UsageError: The controller is closed.
    """
    return Opening(lambda: _publish(ctrlr), "publish()")


async def _publish(ctrlr: Controller) -> Publication:
    publication = Publication(ctrlr)
    try:
        await publication._listen()
    except BaseException:
        await publication.close()
        raise
    return publication


async def publish_unasked(ctrlr: Controller) -> Publication | None:
    """As `publish`, for a program that did not ask for it itself: what goes wrong is logged."""
    try:
        return await _publish(ctrlr)
    except (OSError, NvmeError) as error:
        logger.warning("%s: AIONVME_METRICS is set, but: %s", ctrlr.pci_dev, error)
        return None


class Publication:
    """A controller that others can see. Made by `publish`; `close` ends it.

    Attributes:
        path: The socket.
        measured: What is counted.
    """

    def __init__(self, ctrlr: Controller) -> None:
        # Not the address: two mocks have one, and a path that is one has slashes. Short, as a socket's path has to be.
        self.path = _folder() / f"{os.getpid()}-{id(ctrlr):x}.sock"
        self.measured = Measured(ctrlr)
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def _listen(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        self.path.chmod(0o600)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            while await reader.readline():
                snapshot = await self.measured.snapshot()
                writer.write(json.dumps(snapshot.as_json()).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError, asyncio.CancelledError):
            # It went, sent no lines, or is sent away.
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def close(self) -> None:
        """Nobody sees the controller any more, and nothing is counted."""
        self.stop()
        clients = list(self._clients)
        if clients:
            await asyncio.wait(clients)

    def stop(self) -> None:
        """As `close`, for one who can't wait."""
        self.measured.stop()
        if self._server is not None:
            self._server.close()
            self._server = None
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
        for client in self._clients:
            client.cancel()
