"""Owns the mock's function as VFIO describes one: regions with what can be mapped of them, memory, interrupts."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from aionvme.errors import UsageError
from aionvme.mock.bar_file import sealed_file
from aionvme.mock.client_memory import ClientMemory, guard
from aionvme.mock.serving.irqs import Irqs
from aionvme.pci import abi

if TYPE_CHECKING:
    from aionvme.mock.function import MockFunction
    from aionvme.mock.machine import Machine

__all__ = ["Area", "ServedDevice"]

#: Regions that VFIO has for a PCI function: six BARs, the ROM, configuration space, VGA (VFIO_PCI_NUM_REGIONS).
NUM_REGIONS = 9
CONFIG_BYTES = 4096
REGISTERS = 0x1000  # bytes of control registers at the start of BAR 0; the doorbells follow
_PAGE = 4096

#: Mappings of a client at a time. A process has some 65,000 (vm.max_map_count).
MAX_DMA_MAPS = 16384


@attrs.frozen
class Area:
    """A part of BAR 0, in whole pages."""

    offset: int
    nbytes: int


class ServedDevice:
    """What one client after another has of a mock's function.

    Args:
        function: The function, opened.
        machine: The mock's core.
        shared: What of BAR 0 a client may map; None for nothing.
        rung: Whether doorbells are among it.
        left: Called when a client has gone.
    """

    def __init__(
        self,
        function: MockFunction,
        machine: Machine,
        shared: Area | None,
        rung: bool,
        left: Callable[[], None],
    ) -> None:
        self._function = function
        self._machine = machine
        self._left = left
        self._rung = rung
        self._shared = shared if mmap.PAGESIZE == _PAGE else None
        self._bar_fd = -1
        self._memory: dict[int, tuple[int, ClientMemory | None]] = {}
        self._num_remote = 0
        self.irqs = Irqs(function, machine)

    @property
    def gone(self) -> bool:
        """Whether the mock was removed."""
        return self._function.config_read(0, 2) == b"\xff\xff"

    # -- clients ---------------------------------------------------------------------------------------------

    def attach(self, peer: object) -> None:
        """A client has come; `peer` is asked for memory that comes without a descriptor."""
        guard()
        self._machine.set_peer(peer)
        if self._shared is not None:
            self._bar_fd = sealed_file(self._shared.offset + self._shared.nbytes)
            with self._machine:
                self._machine.share_bar(self._bar_fd, self._shared.offset, self._shared.nbytes)
                self._machine.set_polled(self._rung)

    def detach(self) -> None:
        """The client has gone: nothing of its memory is touched any more, and nothing of it is left here.

        The controller is as after a function level reset.
        """
        self.irqs.unblock()
        self._function.let_go()
        self.irqs.clear()
        for iova in list(self._memory):
            self._forget(iova)
        with self._machine:
            self._machine.set_peer(None)
            if self._bar_fd >= 0 and self._shared is not None:
                self._machine.set_polled(False)
                # It may go on writing to the pages that it has mapped; they are nobody's then.
                self._machine.share_bar(-1, self._shared.offset, self._shared.nbytes)
        if self._bar_fd >= 0:
            os.close(self._bar_fd)
            self._bar_fd = -1
        self._left()

    def close(self) -> None:
        """Lets another open the mock."""
        self._function.close()

    # -- regions ---------------------------------------------------------------------------------------------

    def region_bytes(self, index: int) -> int:
        """Bytes of a region, 0 where there is none."""
        sizes = {0: self._function.bar_bytes, abi.VFIO_PCI_CONFIG_REGION_INDEX: CONFIG_BYTES}
        return int(sizes.get(index, 0))

    def mappable(self, index: int) -> tuple[Area, int] | None:
        """What of a region can be mapped, and the file that has it at the same offset."""
        if index == 0 and self._shared is not None and self._bar_fd >= 0:
            return self._shared, self._bar_fd
        return None

    def read(self, index: int, offset: int, nbytes: int) -> bytes:
        """Reads bytes that are within a region."""
        if index == abi.VFIO_PCI_CONFIG_REGION_INDEX:
            return self._function.config_read(offset, nbytes)
        first = offset & ~3
        words = range(first, offset + nbytes, 4)
        data = b"".join(self._function.read32(at).to_bytes(4, "little") for at in words)
        return data[offset - first : offset - first + nbytes]

    def write(self, index: int, offset: int, data: bytes) -> None:
        """Writes bytes that are within a region. BAR 0 takes whole dwords; 8 aligned bytes are one register.

        Raises:
            OSError: EINVAL: not whole dwords.
        """
        if index == abi.VFIO_PCI_CONFIG_REGION_INDEX:
            self._function.config_write(offset, data)
            return
        if offset % 4 or len(data) % 4:
            raise OSError(errno.EINVAL, f"{len(data)} bytes at {offset:#x} are not whole dwords of BAR 0")
        if len(data) == 8 and offset % 8 == 0:
            self._function.write64(offset, int.from_bytes(data, "little"))
            return
        for at in range(0, len(data), 4):
            self._function.write32(offset + at, int.from_bytes(data[at : at + 4], "little"))

    def reset(self) -> None:
        """Function level reset; memory and interrupts stay."""
        self._function.reset()

    # -- memory ----------------------------------------------------------------------------------------------

    @property
    def has_remote(self) -> bool:
        """Whether there is memory that the client has to be asked for."""
        return self._num_remote > 0

    def map(self, iova: int, nbytes: int, access: int, fd: int, offset: int, sock: int) -> None:
        """Lets the controller reach a client's memory.

        Args:
            iova: I/O address, of a whole page.
            nbytes: Whole pages.
            access: Reading (1), writing (2).
            fd: The file that has it, which the caller closes; negative: the client is asked for it.
            offset: Where it is in that file.
            sock: Of the connection that ends when the file is shrunk afterwards.

        Raises:
            OSError: EEXIST: there is something at `iova`; EINVAL: it can't be; ENOSPC: there are too many.
        """
        if not nbytes or iova % _PAGE or nbytes % _PAGE or iova + nbytes > 1 << 64 or not access:
            raise OSError(errno.EINVAL, f"{nbytes:#x} bytes can't be mapped at {iova:#x}")
        if len(self._memory) >= MAX_DMA_MAPS:
            raise OSError(errno.ENOSPC, f"more than {MAX_DMA_MAPS} mappings")
        memory = ClientMemory(fd, offset, nbytes, access, sock) if fd >= 0 else None
        try:
            with self._machine:
                self._machine.map_dma(memory.address if memory else 0, nbytes, iova, access)
        except UsageError as error:
            if memory is not None:
                memory.close()
            raise OSError(errno.EEXIST, str(error)) from error
        self._memory[iova] = nbytes, memory
        self._num_remote += memory is None

    def unmap(self, iova: int, nbytes: int) -> None:
        """Takes back what one `map` gave. Nothing of it is touched afterwards.

        Raises:
            OSError: ENOENT: no `map` gave just that.
        """
        found = self._memory.get(iova)
        if found is None or found[0] != nbytes:
            raise OSError(errno.ENOENT, f"{nbytes:#x} bytes at {iova:#x} are not what one mapping has")
        with self._machine:
            self._machine.unmap_dma(iova, nbytes)
        self._forget(iova)

    def unmap_all(self) -> None:
        """Takes back all."""
        with self._machine:
            for iova, (nbytes, _) in self._memory.items():
                self._machine.unmap_dma(iova, nbytes)
        for iova in list(self._memory):
            self._forget(iova)

    def _forget(self, iova: int) -> None:
        _, memory = self._memory.pop(iova)
        if memory is None:
            self._num_remote -= 1
        else:
            memory.close()
