# The data plane: what the doorbells announce is fetched, executed and completed.
from libc.stdint cimport uint32_t

from aionvme.mock.rings cimport Core, Sq, Sqe

# Up to `limit` commands; how many were fetched. Ends early for an admin command, which Python executes.
cdef uint32_t turn(Core *core, uint32_t limit) noexcept nogil
# One command that was fetched, past the rules.
cdef void begin(Core *core, Sq *sq, const Sqe *sqe) noexcept nogil
cdef void signal_interrupts(Core *core) noexcept nogil
# Looks for stores to doorbells of queues that do not exist.
cdef void look_at_stray_doorbells(Core *core) noexcept nogil
