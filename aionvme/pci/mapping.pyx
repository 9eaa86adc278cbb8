# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What one function reaches of this process, at which I/O addresses; and pages that several have mapped.

Regions are kept sorted in a C array, where `translate` finds a command's addresses: without the GIL, without a lock,
and without a store, so that threads which look at once do not wait for each other.

Memory that others own may be asked for twice, in parts that overlap, but what one `map_dma` gave can only be
unmapped as a whole. So each asker (`Sharer`) has only those runs of its pages mapped that are not yet, each
by itself, and shares the others. A run is unmapped when its last sharer ends. Until then the memory of the
one that it was mapped for is kept, since the pages of a run must not change their meaning while a device
reaches them.
"""

import threading

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove
from posix.mman cimport MADV_DOFORK, MADV_DONTFORK, madvise

from aionvme.errors import UsageError
from aionvme.pci.backing import PAGE
from aionvme.pci.iova import IovaSpace
from aionvme.pci.memory cimport keep, report
from aionvme.pci.shared cimport (
    aio_read_begin, aio_read_was_disturbed, aio_shared_add, aio_shared_swap, aio_write_begin, aio_write_end,
)

__all__ = ["Mapped", "Mappings", "Run", "Sharer"]

cdef size_t _PAGE = PAGE

# A run of at least this length has its I/O address as far from a 2 MiB boundary as its address is: large
# pages match.
cdef size_t _LARGE = 2 << 20


cdef Py_ssize_t _find_in(const Table *table, size_t address) noexcept nogil:
    cdef const Region *regions = table.regions
    cdef size_t low = 0, high = table.count, middle
    while low < high:
        middle = (low + high) // 2
        if <size_t>regions[middle].address <= address:
            low = middle + 1
        else:
            high = middle
    if low == 0 or address - <size_t>regions[low - 1].address >= regions[low - 1].nbytes:
        return -1
    return low - 1


cdef size_t _reach(const Table *table, size_t address, size_t nbytes, uint64_t *iova) noexcept nogil:
    # As `Mappings.translate`.
    cdef Py_ssize_t found = _find_in(table, address)
    cdef const Region *region
    cdef const Region *end = table.regions + table.count
    cdef size_t skip, reached
    if found < 0:
        return 0
    region = table.regions + found
    skip = address - <size_t>region.address
    iova[0] = region.iova + skip
    reached = region.nbytes - skip
    while reached < nbytes and region + 1 < end:
        if (region[1].address != region.address + region.nbytes
                or region[1].iova != region.iova + region.nbytes):
            break
        region += 1
        reached += region.nbytes
    return reached if reached < nbytes else nbytes


cdef class Mapped:
    """What one `map_dma` gave: a region, and the sharers whose pages are a part of it."""

    def __cinit__(self):
        self.sharers = []


cdef class Run(Mapped):
    """A run of pages that others own."""

    cdef void keep_from_children(self, size_t low, size_t high) noexcept:
        # A page that a forked child does not have is not copied when it is written. The child would miss what
        # else lies in a page, hence only pages that are the sharer's alone. Not vital, so a kernel that
        # refuses is no error.
        self.private_low = max(low, <size_t>self.address)
        self.private_high = min(high, <size_t>self.address + self.nbytes)
        if self.private_low < self.private_high:
            madvise(<void *>self.private_low, self.private_high - self.private_low, MADV_DONTFORK)

    cdef void give_to_children(self) noexcept:
        if self.private_low < self.private_high:
            madvise(<void *>self.private_low, self.private_high - self.private_low, MADV_DOFORK)


cdef class Sharer:
    """Somebody who wants pages mapped that may be mapped for others already."""

    def __cinit__(self, *args, **kwargs):
        self.pages = []

    cdef void hold(self) noexcept:
        aio_shared_add(&self.users, 1)

    cdef void release(self) noexcept:
        if aio_shared_add(&self.users, -1) == 0 and not self.open_:
            self.finish()

    cdef bint shut(self) noexcept:
        # Not open any more. Whether it was; if no command uses it either, it is finished.
        if not aio_shared_swap(&self.open_, False):
            return False
        if self.users == 0:
            self.finish()
        return True

    cdef finish(self):
        pass

    cdef let_memory_go(self):
        pass


cdef class Mappings:
    """The mappings of one function. Whoever changes them holds a lock; who looks at them, or holds a part, does not.

    The table is for `translate`. What else is kept of mappings is changed and looked at within a critical section of
    this object, which is the GIL where there is one.

    Args:
        function: The function. Its `iova_ranges()` are ours to choose from. `map_dma` may use the descriptor
            that it is given during the call only.
    """

    def __cinit__(self, *args, **kwargs):
        self._owners = []
        self._lock = threading.Lock()

    def __init__(self, Function function not None):
        self._iova = IovaSpace(function.iova_ranges(), PAGE)
        self.function = function

    def __dealloc__(self):
        cdef Table *table = self._table
        while table != NULL:
            self._table = table.smaller
            free(table)
            table = self._table

    def mappings(self):
        """What the device reaches, as (address, nbytes, iova) by address."""
        cdef Region *region
        cdef Py_ssize_t i
        cdef list found = []
        with cython.critical_section(self):
            for i in range(len(self._owners)):
                region = self._table.regions + i
                found.append((<size_t>region.address, region.nbytes, region.iova))
        return found

    def reserve_iova(self, nbytes):
        """Takes I/O addresses out of use, for something of the device's own that it finds there. They do not come back.

        Args:
            nbytes: How many; they begin at a multiple of the next power of two, for devices that want that.

        Raises:
            MemoryError: So many are not left.
        """
        with self._lock:
            iova = self._iova.take(-(-nbytes // PAGE) * PAGE, 1 << max(nbytes - 1, PAGE - 1).bit_length())
        if iova is None:
            raise MemoryError(f"{nbytes} bytes of I/O addresses are not left")
        return iova

    # -- where the device finds memory -----------------------------------------------------------------------

    cdef Py_ssize_t _find(self, size_t address) noexcept nogil:
        # The region that holds `address`, or -1. For who keeps others from changing the table.
        return -1 if self._table == NULL else _find_in(self._table, address)

    cdef size_t translate(self, const void *address, size_t nbytes, uint64_t *iova) noexcept nogil:
        cdef uint32_t version
        cdef size_t reached
        while True:
            version = aio_read_begin(&self._version)
            reached = 0 if self._table == NULL else _reach(self._table, <size_t>address, nbytes, iova)
            if not aio_read_was_disturbed(&self._version, version):
                return reached

    def lookup(self, address, nbytes):
        """Where the device finds memory of this process.

        Returns:
            How many bytes from `address` on (at most `nbytes`) it reaches in one piece, and their I/O
            address; (0, 0) if the first byte is not mapped.
        """
        cdef uint64_t iova = 0
        cdef size_t reached = self.translate(<void *><size_t>address, nbytes, &iova)
        return reached, iova

    # -- mapping and unmapping -------------------------------------------------------------------------------

    cdef int map(self, Mapped mapped, size_t align, size_t skew, int fd) except -1:
        # All or nothing; the I/O address is `skew` bytes from a multiple of `align`.
        self._reserve()
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
        return 0

    cdef object unmap(self, Mapped mapped):
        # Gives the error, if there is one; the memory is then kept for ever, and so are its I/O addresses.
        self._remove(mapped)
        if self.function.closed:
            # Its mappings went with it.
            return None
        try:
            self.function.unmap_dma(mapped.iova, mapped.nbytes)
        except Exception as error:
            keep(mapped)
            return error
        if mapped.iova_nbytes:
            self._iova.give(mapped.iova_start, mapped.iova_nbytes)
        return None

    cdef complain(self, object error):
        # A device that was lost is not expected to answer.
        if error is not None and not self._quarantined:
            report(error)

    cdef int _reserve(self) except -1:
        # Room in the table before anything is mapped, so that nothing mapped is ever without its entry. All smaller
        # tables together are no larger than this one, and are kept.
        cdef Table *old = self._table
        cdef Table *table
        cdef size_t capacity = 16 if old == NULL else 2 * old.capacity
        if old != NULL and old.count < old.capacity:
            return 0
        table = <Table *>malloc(sizeof(Table) + capacity * sizeof(Region))
        if table == NULL:
            raise MemoryError("no memory for the table of DMA mappings")
        table.regions = <Region *>(table + 1)
        table.capacity, table.count, table.smaller = capacity, 0, old
        if old != NULL:
            table.count = old.count
            memcpy(table.regions, old.regions, old.count * sizeof(Region))
        with cython.critical_section(self):
            aio_write_begin(&self._version)
            self._table = table
            aio_write_end(&self._version)
        return 0

    cdef _insert(self, Mapped mapped):
        cdef Table *table = self._table
        cdef size_t index = table.count
        cdef Region *region
        while index > 0 and table.regions[index - 1].address > mapped.address:
            index -= 1
        region = table.regions + index
        with cython.critical_section(self):
            self._owners.insert(index, mapped)
            aio_write_begin(&self._version)
            memmove(region + 1, region, (table.count - index) * sizeof(Region))
            region.address = mapped.address
            region.nbytes = mapped.nbytes
            region.iova = mapped.iova
            table.count += 1
            aio_write_end(&self._version)
            mapped.alive = True

    cdef _remove(self, Mapped mapped):
        cdef Py_ssize_t index = self._find(<size_t>mapped.address)
        cdef Region *region
        if index < 0:
            raise KeyError("not mapped")
        region = self._table.regions + index
        with cython.critical_section(self):
            mapped.alive = False
            aio_write_begin(&self._version)
            self._table.count -= 1
            memmove(region, region + 1, (self._table.count - index) * sizeof(Region))
            aio_write_end(&self._version)
            del self._owners[index]

    # -- pages of others -------------------------------------------------------------------------------------

    cdef share(self, Sharer sharer, size_t private_low, size_t private_high):
        # Has all pages of the sharer mapped, or after an error none but those that others have.
        cdef Mapped mapped
        cdef Run run
        try:
            for low, high in self._gaps(sharer.low, sharer.high):
                run = self.map_run(low, high)
                run.creator = sharer
                self._add_sharer(run, sharer)
                run.keep_from_children(private_low, private_high)
                sharer.runs += 1
        except BaseException:
            self.unshare(sharer)
            raise
        for mapped in self._within(sharer.low, sharer.high):
            if sharer not in mapped.sharers:
                self._add_sharer(mapped, sharer)

    cdef _add_sharer(self, Mapped mapped, Sharer sharer):
        with cython.critical_section(self):
            mapped.sharers.append(sharer)
        sharer.pages.append(mapped)

    cdef unshare(self, Sharer sharer):
        cdef Mapped mapped
        sharer.ended = True
        pages, sharer.pages = sharer.pages, []
        for mapped in pages:
            with cython.critical_section(self):
                mapped.sharers = [each for each in mapped.sharers if each is not sharer]
            if type(mapped) is Run and mapped.alive and not mapped.sharers:
                self.complain(self.unmap_run(mapped))
        if sharer.runs == 0 and not self._quarantined:
            sharer.let_memory_go()

    cdef object unmap_run(self, Run run):
        cdef Sharer creator = run.creator
        error = self.unmap(run)
        if error is not None or self._quarantined:
            # What is kept refers to its creator, and that to the memory.
            return error
        run.give_to_children()
        run.creator = None
        creator.runs -= 1
        if creator.runs == 0 and creator.ended:
            creator.let_memory_go()
        return None

    cdef Run map_run(self, size_t low, size_t high):
        cdef Run run = Run.__new__(Run)
        run.address = <uint8_t *>low
        run.nbytes = high - low
        if run.nbytes >= _LARGE:
            self.map(run, _LARGE, low % _LARGE, -1)
        else:
            self.map(run, _PAGE, 0, -1)
        return run

    cdef list _within(self, size_t low, size_t high):
        # The arenas and runs that have a page of [low, high), by address.
        cdef Mapped mapped
        return [mapped for mapped in self._owners
                if <size_t>mapped.address < high and <size_t>mapped.address + mapped.nbytes > low]

    cdef list _gaps(self, size_t low, size_t high):
        cdef Mapped mapped
        cdef list gaps = []
        for mapped in self._within(low, high):
            if low < <size_t>mapped.address:
                gaps.append((low, <size_t>mapped.address))
            low = <size_t>mapped.address + mapped.nbytes
        if low < high:
            gaps.append((low, high))
        return gaps

    # -- commands on pages of others -------------------------------------------------------------------------

    cpdef object owner_of(self, size_t address):
        """The open registration (`Sharer`) that `address` belongs to, or None."""
        cdef size_t beyond = 0
        cdef Sharer sharer = self._hold_one(address, &beyond)
        if sharer is not None:
            sharer.release()
        return sharer

    cdef Sharer _hold_one(self, size_t address, size_t *beyond):
        # Holds the open registration that `address` belongs to; *beyond is where it ends. Where there is none: where
        # the arena ends, `address` if the registration was closed, 0 if it is not mapped.
        cdef Py_ssize_t found
        cdef Mapped mapped
        cdef Sharer sharer
        beyond[0] = 0
        with cython.critical_section(self):
            found = self._find(address)
            if found < 0:
                return None
            mapped = self._owners[found]
            for sharer in mapped.sharers:
                if sharer.low <= address < sharer.high:
                    sharer.hold()
                    # Whoever shuts it now sees that it is held.
                    if sharer.open_:
                        beyond[0] = sharer.high
                        return sharer
                    sharer.release()
            beyond[0] = address if type(mapped) is Run else <size_t>mapped.address + mapped.nbytes
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
        cdef size_t end = address + nbytes, beyond = 0
        cdef Sharer sharer
        cdef list held = None
        cdef object first = None
        while address < end:
            sharer = self._hold_one(address, &beyond)
            if beyond == 0:
                break
            if beyond == address:
                self.release_at(held if held is not None else first)
                raise UsageError("buf: its registration was closed: register it again with this controller")
            address = beyond
            if sharer is None:
                # An arena needs no holding: whatever shows its memory keeps the buffer.
                continue
            if first is None:
                first = sharer
            elif held is None:
                held = [first, sharer]
            else:
                held.append(sharer)
        return held if held is not None else first

    cpdef object release_at(self, object holder):
        """Takes what `hold_at` gave: the device has let go of the memory."""
        cdef Sharer sharer
        if type(holder) is list:
            for sharer in <list>holder:
                sharer.release()
        elif holder is not None:
            (<Sharer?>holder).release()
