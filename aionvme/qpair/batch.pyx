# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns what a batch is and what became of it: its commands' blocks, memory, times and statuses.

A batch is one request, of which each command is a piece (`batching.pyx` posts them): so it is cancelled, is late, ends
by a reset and is told like any other.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from aionvme.errors import status_error
from aionvme.qpair.request cimport BY_ERROR, BY_STATUS, BY_TIMEOUT, Completion, Request
from aionvme.qpair.ring cimport Cqe
from aionvme.qpair.batches import BatchResult, new_statuses
from aionvme.spec.status import StatusCode

cdef uint16_t HOST_ABORTED = <uint16_t>int(StatusCode.COMMAND_ABORTED_BY_HOST)


cdef void *_memory_of(object array, int flags) except NULL:
    # The array is kept, and is never resized: its export need not be.
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, flags)
    PyBuffer_Release(&view)
    return view.buf


@cython.final
cdef class Batch:
    """The commands of one request. Called at its end, it makes the result of it."""

    cdef int set_up(self, object lbas, uint32_t nblocks, uint32_t depth, uint32_t most, bint check) except -1:
        """Takes LBAs that were checked (`batches.checked`), which nobody else has; `depth` is the queue pair's."""
        self.count = len(lbas)
        self.lbas_array, self.statuses_array = lbas, new_statuses(self.count)
        self.lbas = <const uint64_t *>_memory_of(lbas, PyBUF_SIMPLE)
        self.statuses = <uint16_t *>_memory_of(self.statuses_array, PyBUF_WRITABLE)
        self.numbers = <uint32_t *>calloc(depth, sizeof(uint32_t))
        self.posted_ns = <uint64_t *>calloc(depth, sizeof(uint64_t))
        if self.numbers == NULL or self.posted_ns == NULL:
            raise MemoryError(f"no memory for a batch on {depth} slots")
        self.nblocks, self.most, self.check = nblocks, most, check
        return 0

    def __dealloc__(self):
        free(self.numbers)
        free(self.posted_ns)

    cdef void note(self, uint16_t index, const Cqe *cqe) noexcept:
        """The command in a slot failed; `cqe` says how, NULL where it was ended without the device's doing."""
        cdef uint64_t number = self.numbers[index]
        if self.statuses[number] == 0:
            self.statuses[number] = HOST_ABORTED if cqe == NULL else cqe.status >> 1
            self.nfailed += 1
        if cqe != NULL and (self.first_cqe.status >> 1 == 0 or number < self.first_failed):
            self.first_failed, self.first_cqe = number, cqe[0]

    def __call__(self, Request request):
        """The device has let go of all of it: the result, and the exception that carries it."""
        cdef Completion cpl = request.cpl
        _end_unposted(self)
        result = BatchResult(self.statuses_array, self.nfailed)
        cpl.value = result
        if request.verdict == BY_STATUS:
            cpl.raw_status = 0
            if self.check and self.nfailed:
                _fail(self, request, cpl)
        elif request.verdict == BY_TIMEOUT or request.verdict == BY_ERROR:
            request.failure()
        if request.error is not None:
            request.error.result = result


cdef void _end_unposted(Batch batch) noexcept:
    cdef uint64_t number
    for number in range(batch.next, batch.count):
        if batch.statuses[number] == 0:
            batch.statuses[number] = HOST_ABORTED
            batch.nfailed += 1


cdef int _fail(Batch batch, Request request, Completion cpl) except -1:
    # The completion of the whole is that of the first of its commands that failed.
    cdef const Cqe *cqe = &batch.first_cqe
    cpl.dw0, cpl.dw1, cpl.sqhd, cpl.sqid, cpl.cid = cqe.dw0, cqe.dw1, cqe.sqhd, cqe.sqid, cqe.cid
    cpl.raw_status = cqe.status >> 1
    request.error = status_error(cpl.status, opcode=request.opcode, qid=cpl.sqid, cid=cpl.cid, cpl=cpl)
    return 0
