"""Owns the sub-commands that send any command as its dwords."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer

from aionvme.cli import console
from aionvme.cli.nvme import acting
from aionvme.cli.nvme.acting import LongForce, check_can_ask, may_destroy
from aionvme.cli.nvme.frame import Call, Commands
from aionvme.cli.nvme.options import Output, byte_count, number, switch, value
from aionvme.errors import UsageError
from aionvme.spec.entries import Sqe
from aionvme.spec.opcodes import AdminOpcode, NvmOpcode

__all__ = ["commands"]

commands = Commands("Any command")

# Of the commands that lose data these are known, and asked for; of a vendor's nothing is known.
_DESTROYS = {
    True: (AdminOpcode.NAMESPACE_MANAGEMENT, AdminOpcode.FORMAT_NVM, AdminOpcode.SANITIZE),
    False: (
        NvmOpcode.WRITE,
        NvmOpcode.WRITE_UNCORRECTABLE,
        NvmOpcode.WRITE_ZEROES,
        NvmOpcode.DATASET_MANAGEMENT,
        NvmOpcode.COPY,
        NvmOpcode.ZONE_MANAGEMENT_SEND,
        NvmOpcode.ZONE_APPEND,
    ),
}


@attrs.frozen
class _Command:
    """A command, and the memory that it transfers: what goes out, or as much as comes in."""

    admin: bool
    sqe: Sqe
    write: bool
    data: bytes
    metadata: bytes

    @property
    def title(self) -> str:
        """As nvme-cli calls it."""
        kinds = AdminOpcode if self.admin else NvmOpcode
        known = self.sqe.opc in list(kinds)
        name = kinds(self.sqe.opc).name.replace("_", " ").title() if known else "Vendor Specific"
        return f"{'Admin' if self.admin else 'IO'} Command {name}"

    def show(self) -> None:
        """As --show-command has it."""
        sqe = self.sqe
        acting.fields(
            [
                ("opcode", sqe.opc, "02x"),
                ("flags", sqe.flags, "02x"),
                ("nsid", sqe.nsid, "08x"),
                *((f"cdw{n}", getattr(sqe, f"cdw{n}"), "08x") for n in (2, 3)),
                ("data_len", len(self.data), "08x"),
                ("metadata_len", len(self.metadata), "08x"),
                *((f"cdw{n}", getattr(sqe, f"cdw{n}"), "08x") for n in range(10, 16)),
            ]
        )

    async def execute(self, call: Call) -> tuple[int, bytes, bytes]:
        """Completion dword 0, and the data and the metadata as they were received."""
        with contextlib.ExitStack() as stack:
            data, metadata = (self._mapped(call, stack, given) for given in (self.data, self.metadata))
            dw0 = await self._send(call, data, metadata)
            if self.write:
                return dw0, b"", b""
            return dw0, bytes(data or b""), bytes(metadata or b"")

    def _mapped(self, call: Call, stack: contextlib.ExitStack, given: bytes) -> Any:
        if not given:
            return None
        buf = stack.enter_context(call.ctrlr.dma_alloc(len(given)))
        memoryview(buf)[:] = given
        return buf

    async def _send(self, call: Call, data: Any, metadata: Any) -> int:
        raw = self.sqe.encode()
        if self.admin:
            return int((await call.ctrlr.admin_raw(raw, data=data, write=self.write)).dw0)
        async with call.ctrlr.alloc_io_qpair() as qp:
            return int((await qp.io_raw(raw, data=data, metadata=metadata, write=self.write)).dw0)


_DWORDS = ("cdw2", "cdw3", "cdw10", "cdw11", "cdw12", "cdw13", "cdw14", "cdw15")


@attrs.frozen(kw_only=True)
class _Told:
    """What both sub-commands are told."""

    opcode: Annotated[int | None, value("--opcode", "-O", help="Opcode.")] = None
    flags: Annotated[int, value("--flags", "-f", help="Flags, the second byte.")] = 0
    prefill: Annotated[int, value("--prefill", "-p", help="Byte that the buffer is filled with before.")] = 0
    # The kernel takes it, and puts its own identifier of the command there.
    rsvd: Annotated[int, typer.Option("--rsvd", "-R", parser=number, metavar="NUM", hidden=True)] = 0
    namespace_id: Annotated[int, value("--namespace-id", "-n", help="Namespace identifier.")] = 0
    data_len: Annotated[int, value("--data-len", "-l", help="Bytes of data.", parser=byte_count)] = 0
    metadata_len: Annotated[
        int, value("--metadata-len", "-m", help="Bytes of metadata, of an I/O command.", parser=byte_count)
    ] = 0
    cdw2: Annotated[int, value("--cdw2", "-2", help="Dword 2.")] = 0
    cdw3: Annotated[int, value("--cdw3", "-3", help="Dword 3.")] = 0
    cdw10: Annotated[int, value("--cdw10", "-4", help="Dword 10.")] = 0
    cdw11: Annotated[int, value("--cdw11", "-5", help="Dword 11.")] = 0
    cdw12: Annotated[int, value("--cdw12", "-6", help="Dword 12.")] = 0
    cdw13: Annotated[int, value("--cdw13", "-7", help="Dword 13.")] = 0
    cdw14: Annotated[int, value("--cdw14", "-8", help="Dword 14.")] = 0
    cdw15: Annotated[int, value("--cdw15", "-9", help="Dword 15.")] = 0
    input_file: Annotated[
        Path | None, typer.Option("--input-file", "-i", help="File of the data, whichever way it goes.")
    ] = None
    metadata: Annotated[
        Path | None, typer.Option("--metadata", "-M", help="File of the metadata, whichever way it goes.")
    ] = None
    show_command: Annotated[bool, switch("--show-command", "-s", help="Show the command first.")] = False
    dry_run: Annotated[bool, switch("--dry-run", "-d", help="Show the command, and do not send it.")] = False
    read: Annotated[bool, switch("--read", "-r", help="The data comes from the controller.")] = False
    write: Annotated[bool, switch("--write", "-w", help="The data goes to the controller.")] = False
    latency: Annotated[bool, switch("--latency", "-T", help="Say how long it took.")] = False
    force: LongForce = False

    def sqe(self) -> Sqe:
        """The command."""
        if self.opcode is None:
            raise UsageError("opcode parameter required: -O, a byte")
        dwords = {name: getattr(self, name) for name in _DWORDS}
        try:
            sqe = Sqe(opc=self.opcode, flags=self.flags, nsid=self.namespace_id, **dwords)
            sqe.encode()
        except ValueError as error:
            raise UsageError(str(error)) from error
        return sqe

    def outward(self, opcode: int) -> bool:
        """Whether the data goes to the controller."""
        # The direction is in the opcode (Base 2.0, 3.3.3.1), for those that follow the rule.
        inward, outward = self.read or opcode & 3 == 2, self.write or opcode & 3 == 1
        if (self.data_len or self.metadata_len) and inward == outward:
            raise UsageError("data direction not given, or both: one of --read and --write")
        return outward

    def payload(self, path: Path | None, nbytes: int, outward: bool) -> bytes:
        """What goes to the controller: of the file, then --prefill."""
        if self.prefill > 0xFF:
            raise UsageError(f"--prefill is a byte, not {self.prefill:#x}")
        given = acting.read_input(path, None)[:nbytes] if nbytes and outward and not self.dry_run else b""
        return given + bytes([self.prefill]) * (nbytes - len(given))


@commands.add("admin-passthru", example="admin-passthru mock: -O 6 -4 1 -l 4096 -b > FILE")
def admin_passthru(call: Call, told: _Told) -> None:
    """Send an admin command as it is. The driver's own queues and features can be upset by it."""
    if told.metadata_len:
        raise UsageError("--metadata-len: admin commands have no metadata here, but I/O commands")
    _pass(call, True, told)


@commands.add("io-passthru", example="io-passthru mock: -O 2 -n 1 -l 4096 -6 7 -b > FILE")
def io_passthru(call: Call, told: _Told) -> None:
    """Send an I/O command as it is."""
    _pass(call, False, told)


def _pass(call: Call, admin: bool, told: _Told) -> None:
    sqe = told.sqe()
    outward = told.outward(sqe.opc)
    data = told.payload(told.input_file, told.data_len, outward)
    metadata = told.payload(told.metadata, told.metadata_len, outward and told.metadata is not None)
    command = _Command(admin, sqe, outward, data, metadata)
    if told.show_command or told.dry_run:
        command.show()
    if told.dry_run:
        return
    destroys = sqe.opc in _DESTROYS[admin]
    if destroys:
        check_can_ask(call, told.force)

    async def act(connected: Call) -> tuple[int, bytes, bytes]:
        if destroys:
            what = f"send {command.title}, which may overwrite what is stored"
            await may_destroy(connected, what, told.force)
        begun = time.perf_counter_ns()
        found = await command.execute(connected)
        if told.latency:
            console.note(f"{command.title} latency: {(time.perf_counter_ns() - begun) // 1000} us")
        return found

    dw0, received, beside = call.run(act)
    _show_received(call, told.input_file, received)
    if beside and told.metadata is not None:
        acting.write_output(told.metadata, beside)
    console.note(f"{command.title} is Success and result: {dw0:#010x}")


def _show_received(call: Call, path: Path | None, received: bytes) -> None:
    from aionvme.cli.nvme.output import hex_dump

    if not received:
        return
    if path is not None or call.output == Output.BINARY:
        acting.write_output(path, received)
    else:
        console.result(hex_dump(received))
