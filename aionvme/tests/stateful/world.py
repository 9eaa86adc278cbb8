"""Owns the device, the driver and the program of one random run, and what must hold of them at any time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

import attrs

import aionvme
from aionvme.mock import Fault, FaultKind, Held, MockController

BLOCK, BLOCKS = 512, 64
DEPTH = 4
MDTS = 8192  # so that larger commands are several of the device's
# Virtual seconds within which everything ends: a few time limits, Aborts and resets.
PATIENCE = 1000.0
#: These have the driver fail a queue pair, by completions that were not its own.
HOSTILE = frozenset(
    (
        FaultKind.DOUBLED,
        FaultKind.FOREIGN_CID,
        FaultKind.FREE_CID,
        FaultKind.WRONG_SQID,
        FaultKind.BAD_HEAD,
        FaultKind.PHASE_GARBAGE,
        FaultKind.TORN_CQE,
        FaultKind.CQ_OVERRUN,
        FaultKind.COMPLETION_AFTER_RESET,
    )
)
#: All that a driver can be right about.
FAULTS = (
    FaultKind.STATUS,
    FaultKind.DELAY,
    FaultKind.LOST,
    FaultKind.REORDERED,
    FaultKind.STALE_PHASE,
    FaultKind.FATAL_STATUS,
    FaultKind.STUCK_READY,
    *sorted(HOSTILE),
)


@attrs.define(eq=False)
class Command:
    """A command of the program.

    Attributes:
        request: The request.
        task: The task that awaits it; None where it has a callback, or nobody waits.
        buf: Its memory; None when the program dropped it.
        region: First and last I/O address of its memory.
        cancelled: A `cancel` of it returned True.
        ends: How often its end was told.
        error: What it ended with.
        canary: What was put into its memory when it had ended.
    """

    request: aionvme.Request
    buf: aionvme.DmaBuffer | None
    region: tuple[int, int]
    task: asyncio.Task[None] | None = None
    cancelled: bool = False
    ends: int = 0
    error: BaseException | None = None
    canary: bytes | None = None

    def end(self, error: BaseException | None) -> None:
        """Its end was told: the memory is the program's again, which writes to it."""
        self.ends += 1
        self.error = error
        if self.buf is not None:
            self.canary = os.urandom(1) * 16
            memoryview(self.buf)[:16] = self.canary


class World:
    """One run. What its methods do must be called in its loop."""

    def __init__(self, mock: MockController, ctrlr: aionvme.Controller) -> None:
        self.mock = mock
        self.ctrlr = ctrlr
        self.qp: aionvme.IoQueuePair | None = None
        self.commands: list[Command] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.held: list[Held] = []
        self.keeps = False
        self.hostile = False
        self.complaints: list[dict[str, Any]] = []
        self.before = descriptors()

    @classmethod
    async def make(cls) -> World:
        """A controller with one queue pair."""
        before = descriptors()
        mock = MockController(drive="step", size=BLOCK * BLOCKS, mdts=MDTS, timeout=0.5, num_io_queues=4)
        opts = aionvme.ControllerOptions(abort_timeout=1, admin_timeout=5, events=False, num_io_queues=4)
        world = cls(mock, await aionvme.connect(mock, opts))
        world.before = before
        asyncio.get_running_loop().set_exception_handler(lambda _, context: world.complaints.append(context))
        await world.open()
        return world

    async def open(self) -> None:
        """Allocates the queue pair, unless the controller is at its end."""
        try:
            self.qp = await self.ctrlr.alloc_io_qpair(depth=DEPTH)
        except aionvme.NvmeError:
            self.qp = None

    # -- the program -----------------------------------------------------------------------------------------

    def submit(self, nblocks: int, *, write: bool, timeout: float, how: str) -> Command | None:
        """One read or write with memory of its own; None where the driver takes none."""
        if self.qp is None:
            return None
        told: list[Command] = []
        callback = (lambda _arg, cpl: told[0].end(None)) if how == "callback" else None
        try:
            buf = self.ctrlr.dma_alloc(nblocks * BLOCK)
            call = self.qp.submit_write if write else self.qp.submit_read
            request = call(self.ctrlr.namespaces[1], buf, 0, nblocks, callback, timeout=timeout)
        except aionvme.NvmeError:
            return None
        command = Command(request, buf, (buf.iova, buf.iova + nblocks * BLOCK - 1))
        told.append(command)
        if how == "task":
            command.task = asyncio.get_running_loop().create_task(self._await(command))
        elif how == "future":
            request.add_done_callback(lambda _request: command.end(_error_of(request)))
        self.commands.append(command)
        return command

    async def _await(self, command: Command) -> None:
        try:
            await command.request
        except BaseException as error:
            command.end(error)
            raise
        command.end(None)

    def gather(self, commands: list[Command]) -> None:
        """A task that waits for several."""

        async def wait() -> None:
            await asyncio.gather(*(command.task for command in commands if command.task is not None))

        self.begin(wait())

    def begin(self, coro: Coroutine[Any, Any, Any]) -> None:
        """A task of the program that may fail as the driver's documents say, and in no other way."""
        self.tasks.append(asyncio.get_running_loop().create_task(coro))

    def cancel(self, command: Command, *, by_task: bool) -> None:
        """Cancels a command: by its task, where it has one, or itself."""
        if by_task and command.task is not None:
            command.task.cancel()
        elif command.request.cancel():
            command.cancelled = True

    def drop(self, command: Command) -> None:
        """Closes the memory of a command, in flight or not."""
        if command.buf is not None:
            command.buf.close()
            command.buf = None

    async def close_qpair(self) -> None:
        """Closes the queue pair."""
        qp, self.qp = self.qp, None
        if qp is not None:
            self.begin(qp.close())

    def place(self, fault: Fault) -> None:
        """Something goes wrong from now on, also with what would be kept."""
        self.hostile |= fault.kind in HOSTILE
        keeps = self.keeps
        self.keep(False)
        self.mock.add_faults([fault])
        self.keep(keeps)

    def keep(self, on: bool) -> None:
        """Whether the device keeps the commands that it fetches from now on."""
        if on and not self.keeps:
            self.held.append(self.mock.hold(qid=1))
        elif self.keeps and not on:
            self.held[-1].stop()
        self.keeps = on

    def release(self, count: int) -> None:
        """The device executes and completes some that it keeps."""
        for held in self.held:
            count -= held.release(count)

    # -- what must hold --------------------------------------------------------------------------------------

    def check(self) -> None:
        """At any time."""
        self._check_identifiers()
        self._check_memory()
        for command in self.commands:
            assert command.ends <= 1, f"{command} ended {command.ends} times"
            if command.buf is not None and command.canary is not None:
                seen = bytes(memoryview(command.buf)[:16])
                assert seen == command.canary, f"the device wrote to {command}, which had ended"
        if self.qp is not None and not self.hostile:
            assert self.qp.counters["foreign"] == 0, (
                "a completion came for a command that the driver had let go"
            )

    def _check_identifiers(self) -> None:
        if self.qp is None or not self.ctrlr._core.enabled:
            return
        for qid, cid, opcode in self.mock.outstanding:
            if qid == self.qp.qid:
                assert self.qp.has_outstanding(cid), (
                    f"the device has {cid:#x} ({opcode:#x}), which the driver let go"
                )

    def _check_memory(self) -> None:
        """Memory that is handed out is no memory that the device may write to."""
        if self.ctrlr.closed:
            return
        try:
            probes = [self.ctrlr.dma_alloc(BLOCK) for _ in range(3)]
        except aionvme.NvmeError:
            return
        owned = {cid for qid, cid, _ in self.mock.outstanding if self.qp is not None and qid == self.qp.qid}
        for command in self.commands:
            if command.request.cid not in owned:
                continue
            for probe in probes:
                first, last = command.region
                assert not first <= probe.iova <= last, f"memory of {command} was given away"
        for probe in probes:
            probe.close()

    # -- the end ---------------------------------------------------------------------------------------------

    async def finish(self) -> None:
        """Everything ends, once, with what it has to; and nothing is left."""
        for held in self.held:
            held.stop()
            held.release()
        for command in self.commands:
            if not command.request.done():
                self.cancel(command, by_task=False)
        async with asyncio.timeout(PATIENCE):
            while not all(command.request.done() for command in self.commands):
                await asyncio.sleep(0.5)
                self.check()
            self.mock.clear_faults()
            ends = await asyncio.gather(*self.tasks, return_exceptions=True)
            await self.ctrlr.close()
            await asyncio.sleep(0)
        for end in ends:
            assert end is None or isinstance(end, aionvme.NvmeError | asyncio.CancelledError), end
        for command in self.commands:
            self._check_end(command)
        self.mock.close()
        self._check_leaks()

    def _check_end(self, command: Command) -> None:
        error = _error_of(command.request)
        if command.cancelled:
            assert isinstance(error, asyncio.CancelledError), (
                f"{command} was cancelled, and ended with {error!r}"
            )
        assert error is None or isinstance(error, aionvme.NvmeError | asyncio.CancelledError), error
        assert command.ends == 1, f"{command} ended {command.ends} times"
        self.drop(command)

    def _check_leaks(self) -> None:
        assert self.ctrlr.closed
        assert self.ctrlr._dma.closed, "memory is mapped still"
        assert self.mock.num_queues == 0
        assert self.mock.outstanding == []
        loop = asyncio.get_running_loop()
        assert asyncio.all_tasks(loop) == {asyncio.current_task()}
        assert descriptors() == self.before
        for context in self.complaints:
            assert isinstance(context.get("exception"), aionvme.NvmeError), context


def _error_of(request: aionvme.Request) -> BaseException | None:
    if request.cancelled():
        return asyncio.CancelledError()
    return request.exception()


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))
