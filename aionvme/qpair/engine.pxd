# Rings below, requests above: what a queue pair does without a loop. Knows no asyncio.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from aionvme.qpair.pair cimport RingPair
from aionvme.qpair.request cimport Request
from aionvme.qpair.ring cimport Cqe
from aionvme.qpair.tap cimport Tap


cdef class Engine(RingPair):
    # Requests that wait for a slot, in call order, and requests that have ended and whose waiters were not yet told.
    cdef Request queue_head
    cdef Request queue_tail
    cdef Request ended_head
    cdef Request ended_tail
    cdef bint suspended             # nothing is posted but what is urgent: the controller is being reset, or is gone
    cdef bint muted                 # no doorbell is rung: the controller is not enabled, or knows no such queue
    cdef bint broken                # the device broke the protocol: nothing that this queue says can be believed
    cdef uint32_t unattended        # requests that were cancelled or are late, and have not ended
    cdef uint32_t batches           # that have not ended
    cdef uint32_t standing          # of the commands that are outstanding, requests for events: none counts as work
    cdef list standing_kept         # these; the collector can see them, so that they keep nobody who was dropped
    cdef Tap tap                    # is shown every command and completion; None: nobody listens
    # Counters.
    cdef uint64_t doorbells
    cdef uint64_t completions
    cdef uint64_t foreign

    cdef bint has_room(self, Request request) noexcept
    cdef int take(self, Request request, bint urgent) except -1
    cdef int post_piece(self, Request request) except -1
    cdef int feed(self) except -1
    cdef void wait_in_queue(self, Request request) noexcept
    cdef void enqueue(self, Request request) noexcept
    cdef void unqueue(self, Request request) noexcept
    cdef int reap(self, uint32_t limit) except -1
    cdef int plain_done(self, Request request, uint16_t index, const Cqe *cqe) except -1
    cdef int piece_done(self, Request request, uint16_t index, const Cqe *cqe) except -1
    cdef int finish(self, Request request) except -1
    cdef void put_in_backlog(self, Request request) noexcept
    cdef int finish_by_host(self, Request request) except -1
    cdef int ring_doorbells(self) except -1
    cdef int _ring_doorbells(self) except -1
    cdef bint idle(self) noexcept
    cdef list owners(self)
    cdef int drop_pieces(self, Request request) except -1
    # For the subclass: posts commands of a batch, as far as there is room; a request ended without the device's doing;
    # a completion came that cannot be ours.
    cdef int post_batch(self, Request request) except -1
    cdef int on_ended(self) except -1
    cdef int on_broken(self, str text) except -1
