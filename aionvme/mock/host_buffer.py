"""Owns the host memory buffer (NVMe Base 2.0, 5.27.1.10): what the host lent, and what the mock keeps there.

In each page the mock writes a mark that names the page, and looks for it at each admin command: memory that the host
uses for something else, or takes away, while it is lent is found out.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import attrs

from aionvme.mock.refusal import Refused
from aionvme.spec.features_data import HostMemoryBuffer, HostMemoryDescriptor
from aionvme.spec.registers import Reg
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.machine import Machine
    from aionvme.mock.options import MockOptions

__all__ = ["HostBuffer", "HostMemoryState"]

_UNIT = 4096
_MARK = struct.Struct("<QQI")  # address, count, and the checksum of both


@attrs.frozen(kw_only=True)
class HostMemoryState:
    """What a mock has of the host's memory.

    Attributes:
        nbytes: Bytes that are lent, 0 for none.
        pieces: Address and bytes of each.
        damaged: Addresses of pages whose mark the host overwrote, or that can't be reached, since the mock was made.
        looks: How many marks were looked at.
        returned: The memory was lent again with what was in it.
    """

    nbytes: int = 0
    pieces: tuple[tuple[int, int], ...] = ()
    damaged: tuple[int, ...] = ()
    looks: int = 0
    returned: bool = False


class HostBuffer:
    """The memory of one controller.

    Attributes:
        value: As Get Features gives it.
    """

    def __init__(self, machine: Machine, options: MockOptions) -> None:
        self._machine = machine
        self._options = options
        self._damaged: list[int] = []
        self._looks = 0
        self._count = 0
        self._counts: dict[int, int] = {}  # what the mark of a page says, by its address
        self._next = 0
        self.value = HostMemoryBuffer()
        self._pieces: tuple[tuple[int, int], ...] = ()
        self._pages: tuple[int, ...] = ()

    @property
    def state(self) -> HostMemoryState:
        """What a test reads of it."""
        return HostMemoryState(
            nbytes=sum(nbytes for _, nbytes in self._pieces),
            pieces=self._pieces,
            damaged=tuple(self._damaged),
            looks=self._looks,
            returned=bool(self.value.mr),
        )

    @property
    def _page(self) -> int:
        return 1 << 12 + (self._machine.get32(Reg.CC) >> 7 & 0xF)

    def enable(self, value: HostMemoryBuffer) -> None:
        """The host lends memory. What it returns has the marks in it that were there before."""
        pieces = self._descriptors(value)
        self._pieces = pieces
        page = self._page
        self._pages = tuple(
            address for start, nbytes in pieces for address in range(start, start + nbytes, page)
        )
        self.value = value
        self._next = 0
        for address in self._pages:
            if value.mr and address in self._counts:
                self._look(address)
            else:
                self._mark(address)

    def _descriptors(self, value: HostMemoryBuffer) -> tuple[tuple[int, int], ...]:
        """The list, checked: what the controller can use (5.27.1.10 and 5.17.2.1)."""
        commands, page = self._options.commands, self._page
        if value.hmdlec == 0 or value.hmdla % 16 or value.hsize * page < commands.hmmin * _UNIT:
            raise Refused(StatusCode.INVALID_FIELD)
        if commands.hmmaxd and value.hmdlec > commands.hmmaxd:
            raise Refused(StatusCode.INVALID_FIELD)
        raw = self._read(value.hmdla, value.hmdlec * HostMemoryDescriptor.SIZE)
        if raw is None:
            raise Refused(StatusCode.DATA_TRANSFER_ERROR)
        entries = [HostMemoryDescriptor.decode(raw[at : at + 16]) for at in range(0, len(raw), 16)]
        if any(
            entry.badd % page or entry.bsize * page < max(commands.hmminds * _UNIT, 1) for entry in entries
        ):
            raise Refused(StatusCode.INVALID_FIELD)
        if sum(entry.bsize for entry in entries) != value.hsize:
            raise Refused(StatusCode.INVALID_FIELD)
        return tuple((entry.badd, entry.bsize * page) for entry in entries)

    def disable(self) -> None:
        """The host takes it back: everything is looked at a last time."""
        for address in self._pages:
            self._look(address)
        self.forget()

    def forget(self) -> None:
        """A reset: the memory is not used any more, and may be returned with what is in it."""
        self.value = HostMemoryBuffer()
        self._pieces = self._pages = ()

    def use(self) -> None:
        """Looks at the mark of the next page, and writes another."""
        if not self._pages:
            return
        address = self._pages[self._next % len(self._pages)]
        self._next += 1
        self._look(address)
        self._mark(address)

    # -- marks -------------------------------------------------------------------------------------------------

    def _mark(self, address: int) -> None:
        self._count += 1
        self._counts[address] = self._count
        if self._machine.data_in(address, 0, _mark(address, self._count)):
            self._damaged.append(address)

    def _look(self, address: int) -> None:
        self._looks += 1
        found = self._read(address, _MARK.size)
        if found != _mark(address, self._counts[address]) and address not in self._damaged:
            self._damaged.append(address)

    def _read(self, address: int, nbytes: int) -> bytes | None:
        """Memory page by page, since a list of PRPs would have to be the host's."""
        page, parts = self._page, []
        while nbytes:
            part = min(nbytes, page - address % page)
            status, data = self._machine.data_out(address, 0, part)
            if status:
                return None
            parts.append(data)
            address, nbytes = address + part, nbytes - part
        return b"".join(parts)


def _mark(address: int, count: int) -> bytes:
    head = struct.pack("<QQ", address, count)
    return head + zlib.crc32(head).to_bytes(4, "little")
