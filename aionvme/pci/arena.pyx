# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, auto_pickle=False
"""Arenas: memory of our own that is mapped for the device in large pieces, and handed out in small ones."""

from aionvme.pci.extents import Extents
from aionvme.pci.mapping cimport Mappings
from aionvme.pci.memory cimport SharedMemory

__all__ = ["Arena", "Arenas"]

# Where arenas are large they are whole 2 MiB: a device in another process may have no use for less (SPDK's leaves such
# memory out, lib/nvmf/vfio_user.c).
cdef size_t _WHOLE = 2 << 20


cdef class Arena(Mapped):
    """Memory of our own that is mapped as a whole."""


cdef class Arenas:
    """The arenas of one function. Whoever calls holds the lock of its mappings.

    Args:
        arena_size: Bytes that are mapped at a time; a power of two. Larger pieces get an arena of their own.
        huge_pages: Use 2 MiB pages where the system has some free.
    """

    def __init__(self, size_t arena_size, bint huge_pages):
        self.arena_size = arena_size
        self._huge_pages = huge_pages
        self._arenas = []

    def take(self, Mappings mappings not None, size_t nbytes, size_t align):
        """Takes `nbytes` (whole pages) at a multiple of `align` (at least a page) on both sides.

        Returns:
            The arena, the offset in it, and whether the memory is fresh, that is all zero.
        """
        cdef Arena arena
        if nbytes <= self.arena_size:
            for arena in self._arenas:
                if arena.single or arena.align < align or arena.extents.free < nbytes:
                    continue
                offset = arena.extents.take(nbytes, align)
                if offset is not None:
                    arena.buffers += 1
                    return arena, offset, False
        arena = self._new(mappings, nbytes, align)
        arena.buffers += 1
        return arena, arena.extents.take(nbytes, align), True

    cdef Arena _new(self, Mappings mappings, size_t nbytes, size_t align):
        cdef Arena arena = Arena.__new__(Arena)
        arena.single = nbytes > self.arena_size
        if self.arena_size > _WHOLE:
            nbytes = (nbytes + _WHOLE - 1) // _WHOLE * _WHOLE
        arena.align = max(align, self.arena_size)
        arena.memory = SharedMemory(max(nbytes, self.arena_size), arena.align, huge=self._huge_pages)
        arena.address = arena.memory.address
        arena.nbytes = arena.memory.nbytes
        arena.extents = Extents()
        arena.extents.give(0, arena.nbytes)
        mappings.map(arena, arena.align, 0, arena.memory.fd)
        # Whoever maps the file in another process was given it by now; arenas must not use descriptors up.
        arena.memory.close_file()
        self._arenas.append(arena)
        return arena

    def give(self, Mappings mappings not None, Arena arena not None, size_t offset, size_t nbytes):
        """Takes memory back, and unmaps its arena if that is empty and another one is, too."""
        arena.extents.give(offset, nbytes)
        arena.buffers -= 1
        if arena.buffers == 0 and (arena.single or self._has_spare(arena)):
            self._arenas.remove(arena)
            mappings.complain(mappings.unmap(arena))

    cdef bint _has_spare(self, Arena than) noexcept:
        cdef Arena arena
        for arena in self._arenas:
            if arena is not than and arena.buffers == 0 and not arena.single:
                return True
        return False

    def clear(self):
        """Forgets all arenas: they are unmapped."""
        self._arenas.clear()
