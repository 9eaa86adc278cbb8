# A command's memory: held, cut into pieces, and described. Knows no ring.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from aionvme.pci.dma cimport DmaSpace
from aionvme.qpair.describe cimport Described, List
from aionvme.qpair.request cimport Request, RequestOwner


cdef class Pieces(RequestOwner):
    cdef DmaSpace dma
    cdef size_t page_size
    cdef size_t max_transfer
    cdef size_t list_bytes          # room for a list that a command has
    cdef bint has_sgl
    cdef bint sgl_with_metadata     # beside separate metadata in one piece (SGLS bit 17)
    cdef bint metadata_in_sgl       # with an SGL for separate metadata, too (SGLS bit 19)
    cdef uint32_t sgl_flags         # SglFlags

    cdef int hold_buffer(self, Request request, object buffer, bint device_writes) except -1
    cdef int pin(self, Request request, size_t nbytes) except -1
    cdef int check_mapped(self, const uint8_t *address, size_t nbytes, str name, size_t mask) except -1
    cdef int hold_more(self, Request request, object buffer, str name, bint device_writes, uint8_t **address,
                       size_t *nbytes) except -1
    cdef void _release(self, object holder) noexcept
    cdef uint64_t piece(self, Request request) noexcept
    cdef void move_on(self, Request request, uint64_t blocks, size_t nbytes) noexcept
    cdef void post_no_more(self, Request request) noexcept
    cdef Described point(self, Request request, const List *memory, uint64_t *blocks, size_t *nbytes) noexcept
    cdef Described describe_memory(self, Request request, const List *memory, size_t nbytes, size_t *described) noexcept
    cdef void reach_metadata(self, Request request, uint64_t *blocks) noexcept
    cdef void point_at_metadata(self, Request request, const List *memory, size_t nbytes) noexcept
    cdef Described describe_metadata(self, Request request, const List *memory, size_t nbytes, uint64_t *descriptor,
                                     size_t *described) noexcept
    cdef bint linear(self, Request request, size_t nbytes) noexcept
    cdef Described plan(self, Request request, bint whole, size_t *stuck) noexcept
