# What is done with commands that match a rule, instead of executing them.
from libc.stddef cimport size_t
from libc.stdint cimport uint16_t, uint32_t

from aionvme.mock.rings cimport Core, Kept, Rule, Sq, Sqe

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
