# Reads, writes and compares: what they share.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from aionvme.qpair.governed cimport GovernedQueuePair
from aionvme.qpair.namespace cimport Namespace
from aionvme.qpair.request cimport Request


cdef uint64_t as_unsigned(object value, str name, uint64_t most) except? 0xFFFFFFFFFFFFFFFF
cdef str flag_names(uint64_t flags)
cdef Request new_request(uint8_t opcode, uint32_t nsid, object cb_fn, object cb_arg)
cdef object check_when_full(object when_full)


cdef class TransferQueuePair(GovernedQueuePair):
    cdef readonly object limits

    cdef int check_namespace(self, Namespace ns) except -1
    cdef int aim(self, Request request, Namespace ns, object lba, object nblocks, uint64_t *count) except -1
    cdef int protect(self, Request request, Namespace ns, object io_flags, object ref_tag, object app_tag,
                     object app_mask, object storage_tag, uint64_t allowed) except -1
    cdef Request transfer(self, uint8_t opcode, Namespace ns, object buf, object iov, object lba, object nblocks,
                          tuple options, object io_flags, object cb_fn, object cb_arg, object timeout,
                          object when_full)
    cdef int lay_out_metadata(self, Request request, Namespace ns, object metadata, uint64_t count) except -1
    cdef int check_metadata(self, Request request, size_t nbytes) except -1
    cdef int take_segments(self, Request request, object iov, size_t needed, bint device_writes,
                           bint mapped) except -1
    cdef int _raw_segment(self, Request request, tuple part, uint8_t **where, size_t *nbytes) except -1
    cdef int settle_segments(self, Request request, str name, size_t needed, bint device_writes,
                             bint bounce) except -1
    cdef Request send(self, Request request, object timeout, object when_full)
