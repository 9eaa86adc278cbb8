# Counters, flags and tables that several threads use without a lock; how stands in the header.
from libc.stdint cimport uint32_t

cdef extern from "../pci/shared.h" nogil:
    Py_ssize_t aio_shared_add(Py_ssize_t *count, Py_ssize_t by)
    bint aio_shared_swap(bint *flag, bint value)
    uint32_t aio_read_begin(const uint32_t *version)
    bint aio_read_was_disturbed(const uint32_t *version, uint32_t begun)
    void aio_write_begin(uint32_t *version)
    void aio_write_end(uint32_t *version)
