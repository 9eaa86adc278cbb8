"""Owns the owner's side: `lend`, and what each borrower has of the controller until it gives it back or dies."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import warnings
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aionvme.admin.core import logger
from aionvme.admin.lending import Lending, LentQueue, lending
from aionvme.admin.options import QPrio
from aionvme.admin.queues import Wishes
from aionvme.errors import AddressError, ControllerLostError, NvmeError, UsageError
from aionvme.pci.lent import LentMemory
from aionvme.qpair.opening import Opening
from aionvme.qpair.poller import run_to_end, start_to_end
from aionvme.sharing.channel import (
    UCRED,
    Channel,
    Malformed,
    close_all,
    keep_from_children,
    number,
    text,
)
from aionvme.sharing.facts import facts_of, pack_error, pack_namespace
from aionvme.spec import entries

if TYPE_CHECKING:
    from aionvme.admin.controller import Controller
    from aionvme.sharing.channel import Message

__all__ = ["VERSION", "Lender", "lend"]

#: Of the messages. Both sides are of one version of this package.
VERSION = 1
_BACKLOG = 64

Answer = tuple[dict[str, Any], list[int]]


def lend(ctrlr: Controller, path: str | os.PathLike[str]) -> Opening[Lender]:
    """Lends a controller to other processes of this user, which `borrow` it: `await` it, or enter it by `async with`.

    Each borrower drives queue pairs of its own, without this process. They are trusted as this process is: who rings
    doorbells of a device has it read and write any memory that the device reaches.

    Args:
        ctrlr: The controller, which belongs to the running loop. That has to go on running: it makes and deletes the
            borrowers' queues, and maps their memory.
        path: The socket that is made, for this user alone. It goes when the `Lender` is closed.

    Raises:
        AddressError: The socket can't be made, or somebody lends there.
        UsageError: The controller is closed, uses shadow doorbells, or its doorbells can't be mapped by others.
        WrongLoopError: It belongs to another loop.
    """
    return Opening(lambda: _lend(ctrlr, Path(path)), "lend()")


async def _lend(ctrlr: Controller, path: Path) -> Lender:
    owner = lending(ctrlr)
    files = owner.core.function.doorbell_files()
    close_all([file.fd for file in files])
    if not files:
        raise UsageError(
            f"{owner.core}: no other process can map its doorbells, so that it can't be lent: a mock with "
            'drive="loop" has none, nor has a vfio-user server that shares none'
        )
    return Lender(owner, _listen(path), path)


def _listen(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.setblocking(False)
        try:
            sock.bind(str(path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _is_left(path):
                raise
            path.unlink()
            sock.bind(str(path))
        # Nobody can connect before it listens.
        path.chmod(0o600)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise AddressError(
            f"{path}: cannot be lent at: {error.strerror or error}: choose another path"
        ) from error
    return sock


def _is_left(path: Path) -> bool:
    """Whether this is the socket of a process that is no more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


class Lender:
    """A controller that is lent. Made by `lend`; `async with` or `close()` ends it, and what borrowers have of it.

    Attributes:
        path: The socket.
    """

    def __init__(self, owner: Lending, sock: socket.socket, path: Path) -> None:
        self.path = path
        self._owner = owner
        self._sock = sock
        self._file = os.stat(path)
        self._loans: dict[_Loan, asyncio.Future[None]] = {}
        keep_from_children(sock)
        owner.core.borrowers.add(self)
        owner.core.loop.add_reader(sock.fileno(), self._accept)

    @property
    def borrowers(self) -> int:
        """How many processes have something of the controller, or are about to."""
        return len(self._loans)

    @property
    def closed(self) -> bool:
        """Whether nobody can borrow it here any more."""
        return self._sock.fileno() < 0

    def _accept(self) -> None:
        try:
            sock, _ = self._sock.accept()
        except OSError as error:
            if error.errno != errno.EAGAIN:
                logger.warning("%s: a borrower could not be accepted: %s", self._owner.core, error)
            return
        _, uid, _ = UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
        if uid not in (os.geteuid(), 0):
            logger.warning("%s: a borrower of user %d is refused", self._owner.core, uid)
            sock.close()
            return
        sock.setblocking(False)
        loan = _Loan(self._owner, Channel(sock))
        self._loans[loan] = start_to_end(loan.run(), self._owner.core.loop)
        self._loans[loan].add_done_callback(partial(self._ended, loan))

    def _ended(self, loan: _Loan, future: asyncio.Future[None]) -> None:
        del self._loans[loan]
        if (error := future.exception()) is not None:
            loan.abandon()
            logger.error("%s: what a borrower had is left as it is", self._owner.core, exc_info=error)

    def stopped(self, error: NvmeError) -> None:
        """For the controller: no borrower has anything of it any more, because of `error`."""
        for loan in list(self._loans):
            loan.stopped(error)

    def namespaces_changed(self) -> None:
        """For the controller: borrowers look at its namespaces anew."""
        for loan in list(self._loans):
            loan.say({"notice": "namespaces"})

    async def close(self) -> None:
        """Takes back what borrowers have: their outstanding commands end with `ControllerLostError`.

        A borrower that does not let go within `ControllerOptions.loop_timeout` is left: its queues are deleted, and
        their identifiers not used again. May be called twice.
        """
        await self.finish(ControllerLostError(f"{self._owner.core}: its owner lends it no more"))

    async def finish(self, error: NvmeError) -> None:
        """As `close`, with this error for the borrowers."""
        self._stop_listening()
        await run_to_end(self._take_back(error))
        self._owner.core.borrowers.discard(self)

    def _stop_listening(self) -> None:
        if self.closed:
            return
        self._owner.core.loop.remove_reader(self._sock.fileno())
        self._sock.close()
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(self.path), self._file):
                self.path.unlink()

    async def _take_back(self, error: NvmeError) -> None:
        for loan in list(self._loans):
            loan.call_in(error)
        for patience in (self._owner.core.opts.loop_timeout, None):
            if self._loans:
                await asyncio.wait(list(self._loans.values()), timeout=patience)
            for loan in list(self._loans):
                loan.abandon()

    async def __aenter__(self) -> Lender:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Lender of {self._owner.core} at {self.path}, {self.borrowers} borrowers>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if not self.closed:
            _warn(
                f"{self!r} was not closed: use `async with`, or await close()", ResourceWarning, source=self
            )


class _Loan:
    """What one borrower has: a range of I/O addresses, memory that is mapped there, and queue pairs."""

    def __init__(self, owner: Lending, channel: Channel) -> None:
        self._owner = owner
        self._channel = channel
        self._memory: LentMemory | None = None
        self._over: NvmeError | None = None
        self._abandoned = False
        # Every identifier that it was given; those that the controller knows have their queue.
        self._queues: dict[int, LentQueue | None] = {}
        self._handlers: dict[str, Callable[[Message, list[int]], Awaitable[Answer]]] = {
            "hello": self._hello,
            "namespaces": self._namespaces,
            "namespace": self._namespace,
            "map": self._map,
            "unmap": self._unmap,
            "queue": self._queue,
            "create": self._create,
            "delete": self._delete,
            "abort": self._abort,
            "escalate": self._escalate,
        }

    # -- from the owner ------------------------------------------------------------------------------------------------

    def say(self, message: Message) -> None:
        """Tells the borrower, which is given up if it does not listen."""
        try:
            self._channel.send(message)
        except OSError:
            self._channel.shut()

    def call_in(self, error: NvmeError) -> None:
        """Asks for all of it back: the borrower ends its commands with `error`, and hangs up."""
        if self._over is None:
            self._over = error
            self.say({"notice": "end", "error": pack_error(error)})

    def stopped(self, error: NvmeError) -> None:
        """The device has let go of all of it, because of `error`."""
        self._queues = dict.fromkeys(self._queues)
        self._unmap_all()
        self.call_in(error)

    def abandon(self) -> None:
        """It does not hang up: it may ring the doorbells still, so that no other is given its queues' identifiers."""
        if not self._abandoned:
            logger.warning("%s: a borrower does not answer, and is left", self._owner.core)
            self._abandoned = True
            self._channel.shut()

    # -- from the borrower ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Does what it asks for until it hangs up, then takes everything back."""
        try:
            async with aclosing(self._channel.messages()) as messages:
                async for message, fds in messages:
                    await self._serve(message, fds)
        except Malformed as error:
            logger.warning("%s: a borrower is refused: it sent %s", self._owner.core, error)
        # By now it has no doorbell mapped.
        for queue in list(self._queues.values()):
            if queue is not None:
                await self._owner.delete(queue)
        self._unmap_all()
        if not self._abandoned:
            for qid in self._queues:
                self._owner.forget(qid)
        self._channel.close()

    def _unmap_all(self) -> None:
        memory, self._memory = self._memory, None
        if memory is not None:
            try:
                memory.close()
            except (OSError, NvmeError) as error:
                logger.error("%s: memory of a borrower stays mapped: %s", self._owner.core, error)

    async def _serve(self, message: Message, fds: list[int]) -> None:
        try:
            number_of_it = number(message, "id")
            handler = self._handlers.get(text(message, "do"))
            if handler is None or ((self._memory is None) != (handler == self._hello) and self._over is None):
                raise Malformed("a message that is not due")
            try:
                if self._over is not None:
                    raise self._over
                answer, given = await handler(message, fds)
            except (NvmeError, OSError, MemoryError) as error:
                answer, given = {"error": pack_error(error)}, []
        finally:
            close_all(fds)
        try:
            self._channel.send({"id": number_of_it, **answer}, given)
        except OSError:
            self._channel.shut()
        finally:
            close_all(given)

    async def _hello(self, message: Message, _fds: list[int]) -> Answer:
        if number(message, "version") != VERSION:
            raise UsageError("owner and borrower are of different versions of aionvme: use one")
        self._owner.check()
        core = self._owner.core
        memory = LentMemory(core.dma)
        files = core.function.doorbell_files()
        self._memory = memory
        doorbells = [(file.offset, file.start, file.nbytes) for file in files]
        facts = facts_of(core, memory.iova, memory.nbytes)
        return {"facts": facts, "doorbells": doorbells}, [file.fd for file in files]

    async def _namespaces(self, _message: Message, _fds: list[int]) -> Answer:
        return {"nsids": list(self._owner.core.namespaces)}, []

    async def _namespace(self, message: Message, _fds: list[int]) -> Answer:
        namespace = self._owner.core.namespaces.get(number(message, "nsid"))
        return {"namespace": None if namespace is None else pack_namespace(namespace)}, []

    async def _map(self, message: Message, fds: list[int]) -> Answer:
        if len(fds) != 1:
            raise Malformed(f"{len(fds)} descriptors for memory")
        self._mapped().map(fds[0], number(message, "iova"), number(message, "nbytes"))
        return {}, []

    async def _unmap(self, message: Message, _fds: list[int]) -> Answer:
        self._mapped().unmap(number(message, "iova"), number(message, "nbytes"))
        return {}, []

    def _mapped(self) -> LentMemory:
        assert self._memory is not None
        return self._memory

    async def _queue(self, message: Message, _fds: list[int]) -> Answer:
        depth = None if message.get("depth") is None else number(message, "depth")
        wishes = Wishes(depth, QPrio(number(message, "qprio", 3)), text(message, "completion"), None)
        qid, depth, irq_fd = self._owner.reserve(wishes)
        self._queues[qid] = None
        return {"qid": qid, "depth": depth}, [os.dup(irq_fd)] if irq_fd >= 0 else []

    def _qid(self, message: Message) -> int:
        qid = number(message, "qid", 65535)
        if qid not in self._queues:
            raise Malformed(f"a queue identifier {qid} that it was not given")
        return qid

    async def _create(self, message: Message, _fds: list[int]) -> Answer:
        qid = self._qid(message)
        if self._queues[qid] is not None:
            raise Malformed(f"queue {qid} twice")
        queue = LentQueue(
            qid,
            number(message, "entries", 65536),
            number(message, "sq_iova"),
            number(message, "cq_iova"),
            text(message, "completion"),
        )
        memory = self._mapped()
        if not memory.covers(queue.sq_iova, queue.entries * entries.SQE_BYTES):
            raise UsageError(f"the submission queue {qid} is not within memory that was mapped")
        if not memory.covers(queue.cq_iova, queue.entries * entries.CQE_BYTES):
            raise UsageError(f"the completion queue {qid} is not within memory that was mapped")
        await self._owner.create(queue)
        if self._over is not None:
            await self._owner.delete(queue)
            raise self._over
        self._queues[qid] = queue
        return {}, []

    async def _delete(self, message: Message, _fds: list[int]) -> Answer:
        qid = self._qid(message)
        queue = self._queues[qid]
        if queue is not None:
            await self._owner.delete(queue)
        del self._queues[qid]
        self._owner.forget(qid)
        return {}, []

    async def _abort(self, message: Message, _fds: list[int]) -> Answer:
        qid = self._qid(message)
        self._owner.abort(qid, number(message, "cid", 65535), number(message, "opcode", 255))
        return {}, []

    async def _escalate(self, message: Message, _fds: list[int]) -> Answer:
        self._owner.escalate(f"{text(message, 'why')} (of another process)")
        return {}, []
