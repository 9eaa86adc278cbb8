# The short way of the commonest command; see the .pyx.
from libc.stdint cimport uint8_t

from aionvme.qpair.core cimport QueuePair
from aionvme.qpair.namespace cimport Namespace
from aionvme.qpair.request cimport Request


# A read or write that was submitted; None: nothing was done, and it has to go the long way.
cdef Request submit_plain(QueuePair qp, uint8_t opcode, Namespace ns, object buf, object lba, object nblocks,
                          object cb_fn, object cb_arg)
