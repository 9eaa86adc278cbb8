# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns memory of clients in other processes as it is mapped here, and what is done when a client takes it away.

What a client sends is checked before it is mapped: it is shared memory, which no server of a file system stands
behind that could have an access wait for ever, and it has the bytes that the client says. The client can still
shrink it afterwards; the handler in bus_error.h then has the accesses go on in zeros, and ends the connection.
"""

import errno
import mmap as pages
import os
import stat
import threading

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, madvise, mmap, munmap
from cpython.exc cimport PyErr_SetFromErrno

cdef extern from "../mock/bus_error.h" nogil:
    struct bus_mapping:
        pass
    bus_mapping *bus_find(size_t address)
    int bus_install()
    int bus_enter(void *start, size_t nbytes, int socket)
    void bus_leave(int place)

cdef extern from "<sys/mman.h>" nogil:
    int MADV_DONTDUMP
    int MADV_DONTFORK

cdef extern from "<sys/vfs.h>" nogil:
    struct statfs_t "statfs":
        long f_type
        long f_bsize
    int fstatfs(int fd, statfs_t *found)

# linux/magic.h. The second is more than an enumerator can be.
cdef long TMPFS = 0x01021994
cdef long HUGETLBFS = 0x958458F6

cdef enum:
    WRITE = 2

_MOST = (1 << 63) - 1
_installing = threading.Lock()


def guard():
    """Has accesses to memory that a client took away go on in zeros; a fault anywhere else is as it was before.

    To be called again where another handler of SIGBUS may have been installed since.
    """
    with _installing:
        if bus_install() < 0:
            PyErr_SetFromErrno(OSError)


cdef class ClientMemory:
    """A part of a file of a client's, mapped from now until `close`.

    Args:
        fd: The file, which is only looked at.
        offset: Where the part begins in it.
        nbytes: Its length.
        access: What is done there: reading (1), writing (2).
        socket: Of the connection that ends when the file turns out to be shorter than it was.

    Attributes:
        address: Of the first byte.
        nbytes: As given.

    Raises:
        OSError: With EINVAL: it is no shared memory, has no such part, or is not aligned; or as the kernel had it.
    """

    def __cinit__(self, int fd, uint64_t offset, uint64_t nbytes, int access, int socket):
        cdef statfs_t system
        cdef uint64_t unit = pages.PAGESIZE
        cdef int protection = PROT_READ | (PROT_WRITE if access & WRITE else 0)
        cdef uint64_t skew
        cdef void *made
        self.place = -1
        about = os.fstat(fd)
        if fstatfs(fd, &system) < 0:
            PyErr_SetFromErrno(OSError)
        if not stat.S_ISREG(about.st_mode) or system.f_type not in (TMPFS, HUGETLBFS):
            raise OSError(errno.EINVAL, "a client's memory is not of a memfd, tmpfs or hugetlbfs")
        if nbytes == 0 or offset > _MOST or nbytes > _MOST - offset or offset + nbytes > about.st_size:
            raise OSError(errno.EINVAL, f"{nbytes} bytes at {offset} are not within a file of {about.st_size}")
        if system.f_type == HUGETLBFS:
            unit = <uint64_t>system.f_bsize
        elif offset % unit or nbytes % unit:
            raise OSError(errno.EINVAL, f"{nbytes} bytes at {offset} are not whole pages of {unit}")
        # Huge pages are mapped as a whole, whatever part of one is asked for.
        skew = offset % unit
        self.mapped = <size_t>((skew + nbytes + unit - 1) // unit * unit)
        made = mmap(NULL, self.mapped, protection, MAP_SHARED, fd, <long>(offset - skew))
        if made == MAP_FAILED:
            PyErr_SetFromErrno(OSError)
        self.base = <uint8_t *>made
        madvise(made, self.mapped, MADV_DONTDUMP)
        madvise(made, self.mapped, MADV_DONTFORK)
        self.address, self.nbytes = <size_t>self.base + <size_t>skew, <size_t>nbytes
        self.place = bus_enter(made, self.mapped, socket)
        if self.place < 0:
            raise OSError(errno.ENOSPC, "more memory of clients is mapped than can be watched")

    def __dealloc__(self):
        self.close()

    def close(self):
        """Unmaps it; nobody may touch it any more. May be called twice."""
        if self.place >= 0:
            bus_leave(self.place)
            self.place = -1
        if self.base != NULL:
            munmap(self.base, self.mapped)
            self.base = NULL


cdef bint replaced(const void *address) noexcept nogil:
    if bus_find(<size_t>address) == NULL:
        return False
    # The fault that the kernel did not take for us.
    (<volatile uint8_t *>address)[0]
    return True
