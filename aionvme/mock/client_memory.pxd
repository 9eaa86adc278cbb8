# Memory of a client in another process, mapped here from a descriptor that it sent.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t


cdef class ClientMemory:
    cdef uint8_t *base
    cdef size_t mapped
    cdef int place
    cdef readonly size_t address
    cdef readonly size_t nbytes

# Where a system call could not reach memory (EFAULT): whether it is a client's that is gone. It is zeros from now on,
# and the call may be done again.
cdef bint replaced(const void *address) noexcept nogil
