# The queue pair as a class diagram: rings below, requests above, the loop beside.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from aionvme.pci.dma cimport DmaBuffer, DmaSpace
from aionvme.pci.function cimport Function
from aionvme.qpair.request cimport Request, RequestOwner, Verdict
from aionvme.qpair.ring cimport Cqe, ReapResult, Ring


cdef enum CompletionMode:
    POLL = 0
    INTERRUPT = 1
    ADAPTIVE = 2
    MANUAL = 3


cdef class QueuePair(RequestOwner):
    cdef Ring ring
    # Requests that wait for a slot, in call order, and requests that have ended and whose waiters were not yet told.
    cdef Request queue_head
    cdef Request queue_tail
    cdef Request ended_head
    cdef Request ended_tail
    cdef CompletionMode mode
    cdef bint scheduled             # a turn stands in the loop's queue
    cdef bint delivering
    cdef bint suspended             # nothing is posted: the controller is being reset, or is gone
    cdef bint batching              # one doorbell for all that a turn posted
    cdef bint closing               # someone waits for it to become idle
    cdef bint finishing             # the loop is being torn down
    cdef object refusal             # the exception that says why nothing more is taken; None while open
    cdef uint32_t unattended        # not ended, but cancelled or timed out: goes on without its user
    cdef uint32_t empty_turns
    cdef uint64_t spin_ns           # longest spin of one await
    cdef uint64_t spin_credit_ns    # what is left for spins until the loop has turned
    cdef unsigned long thread
    cdef object turn                # bound method, made once
    cdef object context
    cdef object call_soon
    cdef Function function
    cdef DmaSpace dma
    cdef DmaBuffer memory
    cdef size_t page_size
    cdef size_t max_transfer
    cdef size_t sq_doorbell_offset
    cdef size_t cq_doorbell_offset
    cdef object host
    cdef object poller
    cdef int irq_fd
    cdef list idle_waiters
    cdef double default_timeout
    cdef double abort_timeout
    cdef uint64_t next_deadline_ns
    cdef object timer
    cdef object name_
    # Counters.
    cdef uint64_t turns
    cdef uint64_t doorbells
    cdef uint64_t completions
    cdef uint64_t foreign
    cdef object __weakref__

    cdef int check_usable(self) except -1
    cdef int submit(self, Request request, object timeout, object when_full) except -1
    cdef int hold_buffer(self, Request request, object buffer, bint device_writes) except -1
    cdef int check_mapped(self, Request request, size_t nbytes) except -1
    cdef int post_piece(self, Request request) except -1
    cdef int feed(self) except -1
    cdef void enqueue(self, Request request) noexcept
    cdef void unqueue(self, Request request) noexcept
    cdef int reap(self, uint32_t limit) except -1
    cdef int piece_done(self, Request request, uint16_t index, const Cqe *cqe) except -1
    cdef int finish(self, Request request) except -1
    cdef int finish_by_host(self, Request request) except -1
    cdef int deliver(self, uint32_t limit, bint directly) except -1
    cdef int schedule(self) except -1
    cdef int ring_doorbells(self) except -1
    cdef bint idle(self) noexcept
    cdef int broken(self, ReapResult reason, const Cqe *cqe) except -1
    cdef int give_up(self, Request request) except -1
    cdef int arm(self, uint64_t deadline_ns) except -1
    cdef list owners(self)
    cdef int drop_pieces(self, Request request) except -1
