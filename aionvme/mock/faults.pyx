# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns the rules by which commands are kept or failed, and the commands that are kept.

A controller without rules pays one test of a flag for each command (`Core.special`).
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memmove

from aionvme.mock.rings cimport (
    ABORTED_PREEMPT, RULE_HOLD, Core, Kept, Namespace, Rule, Sq, Sqe, mock_exchange, mock_nanoseconds, post_status,
    sq_clear_busy, sq_set_busy,
)


cdef bint _matches(const Rule *rule, const Sq *sq, const Sqe *sqe) noexcept nogil:
    return (
        rule.left != 0
        and (rule.qid < 0 or rule.qid == sq.qid)
        and (rule.opcode < 0 or rule.opcode == sqe.opcode)
        and (rule.nsid < 0 or rule.nsid == sqe.nsid)
    )


cdef void _keep(Core *core, uint32_t rule, uint64_t due, Sq *sq, const Sqe *sqe) noexcept nogil:
    cdef size_t capacity
    cdef Kept *grown
    if core.nkept == core.kept_capacity:
        capacity = core.kept_capacity * 2 if core.kept_capacity else 64
        grown = <Kept *>realloc(core.kept, capacity * sizeof(Kept))
        if grown == NULL:
            core.fatal = True
            return
        core.kept, core.kept_capacity = grown, capacity
    core.kept[core.nkept].rule = rule
    core.kept[core.nkept].due = due
    core.kept[core.nkept].qid = sq.qid
    core.kept[core.nkept].sqe = sqe[0]
    core.nkept += 1
    core.nlate += due != 0
    sq_set_busy(core, sq, sqe.cid)


cdef bint intercept(Core *core, Sq *sq, const Sqe *sqe) noexcept nogil:
    """Whether a rule (or silence, or its latency) took this command; it is then not executed now."""
    cdef size_t i
    cdef Rule *rule
    if core.silent:
        return True
    for i in range(core.nrules):
        rule = &core.rules[i]
        if not _matches(rule, sq, sqe):
            continue
        if rule.skip:
            rule.skip -= 1
            continue
        rule.left -= 1
        if rule.kind == RULE_HOLD:
            _keep(core, rule.id, 0, sq, sqe)
        else:
            post_status(core, sq, sqe.cid, rule.status, 0, 0)
        return True
    if core.latency and sq.qid:
        _keep(core, 0, mock_nanoseconds() + core.latency, sq, sqe)
        return True
    return False


cdef int rule_add(Core *core, const Rule *rule) except -1:
    """Adds a rule behind those that there are."""
    cdef Rule *grown
    cdef size_t capacity = core.rules_capacity * 2 if core.rules_capacity else 8
    if core.nrules == core.rules_capacity:
        grown = <Rule *>realloc(core.rules, capacity * sizeof(Rule))
        if grown == NULL:
            raise MemoryError("no memory for another rule")
        core.rules, core.rules_capacity = grown, capacity
    core.rules[core.nrules] = rule[0]
    core.nrules += 1
    core.special = True
    return 0


cdef Rule *rule_find(Core *core, uint32_t rule_id) noexcept nogil:
    """The rule, or NULL when it was removed."""
    cdef size_t i
    for i in range(core.nrules):
        if core.rules[i].id == rule_id:
            return &core.rules[i]
    return NULL


cdef void rule_remove(Core *core, uint32_t rule_id) noexcept nogil:
    """Removes a rule; what it kept stays kept."""
    cdef Rule *rule = rule_find(core, rule_id)
    if rule == NULL:
        return
    core.nrules -= 1
    memmove(rule, rule + 1, <size_t>(&core.rules[core.nrules] - rule) * sizeof(Rule))
    is_special(core)


cdef void is_special(Core *core) noexcept nogil:
    """Finds whether every command has to be looked at before it is executed."""
    core.special = core.silent or core.nrules != 0 or core.latency != 0


cdef bint kept_take(Core *core, size_t index, Kept *kept) noexcept nogil:
    """Takes a kept command out; whether its queue is still there to complete it."""
    cdef Sq *sq
    kept[0] = core.kept[index]
    core.nkept -= 1
    core.nlate -= kept.due != 0
    memmove(&core.kept[index], &core.kept[index + 1], (core.nkept - index) * sizeof(Kept))
    sq = core.sqs[kept.qid]
    if sq == NULL or not sq.live:
        return False
    sq_clear_busy(sq, kept.sqe.cid)
    return True


cdef size_t kept_find(const Core *core, uint16_t qid, uint16_t cid) noexcept nogil:
    """Index of the kept command with this CID, or how many there are."""
    cdef size_t i
    for i in range(core.nkept):
        if core.kept[i].qid == qid and core.kept[i].sqe.cid == cid:
            return i
    return core.nkept


cdef void kept_forget(Core *core, int qid) noexcept nogil:
    """Forgets the kept commands of a queue, or of all (-1)."""
    cdef size_t i, left = 0
    for i in range(core.nkept):
        if qid >= 0 and core.kept[i].qid != qid:
            core.kept[left] = core.kept[i]
            left += 1
        else:
            core.nlate -= core.kept[i].due != 0
    core.nkept = left


cdef void abort_preempted(Core *core) noexcept nogil:
    cdef uint32_t i
    cdef size_t index
    cdef Namespace *ns
    cdef Kept kept
    for i in range(core.nn):
        ns = &core.namespaces[i]
        if not mock_exchange(&ns.preempted[core.member], 0):
            continue
        index = 0
        while index < core.nkept:
            if core.kept[index].qid == 0 or core.kept[index].sqe.nsid != i + 1:
                index += 1
            elif kept_take(core, index, &kept):
                post_status(core, core.sqs[kept.qid], kept.sqe.cid, ABORTED_PREEMPT, 0, 0)
