# The NVM command set as the mock executes it.
from libc.stdint cimport uint16_t

from aionvme.mock.rings cimport Core, Sq, Sqe

# The command's status, or FOR_PYTHON. `core.result` becomes dword 0 of its completion.
cdef uint16_t execute_nvm(Core *core, const Sqe *sqe) noexcept nogil
# Two fused commands; nothing is completed.
cdef void execute_fused(Core *core, const Sqe *first, const Sqe *second, uint16_t[2] statuses) noexcept nogil
