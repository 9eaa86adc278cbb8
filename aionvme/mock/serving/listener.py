"""Owns the socket that a mock is served on: its file, who is let in, and who is told that it is taken."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import stat
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Self

from aionvme.errors import AddressError
from aionvme.mock.serving.connection import Connection, refuse
from aionvme.mock.serving.device import ServedDevice

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["SOCKET", "Serving"]

_log = logging.getLogger(__name__)

#: The socket's name in its folder, as SPDK has it.
SOCKET = "cntrl"
_LONGEST = 107  # bytes of a socket's path (sun_path, unix(7))
_REFUSAL = 0.5  # seconds in which a client that is not let in may hear why
# Seconds that the client before may take to be gone: the sockets of a process that used io_uring, as QEMU does, are
# closed some time after its end.
_GRACE = 0.3
_BACKLOG = 64


class Serving:
    """A mock that a client in another process drives, from now until `close`; `MockController.serve` makes one.

    One client at a time. When it has gone the controller is as after a function level reset, and another may come.

    Attributes:
        path: The socket.
    """

    _closed = True  # until it has begun

    def __init__(self, device: ServedDevice, folder: str | os.PathLike[str], *, timeout: float) -> None:
        self._pid = os.getpid()
        self._device = device
        self._timeout = timeout
        self._lock = threading.Lock()
        self._closing = threading.Lock()
        self._connection: Connection | None = None
        self.path = Path(folder) / SOCKET
        self._socket = _listen(self.path)
        about = os.stat(self.path)
        self._file = about.st_dev, about.st_ino
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="aionvme vfio-user listener", daemon=True)
        self._thread.start()

    @property
    def attached(self) -> bool:
        """Whether a client is connected."""
        with self._lock:
            return self._connection is not None

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poller.poll()]
            if self._wake in ready:
                return
            try:
                sock, _ = self._socket.accept()
            except OSError as error:
                # It went again, or there is no descriptor for it.
                _log.warning("vfio-user: a client could not be accepted: %s", error)
                continue
            self._admit(sock)

    def _admit(self, sock: socket.socket) -> None:
        before = self._connection
        if before is not None and before.has_ended(_GRACE, self._wake):
            # It is on its way out.
            before.join()
        with self._lock:
            number = errno.EBUSY if self._connection is not None else errno.ENODEV if self._device.gone else 0
            if not number:
                self._connection = Connection(sock, self._device, self._timeout, self._ended)
                self._connection.start()
        if number:
            _log.info("vfio-user: a client is refused: %s", os.strerror(number))
            refuse(sock, number, _REFUSAL)

    def _ended(self) -> None:
        with self._lock:
            self._connection = None

    def after_fork(self) -> None:
        """In a child process: its copies of the sockets would keep clients waiting when the parent is gone."""
        connection = self._connection
        fds = [self._socket.fileno()] + ([connection.fileno()] if connection is not None else [])
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd in fds:
            if fd >= 0:
                os.dup2(null, fd, inheritable=False)
        os.close(null)

    def close(self) -> None:
        """Ends the connection, if there is one, and the service; the socket's file goes. May be called twice."""
        if self._pid != os.getpid():
            # In a child process: the threads, and the client, are the parent's.
            return
        with self._closing:
            if self._closed:
                return
            self._closed = True
            os.eventfd_write(self._wake, 1)
            self._thread.join()
            connection = self._connection
            if connection is not None:
                connection.close()
            _remove(self.path, self._file)
            self._socket.close()
            os.close(self._wake)
            self._device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed:
            warnings.warn(f"{self!r} was collected while open", ResourceWarning, stacklevel=2, source=self)
            self.close()

    def __repr__(self) -> str:
        return f"<Serving {self.path}{' closed' if self._closed else ''}>"


def _listen(path: Path) -> socket.socket:
    """A socket that listens at a path; what a server that is gone left there is removed.

    Raises:
        AddressError: Somebody listens there, or the path can't be had.
    """
    if len(os.fsencode(path)) > _LONGEST:
        raise AddressError(
            f"{path} is longer than the {_LONGEST} bytes of a socket's path: take another folder"
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _clear(path)
        sock.bind(os.fspath(path))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise AddressError(f"{path} can't be listened at: {error.strerror}. Take another folder") from error
    except BaseException:
        sock.close()
        raise
    return sock


def _clear(path: Path) -> None:
    """Removes a socket that nobody listens at."""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise AddressError(f"{path} is there, and is no socket: take another folder")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            raise AddressError(f"{path} is there, and does not answer: {error}. Remove it") from error
    raise AddressError(f"somebody serves at {path} already: end that, or take another folder")


def _remove(path: Path, file: tuple[int, int]) -> None:
    """Removes our socket; one that another has put in its place stays."""
    try:
        about = os.lstat(path)
        if (about.st_dev, about.st_ino) == file:
            os.unlink(path)
    except FileNotFoundError:
        return
