# Memory of the host that there is no pointer to: the host is asked for it, by messages.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint64_t

from aionvme.mock.rings cimport Core

# 0, or -1: the host did not do it, or is gone.
cdef int remote_read(Core *core, uint64_t iova, void *data, size_t nbytes) noexcept nogil
cdef int remote_write(Core *core, uint64_t iova, const void *data, size_t nbytes) noexcept nogil
# Memory of ours that stands for the host's while a command is executed; NULL when there is none.
cdef uint8_t *remote_piece(Core *core, uint64_t iova, size_t nbytes, bint sending) noexcept nogil
# A command's memory was found, with this status: what the host sends is fetched. The status with which to go on.
cdef uint16_t remote_fetch(Core *core, uint16_t status) noexcept nogil
# The command has come to this status: on success what is for the host is written there, and nothing stands for its
# memory any more. The status with which the command ends.
cdef uint16_t remote_end(Core *core, uint16_t status) noexcept nogil
