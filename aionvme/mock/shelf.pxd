# The namespaces that the controllers of one subsystem share.
from libc.stdint cimport uint32_t, uint64_t

from aionvme.mock.rings cimport Namespace, pthread_mutex_t


cdef class Shelf:
    cdef Namespace *namespaces      # by namespace identifier less 1
    cdef readonly uint32_t nn
    cdef bint no_data
    cdef pthread_mutex_t mutex
    cdef bint mutex_made

    cdef Namespace *find(self, uint32_t nsid) except NULL
    cdef Namespace *within(self, uint32_t nsid, uint64_t lba, uint64_t nblocks) except NULL
