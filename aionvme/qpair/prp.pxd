# Physical region page entries: how a command says where its memory is (NVMe Base 2.0, 4.1.1).
from libc.stdint cimport uint8_t, uint64_t

from aionvme.pci.dma cimport DmaSpace


cdef enum PrpResult:
    PRP_OK = 0
    PRP_NOT_MAPPED = 1          # some byte of it is not reached by the device
    PRP_TOO_LONG = 2            # more pages than the list has room for
    PRP_UNALIGNED = 3           # offset into the first page not a multiple of 4, or IOVA run that breaks inside a page


cdef PrpResult prp_build(
    DmaSpace space, const uint8_t *address, size_t nbytes, size_t page_size,
    uint64_t *entries, uint64_t entries_iova, size_t capacity, uint64_t *prp1, uint64_t *prp2) noexcept nogil
