# One of the commands that a workload keeps under way, again and again.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from aionvme.perf.pattern cimport Pattern
from aionvme.perf.tally cimport Pacer, Tally
from aionvme.perf.walk cimport Walk


cdef class Slot:
    # Hot.
    cdef Tally tally
    cdef Walk walk
    cdef uint64_t begun_ns
    cdef uint64_t lba
    cdef bint busy
    cdef readonly bint writing      # the command that is under way, or was last
    cdef bint mixed
    cdef Pattern pattern            # None: nothing is verified
    cdef Pacer pacer                # None: as fast as it goes
    cdef object submit_read
    cdef object submit_write
    cdef object ns
    cdef object buf
    cdef object step                # blocks of a command
    cdef object done                # bound methods, made once
    cdef object go
    cdef uint64_t nblocks
    cdef uint8_t[::1] memory

    cdef uint64_t begin(self, uint64_t now) except? 0
    cdef uint64_t end(self) except? 0
    cdef int post(self, uint64_t now) except -1
