# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: binding=False, embedsignature=True, embedsignature.format=clinic
"""Owns the I/O queue pair as its user has it: every I/O command in two spellings, awaited and with a callback."""

from libc.stdint cimport uint8_t

from aionvme.qpair.namespace cimport Namespace
from aionvme.qpair.plain cimport submit_plain
from aionvme.qpair.raw cimport prepare_raw, send_raw
from aionvme.qpair.reserving cimport ReservingQueuePair
from aionvme.qpair.transfer cimport new_request
from aionvme.spec.opcodes import NvmOpcode

cdef extern from "../qpair/shortcut.h":
    void aio_set_short_way(void *way, object ns_type)
    int aio_shorten(int which, object method, uint8_t opcode, uint8_t most) except -1

cdef uint8_t OP_FLUSH = int(NvmOpcode.FLUSH)
cdef uint8_t OP_WRITE = int(NvmOpcode.WRITE)
cdef uint8_t OP_READ = int(NvmOpcode.READ)
cdef uint8_t OP_COMPARE = int(NvmOpcode.COMPARE)


cdef class IoQueuePair(ReservingQueuePair):
    """A queue pair for I/O commands, allocated by `Controller.alloc_io_qpair`.

    Every command `x` is posted when it is called, in call order: `await qp.x(...)` waits for its completion and raises
    `StatusError`; `qp.submit_x(..., cb_fn, cb_arg)` has `cb_fn(cb_arg, cpl)` called, and never raises for a status. Bad
    arguments raise `UsageError` at the call, before anything reaches the device. The doorbell rings once for all that
    was posted in a turn of the loop. A transfer of any size is one call: it is split at the controller's limit.

    Common keywords:
        io_flags: `IoFlags`.
        timeout: Seconds, then the command is aborted and `CommandTimeoutError` raised once the device has let go of the
            memory; 0 for none; None for the controller's `io_timeout`.
        when_full: Of the `submit_` calls: "error" raises `QueueFullError` when no slot is free; by default the command
            waits, in order.
    """

    def read(self, Namespace ns not None, buf, lba, nblocks, *, io_flags=0, metadata=None, app_tag=0, app_mask=0,
             ref_tag=None, storage_tag=0, dtype=0, dspec=0, sgl=None, timeout=None):
        """Reads `nblocks` blocks from `lba` on into `buf` (NVM Command Set 1.0, 3.2.4); awaitable.

        Args:
            ns: A namespace of the same controller.
            buf: Writable memory that is mapped for DMA: a `DmaBuffer`, a view of one, or registered memory; at least
                `nblocks * ns.block_size` bytes, at a multiple of 4; with metadata in it where `ns.extended`.
            lba: First block.
            nblocks: How many blocks, from 1.
            io_flags: `IoFlags`.
            metadata: Memory for the separate metadata of a namespace that has such, `ns.metadata_size` bytes per block.
            app_tag, app_mask: Application tag, and which of its bits are checked.
            ref_tag: Initial reference tag; None for the LBA with protection type 1. It counts up with the blocks.
            storage_tag: Of a namespace that has one.
            sgl: True and False force SGLs and PRPs; None takes what is cheaper. `Request.used_sgl` says which it was.

        Raises:
            UsageError: Wrong size, alignment, range or memory, closed, or another loop.
        """
        return self.transfer(
            OP_READ, ns, buf, None, lba, nblocks,
            (metadata, app_tag, app_mask, ref_tag, storage_tag, dtype, dspec, sgl, False),
            io_flags, None, None, timeout, None)

    def submit_read(self, Namespace ns not None, buf, lba, nblocks, cb_fn=None, cb_arg=None, *, io_flags=0,
                    metadata=None, app_tag=0, app_mask=0, ref_tag=None, storage_tag=0, dtype=0, dspec=0, sgl=None,
                    timeout=None, when_full=None):
        """`read` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        return self.transfer(
            OP_READ, ns, buf, None, lba, nblocks,
            (metadata, app_tag, app_mask, ref_tag, storage_tag, dtype, dspec, sgl, False),
            io_flags, cb_fn, cb_arg, timeout, when_full)

    def write(self, Namespace ns not None, buf, lba, nblocks, *, io_flags=0, metadata=None, app_tag=0, app_mask=0,
              ref_tag=None, storage_tag=0, dtype=0, dspec=0, sgl=None, timeout=None):
        """Writes `nblocks` blocks from `buf` to `lba` on (NVM Command Set 1.0, 3.2.6); awaitable.

        Arguments as for `read`; `buf` may be read-only, and must not be changed before the command has ended. `dtype`
        and `dspec` are the directive type and value.
        """
        return self.transfer(
            OP_WRITE, ns, buf, None, lba, nblocks,
            (metadata, app_tag, app_mask, ref_tag, storage_tag, dtype, dspec, sgl, False),
            io_flags, None, None, timeout, None)

    def submit_write(self, Namespace ns not None, buf, lba, nblocks, cb_fn=None, cb_arg=None, *, io_flags=0,
                     metadata=None, app_tag=0, app_mask=0, ref_tag=None, storage_tag=0, dtype=0, dspec=0, sgl=None,
                     timeout=None, when_full=None):
        """`write` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        return self.transfer(
            OP_WRITE, ns, buf, None, lba, nblocks,
            (metadata, app_tag, app_mask, ref_tag, storage_tag, dtype, dspec, sgl, False),
            io_flags, cb_fn, cb_arg, timeout, when_full)

    def compare(self, Namespace ns not None, buf, lba, nblocks, *, io_flags=0, metadata=None, app_tag=0, app_mask=0,
                ref_tag=None, storage_tag=0, dtype=0, dspec=0, sgl=None, timeout=None):
        """Compares `nblocks` blocks from `lba` on with `buf` (NVM Command Set 1.0, 3.2.1); awaitable.

        Arguments as for `write`. Where they differ, the status is Compare Failure. A compare is one command, not split.
        """
        return self.transfer(
            OP_COMPARE, ns, buf, None, lba, nblocks,
            (metadata, app_tag, app_mask, ref_tag, storage_tag, dtype, dspec, sgl, False),
            io_flags, None, None, timeout, None)

    def submit_compare(self, Namespace ns not None, buf, lba, nblocks, cb_fn=None, cb_arg=None, *, io_flags=0,
                       metadata=None, app_tag=0, app_mask=0, ref_tag=None, storage_tag=0, dtype=0, dspec=0, sgl=None,
                       timeout=None, when_full=None):
        """`compare` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        return self.transfer(
            OP_COMPARE, ns, buf, None, lba, nblocks,
            (metadata, app_tag, app_mask, ref_tag, storage_tag, dtype, dspec, sgl, False),
            io_flags, cb_fn, cb_arg, timeout, when_full)

    def readv(self, Namespace ns not None, iov, lba, nblocks, *, io_flags=0, metadata=None, app_tag=0, app_mask=0,
              ref_tag=None, storage_tag=0, dtype=0, dspec=0, sgl=None, bounce=False, timeout=None):
        """`read` into several places; awaitable.

        Args:
            ns, lba, nblocks: As for `read`.
            iov: A sequence of buffers, or `SglCallbacks`; (None, nbytes) in it is a bit bucket. PRPs are used where
                they can say it, SGLs where the controller has them and PRPs cannot or need more. A transfer is split
                where one command cannot describe it.
            bounce: Where neither can: read into one buffer, and copy.

        Further arguments as for `read`.

        Raises:
            UsageError: Also where segments cannot be described, and `bounce` is false.
        """
        return self.transfer(
            OP_READ, ns, None, iov, lba, nblocks,
            (metadata, app_tag, app_mask, ref_tag, storage_tag, dtype, dspec, sgl, bounce),
            io_flags, None, None, timeout, None)

    def submit_readv(self, Namespace ns not None, iov, lba, nblocks, cb_fn=None, cb_arg=None, *, io_flags=0,
                     metadata=None, app_tag=0, app_mask=0, ref_tag=None, storage_tag=0, dtype=0, dspec=0, sgl=None,
                     bounce=False, timeout=None, when_full=None):
        """`readv` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        return self.transfer(
            OP_READ, ns, None, iov, lba, nblocks,
            (metadata, app_tag, app_mask, ref_tag, storage_tag, dtype, dspec, sgl, bounce),
            io_flags, cb_fn, cb_arg, timeout, when_full)

    def writev(self, Namespace ns not None, iov, lba, nblocks, *, io_flags=0, metadata=None, app_tag=0, app_mask=0,
               ref_tag=None, storage_tag=0, dtype=0, dspec=0, sgl=None, bounce=False, timeout=None):
        """`write` from several places; arguments as for `readv` and `write`; awaitable."""
        return self.transfer(
            OP_WRITE, ns, None, iov, lba, nblocks,
            (metadata, app_tag, app_mask, ref_tag, storage_tag, dtype, dspec, sgl, bounce),
            io_flags, None, None, timeout, None)

    def submit_writev(self, Namespace ns not None, iov, lba, nblocks, cb_fn=None, cb_arg=None, *, io_flags=0,
                      metadata=None, app_tag=0, app_mask=0, ref_tag=None, storage_tag=0, dtype=0, dspec=0, sgl=None,
                      bounce=False, timeout=None, when_full=None):
        """`writev` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        return self.transfer(
            OP_WRITE, ns, None, iov, lba, nblocks,
            (metadata, app_tag, app_mask, ref_tag, storage_tag, dtype, dspec, sgl, bounce),
            io_flags, cb_fn, cb_arg, timeout, when_full)

    def comparev(self, Namespace ns not None, iov, lba, nblocks, *, io_flags=0, metadata=None, app_tag=0, app_mask=0,
                 ref_tag=None, storage_tag=0, dtype=0, dspec=0, sgl=None, bounce=False, timeout=None):
        """`compare` with several places; arguments as for `readv` and `compare`; awaitable."""
        return self.transfer(
            OP_COMPARE, ns, None, iov, lba, nblocks,
            (metadata, app_tag, app_mask, ref_tag, storage_tag, dtype, dspec, sgl, bounce),
            io_flags, None, None, timeout, None)

    def submit_comparev(self, Namespace ns not None, iov, lba, nblocks, cb_fn=None, cb_arg=None, *, io_flags=0,
                        metadata=None, app_tag=0, app_mask=0, ref_tag=None, storage_tag=0, dtype=0, dspec=0, sgl=None,
                        bounce=False, timeout=None, when_full=None):
        """`comparev` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        return self.transfer(
            OP_COMPARE, ns, None, iov, lba, nblocks,
            (metadata, app_tag, app_mask, ref_tag, storage_tag, dtype, dspec, sgl, bounce),
            io_flags, cb_fn, cb_arg, timeout, when_full)

    def flush(self, Namespace ns not None, *, timeout=None):
        """Has the controller's volatile write cache written to the medium (Base 2.0, 7.1); awaitable."""
        return self.submit_flush(ns, timeout=timeout)

    def submit_flush(self, Namespace ns not None, cb_fn=None, cb_arg=None, *, timeout=None, when_full=None):
        """`flush` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        self.check_usable()
        self.check_namespace(ns)
        return self.send(new_request(OP_FLUSH, ns.nsid, cb_fn, cb_arg), timeout, when_full)

    def io_raw(self, sqe, *, data=None, metadata=None, write=False, timeout=None):
        """Submits a command as its 64 bytes; awaitable.

        Args:
            sqe: 64 bytes. The command identifier and, with `data` or `metadata`, their pointers are filled in here.
            data: Memory that is mapped for DMA, all of which the command transfers; None for a command without data.
            metadata: Likewise, in one piece for the device.
            write: The data goes to the controller, so that `data` may be read-only.
        """
        return send_raw(self, prepare_raw(self, sqe, data, metadata, write, None, None), timeout, None)

    def submit_io_raw(self, sqe, cb_fn=None, cb_arg=None, *, data=None, metadata=None, write=False, timeout=None,
                      when_full=None):
        """`io_raw` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        return send_raw(self, prepare_raw(self, sqe, data, metadata, write, cb_fn, cb_arg), timeout, when_full)

    async def close(self):
        """Waits for every command to end, then has the controller delete both queues. May be called twice.

        Of a device that hangs the first command is waited for, by its time limit and `abort_timeout`; then the
        controller is reset, and where nothing else is in use it has twice `abort_timeout` to answer before it ends: 75
        seconds in all by default.
        """
        await self.host.close_io_qpair(self)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc_info):
        await self.close()


aio_set_short_way(<void *>submit_plain, Namespace)
# The arguments up to nblocks, or up to cb_arg.
aio_shorten(0, IoQueuePair.read, OP_READ, 4)
aio_shorten(1, IoQueuePair.submit_read, OP_READ, 6)
aio_shorten(2, IoQueuePair.write, OP_WRITE, 4)
aio_shorten(3, IoQueuePair.submit_write, OP_WRITE, 6)
