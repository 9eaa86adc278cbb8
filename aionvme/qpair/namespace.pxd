# What an I/O command needs to know of a namespace.
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef class Namespace:
    cdef readonly uint32_t nsid
    cdef readonly uint32_t block_size       # data bytes per block
    cdef readonly uint32_t metadata_size    # bytes per block
    cdef readonly uint64_t nblocks
    cdef readonly bint extended             # metadata follows the data of each block in one buffer
    cdef readonly uint32_t boundary         # optimal I/O boundary in blocks, 0 for none
    cdef readonly uint8_t pi_type           # protection information type, 0 for none
    cdef readonly uint8_t pi_size           # bytes of it: 8, or 16 with a guard of 32 or 64 bits
    cdef readonly uint8_t tag_bits          # that storage and reference tag share: 32, 80 or 48, by the guard
    cdef readonly uint8_t storage_tag_bits  # of these, the upper ones
    cdef uint32_t unit                      # bytes of the data buffer per block
    cdef readonly object data
    cdef readonly object nvm
    cdef object controller                  # the DmaSpace of the controller it is a namespace of, None once retired
    cdef readonly str gone                  # why it takes no more commands, None while it does
