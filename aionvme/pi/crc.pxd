# The CRC that others than protection information use too, for compiled code.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t

cdef uint32_t crc32c(const uint8_t *data, size_t nbytes) noexcept nogil
# Of as many blocks of the same length; faster than one after another.
cdef void crc32c_each(const uint8_t *const *blocks, size_t count, size_t nbytes, uint32_t *out) noexcept nogil
