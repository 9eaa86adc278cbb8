# What is done with commands that match a rule, instead of executing them.
from libc.stddef cimport size_t
from libc.stdint cimport uint16_t, uint32_t

from aionvme.mock.rings cimport Core, Sq
from aionvme.mock.rules cimport Kept, Rule, Sqe

cdef bint intercept(Core *core, Sq *sq, const Sqe *sqe) noexcept nogil
cdef int rule_add(Core *core, const Rule *rule) except -1
cdef Rule *rule_find(Core *core, uint32_t rule_id) noexcept nogil
cdef void rule_remove(Core *core, uint32_t rule_id) noexcept nogil
cdef void is_special(Core *core) noexcept nogil
cdef bint kept_take(Core *core, size_t index, Kept *kept) noexcept nogil
cdef size_t kept_find(const Core *core, uint16_t qid, uint16_t cid) noexcept nogil
# What was preempted by another controller (`Namespace.preempted`) ends.
cdef void abort_preempted(Core *core) noexcept nogil
cdef void kept_forget(Core *core, int qid) noexcept nogil
# What a fault has outstanding is forgotten: the controller was reset.
cdef void faults_forget(Core *core) noexcept nogil
# A command that was kept is aborted; whether its data are moved all the same, later (`RULE_AFTER_ABORT`).
cdef void haunt(Core *core, const Kept *kept) noexcept nogil
# Completions of a queue's former life come into its new one (`RULE_AFTER_RESET`).
cdef void return_ghosts(Core *core, Sq *sq) noexcept nogil
# Commands that ended, and have data moved now.
cdef void move_late(Core *core) noexcept nogil
cdef void faults_free(Core *core) noexcept nogil
