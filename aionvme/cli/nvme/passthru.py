"""Owns the sub-commands that send any command as its dwords."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import attrs
import typer

from aionvme.cli import console
from aionvme.cli.nvme import acting
from aionvme.cli.nvme.acting import LongForce, check_can_ask, may_destroy
from aionvme.cli.nvme.frame import Call, Commands
from aionvme.cli.nvme.options import Output, byte_count, switch, value
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
    """A command and where its data goes."""

    admin: bool
    sqe: Sqe
    nbytes: int
    write: bool
    data: bytes

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
                ("data_len", self.nbytes, "08x"),
                *((f"cdw{n}", getattr(sqe, f"cdw{n}"), "08x") for n in range(10, 16)),
            ]
        )

    async def execute(self, call: Call) -> tuple[int, bytes]:
        """Completion dword 0, and the data as it was received."""
        if not self.nbytes:
            return await self._send(call, None), b""
        with call.ctrlr.dma_alloc(self.nbytes) as buf:
            memoryview(buf)[:] = self.data
            dw0 = await self._send(call, buf)
            return dw0, b"" if self.write else bytes(buf)

    async def _send(self, call: Call, data: object) -> int:
        raw = self.sqe.encode()
        if self.admin:
            return int((await call.ctrlr.admin_raw(raw, data=data, write=self.write)).dw0)
        async with call.ctrlr.alloc_io_qpair() as qp:
            return int((await qp.io_raw(raw, data=data, write=self.write)).dw0)  # type: ignore[arg-type]


_Opcode = Annotated[int | None, value("--opcode", "-O", help="Opcode.")]
_Flags = Annotated[int, value("--flags", "-f", help="Flags, the second byte.")]
_Prefill = Annotated[int, value("--prefill", "-p", help="Byte that the buffer is filled with before.")]
_Nsid = Annotated[int, value("--namespace-id", "-n", help="Namespace identifier.")]
_DataLen = Annotated[int, value("--data-len", "-l", help="Bytes of data.", parser=byte_count)]
_Input = Annotated[
    Path | None, typer.Option("--input-file", "-i", help="File of the data, whichever way it goes.")
]
_Show = Annotated[bool, switch("--show-command", "-s", help="Show the command first.")]
_Dry = Annotated[bool, switch("--dry-run", "-d", help="Show the command, and do not send it.")]
_Read = Annotated[bool, switch("--read", "-r", help="The data comes from the controller.")]
_Write = Annotated[bool, switch("--write", "-w", help="The data goes to the controller.")]
_Latency = Annotated[bool, switch("--latency", "-T", help="Say how long it took.")]
_Cdw2 = Annotated[int, value("--cdw2", "-2", help="Dword 2.")]
_Cdw3 = Annotated[int, value("--cdw3", "-3", help="Dword 3.")]
_Cdw10 = Annotated[int, value("--cdw10", "-4", help="Dword 10.")]
_Cdw11 = Annotated[int, value("--cdw11", "-5", help="Dword 11.")]
_Cdw12 = Annotated[int, value("--cdw12", "-6", help="Dword 12.")]
_Cdw13 = Annotated[int, value("--cdw13", "-7", help="Dword 13.")]
_Cdw14 = Annotated[int, value("--cdw14", "-8", help="Dword 14.")]
_Cdw15 = Annotated[int, value("--cdw15", "-9", help="Dword 15.")]


@commands.add("admin-passthru", example="admin-passthru mock: -O 6 -4 1 -l 4096 -b > FILE")
def admin_passthru(
    call: Call,
    opcode: _Opcode = None,
    flags: _Flags = 0,
    prefill: _Prefill = 0,
    nsid: _Nsid = 0,
    data_len: _DataLen = 0,
    cdw2: _Cdw2 = 0,
    cdw3: _Cdw3 = 0,
    cdw10: _Cdw10 = 0,
    cdw11: _Cdw11 = 0,
    cdw12: _Cdw12 = 0,
    cdw13: _Cdw13 = 0,
    cdw14: _Cdw14 = 0,
    cdw15: _Cdw15 = 0,
    input_file: _Input = None,
    show_command: _Show = False,
    dry_run: _Dry = False,
    read: _Read = False,
    write: _Write = False,
    latency: _Latency = False,
    force: LongForce = False,
) -> None:
    """Send an admin command as it is. The driver's own queues and features can be upset by it."""
    sqe = _sqe(opcode, flags, nsid, cdw2, cdw3, cdw10, cdw11, cdw12, cdw13, cdw14, cdw15)
    _pass(call, True, sqe, data_len, prefill, input_file, read, write, show_command, dry_run, latency, force)


@commands.add("io-passthru", example="io-passthru mock: -O 2 -n 1 -l 4096 -6 7 -b > FILE")
def io_passthru(
    call: Call,
    opcode: _Opcode = None,
    flags: _Flags = 0,
    prefill: _Prefill = 0,
    nsid: _Nsid = 0,
    data_len: _DataLen = 0,
    cdw2: _Cdw2 = 0,
    cdw3: _Cdw3 = 0,
    cdw10: _Cdw10 = 0,
    cdw11: _Cdw11 = 0,
    cdw12: _Cdw12 = 0,
    cdw13: _Cdw13 = 0,
    cdw14: _Cdw14 = 0,
    cdw15: _Cdw15 = 0,
    input_file: _Input = None,
    show_command: _Show = False,
    dry_run: _Dry = False,
    read: _Read = False,
    write: _Write = False,
    latency: _Latency = False,
    force: LongForce = False,
) -> None:
    """Send an I/O command as it is."""
    sqe = _sqe(opcode, flags, nsid, cdw2, cdw3, cdw10, cdw11, cdw12, cdw13, cdw14, cdw15)
    _pass(call, False, sqe, data_len, prefill, input_file, read, write, show_command, dry_run, latency, force)


def _sqe(opcode: int | None, flags: int, nsid: int, *dwords: int) -> Sqe:
    if opcode is None:
        raise UsageError("opcode parameter required: -O, a byte")
    names = ("cdw2", "cdw3", "cdw10", "cdw11", "cdw12", "cdw13", "cdw14", "cdw15")
    try:
        sqe = Sqe(opc=opcode, flags=flags, nsid=nsid, **dict(zip(names, dwords, strict=True)))
        sqe.encode()
    except ValueError as error:
        raise UsageError(str(error)) from error
    return sqe


def _pass(
    call: Call,
    admin: bool,
    sqe: Sqe,
    nbytes: int,
    prefill: int,
    path: Path | None,
    read: bool,
    write: bool,
    show: bool,
    dry_run: bool,
    latency: bool,
    force: bool,
) -> None:
    # The direction is in the opcode (Base 2.0, 3.3.3.1), for those that follow the rule.
    inward, outward = read or sqe.opc & 3 == 2, write or sqe.opc & 3 == 1
    if nbytes and inward == outward:
        raise UsageError("data direction not given, or both: one of --read and --write")
    if prefill > 0xFF:
        raise UsageError(f"--prefill is a byte, not {prefill:#x}")
    filled = bytes([prefill]) * nbytes
    data = filled
    if nbytes and outward and not dry_run:
        given = acting.read_input(path, None)[:nbytes]
        data = given + filled[len(given) :]
    command = _Command(admin, sqe, nbytes, outward, data)
    if show or dry_run:
        command.show()
    if dry_run:
        return
    destroys = sqe.opc in _DESTROYS[admin]
    if destroys:
        check_can_ask(call, force)

    async def act(connected: Call) -> tuple[int, bytes]:
        if destroys:
            await may_destroy(connected, f"send {command.title}, which may overwrite what is stored", force)
        begun = time.perf_counter_ns()
        found = await command.execute(connected)
        if latency:
            console.note(f"{command.title} latency: {(time.perf_counter_ns() - begun) // 1000} us")
        return found

    dw0, received = call.run(act)
    console.note(f"{command.title} is Success and result: {dw0:#010x}")
    _show_received(call, path, received)


def _show_received(call: Call, path: Path | None, received: bytes) -> None:
    from aionvme.cli.nvme.output import hex_dump, print_bytes

    if not received:
        return
    if path is not None:
        path.write_bytes(received)
    elif call.output == Output.BINARY:
        print_bytes(received)
    else:
        console.result(hex_dump(received))
