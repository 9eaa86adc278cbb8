# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What one function reaches of this process, at which I/O addresses; and pages that several have mapped.

Regions are kept sorted in a C array, where `translate` finds a command's addresses without the GIL.

Memory that others own may be asked for twice, in parts that overlap, but what one `map_dma` gave can only be
unmapped as a whole. So each asker (`Sharer`) has only those runs of its pages mapped that are not yet, each
by itself, and shares the others. A run is unmapped when its last sharer ends. Until then the memory of the
one that it was mapped for is kept, since the pages of a run must not change their meaning while a device
reaches them.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove
from posix.mman cimport MADV_DOFORK, MADV_DONTFORK, madvise

from aionvme.errors import UsageError
from aionvme.pci.backing import PAGE
from aionvme.pci.iova import IovaSpace
from aionvme.pci.memory cimport keep, report

__all__ = ["Mapped", "Mappings", "Run", "Sharer"]

cdef size_t _PAGE = PAGE

# A run of at least this length has its I/O address as far from a 2 MiB boundary as its address is: large
# pages match.
cdef size_t _LARGE = 2 << 20


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
        self.users += 1

    cdef void release(self) noexcept:
        self.users -= 1
        if self.users == 0 and not self.open_:
            self.finish()

    cdef finish(self):
        pass

    cdef let_memory_go(self):
        pass


cdef class Mappings:
    """The mappings of one function. Whoever changes them holds a lock; `translate` takes none.

    While a thread is in `translate` without the GIL, no other may change the mappings.

    Args:
        function: The function. Its `iova_ranges()` are ours to choose from. `map_dma` may use the descriptor
            that it is given during the call only.
    """

    def __cinit__(self, *args, **kwargs):
        self._owners = []

    def __init__(self, Function function not None):
        self._iova = IovaSpace(function.iova_ranges(), PAGE)
        self.function = function

    def __dealloc__(self):
        free(self.regions)

    def mappings(self):
        """What the device reaches, as (address, nbytes, iova) by address."""
        return [(<size_t>self.regions[i].address, self.regions[i].nbytes, self.regions[i].iova)
                for i in range(self.nregions)]

    def reserve_iova(self, nbytes):
        """Takes I/O addresses out of use, for something of the device's own that it finds there. They do not come back.

        Args:
            nbytes: How many; they begin at a multiple of the next power of two, for devices that want that.

        Raises:
            MemoryError: So many are not left.
        """
        iova = self._iova.take(-(-nbytes // PAGE) * PAGE, 1 << max(nbytes - 1, PAGE - 1).bit_length())
        if iova is None:
            raise MemoryError(f"{nbytes} bytes of I/O addresses are not left")
        return iova

    # -- where the device finds memory -----------------------------------------------------------------------

    cdef Py_ssize_t find(self, size_t address) noexcept nogil:
        # The region that holds `address`, or -1.
        cdef Region *region
        cdef size_t low = 0, high = self.nregions, middle = self._last
        if middle < high:
            region = self.regions + middle
            # Below the region the difference wraps, and is more than any length.
            if address - <size_t>region.address < region.nbytes:
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
        cdef Py_ssize_t found = self.find(<size_t>address)
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
        self._iova.give(mapped.iova_start, mapped.iova_nbytes)
        return None

    cdef complain(self, object error):
        # A device that was lost is not expected to answer.
        if error is not None and not self._quarantined:
            report(error)

    cdef int _reserve(self) except -1:
        # Room in the table before anything is mapped, so that nothing mapped is ever without its entry.
        cdef size_t capacity = 2 * self._regions_capacity
        cdef Region *regions
        if self.nregions < self._regions_capacity:
            return 0
        if capacity == 0:
            capacity = 16
        regions = <Region *>realloc(self.regions, capacity * sizeof(Region))
        if regions == NULL:
            raise MemoryError("no memory for the table of DMA mappings")
        self.regions = regions
        self._regions_capacity = capacity
        return 0

    cdef _insert(self, Mapped mapped):
        cdef size_t index = self.nregions
        cdef Region *region
        while index > 0 and self.regions[index - 1].address > mapped.address:
            index -= 1
        self._owners.insert(index, mapped)
        region = self.regions + index
        memmove(region + 1, region, (self.nregions - index) * sizeof(Region))
        region.address = mapped.address
        region.nbytes = mapped.nbytes
        region.iova = mapped.iova
        self.nregions += 1
        mapped.alive = True

    cdef _remove(self, Mapped mapped):
        cdef Py_ssize_t index = self.find(<size_t>mapped.address)
        cdef Region *region = self.regions + index
        if index < 0:
            raise KeyError("not mapped")
        mapped.alive = False
        self.nregions -= 1
        memmove(region, region + 1, (self.nregions - index) * sizeof(Region))
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
                run.sharers.append(sharer)
                run.keep_from_children(private_low, private_high)
                sharer.runs += 1
                sharer.pages.append(run)
        except BaseException:
            self.unshare(sharer)
            raise
        for mapped in self._within(sharer.low, sharer.high):
            if sharer not in mapped.sharers:
                mapped.sharers.append(sharer)
                sharer.pages.append(mapped)

    cdef unshare(self, Sharer sharer):
        cdef Mapped mapped
        sharer.ended = True
        pages, sharer.pages = sharer.pages, []
        for mapped in pages:
            mapped.sharers.remove(sharer)
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
        cdef size_t i
        return [self._owners[i] for i in range(self.nregions)
                if <size_t>self.regions[i].address < high
                and <size_t>self.regions[i].address + self.regions[i].nbytes > low]

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
        cdef Py_ssize_t found = self.find(address)
        cdef Sharer sharer
        if found < 0:
            return None
        for sharer in (<Mapped>self._owners[found]).sharers:
            if sharer.open_ and sharer.low <= address < sharer.high:
                return sharer
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
        cdef Sharer sharer
        cdef list held = None
        cdef object first = None
        while address < end:
            found = self.find(address)
            if found < 0:
                break
            sharer = self.owner_of(address)
            if sharer is None:
                if type(self._owners[found]) is Run:
                    self.release_at(held if held is not None else first)
                    raise UsageError("buf: its registration was closed: register it again with this controller")
                # An arena needs no holding: whatever shows its memory keeps the buffer.
                address = <size_t>self.regions[found].address + self.regions[found].nbytes
                continue
            sharer.hold()
            address = sharer.high
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
