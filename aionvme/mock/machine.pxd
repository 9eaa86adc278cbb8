# The machine that a mock controller is: an engine, and what Python does to its core.
from libc.stdint cimport uint32_t, uint64_t

from aionvme.mock.engine cimport Engine


cdef class Machine(Engine):
    cdef int check_namespace(self, uint32_t nsid, uint64_t offset, uint64_t nbytes) except -1
