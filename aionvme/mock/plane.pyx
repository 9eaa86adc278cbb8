# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns one turn of the controller: arbitration (Base 2.0, 3.4.4), fetching, completing, interrupts."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from aionvme.clock cimport now_ns
from aionvme.mock.faults cimport abort_preempted, intercept, kept_take, move_late
from aionvme.mock.marks cimport mend
from aionvme.mock.nvm cimport execute_fused, execute_nvm
from aionvme.mock.remote cimport remote_read
from aionvme.mock.rings cimport (
    CID_CONFLICT, CLASS_ADMIN, CLASS_HIGH, CLASS_LOW, CLASS_URGENT, CSTS, CSTS_CFS, DNR, FOR_PYTHON,
    INVALID_FIELD, MISSING_FUSED, SQE_BYTES, Arbiter, Core, Cq, Sq, cq_drain, cq_look, cq_room, is_busy,
    mock_exchange, mock_load, note_error, post_status, pthread_mutex_lock, pthread_mutex_unlock,
    sq_clear_busy, sq_entry, sq_look, sq_set_busy,
)
from aionvme.mock.rules cimport Kept, Sqe
from aionvme.pci.mmio cimport aio_mmio_read32, aio_mmio_write32

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int POLLOUT
    int poll(pollfd *fds, unsigned long nfds, int timeout)

cdef extern from "<unistd.h>" nogil:
    ssize_t write(int fd, const void *data, size_t nbytes)


# -- arbitration ---------------------------------------------------------------------------------------------

cdef bint _has_work(Core *core, Sq *sq) noexcept nogil:
    """Whether a command can be taken: one was announced, and its completion has room."""
    if sq.head == sq.tail:
        sq_look(core, sq)
        if sq.head == sq.tail:
            return False
    if sq.qid == 0 and core.admin_waiting:
        return False
    return cq_room(core, core.cqs[sq.cqid])


cdef bint _grant(Core *core, uint32_t which) noexcept nogil:
    """Gives the next queue of a class its burst, if one has work."""
    cdef Arbiter *arbiter = &core.arbiter
    cdef uint32_t _i
    cdef Sq *sq
    for _i in range(arbiter.count[which]):
        if arbiter.next[which] >= arbiter.count[which]:
            arbiter.next[which] = 0
        sq = core.sqs[arbiter.members[which][arbiter.next[which]]]
        arbiter.next[which] += 1
        if _has_work(core, sq):
            arbiter.current, arbiter.current_class, arbiter.left = sq, which, arbiter.burst
            return True
    return False


cdef bint _grant_weighted(Core *core) noexcept nogil:
    """Admin, then urgent, then the three weighted classes, each with its weight in commands a round."""
    cdef Arbiter *arbiter = &core.arbiter
    cdef uint32_t which
    cdef int _again
    if _grant(core, CLASS_ADMIN) or _grant(core, CLASS_URGENT):
        return True
    for _again in range(2):
        for which in range(CLASS_HIGH, CLASS_LOW + 1):
            if arbiter.credits[which] and _grant(core, which):
                arbiter.left = min(arbiter.left, arbiter.credits[which])
                return True
        for which in range(CLASS_HIGH, CLASS_LOW + 1):
            arbiter.credits[which] = arbiter.weights[which]
    return False


cdef inline Sq *_next_queue(Core *core) noexcept nogil:
    """The queue whose command is next, or NULL."""
    cdef Arbiter *arbiter = &core.arbiter
    if arbiter.left == 0 or arbiter.current == NULL or not _has_work(core, arbiter.current):
        if not (_grant_weighted(core) if arbiter.weighted else _grant(core, CLASS_ADMIN)):
            arbiter.left = 0
            return NULL
    arbiter.left -= 1
    if arbiter.weighted and arbiter.current_class >= CLASS_HIGH:
        arbiter.credits[arbiter.current_class] -= 1
    return arbiter.current


# -- commands ------------------------------------------------------------------------------------------------

cdef inline bint _fetch(Core *core, Sq *sq, Sqe *sqe) noexcept nogil:
    """Copies the entry at the head, once: only the copy is judged."""
    cdef bint remote = False
    cdef const uint8_t *entry = sq_entry(core, sq, &remote)
    if entry != NULL:
        memcpy(sqe, entry, SQE_BYTES)
    elif not remote or remote_read(core, sq.base + <uint64_t>sq.head * SQE_BYTES, sqe, SQE_BYTES) < 0:
        core.fatal = True
        return False
    sq.head = 0 if sq.head + 1 == sq.entries else sq.head + 1
    sq.fetched += 1
    sq.opcodes[sqe.opcode] += 1
    return True


cdef inline void _end(Core *core, Sq *sq, const Sqe *sqe, uint16_t status) noexcept nogil:
    if status:
        note_error(core, sq.qid, sqe, status, sqe.cdw10 | <uint64_t>sqe.cdw11 << 32)
    post_status(core, sq, sqe.cid, status, core.result, 0)
    core.result = 0


cdef void _hand_over(Core *core, Sq *sq, const Sqe *sqe) noexcept nogil:
    core.admin = sqe[0]
    core.admin_qid = sq.qid
    core.admin_waiting = True


cdef void _miss(Core *core, Sq *sq) noexcept nogil:
    """The first of a pair was not followed by its second."""
    sq.fused = False
    sq_clear_busy(sq, sq.first.cid)
    _end(core, sq, &sq.first, MISSING_FUSED | DNR)


cdef bint _fuse(Core *core, Sq *sq, const Sqe *sqe) noexcept nogil:
    """Fused operations (Base 2.0, 3.4.2): the two are neighbours in their queue. Whether it took the
    command."""
    cdef uint8_t fuse = sqe.flags & 3
    cdef uint16_t[2] statuses
    if fuse and not core.limits.fuses & 1 or fuse == 3:
        _end(core, sq, sqe, INVALID_FIELD | DNR)
        return True
    if sq.fused and fuse != 2:
        _miss(core, sq)
    if fuse == 0:
        return False
    if fuse == 1:
        sq.first, sq.fused = sqe[0], True
        sq_set_busy(core, sq, sqe.cid)
        return True
    if not sq.fused:
        _end(core, sq, sqe, MISSING_FUSED | DNR)
        return True
    sq.fused = False
    sq_clear_busy(sq, sq.first.cid)
    if core.lock != NULL:
        pthread_mutex_lock(core.lock)
    execute_fused(core, &sq.first, sqe, statuses)
    if core.lock != NULL:
        pthread_mutex_unlock(core.lock)
    _end(core, sq, &sq.first, statuses[0])
    _end(core, sq, sqe, statuses[1])
    return True


cdef void begin(Core *core, Sq *sq, const Sqe *sqe) noexcept nogil:
    """Executes a command, or hands it to Python when it is for the admin side."""
    cdef uint16_t status
    if sq.qid == 0:
        _hand_over(core, sq, sqe)
        return
    if (sqe.flags & 3 or sq.fused) and _fuse(core, sq, sqe):
        return
    if core.lock != NULL:
        pthread_mutex_lock(core.lock)
    status = execute_nvm(core, sqe)
    if core.lock != NULL:
        pthread_mutex_unlock(core.lock)
    if status == FOR_PYTHON:
        _hand_over(core, sq, sqe)
    else:
        _end(core, sq, sqe, status)


cdef inline void _take(Core *core, Sq *sq) noexcept nogil:
    cdef Sqe sqe
    if not _fetch(core, sq, &sqe):
        return
    if is_busy(sq, sqe.cid) and not core.silent:
        post_status(core, sq, sqe.cid, CID_CONFLICT | DNR, 0, 0)
    elif not (core.special and intercept(core, sq, &sqe)):
        begin(core, sq, &sqe)


cdef void _end_late(Core *core) noexcept nogil:
    """Executes the commands whose time has come."""
    cdef uint64_t now = now_ns()
    cdef size_t i = 0
    cdef Kept kept
    if core.tearing:
        mend(core)
    if core.nghosts:
        move_late(core)
    while i < core.nkept and not core.admin_waiting:
        if core.kept[i].due == 0 or core.kept[i].due > now:
            i += 1
        elif kept_take(core, i, &kept):
            begin(core, core.sqs[kept.qid], &kept.sqe)


cdef void _drain_backlogs(Core *core) noexcept nogil:
    cdef uint32_t i
    for i in range(core.nqueues):
        if core.cqs[i] != NULL and core.cqs[i].live and core.cqs[i].nbacklog:
            cq_look(core, core.cqs[i])
            cq_drain(core, core.cqs[i])


cdef uint32_t turn(Core *core, uint32_t limit) noexcept nogil:
    """Up to `limit` commands, fewer when somebody wants the data plane to stand still."""
    cdef uint32_t done = 0
    cdef Sq *sq
    if core.nblocked and core.running:
        _drain_backlogs(core)
    if core.nlate and core.running:
        _end_late(core)
    if mock_load(&core.attention) and mock_exchange(&core.attention, 0):
        abort_preempted(core)
    while core.running and done < limit and not core.admin_waiting:
        sq = _next_queue(core)
        if sq == NULL:
            break
        _take(core, sq)
        done += 1
        if core.fatal:
            break
        if done & 15 == 0 and mock_load(&core.want):
            break
    if core.fatal and core.running:
        core.running = False
        aio_mmio_write32(core.bar + CSTS, aio_mmio_read32(core.bar + CSTS) | CSTS_CFS)
    if core.posted:
        signal_interrupts(core)
    return done


# -- interrupts and doorbells --------------------------------------------------------------------------------

cdef bint _is_writable(int fd) noexcept nogil:
    cdef pollfd one
    one.fd, one.events = fd, POLLOUT
    return poll(&one, 1, 0) == 1 and one.revents & POLLOUT != 0


cdef void signal_interrupts(Core *core) noexcept nogil:
    """Signals the vector of each queue that has new entries; those of a masked vector wait for INTMC."""
    cdef uint32_t i
    cdef Cq *cq
    cdef uint64_t one = 1
    core.posted = False
    if core.nirqs == 0:
        return
    for i in range(core.nqueues):
        cq = core.cqs[i]
        if cq == NULL or not cq.live or not cq.signal or not cq.ien or cq.vector >= core.nirqs:
            continue
        if cq.vector < 32 and core.irq_mask >> cq.vector & 1:
            continue
        cq.signal = False
        if core.irqs[cq.vector] < 0:
            continue
        # A client in another process can have filled its eventfd, so that we would wait.
        if core.peer != NULL and not _is_writable(core.irqs[cq.vector]):
            continue
        if write(core.irqs[cq.vector], &one, 8) == 8:
            cq.interrupts += 1


cdef void look_at_stray_doorbells(Core *core) noexcept nogil:
    """Counts stores to doorbells that belong to no queue, and head doorbells that nobody had to look at."""
    cdef uint32_t i, half
    cdef volatile uint8_t *doorbell
    for i in range(core.nqueues):
        for half in range(2):
            doorbell = core.bar + 0x1000 + (2 * i + half) * core.doorbell_stride
            if half and core.cqs[i] != NULL and core.cqs[i].live:
                cq_look(core, core.cqs[i])
            elif half or core.sqs[i] == NULL or not core.sqs[i].live:
                if aio_mmio_read32(doorbell):
                    aio_mmio_write32(doorbell, 0)
                    core.bad_registers += 1
