# cython: language_level=3, boundscheck=False, wraparound=False
"""Owns `MockFunction`: the mock as the driver above the seam opens it."""

import errno
import os
import warnings

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t

from aionvme.errors import UsageError
from aionvme.mock.bar_file import sealed_file
from aionvme.pci.backing import DoorbellFile

from aionvme.mock.machine cimport Machine
from aionvme.mock.rings cimport CSTS
from aionvme.pci.function cimport Function
from aionvme.pci.mmio cimport (
    aio_barrier_full, aio_mmio_read32, aio_mmio_read64, aio_mmio_write32, aio_mmio_write64,
)

cdef enum:
    DOORBELLS = 0x1000
    PAGE = 4096

# What is left of 48 bits where the MSI window is (Intel SDM 3A, 11.11.1; VFIO reports it the same way).
_IOVA_RANGES = [(0, 0xFEDFFFFF), (0xFEF00000, (1 << 48) - 1)]


cdef class MockFunction(Function):
    """The function of a `MockController`, as `MockController.open` gives it.

    BAR 0 is memory, and a doorbell a store to it that the data plane sees. The control registers act when
    they are written by `write32` or `write64`.
    """

    cdef Machine machine
    cdef object _mock
    cdef object _registers
    cdef object _config
    cdef list _irqs
    cdef dict _notices
    cdef bint _owned
    cdef object _shared             # (offset, nbytes) of what others may map of BAR 0
    cdef int _bar_fd
    cdef object __weakref__

    def __init__(self, pci_dev, mock, Machine machine, registers, config, *, bint owned, bint parks, shared=None):
        super().__init__(pci_dev)
        self.machine = machine
        self._mock, self._registers, self._config = mock, registers, config
        self._irqs, self._notices = [], {}
        self._owned = owned
        self._shared, self._bar_fd = shared, -1
        self.bar, self.bar_size = machine.core.bar, machine.bar_size
        self.sleeping = &machine.sleeping if parks else NULL

    def __del__(self):
        if not self._closed and self.machine is not None:
            warnings.warn(f"{self!r} was collected while open", ResourceWarning, stacklevel=2, source=self)
            self.close()

    # -- registers -------------------------------------------------------------------------------------------

    cpdef uint32_t read32(self, size_t offset) except? 0xFFFFFFFF:
        """Reads a 32-bit register."""
        self._check(offset, 4)
        if offset == CSTS:
            self._registers.refresh()
        return aio_mmio_read32(self.bar + offset)

    cpdef uint64_t read64(self, size_t offset) except? 0xFFFFFFFF:
        """Reads a 64-bit register, or two neighbours."""
        self._check(offset, 8)
        if offset == CSTS & ~7:
            self._registers.refresh()
        return aio_mmio_read64(self.bar + offset)

    cpdef int write32(self, size_t offset, uint32_t value) except -1:
        """Writes a 32-bit register; what it controls has happened when this returns."""
        self._check(offset, 4)
        if offset < DOORBELLS:
            self._registers.write32(offset, value)
        else:
            aio_mmio_write32(self.bar + offset, value)
            self._ring()
        return 0

    cpdef int write64(self, size_t offset, uint64_t value) except -1:
        """Writes a 64-bit register, or two neighbours, the lower first."""
        self._check(offset, 8)
        if offset < DOORBELLS:
            self._registers.write32(offset, value & 0xFFFFFFFF)
            self._registers.write32(offset + 4, value >> 32)
        else:
            aio_mmio_write64(self.bar + offset, value)
            self._ring()
        return 0

    def doorbell_files(self):
        """A file that is the doorbells from now on. A store there wakes nobody: the mock looks for one by itself."""
        self._check_open()
        if self._shared is None:
            return []
        offset, nbytes = self._shared
        if self._bar_fd < 0:
            self._bar_fd = sealed_file(offset + nbytes)
            with self.machine:
                self.machine.share_bar(self._bar_fd, offset, nbytes)
                self.machine.set_polled(True)
            self.machine.wake()
        return [DoorbellFile(os.dup(self._bar_fd), offset, offset, nbytes)]

    cdef _keep_doorbells(self):
        if self._bar_fd >= 0:
            with self.machine:
                self.machine.set_polled(False)
                # Others may go on writing to the pages that they have mapped; they are nobody's then.
                self.machine.share_bar(-1, *self._shared)
            os.close(self._bar_fd)
            self._bar_fd = -1

    cdef void kick(self) noexcept nogil:
        """Wakes the data plane."""
        self.machine.wake()

    cdef void _ring(self) noexcept nogil:
        aio_barrier_full()
        if self.sleeping != NULL and self.sleeping[0]:
            self.machine.wake()

    # -- the rest of the seam --------------------------------------------------------------------------------

    def config_read(self, offset: int, nbytes: int) -> bytes:
        """Reads configuration space; all ones once the device was removed."""
        self._check_open()
        return self._config.read(offset, nbytes)

    def config_write(self, offset: int, data: bytes) -> None:
        """Writes configuration space; read-only bits keep their value."""
        self._check_open()
        self._config.write(offset, data)

    def iova_ranges(self) -> list:
        """48 bits, less the window of message signalled interrupts."""
        return list(_IOVA_RANGES)

    def map_dma(self, address: int, nbytes: int, iova: int, *, fd: int = -1, offset: int = 0) -> None:
        """Lets the mock read and write this memory at `iova`. It is in this process: `fd` is not needed."""
        self._check_open()
        if nbytes <= 0 or address % PAGE or nbytes % PAGE or iova % PAGE:
            raise UsageError(
                f"map_dma takes whole pages, not {nbytes:#x} bytes at {address:#x} for iova {iova:#x}"
            )
        if not any(first <= iova and iova + nbytes - 1 <= last for first, last in _IOVA_RANGES):
            raise UsageError(f"iova {iova:#x} with {nbytes:#x} bytes is not within iova_ranges()")
        with self.machine:
            self.machine.map_dma(address, nbytes, iova)

    def unmap_dma(self, iova: int, nbytes: int) -> None:
        """Takes back what one `map_dma` gave. The data plane stood still: it has no pointer any more."""
        self._check_open()
        with self.machine:
            self.machine.unmap_dma(iova, nbytes)

    @property
    def num_irqs(self) -> int:
        """MSI-X vectors."""
        return self._config.num_irqs

    def set_irqs(self, fds: list) -> None:
        """Has vector i signal the eventfd `fds[i]`, which the mock duplicates; an empty list: none."""
        self._check_open()
        if len(fds) > self._config.num_irqs:
            raise UsageError(f"{len(fds)} eventfds are more than the {self._config.num_irqs} vectors")
        self._set_irqs(fds)

    def _set_irqs(self, fds):
        kept = []
        try:
            for fd in fds:
                kept.append(os.dup(fd) if fd >= 0 else -1)
        except OSError:
            _close_all(kept)
            raise
        with self.machine:
            self.machine.set_irqs(kept)
        kept, self._irqs = self._irqs, kept
        _close_all(kept)

    def set_removal_eventfd(self, fd: int | None) -> None:
        """Has this eventfd, which the mock duplicates, signalled by `MockController.request_removal`."""
        self._check_open()
        self._set_notice("removal", fd)

    def set_error_eventfd(self, fd: int | None) -> None:
        """Has this eventfd, which the mock duplicates, signalled by `MockController.bus_error`."""
        self._check_open()
        self._set_notice("error", fd)

    def _set_notice(self, kind, fd):
        kept = os.dup(fd) if fd is not None else -1
        with self.machine:
            before, self._notices[kind] = self._notices.get(kind, -1), kept
        _close_all([before])

    def signal(self, kind: str) -> bool:
        """For the mock: signals the notice "removal" or "error"; False if nobody asked for it."""
        with self.machine:
            fd = self._notices.get(kind, -1)
            if fd < 0:
                return False
            os.eventfd_write(fd, 1)
        return True

    def reset(self) -> None:
        """Function level reset."""
        self._check_open()
        if self._registers.gone:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        with self.machine:
            self._config.function_level_reset()

    def let_go(self) -> None:
        """Disables the controller, and takes back every mapping and interrupt; it stays open."""
        self._set_irqs([])
        for kind in list(self._notices):
            self._set_notice(kind, None)
        with self.machine:
            self._config.function_level_reset()
            self.machine.unmap_all()

    def close(self) -> None:
        """Disables the controller, takes back every mapping and interrupt, and lets another open the mock."""
        if self._closed:
            return
        if self.machine is not None:
            self.let_go()
            self._keep_doorbells()
        # The memory is the machine's, which lives on.
        self.sleeping = NULL
        Function.close(self)
        if self._mock is not None:
            mock, self._mock = self._mock, None
            mock._function_closed(bool(self._owned))

    def _check_open(self):
        if self._closed:
            raise UsageError(f"the function of {self.pci_dev} is closed")


def _close_all(fds):
    for fd in fds:
        if fd >= 0:
            os.close(fd)
