# Many commands of one kind as one request: what they are, and how far they have come. Knows no ring.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from aionvme.qpair.ring cimport Cqe


cdef class Batch:
    # Hot: touched by every command.
    cdef const uint64_t *lbas
    cdef uint64_t count
    cdef uint64_t next              # the command of which a piece is posted next
    cdef uint64_t place             # the part of the buffer that it uses
    cdef uint64_t places            # how many parts the buffer has
    cdef size_t stride              # bytes of a part
    cdef uint64_t iova              # of the buffer, where `linear`
    cdef bint linear                # the device has the buffer in one piece
    cdef bint check
    cdef bint deadline_stands       # the request's deadline is that of all of it, not of each command
    cdef uint32_t nblocks           # of each command
    cdef uint32_t done_blocks       # of the next command, that were posted
    cdef uint32_t most              # commands that may be in flight at once
    cdef uint32_t *numbers          # by slot: which command it is a piece of
    cdef uint64_t *posted_ns        # by slot: when it was posted
    cdef uint16_t *statuses         # of each command; the first of its pieces that failed
    # Rare.
    cdef uint64_t nfailed
    cdef uint64_t first_failed
    cdef Cqe first_cqe              # what completed that one
    cdef object lbas_array
    cdef object statuses_array

    cdef int set_up(self, object lbas, uint32_t nblocks, uint32_t depth, uint32_t most, bint check) except -1
    cdef void note(self, uint16_t index, const Cqe *cqe) noexcept
