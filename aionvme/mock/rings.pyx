# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns the queues of the mock controller: making and deleting them, and completions that wait for room."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove, memset

from aionvme.mock.iommu cimport IOVA_BOTH, iova_clear, iova_translate
from aionvme.mock.remote cimport remote_write

cdef enum:
    BUSY_WORDS = 65536 // 64


cdef int cq_store_remote(Core *core, Cq *cq, const Cqe *cqe) noexcept nogil:
    """All of an entry at once, in memory that there is no pointer to: the host is asked to write it."""
    cdef Cqe entry = cqe[0]
    entry.cid_status |= <uint32_t>cq.phase << 16
    return remote_write(core, cq.base + <uint64_t>cq.tail * CQE_BYTES, &entry, sizeof(Cqe))


cdef void cq_drain(Core *core, Cq *cq) noexcept nogil:
    """Stores what waits, as far as there is room."""
    cdef size_t done = 0
    while done < cq.nbacklog and cq_next(cq, cq.tail) != cq.head:
        cq_store(core, cq, &cq.backlog[done])
        done += 1
    if done:
        cq.nbacklog -= done
        if cq.nbacklog == 0:
            core.nblocked -= 1
        memmove(cq.backlog, &cq.backlog[done], cq.nbacklog * sizeof(Cqe))


cdef int cq_defer(Core *core, Cq *cq, const Cqe *cqe) noexcept nogil:
    """Keeps a completion until there is room; without memory for it the controller is at its end."""
    cdef size_t capacity
    cdef Cqe *grown
    if cq.nbacklog == cq.backlog_capacity:
        capacity = cq.backlog_capacity * 2 if cq.backlog_capacity else 16
        grown = <Cqe *>realloc(cq.backlog, capacity * sizeof(Cqe))
        if grown == NULL:
            core.fatal = True
            return -1
        cq.backlog = grown
        cq.backlog_capacity = capacity
    cq.backlog[cq.nbacklog] = cqe[0]
    cq.nbacklog += 1
    if cq.nbacklog == 1:
        core.nblocked += 1
    return 0


cdef volatile uint8_t *_shadow_of(Core *core, volatile uint8_t *doorbell) noexcept nogil:
    """Where the host says the same in its own memory: as far into it as the doorbell is from 1000h."""
    return core.shadow + (doorbell - core.bar - 0x1000)


cdef void shadow_sq(Core *core, Sq *sq) noexcept nogil:
    """Where its doorbell is from now on; if that is a new place, what was last seen of it stands there. The
    admin queue has no shadow: drivers that have one for all others do without it there."""
    cdef volatile uint8_t *place = sq.register
    if core.shadow != NULL and sq.qid:
        place = _shadow_of(core, place)
    if <volatile uint8_t *>sq.doorbell != place:
        sq.doorbell = <const volatile uint32_t *>place
        aio_mmio_write32(place, sq.rung)


cdef void shadow_cq(Core *core, Cq *cq) noexcept nogil:
    cdef volatile uint8_t *place = cq.register
    if core.shadow != NULL and cq.qid:
        place = _shadow_of(core, place)
    if <volatile uint8_t *>cq.doorbell != place:
        cq.doorbell = <const volatile uint32_t *>place
        aio_mmio_write32(place, cq.rung)


cdef void look_at_all(Core *core) noexcept nogil:
    """Takes over what the doorbells of all queues say."""
    cdef uint32_t i
    for i in range(core.nqueues):
        if core.sqs[i] != NULL and core.sqs[i].live:
            sq_look(core, core.sqs[i])
        if core.cqs[i] != NULL and core.cqs[i].live:
            cq_look(core, core.cqs[i])


cdef void shadow_all(Core *core, uint64_t iova, uint64_t eventidx) noexcept nogil:
    """Finds the shadow doorbells again: for what was set up now, or since the map has changed; 0 for none."""
    cdef size_t run = 0, event_run = 0
    cdef size_t nbytes = 2 * core.nqueues * core.doorbell_stride
    cdef uint32_t i
    core.shadow_iova, core.eventidx_iova = iova, eventidx
    core.shadow = core.eventidx = NULL
    if iova:
        core.shadow = iova_translate(&core.map, iova, nbytes, &run, IOVA_BOTH)
        core.eventidx = iova_translate(&core.map, eventidx, nbytes, &event_run, IOVA_BOTH)
    if run != nbytes or event_run != nbytes or core.shadow == NULL or core.eventidx == NULL:
        core.shadow = core.eventidx = NULL
    for i in range(core.nqueues):
        if core.sqs[i] != NULL and core.sqs[i].live:
            shadow_sq(core, core.sqs[i])
        if core.cqs[i] != NULL and core.cqs[i].live:
            shadow_cq(core, core.cqs[i])


cdef void ask_for_doorbells(Core *core) noexcept nogil:
    """EventIdx: the host rings when it passes what was last seen of a tail. A head matters only to a completion
    that waits for room; else what is asked for is more than the host can take. A full barrier must follow before
    the shadows are looked at a last time."""
    cdef uint32_t i
    cdef Cq *cq
    if core.shadow == NULL:
        return
    for i in range(1, core.nqueues):
        if core.sqs[i] != NULL and core.sqs[i].live:
            aio_mmio_write32(core.eventidx + 2 * i * core.doorbell_stride, core.sqs[i].rung)
        cq = core.cqs[i]
        if cq != NULL and cq.live:
            aio_mmio_write32(core.eventidx + (2 * i + 1) * core.doorbell_stride,
                             cq.rung if cq.nbacklog or cq_next(cq, cq.tail) == cq.head else cq.tail)


cdef Sq *sq_create(Core *core, uint16_t qid, uint16_t cqid, uint64_t base, uint32_t entries, uint16_t qprio,
                   volatile uint8_t *doorbell) except NULL:
    """Makes a submission queue live. Its counters go on from a queue that had its identifier before."""
    cdef Sq *sq = core.sqs[qid]
    if sq == NULL:
        sq = <Sq *>calloc(1, sizeof(Sq))
        if sq == NULL:
            raise MemoryError("no memory for a submission queue")
        core.sqs[qid] = sq
    if sq.opcodes == NULL:
        sq.opcodes = <uint64_t *>calloc(256, sizeof(uint64_t))
        if sq.opcodes == NULL:
            raise MemoryError("no memory for a submission queue")
    sq.qid, sq.cqid, sq.qprio = qid, cqid, qprio
    sq.base, sq.entries = base, entries
    sq.head = sq.tail = sq.rung = 0
    sq.epoch = core.map.epoch - 1
    sq.fused = False
    sq.register = doorbell
    sq.doorbell = NULL
    aio_mmio_write32(doorbell, 0)
    shadow_sq(core, sq)
    sq.live = True
    core.cqs[cqid].users += 1
    arbiter_rebuild(core)
    return sq


cdef Cq *cq_create(Core *core, uint16_t qid, uint64_t base, uint32_t entries, uint16_t vector, bint ien,
                   volatile uint8_t *doorbell) except NULL:
    """Makes a completion queue live; its first pass has phase 1."""
    cdef Cq *cq = core.cqs[qid]
    if cq == NULL:
        cq = <Cq *>calloc(1, sizeof(Cq))
        if cq == NULL:
            raise MemoryError("no memory for a completion queue")
        core.cqs[qid] = cq
    cq.qid, cq.vector, cq.ien = qid, vector, ien
    cq.base, cq.entries = base, entries
    cq.head = cq.tail = cq.rung = cq.users = 0
    cq.phase = 1
    cq.signal = False
    cq.nbacklog = 0
    cq.epoch = core.map.epoch - 1
    cq.register = doorbell
    cq.doorbell = NULL
    aio_mmio_write32(doorbell, 0)
    shadow_cq(core, cq)
    cq.live = True
    return cq


cdef void sq_set_busy(Core *core, Sq *sq, uint16_t cid) noexcept nogil:
    """Notes that a command with this CID was fetched and is not complete."""
    if sq.busy == NULL:
        sq.busy = <uint64_t *>calloc(BUSY_WORDS, sizeof(uint64_t))
        if sq.busy == NULL:
            core.fatal = True
            return
    if not is_busy(sq, cid):
        sq.busy[cid >> 6] |= <uint64_t>1 << (cid & 63)
        sq.nbusy += 1


cdef void sq_clear_busy(Sq *sq, uint16_t cid) noexcept nogil:
    """The command with this CID is complete."""
    if is_busy(sq, cid):
        sq.busy[cid >> 6] &= ~(<uint64_t>1 << (cid & 63))
        sq.nbusy -= 1


cdef void sq_delete(Core *core, Sq *sq) noexcept nogil:
    """Ends a submission queue; its doorbell reads as that of a queue that does not exist."""
    if sq.live and core.cqs[sq.cqid] != NULL:
        core.cqs[sq.cqid].users -= 1
    sq.live = False
    sq.nbusy = 0
    arbiter_rebuild(core)
    if sq.busy != NULL:
        memset(sq.busy, 0, BUSY_WORDS * sizeof(uint64_t))
    sq.fused = False
    aio_mmio_write32(sq.register, 0)


cdef void cq_delete(Core *core, Cq *cq) noexcept nogil:
    """Ends a completion queue, with whatever waits for room in it."""
    if cq.nbacklog:
        core.nblocked -= 1
    cq.live = False
    cq.nbacklog = 0
    cq.signal = False
    aio_mmio_write32(cq.register, 0)


cdef void arbiter_rebuild(Core *core) noexcept nogil:
    """Sorts the live queues into their classes; a burst that was under way ends."""
    cdef Arbiter *arbiter = &core.arbiter
    cdef uint32_t i, which
    for i in range(<uint32_t>CLASSES):
        arbiter.count[i] = 0
        arbiter.next[i] = 0
        arbiter.credits[i] = arbiter.weights[i]
    arbiter.current = NULL
    arbiter.left = 0
    for i in range(core.nqueues):
        if core.sqs[i] == NULL or not core.sqs[i].live:
            continue
        which = CLASS_ADMIN if i == 0 or not arbiter.weighted else CLASS_URGENT + core.sqs[i].qprio
        arbiter.members[which][arbiter.count[which]] = <uint16_t>i
        arbiter.count[which] += 1


cdef int core_init(Core *core, uint32_t nqueues, size_t max_transfer) except -1:
    """Makes the tables; `core_free` undoes it, also when this raises."""
    cdef int i
    memset(core, 0, sizeof(Core))
    core.nqueues = nqueues
    core.page_shift = 12
    core.max_transfer = max_transfer
    core.sqs = <Sq **>calloc(nqueues, sizeof(void *))
    core.cqs = <Cq **>calloc(nqueues, sizeof(void *))
    core.arbiter.burst = BURST
    for i in range(CLASSES):
        core.arbiter.members[i] = <uint16_t *>calloc(nqueues, sizeof(uint16_t))
        core.arbiter.weights[i] = 1
        if core.arbiter.members[i] == NULL:
            raise MemoryError("no memory for the queues of a mock controller")
    if core.sqs == NULL or core.cqs == NULL:
        raise MemoryError("no memory for the queues of a mock controller")
    return 0


cdef void core_free(Core *core) noexcept nogil:
    """Frees every table and queue."""
    cdef uint32_t i
    for i in range(core.nqueues):
        if core.sqs != NULL and core.sqs[i] != NULL:
            free(core.sqs[i].busy)
            free(core.sqs[i].opcodes)
            free(core.sqs[i])
        if core.cqs != NULL and core.cqs[i] != NULL:
            free(core.cqs[i].backlog)
            free(core.cqs[i])
    free(core.sqs)
    free(core.cqs)
    free(core.data.items)
    free(core.meta.items)
    for i in range(<uint32_t>core.npieces):
        free(core.pieces[i].memory)
    free(core.pieces)
    free(core.stage)
    free(core.rules)
    free(core.kept)
    free(core.irqs)
    for i in range(<uint32_t>CLASSES):
        free(core.arbiter.members[i])
    iova_clear(&core.map)
    memset(core, 0, sizeof(Core))
