"""Owns the borrower's side: `borrow`, and the controller as a process has it that does not own it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aionvme.admin.active import ActiveNamespaces
from aionvme.admin.commands import AdminCommands
from aionvme.admin.core import logger
from aionvme.admin.namespaces import shape
from aionvme.admin.options import QPrio
from aionvme.errors import ControllerResetError, NvmeError, UsageError, WrongLoopError
from aionvme.pci.dma import DmaSpace
from aionvme.qpair.io import IoQueuePair
from aionvme.qpair.opening import Opening
from aionvme.qpair.poller import run_to_end, start_to_end, wait_to_end
from aionvme.sharing.channel import close_all
from aionvme.sharing.connection import Connection, connect_to
from aionvme.sharing.facts import unpack_facts, unpack_namespace
from aionvme.sharing.function import BorrowedFunction
from aionvme.sharing.lender import VERSION
from aionvme.spec.registers import cq_doorbell, sq_doorbell

if TYPE_CHECKING:
    from aionvme.pci.device import PciDevice
    from aionvme.pci.dma import DmaBuffer
    from aionvme.qpair.namespace import Namespace
    from aionvme.sharing.facts import Facts
    from aionvme.spec.identify import IdentifyController

__all__ = ["BorrowedController", "borrow"]

_PATIENCE = 30.0  # seconds, until the owner has said what its own is


def borrow(path: str | os.PathLike[str]) -> Opening[BorrowedController]:
    """Borrows a controller that another process lends: `await` it, or enter it by `async with`.

    Args:
        path: The socket, as given to `lend`.

    Raises:
        AddressError: Nobody lends there, or not to this user.
        UsageError: The owner is this process, of another version of this package, or lends it no more.
        ControllerLostError: The owner has ended meanwhile.
    """
    return Opening(lambda: run_to_end(_borrow(os.fspath(path))), "borrow()")


async def _borrow(path: str) -> BorrowedController:
    channel = connect_to(path)
    ctrlr = BorrowedController(path)
    connection = Connection(
        channel, f"the controller lent at {path}", _PATIENCE, ctrlr._notice_elsewhere, ctrlr._end_elsewhere
    )
    try:
        await ctrlr._open(connection)
    except BaseException:
        await ctrlr._give_back(connection)
        raise
    return ctrlr


class BorrowedController:
    """A controller of another process, to this one. Made by `borrow`.

    Its queue pairs are as a `Controller`'s. They belong to the loop that borrowed it, as it does. There are no admin
    commands: the owner sends those. When the owner gives it up, resets it, loses it or dies, the outstanding commands
    end: with `ControllerResetError` after a reset, else with `ControllerLostError`, and so does every later call.
    Memory that the device may write then stays out of use while this process lives.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._closing: asyncio.Future[None] | None = None
        self._error: NvmeError | None = None
        self._queues: dict[int, IoQueuePair] = {}
        self._irq_fds: dict[int, list[int]] = {}
        self._namespaces = ActiveNamespaces()
        self._looking: asyncio.Future[None] | None = None
        self._look_again = False
        self._function: BorrowedFunction | None = None

    async def _open(self, connection: Connection) -> None:
        self._connection = connection
        answer, fds = await connection.ask_here("hello", version=VERSION)
        try:
            self._facts: Facts = unpack_facts(answer["facts"])
            function = BorrowedFunction(self._facts, connection)
            self._dma = DmaSpace(function)
            self._function = function
            function.map_doorbells([(fd, *place) for fd, place in zip(fds, answer["doorbells"], strict=True)])
        finally:
            close_all(fds)
        await self._look_at_namespaces()
        self._check_open()

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def data(self) -> IdentifyController:
        """Identify Controller, as it was when it was borrowed."""
        return self._facts.data

    @property
    def namespaces(self) -> Mapping[int, Namespace]:
        """The active namespaces by identifier; they follow the owner's."""
        return self._namespaces

    @property
    def pci_dev(self) -> PciDevice:
        """Which function it is."""
        return self._facts.pci_dev

    @property
    def version(self) -> tuple[int, int, int]:
        """Major, minor and tertiary version of the specification that it follows (VS)."""
        return self._facts.version

    @property
    def max_transfer(self) -> int:
        """Most bytes of data in one command (MDTS); 0 for no limit. Longer reads and writes are split."""
        return self._facts.max_transfer

    @property
    def closed(self) -> bool:
        """Whether `close` was called, or the owner has ended it."""
        return self._closing is not None or self._error is not None

    if not TYPE_CHECKING:  # They know that there is no such attribute.

        def __getattr__(self, name: str) -> None:
            why = ": a borrowed controller has no admin commands: have its owner send them"
            raise AttributeError(
                f"{type(self).__name__!r} has no {name!r}{why if hasattr(AdminCommands, name) else ''}",
                name=name,
                obj=self,
            )

    def __repr__(self) -> str:
        return f"<BorrowedController {self._path}{' closed' if self.closed else ''}>"

    def _check_open(self) -> None:
        if self._error is not None:
            raise type(self._error)(*self._error.args)
        if self._closing is not None:
            raise UsageError(f"{self!r}: borrow it again")

    # -- memory and queue pairs ----------------------------------------------------------------------------------------

    def dma_alloc(self, nbytes: int, *, align: int = 4096, zero: bool = True) -> DmaBuffer:
        """Memory for reads and writes, which the controller reaches. See `Controller.dma_alloc`.

        Where it takes more than this process has mapped, the owner is asked, and the call blocks until it answers.

        Raises:
            ControllerLostError: The owner is gone, or does not answer.
        """
        self._check_open()
        return self._dma.alloc(nbytes, align=align, zero=zero)

    def alloc_io_qpair(
        self,
        *,
        depth: int | None = None,
        qprio: QPrio = QPrio.MEDIUM,
        completion: str = "poll",
        batching: bool | None = None,
    ) -> Opening[IoQueuePair]:
        """Allocates an I/O queue pair: `await` it, or enter it by `async with`. See `Controller.alloc_io_qpair`.

        Raises:
            UsageError: No queue is left, or there is no such depth, interrupt or mode.
            WrongLoopError: It was borrowed in another loop.
            StatusError: The controller refused.
        """
        return Opening(
            lambda: run_to_end(self._alloc(depth, qprio, completion, batching)), "alloc_io_qpair()"
        )

    async def _alloc(
        self, depth: int | None, qprio: QPrio, completion: str, batching: bool | None
    ) -> IoQueuePair:
        self._check_open()
        if asyncio.get_running_loop() is not self._loop:
            raise WrongLoopError(f"{self!r} belongs to another event loop: borrow it in each")
        answer, fds = await self._ask("queue", depth=depth, qprio=int(qprio), completion=completion)
        qid, depth = answer["qid"], answer["depth"]
        self._irq_fds[qid] = fds
        try:
            qp = self._make(qid, depth, completion, batching)
        except BaseException:
            await self._forget(qid)
            raise
        self._queues[qid] = qp
        try:
            await self._ask(
                "create",
                qid=qid,
                entries=qp.entries,
                sq_iova=qp.sq_iova,
                cq_iova=qp.cq_iova,
                completion=completion,
            )
            self._check_open()
        except BaseException:
            await self._delete(qp)
            raise
        return qp

    def _make(self, qid: int, depth: int, completion: str, batching: bool | None) -> IoQueuePair:
        facts, function = self._facts, self._function
        assert function is not None
        sq, cq = sq_doorbell(qid, facts.dstrd), cq_doorbell(qid, facts.dstrd)
        if not (function.has_doorbell(sq) and function.has_doorbell(cq)):
            raise UsageError(f"{self!r}: the doorbells of queue {qid} can't be mapped: use fewer queues")
        fds = self._irq_fds[qid]
        return IoQueuePair(
            function=function,
            dma=self._dma,
            qid=qid,
            depth=depth,
            entries=depth + 1,
            page_size=facts.page_size,
            max_transfer=facts.max_transfer,
            limits=facts.limits,
            sq_doorbell=sq,
            cq_doorbell=cq,
            completion=completion,
            batching=batching,
            irq_fd=fds[0] if fds else -1,
            loop=self._loop,
            host=self,
            default_timeout=facts.io_timeout,
            abort_timeout=facts.abort_timeout,
            loop_timeout=facts.loop_timeout,
            name=f"aionvme {facts.name} qp {qid}",
        )

    async def _ask(self, do: str, **fields: Any) -> tuple[dict[str, Any], list[int]]:
        # The owner may have to reset the controller before it can answer, which its own time limits end.
        patience = self._facts.admin_timeout + self._facts.abort_timeout
        return await self._connection.ask_here(do, patience=patience, **fields)

    # -- for the queue pairs -------------------------------------------------------------------------------------------

    def abort(self, qid: int, cid: int, opcode: int) -> None:
        """For the queue pair: one of its commands is to be aborted."""
        self._connection.tell("abort", qid=qid, cid=cid, opcode=opcode)

    def escalate(self, why: str) -> None:
        """For the queue pair: nothing but a reset helps. The owner that does not even hear of it is given up."""
        start_to_end(self._escalate(why), self._loop).add_done_callback(lambda future: future.exception())

    async def _escalate(self, why: str) -> None:
        await self._connection.ask_here("escalate", why=why)

    async def close_io_qpair(self, qp: IoQueuePair) -> None:
        """For the queue pair: waits for its commands, has both queues deleted, and gives everything back."""
        qp.refuse(UsageError(f"{qp!r} is closed"))
        await run_to_end(self._close_qpair(qp))

    async def _close_qpair(self, qp: IoQueuePair) -> None:
        await qp.wait_idle()
        if self._queues.get(qp.qid) is qp:
            await self._delete(qp)

    async def _delete(self, qp: IoQueuePair) -> None:
        # It rings no doorbell any more: they may be another's as soon as the owner has deleted the queues.
        qp.suspend()
        await self._forget(qp.qid)
        if self._queues.get(qp.qid) is qp:
            del self._queues[qp.qid]
            qp.dispose()
        close_all(self._irq_fds.pop(qp.qid, []))

    async def _forget(self, qid: int) -> None:
        with contextlib.suppress(NvmeError):
            # An owner that is gone has no queues, and everything else ends for that.
            await self._ask("delete", qid=qid)
        if qid not in self._queues:
            close_all(self._irq_fds.pop(qid, []))

    # -- from the owner ------------------------------------------------------------------------------------------------

    def _notice_elsewhere(self, _what: str) -> None:
        with contextlib.suppress(RuntimeError):  # The loop is closed.
            self._loop.call_soon_threadsafe(self._follow)

    def _follow(self) -> None:
        self._look_again = True
        if self._looking is None and not self.closed:
            self._looking = start_to_end(self._keep_looking(), self._loop)
            self._looking.add_done_callback(lambda future: future.exception())

    async def _keep_looking(self) -> None:
        try:
            while self._look_again:
                self._look_again = False
                await self._look_at_namespaces()
        finally:
            self._looking = None

    async def _look_at_namespaces(self) -> None:
        answer, _ = await self._ask("namespaces")
        found = {}
        for nsid in answer["nsids"]:
            described, _ = await self._ask("namespace", nsid=nsid)
            if described["namespace"] is not None:
                found[nsid] = unpack_namespace(described["namespace"], self._dma)
        for nsid, before in list(self._namespaces.items()):
            now = found.get(nsid)
            if now is not None and shape(now.data, now.nvm) == shape(before.data, before.nvm):
                found[nsid] = before
            else:
                self._retire(before)
        self._namespaces.clear()
        self._namespaces.update(found)

    def _retire(self, namespace: Namespace) -> None:
        why = f"namespace {namespace.nsid} went, or has another format or size now: see ctrlr.namespaces"
        namespace.retire(why)
        for qp in list(self._queues.values()):
            qp.drop_unposted(namespace.nsid, UsageError(f"ns: {why}"))

    def _end_elsewhere(self, error: NvmeError) -> None:
        # In the connection's thread. First, so that no doorbell is rung any more.
        self._error = error
        for qp in list(self._queues.values()):
            qp.refuse(error)
            qp.suspend()
        with contextlib.suppress(RuntimeError):  # The loop is closed.
            self._loop.call_soon_threadsafe(self._end, error)

    def _end(self, error: NvmeError) -> None:
        """The owner has ended it: what is outstanding ends with `error`, and the doorbells are let go."""
        if self._function is None:
            return  # It was being borrowed, and that fails.
        logger.error("%s", error)
        if not isinstance(error, ControllerResetError):
            # Whether the device has stopped, the owner could not say, or is not to be asked any more.
            self._dma.quarantine()
        for qp in list(self._queues.values()):
            qp.suspend()
            qp.end_outstanding(error, True)
            qp.dispose()
        self._queues.clear()
        self._let_go()
        start_to_end(self._hang_up(self._connection), self._loop)

    def _let_go(self) -> None:
        if self._function is None or self._function.closed:
            return
        self._function.close()
        self._dma.close()
        for fds in self._irq_fds.values():
            close_all(fds)

    async def _hang_up(self, connection: Connection) -> None:
        await self._loop.run_in_executor(None, connection.close)

    # -- the end -------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Waits for every command, gives its queues and memory back, and hangs up. May be called twice.

        A cancellation is raised after the end.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise WrongLoopError(f"{self!r} belongs to another event loop: close it there")
        if self._closing is None:
            self._closing = start_to_end(self._close(), self._loop)
        await wait_to_end(self._closing)

    async def _close(self) -> None:
        for qp in list(self._queues.values()):
            await self.close_io_qpair(qp)
        await self._give_back(self._connection)

    async def _give_back(self, connection: Connection) -> None:
        """Nothing is outstanding, and the controller knows no queue of this process."""
        if self._function is not None and not self._function.closed:
            try:
                # Asks the owner for each arena.
                await self._loop.run_in_executor(None, self._dma.close)
            except (NvmeError, OSError) as error:
                logger.warning("%s: memory is not used again: %s", self._facts.name, error)
            self._let_go()
        await self._hang_up(connection)

    async def __aenter__(self) -> BorrowedController:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        function: BorrowedFunction | None = self.__dict__.get("_function")
        if function is None or function.closed or os.getpid() != self._pid:
            return
        _warn(f"{self!r} was not closed: use `async with`, or await close()", ResourceWarning, source=self)
