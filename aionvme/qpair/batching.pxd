# Batches; see the .pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from aionvme.qpair.batch cimport Batch
from aionvme.qpair.namespace cimport Namespace
from aionvme.qpair.request cimport Request
from aionvme.qpair.transfer cimport TransferQueuePair


cdef class BatchingQueuePair(TransferQueuePair):
    cdef Request batch(self, uint8_t opcode, Namespace ns, object buf, object lbas, object nblocks, object queue_depth,
                       object check, object io_flags, object timeout)
    cdef int lay_out_batch(self, Request request, Batch batch, object buf, object nblocks) except -1
    cdef uint32_t most_in_flight(self, object queue_depth) except 0
    cdef uint64_t point_at_part(self, Request request, uint16_t index, uint64_t blocks) except? 0
