# The commands on ranges of blocks that move no data of the host's.
from libc.stdint cimport uint16_t

from aionvme.mock.rings cimport Core, Sqe

cdef uint16_t write_zeroes(Core *core, const Sqe *sqe) noexcept nogil
cdef uint16_t write_uncorrectable(Core *core, const Sqe *sqe) noexcept nogil
cdef uint16_t verify(Core *core, const Sqe *sqe) noexcept nogil
cdef uint16_t dataset_management(Core *core, const Sqe *sqe) noexcept nogil
