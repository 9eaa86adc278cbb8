# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns reads, writes and compares: from a call's arguments to a request that is checked, described and submitted."""

from operator import index

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc

from aionvme.errors import UsageError
from aionvme.qpair.bounce cimport Bounce
from aionvme.qpair.describe cimport ALL_DESCRIBED, SGL_BIT_BUCKETS, SGL_DWORDS, Described
from aionvme.qpair.governed cimport GovernedQueuePair
from aionvme.qpair.iov cimport Segment
from aionvme.qpair.namespace cimport Namespace
from aionvme.qpair.pieces import WHY_NOT as _WHY_NOT
from aionvme.qpair.request cimport CHEAPER, PRP_ONLY, SGL_ONLY, Request, take_request
from aionvme.qpair.sgl import segments_of
from aionvme.spec.nvm import IoFlags
from aionvme.spec.opcodes import NvmOpcode

cdef uint8_t OP_WRITE = int(NvmOpcode.WRITE)
cdef uint8_t OP_READ = int(NvmOpcode.READ)
cdef uint8_t OP_COMPARE = int(NvmOpcode.COMPARE)

cdef uint64_t FLAG_PRACT = int(IoFlags.PRACT)
cdef uint64_t FLAG_PRCHK_REF = int(IoFlags.PRCHK_REF)
cdef uint64_t PI_FLAGS = int(
    IoFlags.PRACT | IoFlags.PRCHK_GUARD | IoFlags.PRCHK_APP | IoFlags.PRCHK_REF | IoFlags.STORAGE_TAG_CHECK)
cdef uint64_t TRANSFER_FLAGS = PI_FLAGS | int(IoFlags.FORCE_UNIT_ACCESS | IoFlags.LIMITED_RETRY)

cdef enum:
    BLOCKS_PER_COMMAND = 65536      # NLB is 16 bits, 0's based
    MOST_SEGMENTS = 1 << 20

cdef uint64_t ANY64 = 0xFFFFFFFFFFFFFFFF
cdef dict POINTERS = {None: CHEAPER, False: PRP_ONLY, True: SGL_ONLY}


cdef uint64_t as_unsigned(object value, str name, uint64_t most) except? 0xFFFFFFFFFFFFFFFF:
    """An argument as a number, of at most `most`."""
    cdef uint64_t number
    if type(value) is not int:
        # A fraction is no number of blocks; the conversion below would cut it off.
        try:
            value = index(value)
        except TypeError:
            raise TypeError(f"{name} must be a whole number, not {value!r}") from None
    try:
        number = <uint64_t>value
    except OverflowError:
        raise UsageError(f"{name} must be from 0 to {most}, not {value}") from None
    if number > most:
        raise UsageError(f"{name} must be from 0 to {most}, not {value}")
    return number


cdef str flag_names(uint64_t flags):
    """Flags of a command in words, for messages."""
    return " and ".join([flag.name for flag in IoFlags if flag & flags])


cdef inline uint64_t low_bits(uint32_t width) noexcept nogil:
    return ~<uint64_t>0 if width >= 64 else (<uint64_t>1 << width) - 1


cdef Request new_request(uint8_t opcode, uint32_t nsid, object cb_fn, object cb_arg):
    """A request that owns nothing yet."""
    cdef Request request
    if cb_fn is not None and not callable(cb_fn):
        raise TypeError(f"cb_fn must be callable or None, not {cb_fn!r}")
    request = take_request()
    request.sqe.opcode = opcode
    request.sqe.nsid = nsid
    request.opcode = opcode
    request.cb_fn = cb_fn
    request.cb_arg = cb_arg
    request.quiet = cb_fn is not None
    return request


cdef object check_when_full(object when_full):
    if when_full is None or when_full == "error":
        return when_full
    raise UsageError(f'when_full must be None or "error", not {when_full!r}')


cdef class TransferQueuePair(GovernedQueuePair):
    """The commands that move blocks between memory and a namespace."""

    def __init__(self, *, limits, **others):
        self._take_limits(limits)
        GovernedQueuePair.__init__(self, **others)

    def _take_limits(self, limits):
        self.limits = limits
        self.sgl_flags = 0
        # SGLS bits 1:0: 01b any alignment, 10b dwords (Base 2.0, 5.17.2.1).
        self.has_sgl = (limits.sgls & 3) in (1, 2)
        self.sgl_with_metadata = bool(limits.sgls >> 17 & 1)
        self.metadata_in_sgl = self.has_sgl and bool(limits.sgls >> 19 & 1)
        if limits.sgls & 3 == 2:
            self.sgl_flags |= SGL_DWORDS
        if limits.sgls >> 16 & 1:
            self.sgl_flags |= SGL_BIT_BUCKETS

    def renew(self, limits, max_transfer):
        """What the controller says of itself after a reset. Nothing is in flight."""
        self._take_limits(limits)
        self.renew_max_transfer(max_transfer)

    # -- what every transfer checks ------------------------------------------------------------------------------------

    cdef int check_namespace(self, Namespace ns) except -1:
        if ns.controller is not self.dma:
            if ns.gone is not None:
                raise UsageError(f"ns: {ns.gone}")
            raise UsageError(f"ns: {ns!r} is of another controller than {self.describe()}")
        return 0

    cdef int aim(self, Request request, Namespace ns, object lba, object nblocks, uint64_t *count) except -1:
        """Which blocks: checked against the namespace."""
        cdef uint64_t first = as_unsigned(lba, "lba", ANY64)
        count[0] = as_unsigned(nblocks, "nblocks", ANY64)
        if count[0] == 0:
            raise UsageError("nblocks must be 1 or more, not 0")
        if first >= ns.nblocks or count[0] > ns.nblocks - first:
            raise UsageError(
                f"lba {lba}, nblocks {nblocks}: outside of the namespace, which has {ns.nblocks} blocks "
                "(nblocks counts from 1)")
        request.lba = first
        request.blocks_left = count[0]
        request.piece_blocks = BLOCKS_PER_COMMAND
        return 0

    cdef int protect(self, Request request, Namespace ns, object io_flags, object ref_tag, object app_tag,
                     object app_mask, object storage_tag, uint64_t allowed) except -1:
        """Flags and tags of end-to-end protection (NVM 1.0, 5.2)."""
        cdef uint64_t flags = as_unsigned(io_flags, "io_flags", 0xFFFFFFFF), reference, storage = 0, mask
        cdef uint32_t width
        if flags & ~allowed:
            raise UsageError(f"io_flags {flags & ~allowed:#x}: this command takes only {flag_names(allowed)}")
        request.sqe.cdw12 = <uint32_t>flags
        if ns.pi_type == 0:
            if flags & PI_FLAGS or ref_tag is not None or app_tag or app_mask or storage_tag:
                raise UsageError(
                    f"{ns!r} has no protection information: io_flags with PRACT or PRCHK, ref_tag, app_tag, app_mask "
                    "and storage_tag mean nothing there")
            return 0
        width = ns.tag_bits - ns.storage_tag_bits
        mask = low_bits(width)
        if ref_tag is not None:
            reference = as_unsigned(ref_tag, "ref_tag", mask)
        elif ns.pi_type == 2 and flags & (FLAG_PRCHK_REF | FLAG_PRACT):
            raise UsageError("ref_tag: give the initial reference tag: with protection type 2 it is not the LBA")
        else:
            reference = request.lba & mask if ns.pi_type == 1 else 0
        if ns.pi_type == 1 and flags & FLAG_PRCHK_REF and reference != request.lba & mask:
            raise UsageError(
                f"ref_tag {ref_tag}: with protection type 1 it is the lowest {width} bits of the LBA, or the command "
                "fails")
        if ns.storage_tag_bits:
            storage = as_unsigned(storage_tag, "storage_tag", low_bits(ns.storage_tag_bits))
        elif storage_tag:
            raise UsageError(f"storage_tag: {ns!r} has none (STS is 0)")
        # Both together, the reference tag in the low bits: 32 in dword 14, 32 in dword 3, and 16 in dword 2.
        if width < 64:
            reference |= storage << width
        request.sqe.cdw14 = <uint32_t>reference
        request.sqe.cdw3 = <uint32_t>(reference >> 32)
        if ns.tag_bits > 64:
            request.sqe.cdw2 = <uint32_t>(storage >> (64 - width))
        request.sqe.cdw15 = <uint32_t>(
            as_unsigned(app_mask, "app_mask", 0xFFFF) << 16 | as_unsigned(app_tag, "app_tag", 0xFFFF))
        request.ref_mask = mask if ns.pi_type != 3 else 0
        return 0

    cdef Request transfer(self, uint8_t opcode, Namespace ns, object buf, object iov, object lba, object nblocks,
                          tuple options, object io_flags, object cb_fn, object cb_arg, object timeout,
                          object when_full):
        cdef uint64_t count = 0
        cdef bint device_writes = opcode == OP_READ, bounce
        cdef Request request
        cdef size_t needed
        cdef uint32_t unit
        self.check_usable()
        self.check_namespace(ns)
        if opcode == OP_COMPARE:
            self.limits.require(opcode)
        request = new_request(opcode, ns.nsid, cb_fn, cb_arg)
        self.aim(request, ns, lba, nblocks, &count)
        metadata, app_tag, app_mask, ref_tag, storage_tag, dtype, dspec, sgl, bounce = options
        self.protect(request, ns, io_flags, ref_tag, app_tag, app_mask, storage_tag, TRANSFER_FLAGS)
        if dtype or dspec:
            self._direct(request, opcode, dtype, dspec)
        unit = ns.unit
        if ns.extended and request.sqe.cdw12 & FLAG_PRACT and ns.metadata_size == ns.pi_size:
            # The controller inserts or strips it, and nothing of it is transferred (NVM 1.0, 5.2.2.1).
            unit = ns.block_size
        if count > <uint64_t>-1 // unit:
            raise UsageError(f"nblocks {nblocks} is more than memory can hold")
        needed = <size_t>count * unit
        request.unit = unit
        request.boundary = ns.boundary
        request.piece_blocks = <uint32_t>min(
            <uint64_t>BLOCKS_PER_COMMAND, max(self.max_transfer // unit, <size_t>1))
        if sgl is not None:
            self._choose_pointers(request, sgl)
        try:
            if iov is None:
                self.hold_buffer(request, buf, device_writes)
                if request.nbytes < needed:
                    raise UsageError(f"buf has {request.nbytes} bytes; {nblocks} blocks of {unit} need {needed}")
                self.pin(request, needed)
            else:
                self.take_segments(request, iov, needed, device_writes, not bounce)
            self.lay_out_metadata(request, ns, metadata, count)
            if opcode == OP_COMPARE and self.piece(request) < count:
                raise UsageError(
                    f"nblocks {nblocks}: a compare is one command, which takes at most {self.piece(request)} blocks "
                    f"from lba {lba} on")
            if iov is not None or opcode == OP_COMPARE:
                self.settle_segments(request, "buf" if iov is None else "iov", needed, device_writes, bounce)
        except BaseException:
            self.let_go(request)
            raise
        return self.send(request, timeout, when_full)

    def _choose_pointers(self, Request request, sgl):
        """Forces PRPs (False) or SGLs (True)."""
        if sgl not in POINTERS:
            raise UsageError(f"sgl must be True, False or None (whatever is cheaper), not {sgl!r}")
        if sgl and not self.has_sgl:
            raise UsageError(f"sgl=True: {self.limits.name} has no SGLs (SGLS bits 1:0 are 0)")
        request.pointers = POINTERS[sgl]

    def _direct(self, Request request, uint8_t opcode, dtype, dspec):
        """Directive type and value (Base 2.0, 8.7), of writes alone."""
        if opcode != OP_WRITE:
            raise UsageError("dtype, dspec: directives are for writes")
        request.sqe.cdw12 |= <uint32_t>as_unsigned(dtype, "dtype", 15) << 20
        request.sqe.cdw13 = <uint32_t>as_unsigned(dspec, "dspec", 0xFFFF) << 16

    cdef Request send(self, Request request, object timeout, object when_full):
        try:
            self.submit(request, timeout, check_when_full(when_full))
        except BaseException:
            # A request with an owner was taken: the device may have it, and it ends by itself.
            if request.owner is None:
                self.let_go(request)
            raise
        return request

    # -- metadata and segments -----------------------------------------------------------------------------------------

    cdef int lay_out_metadata(self, Request request, Namespace ns, object metadata, uint64_t count) except -1:
        """Separate metadata: one buffer, of which every piece gets its part."""
        cdef uint8_t *address = NULL
        cdef size_t nbytes = 0
        if metadata is None:
            if ns.metadata_size and not ns.extended and not (
                    request.sqe.cdw12 & FLAG_PRACT and ns.metadata_size == ns.pi_size):
                raise UsageError(
                    f"metadata: {ns!r} has {ns.metadata_size} bytes of separate metadata per block: give a "
                    "buffer for it")
            return 0
        if ns.metadata_size == 0 or ns.extended:
            raise UsageError(f"metadata: {ns!r} has no separate metadata")
        self.hold_more(request, metadata, "metadata", request.opcode == OP_READ, &address, &nbytes)
        if nbytes < count * ns.metadata_size:
            raise UsageError(
                f"metadata has {nbytes} bytes; {count} blocks of {ns.metadata_size} need {count * ns.metadata_size}")
        # Any byte will do beside an SGL, where SGLS bit 17 says so (Base 2.0, 3.3.3.1).
        self.check_mapped(
            address, count * ns.metadata_size, "metadata",
            0 if request.pointers == SGL_ONLY and self.sgl_with_metadata else 3)
        if request.sqe.cdw12 & FLAG_PRACT and ns.metadata_size == ns.pi_size:
            return 0
        if request.pointers == SGL_ONLY and not self.sgl_with_metadata and not self.metadata_in_sgl:
            raise UsageError(
                f"sgl=True: {self.limits.name} takes no SGL beside separate metadata (SGLS bits 17 and 19 are 0)")
        request.metadata = address
        request.metadata_unit = ns.metadata_size
        self.check_metadata(request, count * ns.metadata_size)
        return 0

    cdef int check_metadata(self, Request request, size_t nbytes) except -1:
        """Refuses metadata that no command can say: without an SGL of its own, that of a block is in one piece."""
        cdef uint64_t iova = 0
        cdef size_t done = 0
        if self.metadata_in_sgl and request.pointers != PRP_ONLY:
            return 0
        while True:
            done += self.dma.translate(request.metadata + done, nbytes - done, &iova)
            if done >= nbytes:
                return 0
            if request.opcode == OP_COMPARE or done % request.metadata_unit:
                raise UsageError(
                    f"metadata: byte {done} is elsewhere for the device than the byte before, and "
                    + ("a compare has its metadata" if request.opcode == OP_COMPARE else "a block has its metadata")
                    + " in one piece: use memory of ctrlr.dma_alloc(), or of one ctrlr.dma_register()")

    cdef int take_segments(self, Request request, object iov, size_t needed, bint device_writes,
                           bint mapped) except -1:
        """Holds every segment of a transfer, as far as it needs them."""
        cdef list parts = segments_of(iov, needed)
        cdef Segment *segment
        cdef size_t total = 0, nbytes = 0
        cdef uint8_t *address = NULL
        if len(parts) > MOST_SEGMENTS:
            raise UsageError(f"iov has {len(parts)} segments; at most {MOST_SEGMENTS} are taken")
        request.segments = <Segment *>calloc(len(parts) + 1, sizeof(Segment))
        if request.segments == NULL:
            raise MemoryError(f"no memory for {len(parts)} segments")
        request.cursor.segments = request.segments
        for index, part in enumerate(parts):
            if type(part) is tuple:
                self._raw_segment(request, part, &address, &nbytes)
                if address == NULL and not device_writes:
                    raise UsageError(f"iov[{index}]: a bit bucket is for reads only")
            else:
                self.hold_more(request, part, f"iov[{index}]", device_writes, &address, &nbytes)
            nbytes = min(nbytes, needed - total)
            if nbytes == 0:
                continue
            if address != NULL and (mapped or type(part) is tuple):
                self.check_mapped(address, nbytes, f"iov[{index}]", 0)
            segment = &request.segments[request.cursor.count]
            segment.address, segment.nbytes = address, nbytes
            request.cursor.count += 1
            total += nbytes
        if total < needed:
            raise UsageError(f"iov has {total} bytes in {len(parts)} segments; the blocks need {needed}")
        request.nbytes = needed
        return 0

    cdef int _raw_segment(self, Request request, tuple part, uint8_t **where, size_t *nbytes) except -1:
        # (address, length) as SPDK's callbacks give it; the registration that has it is held.
        cdef size_t address = 0
        nbytes[0] = part[1]
        if part[0] is not None:
            address = part[0]
            holder = self.dma.hold_at(address, nbytes[0])
            if holder is not None:
                if request.more_holders is None:
                    request.more_holders = []
                request.more_holders.append(holder)
        where[0] = <uint8_t *>address
        return 0

    cdef int settle_segments(self, Request request, str name, size_t needed, bint device_writes,
                             bint bounce) except -1:
        """Sees to it that every piece can be described, by a copy in one piece of memory if that was asked for."""
        cdef size_t stuck = 0
        cdef Described result = self.plan(request, request.opcode == OP_COMPARE, &stuck)
        cdef Bounce copy
        if result == ALL_DESCRIBED:
            return 0
        if not bounce:
            raise UsageError(
                f"{name}, at byte {stuck}, {_WHY_NOT[int(result)]}: use aligned segments, or bounce=True for a copy")
        copy = Bounce.__new__(Bounce)
        copy.set_up(self.dma.alloc(needed), request, device_writes)
        return 0
