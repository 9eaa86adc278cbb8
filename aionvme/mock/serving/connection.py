"""Owns one client: the version it speaks, its requests in their order, and its end.

A thread receives. It executes requests itself as long as all memory of the client is mapped here. Once some of it is
not, the data plane may have to wait for an answer of the client's while a request waits for the data plane; requests
then have a thread of their own (`Worker`), and this one hands on the answers.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
import threading
import time
from collections.abc import Callable

from aionvme.mock.serving.asking import Asking
from aionvme.mock.serving.device import ServedDevice
from aionvme.mock.serving.requests import OURS, Reply, Requests, agree
from aionvme.mock.serving.worker import Worker
from aionvme.pci.vfio_user import wire
from aionvme.pci.vfio_user.channel import Channel, ChannelClosed, Message

__all__ = ["Connection", "refuse"]

_log = logging.getLogger(__name__)

_GONE = select.POLLHUP | select.POLLRDHUP


class Connection:
    """A client from its connection to its end, in a thread of its own.

    Args:
        sock: The connection, which is this object's from here on.
        device: What is served.
        timeout: Seconds that a client may take for its version, and for an answer.
        on_end: Called in the thread, when nothing of the client is left.
    """

    def __init__(
        self, sock: socket.socket, device: ServedDevice, timeout: float, on_end: Callable[[], None]
    ) -> None:
        self._channel = Channel(sock, send_timeout=timeout)
        self._fd = sock.fileno()
        self._device = device
        self._timeout = timeout
        self._on_end = on_end
        self._asking = Asking(self._channel, wire.DEFAULT_MAX_DATA, timeout)
        self._requests: Requests | None = None
        self._ending = False
        self._worker = Worker(self._execute, "aionvme vfio-user requests")
        self._thread = threading.Thread(target=self._run, name="aionvme vfio-user client", daemon=True)

    def start(self) -> None:
        """Begins to serve."""
        self._thread.start()

    @property
    def peer_is_gone(self) -> bool:
        """Whether the connection has ended, whatever is still under way here."""
        if self._ending:
            return True
        poller = select.poll()
        poller.register(self._fd, _GONE)
        # If it ends just now there is no such descriptor any more (POLLNVAL).
        return bool(poller.poll(0))

    def fileno(self) -> int:
        """The socket's descriptor; -1 once it is closed."""
        return self._channel.fileno()

    def close(self) -> None:
        """Ends the connection, and waits until nothing of the client is left."""
        self._channel.shut_down()
        self._asking.end()
        self.join()

    def join(self) -> None:
        """Waits until nothing of the client is left."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._serve()
        except ChannelClosed:
            pass
        except (wire.MessageError, OSError) as error:
            _log.info("vfio-user: a client's connection is ended: %s", error)
        finally:
            self._end()

    def _serve(self) -> None:
        self._requests = self._negotiate()
        self._device.attach(self._asking)
        while True:
            message = self._channel.receive()
            kind = message.header.flags & wire.TYPE_MASK
            if kind == wire.TYPE_REPLY and not message.fds and self._asking.take(message):
                continue
            if kind != wire.TYPE_COMMAND:
                message.close()
                raise wire.MessageError("an answer that nobody asked for")
            if self._worker.idle and not self._device.has_remote:
                self._execute(message)
            else:
                self._worker.submit(message)

    def _negotiate(self) -> Requests:
        """The first message is the version; after anything else nothing follows."""
        with self._channel.receive(time.monotonic() + self._timeout) as message:
            try:
                if message.header.command != wire.Command.VERSION or message.header.is_reply or message.fds:
                    raise wire.MessageError("the first message is not VFIO_USER_VERSION alone")
                theirs, reply = agree(message.payload)
            except wire.MessageError:
                _refuse(self._channel, message, errno.EINVAL)
                raise
            limit = min(theirs.max_data_xfer_size, OURS.max_data_xfer_size)
            self._asking.limit = limit
            _answer(self._channel, message, reply)
        return Requests(self._device, limit, self._fd)

    def _execute(self, message: Message) -> None:
        assert self._requests is not None
        try:
            with message:
                try:
                    reply = self._requests.answer(message)
                except wire.MessageError as error:
                    _log.debug("vfio-user: refused: %s", error)
                    _refuse(self._channel, message, errno.EINVAL)
                except OSError as error:
                    _log.debug("vfio-user: refused: %s", error)
                    _refuse(self._channel, message, error.errno or errno.EIO)
                else:
                    _answer(self._channel, message, reply)
        except ChannelClosed:
            # The thread that receives has seen it, too.
            return
        except Exception:
            _log.exception("vfio-user: a client's connection is ended by a mistake of ours")
            self._channel.shut_down()

    def _end(self) -> None:
        self._ending = True
        self._channel.shut_down()
        self._asking.end()
        self._worker.close()
        if self._requests is not None:
            self._device.detach()
        self._channel.close()
        self._on_end()


def refuse(sock: socket.socket, number: int, timeout: float) -> None:
    """Tells a client why it is not served, as the answer to its version, and closes its connection."""
    channel = Channel(sock, send_timeout=timeout)
    try:
        with channel.receive(time.monotonic() + timeout) as message:
            _refuse(channel, message, number)
    except (ChannelClosed, wire.MessageError, TimeoutError):
        # It is not going to be told.
        return
    finally:
        channel.close()


def _answer(channel: Channel, message: Message, reply: Reply) -> None:
    if not message.header.flags & wire.NO_REPLY:
        header = wire.Header(id=message.header.id, command=message.header.command, flags=wire.TYPE_REPLY)
        channel.send(header, reply.payload, reply.fds)


def _refuse(channel: Channel, message: Message, number: int) -> None:
    """An answer that tells of an error is a header alone ("Header")."""
    if not message.header.flags & wire.NO_REPLY:
        flags = wire.TYPE_REPLY | wire.ERROR
        header = wire.Header(id=message.header.id, command=message.header.command, flags=flags, error=number)
        channel.send(header)
