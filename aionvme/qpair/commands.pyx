# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns the commands that move no blocks between host and device, but name ranges of them, and the fused pair."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy

from aionvme.errors import UsageError
from aionvme.pci.dma cimport DmaBuffer
from aionvme.qpair.batching cimport BatchingQueuePair
from aionvme.qpair.iov cimport Segment
from aionvme.qpair.namespace cimport Namespace
from aionvme.qpair.request cimport Request
from aionvme.qpair.transfer cimport as_unsigned, flag_names, new_request
from aionvme.qpair import ranges as block_ranges
from aionvme.qpair.copying import Asked
from aionvme.spec import nvm
from aionvme.spec.nvm import IoFlags
from aionvme.spec.opcodes import NvmOpcode

cdef uint64_t PI_CHECKS = int(
    IoFlags.PRACT | IoFlags.PRCHK_GUARD | IoFlags.PRCHK_APP | IoFlags.PRCHK_REF | IoFlags.STORAGE_TAG_CHECK)
cdef uint64_t WRITE_FLAGS = PI_CHECKS | int(IoFlags.FORCE_UNIT_ACCESS | IoFlags.LIMITED_RETRY)
cdef enum:
    DEALLOCATE = 1 << 25            # DEAC of Write Zeroes, command dword 12
    FUSED_FIRST = 1
    FUSED_SECOND = 2


cdef class CommandQueuePair(BatchingQueuePair):
    """Write Zeroes, Verify, Write Uncorrectable, Dataset Management, Copy, and the fused Compare and Write."""

    cdef Request on_range(self, uint8_t opcode, Namespace ns, object lba, object nblocks, uint64_t most_bytes,
                          object io_flags, uint64_t allowed, object tags, object cb_fn, object cb_arg, object timeout,
                          object when_full):
        """A command on a range of blocks, split at `most_bytes` of data where that is not 0."""
        cdef uint64_t count = 0
        cdef Request request
        self.check_usable()
        self.check_namespace(ns)
        self.limits.require(opcode)
        request = new_request(opcode, ns.nsid, cb_fn, cb_arg)
        self.aim(request, ns, lba, nblocks, &count)
        if tags is not None:
            ref_tag, app_tag, app_mask, storage_tag = tags
            self.protect(request, ns, io_flags, ref_tag, app_tag, app_mask, storage_tag, allowed)
        request.boundary = ns.boundary
        if most_bytes:
            request.piece_blocks = <uint32_t>min(
                <uint64_t>request.piece_blocks, max(most_bytes // ns.block_size, <uint64_t>1))
        return self.send(request, timeout, when_full)

    cdef Request with_program(self, uint8_t opcode, Namespace ns, list program, bytearray payload, object cb_fn,
                              object cb_arg, object timeout, object when_full):
        """Commands that were made beforehand, one after another, each with its part of the payload."""
        cdef Request request = new_request(opcode, ns.nsid, cb_fn, cb_arg)
        cdef DmaBuffer buffer = self.dma.alloc(len(payload))
        memcpy(buffer.address, <const char *>payload, len(payload))
        self.hold_buffer(request, buffer, False)
        request.program = program
        return self.send(request, timeout, when_full)

    # -- ranges without data -------------------------------------------------------------------------------------------

    def write_zeroes(self, Namespace ns not None, lba, nblocks, *, deallocate=False, io_flags=0, ref_tag=None,
                     app_tag=0, app_mask=0, storage_tag=0, timeout=None):
        """Has `nblocks` blocks from `lba` on read as zeroes (NVM Command Set 1.0, 3.2.8); awaitable.

        Args:
            ns: A namespace of the same controller.
            lba, nblocks: Which blocks, counted from 1.
            deallocate: The controller may deallocate them (DEAC).
            io_flags: FORCE_UNIT_ACCESS, LIMITED_RETRY, and those of protection information.
            ref_tag, app_tag, app_mask, storage_tag: As for `read`.

        Raises:
            UsageError: Out of range, not supported, closed, or another loop.
        """
        return self.submit_write_zeroes(
            ns, lba, nblocks, None, None, deallocate=deallocate, io_flags=io_flags, ref_tag=ref_tag, app_tag=app_tag,
            app_mask=app_mask, storage_tag=storage_tag, timeout=timeout)

    def submit_write_zeroes(self, Namespace ns not None, lba, nblocks, cb_fn=None, cb_arg=None, *, deallocate=False,
                            io_flags=0, ref_tag=None, app_tag=0, app_mask=0, storage_tag=0, timeout=None,
                            when_full=None):
        """`write_zeroes` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        flags = as_unsigned(io_flags, "io_flags", 0xFFFFFFFF)
        if flags & ~WRITE_FLAGS:
            raise UsageError(f"io_flags {flags & ~WRITE_FLAGS:#x}: write_zeroes takes only {flag_names(WRITE_FLAGS)}")
        return self.on_range(
            int(NvmOpcode.WRITE_ZEROES), ns, lba, nblocks, self.limits.write_zeroes_bytes,
            flags | (DEALLOCATE if deallocate else 0), WRITE_FLAGS | DEALLOCATE,
            (ref_tag, app_tag, app_mask, storage_tag), cb_fn, cb_arg, timeout, when_full)

    def write_uncorrectable(self, Namespace ns not None, lba, nblocks, *, timeout=None):
        """Has reads of these blocks fail until they are written again (NVM Command Set 1.0, 3.2.7); awaitable."""
        return self.submit_write_uncorrectable(ns, lba, nblocks, timeout=timeout)

    def submit_write_uncorrectable(self, Namespace ns not None, lba, nblocks, cb_fn=None, cb_arg=None, *, timeout=None,
                                   when_full=None):
        """`write_uncorrectable` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        return self.on_range(
            int(NvmOpcode.WRITE_UNCORRECTABLE), ns, lba, nblocks, self.limits.write_uncorrectable_bytes, 0, 0, None,
            cb_fn, cb_arg, timeout, when_full)

    def verify(self, Namespace ns not None, lba, nblocks, *, io_flags=0, ref_tag=None, app_tag=0, app_mask=0,
               storage_tag=0, timeout=None):
        """Has the controller read and check these blocks without a transfer (NVM Command Set 1.0, 3.2.5); awaitable."""
        return self.submit_verify(
            ns, lba, nblocks, None, None, io_flags=io_flags, ref_tag=ref_tag, app_tag=app_tag, app_mask=app_mask,
            storage_tag=storage_tag, timeout=timeout)

    def submit_verify(self, Namespace ns not None, lba, nblocks, cb_fn=None, cb_arg=None, *, io_flags=0, ref_tag=None,
                      app_tag=0, app_mask=0, storage_tag=0, timeout=None, when_full=None):
        """`verify` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        return self.on_range(
            int(NvmOpcode.VERIFY), ns, lba, nblocks, self.limits.verify_bytes, io_flags, WRITE_FLAGS,
            (ref_tag, app_tag, app_mask, storage_tag), cb_fn, cb_arg, timeout, when_full)

    # -- lists of ranges -----------------------------------------------------------------------------------------------

    def dataset_management(self, Namespace ns not None, ranges, *, deallocate=False, integral_read=False,
                           integral_write=False, timeout=None):
        """Says how ranges of blocks will be used, or that they are not (NVM Command Set 1.0, 3.2.3); awaitable.

        Args:
            ns: A namespace of the same controller.
            ranges: (lba, nblocks) pairs, or an array of shape (n, 2). More than the controller takes in one command
                become several; a range that is too long is cut.
            deallocate: The blocks are not needed any more (AD).
            integral_read, integral_write: They will be read, written as a whole (IDR, IDW).

        Raises:
            UsageError: No range, one outside of the namespace, not supported, closed, or another loop.
        """
        return self.submit_dataset_management(
            ns, ranges, deallocate=deallocate, integral_read=integral_read, integral_write=integral_write,
            timeout=timeout)

    def submit_dataset_management(self, Namespace ns not None, ranges, cb_fn=None, cb_arg=None, *, deallocate=False,
                                  integral_read=False, integral_write=False, timeout=None, when_full=None):
        """`dataset_management` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        self.check_usable()
        self.check_namespace(ns)
        self.limits.require(int(NvmOpcode.DATASET_MANAGEMENT))
        groups = block_ranges.for_dsm(block_ranges.checked(ranges, ns.nblocks), self.limits)
        program, payload = [], bytearray()
        for group in groups:
            sqe = nvm.dataset_management(
                ns.nsid, len(group), deallocate=bool(deallocate), integral_read=bool(integral_read),
                integral_write=bool(integral_write))
            data = nvm.pack_dsm_ranges(group)
            program.append((sqe, len(data)))
            payload += data
        return self.with_program(
            int(NvmOpcode.DATASET_MANAGEMENT), ns, program, payload, cb_fn, cb_arg, timeout, when_full)

    def copy(self, Namespace ns not None, ranges, dest_lba, *, format=0, source_ns=None, io_flags=0, ref_tag=None,
             app_tag=0, app_mask=0, storage_tag=0, source_flags=0, source_ref_tags=None, source_app_tag=0,
             source_app_mask=0, source_storage_tag=0, timeout=None):
        """Copies ranges of blocks, one after another, to `dest_lba` and on (NVM Command Set 1.0, 3.2.2); awaitable.

        Protection information goes along as it is: with type 1 the copies then have the reference tags of where they
        were. With PRACT among `io_flags` it is made anew for where they are.

        Args:
            ns: The namespace that is written.
            ranges: (lba, nblocks) pairs, or an array of shape (n, 2). More than one command takes become several.
            dest_lba: Where the first block goes.
            format: Of the source descriptors: 0 for the same namespace, 2 to read from `source_ns`; 1 and 3 where the
                namespace has protection information with a guard of 32 or 64 bits.
            source_ns: The namespace that is read, with formats 2 and 3.
            io_flags: FORCE_UNIT_ACCESS, LIMITED_RETRY, PRACT, and the checks of what is written.
            ref_tag, app_tag, app_mask, storage_tag: Of what is written, as for `write`.
            source_flags: The checks of what is read: PRCHK_GUARD, PRCHK_APP, PRCHK_REF, STORAGE_TAG_CHECK.
            source_ref_tags: Initial reference tag of each range; None for the LBAs with protection type 1.
            source_app_tag, source_app_mask, source_storage_tag: Of what is read, as for `read`.

        Raises:
            UsageError: A range outside of its namespace, overlapping what is written, a format that the controller does
                not have, not supported, closed, or another loop.
        """
        return self.submit_copy(
            ns, ranges, dest_lba, None, None, format=format, source_ns=source_ns, io_flags=io_flags, ref_tag=ref_tag,
            app_tag=app_tag, app_mask=app_mask, storage_tag=storage_tag, source_flags=source_flags,
            source_ref_tags=source_ref_tags, source_app_tag=source_app_tag, source_app_mask=source_app_mask,
            source_storage_tag=source_storage_tag, timeout=timeout)

    def submit_copy(self, Namespace ns not None, ranges, dest_lba, cb_fn=None, cb_arg=None, *, format=0, source_ns=None,
                    io_flags=0, ref_tag=None, app_tag=0, app_mask=0, storage_tag=0, source_flags=0,
                    source_ref_tags=None, source_app_tag=0, source_app_mask=0, source_storage_tag=0, timeout=None,
                    when_full=None):
        """`copy` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        cdef Namespace source
        self.check_usable()
        self.check_namespace(ns)
        self.limits.require(int(NvmOpcode.COPY))
        if source_ns is not None and not isinstance(source_ns, Namespace):
            raise TypeError(f"source_ns must be a Namespace or None, not {source_ns!r}")
        source = block_ranges.copy_source(ns, source_ns, format, self.limits)
        self.check_namespace(source)
        destination = as_unsigned(dest_lba, "dest_lba", 0xFFFFFFFFFFFFFFFF)
        pairs = block_ranges.checked(ranges, source.nblocks)
        asked = Asked(
            io_flags=io_flags, ref_tag=ref_tag, app_tag=app_tag, app_mask=app_mask, storage_tag=storage_tag,
            source_flags=source_flags, source_ref_tags=source_ref_tags, source_app_tag=source_app_tag,
            source_app_mask=source_app_mask, source_storage_tag=source_storage_tag)
        said = asked.check(ns, source, pairs, destination)
        groups = block_ranges.for_copy(
            pairs, destination, ns, source, self.max_transfer // (40 if format & 1 else 32))
        program, payload, done = [], bytearray(), 0
        for group, tags in said.expected(pairs, groups):
            data = nvm.pack_copy_ranges(
                format, group, snsid=source.nsid if format >= 2 else None, ref_tags=tags, app_tag=said.read.app,
                app_mask=said.read.mask)
            sqe = nvm.copy(
                ns.nsid, destination + done, len(group), format=format, flags=said.flags, prinfor=said.prinfor,
                storage_tag_check_read=said.checks_source_storage, ref_tag=said.written.at(said.reference, done),
                app_tag=said.written.app, app_mask=said.written.mask)
            program.append((sqe, len(data)))
            payload += data
            done += sum(nblocks for _, nblocks in group)
        return self.with_program(int(NvmOpcode.COPY), ns, program, payload, cb_fn, cb_arg, timeout, when_full)

    # -- fused ---------------------------------------------------------------------------------------------------------

    def compare_and_write(self, Namespace ns not None, compare_buf, write_buf, lba, nblocks, *, io_flags=0,
                          timeout=None):
        """Writes if the blocks hold what `compare_buf` does, as one (NVM Command Set 1.0, 3.1.1); awaitable.

        Two commands, posted next to each other under one doorbell. Where the blocks differ, nothing is written, and the
        status is Compare Failure.

        Args:
            ns: A namespace of the same controller.
            compare_buf, write_buf: Memory that is mapped for DMA, `nblocks * ns.block_size` bytes each.
            lba, nblocks: Which blocks; as one command takes.
            io_flags: Of the write.
        """
        return self.submit_compare_and_write(
            ns, compare_buf, write_buf, lba, nblocks, io_flags=io_flags, timeout=timeout)

    def submit_compare_and_write(self, Namespace ns not None, compare_buf, write_buf, lba, nblocks, cb_fn=None,
                                 cb_arg=None, *, io_flags=0, timeout=None, when_full=None):
        """`compare_and_write` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        cdef Request request
        cdef uint64_t count = 0
        cdef size_t needed
        self.check_usable()
        self.check_namespace(ns)
        self.limits.require_compare_and_write()
        if self.ring.depth < 2:
            raise UsageError("a fused pair needs a queue pair with a depth of 2 or more")
        if ns.metadata_size and not ns.extended:
            raise UsageError(f"ns: compare_and_write takes no separate metadata, and {ns!r} has some")
        request = new_request(int(NvmOpcode.COMPARE), ns.nsid, cb_fn, cb_arg)
        self.aim(request, ns, lba, nblocks, &count)
        self.protect(request, ns, io_flags, None, 0, 0, 0, WRITE_FLAGS & ~PI_CHECKS)
        request.boundary = ns.boundary
        request.piece_blocks = <uint32_t>min(
            <uint64_t>request.piece_blocks, max(self.max_transfer // ns.unit, <size_t>1))
        if self.piece(request) < count:
            raise UsageError(
                f"nblocks {nblocks}: a fused pair is not split, and one command takes at most {self.piece(request)} "
                f"blocks from lba {lba} on")
        needed = <size_t>count * ns.unit
        request.blocks_left = request.piece_blocks = 0
        request.paired = True
        request.program = [
            (nvm.transfer(NvmOpcode.COMPARE, ns.nsid, request.lba, count, fuse=FUSED_FIRST), needed),
            (nvm.transfer(NvmOpcode.WRITE, ns.nsid, request.lba, count, flags=request.sqe.cdw12, fuse=FUSED_SECOND),
             needed)]
        try:
            self._take_fused(request, compare_buf, write_buf, needed)
        except BaseException:
            self.let_go(request)
            raise
        return self.send(request, timeout, when_full)

    def _take_fused(self, Request request, compare_buf, write_buf, size_t needed):
        """Both buffers, one behind the other as the segments of the pair.

        Each is checked to be describable by itself: half a pair must not be posted.
        """
        cdef uint8_t *address = NULL
        cdef size_t nbytes = 0
        request.segments = <Segment *>calloc(2, sizeof(Segment))
        if request.segments == NULL:
            raise MemoryError("no memory for two segments")
        request.cursor.segments = request.segments
        for name, part in (("compare_buf", compare_buf), ("write_buf", write_buf)):
            self.hold_more(request, part, name, False, &address, &nbytes)
            if nbytes < needed:
                raise UsageError(f"{name} has {nbytes} bytes; the blocks need {needed}")
            self.check_mapped(address, needed, name, 3)
            request.segments[request.cursor.count].address = address
            request.segments[request.cursor.count].nbytes = needed
            request.cursor.count += 1
        request.nbytes = 2 * needed
