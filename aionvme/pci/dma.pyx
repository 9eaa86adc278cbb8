# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""DMA memory: what of this process a function reaches, at which I/O addresses, and when each piece may go back.

A `DmaSpace` belongs to one function. It cuts `DmaBuffer`s from arenas (shared memory, mapped for the device as a whole)
and takes memory that others own as `DmaRegistration`s. Both are used by two parties: commands, which hold them from
submission until the device has let go, and Python, which exports them as buffers. Memory goes back after the last.

Whatever the device reaches is a region: linear in this process and for the device. Regions that touch nothing of each
other are kept sorted in a C array, where `translate` looks up a command's addresses without the GIL.

Registrations may share pages, but what one `map_dma` gave can only be unmapped as a whole. So a registration maps only
the runs of its pages that are not mapped yet, each by itself, and shares the others. A run is unmapped when its last
registration ends; until then the memory of the registration that had it mapped is kept (its buffer stays exported),
since the pages of a run must not change their meaning while it is mapped.
"""

import operator
import os
import threading
from asyncio import get_running_loop
from collections import deque

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_SetFromErrno
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove, memset
from posix.mman cimport (
    MADV_DOFORK, MADV_DONTFORK, MAP_ANONYMOUS, MAP_FAILED, MAP_FIXED, MAP_NORESERVE, MAP_POPULATE, MAP_PRIVATE,
    MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE, madvise, mmap, munmap,
)
from posix.unistd cimport close

from aionvme.errors import UsageError
from aionvme.pci.arena import PAGE, backing_file
from aionvme.pci.extents import Extents
from aionvme.pci.iova import IovaSpace

__all__ = ["DmaBuffer", "DmaRegistration", "DmaSpace"]

cdef size_t _PAGE = PAGE

# From this length on a run's I/O address is as far from a 2 MiB boundary as its address, so that large pages match.
cdef size_t _LARGE = 2 << 20

# Memory that a device may still write: never unmapped here, never used again.
_kept = []

cdef long _forks = 0


def _count_fork():
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


cdef _keep(object memory):
    # Not freed at the end of the interpreter either.
    Py_INCREF(memory)
    _kept.append(memory)


cdef void _report(object error) noexcept:
    # Where nobody can be told by an exception: sys.unraisablehook is.
    raise error


cdef size_t _round_up(size_t value, size_t multiple) noexcept:
    return (value + multiple - 1) // multiple * multiple


# -- what regions belong to ----------------------------------------------------------------------------------------------


cdef class _Memory:
    """Shared memory from a file without a name, mapped while this object lives. A forked child does not have it."""

    cdef uint8_t *address
    cdef readonly size_t nbytes
    cdef readonly int fd
    cdef long forks

    def __cinit__(self):
        self.fd = -1
        self.forks = _forks

    def __init__(self, size_t nbytes, size_t align, bint huge):
        self.fd, self.nbytes = backing_file(nbytes, huge=huge)
        self._map(align)
        if madvise(self.address, self.nbytes, MADV_DONTFORK):
            PyErr_SetFromErrno(OSError)

    cdef int _map(self, size_t align) except -1:
        # An aligned address: reserve more than is needed, put the file into it, give the ends back.
        cdef size_t reserved = self.nbytes + align, start
        cdef void *base = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        cdef void *mapped
        if base == MAP_FAILED:
            raise MemoryError(f"no address space for {self.nbytes} bytes of DMA memory")
        start = _round_up(<size_t>base, align)
        with nogil:
            mapped = mmap(<void *>start, self.nbytes, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_FIXED | MAP_POPULATE, self.fd, 0)
        if mapped == MAP_FAILED:
            munmap(base, reserved)
            PyErr_SetFromErrno(OSError)
        if start > <size_t>base:
            munmap(base, start - <size_t>base)
        if <size_t>base + reserved > start + self.nbytes:
            munmap(<void *>(start + self.nbytes), <size_t>base + reserved - start - self.nbytes)
        self.address = <uint8_t *>mapped
        return 0

    cdef void close_file(self) noexcept:
        # The memory stays.
        if self.fd >= 0:
            close(self.fd)
        self.fd = -1

    def __dealloc__(self):
        self.close_file()
        # In a forked child something else may be at this address by now.
        if self.address != NULL and self.forks == _forks:
            munmap(self.address, self.nbytes)


cdef class _Mapped:
    """One `map_dma`: a region, and the registrations that its pages are part of."""

    cdef uint8_t *address
    cdef size_t nbytes
    cdef uint64_t iova
    cdef uint64_t iova_start      # what was taken of the IovaSpace
    cdef size_t iova_nbytes
    cdef list registrations

    def __cinit__(self):
        self.registrations = []


cdef class _Arena(_Mapped):
    """Memory of our own, from which buffers are cut."""

    cdef _Memory memory
    cdef object extents
    cdef size_t align             # to which both address and iova are aligned
    cdef size_t buffers
    cdef bint single              # made for one allocation


cdef class _Run(_Mapped):
    """Pages that others own, mapped for the first registration that asked for them."""

    cdef DmaRegistration creator
    cdef size_t private_low, private_high     # pages that are all the registered memory's, kept from forked children


# -- the space -----------------------------------------------------------------------------------------------------------


cdef class DmaSpace:
    """The memory that one function reaches, and its I/O addresses.

    Any thread may call. While a thread is in `translate` without the GIL, no other may alloc, register or close.

    Args:
        function: The function. Its `iova_ranges()` are ours to choose from. `map_dma` may use the descriptor that it
            is given during the call only.
        arena_size: Bytes that are mapped at a time; a power of two. Larger allocations get an arena of their own.
        huge_pages: Use 2 MiB pages for arenas where the system has some free.

    Raises:
        UsageError: `arena_size` is not a power of two of at least a page.
    """

    def __cinit__(self, *args, **kwargs):
        self._closed = True
        self._owners = []
        self._arenas = []
        self._registrations = []
        self._pending = deque()
        self._lock = threading.Lock()
        self._forks = _forks

    def __init__(self, Function function not None, *, arena_size=2 << 20, huge_pages=True):
        arena_size = operator.index(arena_size)
        if arena_size < PAGE or arena_size & (arena_size - 1) or arena_size > 1 << 40:
            raise UsageError(f"arena_size must be a power of two and at least {PAGE} bytes, not {arena_size}")
        if self.function is not None:
            raise UsageError("this DmaSpace was set up before")
        self._iova = IovaSpace(function.iova_ranges(), PAGE)
        self._arena_size = arena_size
        self._huge_pages = huge_pages
        self.function = function
        self._closed = False

    def __dealloc__(self):
        free(self.regions)

    def __del__(self):
        if self._closed or self._forks != _forks:
            return
        try:
            self.close()
        except Exception as error:
            _report(error)
        # A command held these, and nobody saw its end.
        for registration in self._registrations:
            _keep(registration)

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
        return self._arena_size

    @property
    def mapped_bytes(self):
        """How many bytes of memory the device reaches."""
        return sum(nbytes for _, nbytes, _ in self.mappings())

    def mappings(self):
        """What the device reaches, as (address, nbytes, iova) by address."""
        return [(<size_t>self.regions[i].address, self.regions[i].nbytes, self.regions[i].iova)
                for i in range(self.nregions)]

    def __repr__(self):
        state = " quarantined" if self._quarantined else ""
        state += " closed" if self._closed else ""
        return f"<DmaSpace of {self.function!r}, {self.nregions} mappings{state}>"

    cdef int _check_open(self) except -1:
        if self._forks != _forks:
            raise UsageError("DMA memory stays with the process that made it: open the controller in the forked one")
        if self._quarantined:
            raise UsageError("the controller was lost: it gets no DMA memory any more")
        if self._closed:
            raise UsageError("the controller is closed: it has no DMA memory any more")
        return 0

    # -- regions ---------------------------------------------------------------------------------------------------------

    cdef Py_ssize_t _find(self, size_t address) noexcept nogil:
        # The region that holds `address`, or -1.
        cdef Region *region
        cdef size_t low = 0, high = self.nregions, middle = self._last
        if middle < high:
            region = self.regions + middle
            if <size_t>region.address <= address and address - <size_t>region.address < region.nbytes:
                return middle
        while low < high:
            middle = (low + high) // 2
            if <size_t>self.regions[middle].address <= address:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            return -1
        region = self.regions + (low - 1)
        if address - <size_t>region.address >= region.nbytes:
            return -1
        self._last = low - 1
        return low - 1

    cdef size_t translate(self, const void *address, size_t nbytes, uint64_t *iova) noexcept nogil:
        cdef Py_ssize_t found = self._find(<size_t>address)
        cdef Region *region
        cdef Region *end = self.regions + self.nregions
        cdef size_t skip, reached
        if found < 0:
            return 0
        region = self.regions + found
        skip = <size_t>address - <size_t>region.address
        iova[0] = region.iova + skip
        reached = region.nbytes - skip
        while reached < nbytes and region + 1 < end:
            if (region[1].address != region.address + region.nbytes
                    or region[1].iova != region.iova + region.nbytes):
                break
            region += 1
            reached += region.nbytes
        return reached if reached < nbytes else nbytes

    def lookup(self, address, nbytes):
        """Where the device finds memory of this process.

        Returns:
            How many bytes from `address` on (at most `nbytes`) it reaches in one piece, and their I/O address; (0, 0)
            if the first byte is not mapped.
        """
        cdef uint64_t iova = 0
        cdef size_t reached = self.translate(<void *><size_t>address, nbytes, &iova)
        return reached, iova

    cdef int _reserve(self, size_t more) except -1:
        # Room in the table before anything is mapped, so that nothing mapped is ever without its entry.
        cdef size_t capacity = max(self._regions_capacity, <size_t>16)
        cdef Region *regions
        while capacity < self.nregions + more:
            capacity *= 2
        if capacity == self._regions_capacity:
            return 0
        regions = <Region *>realloc(self.regions, capacity * sizeof(Region))
        if regions == NULL:
            raise MemoryError("no memory for the table of DMA mappings")
        self.regions = regions
        self._regions_capacity = capacity
        return 0

    cdef _insert(self, object owner):
        cdef _Mapped mapped = <_Mapped?>owner
        cdef size_t index = 0
        cdef Region *region
        while index < self.nregions and self.regions[index].address < mapped.address:
            index += 1
        self._owners.insert(index, mapped)
        region = self.regions + index
        memmove(region + 1, region, (self.nregions - index) * sizeof(Region))
        region.address = mapped.address
        region.nbytes = mapped.nbytes
        region.iova = mapped.iova
        self.nregions += 1

    cdef _remove(self, object owner):
        cdef size_t index = self._owners.index(owner)
        cdef Region *region = self.regions + index
        self.nregions -= 1
        memmove(region, region + 1, (self.nregions - index) * sizeof(Region))
        del self._owners[index]

    def _map(self, _Mapped mapped not None, size_t align, size_t skew, int fd):
        """Maps memory for the device, with its I/O address `skew` bytes from a multiple of `align`; all or nothing."""
        self._reserve(1)
        start = self._iova.take(mapped.nbytes + skew, align)
        if start is None:
            raise MemoryError(f"no I/O addresses left for {mapped.nbytes} bytes of DMA memory")
        mapped.iova_start = start
        mapped.iova_nbytes = mapped.nbytes + skew
        mapped.iova = mapped.iova_start + skew
        try:
            self.function.map_dma(<size_t>mapped.address, mapped.nbytes, mapped.iova, fd=fd, offset=0)
        except BaseException:
            self._iova.give(start, mapped.iova_nbytes)
            raise
        self._insert(mapped)

    def _unmap(self, _Mapped mapped not None):
        """Takes memory from the device, or gives the error; then it is kept for ever, and so are its I/O addresses."""
        self._remove(mapped)
        if self.function.closed:
            # Its mappings went with it.
            return None
        try:
            self.function.unmap_dma(mapped.iova, mapped.nbytes)
        except Exception as error:
            _keep(mapped)
            return error
        self._iova.give(mapped.iova_start, mapped.iova_nbytes)
        return None

    # -- buffers ---------------------------------------------------------------------------------------------------------

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
        nbytes = operator.index(nbytes)
        align = operator.index(align)
        if nbytes <= 0:
            raise UsageError(f"nbytes must be at least 1, not {nbytes}")
        if align <= 0 or align & (align - 1):
            raise UsageError(f"align must be a power of two, not {align}")
        if nbytes > 1 << 48 or align > 1 << 40:
            raise MemoryError(f"no memory for {nbytes} bytes of DMA memory aligned to {align}")
        cdef DmaBuffer buffer
        self._check_open()
        with self._lock:
            self._check_open()
            buffer, fresh = self._cut(nbytes, _round_up(nbytes, _PAGE), max(align, PAGE))
        self._settle()
        if zero and not fresh:
            memset(buffer.address, 0, buffer._reserved)
        return buffer

    def _cut(self, size_t nbytes, size_t reserved, size_t align):
        cdef _Arena arena
        fresh = False
        arena, offset = self._find_room(reserved, align)
        if arena is None:
            fresh = True
            arena = self._new_arena(reserved, align)
            offset = arena.extents.take(reserved, align)
        cdef DmaBuffer buffer = DmaBuffer.__new__(DmaBuffer)
        buffer.space = self
        buffer._arena = arena
        buffer._offset = offset
        buffer._reserved = reserved
        buffer.nbytes = nbytes
        buffer.address = arena.address + buffer._offset
        buffer.iova = arena.iova + buffer._offset
        buffer.closed_ = buffer._freed = False
        arena.buffers += 1
        return buffer, fresh

    def _find_room(self, size_t reserved, size_t align):
        cdef _Arena arena
        if reserved > self._arena_size:
            return None, 0
        for arena in self._arenas:
            if arena.single or arena.align < align or arena.extents.free < reserved:
                continue
            offset = arena.extents.take(reserved, align)
            if offset is not None:
                return arena, offset
        return None, 0

    def _new_arena(self, size_t reserved, size_t align):
        cdef _Arena arena = _Arena.__new__(_Arena)
        arena.single = reserved > self._arena_size
        arena.align = max(align, self._arena_size)
        arena.memory = _Memory(max(reserved, self._arena_size), arena.align, self._huge_pages)
        arena.address = arena.memory.address
        arena.nbytes = arena.memory.nbytes
        arena.extents = Extents()
        arena.extents.give(0, arena.nbytes)
        self._map(arena, arena.align, 0, arena.memory.fd)
        # Whoever maps the file in another process was given it by now; arenas must not use descriptors up.
        arena.memory.close_file()
        self._arenas.append(arena)
        return arena

    def _free(self, _Arena arena not None, size_t offset, size_t nbytes):
        """Gives a buffer's memory back, and its arena if it is empty and another one is."""
        if self._quarantined or arena not in self._arenas:
            return
        arena.extents.give(offset, nbytes)
        arena.buffers -= 1
        if arena.buffers:
            return
        if arena.single or self._has_spare(arena):
            self._arenas.remove(arena)
            error = self._unmap(arena)
            self._complain(error)

    def _has_spare(self, _Arena than):
        cdef _Arena arena
        for arena in self._arenas:
            if arena is not than and arena.buffers == 0 and not arena.single:
                return True
        return False

    def _complain(self, error):
        # A device that was lost is not expected to answer.
        if error is not None and not self._quarantined:
            _report(error)

    # -- what was let go -------------------------------------------------------------------------------------------------

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
            self._free(*item)

    # -- registrations ---------------------------------------------------------------------------------------------------

    def register(self, obj, *, exact=False):
        """Lets the device reach memory that the caller owns, for reads and writes without a copy.

        Whole pages are mapped: the device could also reach what else lies in the first and the last page, which
        nothing asks it to. The memory stays registered until `close()` of what this returns, or of the controller; it
        cannot be resized meanwhile. A process that is forked meanwhile does not have the memory's whole pages.

        Args:
            obj: Any writable C-contiguous buffer: a numpy array, bytearray, mmap, memoryview, ...
            exact: Refuse memory that does not begin and end on a page boundary.

        Returns:
            A `DmaRegistration`.

        Raises:
            UsageError: The memory is read-only, empty, not contiguous, or (with `exact`) not whole pages; or the
                controller is closed.
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
            raise UsageError(f"obj: the device needs memory that is writable and C-contiguous ({error})") from error
        registration._has_view = True
        try:
            self._check_view(registration, exact)
            with self._lock:
                self._check_open()
                self._map_pages(registration)
        except BaseException:
            if registration._runs == 0:
                registration._let_view_go()
            raise
        finally:
            self._settle()
        return registration

    def _check_view(self, DmaRegistration registration, bint exact):
        cdef size_t address = <size_t>registration.view.buf
        cdef size_t nbytes = registration.view.len
        if nbytes == 0:
            raise UsageError("obj has no bytes to register")
        if exact and (address % _PAGE or nbytes % _PAGE):
            raise UsageError(f"obj ({nbytes} bytes at {address:#x}) is not whole pages of {_PAGE} bytes")
        registration._low = address // _PAGE * _PAGE
        registration._high = _round_up(address + nbytes, _PAGE)

    def _map_pages(self, DmaRegistration registration):
        cdef _Mapped mapped
        cdef size_t low
        registration._pages = []
        registration._open = True
        self._registrations.append(registration)
        try:
            for low, high in self._gaps(registration._low, registration._high):
                self._map_run(registration, low, high)
        except BaseException:
            registration._open = False
            self._end(registration)
            raise
        for mapped in self._within(registration._low, registration._high):
            if type(mapped) is _Arena or (<_Run>mapped).creator is not registration:
                mapped.registrations.append(registration)
                registration._pages.append(mapped)

    def _within(self, size_t low, size_t high):
        """The arenas and runs that have a page of [low, high), by address."""
        cdef size_t index
        return [self._owners[index] for index in range(self.nregions)
                if <size_t>self.regions[index].address < high
                and <size_t>self.regions[index].address + self.regions[index].nbytes > low]

    def _gaps(self, size_t low, size_t high):
        cdef _Mapped mapped
        gaps = []
        for mapped in self._within(low, high):
            if low < <size_t>mapped.address:
                gaps.append((low, <size_t>mapped.address))
            low = <size_t>mapped.address + mapped.nbytes
        if low < high:
            gaps.append((low, high))
        return gaps

    def _map_run(self, DmaRegistration registration, size_t low, size_t high):
        cdef _Run run = _Run.__new__(_Run)
        cdef size_t begin = <size_t>registration.view.buf
        run.address = <uint8_t *>low
        run.nbytes = high - low
        if run.nbytes >= _LARGE:
            self._map(run, _LARGE, low % _LARGE, -1)
        else:
            self._map(run, _PAGE, 0, -1)
        run.creator = registration
        run.registrations.append(registration)
        registration._runs += 1
        registration._pages.append(run)
        # Only pages without anybody else's data: a forked child would miss that.
        run.private_low = max(low, _round_up(begin, _PAGE))
        run.private_high = min(high, (begin + <size_t>registration.view.len) // _PAGE * _PAGE)
        if run.private_low < run.private_high:
            madvise(<void *>run.private_low, run.private_high - run.private_low, MADV_DONTFORK)

    def _end(self, DmaRegistration registration not None):
        """Ends a closed registration that no command uses: unmaps the runs that no other one needs."""
        cdef _Mapped mapped
        if registration._done:
            return
        registration._done = True
        self._registrations.remove(registration)
        for mapped in registration._pages:
            mapped.registrations.remove(registration)
            if type(mapped) is _Run and not mapped.registrations and not self._closed:
                error = self._unmap_run(mapped)
                self._complain(error)
        registration._pages = []
        if registration._runs == 0 and not self._quarantined:
            registration._let_view_go()
        registration._tell()

    def _unmap_run(self, _Run run not None):
        cdef DmaRegistration creator = run.creator
        error = self._unmap(run)
        if error is not None or self._quarantined:
            # What is kept refers to its creator, and that to the memory.
            return error
        if run.private_low < run.private_high:
            madvise(<void *>run.private_low, run.private_high - run.private_low, MADV_DOFORK)
        run.creator = None
        creator._runs -= 1
        if creator._runs == 0 and creator._done:
            creator._let_view_go()
        return error

    # -- commands on registered memory -----------------------------------------------------------------------------------

    cpdef object owner_of(self, size_t address):
        cdef Py_ssize_t found = self._find(address)
        cdef DmaRegistration registration
        if found < 0:
            return None
        for registration in (<_Mapped>self._owners[found]).registrations:
            if registration._open and registration._low <= address < registration._high:
                return registration
        return None

    cpdef object hold_at(self, size_t address, size_t nbytes=1):
        """Keeps registered memory mapped for a command.

        Args:
            address: Of the command's memory in this process.
            nbytes: How much of it the command uses.

        Returns:
            What `release_at` is to be given, or None if nothing has to be held.

        Raises:
            UsageError: A part of the memory was registered, and the registration closed.
        """
        cdef size_t end = address + nbytes
        cdef Py_ssize_t found
        cdef DmaRegistration registration
        cdef object first = None
        cdef list others = None
        while address < end:
            found = self._find(address)
            if found < 0:
                break
            registration = self.owner_of(address)
            if registration is None:
                if type(self._owners[found]) is _Run:
                    self.release_at(first if others is None else others)
                    raise UsageError("buf: its registration with this controller was closed: register it again")
                address = <size_t>self.regions[found].address + self.regions[found].nbytes
                continue
            registration.hold()
            address = registration._high
            if first is None:
                first = registration
            elif others is None:
                others = [first, registration]
            else:
                others.append(registration)
        return first if others is None else others

    cpdef object release_at(self, object holder):
        """Takes what `hold_at` gave: the device has let go of the memory."""
        if type(holder) is DmaRegistration:
            (<DmaRegistration>holder).release()
        elif holder is not None:
            for registration in <list?>holder:
                (<DmaRegistration?>registration).release()

    # -- the end ---------------------------------------------------------------------------------------------------------

    def quarantine(self):
        """Withdraws all memory for as long as the process lives, for a device that may still write it.

        Nothing is handed out any more. What is in use may be read and written on; what is let go is never used again.
        """
        with self._lock:
            if self._quarantined:
                return
            self._quarantined = True
            for owner in self._arenas + self._registrations + self._owners:
                _keep(owner)

    def close(self):
        """Unmaps everything: the device reaches no memory any more. May be called twice.

        Memory of buffers that are still in use stays valid in this process. No command may be in flight.

        Raises:
            OSError: The kernel refused to unmap something, which then is never used again; all else was done.
        """
        cdef DmaRegistration registration
        if self._closed or self._forks != _forks:
            return
        errors = []
        with self._lock:
            self._closed = True
            for owner in list(self._owners):
                error = self._unmap_run(owner) if type(owner) is _Run else self._unmap(owner)
                if error is not None and not self._quarantined:
                    errors.append(error)
            self._arenas = []
        for registration in list(self._registrations):
            registration.close()
        self._settle()
        if errors:
            raise errors[0]


# -- what a space hands out ----------------------------------------------------------------------------------------------


cdef class DmaBuffer:
    """Memory that the device reaches: a writable buffer of bytes, from `DmaSpace.alloc`.

    Slice it by `memoryview(buffer)[a:b]`. Use it in a `with` statement, or call `close()`, or drop it: the memory goes
    back when no command, no memoryview and no array uses it any more.

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
        if self._freed or self.space._forks != _forks:
            return
        if self.users > 0:
            # Whoever held it is gone, and the device may have it still.
            _keep(self._arena)
            return
        self._give_back()

    cdef void hold(self) noexcept:
        self.users += 1

    cdef void release(self) noexcept:
        self.users -= 1
        if self.users == 0 and self.closed_:
            self._give_back()

    cdef _give_back(self):
        if self._freed or self.space._forks != _forks:
            return
        self.closed_ = self._freed = True
        self.address = NULL
        arena, self._arena = self._arena, None
        self.space._pending.append((arena, self._offset, self._reserved))
        self.space._settle()

    def close(self):
        """Gives the memory back as soon as no command, memoryview or array uses it. New ones are refused from now on."""
        self.closed_ = True
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
            raise UsageError(f"{self.nbytes} bytes are not a whole number of {dtype} items of {dtype.itemsize} bytes")
        return numpy.frombuffer(self, dtype)

    def __getbuffer__(self, Py_buffer *view, int flags):
        if self.closed_:
            raise BufferError(f"{self!r} cannot be used any more")
        if self.space._forks != _forks:
            raise BufferError("DMA memory stays with the process that made it: a forked one does not have it")
        PyBuffer_FillInfo(view, self, self.address, self.nbytes, 0, flags)
        self.users += 1

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
        self._pages = []

    def __init__(self):
        raise TypeError("a DmaRegistration is made by dma_register()")

    def __dealloc__(self):
        if self._has_view:
            PyBuffer_Release(&self.view)

    cdef void hold(self) noexcept:
        self.users += 1

    cdef void release(self) noexcept:
        self.users -= 1
        if self.users == 0 and not self._open:
            self._finish()

    def _finish(self):
        self.space._pending.append(self)
        self.space._settle()

    cdef _let_view_go(self):
        if self._has_view:
            self._has_view = False
            PyBuffer_Release(&self.view)

    def close(self):
        """Ends the registration: no new command may use it, and the memory is unmapped after the last that does.

        Where a registration of the same pages goes on, a page run stays mapped, and its memory exported, until that ends.
        """
        if not self._open or self.space._forks != _forks:
            return
        self._open = False
        if self.users == 0:
            self._finish()

    async def wait_closed(self):
        """Waits, after `close()`, until no command uses the memory of this registration.

        Raises:
            UsageError: `close()` was not called.
        """
        if self._open:
            raise UsageError(f"{self!r} is open: call close() first")
        if self._done:
            return
        loop = get_running_loop()
        waiter = (loop, loop.create_future())
        self._idle.append(waiter)
        if self._done:
            self._tell()
        await waiter[1]

    cdef _tell(self):
        # The last command may have been another thread's.
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
        return not self._open

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
        state = "" if self._open else " closed"
        return f"<DmaRegistration of {self._high - self._low} bytes at {self._low:#x}{state}>"


def _wake(future):
    if not future.done():
        future.set_result(None)


# -- for tests, in the place of commands ---------------------------------------------------------------------------------


def hold(DmaBuffer buffer not None):
    """Holds a buffer as a command does."""
    buffer.hold()


def release(DmaBuffer buffer not None):
    """Lets a buffer go as a command does when the device has let go of it."""
    buffer.release()
