# Commands given as their 64 bytes.
from aionvme.qpair.core cimport QueuePair
from aionvme.qpair.request cimport Request


cdef Request prepare_raw(QueuePair qp, object sqe, object data, object metadata, bint write, object cb_fn,
                         object cb_arg)
cdef Request send_raw(QueuePair qp, Request request, object timeout, object when_full, bint urgent=*)
