# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns a command's memory: holding it, cutting a transfer into pieces, and saying where the memory of each piece is.

Knows no ring: the queue pair's engine (`engine.pyx`) posts what is made here.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from aionvme.errors import UsageError
from aionvme.pci.dma cimport DmaBuffer
from aionvme.qpair.describe cimport (
    ALL_DESCRIBED, BIT_BUCKET, NOT_MAPPED, TOO_MANY, UNALIGNED, Described, List, prp_describe, sgl_describe,
)
from aionvme.qpair.iov cimport Cursor, Segment, cursor_run, cursor_skip
from aionvme.qpair.request cimport IN_FLIGHT, PRP_ONLY, SGL_ONLY, Request, RequestOwner

cdef enum:
    # PSDT, in bits 7:6 of byte 1: an SGL, with metadata in one piece at MPTR, or with one descriptor of it there.
    PSDT_SGL = 0x40
    PSDT_SGL_AND_METADATA = 0x80
    # Of the room for a list, what that descriptor and those that it leads to have, at its end.
    METADATA_LIST_BYTES = 256
    DESCRIPTOR_BYTES = 16

WHY_NOT = {
    int(NOT_MAPPED): "is not mapped for DMA by this controller (any more)",
    int(TOO_MANY): "is in more segments than one command can describe",
    int(UNALIGNED): "has a segment that begins or ends where neither a PRP list nor this controller's SGLs can",
    int(BIT_BUCKET): "has a bit bucket, which this controller's SGLs do not have (SGLS bit 16)",
}


cdef int get_buffer(object buffer, str name, Py_buffer *view, bint device_writes) except -1:
    try:
        PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE if device_writes else PyBUF_SIMPLE)
    except TypeError:
        raise TypeError(f"{name} must be memory (an object with the buffer protocol), not {buffer!r}") from None
    except (BufferError, ValueError) as error:
        raise UsageError(
            f"{name} must be C-contiguous{' and writable' if device_writes else ''} memory ({error})") from error
    return 0


cdef class _Held:
    # One further buffer of a command: its export, and what keeps it mapped.
    cdef Py_buffer view
    cdef bint has_view
    cdef object holder

    def __cinit__(self, buffer, str name, bint device_writes):
        get_buffer(buffer, name, &self.view, device_writes)
        self.has_view = True

    cdef void release(self) noexcept:
        if self.has_view:
            self.has_view = False
            PyBuffer_Release(&self.view)

    def __dealloc__(self):
        self.release()


cdef class Pieces(RequestOwner):
    """What a queue pair knows of memory: the function's DMA space, and how commands to it may describe memory."""

    cdef str describe(self):
        return "queue pair"

    # -- memory of the caller's ----------------------------------------------------------------------------------------

    cdef int hold_buffer(self, Request request, object buffer, bint device_writes) except -1:
        """Takes the caller's memory for the command: until let_go it stays allocated."""
        cdef DmaBuffer own
        if type(buffer) is DmaBuffer:
            own = <DmaBuffer>buffer
            if not own.hold():
                raise UsageError("buf is closed: allocate another one with ctrlr.dma_alloc()")
            request.holder = own
            request.one.address = own.address
            request.nbytes = own.nbytes
        else:
            get_buffer(buffer, "buf", &request.view, device_writes)
            request.has_view = True
            request.one.address = <uint8_t *>request.view.buf
            request.nbytes = <size_t>request.view.len
        request.one.nbytes = request.nbytes
        request.cursor.segments = &request.one
        request.cursor.count = 1
        return 0

    cdef int pin(self, Request request, size_t nbytes) except -1:
        """Keeps the first `nbytes` of the memory mapped until let_go; refuses what the device does not reach."""
        if request.has_view:
            request.holder = self.dma.hold_at(<size_t>request.one.address, nbytes)
        return self.check_mapped(request.one.address, nbytes, "buf", 3)

    cdef int check_mapped(self, const uint8_t *address, size_t nbytes, str name, size_t mask) except -1:
        """Refuses memory that the device does not reach, or at an address that has a bit of `mask`."""
        cdef uint64_t iova = 0
        cdef size_t done = 0, run
        while done < nbytes:
            run = self.dma.translate(address + done, nbytes - done, &iova)
            if run == 0:
                raise UsageError(
                    f"{name}: byte {done} of {nbytes} is not mapped for DMA by this controller: use memory of "
                    "ctrlr.dma_alloc(), or register it with ctrlr.dma_register()")
            if iova & mask:
                raise UsageError(f"{name} must begin at a multiple of 4 bytes")
            done += run
        return 0

    cdef int hold_more(self, Request request, object buffer, str name, bint device_writes, uint8_t **address,
                       size_t *nbytes) except -1:
        """As hold_buffer and pin, for any further buffer of a command."""
        cdef DmaBuffer own
        if request.more_holders is None:
            request.more_holders = []
        if type(buffer) is DmaBuffer:
            own = <DmaBuffer>buffer
            if not own.hold():
                raise UsageError(f"{name} is closed: allocate another one with ctrlr.dma_alloc()")
            request.more_holders.append(own)
            address[0] = own.address
            nbytes[0] = own.nbytes
            return 0
        held = _Held(buffer, name, device_writes)
        address[0] = <uint8_t *>held.view.buf
        nbytes[0] = <size_t>held.view.len
        held.holder = self.dma.hold_at(<size_t>address[0], nbytes[0])
        request.more_holders.append(held)
        return 0

    cdef void let_go(self, Request request) noexcept:
        if request.has_view:
            request.has_view = False
            PyBuffer_Release(&request.view)
        if request.holder is not None:
            self._release(request.holder)
            request.holder = None
        if request.more_holders is not None:
            for holder in request.more_holders:
                self._release(holder)
            request.more_holders = None

    cdef void _release(self, object holder) noexcept:
        if type(holder) is DmaBuffer:
            (<DmaBuffer>holder).release()
        elif type(holder) is _Held:
            self.dma.release_at((<_Held>holder).holder)
            (<_Held>holder).release()
        else:
            self.dma.release_at(holder)

    # -- pieces --------------------------------------------------------------------------------------------------------

    cdef uint64_t piece(self, Request request) noexcept:
        """Blocks of the next piece, as far as the limits of commands go."""
        cdef uint64_t blocks = min(request.blocks_left, <uint64_t>request.piece_blocks)
        if request.boundary:
            blocks = min(blocks, request.boundary - request.lba % request.boundary)
        return blocks

    cdef void move_on(self, Request request, uint64_t blocks, size_t nbytes) noexcept:
        """The piece is posted: what is left of the request begins after it."""
        cdef uint64_t tags
        if request.blocks_left > blocks:
            request.blocks_left -= blocks
            request.lba += blocks
            cursor_skip(&request.cursor, nbytes)
            if request.metadata != NULL:
                request.metadata += blocks * request.metadata_unit
            if request.ref_mask:
                # It wraps within its width, below the storage tag (NVM 1.0, 5.2.1.4).
                tags = request.sqe.cdw14 | <uint64_t>request.sqe.cdw3 << 32
                tags = (tags & ~request.ref_mask) | ((tags + blocks) & request.ref_mask)
                request.sqe.cdw14 = <uint32_t>tags
                request.sqe.cdw3 = <uint32_t>(tags >> 32)
        elif request.program:
            cursor_skip(&request.cursor, nbytes)
        else:
            self.post_no_more(request)

    cdef void post_no_more(self, Request request) noexcept:
        request.blocks_left = 0
        request.program = None
        request.state = IN_FLIGHT

    # -- saying where memory is ----------------------------------------------------------------------------------------

    cdef Described point(self, Request request, const List *memory, uint64_t *blocks, size_t *nbytes) noexcept:
        """Makes the data and metadata pointers of a piece; shortens it to the blocks that they can describe."""
        cdef Described result = ALL_DESCRIBED
        cdef size_t described = 0
        if request.metadata != NULL:
            self.reach_metadata(request, blocks)
            nbytes[0] = blocks[0] * request.unit
            if blocks[0] == 0:
                return NOT_MAPPED
        if nbytes[0]:
            result = self.describe_memory(request, memory, nbytes[0], &described)
            if result != ALL_DESCRIBED and request.piece_blocks and described >= request.unit:
                blocks[0] = described // request.unit
                nbytes[0] = blocks[0] * request.unit
                result = self.describe_memory(request, memory, nbytes[0], &described)
        if result == ALL_DESCRIBED and request.metadata != NULL:
            self.point_at_metadata(request, memory, blocks[0] * request.metadata_unit)
        return result

    cdef Described describe_memory(self, Request request, const List *memory, size_t nbytes,
                                   size_t *described) noexcept:
        cdef Described result = TOO_MANY
        cdef size_t by_prp = 0
        cdef List room = memory[0]
        cdef bint sgl = self.has_sgl and request.pointers != PRP_ONLY and (
            request.metadata == NULL or self.sgl_with_metadata or self.metadata_in_sgl)
        if request.pointers != SGL_ONLY and not request.metadata_sgl and not (sgl and self.linear(request, nbytes)):
            result = prp_describe(
                self.dma, request.cursor, nbytes, self.page_size, memory, &request.sqe.prp1, described)
            if result == ALL_DESCRIBED or not sgl:
                request.sqe.flags &= 0x3F
                return result
            by_prp = described[0]
        if request.metadata != NULL and not self.sgl_with_metadata:
            request.metadata_sgl = True
        if request.metadata_sgl:
            room.nbytes -= METADATA_LIST_BYTES
        result = sgl_describe(self.dma, request.cursor, nbytes, self.sgl_flags, &room, &request.sqe.prp1, described)
        if result != ALL_DESCRIBED and by_prp > described[0]:
            result = prp_describe(
                self.dma, request.cursor, nbytes, self.page_size, memory, &request.sqe.prp1, described)
            request.sqe.flags &= 0x3F
            request.metadata_sgl = False
            return result
        request.sqe.flags = (request.sqe.flags & 0x3F) | (
            PSDT_SGL_AND_METADATA if request.metadata_sgl else PSDT_SGL)
        request.used_sgl_ = True
        return result

    # -- separate metadata ---------------------------------------------------------------------------------------------

    cdef void reach_metadata(self, Request request, uint64_t *blocks) noexcept:
        """Shortens a piece to the blocks whose metadata one command can say: in one piece, or by an SGL of its own."""
        cdef size_t needed = blocks[0] * request.metadata_unit, run, described = 0
        cdef uint64_t iova = 0
        cdef uint64_t[2] ignored
        cdef List memory
        run = self.dma.translate(request.metadata, needed, &iova)
        request.metadata_sgl = False
        if run >= needed:
            return
        if self.metadata_in_sgl and request.pointers != PRP_ONLY:
            memory.entries, memory.iova, memory.nbytes = NULL, 0, METADATA_LIST_BYTES - DESCRIPTOR_BYTES
            self.describe_metadata(request, &memory, needed, ignored, &described)
            if described > run and described >= request.metadata_unit:
                request.metadata_sgl = True
                run = described
        blocks[0] = run // request.metadata_unit

    cdef void point_at_metadata(self, Request request, const List *memory, size_t nbytes) noexcept:
        """Makes MPTR: the address of the metadata, or of the one descriptor that leads to it (Base 2.0, 3.3.3.1)."""
        cdef size_t offset = memory.nbytes - METADATA_LIST_BYTES, described = 0
        cdef uint64_t[2] descriptor
        cdef List room
        if not request.metadata_sgl:
            self.dma.translate(request.metadata, nbytes, &request.sqe.mptr)
            return
        room.entries, room.iova = NULL, memory.iova + offset + DESCRIPTOR_BYTES
        room.nbytes = METADATA_LIST_BYTES - DESCRIPTOR_BYTES
        if memory.entries != NULL:
            room.entries = memory.entries + (offset + DESCRIPTOR_BYTES) // 8
        self.describe_metadata(request, &room, nbytes, descriptor, &described)
        if memory.entries != NULL:
            memory.entries[offset // 8], memory.entries[offset // 8 + 1] = descriptor[0], descriptor[1]
        request.sqe.mptr = memory.iova + offset

    cdef Described describe_metadata(self, Request request, const List *memory, size_t nbytes, uint64_t *descriptor,
                                     size_t *described) noexcept:
        cdef Segment all_of_it
        cdef Cursor cursor
        all_of_it.address, all_of_it.nbytes = request.metadata, nbytes
        cursor.segments, cursor.count, cursor.index, cursor.offset = &all_of_it, 1, 0, 0
        return sgl_describe(self.dma, cursor, nbytes, self.sgl_flags, memory, descriptor, described)

    cdef bint linear(self, Request request, size_t nbytes) noexcept:
        # One descriptor says it where PRPs would need a list.
        cdef uint64_t iova = 0
        cdef bint bucket = False
        if nbytes <= 2 * self.page_size:
            return False
        return cursor_run(self.dma, &request.cursor, nbytes, &iova, &bucket) == nbytes

    cdef Described plan(self, Request request, bint whole, size_t *stuck) noexcept:
        """Whether every piece of a request can be described; where not, *stuck is the byte at which it fails.

        A `whole` request has to be one piece.
        """
        cdef Cursor cursor = request.cursor
        cdef uint64_t lba = request.lba, left = request.blocks_left, blocks, ref3 = request.sqe.cdw3
        cdef uint32_t cdw14 = request.sqe.cdw14
        cdef uint8_t *metadata = request.metadata
        cdef Described result = ALL_DESCRIBED
        cdef size_t nbytes
        cdef List memory
        memory.entries, memory.iova, memory.nbytes = NULL, 0, self.list_bytes
        stuck[0] = 0
        while request.blocks_left:
            blocks = self.piece(request)
            nbytes = blocks * request.unit
            result = self.point(request, &memory, &blocks, &nbytes)
            if result != ALL_DESCRIBED:
                break
            stuck[0] += nbytes
            if request.blocks_left == blocks:
                break
            if whole:
                result = TOO_MANY
                break
            self.move_on(request, blocks, nbytes)
        request.cursor, request.lba, request.blocks_left, request.metadata = cursor, lba, left, metadata
        request.sqe.cdw14, request.sqe.cdw3 = cdw14, <uint32_t>ref3
        request.sqe.prp1 = request.sqe.prp2 = request.sqe.mptr = 0
        request.sqe.flags &= 0x3F
        request.used_sgl_ = request.metadata_sgl = False
        return result
