# What is written to a block so that a read can be judged by the block alone.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t


cdef class Pattern:
    cdef readonly uint64_t seed
    cdef readonly size_t block_size

    cdef void fill_at(self, uint8_t *memory, uint64_t lba, uint64_t nblocks) noexcept nogil
    # What is in memory before a read: no block of it is right, whatever was there.
    cdef void spoil_at(self, uint8_t *memory, uint64_t nblocks) noexcept nogil
    # Of pieces of `piece` blocks, one behind the other, from these LBAs on: the first block, counted through, that is
    # not what was written there; count * piece where all are.
    cdef uint64_t first_wrong(self, const uint8_t *memory, const uint64_t *lbas, uint64_t count,
                              uint64_t piece) noexcept nogil
    cdef str describe(self, const uint8_t *memory, uint64_t lba)
