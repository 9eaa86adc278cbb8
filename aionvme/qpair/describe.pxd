# How a command says where its memory is: PRPs (NVMe Base 2.0, 4.1.1) and SGLs (4.1.2).
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t

from aionvme.pci.dma cimport DmaSpace
from aionvme.qpair.iov cimport Cursor


# Why a description stops before all was described. What it says until there holds.
cdef enum Described:
    ALL_DESCRIBED = 0
    NOT_MAPPED = 1          # the next byte is not reached by the device
    TOO_MANY = 2            # the list has no room for more
    UNALIGNED = 3           # PRP: a segment begins or ends within a page; SGL: not a multiple of 4 where that is asked
    BIT_BUCKET = 4          # a bit bucket, which PRPs cannot say and not every controller has


cdef enum SglFlags:
    SGL_DWORDS = 1          # addresses and lengths are multiples of 4 (SGLS bits 1:0 are 10b)
    SGL_BIT_BUCKETS = 2     # SGLS bit 16


cdef struct List:
    # Memory for a list: `entries` here, `iova` for the device; NULL only counts.
    uint64_t *entries
    uint64_t iova
    size_t nbytes


cdef Described prp_describe(DmaSpace space, Cursor cursor, size_t nbytes, size_t page_size, const List *memory,
                            uint64_t *dptr, size_t *described,) noexcept nogil

cdef Described sgl_describe(
    DmaSpace space, Cursor cursor, size_t nbytes, uint32_t flags, const List *memory, uint64_t *dptr, size_t *described,
) noexcept nogil
