# The Copy command.
from libc.stdint cimport uint16_t

from aionvme.mock.rings cimport Core, Sqe

cdef uint16_t copy_blocks(Core *core, const Sqe *sqe) noexcept nogil
