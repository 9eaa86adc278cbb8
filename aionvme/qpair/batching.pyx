# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns batches: from a call's arrays to commands in the ring, without an object for each.

While a batch has commands left to post it waits, like a request that found no slot, in the queue pair's queue, or,
where it has as many in flight as it may, nowhere: the end of one of them brings it back. Others that wait take turns
with it.
"""

from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from aionvme.errors import UsageError
from aionvme.qpair.batch cimport Batch
from aionvme.clock cimport now_ns
from aionvme.qpair.describe cimport ALL_DESCRIBED, Described, List
from aionvme.qpair.namespace cimport Namespace
from aionvme.qpair.request cimport IN_FLIGHT, QUEUED, Request
from aionvme.qpair.ring cimport NO_SLOT, Slot, ring_free_slot, ring_post, ring_take_slot
from aionvme.qpair.transfer cimport TransferQueuePair, as_unsigned, new_request
from aionvme.qpair.batches import checked
from aionvme.spec.nvm import IoFlags
from aionvme.spec.opcodes import NvmOpcode

cdef uint8_t OP_WRITE = int(NvmOpcode.WRITE)
cdef uint8_t OP_READ = int(NvmOpcode.READ)
cdef uint64_t BATCH_FLAGS = int(IoFlags.FORCE_UNIT_ACCESS | IoFlags.LIMITED_RETRY)

cdef enum:
    BLOCKS_PER_COMMAND = 65536      # NLB is 16 bits, 0's based


cdef class BatchingQueuePair(TransferQueuePair):
    """Many reads or writes as one request."""

    def read_batch(self, Namespace ns not None, buf, lbas, nblocks, *, queue_depth=None, check=True, io_flags=0,
                   timeout=None):
        """Reads `nblocks` blocks from each of `lbas` on, as one request; awaitable, and gives a `BatchResult`.

        Every command is executed, whatever becomes of the others. Other commands of the queue pair take turns with
        those of the batch. Cancelled, it posts no more, and ends when the device has let go of all that it had.

        Args:
            ns: A namespace of the same controller, without metadata.
            buf: Writable memory that is mapped for DMA, at a multiple of 4. Command i uses the bytes from
                `i * nblocks * ns.block_size` on; where it is smaller than that, all of it is used cyclically, as many
                whole commands as it has room for.
            lbas: First block of each command: a one-dimensional numpy array of any integer type. It is copied.
            nblocks: How many blocks each reads, from 1. More than one command takes are split as by `read`.
            queue_depth: Commands that are in flight at once at most; None for as many as the queue pair has slots.
            check: Raise the error of the first command, in the order of `lbas`, that failed.
            io_flags: `IoFlags.FORCE_UNIT_ACCESS`, `IoFlags.LIMITED_RETRY`.
            timeout: Seconds for each command from when it was posted; else as for `read`. The batch ends with the first
                that is late.

        Raises:
            UsageError: Wrong size, alignment, range or memory, closed, or another loop; at the call.
            TypeError: `lbas` are no integers; at the call.
            StatusError: A command failed, and `check` is true. It has the `BatchResult` as `result`, as have
                `CommandTimeoutError`, `ControllerResetError` and `ControllerLostError`.
        """
        return self.batch(OP_READ, ns, buf, lbas, nblocks, queue_depth, check, io_flags, timeout)

    def write_batch(self, Namespace ns not None, buf, lbas, nblocks, *, queue_depth=None, check=True, io_flags=0,
                    timeout=None):
        """Writes `nblocks` blocks to each of `lbas` on, as one request; awaitable, and gives a `BatchResult`.

        Arguments as for `read_batch`; `buf` may be read-only, and must not be changed before the batch has ended. In
        which order its commands are executed is the controller's choice, also where they write the same blocks.
        """
        return self.batch(OP_WRITE, ns, buf, lbas, nblocks, queue_depth, check, io_flags, timeout)

    cdef Request batch(self, uint8_t opcode, Namespace ns, object buf, object lbas, object nblocks, object queue_depth,
                       object check, object io_flags, object timeout):
        cdef Request request
        cdef Batch batch = Batch.__new__(Batch)
        cdef uint64_t count = as_unsigned(nblocks, "nblocks", 0xFFFFFFFF)
        self.check_usable()
        self.check_namespace(ns)
        if count == 0:
            raise UsageError("nblocks must be 1 or more, not 0")
        if ns.metadata_size:
            raise UsageError(
                f"{ns!r} has {ns.metadata_size} bytes of metadata per block, which a batch does not move: "
                f"use {'read' if opcode == OP_READ else 'write'}")
        request = new_request(opcode, ns.nsid, None, None)
        self.protect(request, ns, io_flags, None, 0, 0, 0, BATCH_FLAGS)
        batch.set_up(checked(lbas, count, ns.nblocks), <uint32_t>count, self.ring.depth,
                     self.most_in_flight(queue_depth), check)
        request.unit = ns.unit
        request.boundary = ns.boundary
        request.piece_blocks = <uint32_t>min(
            <uint64_t>BLOCKS_PER_COMMAND, max(self.max_transfer // ns.unit, <size_t>1))
        request.batch = batch
        request.on_end = batch
        request.value_wanted = True
        try:
            self.hold_buffer(request, buf, opcode == OP_READ)
            self.lay_out_batch(request, batch, buf, nblocks)
        except BaseException:
            self.let_go(request)
            raise
        if batch.count == 0:
            self.batches += 1
            request.owner = self
            self.finish_by_host(request)
            return request
        return self.send(request, timeout, None)

    cdef int lay_out_batch(self, Request request, Batch batch, object buf, object nblocks) except -1:
        """Which part of the buffer belongs to which command."""
        cdef size_t used
        batch.stride = <size_t>batch.nblocks * request.unit
        batch.places = request.nbytes // batch.stride
        if batch.places == 0:
            raise UsageError(
                f"buf has {request.nbytes} bytes; {nblocks} blocks of {request.unit} need {batch.stride}: "
                "it must have room for one command at least")
        batch.places = min(batch.places, max(batch.count, <uint64_t>1))
        used = batch.places * batch.stride
        self.pin(request, used)
        batch.linear = self.dma.translate(request.one.address, used, &batch.iova) == used
        return 0

    cdef uint32_t most_in_flight(self, object queue_depth) except 0:
        cdef uint64_t most
        if queue_depth is None:
            return self.ring.depth
        most = as_unsigned(queue_depth, "queue_depth", 0xFFFFFFFF)
        if not 1 <= most <= self.ring.depth:
            raise UsageError(
                f"queue_depth must be from 1 to {self.ring.depth}, the depth of the queue pair, not {most}: allocate a "
                "deeper one, or give None")
        return <uint32_t>most

    # -- posting -------------------------------------------------------------------------------------------------------

    cdef int post_batch(self, Request request) except -1:
        """Posts what there is room for; one piece where others wait, so that they take turns."""
        cdef Batch batch = request.batch
        cdef uint32_t left = self.ring.depth if request.next is None else 1
        cdef uint64_t now = now_ns()
        cdef uint64_t blocks
        cdef uint16_t index
        cdef Slot *slot
        while left and self.ring.first_free != NO_SLOT and request.in_flight < batch.most and request.state == QUEUED:
            left -= 1
            index = ring_take_slot(&self.ring, <void *>request)
            slot = &self.ring.slots[index]
            request.lba = batch.lbas[batch.next] + batch.done_blocks
            request.blocks_left = batch.nblocks - batch.done_blocks
            blocks = self.piece(request)
            if not _point_at_pages(request, batch, blocks * request.unit, self.page_size):
                blocks = self.point_at_part(request, index, blocks)
                if blocks == 0:
                    return 0
            request.sqe.cdw10 = <uint32_t>request.lba
            request.sqe.cdw11 = <uint32_t>(request.lba >> 32)
            request.sqe.cdw12 = (request.sqe.cdw12 & 0xFFFF0000) | <uint32_t>(blocks - 1)
            request.sqe.cid = slot.cid
            slot.opcode = request.sqe.opcode
            ring_post(&self.ring, &request.sqe)
            Py_INCREF(request)
            batch.numbers[index] = <uint32_t>batch.next
            batch.posted_ns[index] = now
            request.in_flight += 1
            if not request.has_cid:
                request.has_cid = True
                request.first_cid = slot.cid
            _move_on(request, batch, blocks)
        return 0

    cdef uint64_t point_at_part(self, Request request, uint16_t index, uint64_t blocks) except? 0:
        """Describes any memory; how many blocks of it one command can say. 0: none, and the batch posts no more."""
        cdef Batch batch = request.batch
        cdef size_t nbytes = blocks * request.unit
        cdef List memory
        cdef Described result
        memory.entries = <uint64_t *>(self.ring.lists + <size_t>index * self.ring.list_bytes)
        memory.iova = self.ring.lists_iova + <size_t>index * self.ring.list_bytes
        memory.nbytes = self.ring.list_bytes
        request.cursor.index = 0
        request.cursor.offset = batch.place * batch.stride + <size_t>batch.done_blocks * request.unit
        result = self.point(request, &memory, &blocks, &nbytes)
        if result == ALL_DESCRIBED:
            return blocks
        ring_free_slot(&self.ring, index)
        self._cannot_describe(request, result)
        return 0


cdef inline bint _point_at_pages(Request request, Batch batch, size_t nbytes, size_t page_size) noexcept:
    # PRP1, and PRP2 where a second page is all that it takes (Base 2.0, 4.1.1); False: there is more to be said.
    cdef uint64_t iova = batch.iova + batch.place * batch.stride + <size_t>batch.done_blocks * request.unit
    cdef size_t first = page_size - (iova & (page_size - 1))
    if not batch.linear or nbytes > first + page_size:
        return False
    request.sqe.flags &= 0x3F
    request.sqe.prp1 = iova
    request.sqe.prp2 = iova + first if nbytes > first else 0
    return True


cdef inline void _move_on(Request request, Batch batch, uint64_t blocks) noexcept:
    batch.done_blocks += <uint32_t>blocks
    if batch.done_blocks < batch.nblocks:
        return
    batch.done_blocks = 0
    batch.place = batch.place + 1 if batch.place + 1 < batch.places else 0
    batch.next += 1
    if batch.next == batch.count:
        request.state = IN_FLIGHT
