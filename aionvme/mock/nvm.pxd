# The NVM command set and data pointers, as the mock executes them.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from aionvme.mock.rings cimport Core, Namespace, Sqe

cdef uint16_t map_prps(Core *core, uint64_t prp1, uint64_t prp2, size_t nbytes) noexcept nogil
cdef void copy_to_segments(Core *core, const uint8_t *data) noexcept nogil
cdef void copy_from_segments(const Core *core, uint8_t *data) noexcept nogil
cdef uint16_t execute_nvm(Core *core, const Sqe *sqe) noexcept nogil
cdef int read_storage(const Namespace *ns, uint64_t offset, uint8_t *data, size_t nbytes) noexcept nogil
cdef int write_storage(const Namespace *ns, uint64_t offset, uint8_t *data, size_t nbytes) noexcept nogil
