# In which thread and loop this is; how stands in the header.
from cpython.ref cimport PyObject

cdef extern from "../qpair/here.h":
    object aio_call_bare(PyObject *function)
    unsigned long aio_this_thread()
    void aio_learn_loop(PyObject *running)
    bint aio_runs_here(PyObject *loop)
