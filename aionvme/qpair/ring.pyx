# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The rings of a queue pair: making, resetting and freeing what `ring.pxd` works on."""

from libc.stdint cimport uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from aionvme.pci.mmio cimport aio_mmio_write64


cdef int ring_init(Ring *ring, uint16_t qid, uint32_t depth, uint32_t entries) except -1:
    """Makes the slots; the caller sets the queue memory and doorbells. `depth` is less than `entries`."""
    memset(ring, 0, sizeof(Ring))
    ring.qid = qid
    ring.depth = depth
    ring.sq_entries = entries
    ring.cq_entries = entries
    while (1 << ring.slot_bits) < <int>depth:
        ring.slot_bits += 1
    ring.slot_mask = <uint16_t>((1 << ring.slot_bits) - 1)
    ring.slots = <Slot *>calloc(depth, sizeof(Slot))
    if ring.slots == NULL:
        raise MemoryError(f"no memory for {depth} command slots")
    ring.phase = 1
    _link_free(ring)
    return 0


cdef void _link_free(Ring *ring) noexcept nogil:
    cdef uint32_t i
    for i in range(ring.depth):
        ring.slots[i].owner = NULL
        ring.slots[i].next_free = <uint16_t>(i + 1) if i + 1 < ring.depth else NO_SLOT
    ring.first_free = 0
    ring.outstanding = 0


cdef void ring_reset(Ring *ring) noexcept nogil:
    """Back to the state of a new queue. Generations go on, so that a CID of before the reset is foreign after it."""
    cdef size_t at
    # Store by store: in the controller's own memory, which is uncached, memset may do what is not allowed there.
    for at in range(0, <size_t>ring.sq_entries * SQE_BYTES, 8):
        aio_mmio_write64(ring.sq + at, 0)
    memset(ring.cq, 0, <size_t>ring.cq_entries * CQE_BYTES)
    ring.sq_tail = ring.sq_tail_rung = 0
    ring.cq_head = ring.cq_head_rung = 0
    ring.phase = 1
    if ring.sq_shadow != NULL:
        ring.sq_shadow[0] = ring.sq_event[0] = ring.cq_shadow[0] = ring.cq_event[0] = 0
    _link_free(ring)


cdef void ring_free(Ring *ring) noexcept nogil:
    free(ring.slots)
    ring.slots = NULL
