# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns what happens to completions: lost, doubled, torn, with fields that are wrong; and success with too few bytes."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

from aionvme.clock cimport now_ns
from aionvme.mock.blocks cimport read_storage, write_storage
from aionvme.mock.pointers cimport Cursor, cursor_copy, map_data
from aionvme.mock.rings cimport CQE_BYTES, Core, Cq, Namespace, Sq, cq_post, cq_store
from aionvme.mock.rules cimport (
    MARK_BAD_HEAD, MARK_DOUBLED, MARK_FOREIGN_CID, MARK_FREE_CID, MARK_GARBAGE, MARK_LOST, MARK_NO_INTERRUPT,
    MARK_OVERRUN, MARK_SHORT, MARK_STALE_PHASE, MARK_TORN, MARK_WRONG_SQID, Cqe, Mark, Rule, Sqe, Torn,
)

cdef enum:
    OPCODE_WRITE = 0x01
    OPCODE_READ = 0x02
    OTHER_GENERATION = 0x8000   # of an identifier, as a driver may count the uses of a slot


cdef uint64_t random_number(Core *core) noexcept nogil:
    """The next of a sequence that the seed fixes (splitmix64, public domain, S. Vigna)."""
    cdef uint64_t z
    core.random += <uint64_t>0x9E3779B97F4A7C15
    z = core.random
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef void mark(Core *core, const Rule *rule, Sq *sq, const Sqe *sqe) noexcept nogil:
    cdef size_t capacity
    cdef Mark *grown
    cdef Mark *one
    if core.nmarks == core.marks_capacity:
        capacity = core.marks_capacity * 2 if core.marks_capacity else 16
        grown = <Mark *>realloc(core.marks, capacity * sizeof(Mark))
        if grown == NULL:
            core.fatal = True
            return
        core.marks, core.marks_capacity = grown, capacity
    one = &core.marks[core.nmarks]
    one.kind, one.qid, one.value, one.delay = rule.kind, sq.qid, rule.value, rule.delay
    one.sqe = sqe[0]
    one.saved, one.nsaved = NULL, 0
    core.nmarks += 1
    core.watch = watch
    if rule.kind == MARK_SHORT:
        _save(core, one)


cdef void marks_forget(Core *core) noexcept nogil:
    """No completion is changed any more."""
    cdef size_t i
    for i in range(core.nmarks):
        free(core.marks[i].saved)
    core.nmarks = 0
    if core.tearing:
        core.tearing = False
        core.nlate -= 1


# -- success with too few bytes ------------------------------------------------------------------------------

cdef bint _extent(Core *core, const Mark *one, Namespace **ns, uint64_t *start, size_t *nbytes) noexcept nogil:
    """Where the data of a plain Read or Write are stored; False for every other command."""
    cdef uint64_t lba = one.sqe.cdw10 | <uint64_t>one.sqe.cdw11 << 32
    cdef uint64_t nblocks = (one.sqe.cdw12 & 0xFFFF) + 1
    if one.qid == 0 or one.sqe.opcode != OPCODE_READ and one.sqe.opcode != OPCODE_WRITE:
        return False
    if one.sqe.nsid - 1 >= core.nn or core.peer != NULL:
        return False
    ns[0] = &core.namespaces[one.sqe.nsid - 1]
    if not ns[0].plain >> core.member & 1 or lba >= ns[0].nblocks or nblocks > ns[0].nblocks - lba:
        return False
    start[0], nbytes[0] = lba << ns[0].shift, <size_t>nblocks << ns[0].shift
    return True


cdef void _swap(Core *core, const Mark *one, bint save) noexcept nogil:
    """Between what is saved and its place: the last bytes of the host's memory, or of the blocks."""
    cdef Namespace *ns = NULL
    cdef uint64_t start = 0
    cdef size_t nbytes = 0, kept
    cdef Cursor data
    if one.saved == NULL or not _extent(core, one, &ns, &start, &nbytes):
        return
    kept = nbytes - one.nsaved
    if one.sqe.opcode == OPCODE_WRITE:
        if save:
            read_storage(ns, start + kept, one.saved, one.nsaved)
        else:
            write_storage(ns, start + kept, one.saved, one.nsaved)
    elif map_data(core, &one.sqe, nbytes, False) == 0:
        data.segments, data.index, data.offset = &core.data, 0, 0
        while kept >= core.data.items[data.index].iov_len:
            kept -= core.data.items[data.index].iov_len
            data.index += 1
        data.offset = kept
        cursor_copy(&data, one.saved, one.nsaved, not save)


cdef void _save(Core *core, Mark *one) noexcept nogil:
    """What the command must not change, beyond `value` bytes."""
    cdef Namespace *ns = NULL
    cdef uint64_t start = 0
    cdef size_t nbytes = 0
    cdef size_t moved = <size_t>one.value if one.value > 0 else 0
    if one.qid == 0:
        core.cut = <int>moved
        return
    if not _extent(core, one, &ns, &start, &nbytes) or moved >= nbytes:
        return
    one.saved, one.nsaved = <uint8_t *>malloc(nbytes - moved), nbytes - moved
    _swap(core, one, True)


# -- completions ---------------------------------------------------------------------------------------------

cdef void _post_garbage(Core *core, Cq *cq) noexcept nogil:
    cdef Cqe cqe
    cdef uint64_t noise = random_number(core)
    memcpy(&cqe, &noise, 8)
    noise = random_number(core)
    cqe.sqhd, cqe.sqid = <uint16_t>noise, <uint16_t>(noise >> 16)
    cqe.cid_status = <uint32_t>(noise >> 32) & <uint32_t>0xFFFEFFFF
    cq_post(core, cq, &cqe)


cdef void _post_stale(Core *core, Cq *cq, const Cqe *cqe) noexcept nogil:
    cdef uint16_t phase = cq.phase
    cq.phase ^= 1
    cq_store(core, cq, cqe)
    cq.phase = phase if cq.tail else phase ^ 1


cdef void _overrun(Core *core, Cq *cq, const Cqe *cqe, uint64_t times) noexcept nogil:
    """Stores it whether there is room or not."""
    cdef uint64_t _i
    for _i in range(times):
        cq_store(core, cq, cqe)


cdef void _tear(Core *core, Cq *cq, const Cqe *cqe, uint64_t delay) noexcept nogil:
    """Its last dword first; `mend` stores the others."""
    cdef Cqe first
    cdef uint8_t *entry
    if core.tearing or cq.memory == NULL or cq.epoch != core.map.epoch:
        cq_post(core, cq, cqe)
        return
    entry = cq.memory + <size_t>cq.tail * CQE_BYTES
    memcpy(&first, entry, CQE_BYTES)
    first.cid_status = cqe.cid_status
    core.torn.cqid, core.torn.index = cq.qid, cq.tail
    core.torn.due, core.torn.cqe = now_ns() + delay, cqe[0]
    core.tearing = True
    core.nlate += 1
    cq_store(core, cq, &first)


cdef void mend(Core *core) noexcept nogil:
    cdef Torn *torn = &core.torn
    cdef Cq *cq = core.cqs[torn.cqid]
    if not core.tearing or torn.due > now_ns():
        return
    core.tearing = False
    core.nlate -= 1
    if cq != NULL and cq.live and cq.memory != NULL and cq.epoch == core.map.epoch:
        memcpy(cq.memory + <size_t>torn.index * CQE_BYTES, &torn.cqe, 12)


cdef void _post_marked(Core *core, Sq *sq, const Mark *one, const Cqe *given) noexcept nogil:
    cdef Cq *cq = core.cqs[sq.cqid]
    cdef Cqe cqe = given[0]
    cdef bint signal = cq.signal
    cdef uint16_t cid = <uint16_t>cqe.cid_status
    if one.kind == MARK_LOST:
        return
    if one.kind == MARK_FOREIGN_CID:
        cid = <uint16_t>one.value if one.value >= 0 else cid ^ <uint16_t>OTHER_GENERATION
    elif one.kind == MARK_FREE_CID:
        cid = sq.last_cid
    elif one.kind == MARK_WRONG_SQID:
        cqe.sqid = <uint16_t>one.value if one.value >= 0 else sq.qid + 1
    elif one.kind == MARK_BAD_HEAD:
        cqe.sqhd = <uint16_t>one.value if one.value >= 0 else 0xFFFF
    elif one.kind == MARK_SHORT:
        _swap(core, one, False)
    elif one.kind == MARK_GARBAGE:
        _post_garbage(core, cq)
    cqe.cid_status = (cqe.cid_status & <uint32_t>0xFFFF0000) | cid
    if one.kind == MARK_STALE_PHASE:
        _post_stale(core, cq, &cqe)
    elif one.kind == MARK_OVERRUN:
        _overrun(core, cq, &cqe, <uint64_t>one.value if one.value >= 0 else cq.entries + 1)
    elif one.kind == MARK_TORN:
        _tear(core, cq, &cqe, one.delay)
    else:
        cq_post(core, cq, &cqe)
    if one.kind == MARK_DOUBLED:
        cq_post(core, cq, &cqe)
    elif one.kind == MARK_NO_INTERRUPT:
        cq.signal = signal


cdef void _let_pass(Core *core, uint16_t qid) noexcept nogil:
    """One more has completed that reordered commands wait for."""
    cdef size_t i
    for i in range(core.nkept):
        if core.kept[i].qid == qid and core.kept[i].behind:
            core.kept[i].behind -= 1
            if core.kept[i].behind == 0:
                core.nbehind -= 1
                core.kept[i].due = 1


cdef void watch(Core *core, Sq *sq, const Cqe *cqe) noexcept nogil:
    cdef size_t i
    cdef Mark one
    for i in range(core.nmarks):
        if core.marks[i].qid == sq.qid and core.marks[i].sqe.cid == <uint16_t>cqe.cid_status:
            one = core.marks[i]
            core.nmarks -= 1
            memmove(&core.marks[i], &core.marks[i + 1], (core.nmarks - i) * sizeof(Mark))
            _post_marked(core, sq, &one, cqe)
            free(one.saved)
            break
    else:
        cq_post(core, core.cqs[sq.cqid], cqe)
    if core.nbehind:
        _let_pass(core, sq.qid)
    if core.nmarks == 0 and core.nbehind == 0:
        core.watch = NULL
