# The machine that a mock controller is: an engine, and what Python does to its core.
from libc.stddef cimport size_t
from libc.stdint cimport uint16_t

from aionvme.mock.engine cimport Engine


cdef class Machine(Engine):
    cdef _take(self, uint16_t status, size_t nbytes)
