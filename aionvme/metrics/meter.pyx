# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns counting a controller's commands by queue pair and kind: how many, how many bytes, how long each took.

It is a `Tap`: called in C where a doorbell rings and where a completion is reaped, so that it costs some hundred
nanoseconds a command while it listens, and nothing when it does not. A queue pair's counters are written by its own
thread alone, and only grow.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from aionvme.clock cimport now_ns
from aionvme.histogram cimport Histogram, record_ns
from aionvme.qpair.ring cimport SQE_BYTES, Cqe, Ring, Sqe
from aionvme.qpair.tap cimport Tap
from aionvme.spec.opcodes import AdminOpcode, NvmOpcode

cdef uint8_t OP_READ = <uint8_t>int(NvmOpcode.READ)
cdef uint8_t OP_WRITE = <uint8_t>int(NvmOpcode.WRITE)
cdef uint8_t OP_ZONE_APPEND = <uint8_t>int(NvmOpcode.ZONE_APPEND)
# The controller holds it until something happens: that is no latency.
cdef uint8_t OP_EVENT_REQUEST = <uint8_t>int(AdminOpcode.ASYNC_EVENT_REQUEST)

cdef tuple NAMES = ("read", "write", "other")


cdef inline uint8_t _kind(uint16_t qid, uint8_t opcode) noexcept nogil:
    if qid == 0:
        return OTHER
    if opcode == OP_READ:
        return READ
    return WRITE if opcode == OP_WRITE or opcode == OP_ZONE_APPEND else OTHER


cdef class QueueMeter:
    """The counters of one queue pair."""

    def __cinit__(self):
        self.read_ns, self.write_ns, self.other_ns = Histogram(), Histogram(), Histogram()

    def __dealloc__(self):
        free(self.posted)

    cdef int fit(self, const Ring *ring) except -1:
        """A place for each command that the rings can have: a queue identifier may be used again with others."""
        cdef uint32_t index
        if self.depth == ring.depth:
            return 0
        free(self.posted)
        self.depth = 0
        self.posted = <Posted *>calloc(ring.depth, sizeof(Posted))
        if self.posted == NULL:
            raise MemoryError("no memory for the counters of a queue pair")
        self.depth, self.slot_mask = ring.depth, ring.slot_mask
        for index in range(self.depth):
            self.posted[index].kind = UNSEEN
        return 0

    cdef Histogram times(self, uint8_t kind):
        return self.read_ns if kind == READ else self.write_ns if kind == WRITE else self.other_ns

    def counts(self):
        """All that was counted: by kind of command, and what is left over."""
        return {
            "kinds": {
                name: {
                    "completed": self.completed[kind],
                    "failed": self.failed[kind],
                    "nbytes": self.nbytes[kind],
                    "total_ns": self.times(kind).total,
                    "buckets": self.times(kind).filled(),
                }
                for kind, name in enumerate(NAMES)
            },
            "untimed": self.unseen,
            "dropped": self.dropped,
        }


cdef class Meter(Tap):
    """Counts the commands of a controller while it is among those who listen to its queue pairs.

    Args:
        namespace: `namespace(nsid)` gives the `Namespace`, None where there is none. It is asked when a queue pair
            turns to another, and when that which it had is retired, as formatting does to one.

    Attributes:
        error: What kept it from counting a command; None.
    """

    def __init__(self, namespace):
        Tap.__init__(self)
        self.queues = {}
        self.namespace = namespace
        self.error = None

    def counts(self):
        """What was counted so far, by queue identifier."""
        return {qid: (<QueueMeter>meter).counts() for qid, meter in sorted(self.queues.items())}

    cdef void posted(self, const Ring *ring) noexcept:
        try:
            self._posted(ring)
        except Exception as error:
            self.error = error

    cdef void completed(self, uint16_t qid, const Cqe *cqe) noexcept:
        try:
            self._completed(qid, cqe)
        except Exception as error:
            self.error = error

    cdef void dropped(self, uint16_t qid, uint16_t cid) noexcept:
        cdef QueueMeter queue = self.queues.get(qid)
        cdef uint16_t index
        if queue is None:
            return
        queue.dropped += 1
        index = cid & queue.slot_mask
        if index < queue.depth and queue.posted[index].cid == cid:
            queue.posted[index].kind = UNSEEN

    cdef uint64_t unit(self, QueueMeter queue, uint32_t nsid) except? 0xFFFFFFFF:
        """Bytes of a block's data; 0 where there is no such namespace."""
        if queue.ns is None or queue.ns.nsid != nsid or queue.ns.gone is not None:
            queue.ns = self.namespace(nsid)
        return queue.ns.block_size if queue.ns is not None else 0

    cdef int _posted(self, const Ring *ring) except -1:
        cdef uint64_t now = now_ns()
        cdef uint32_t at = ring.sq_tail_rung
        cdef const Sqe *sqe
        cdef Posted *place
        cdef QueueMeter queue = self.queues.get(ring.qid)
        if queue is None:
            queue = self.queues.setdefault(ring.qid, QueueMeter())
        queue.fit(ring)
        while at != ring.sq_tail:
            sqe = <const Sqe *>(ring.sq + <size_t>at * SQE_BYTES)
            at = at + 1 if at + 1 < ring.sq_entries else 0
            if (sqe.cid & queue.slot_mask) >= queue.depth or (ring.qid == 0 and sqe.opcode == OP_EVENT_REQUEST):
                continue
            place = &queue.posted[sqe.cid & queue.slot_mask]
            place.cid, place.since_ns, place.nbytes = sqe.cid, now, 0
            place.kind = _kind(ring.qid, sqe.opcode)
            if place.kind != OTHER:
                # NLB, 0's based (NVM Command Set 1.0, 3.2.4 and 3.2.6).
                place.nbytes = self.unit(queue, sqe.nsid) * ((sqe.cdw12 & 0xFFFF) + 1)
        return 0

    cdef int _completed(self, uint16_t qid, const Cqe *cqe) except -1:
        cdef QueueMeter queue = self.queues.get(qid)
        cdef Posted *place
        cdef uint16_t index
        if queue is None:
            queue = self.queues.setdefault(qid, QueueMeter())
        index = cqe.cid & queue.slot_mask
        if index >= queue.depth:
            queue.unseen += 1
            return 0
        place = &queue.posted[index]
        if place.cid != cqe.cid or place.kind == UNSEEN:
            queue.unseen += 1
            return 0
        record_ns(queue.times(place.kind), now_ns() - place.since_ns)
        if cqe.status >> 1:
            queue.failed[place.kind] += 1
        else:
            queue.completed[place.kind] += 1
            queue.nbytes[place.kind] += place.nbytes
        place.kind = UNSEEN
        return 0
