# What happens to the completions of commands that a rule marked.
from libc.stdint cimport uint64_t

from aionvme.mock.rings cimport Core, Sq
from aionvme.mock.rules cimport Cqe, Rule, Sqe

# The command is executed after this; something happens to its completion.
cdef void mark(Core *core, const Rule *rule, Sq *sq, const Sqe *sqe) noexcept nogil
cdef void marks_forget(Core *core) noexcept nogil
# Posts a completion (`Core.watch`).
cdef void watch(Core *core, Sq *sq, const Cqe *cqe) noexcept nogil
# The rest of a completion that was torn is stored, once it is time.
cdef void mend(Core *core) noexcept nogil
cdef uint64_t random_number(Core *core) noexcept nogil
