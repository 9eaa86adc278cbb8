# cython: language_level=3, boundscheck=False, wraparound=False
"""The seam: one PCI function as the driver above sees it.

`VfioFunction`, the vfio-user client and the mock are subclasses. Nothing above this layer asks which one it has.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from cpython.exc cimport PyErr_SetFromErrno

from aionvme.errors import UsageError
from aionvme.pci.mmio cimport aio_mmio_read32, aio_mmio_read64, aio_mmio_write32, aio_mmio_write64


cdef class Function:
    """One PCI function, opened: config space, BAR 0, DMA mappings, interrupts, reset.

    A subclass sets `bar`, or calls `_map_bar`, or overrides the four register accessors. The methods that raise
    `NotImplementedError` here are the rest of the seam. After `close()` no register may be touched: the controller
    sees to it that its queue pairs have ended before.

    Attributes:
        pci_dev: The `PciDevice` that this is (address, vendor and device id, ...).
    """

    def __init__(self, pci_dev):
        self.pci_dev = pci_dev

    def __dealloc__(self):
        self._unmap()

    # -- registers ---------------------------------------------------------------------------------------------------

    cdef int _check(self, size_t offset, size_t width) except -1:
        if self._closed:
            raise UsageError(f"the function of {self.pci_dev} is closed")
        if self.bar == NULL or offset % width or offset + width > self.bar_size:
            raise UsageError(
                f"register offset {offset:#x} of {width} bytes is outside BAR 0 ({self.bar_size:#x} bytes), "
                "or not aligned")
        return 0

    cpdef uint32_t read32(self, size_t offset) except? 0xFFFFFFFF:
        """Reads a 32-bit register as one load."""
        self._check(offset, 4)
        return aio_mmio_read32(self.bar + offset)

    cpdef int write32(self, size_t offset, uint32_t value) except -1:
        """Writes a 32-bit register as one store."""
        self._check(offset, 4)
        aio_mmio_write32(self.bar + offset, value)
        return 0

    cpdef uint64_t read64(self, size_t offset) except? 0xFFFFFFFF:
        """Reads a 64-bit register as one load."""
        self._check(offset, 8)
        return aio_mmio_read64(self.bar + offset)

    cpdef int write64(self, size_t offset, uint64_t value) except -1:
        """Writes a 64-bit register as one store."""
        self._check(offset, 8)
        aio_mmio_write64(self.bar + offset, value)
        return 0

    cdef volatile uint8_t *doorbell(self, size_t offset) noexcept:
        """The doorbell at an offset of BAR 0 as memory, NULL where it is none; some subclasses map doorbells alone."""
        if self.bar != NULL:
            return self.bar + offset
        if self._more_bars is not None:
            for address, nbytes, start, first in self._more_bars:
                if first <= offset and offset + 4 <= start + nbytes:
                    return <volatile uint8_t *><size_t>address + (offset - <size_t>start)
        return NULL

    def has_doorbell(self, size_t offset):
        """Whether the doorbell at an offset of BAR 0 is memory."""
        return self.doorbell(offset) != NULL

    cdef void kick(self) noexcept nogil:
        """Wakes the device side after a doorbell store that it would sleep through. Nothing for hardware."""

    # -- BAR 0 as memory ---------------------------------------------------------------------------------------------

    def _map_bar(self, int fd, uint64_t offset, size_t nbytes):
        """Maps BAR 0 from a descriptor; `OSError` as the kernel gave it."""
        cdef void *address = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, <long>offset)
        if address == MAP_FAILED:
            PyErr_SetFromErrno(OSError)
        self.bar = <volatile uint8_t *>address
        self.bar_size = nbytes
        self._mapped_here = True

    def map_bar(self, index, size_t offset, size_t nbytes):
        """A part of a BAR as memory: its address. It stays mapped until the function is closed.

        Raises:
            UsageError: There is no such part, or it cannot be mapped.
            OSError: The kernel refused.
        """
        if index == 0 and self.bar != NULL and offset <= self.bar_size and nbytes <= self.bar_size - offset:
            return <size_t>self.bar + offset
        raise UsageError(f"{nbytes:#x} bytes at {offset:#x} of BAR {index} of {self.pci_dev} cannot be mapped")

    def _map_more(self, int fd, uint64_t offset, size_t nbytes, size_t start=0, size_t first=-1):
        """For subclasses: maps more from a descriptor, a further BAR or, of BAR 0 without a `bar`, doorbells alone.

        Args:
            start: Where in BAR 0 it is.
            first: Where in BAR 0 doorbells begin; by default nowhere.
        """
        cdef void *address = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, <long>offset)
        if address == MAP_FAILED:
            PyErr_SetFromErrno(OSError)
        if self._more_bars is None:
            self._more_bars = []
        self._more_bars.append((<size_t>address, nbytes, start, max(start, first)))
        return <size_t>address

    def doorbell_files(self):
        """Files by which another process maps the doorbells: `DoorbellFile`s, whose descriptors the caller closes.

        From the first call on, until the function is closed, the device looks for doorbells that are rung there.

        Returns:
            An empty list where that can't be had: then no other process can have a queue pair of this function.
        """
        return []

    cdef _unmap(self):
        if self._more_bars is not None:
            for address, nbytes, _, _ in self._more_bars:
                munmap(<void *><size_t>address, <size_t>nbytes)
            self._more_bars = None
        if self._mapped_here and self.bar != NULL:
            munmap(<void *>self.bar, self.bar_size)
        self._mapped_here = False
        self.bar = NULL
        self.bar_size = 0

    @property
    def bar_bytes(self):
        """Bytes of BAR 0; a subclass that reaches registers by message says how many there are."""
        return self.bar_size

    @property
    def closed(self):
        """Whether `close` was called."""
        return bool(self._closed)

    @property
    def loss(self) -> str | None:
        """Why the device is gone, as a sentence, where the function knows; then its registers read as all ones."""
        return None

    @property
    def arena_size(self) -> int:
        """Bytes of memory that are best mapped at a time; a power of two."""
        return 2 << 20

    # -- the rest of the seam ----------------------------------------------------------------------------------------

    def config_read(self, offset: int, nbytes: int) -> bytes:
        """Reads `nbytes` of PCI configuration space."""
        raise NotImplementedError

    def config_write(self, offset: int, data: bytes) -> None:
        """Writes PCI configuration space."""
        raise NotImplementedError

    def set_bus_master(self, on: bool) -> None:
        """Lets the function read and write memory, or stops it (command register 04h, bit 2; bit 1 is memory space)."""
        command = int.from_bytes(self.config_read(4, 2), "little")
        wanted = (command | 0x6) if on else (command & ~0x4)
        if wanted != command:
            self.config_write(4, wanted.to_bytes(2, "little"))

    def iova_ranges(self) -> list:
        """The I/O addresses that may be used, as (first, last) pairs, both inclusive."""
        raise NotImplementedError

    def map_dma(self, address: int, nbytes: int, iova: int, *, fd: int = -1, offset: int = 0) -> None:
        """Lets the device read and write this memory at `iova`.

        Args:
            address: Page-aligned address in this process.
            nbytes: Whole pages.
            iova: Page-aligned, within `iova_ranges()`.
            fd, offset: The file that backs the memory where there is one (a device in another process maps that).
        """
        raise NotImplementedError

    def unmap_dma(self, iova: int, nbytes: int) -> None:
        """Takes back what one `map_dma` gave. When it returns the device can no longer reach the memory."""
        raise NotImplementedError

    @property
    def num_irqs(self) -> int:
        """How many MSI-X (or MSI) vectors there are; 0 for none."""
        raise NotImplementedError

    def set_irqs(self, fds: list) -> None:
        """Has vector i signal the eventfd `fds[i]`; an empty list switches all off."""
        raise NotImplementedError

    @property
    def can_reset(self) -> bool:
        """Whether the function has a reset of its own."""
        return True

    def set_removal_eventfd(self, fd: int | None) -> None:
        """Has this eventfd signalled when the system wants the function back; it waits until the function is closed.

        Nothing where there is no such notice. None for no eventfd.
        """

    def set_error_eventfd(self, fd: int | None) -> None:
        """Has this eventfd signalled when the bus reports an uncorrectable error of the function. As for removal."""

    def reset(self) -> None:
        """Function level reset. BAR and DMA mappings stay; registers have their reset values."""
        raise NotImplementedError

    def close(self) -> None:
        """Gives everything back: interrupts, BAR mapping, DMA mappings, descriptors. May be called twice.

        Subclasses do their part and then call this, which unmaps BAR 0.
        """
        self._closed = True
        self._unmap()

    def __repr__(self):
        state = " closed" if self._closed else ""
        return f"<{type(self).__name__} {self.pci_dev}{state}>"
