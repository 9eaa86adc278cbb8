# Two rings as memory of the device's and ours; see the .pyx.
from libc.stdint cimport uint64_t

from aionvme.pci.dma cimport DmaBuffer
from aionvme.pci.function cimport Function
from aionvme.qpair.pieces cimport Pieces
from aionvme.qpair.ring cimport Ring


cdef enum:
    # Longest transfer of one command, so that the PRP lists of 256 slots stay within half a mebibyte.
    MAX_PIECE_BYTES = 1 << 20


cdef class RingPair(Pieces):
    cdef Ring ring
    cdef Function function
    cdef DmaBuffer memory
    cdef uint64_t sq_iova_
    cdef uint64_t cq_iova_
    cdef size_t sq_doorbell_offset
    cdef size_t cq_doorbell_offset

    cdef int free_rings(self) except -1
