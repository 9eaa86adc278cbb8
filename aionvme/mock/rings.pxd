# The queues as the controller has them, and the core of its state that compiled code works on.
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from aionvme.mock.iommu cimport IOVA_READ, IOVA_WRITE, IovaMap, iova_translate
from aionvme.mock.rules cimport Cqe, Kept, Mark, Rule, Sqe, Torn
from aionvme.pci.mmio cimport aio_mmio_read32, aio_mmio_write32

cdef extern from "../mock/order.h" nogil:
    void mock_order_doorbell_before_entries()
    void mock_order_cqe_before_phase()
    void mock_add(volatile uint32_t *counter, int32_t by)
    uint32_t mock_load(const volatile uint32_t *word)
    void mock_store(volatile uint32_t *word, uint32_t value)
    uint32_t mock_exchange(volatile uint32_t *word, uint32_t value)
    void mock_sleep(volatile uint32_t *word, uint32_t value, uint64_t nanoseconds)
    void mock_wake(volatile uint32_t *word)
    uint64_t mock_nanoseconds()

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_mutexattr_t:
        pass
    int PTHREAD_MUTEX_RECURSIVE
    int pthread_mutexattr_init(pthread_mutexattr_t *attr)
    int pthread_mutexattr_settype(pthread_mutexattr_t *attr, int kind)
    int pthread_mutexattr_destroy(pthread_mutexattr_t *attr)
    int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len


cdef enum:
    SQE_BYTES = 64
    CQE_BYTES = 16
    BURST = 64              # commands from one queue in its turn where arbitration sets no limit
    CSTS = 0x1C             # controller status, as an offset in BAR 0
    CSTS_CFS = 2


# A command's status is the 15 bits of Base 2.0, 3.3.3.2.1: SC, SCT << 8, CRD << 11, M << 13, DNR << 14.
cdef enum:
    SUCCESS = 0
    DNR = 0x4000
    MORE = 0x2000
    INVALID_OPCODE = 0x01
    INVALID_FIELD = 0x02
    CID_CONFLICT = 0x03
    DATA_TRANSFER_ERROR = 0x04
    INTERNAL_ERROR = 0x06
    ABORT_REQUESTED = 0x07
    ABORTED_SQ_DELETION = 0x08
    FAILED_FUSED = 0x09
    MISSING_FUSED = 0x0A
    INVALID_NAMESPACE = 0x0B
    INVALID_SGL_SEGMENT = 0x0D
    INVALID_SGL_COUNT = 0x0E
    DATA_SGL_LENGTH = 0x0F
    METADATA_SGL_LENGTH = 0x10
    SGL_TYPE_INVALID = 0x11
    INVALID_CMB_USE = 0x12
    INVALID_PRP_OFFSET = 0x13
    ABORTED_PREEMPT = 0x1B
    SGL_GRANULARITY = 0x1E
    LBA_OUT_OF_RANGE = 0x80
    WRITE_PROTECTED = 0x20
    RESERVATION_CONFLICT = 0x83
    INVALID_FORMAT = 0x10A
    INVALID_PROTECTION = 0x181
    SIZE_LIMIT = 0x183
    INCOMPATIBLE_FORMAT = 0x185
    OVERLAPPING_RANGE = 0x187
    WRITE_FAULT = 0x280
    READ_ERROR = 0x281
    GUARD_ERROR = 0x282
    APP_TAG_ERROR = 0x283
    REF_TAG_ERROR = 0x284
    COMPARE_FAILURE = 0x285
    STORAGE_TAG_ERROR = 0x288
    # No status: Python executes the command and completes it.
    FOR_PYTHON = 0x8000


cdef struct Sq:
    bint live
    uint16_t qid
    uint16_t cqid
    uint16_t qprio
    uint32_t entries
    uint32_t head
    uint32_t tail
    uint32_t rung           # doorbell as last seen, valid or not
    uint8_t *memory         # NULL: not linear here, entries are translated one by one
    uint64_t base
    uint16_t last_cid       # of the last completion
    uint64_t epoch          # of the map when `memory` was found
    const volatile uint32_t *doorbell   # in BAR 0, or shadowed in the host's memory
    volatile uint8_t *register
    bint fused              # the first of two fused commands waits for the second
    Sqe first
    uint32_t nbusy
    uint64_t *busy          # a bit per CID that was fetched and not completed at once
    uint64_t fetched
    uint64_t doorbells
    uint64_t *opcodes       # fetched, by opcode


cdef struct Cq:
    bint live
    uint16_t qid
    uint16_t vector
    bint ien
    bint signal             # entries were posted since the last interrupt
    uint16_t phase
    uint32_t entries
    uint32_t head
    uint32_t tail
    uint32_t rung
    uint32_t users          # submission queues that complete here
    uint8_t *memory
    uint64_t base
    uint64_t epoch
    const volatile uint32_t *doorbell
    volatile uint8_t *register
    Cqe *backlog            # completions that wait for room, in order
    size_t nbacklog
    size_t backlog_capacity
    uint64_t posted
    uint64_t interrupts


cdef enum:
    MEMBERS = 8             # controllers of one subsystem
    DENY_READ = 1
    DENY_WRITE = 2


cdef struct Namespace:
    uint32_t attached       # a bit for each controller of the subsystem
    uint32_t plain          # the same bits where a read is a copy: no metadata, reservation, protection, bad block
    uint16_t refused        # status of every I/O command while it is formatted or sanitized, else 0
    int fd                  # of a file, or -1 for memory
    uint32_t shift          # block size is 1 << shift
    uint64_t nblocks
    uint64_t offset         # in the file
    uint8_t *memory
    bint no_data            # reads and writes end when their memory was found
    uint32_t meta           # bytes of metadata of a block
    bint extended           # they follow the block's data in the host's memory
    uint64_t meta_offset    # in the file
    uint8_t *metadata       # protection information is stored inverted: holes read as FFh
    uint32_t pi             # type of protection information, 0 to 3
    uint32_t pi_bytes       # 8 with a guard of 16 bits, 16 with one of 64
    uint32_t pi_offset      # in the metadata
    uint32_t sts            # bits of the storage tag
    uint64_t *bad           # a bit for each block that can't be read; NULL when there never was one
    uint64_t nbad
    bint protected          # write protected (Base 2.0, 8.12)
    uint32_t reserved       # type of the reservation, 0 for none
    uint8_t[MEMBERS] denied  # what it denies each controller
    uint32_t[MEMBERS] preempted  # commands that are kept there are aborted


# Memory of a command: what a data pointer or a metadata pointer describes.
cdef struct Segments:
    iovec *items
    size_t count
    size_t capacity
    bint buckets            # some are bit buckets, with base NULL


# Memory of ours that stands for the host's (remote.pxd).
cdef struct RemotePiece:
    uint64_t iova
    uint8_t *memory
    size_t nbytes
    bint to_host


# What a controller can be told to do and not to do (Identify says the same).
cdef struct Limits:
    uint32_t oncs
    uint32_t fuses
    uint32_t ocfs
    uint32_t cdfe           # copy formats that the host enabled
    uint32_t sgls
    uint64_t verify         # bytes, 0 for no limit
    uint64_t zeroes
    uint64_t uncorrectable
    uint32_t dmrl
    uint32_t dmrsl
    uint64_t dmsl
    uint32_t mssrl
    uint32_t mcl
    uint32_t msrc


cdef enum:
    ERRORS_KEPT = 64


cdef struct ErrorNote:      # of the error information log (Base 2.0, 5.16.1.2)
    uint64_t count
    uint16_t sqid
    uint16_t cid
    uint16_t status
    uint32_t nsid
    uint64_t lba


# Arbitration (Base 2.0, 3.4.4). Classes of weighted round robin; plain round robin has all in the first.
cdef enum:
    CLASS_ADMIN = 0
    CLASS_URGENT = 1
    CLASS_HIGH = 2
    CLASS_MEDIUM = 3
    CLASS_LOW = 4
    CLASSES = 5


cdef struct Arbiter:
    bint weighted
    uint32_t burst
    uint32_t[5] weights
    uint32_t[5] credits     # commands that a class may still have in this round
    uint16_t *members[5]    # queue identifiers, by class
    uint32_t[5] count
    uint32_t[5] next        # whose turn it is
    Sq *current
    uint32_t current_class
    uint32_t left           # of the current burst


cdef struct Core


# Posts a completion that something may happen to (faults.pyx).
ctypedef void (*Watch)(Core *core, Sq *sq, const Cqe *cqe) noexcept nogil


cdef struct Core:
    IovaMap map
    void *peer              # the object that is asked for memory without an address, or NULL
    RemotePiece *pieces     # of the command in hand
    size_t npieces
    size_t nfetched
    size_t pieces_capacity
    Arbiter arbiter
    volatile uint8_t *bar
    volatile uint32_t want  # threads that wait for the data plane to stand still
    bint running            # ready: commands are taken
    bint special            # silent, late, or there are rules: look before executing
    uint64_t latency        # nanoseconds from a command's fetch to its execution, on I/O queues
    uint32_t nlate          # of the kept commands, those with a time at which they are due
    bint silent
    bint admin_waiting      # `admin`, of queue `admin_qid`, waits for Python
    uint16_t admin_qid
    Sqe admin
    uint32_t member         # which controller of its subsystem it is
    pthread_mutex_t *lock   # held over a command where the subsystem has more controllers
    volatile uint32_t attention  # some of `Namespace.preempted` is set
    uint32_t result         # dword 0 of the completion
    Limits limits
    uint8_t *cmb            # controller memory buffer
    size_t cmb_bytes
    uint8_t *shadow         # doorbells, and what the controller last saw of them
    volatile uint8_t *eventidx
    uint64_t shadow_iova
    uint64_t eventidx_iova
    Rule *rules
    size_t nrules
    size_t rules_capacity
    Kept *kept              # in the order of fetching
    size_t nkept
    size_t kept_capacity
    Watch watch             # NULL: nothing can happen to any completion
    Mark *marks
    size_t nmarks
    size_t marks_capacity
    uint32_t nbehind        # of the kept commands, those with `behind`
    Kept *ghosts            # commands that ended for the host, and have not for the device
    size_t nghosts
    size_t ghosts_capacity
    Torn torn
    bint tearing            # `torn` is to be finished
    uint64_t random         # state of the generator that faults are drawn by
    uint32_t told_rule      # the rule for which `admin` waits for Python, or 0
    int64_t cut             # bytes of data that an admin command moves, negative for all
    int *irqs               # eventfds by vector, -1 for none
    uint32_t nirqs
    uint32_t irq_mask       # INTMS, of the first 32 vectors
    bint posted             # some queue has `signal` set
    Sq **sqs                # by queue identifier; an entry that was never created is NULL
    Cq **cqs
    uint32_t nqueues        # identifiers 0 to nqueues - 1
    Namespace *namespaces   # by namespace identifier less 1
    uint32_t nn
    uint32_t page_shift
    size_t max_transfer     # bytes
    Segments data           # memory of the command in hand
    Segments meta
    uint8_t *stage          # room for blocks that are looked at on their way
    size_t stage_bytes
    bint fatal              # a queue's memory could not be reached
    uint32_t bad_registers  # stores to doorbells of queues that do not exist
    uint32_t bad_values     # stores of values that cannot be
    uint32_t nblocked       # completion queues with a backlog
    size_t doorbell_stride
    ErrorNote[64] errors    # the last ERRORS_KEPT
    uint64_t nerrors        # ever
    uint64_t reads
    uint64_t writes
    uint64_t bytes_read
    uint64_t bytes_written


cdef inline bint is_busy(const Sq *sq, uint16_t cid) noexcept nogil:
    return sq.nbusy != 0 and (sq.busy[cid >> 6] >> (cid & 63)) & 1


cdef inline uint8_t *sq_entry(Core *core, Sq *sq, bint *remote) noexcept nogil:
    # The entry at the head; NULL where the host has to be asked for it, and (`remote` is false) where nothing is.
    cdef size_t run = 0
    cdef size_t nbytes = <size_t>sq.entries * SQE_BYTES
    cdef uint8_t *found
    if sq.epoch != core.map.epoch:
        found = iova_translate(&core.map, sq.base, nbytes, &run, IOVA_READ)
        sq.memory = found if run == nbytes else NULL
        sq.epoch = core.map.epoch
    if sq.memory != NULL:
        return sq.memory + <size_t>sq.head * SQE_BYTES
    found = iova_translate(&core.map, sq.base + <uint64_t>sq.head * SQE_BYTES, SQE_BYTES, &run, IOVA_READ)
    remote[0] = found == NULL and run == SQE_BYTES
    return found if run == SQE_BYTES else NULL


cdef inline uint8_t *cq_entry(Core *core, Cq *cq, bint *remote) noexcept nogil:
    cdef size_t run = 0
    cdef size_t nbytes = <size_t>cq.entries * CQE_BYTES
    cdef uint8_t *found
    if cq.epoch != core.map.epoch:
        found = iova_translate(&core.map, cq.base, nbytes, &run, IOVA_WRITE)
        cq.memory = found if run == nbytes else NULL
        cq.epoch = core.map.epoch
    if cq.memory != NULL:
        return cq.memory + <size_t>cq.tail * CQE_BYTES
    found = iova_translate(&core.map, cq.base + <uint64_t>cq.tail * CQE_BYTES, CQE_BYTES, &run, IOVA_WRITE)
    remote[0] = found == NULL and run == CQE_BYTES
    return found if run == CQE_BYTES else NULL


cdef inline uint32_t cq_next(const Cq *cq, uint32_t index) noexcept nogil:
    return 0 if index + 1 == cq.entries else index + 1


cdef inline void sq_look(Core *core, Sq *sq) noexcept nogil:
    # Takes over the tail doorbell. A value outside the queue is ignored and reported (Base 2.0, 5.2).
    cdef uint32_t value = aio_mmio_read32(sq.doorbell)
    if value == sq.rung:
        return
    sq.rung = value
    sq.doorbells += 1
    if value >= sq.entries:
        core.bad_values += 1
        return
    sq.tail = value
    mock_order_doorbell_before_entries()


cdef inline void cq_look(Core *core, Cq *cq) noexcept nogil:
    # Takes over the head doorbell, which may move up to the tail and no further.
    cdef uint32_t value = aio_mmio_read32(cq.doorbell)
    cdef uint32_t taken, filled
    if value == cq.rung:
        return
    cq.rung = value
    taken = value - cq.head if value >= cq.head else value + cq.entries - cq.head
    filled = cq.tail - cq.head if cq.tail >= cq.head else cq.tail + cq.entries - cq.head
    if value >= cq.entries or taken > filled:
        core.bad_values += 1
        return
    cq.head = value
    mock_order_doorbell_before_entries()


cdef inline void cq_store(Core *core, Cq *cq, const Cqe *cqe) noexcept nogil:
    # Stores one entry into a queue that has room: body, barrier, then the dword with the phase.
    cdef bint remote = False
    cdef uint8_t *entry = cq_entry(core, cq, &remote)
    if entry != NULL:
        memcpy(entry, cqe, 12)
        mock_order_cqe_before_phase()
        aio_mmio_write32(entry + 12, cqe.cid_status | <uint32_t>cq.phase << 16)
    elif not remote or cq_store_remote(core, cq, cqe) < 0:
        core.fatal = True
        return
    cq.tail = cq_next(cq, cq.tail)
    if cq.tail == 0:
        cq.phase ^= 1
    cq.posted += 1
    cq.signal = True
    core.posted = True


cdef inline bint cq_room(Core *core, Cq *cq) noexcept nogil:
    # Whether a completion can be stored at once. A full queue is never overwritten: its head must move.
    if cq_next(cq, cq.tail) == cq.head or cq.nbacklog:
        cq_look(core, cq)
        cq_drain(core, cq)
    return cq_next(cq, cq.tail) != cq.head and cq.nbacklog == 0


cdef inline int cq_post(Core *core, Cq *cq, const Cqe *cqe) noexcept nogil:
    if cq_room(core, cq):
        cq_store(core, cq, cqe)
        return 0
    return cq_defer(core, cq, cqe)


cdef inline void post_status(Core *core, Sq *sq, uint16_t cid, uint16_t status, uint32_t dw0,
                             uint32_t dw1) noexcept nogil:
    # Completes a command of this queue.
    cdef Cqe cqe
    cqe.dw0, cqe.dw1 = dw0, dw1
    cqe.sqhd, cqe.sqid = <uint16_t>sq.head, sq.qid
    cqe.cid_status = cid | <uint32_t>status << 17
    if core.watch != NULL:
        core.watch(core, sq, &cqe)
    else:
        cq_post(core, core.cqs[sq.cqid], &cqe)
    sq.last_cid = cid


cdef inline void note_error(Core *core, uint16_t sqid, const Sqe *sqe, uint16_t status,
                            uint64_t lba) noexcept nogil:
    cdef ErrorNote *note = &core.errors[core.nerrors % ERRORS_KEPT]
    core.nerrors += 1
    note.count, note.sqid, note.cid, note.status = core.nerrors, sqid, sqe.cid, status
    note.nsid, note.lba = sqe.nsid, lba


cdef void shadow_sq(Core *core, Sq *sq) noexcept nogil
cdef void shadow_cq(Core *core, Cq *cq) noexcept nogil
cdef void look_at_all(Core *core) noexcept nogil
cdef void shadow_all(Core *core, uint64_t iova, uint64_t eventidx) noexcept nogil
cdef void ask_for_doorbells(Core *core) noexcept nogil
cdef int cq_store_remote(Core *core, Cq *cq, const Cqe *cqe) noexcept nogil
cdef void cq_drain(Core *core, Cq *cq) noexcept nogil
cdef int cq_defer(Core *core, Cq *cq, const Cqe *cqe) noexcept nogil

cdef Sq *sq_create(Core *core, uint16_t qid, uint16_t cqid, uint64_t base, uint32_t entries, uint16_t qprio,
                   volatile uint8_t *doorbell) except NULL
cdef Cq *cq_create(Core *core, uint16_t qid, uint64_t base, uint32_t entries, uint16_t vector, bint ien,
                   volatile uint8_t *doorbell) except NULL
cdef void sq_set_busy(Core *core, Sq *sq, uint16_t cid) noexcept nogil
cdef void sq_clear_busy(Sq *sq, uint16_t cid) noexcept nogil
cdef void sq_delete(Core *core, Sq *sq) noexcept nogil
cdef void cq_delete(Core *core, Cq *cq) noexcept nogil
cdef void arbiter_rebuild(Core *core) noexcept nogil
cdef int core_init(Core *core, uint32_t nqueues, size_t max_transfer) except -1
cdef void core_free(Core *core) noexcept nogil
