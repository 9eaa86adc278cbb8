# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, auto_pickle=False
"""Memory of another process that a function reaches, on behalf of the process that has the function."""

from libc.stdint cimport uint64_t

from aionvme.errors import UsageError
from aionvme.pci.backing import PAGE
from aionvme.pci.mapping cimport Mapped, Mappings
from aionvme.pci.memory cimport SharedMemory

__all__ = ["LentMemory"]

# I/O addresses that are lent to one process, where there are so many, and at least. An IOMMU may have 39 bits in all.
_MOST_IOVA, _LEAST_IOVA = 1 << 36, 1 << 26

cdef enum:
    # Huge pages are mapped at a multiple of their size.
    ALIGN = 2 << 20


cdef class _Lent(Mapped):
    cdef SharedMemory memory


cdef class LentMemory:
    """What the function reaches of one other process's memory, at I/O addresses that it chooses in a range of its own.

    It is mapped here as well, so that it stays when that process dies, until the device has let go of it.

    Args:
        mappings: The function's.

    Attributes:
        iova, nbytes: The range.

    Raises:
        MemoryError: So many I/O addresses are not left.
    """

    cdef Mappings _mappings
    cdef dict _lent
    cdef readonly uint64_t iova
    cdef readonly uint64_t nbytes

    def __init__(self, Mappings mappings not None):
        self._mappings, self._lent = mappings, {}
        self.nbytes = _MOST_IOVA
        with mappings._lock:
            while self.nbytes >= _LEAST_IOVA:
                iova = mappings._iova.take(self.nbytes, self.nbytes)
                if iova is not None:
                    self.iova = iova
                    return
                self.nbytes //= 2
        raise MemoryError(f"{_LEAST_IOVA} bytes of I/O addresses in one piece are not left")

    def map(self, int file, iova, nbytes):
        """Lets the function reach memory of the other process.

        Args:
            file: The descriptor of the memory, sealed against shrinking; it stays the caller's.
            iova, nbytes: Whole pages of the range, of which none is mapped.

        Raises:
            UsageError: They are not; or the file has less memory, or may shrink.
            MemoryError: There is no address space.
            OSError: The kernel refused.
            ControllerLostError: The device is gone.
        """
        cdef _Lent lent
        end = iova + nbytes
        if nbytes <= 0 or iova % PAGE or nbytes % PAGE or iova < self.iova or end > self.iova + self.nbytes:
            raise UsageError(f"{nbytes} bytes at I/O address {iova:#x} are not whole pages of what was lent")
        if any(iova < other + length and other < end for other, (length, _) in self._lent.items()):
            raise UsageError(f"a part of {nbytes} bytes at I/O address {iova:#x} is mapped already")
        lent = _Lent.__new__(_Lent)
        lent.memory = SharedMemory(nbytes, ALIGN, file=file)
        lent.address, lent.nbytes, lent.iova = lent.memory.address, nbytes, iova
        with self._mappings._lock:
            self._mappings._reserve()
            self._mappings.function.map_dma(<size_t>lent.address, nbytes, iova, fd=lent.memory.fd, offset=0)
            self._mappings._insert(lent)
        lent.memory.close_file()
        self._lent[iova] = nbytes, lent

    def unmap(self, iova, nbytes):
        """The function reaches no more what one `map` gave.

        Raises:
            UsageError: It is not what one `map` gave.
            OSError: The kernel refused; the memory stays mapped for ever.
        """
        if self._lent.get(iova, (None,))[0] != nbytes:
            raise UsageError(f"{nbytes} bytes at I/O address {iova:#x} are not what was mapped there")
        error = self._unmap(iova)
        if error is not None:
            raise error

    def covers(self, iova, nbytes):
        """Whether all of it is within what one `map` gave."""
        return any(other <= iova and iova + nbytes <= other + length for other, (length, _) in self._lent.items())

    cdef object _unmap(self, iova):
        cdef _Lent lent = self._lent.pop(iova)[1]
        with self._mappings._lock:
            # The device was cut off from all of it, where it is not alive.
            return self._mappings.unmap(lent) if lent.alive else None

    def close(self):
        """The function reaches nothing more of it, and the range goes back. May be called twice.

        Raises:
            OSError: The kernel refused to unmap something: that stays mapped, and the range in use.
        """
        errors = [self._unmap(iova) for iova in list(self._lent)]
        for error in errors:
            if error is not None:
                self.nbytes = 0
                raise error
        if self.nbytes:
            with self._mappings._lock:
                self._mappings._iova.give(self.iova, self.nbytes)
            self.nbytes = 0
