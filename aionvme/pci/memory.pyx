# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Memory for DMA as this process sees it: shared, aligned, not in forked children; and what is never freed."""

import os

from cpython.exc cimport PyErr_SetFromErrno
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint8_t
from posix.mman cimport (
    MADV_DONTFORK, MAP_ANONYMOUS, MAP_FAILED, MAP_FIXED, MAP_NORESERVE, MAP_POPULATE, MAP_PRIVATE, MAP_SHARED,
    PROT_NONE, PROT_READ, PROT_WRITE, madvise, mmap, munmap,
)
from posix.unistd cimport close

from aionvme.pci.backing import backing_file, check_backing_file

__all__ = ["SharedMemory"]

# Memory that a device may still write.
_kept = []

cdef long _forks = 0


def _count_fork():
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


cdef long fork_count() noexcept nogil:
    return _forks


cdef keep(object memory):
    Py_INCREF(memory)
    _kept.append(memory)


cdef void report(object error) noexcept:
    raise error


cdef class SharedMemory:
    """Zeroed shared memory from a file without a name, mapped while this object lives.

    Args:
        nbytes: Whole pages.
        align: The address is a multiple of this power of two, at least a page.
        huge: Use 2 MiB pages where the system has some free; `nbytes` may then be more than was asked for.
        file: The descriptor of a file of such memory that another process made, and which then is mapped.

    Raises:
        MemoryError: There is not that much memory or address space.
        UsageError: `file` has less, or may shrink.
        OSError: The kernel refused.
    """

    def __cinit__(self, *args, **kwargs):
        self.fd = -1
        self._forks = _forks

    def __init__(self, size_t nbytes, size_t align, *, bint huge=True, int file=-1):
        if self.address != NULL:
            raise RuntimeError("this memory was set up before")
        if file < 0:
            self.fd, self.nbytes = backing_file(nbytes, huge=huge)
        else:
            check_backing_file(file, nbytes)
            self.fd, self.nbytes = os.dup(file), nbytes
        self._map(align)
        if madvise(self.address, self.nbytes, MADV_DONTFORK):
            PyErr_SetFromErrno(OSError)

    cdef int _map(self, size_t align) except -1:
        # An aligned address: reserve more than is needed, put the file into it, give the ends back.
        cdef size_t reserved = self.nbytes + align, start
        cdef void *base = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        cdef void *mapped
        if base == MAP_FAILED:
            raise MemoryError(f"no address space for {self.nbytes} bytes of DMA memory")
        start = (<size_t>base + align - 1) // align * align
        with nogil:
            mapped = mmap(<void *>start, self.nbytes, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_FIXED | MAP_POPULATE, self.fd, 0)
        if mapped == MAP_FAILED:
            munmap(base, reserved)
            PyErr_SetFromErrno(OSError)
        if start > <size_t>base:
            munmap(base, start - <size_t>base)
        if <size_t>base + reserved > start + self.nbytes:
            munmap(<void *>(start + self.nbytes), <size_t>base + reserved - start - self.nbytes)
        self.address = <uint8_t *>mapped
        return 0

    cdef void close_file(self) noexcept:
        # The memory stays.
        if self.fd >= 0:
            close(self.fd)
        self.fd = -1

    def __dealloc__(self):
        self.close_file()
        # In a forked child something else may be at this address by now.
        if self.address != NULL and self._forks == _forks:
            munmap(self.address, self.nbytes)

    def __repr__(self):
        return f"<SharedMemory of {self.nbytes} bytes>"
