# Shared memory of this process, and what must outlive everything.
from libc.stdint cimport uint8_t


cdef class SharedMemory:
    cdef uint8_t *address
    cdef readonly size_t nbytes
    cdef readonly int fd          # -1 after close_file()
    cdef long _forks

    cdef int _map(self, size_t align) except -1
    cdef void close_file(self) noexcept


# How many forks lie between this process and the first that imported the module.
cdef long fork_count() noexcept nogil

# Never frees this object, not at the end of the interpreter either.
cdef keep(object memory)

# Tells sys.unraisablehook, where nobody can be told by an exception.
cdef void report(object error) noexcept
