# Read, Write and Compare where there is more to them than a copy.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from aionvme.mock.rings cimport SUCCESS, Core, Namespace, Sqe


cdef struct Range:          # blocks of a command, within their namespace
    Namespace *ns
    uint64_t lba
    uint64_t nblocks

# The range of a command that has SLBA and NLB; `deny`: what a reservation must not deny.
cdef uint16_t range_of(Core *core, const Sqe *sqe, Range *found, uint32_t deny) noexcept nogil
cdef uint16_t check_namespace(const Core *core, uint32_t nsid) noexcept nogil
cdef uint16_t denial(const Core *core, const Namespace *ns, uint32_t deny) noexcept nogil
cdef bint is_denied(const Core *core, const Namespace *ns, uint32_t deny) noexcept nogil
cdef uint8_t *stage(Core *core, size_t nbytes) noexcept nogil
cdef uint16_t transfer(Core *core, const Sqe *sqe) noexcept nogil


cdef inline uint16_t count_transfer(Core *core, bint writing, size_t nbytes) noexcept nogil:
    # It was executed.
    if writing:
        core.writes += 1
        core.bytes_written += nbytes
    else:
        core.reads += 1
        core.bytes_read += nbytes
    return SUCCESS
