# The machine that a mock controller is: an engine, and what Python does to its core.
from aionvme.mock.engine cimport Engine


cdef class Machine(Engine):
    pass
