# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns the memory of a queue pair: its two rings and a list for each slot, laid out and given back; where they are."""

from libc.stdint cimport uint8_t, uint32_t

from aionvme.errors import UsageError
from aionvme.pci.dma cimport DmaBuffer
from aionvme.pci.mapping cimport round_up
from aionvme.qpair.pieces cimport Pieces
from aionvme.qpair.ring cimport CQE_BYTES, SQE_BYTES, ring_free, ring_init, ring_reset

cdef enum:
    # Room for an SGL of at least so many bytes where the controller has SGLs.
    LEAST_SGL_BYTES = 1024


cdef class RingPair(Pieces):
    """A submission and a completion queue as memory, with their doorbells.

    Attributes:
        qid: Queue identifier of both queues; 0 is the admin queue pair.
        depth: Commands that may be outstanding at once; more wait in software, in order.
    """

    def __init__(self, *, function, dma, qid, depth, entries, page_size, max_transfer, sq_doorbell, cq_doorbell,
                 shadows=None, sq_memory=None):
        self.function = function
        self.dma = dma
        self.page_size = page_size
        self.max_transfer = min(max_transfer or MAX_PIECE_BYTES, MAX_PIECE_BYTES)
        self.sq_doorbell_offset = sq_doorbell
        self.cq_doorbell_offset = cq_doorbell
        if self.function.bar_bytes and self.cq_doorbell_offset + 4 > self.function.bar_bytes:
            raise UsageError(f"the doorbells of queue {qid} lie outside of BAR 0")
        ring_init(&self.ring, qid, depth, entries)
        self._lay_out(sq_memory)
        if shadows is not None:
            self._shadow(*shadows)
        ring_reset(&self.ring)

    def _lay_out(self, sq_memory):
        # One allocation: submission queue (unless it lies in the controller), completion queue and lists, each from a
        # page on.
        cdef size_t page = self.page_size
        cdef size_t sq_bytes = round_up(self.ring.sq_entries * <size_t>SQE_BYTES, page) if sq_memory is None else 0
        cdef size_t cq_bytes = round_up(self.ring.cq_entries * <size_t>CQE_BYTES, page)
        cdef size_t stride = 64
        # A list names all pages of a transfer but the first, is a power of two and so never crosses a page.
        while stride < (self.max_transfer // page) * 8 or (self.has_sgl and stride < LEAST_SGL_BYTES):
            stride *= 2
        self.memory = self.dma.alloc(sq_bytes + cq_bytes + stride * self.ring.depth, align=page)
        self.memory.hold()
        self.ring.sq = self.memory.address
        self.sq_iova_ = self.memory.iova
        if sq_memory is not None:
            self.ring.sq = <uint8_t *><size_t>sq_memory.address
            self.sq_iova_ = sq_memory.iova
        self.ring.cq = self.memory.address + sq_bytes
        self.cq_iova_ = self.memory.iova + sq_bytes
        self.ring.lists = self.ring.cq + cq_bytes
        self.ring.lists_iova = self.cq_iova_ + cq_bytes
        self.ring.list_bytes = self.list_bytes = stride
        self.ring.sq_doorbell = self.function.doorbell(self.sq_doorbell_offset)
        self.ring.cq_doorbell = self.function.doorbell(self.cq_doorbell_offset)

    def _shadow(self, DmaBuffer shadows not None, DmaBuffer events not None, size_t first_doorbell):
        # Both pages are laid out as the doorbells are (Base 2.0, 5.8).
        cdef size_t sq = self.sq_doorbell_offset - first_doorbell, cq = self.cq_doorbell_offset - first_doorbell
        if cq + 4 > shadows.nbytes or cq + 4 > events.nbytes:
            return
        self.ring.sq_shadow = <volatile uint32_t *>(shadows.address + sq)
        self.ring.sq_event = <volatile uint32_t *>(events.address + sq)
        self.ring.cq_shadow = <volatile uint32_t *>(shadows.address + cq)
        self.ring.cq_event = <volatile uint32_t *>(events.address + cq)

    def __dealloc__(self):
        ring_free(&self.ring)

    @property
    def qid(self):
        """Queue identifier of both queues; 0 is the admin queue pair."""
        return self.ring.qid

    @property
    def depth(self):
        """Commands that may be outstanding at once."""
        return self.ring.depth

    @property
    def sq_iova(self):
        """Where the device finds the submission queue."""
        return self.sq_iova_

    @property
    def cq_iova(self):
        """Where the device finds the completion queue."""
        return self.cq_iova_

    @property
    def entries(self):
        """Entries of each ring."""
        return self.ring.sq_entries

    cdef str describe(self):
        if self.function is None:
            return f"queue pair {self.ring.qid}"  # the collector has cleared it
        return f"queue pair {self.ring.qid} of {self.function.pci_dev}"

    def leave_shadows(self):
        """Rings by the doorbell registers alone: the controller looks at no shadows any more. It has no such queue."""
        self.ring.sq_shadow = self.ring.sq_event = self.ring.cq_shadow = self.ring.cq_event = NULL

    cdef int free_rings(self) except -1:
        """Gives their memory back, unless commands are outstanding or that was done."""
        if self.memory is None or self.ring.outstanding or self.ring.sq == NULL:
            return 0
        self.memory.release()
        self.memory.close()
        self.ring.sq = self.ring.cq = NULL
        self.ring.sq_doorbell = self.ring.cq_doorbell = NULL
        self.leave_shadows()
        return 0
