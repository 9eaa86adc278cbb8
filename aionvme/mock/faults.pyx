# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns the rules by which commands are kept or failed, and the commands that are kept.

A controller without rules pays one test of a flag for each command (`Core.special`). What a rule has happen to a
command's completion is in marks.pyx.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove

from aionvme.clock cimport now_ns
from aionvme.mock.marks cimport mark, marks_forget, random_number, watch
from aionvme.mock.nvm cimport execute_nvm
from aionvme.mock.rings cimport (
    ABORTED_PREEMPT, Core, Namespace, Sq, cq_post, mock_exchange, post_status, sq_clear_busy, sq_set_busy,
)
from aionvme.mock.rules cimport (
    MARKED, RULE_AFTER_ABORT, RULE_AFTER_RESET, RULE_DELAY, RULE_FAIL, RULE_REORDER, RULE_TELL, Cqe, Kept,
    Rule, Sqe,
)

cdef enum:
    BEHIND = 1              # completions that a reordered one lets pass, by default


cdef bint _matches(const Rule *rule, const Sq *sq, const Sqe *sqe) noexcept nogil:
    return (
        rule.left != 0
        and (rule.qid < 0 or rule.qid == sq.qid)
        and (rule.opcode < 0 or rule.opcode == sqe.opcode)
        and (rule.nsid < 0 or rule.nsid == sqe.nsid)
    )


cdef bint _takes(Core *core, Rule *rule) noexcept nogil:
    """Whether a command that matches is one of those that the rule takes."""
    if rule.skip:
        rule.skip -= 1
        return False
    rule.at += 1
    if (rule.at - 1) % rule.every:
        return False
    if rule.chance < <uint64_t>1 << 32 and random_number(core) >> 32 >= rule.chance:
        return False
    rule.left -= 1
    rule.taken += 1
    return True


cdef Kept *_append(Kept **list, size_t *count, size_t *capacity) noexcept nogil:
    """Room for one more at the end; NULL when there is no memory for it."""
    cdef size_t wanted
    cdef Kept *grown
    if count[0] == capacity[0]:
        wanted = capacity[0] * 2 if capacity[0] else 64
        grown = <Kept *>realloc(list[0], wanted * sizeof(Kept))
        if grown == NULL:
            return NULL
        list[0], capacity[0] = grown, wanted
    count[0] += 1
    return &list[0][count[0] - 1]


cdef void _keep(Core *core, const Rule *rule, uint64_t due, Sq *sq, const Sqe *sqe) noexcept nogil:
    """Keeps a command for a rule, or (NULL) because it takes its time."""
    cdef Kept *kept = _append(&core.kept, &core.nkept, &core.kept_capacity)
    if kept == NULL:
        core.fatal = True
        return
    kept.rule = rule.id if rule != NULL else 0
    kept.kind = rule.kind if rule != NULL else RULE_DELAY
    kept.delay = rule.delay if rule != NULL else 0
    kept.behind = 0
    if kept.kind == RULE_REORDER:
        kept.behind = <uint32_t>rule.value if rule.value >= 0 else BEHIND
        core.nbehind += 1
        core.watch = watch
    kept.due = due
    kept.qid = sq.qid
    kept.sqe = sqe[0]
    core.nlate += due != 0
    sq_set_busy(core, sq, sqe.cid)


cdef bint _apply(Core *core, const Rule *rule, Sq *sq, const Sqe *sqe) noexcept nogil:
    """Does to a command what the rule says; whether it is not to be executed now."""
    if rule.kind == RULE_FAIL:
        post_status(core, sq, sqe.cid, rule.status, 0, 0)
    elif rule.kind == RULE_TELL:
        core.admin, core.admin_qid, core.told_rule = sqe[0], sq.qid, rule.id
        core.admin_waiting = True
    elif rule.kind == RULE_DELAY or rule.kind == RULE_REORDER:
        _keep(core, rule, now_ns() + rule.delay, sq, sqe)
    elif rule.kind > MARKED:
        mark(core, rule, sq, sqe)
        return False
    else:
        _keep(core, rule, 0, sq, sqe)
    return True


cdef bint intercept(Core *core, Sq *sq, const Sqe *sqe) noexcept nogil:
    """Whether a rule (or silence, or its latency) took this command; it is then not executed now."""
    cdef size_t i
    if core.silent:
        return True
    for i in range(core.nrules):
        if _matches(&core.rules[i], sq, sqe) and _takes(core, &core.rules[i]):
            return _apply(core, &core.rules[i], sq, sqe)
    if core.latency and sq.qid:
        _keep(core, NULL, now_ns() + core.latency, sq, sqe)
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
    core.nbehind -= kept.behind != 0
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
            core.nbehind -= core.kept[i].behind != 0
            if core.kept[i].kind == RULE_AFTER_RESET:
                _remember(core, &core.kept[i], 0)
    core.nkept = left


# -- what has ended for the host, and has not for the device -------------------------------------------------

cdef void _remember(Core *core, const Kept *kept, uint64_t due) noexcept nogil:
    cdef Kept *ghost = _append(&core.ghosts, &core.nghosts, &core.ghosts_capacity)
    if ghost != NULL:
        ghost[0] = kept[0]
        ghost.due = due
        core.nlate += due != 0


cdef void _exorcise(Core *core, size_t index) noexcept nogil:
    core.nlate -= core.ghosts[index].due != 0
    core.nghosts -= 1
    memmove(&core.ghosts[index], &core.ghosts[index + 1], (core.nghosts - index) * sizeof(Kept))


cdef void haunt(Core *core, const Kept *kept) noexcept nogil:
    """A command that was kept is aborted; its data may be moved all the same."""
    if kept.kind == RULE_AFTER_ABORT:
        _remember(core, kept, now_ns() + kept.delay)


cdef void move_late(Core *core) noexcept nogil:
    """Executes what was aborted, and tells nobody."""
    cdef size_t i = 0
    cdef Kept ghost
    while i < core.nghosts:
        if core.ghosts[i].due == 0 or core.ghosts[i].due > now_ns():
            i += 1
            continue
        ghost = core.ghosts[i]
        _exorcise(core, i)
        if ghost.qid:
            execute_nvm(core, &ghost.sqe)


cdef void return_ghosts(Core *core, Sq *sq) noexcept nogil:
    """What a queue's former life left unfinished is completed in this one."""
    cdef size_t i = 0
    cdef Cqe cqe
    while i < core.nghosts:
        if core.ghosts[i].qid != sq.qid or core.ghosts[i].kind != RULE_AFTER_RESET:
            i += 1
            continue
        cqe.dw0 = cqe.dw1 = 0
        cqe.sqhd, cqe.sqid = <uint16_t>sq.head, sq.qid
        cqe.cid_status = core.ghosts[i].sqe.cid
        _exorcise(core, i)
        cq_post(core, core.cqs[sq.cqid], &cqe)


cdef void faults_forget(Core *core) noexcept nogil:
    """The controller was reset: no data of before it are moved, and no completion of before it is changed."""
    cdef size_t i = 0
    while i < core.nghosts:
        if core.ghosts[i].due:
            _exorcise(core, i)
        else:
            i += 1
    core.told_rule = 0
    marks_forget(core)


cdef void faults_free(Core *core) noexcept nogil:
    """Frees what rules have."""
    marks_forget(core)
    free(core.marks)
    free(core.ghosts)
    core.marks, core.ghosts = NULL, NULL


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
