"""Owns the borrower's end of the connection: questions and answers, notices, and the end of the owner."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from aionvme.errors import AddressError, ControllerLostError, NvmeError, UsageError
from aionvme.sharing.channel import UCRED, Channel, Malformed, close_all
from aionvme.sharing.facts import unpack_error

if TYPE_CHECKING:
    from aionvme.sharing.channel import Message

__all__ = ["Connection", "connect_to"]

Answer = tuple[dict[str, Any], list[int]]


def connect_to(path: str) -> Channel:
    """Connects to a lender's socket.

    Raises:
        AddressError: Nobody lends there, or not to this user.
        UsageError: This process does.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise AddressError(
            f"{path}: no controller is lent there ({error.strerror}): see to its owner"
        ) from None
    pid, _, _ = UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
    if pid == os.getpid():
        # What blocks until the owner answers would block the owner.
        sock.close()
        raise UsageError(f"{path}: the controller is this process's own: allocate queue pairs of it")
    return Channel(sock)


class Connection:
    """Asks the owner, from any thread. Answers and notices are read by a thread of its own, which sleeps till then.

    Args:
        channel: The socket.
        name: For messages and the thread.
        patience: Seconds that the owner may take to answer what is asked with the caller blocked.
        noticed: Called in that thread with the name of a notice.
        ended: Called in that thread, once, with what everything ends with from then on.
    """

    def __init__(
        self,
        channel: Channel,
        name: str,
        patience: float,
        noticed: Callable[[str], object],
        ended: Callable[[NvmeError], object],
    ) -> None:
        self._channel = channel
        self._name = name
        self._patience = patience
        self._noticed = noticed
        self._ended = ended
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._asked: dict[int, Future[Answer]] = {}
        self._error: NvmeError | None = None
        self._closing = False
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._read, name=f"aionvme {name}", daemon=True)
        self._thread.start()

    # -- asking --------------------------------------------------------------------------------------------------------

    def _ask(self, do: str, fds: Sequence[int], fields: dict[str, Any]) -> Future[Answer]:
        if self._pid != os.getpid():
            raise UsageError(
                "a borrowed controller stays with the process that borrowed it: borrow it in this one"
            )
        answer: Future[Answer] = Future()
        with self._lock:
            if self._error is not None:
                raise type(self._error)(*self._error.args)
            number = next(self._numbers)
            self._asked[number] = answer
        try:
            self._channel.send({"id": number, "do": do, **fields}, fds)
        except OSError:
            self._channel.shut()  # The thread sees to the rest.
        return answer

    def ask(self, do: str, *, fds: Sequence[int] = (), more_patience: float = 0.0, **fields: Any) -> None:
        """Asks for something to be done, and blocks until it is.

        Raises:
            ControllerLostError: The owner is gone, or does not answer in time: then it is given up.
            NvmeError, OSError, MemoryError: As the owner's call raised it.
        """
        asked = self._ask(do, fds, fields)
        try:
            _, given = asked.result(self._patience + more_patience)
        except TimeoutError:
            if asked.done():
                raise  # the owner's own
            raise self.give_up() from None
        close_all(given)

    async def ask_here(
        self, do: str, *, fds: Sequence[int] = (), patience: float = 0.0, **fields: Any
    ) -> Answer:
        """As `ask`, without blocking; the answer, and descriptors that are the caller's."""
        answer = asyncio.wrap_future(self._ask(do, fds, fields))
        await asyncio.wait([answer], timeout=patience + self._patience)
        if not answer.done():
            error = self.give_up()
            answer.add_done_callback(lambda answer: answer.exception())
            raise error
        return answer.result()

    def tell(self, do: str, **fields: Any) -> None:
        """Asks for something of which nobody waits for the answer, unless the owner is gone."""
        try:
            self._ask(do, (), fields)
        except NvmeError:
            return

    def give_up(self) -> ControllerLostError:
        """The owner does not answer: hangs up. What that is to be told as."""
        error = ControllerLostError(f"{self._name}: its owner does not answer")
        self._end(error)
        self._channel.shut()
        return error

    # -- hearing -------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        error: NvmeError = ControllerLostError(f"{self._name}: its owner is gone: borrow it from another")
        try:
            while (received := self._channel.receive()) is not None:
                self._hear(*received)
        except (Malformed, KeyError, TypeError, ValueError) as what:
            error = ControllerLostError(f"{self._name}: its owner sent what is no answer: {what!r}")
        self._end(error)

    def _hear(self, message: Message, fds: list[int]) -> None:
        if "notice" in message:
            close_all(fds)
            if message["notice"] == "end":
                error = unpack_error(message["error"])
                self._end(error if isinstance(error, NvmeError) else ControllerLostError(str(error)))
            else:
                self._noticed(message["notice"])
            return
        with self._lock:
            answer = self._asked.pop(message["id"])
        if "error" in message:
            close_all(fds)
            answer.set_exception(unpack_error(message["error"]))
        else:
            answer.set_result((message, fds))

    def _end(self, error: NvmeError) -> None:
        with self._lock:
            if self._error is not None:
                return
            self._error = error
            asked, self._asked = self._asked, {}
        for answer in asked.values():
            answer.set_exception(type(error)(*error.args))
        if not self._closing:
            self._ended(error)

    def close(self) -> None:
        """Hangs up; not from its own thread. May be called twice."""
        self._closing = True
        self._channel.shut()
        if self._pid == os.getpid():
            self._thread.join()
        self._channel.close()
