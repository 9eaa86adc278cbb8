# One submission and one completion queue as memory: post, ring the doorbell, reap. Knows no Python object, no asyncio.
#
# Inline, so that each user's C compiler sees through the calls. A slot is the host's name for a command in flight: it
# owns a CID and a PRP list. The CID that goes to the device is the slot number below and a generation above it, so that
# a completion of an earlier use of the slot is foreign too.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from aionvme.pci.mmio cimport (
    aio_barrier_cqe_before_doorbell,
    aio_barrier_full,
    aio_barrier_phase_before_cqe,
    aio_barrier_sqe_before_doorbell,
    aio_mmio_write32,
)


cdef enum:
    SQE_BYTES = 64
    CQE_BYTES = 16
    NO_SLOT = 0xFFFF


# What reap found at the head of the completion queue.
cdef enum ReapResult:
    REAP_NONE = 0
    REAP_COMMAND = 1
    REAP_FOREIGN_SQID = 2       # completion for another submission queue
    REAP_FOREIGN_CID = 3        # no command with this CID is outstanding
    REAP_BAD_HEAD = 4           # a submission queue head that is outside the queue


cdef struct Sqe:
    # Common command format, NVMe Base 2.0 figure 87.
    uint8_t opcode
    uint8_t flags               # FUSE 1:0, PSDT 7:6
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
    # Common completion queue entry, NVMe Base 2.0 figure 90.
    uint32_t dw0
    uint32_t dw1
    uint16_t sqhd
    uint16_t sqid
    uint16_t cid
    uint16_t status             # phase 0, status field 15:1


cdef struct Slot:
    void *owner                 # the request that the command is a piece of; NULL when free
    uint16_t cid
    uint16_t generation
    uint16_t next_free
    uint8_t aborting
    uint8_t opcode


cdef struct Ring:
    # Written at every command.
    uint8_t *sq
    uint8_t *cq
    Slot *slots
    uint32_t sq_tail
    uint32_t sq_tail_rung       # what the device was last told
    uint32_t cq_head
    uint32_t cq_head_rung
    uint32_t outstanding        # slots in use
    uint16_t first_free
    uint16_t phase
    # Constant while the queue exists.
    uint32_t sq_entries
    uint32_t cq_entries
    uint32_t depth
    uint16_t slot_mask
    uint16_t slot_bits
    uint16_t qid
    uint8_t *lists
    uint64_t lists_iova
    uint32_t list_bytes         # that a slot has for its PRP list or SGL
    volatile uint8_t *sq_doorbell
    volatile uint8_t *cq_doorbell
    # Shadow doorbells and their event indices in ordinary memory (Base 2.0, 5.8), or NULL.
    volatile uint32_t *sq_shadow
    volatile uint32_t *sq_event
    volatile uint32_t *cq_shadow
    volatile uint32_t *cq_event


# What the device was told by.
cdef enum Told:
    TOLD_NOTHING = 0            # there was nothing to tell
    TOLD_BY_SHADOW = 1          # it looks at the shadow by itself
    TOLD_BY_DOORBELL = 2


cdef inline Told ring_tell(volatile uint8_t *doorbell, volatile uint32_t *shadow, volatile uint32_t *event,
                           uint32_t new, uint32_t old) noexcept nogil:
    # The shadow first, where there is one; then the doorbell, unless the device says that it does not wait for it.
    if shadow != NULL:
        aio_mmio_write32(shadow, new)
        # Between the shadow's store and the load of the event index; else each side may see the other's old value.
        aio_barrier_full()
        if <uint16_t>(new - event[0] - 1) >= <uint16_t>(new - old):
            return TOLD_BY_SHADOW
    if doorbell != NULL:
        aio_mmio_write32(doorbell, new)
    return TOLD_BY_DOORBELL


cdef inline uint16_t ring_take_slot(Ring *ring, void *owner) noexcept nogil:
    # The first free slot, or NO_SLOT.
    cdef uint16_t index = ring.first_free
    cdef Slot *slot
    if index == NO_SLOT:
        return NO_SLOT
    slot = &ring.slots[index]
    ring.first_free = slot.next_free
    slot.owner = owner
    slot.generation += 1
    # CID FFFFh is kept free: the error log uses it for "no command" (Base 2.0, 5.16.1.2).
    slot.cid = <uint16_t>((slot.generation << ring.slot_bits) | index)
    if slot.cid == 0xFFFF:
        slot.generation += 1
        slot.cid = <uint16_t>((slot.generation << ring.slot_bits) | index)
    slot.aborting = 0
    ring.outstanding += 1
    return index


cdef inline void ring_free_slot(Ring *ring, uint16_t index) noexcept nogil:
    cdef Slot *slot = &ring.slots[index]
    slot.owner = NULL
    slot.next_free = ring.first_free
    ring.first_free = index
    ring.outstanding -= 1


cdef inline void ring_advance(Ring *ring) noexcept nogil:
    ring.sq_tail += 1
    if ring.sq_tail == ring.sq_entries:
        ring.sq_tail = 0


cdef inline void ring_post(Ring *ring, const Sqe *sqe) noexcept nogil:
    # Never overruns: no more than `depth` slots are in use, and the ring has at least one entry more.
    memcpy(ring.sq + <size_t>ring.sq_tail * SQE_BYTES, sqe, SQE_BYTES)
    ring_advance(ring)


cdef inline Told ring_doorbell(Ring *ring) noexcept nogil:
    # Tells the device of all that was posted since the last time. A doorbell that is NULL is the caller's to ring.
    cdef uint32_t old = ring.sq_tail_rung
    if ring.sq_tail == old:
        return TOLD_NOTHING
    ring.sq_tail_rung = ring.sq_tail
    aio_barrier_sqe_before_doorbell()
    return ring_tell(ring.sq_doorbell, ring.sq_shadow, ring.sq_event, ring.sq_tail, old)


cdef inline Told ring_cq_doorbell(Ring *ring) noexcept nogil:
    # Gives the reaped entries back to the device.
    cdef uint32_t old = ring.cq_head_rung
    if ring.cq_head == old:
        return TOLD_NOTHING
    ring.cq_head_rung = ring.cq_head
    aio_barrier_cqe_before_doorbell()
    return ring_tell(ring.cq_doorbell, ring.cq_shadow, ring.cq_event, ring.cq_head, old)


cdef inline bint ring_has_completion(const Ring *ring) noexcept nogil:
    cdef const volatile uint16_t *status = <const volatile uint16_t *>(
        ring.cq + <size_t>ring.cq_head * CQE_BYTES + 14)
    return (status[0] & 1) == ring.phase


cdef inline ReapResult ring_reap(Ring *ring, Cqe *cqe, uint16_t *index) noexcept nogil:
    # Takes one completion. It is copied once and only the copy is judged: the device may still write the entry.
    cdef Slot *slot
    if not ring_has_completion(ring):
        return REAP_NONE
    aio_barrier_phase_before_cqe()
    memcpy(cqe, ring.cq + <size_t>ring.cq_head * CQE_BYTES, CQE_BYTES)
    ring.cq_head += 1
    if ring.cq_head == ring.cq_entries:
        ring.cq_head = 0
        ring.phase ^= 1
    if cqe.sqid != ring.qid:
        return REAP_FOREIGN_SQID
    index[0] = cqe.cid & ring.slot_mask
    if index[0] >= ring.depth:
        return REAP_FOREIGN_CID
    slot = &ring.slots[index[0]]
    if slot.owner == NULL or slot.cid != cqe.cid:
        return REAP_FOREIGN_CID
    if cqe.sqhd >= ring.sq_entries:
        return REAP_BAD_HEAD
    return REAP_COMMAND


cdef int ring_init(Ring *ring, uint16_t qid, uint32_t depth, uint32_t entries) except -1
cdef void ring_reset(Ring *ring) noexcept nogil
cdef void ring_free(Ring *ring) noexcept nogil
