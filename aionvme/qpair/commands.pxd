# Commands on ranges of blocks without data, and commands with a list of ranges.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from aionvme.qpair.batching cimport BatchingQueuePair
from aionvme.qpair.namespace cimport Namespace
from aionvme.qpair.request cimport Request


cdef class CommandQueuePair(BatchingQueuePair):
    cdef Request on_range(self, uint8_t opcode, Namespace ns, object lba, object nblocks, uint64_t most_bytes,
                          object io_flags, uint64_t allowed, object tags, object cb_fn, object cb_arg, object timeout,
                          object when_full)
    cdef Request with_program(self, uint8_t opcode, Namespace ns, list program, bytearray payload, object cb_fn,
                              object cb_arg, object timeout, object when_full)
