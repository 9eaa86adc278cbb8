# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""DMA memory: buffers that the device reaches, memory of others that it reaches, and when each may go back.

A `DmaSpace` belongs to one function. It cuts `DmaBuffer`s from arenas (shared memory, mapped for the device
as a whole) and takes memory that others own as `DmaRegistration`s. Both are used by two parties: commands,
which hold them from submission until the device has let go, and Python, which exports them as buffers. Memory
goes back after the last.
"""

import operator
from asyncio import get_running_loop
from collections import deque

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from libc.string cimport memset

from aionvme.errors import UsageError
from aionvme.pci.backing import PAGE
from aionvme.pci.arena cimport Arena, Arenas
from aionvme.pci.function cimport Function
from aionvme.pci.mapping cimport Mappings, Run, round_up
from aionvme.pci.memory cimport fork_count, keep, report
from aionvme.pci.shared cimport aio_shared_add, aio_shared_swap

__all__ = ["DmaBuffer", "DmaRegistration", "DmaSpace"]

cdef size_t _PAGE = PAGE


cdef class DmaSpace(Mappings):
    """The memory that one function reaches, and its I/O addresses.

    Any thread may call.

    Args:
        function: The function. Its `iova_ranges()` are ours to choose from. `map_dma` may use the descriptor
            that it is given during the call only.
        arena_size: Bytes that are mapped at a time; a power of two, by default what suits the function. Larger
            allocations get an arena of their own.
        huge_pages: Use 2 MiB pages for arenas where the system has some free.

    Raises:
        UsageError: `arena_size` is not a power of two of at least a page.
    """

    def __cinit__(self, *args, **kwargs):
        self._closed = True
        self._registrations = []
        self._pending = deque()
        self._forks = fork_count()

    def __init__(self, Function function not None, *, arena_size=None, huge_pages=True):
        arena_size = operator.index(function.arena_size if arena_size is None else arena_size)
        if arena_size < PAGE or arena_size & (arena_size - 1) or arena_size > 1 << 40:
            raise UsageError(f"arena_size must be a power of two and at least {PAGE} bytes, not {arena_size}")
        if self.function is not None:
            raise UsageError("this DmaSpace was set up before")
        Mappings.__init__(self, function)
        self._arenas = Arenas(arena_size, huge_pages)
        self._closed = False

    def __del__(self):
        if self._closed or self._forked():
            return
        try:
            self.close()
        except Exception as error:
            report(error)
        # A command held these, and nobody saw its end.
        for registration in self._registrations:
            keep(registration)

    @property
    def closed(self):
        """Whether `close` was called."""
        return bool(self._closed)

    @property
    def quarantined(self):
        """Whether `quarantine` was called."""
        return bool(self._quarantined)

    @property
    def arena_size(self):
        """Bytes that are mapped for the device at a time."""
        return self._arenas.arena_size

    def __repr__(self):
        state = " quarantined" if self._quarantined else ""
        state += " closed" if self._closed else ""
        return f"<DmaSpace of {self.function!r}, {len(self._owners)} mappings{state}>"

    cdef bint _forked(self) noexcept:
        return self._forks != fork_count()

    cdef int _check_open(self) except -1:
        if self._forked():
            raise UsageError("DMA memory stays with the process that made it: open the controller anew in this one")
        if self._quarantined:
            raise UsageError("the controller was lost: it gets no DMA memory any more")
        if self._closed:
            raise UsageError("the controller is closed: it has no DMA memory any more")
        return 0

    # -- buffers ---------------------------------------------------------------------------------------------

    def alloc(self, nbytes, *, align=4096, zero=True):
        """Allocates memory that the device reaches, in one piece for this process and for the device.

        Args:
            nbytes: Length in bytes. Memory is handed out in whole pages.
            align: A power of two, of which both the address and the I/O address are multiples.
            zero: Whether the memory is all zero; otherwise it may hold what an earlier buffer held.

        Returns:
            A `DmaBuffer`.

        Raises:
            UsageError: `nbytes` or `align` is not such a number, or the controller is closed.
            MemoryError: No memory, or no I/O address, is left.
            OSError: The kernel refused to map the memory for the device.
        """
        cdef DmaBuffer buffer
        nbytes = operator.index(nbytes)
        align = operator.index(align)
        if nbytes <= 0:
            raise UsageError(f"nbytes must be at least 1, not {nbytes}")
        if align <= 0 or align & (align - 1):
            raise UsageError(f"align must be a power of two, not {align}")
        if nbytes > 1 << 48 or align > 1 << 40:
            raise MemoryError(f"no memory for {nbytes} bytes of DMA memory aligned to {align}")
        reserved, align = round_up(nbytes, _PAGE), max(align, PAGE)
        # In a forked child the lock may be another thread's for ever: look before.
        self._check_open()
        with self._lock:
            self._check_open()
            arena, offset, fresh = self._arenas.take(self, reserved, align)
            buffer = self._cut(arena, offset, nbytes, reserved)
        self._settle()
        if zero and not fresh:
            memset(buffer.address, 0, buffer._reserved)
        return buffer

    cdef DmaBuffer _cut(self, Arena arena, size_t offset, size_t nbytes, size_t reserved):
        cdef DmaBuffer buffer = DmaBuffer.__new__(DmaBuffer)
        buffer.space = self
        buffer._arena = arena
        buffer._offset = offset
        buffer._reserved = reserved
        buffer.nbytes = nbytes
        buffer.address = arena.address + offset
        buffer.iova = arena.iova + offset
        buffer.closed_ = buffer._freed = False
        return buffer

    # -- what was let go -------------------------------------------------------------------------------------

    def _settle(self):
        """Takes back what was let go, unless a thread that has the lock will do it.

        Memory is let go at any moment: by the garbage collector, in the middle of `alloc`, too.
        """
        while self._pending and self._lock.acquire(False):
            try:
                while self._pending:
                    self._settle_one(self._pending.popleft())
            finally:
                self._lock.release()

    def _settle_one(self, item):
        if type(item) is DmaRegistration:
            self._end(item)
        else:
            arena, offset, nbytes = item
            if (<Arena>arena).alive and not self._quarantined:
                self._arenas.give(self, arena, offset, nbytes)

    # -- registrations ---------------------------------------------------------------------------------------

    def register(self, obj, *, exact=False):
        """Lets the device reach memory that the caller owns, for reads and writes without a copy.

        Whole pages are mapped: the device could also reach what else lies in the first and the last page,
        which nothing asks it to. The memory stays registered until `close()` of what this returns, or of the
        controller; it cannot be resized meanwhile. A process that is forked meanwhile does not have the
        memory's whole pages.

        Args:
            obj: Any writable C-contiguous buffer: a numpy array, bytearray, mmap, memoryview, ...
            exact: Refuse memory that does not begin and end on a page boundary.

        Returns:
            A `DmaRegistration`.

        Raises:
            UsageError: The memory is read-only, empty, not contiguous, or (with `exact`) not whole pages; or
                the controller is closed.
            TypeError: `obj` is no buffer.
            MemoryError: No I/O address is left.
            OSError: The kernel refused to map the memory for the device.
        """
        cdef DmaRegistration registration = DmaRegistration.__new__(DmaRegistration)
        self._check_open()
        registration.space = self
        try:
            PyObject_GetBuffer(obj, &registration.view, PyBUF_WRITABLE)
        except (BufferError, ValueError) as error:
            raise UsageError(f"obj: memory must be writable and C-contiguous for the device ({error})") from error
        registration._has_view = True
        try:
            self._register(registration, exact)
        except BaseException:
            if registration.runs == 0:
                registration.let_memory_go()
            raise
        finally:
            self._settle()
        return registration

    def _register(self, DmaRegistration registration not None, bint exact):
        cdef size_t address = <size_t>registration.view.buf
        cdef size_t nbytes = registration.view.len
        if nbytes == 0:
            raise UsageError("obj has no bytes to register")
        if exact and (address % _PAGE or nbytes % _PAGE):
            raise UsageError(f"obj ({nbytes} bytes at {address:#x}) is not whole pages of {_PAGE} bytes")
        registration.low = address // _PAGE * _PAGE
        registration.high = round_up(address + nbytes, _PAGE)
        with self._lock:
            self._check_open()
            self.share(registration, round_up(address, _PAGE), (address + nbytes) // _PAGE * _PAGE)
            registration.open_ = True
            self._registrations.append(registration)

    def _end(self, DmaRegistration registration not None):
        """Ends a closed registration that no command uses."""
        if registration._done:
            return
        registration._done = True
        self._registrations.remove(registration)
        self.unshare(registration)
        registration._tell()

    # -- the end ---------------------------------------------------------------------------------------------

    def quarantine(self):
        """Withdraws all memory for as long as the process lives, for a device that may still write it.

        Nothing is handed out any more. What is in use may be read and written on; what is let go is never
        used again.
        """
        if self._quarantined or self._forked():
            return
        with self._lock:
            self._quarantined = True
            for owner in self._owners + self._registrations:
                keep(owner)

    def close(self):
        """Unmaps everything: the device reaches no memory any more. May be called twice.

        Memory of buffers that are still in use stays valid in this process. No command may be in flight.

        Raises:
            OSError: The kernel refused to unmap something, which then is never used again; all else was done.
        """
        cdef DmaRegistration registration
        if self._closed or self._forked():
            return
        with self._lock:
            self._closed = True
            errors = [self.unmap_run(owner) if type(owner) is Run else self.unmap(owner)
                      for owner in list(self._owners)]
            self._arenas.clear()
        for registration in list(self._registrations):
            registration.close()
        self._settle()
        for error in errors:
            if error is not None and not self._quarantined:
                raise error


cdef class DmaBuffer:
    """Memory that the device reaches: a writable buffer of bytes, from `DmaSpace.alloc`.

    Slice it by `memoryview(buffer)[a:b]`. Use it in a `with` statement, or call `close()`, or drop it: the
    memory goes back when no command, no memoryview and no array uses it any more.

    Attributes:
        iova: The I/O address, for the device.
        nbytes: Length in bytes.
        space: The `DmaSpace` that it is from.
    """

    def __cinit__(self, *args, **kwargs):
        self.closed_ = self._freed = True

    def __init__(self):
        raise TypeError("a DmaBuffer is made by dma_alloc()")

    def __del__(self):
        if self._freed or self.space._forked():
            return
        if self.users > 0:
            # Whoever held it is gone, and the device may have it still.
            keep(self._arena)
            return
        self._give_back()

    cdef bint hold(self) noexcept:
        aio_shared_add(&self.users, 1)
        # Whoever closes it now sees that it is held.
        if not self.closed_:
            return True
        self.release()
        return False

    cdef void release(self) noexcept:
        if aio_shared_add(&self.users, -1) == 0 and self.closed_:
            self._give_back()

    cdef _give_back(self):
        # The collector has cleared the space of a controller that nobody had any more.
        if self.space is None or self.space._pending is None or self.space._forked():
            return
        self.closed_ = True
        if aio_shared_swap(&self._freed, True):
            return
        self.address = NULL
        arena, self._arena = self._arena, None
        self.space._pending.append((arena, self._offset, self._reserved))
        self.space._settle()

    def close(self):
        """Gives the memory back as soon as no command, memoryview or array uses it. New ones are refused."""
        aio_shared_swap(&self.closed_, True)
        if self.users == 0:
            self._give_back()

    @property
    def closed(self):
        """Whether `close` was called. The memory may be in use still."""
        return bool(self.closed_)

    def array(self, dtype="uint8"):
        """The memory as a one-dimensional numpy array, which shares it and keeps it from going back.

        Args:
            dtype: Anything that numpy takes for one. The length must be a whole number of items.

        Raises:
            UsageError: It is not, or the buffer is closed.
        """
        import numpy

        dtype = numpy.dtype(dtype)
        if self.closed_:
            raise UsageError(f"{self!r} cannot be used any more")
        if dtype.itemsize == 0 or self.nbytes % dtype.itemsize:
            raise UsageError(f"{self.nbytes} bytes are not a whole number of {dtype.itemsize}-byte {dtype} items")
        return numpy.frombuffer(self, dtype)

    def __getbuffer__(self, Py_buffer *view, int flags):
        if not self.hold():
            raise BufferError(f"{self!r} cannot be used any more")
        if self.space._forked():
            self.release()
            raise BufferError("DMA memory stays with the process that made it: a forked one does not have it")
        PyBuffer_FillInfo(view, self, self.address, self.nbytes, 0, flags)

    def __releasebuffer__(self, Py_buffer *view):
        self.release()

    def __len__(self):
        return self.nbytes

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __repr__(self):
        state = " closed" if self.closed_ else ""
        return f"<DmaBuffer of {self.nbytes} bytes at iova {self.iova:#x}{state}>"


cdef class DmaRegistration:
    """Memory of the caller's that the device reaches, from `DmaSpace.register`, until `close()`.

    `with` closes it; `async with` also waits until no command uses it.

    Attributes:
        space: The `DmaSpace` that it is registered with.
    """

    def __cinit__(self, *args, **kwargs):
        self._idle = []

    def __init__(self):
        raise TypeError("a DmaRegistration is made by dma_register()")

    def __dealloc__(self):
        if self._has_view:
            PyBuffer_Release(&self.view)

    cdef finish(self):
        self.space._pending.append(self)
        self.space._settle()

    cdef let_memory_go(self):
        if self._has_view:
            self._has_view = False
            PyBuffer_Release(&self.view)

    def close(self):
        """Ends the registration: new commands are refused, and the memory is unmapped after the last one.

        Where a registration of the same pages goes on, a page run stays mapped, and its memory exported,
        until that ends.
        """
        if self.open_ and not self.space._forked():
            self.shut()

    async def wait_closed(self):
        """Waits, after `close()`, until no command uses the memory of this registration.

        Raises:
            UsageError: `close()` was not called.
        """
        if self.open_:
            raise UsageError(f"{self!r} is open: call close() first")
        if self._done:
            return
        loop = get_running_loop()
        waiter = (loop, loop.create_future())
        self._enlist(waiter)
        # The last command may have been another thread's, which looked before.
        if self._done:
            self._tell()
        await waiter[1]

    cdef _enlist(self, waiter):
        with cython.critical_section(self):
            self._idle.append(waiter)

    cdef _tell(self):
        with cython.critical_section(self):
            waiters, self._idle = self._idle, []
        for loop, future in waiters:
            try:
                loop.call_soon_threadsafe(_wake, future)
            except RuntimeError:
                # That loop is closed: nobody waits there any more.
                pass

    @property
    def closed(self):
        """Whether `close` was called. Commands may use the memory still."""
        return not self.open_

    @property
    def nbytes(self):
        """Length of the memory in bytes, as it was given; whole pages are mapped."""
        return self.view.len

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc_info):
        self.close()
        await self.wait_closed()

    def __repr__(self):
        state = "" if self.open_ else " closed"
        return f"<DmaRegistration of {self.high - self.low} bytes at {self.low:#x}{state}>"


def _wake(future):
    if not future.done():
        future.set_result(None)


def hold(DmaBuffer buffer not None):
    """For tests: holds a buffer as a command does."""
    buffer.hold()


def release(DmaBuffer buffer not None):
    """For tests: lets a buffer go as a command does when the device has let go of it."""
    buffer.release()
