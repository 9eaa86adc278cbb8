# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns the floor: a compiled loop that posts and reaps on the rings of a queue pair, with nothing of Python in it.

It does what any driver has to do for a read: take a slot, describe one page, post, ring once for all that was posted,
reap, look at the status, free the slot. What the driver costs above it is what being called from Python costs.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from aionvme.pci.dma cimport DmaBuffer
from aionvme.pci.function cimport Function
from aionvme.pci.mmio cimport aio_barrier_full, aio_cpu_relax
from aionvme.perf.walk cimport Walk, next_lba
from aionvme.qpair.namespace cimport Namespace
from aionvme.qpair.pair cimport RingPair
from aionvme.qpair.ring cimport (
    REAP_COMMAND, REAP_NONE, SQE_BYTES, Cqe, ReapResult, Ring, Sqe, ring_cq_doorbell, ring_doorbell, ring_free_slot,
    ring_post, ring_reap, ring_take_slot,
)

cdef enum:
    OP_READ = 0x02      # NVM Command Set 1.0, figure 11
    PAGE = 4096


cdef uint64_t _now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1_000_000_000 + <uint64_t>now.tv_nsec


cdef void _post(Ring *ring, Sqe *sqe, Walk walk, uint64_t iova) noexcept nogil:
    cdef uint16_t index = ring_take_slot(ring, ring)
    cdef uint64_t lba = next_lba(walk)
    sqe.cid = ring.slots[index].cid
    sqe.prp1 = iova + <uint64_t>index * PAGE
    sqe.cdw10 = <uint32_t>lba
    sqe.cdw11 = <uint32_t>(lba >> 32)
    ring_post(ring, sqe)


cdef void _tell(Ring *ring, Function function) noexcept nogil:
    # As the driver does, a device that says that it sleeps is woken.
    cdef int told = ring_doorbell(ring)
    told |= ring_cq_doorbell(ring)
    if told and function.sleeping != NULL:
        aio_barrier_full()
        if function.sleeping[0]:
            function.kick()


def reads(RingPair qp not None, Namespace ns not None, DmaBuffer buf not None, Walk walk not None, uint32_t depth,
          double seconds):
    """Reads 4 KiB blocks for so long, `depth` at once; how many, and in how many nanoseconds.

    Args:
        qp: A queue pair that has nothing outstanding and whose loop does not turn meanwhile.
        ns: A namespace with blocks of 4096 bytes.
        buf: 4096 bytes for each slot of the queue pair.
        walk: Which blocks.
        depth: At most that of the queue pair.
        seconds: For how long commands are posted.

    Raises:
        RuntimeError: A read failed, or a completion was not of one.
    """
    cdef Ring *ring = &qp.ring
    cdef Function function = qp.function
    cdef Sqe sqe
    cdef Cqe cqe
    cdef ReapResult found = REAP_NONE
    cdef uint16_t index = 0, status = 0
    cdef uint64_t begun, now, end, completed = 0, turns = 0, iova = buf.iova
    if ring.outstanding or depth > ring.depth or buf.nbytes < <size_t>ring.depth * PAGE or ns.block_size != PAGE:
        raise ValueError("the queue pair is in use or too small, or it is not about blocks of 4096 bytes")
    memset(&sqe, 0, SQE_BYTES)
    sqe.opcode, sqe.nsid = OP_READ, ns.nsid
    begun = now = _now_ns()
    end = begun + <uint64_t>(seconds * 1e9)
    with nogil:
        while (now < end or ring.outstanding) and status == 0:
            if now < end:
                while ring.outstanding < depth:
                    _post(ring, &sqe, walk, iova)
            _tell(ring, function)
            found = ring_reap(ring, &cqe, &index)
            if found == REAP_NONE:
                aio_cpu_relax()
            while found == REAP_COMMAND:
                status |= cqe.status >> 1
                ring_free_slot(ring, index)
                completed += 1
                found = ring_reap(ring, &cqe, &index)
            if found != REAP_NONE:
                break
            turns += 1
            # The clock costs as much as a command.
            if turns & 63 == 0:
                now = _now_ns()
        _tell(ring, function)
        now = _now_ns()
    if status or found != REAP_NONE:
        raise RuntimeError(f"a read ended with status {status:#x}, or a completion was none of ours ({<int>found})")
    return completed, now - begun
