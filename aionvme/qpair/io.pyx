# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The I/O commands of a queue pair, each in its two spellings: awaited, and with a callback."""

import enum
from operator import index

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from aionvme.errors import UsageError
from aionvme.qpair.core cimport QueuePair
from aionvme.qpair.namespace cimport Namespace
from aionvme.qpair.request cimport Request
from aionvme.qpair.ring cimport SQE_BYTES
from aionvme.spec.opcodes import NvmOpcode


class IoFlags(enum.IntFlag):
    """Flags of the I/O commands, as bits of command dword 12 (NVM Command Set 1.0, 3.2.4).

    FORCE_UNIT_ACCESS: the data is on (or comes from) the medium when the command completes, not a volatile cache.
    LIMITED_RETRY: the controller gives up early instead of trying everything to recover the data.
    """

    FORCE_UNIT_ACCESS = 1 << 30
    LIMITED_RETRY = 1 << 31


cdef uint8_t OP_FLUSH = int(NvmOpcode.FLUSH)
cdef uint8_t OP_WRITE = int(NvmOpcode.WRITE)
cdef uint8_t OP_READ = int(NvmOpcode.READ)

cdef enum:
    BLOCKS_PER_COMMAND = 65536      # NLB is 16 bits, 0's based
    KNOWN_FLAGS = 0xC0000000
    PRP_PSDT = 0


cdef uint64_t as_unsigned(object value, str name) except? 0xFFFFFFFFFFFFFFFF:
    if type(value) is not int:
        # A fraction is no number of blocks; the conversion below would cut it off.
        value = index(value)
    try:
        return <uint64_t>value
    except OverflowError:
        raise UsageError(f"{name} must be from 0 to 2**64-1, not {value}") from None


cdef class IoQueuePair(QueuePair):
    """A queue pair for I/O commands, allocated by `Controller.alloc_io_qpair`.

    Every command `x` is posted when it is called, in call order: `await qp.x(...)` waits for its completion and raises
    `StatusError`; `qp.submit_x(..., cb_fn, cb_arg)` has `cb_fn(cb_arg, cpl)` called, and never raises for a status. Bad
    arguments raise `UsageError` at the call, before anything reaches the device. The doorbell rings once for all that
    was posted in a turn of the loop. A transfer of any size is one call: it is split at the controller's limit.

    Common keywords:
        io_flags: `IoFlags`.
        timeout: Seconds, then the command is aborted and `CommandTimeoutError` raised once the device has let go of the
            memory; 0 for none; None for the controller's `io_timeout`.
        when_full: "error" raises `QueueFullError` when no slot is free; by default the command waits, in order.
    """

    cdef Request _transfer(self, uint8_t opcode, bint device_writes, Namespace ns, object buf, object lba,
                           object nblocks, object io_flags, object cb_fn, object cb_arg, object timeout,
                           object when_full):
        cdef uint64_t first, count, flags
        cdef Request request
        self.check_usable()
        first = as_unsigned(lba, "lba")
        count = as_unsigned(nblocks, "nblocks")
        flags = as_unsigned(io_flags, "io_flags")
        self._check_namespace(ns)
        if count == 0 or first >= ns.nblocks or count > ns.nblocks - first:
            raise UsageError(
                f"lba {lba}, nblocks {nblocks}: outside of the namespace, which has {ns.nblocks} blocks "
                "(nblocks counts from 1)")
        if flags & ~<uint64_t>KNOWN_FLAGS:
            raise UsageError(f"io_flags {flags:#x}: this command takes FORCE_UNIT_ACCESS and LIMITED_RETRY only")
        if count > <uint64_t>-1 // ns.unit:
            raise UsageError(f"nblocks {nblocks} is more than memory can hold")
        request = _new(opcode, ns.nsid, cb_fn, cb_arg)
        self.hold_buffer(request, buf, device_writes)
        try:
            if request.nbytes < count * ns.unit:
                raise UsageError(
                    f"buf has {request.nbytes} bytes; {nblocks} blocks of {ns.unit} need {count * ns.unit}")
            self.pin(request, count * ns.unit)
            request.lba = first
            request.blocks_left = count
            request.unit = ns.unit
            request.boundary = ns.boundary
            request.piece_blocks = <uint32_t>min(
                <uint64_t>BLOCKS_PER_COMMAND, max(self.max_transfer // ns.unit, <size_t>1))
            request.sqe.cdw12 = <uint32_t>flags
            self.submit(request, timeout, _when_full(when_full))
        except BaseException:
            _undo(self, request)
            raise
        return request

    cdef int _check_namespace(self, Namespace ns) except -1:
        if ns.controller is not self.dma:
            raise UsageError(f"{ns!r} is of another controller than {self.describe()}")
        if ns.metadata_size and not ns.extended:
            raise UsageError(
                f"{ns!r} has {ns.metadata_size} bytes of separate metadata per block: use io_raw with metadata")
        return 0

    def read(self, Namespace ns not None, buf, lba, nblocks, *, io_flags=0, timeout=None):
        """Reads `nblocks` blocks from `lba` on into `buf` (NVM Command Set 1.0, 3.2.4); awaitable.

        Args:
            ns: A namespace of the same controller.
            buf: Writable memory that is mapped for DMA: a `DmaBuffer`, a view of one, or registered memory; at least
                `nblocks * ns.block_size` bytes, at a multiple of 4.
            lba: First block.
            nblocks: How many blocks, from 1.

        Raises:
            UsageError: Wrong size, alignment, range or memory, closed, or another loop.
        """
        return self._transfer(OP_READ, True, ns, buf, lba, nblocks, io_flags, None, None, timeout, None)

    def submit_read(self, Namespace ns not None, buf, lba, nblocks, cb_fn=None, cb_arg=None, *, io_flags=0,
                    timeout=None, when_full=None):
        """`read` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        return self._transfer(OP_READ, True, ns, buf, lba, nblocks, io_flags, cb_fn, cb_arg, timeout, when_full)

    def write(self, Namespace ns not None, buf, lba, nblocks, *, io_flags=0, timeout=None):
        """Writes `nblocks` blocks from `buf` to `lba` on (NVM Command Set 1.0, 3.2.6); awaitable.

        Arguments as for `read`; `buf` may be read-only, and must not be changed before the command has ended.
        """
        return self._transfer(OP_WRITE, False, ns, buf, lba, nblocks, io_flags, None, None, timeout, None)

    def submit_write(self, Namespace ns not None, buf, lba, nblocks, cb_fn=None, cb_arg=None, *, io_flags=0,
                     timeout=None, when_full=None):
        """`write` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        return self._transfer(OP_WRITE, False, ns, buf, lba, nblocks, io_flags, cb_fn, cb_arg, timeout, when_full)

    cdef Request _flush(self, Namespace ns, object cb_fn, object cb_arg, object timeout, object when_full):
        cdef Request request
        self.check_usable()
        if ns.controller is not self.dma:
            raise UsageError(f"{ns!r} is of another controller than {self.describe()}")
        request = _new(OP_FLUSH, ns.nsid, cb_fn, cb_arg)
        self.submit(request, timeout, _when_full(when_full))
        return request

    def flush(self, Namespace ns not None, *, timeout=None):
        """Has the controller's volatile write cache written to the medium (Base 2.0, 7.1); awaitable."""
        return self._flush(ns, None, None, timeout, None)

    def submit_flush(self, Namespace ns not None, cb_fn=None, cb_arg=None, *, timeout=None, when_full=None):
        """`flush` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        return self._flush(ns, cb_fn, cb_arg, timeout, when_full)

    def io_raw(self, sqe, *, data=None, write=False, timeout=None):
        """Submits a command as its 64 bytes; awaitable.

        Args:
            sqe: 64 bytes. The command identifier and, with `data`, the data pointer are filled in here.
            data: Memory that is mapped for DMA, all of which the command transfers; None for a command without data.
            write: The data goes to the controller, so that `data` may be read-only.
        """
        return submit_raw(self, sqe, data, write, None, None, timeout, None)

    def submit_io_raw(self, sqe, cb_fn=None, cb_arg=None, *, data=None, write=False, timeout=None, when_full=None):
        """`io_raw` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        return submit_raw(self, sqe, data, write, cb_fn, cb_arg, timeout, when_full)

    async def close(self):
        """Waits for every command to end, then has the controller delete both queues. May be called twice."""
        await self.host.close_io_qpair(self)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc_info):
        await self.close()


cdef class AdminQueuePair(QueuePair):
    """The admin queue pair: raw commands with a decoder; the controller's own."""

    def submit_admin(self, sqe, *, data=None, write=False, decode=None, value_wanted=True, cb_fn=None, cb_arg=None,
                     timeout=None, urgent=False):
        """Submits an admin command of 64 bytes.

        `decode(cpl)` makes `cpl.value`; `value_wanted` has the await give that. What is `urgent` is posted while others
        wait for the end of a reset.
        """
        cdef Request request = _prepare_raw(self, sqe, data, write, cb_fn, cb_arg)
        request.decode = decode
        request.value_wanted = value_wanted
        return _send_raw(self, request, timeout, None, urgent)


cdef Request _new(uint8_t opcode, uint32_t nsid, object cb_fn, object cb_arg):
    cdef Request request = Request.__new__(Request)
    memset(&request.sqe, 0, SQE_BYTES)
    request.sqe.opcode = opcode
    request.sqe.nsid = nsid
    request.opcode = opcode
    request.cb_fn = cb_fn
    request.cb_arg = cb_arg
    request.quiet = cb_fn is not None
    return request


cdef object _when_full(object when_full):
    if when_full is None or when_full == "error":
        return when_full
    raise UsageError(f'when_full must be None or "error", not {when_full!r}')


cdef Request _prepare_raw(QueuePair qp, object sqe, object data, bint write, object cb_fn, object cb_arg):
    cdef const uint8_t[::1] command
    cdef Request request
    qp.check_usable()
    try:
        command = sqe
    except (BufferError, ValueError) as error:
        raise UsageError(f"sqe must be {SQE_BYTES} contiguous bytes ({error})") from error
    if command.shape[0] != SQE_BYTES:
        raise UsageError(f"sqe must have {SQE_BYTES} bytes, not {command.shape[0]}")
    request = _new(0, 0, cb_fn, cb_arg)
    memcpy(&request.sqe, &command[0], SQE_BYTES)
    request.opcode = request.sqe.opcode
    if data is None:
        return request
    if request.sqe.flags & 0xC0:
        raise UsageError("sqe: PSDT (byte 1, bits 7:6) must be 0 with data=: the data pointer is made here, of PRPs")
    qp.hold_buffer(request, data, not write)
    try:
        if request.nbytes == 0 or request.nbytes > qp.max_transfer:
            raise UsageError(f"data has {request.nbytes} bytes; one command takes from 1 to {qp.max_transfer}")
        qp.pin(request, request.nbytes)
    except BaseException:
        qp.let_go(request)
        raise
    return request


cdef Request _send_raw(QueuePair qp, Request request, object timeout, object when_full, bint urgent=False):
    try:
        qp.submit(request, timeout, _when_full(when_full), urgent)
    except BaseException:
        _undo(qp, request)
        raise
    return request


cdef _undo(QueuePair qp, Request request):
    # A request with an owner was taken: the device may have it, and it ends by itself.
    if request.owner is None:
        qp.let_go(request)


cdef Request submit_raw(QueuePair qp, object sqe, object data, bint write, object cb_fn, object cb_arg,
                        object timeout, object when_full):
    return _send_raw(qp, _prepare_raw(qp, sqe, data, write, cb_fn, cb_arg), timeout, when_full)
