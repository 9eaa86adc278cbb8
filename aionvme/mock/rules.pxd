# Commands and completions as they are in memory, and what rules do with them.
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef struct Sqe:
    uint8_t opcode
    uint8_t flags           # FUSE in bits 1:0, PSDT in bits 7:6
    uint16_t cid
    uint32_t nsid
    uint32_t cdw2
    uint32_t cdw3
    uint64_t mptr
    uint64_t prp1
    uint64_t prp2
    uint32_t cdw10
    uint32_t cdw11
    uint32_t cdw12
    uint32_t cdw13
    uint32_t cdw14
    uint32_t cdw15


cdef struct Cqe:
    uint32_t dw0
    uint32_t dw1
    uint16_t sqhd
    uint16_t sqid
    uint32_t cid_status     # one store makes the entry visible: CID, phase, status


# What is done with a command that matches; the first rule that matches has it. Those from MARKED on have it executed,
# and something happen to its completion.
cdef enum RuleKind:
    RULE_HOLD               # kept until it is released
    RULE_FAIL               # ends with a status
    RULE_DELAY              # executed later
    RULE_REORDER            # executed behind others of its queue, or later
    RULE_AFTER_ABORT        # kept; once it was aborted, its data are moved
    RULE_AFTER_RESET        # kept; once its queue was made again, its completion comes
    RULE_TELL               # Python is told, which does the rest
    MARKED
    MARK_LOST               # never comes
    MARK_DOUBLED            # comes twice
    MARK_FOREIGN_CID        # has an identifier that no command has
    MARK_FREE_CID           # has the identifier of the command that completed before
    MARK_WRONG_SQID         # names another submission queue
    MARK_BAD_HEAD           # names a place outside the submission queue
    MARK_GARBAGE            # random bytes with the right phase come before it
    MARK_STALE_PHASE        # has the phase of the pass before
    MARK_OVERRUN            # comes more often than the queue has entries
    MARK_TORN               # its last dword is seen before the others
    MARK_NO_INTERRUPT       # no interrupt tells of it
    MARK_SHORT              # says success, and fewer bytes were moved


cdef struct Rule:
    uint32_t id
    RuleKind kind
    int32_t qid             # negative: any
    int32_t opcode          # negative: any
    int64_t nsid            # negative: any
    uint64_t skip           # matches that pass before the first that is taken
    uint64_t every          # from then on every so manieth is taken
    uint64_t at             # matches since then
    uint64_t left           # matches that are still taken
    uint64_t taken
    uint64_t chance         # of 1 << 32, with which one of these is taken
    uint16_t status
    int64_t value           # what the kind says; negative: as it likes
    uint64_t delay          # nanoseconds


cdef struct Kept:           # a command that was fetched and waits for a word
    uint32_t rule           # 0: it is only late
    RuleKind kind
    uint16_t qid
    uint32_t behind         # it is executed when so many others of its queue have completed
    uint64_t due            # when it is executed, by the machine's clock; 0: when it is told to
    uint64_t delay
    Sqe sqe


cdef struct Mark:           # a command whose completion something happens to
    RuleKind kind
    uint16_t qid
    int64_t value
    uint64_t delay
    uint8_t *saved          # what `MARK_SHORT` puts back
    size_t nsaved
    Sqe sqe


cdef struct Torn:           # the rest of a completion whose last dword was stored
    uint16_t cqid
    uint32_t index
    uint64_t due
    Cqe cqe
