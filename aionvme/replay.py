"""Owns executing a recording again, on a mock or a device, and telling what is different."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from aionvme.errors import NvmeError, StatusError, UsageError
from aionvme.spec.entries import SqeFlags
from aionvme.spec.opcodes import AdminOpcode, NvmOpcode
from aionvme.trace.entries import Command, transferred_to_host
from aionvme.trace.transfer import nbytes_of

if TYPE_CHECKING:
    from aionvme import Controller, DmaBuffer, IoQueuePair, Request
    from aionvme.trace.reading import Trace

__all__ = ["Difference", "Replayed", "changes_data", "replay"]

# What changes nothing on the controller. The rest of the admin commands is a matter of the host that recorded them.
_ADMIN = (AdminOpcode.IDENTIFY, AdminOpcode.GET_LOG_PAGE, AdminOpcode.GET_FEATURES)
_HARMLESS = (
    NvmOpcode.READ, NvmOpcode.COMPARE, NvmOpcode.VERIFY, NvmOpcode.FLUSH, NvmOpcode.RESERVATION_REPORT,
)  # fmt: skip


@attrs.frozen
class Difference:
    """A command that went otherwise than it was recorded.

    Attributes:
        command: As it was recorded.
        what: "status", "value" (dword 0 of the completion), "data", or "error": there was no completion.
        recorded, replayed: Then and now; of data the SHA-256.
    """

    command: Command = attrs.field(repr=lambda command: f"<{command.name} at {command.began_ns} ns>")
    what: str
    recorded: str
    replayed: str

    def __str__(self) -> str:
        arguments = "".join(f" {name}={value}" for name, value in self.command.arguments.items())
        return (
            f"{self.command.began_ns / 1e6:.4f} ms, q{self.command.qid} {self.command.name}{arguments}: "
            f"{self.what} was {self.recorded}, is {self.replayed}"
        )


@attrs.define
class Replayed:
    """What became of a recording.

    Attributes:
        executed: How many commands were.
        compared: Of how many reads and the like the data was compared.
        skipped: Why others were not executed, and how many.
        differences: In the order of the recording's completions.
    """

    executed: int = 0
    compared: int = 0
    skipped: Counter[str] = attrs.field(factory=Counter)
    differences: list[Difference] = attrs.field(factory=list)


def changes_data(trace: Trace) -> bool:
    """Whether a recording has commands that write, or change what is stored otherwise."""
    return any(command.qid and command.opcode not in _HARMLESS for command in trace.commands)


async def replay(
    trace: Trace, ctrlr: Controller, *, speed: float = 0.0, skip_writes: bool = False
) -> Replayed:
    """Executes the commands of a recording again.

    They are posted in the recorded order, and none before those have completed that had completed before it then. Each
    queue pair of the recording has one here. Of the admin commands only Identify, Get Log Page and Get Features are
    repeated, and their data, which may well change, is not compared.

    Args:
        trace: What `read_trace` gave.
        ctrlr: A controller with the namespaces of the recording. What the recording writes is overwritten there.
        speed: 0.0: as soon as the order allows; else at most so many times as fast as it was recorded.
        skip_writes: Leave out what changes data, instead of refusing a recording that lacks what was written.

    Raises:
        UsageError: A namespace is not there or has other blocks, or data that was written is not in the recording; both
            before anything was executed.
        ControllerLostError: The controller is gone.
    """
    run = _Run(trace, ctrlr, speed, skip_writes)
    run.check()
    try:
        await run.run()
    finally:
        await run.close()
    return run.result


class _Run:
    """One replay."""

    def __init__(self, trace: Trace, ctrlr: Controller, speed: float, skip_writes: bool) -> None:
        self.result = Replayed()
        self._trace = trace
        self._ctrlr = ctrlr
        self._speed = speed
        self._skip_writes = skip_writes
        self._namespaces: dict[str, dict[str, Any]] = trace.header.get("namespaces", {})
        self._qps: dict[int, IoQueuePair] = {}
        self._under_way: dict[int, tuple[Request[Any], DmaBuffer | None]] = {}

    def check(self) -> None:
        for nsid in sorted({command.entry.nsid for command in self._trace.commands if command.qid}):
            self._check_namespace(nsid)
        lacking = [
            command
            for command in self._trace.commands
            if not self._skip_writes and not self._why_not(command) and self._lacks_data(command)
        ]
        if lacking:
            raise UsageError(
                f"the recording does not have what {len(lacking)} commands wrote (the first is {lacking[0].name}): "
                'record with data="full", or leave out what writes (skip_writes=True)'
            )

    def _check_namespace(self, nsid: int) -> None:
        recorded, ns = self._namespaces.get(str(nsid)), self._ctrlr.namespaces.get(nsid)
        if recorded is None:
            return  # Refused then, and no doubt again.
        wanted = (recorded["block_size"], recorded["metadata_size"], recorded["extended"])
        if ns is None or (ns.block_size, ns.metadata_size, ns.extended) != wanted:
            raise UsageError(
                f"the recording has a namespace {nsid} with blocks of {wanted[0]} bytes and {wanted[1]} of metadata, "
                f"and {self._ctrlr.pci_dev} has {'none' if ns is None else repr(ns)}: replay it where it fits"
            )

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for event in self._trace.events:
            command = event.command
            if event.kind == "posted":
                if self._speed:
                    await asyncio.sleep(began + command.began_ns / 1e9 / self._speed - loop.time())
                await self._post(command)
            else:
                await self._end(command, compare=event.kind == "completed")
        for command in self._trace.commands:
            await self._end(command, compare=False)

    async def close(self) -> None:
        requests = [request for request, _ in self._under_way.values()]
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        for _, buf in self._under_way.values():
            if buf is not None:
                buf.close()
        for qp in self._qps.values():
            await qp.close()

    # -- one command -----------------------------------------------------------------------------------------------

    def _unit(self, nsid: int) -> int:
        recorded = self._namespaces.get(str(nsid))
        if recorded is None:
            return 0
        return int(recorded["block_size"] + (recorded["metadata_size"] if recorded["extended"] else 0))

    def _nbytes(self, command: Command) -> int:
        entry = command.entry
        return nbytes_of(command.qid, entry, self._unit(entry.nsid)) if command.opcode & 3 else 0

    def _lacks_data(self, command: Command) -> bool:
        return (
            not transferred_to_host(command.opcode) and bool(self._nbytes(command)) and command.data is None
        )

    def _why_not(self, command: Command) -> str:
        """Why it is not executed; "" if it is."""
        entry, opcode = command.entry, command.opcode
        if command.qid == 0:
            return "" if opcode in _ADMIN else "admin commands that are the host's own"
        if SqeFlags(entry.flags).fuse:
            return "fused commands"
        if self._skip_writes and opcode not in _HARMLESS:
            return "commands that change data"
        recorded = self._namespaces.get(str(entry.nsid), {})
        if entry.mptr and recorded.get("metadata_size") and not recorded.get("extended"):
            return "commands with metadata in a buffer of its own"
        if opcode & 3 and not self._nbytes(command):
            return "commands of which it is not known how much data they have"
        return ""

    async def _post(self, command: Command) -> None:
        if why := self._why_not(command):
            self.result.skipped[why] += 1
            return
        nbytes = self._nbytes(command)
        buf = self._ctrlr.dma_alloc(nbytes) if nbytes else None
        if buf is not None and command.data is not None and not transferred_to_host(command.opcode):
            memoryview(buf)[:nbytes] = command.data
        try:
            self._under_way[id(command)] = (await self._submit(command, buf), buf)
        except UsageError as error:
            if buf is not None:
                buf.close()
            self.result.skipped[str(error)] += 1

    async def _submit(self, command: Command, buf: DmaBuffer | None) -> Request[Any]:
        entry = command.entry
        # The identifier and the pointers are of the host that recorded it.
        sqe = entry.replace(cid=0, flags=0, mptr=0, prp1=0, prp2=0).encode()
        write = not transferred_to_host(command.opcode)
        if command.qid == 0:
            return self._ctrlr.admin_raw(sqe, data=buf, write=write)
        if command.qid not in self._qps:
            self._qps[command.qid] = await self._ctrlr.alloc_io_qpair()
        return self._qps[command.qid].io_raw(sqe, data=buf, write=write)

    async def _end(self, command: Command, *, compare: bool) -> None:
        if id(command) not in self._under_way:
            return
        request, buf = self._under_way.pop(id(command))
        try:
            await self._wait(command, request)
            self.result.executed += 1
            if compare and request.cpl is not None:
                self._compare(command, request, buf)
        finally:
            if buf is not None:
                buf.close()

    async def _wait(self, command: Command, request: Request[Any]) -> None:
        try:
            await request
        except StatusError:
            pass  # Compared below.
        except NvmeError as error:
            if self._ctrlr.closed:
                raise
            self._differs(command, "error", command.outcome, str(error))

    def _compare(self, command: Command, request: Request[Any], buf: DmaBuffer | None) -> None:
        cpl, status = request.cpl, command.status
        assert cpl is not None
        assert status is not None
        if (cpl.status.sct, cpl.status.sc) != (status.sct, status.sc):
            self._differs(command, "status", status.text, cpl.status.text)
            return
        if command.qid == 0:
            return
        if cpl.dw0 != command.dw0:
            self._differs(command, "value", f"{command.dw0:#x}", f"{cpl.dw0:#x}")
        digest = command.digest or (
            hashlib.sha256(command.data).hexdigest() if command.data is not None else None
        )
        if buf is None or digest is None or status or not transferred_to_host(command.opcode):
            return
        self.result.compared += 1
        if (found := hashlib.sha256(bytes(buf)[: self._nbytes(command)]).hexdigest()) != digest:
            self._differs(command, "data", digest, found)

    def _differs(self, command: Command, what: str, recorded: str, replayed: str) -> None:
        self.result.differences.append(Difference(command, what, recorded, replayed))
