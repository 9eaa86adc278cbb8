"""Owns memory that every controller reaches, as SPDK's `spdk_zmalloc` gives it.

Memory of ours belongs to one controller: `ctrlr.dma_alloc`. Memory of SPDK's belongs to none: what is allocated here is
registered with a controller when a command first names it there, and stays registered until it is freed or the
controller is detached. No command pays for that but the one that is refused for it, and is made again.
"""

from __future__ import annotations

import bisect
import contextlib
import errno
import mmap
import threading
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from aionvme.errors import UsageError
from aionvme.spdk.constants import SPDK_ENV_NUMA_ID_ANY, SPDK_MALLOC_DMA
from aionvme.spdk.failing import FAILURES, errno_of

if TYPE_CHECKING:
    from aionvme import Controller, DmaRegistration

PAGE = mmap.PAGESIZE


def place_of(part: Any) -> tuple[int, int] | None:
    """Address and length of a buffer, or of an (address, length) pair; None where there is no memory."""
    if isinstance(part, tuple):
        address, nbytes = part
        return None if address is None else (address, nbytes)
    array = np.frombuffer(part, np.uint8) if memoryview(part).nbytes else None
    return None if array is None else (array.ctypes.data, array.nbytes)


class Memory:
    """Some memory, and with which controllers it is registered."""

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.address = np.frombuffer(view, np.uint8).ctypes.data
        self.nbytes = view.nbytes
        self.registrations: weakref.WeakKeyDictionary[Controller, DmaRegistration] = (
            weakref.WeakKeyDictionary()
        )

    def close(self) -> None:
        """Ends every registration: what is in flight keeps the memory until it ends."""
        for registration in list(self.registrations.values()):
            registration.close()
        self.registrations.clear()


class Registry:
    """All of it, by address. Shared by the threads of the process, as SPDK's memory is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._addresses: list[int] = []
        self._memories: dict[int, Memory] = {}

    def add(self, memory: Memory) -> None:
        """Knows it from now on; `UsageError` where it lies over memory that is known already."""
        with self._lock:
            last = self._find(memory.address + memory.nbytes - 1)
            if last is not None or self._find(memory.address) is not None:
                raise UsageError("this memory is registered already")
            bisect.insort(self._addresses, memory.address)
            self._memories[memory.address] = memory

    def take(self, address: int) -> Memory | None:
        """Takes out the memory that begins there."""
        with self._lock:
            memory = self._memories.pop(address, None)
            if memory is not None:
                self._addresses.remove(address)
            return memory

    def _find(self, address: int) -> Memory | None:
        index = bisect.bisect_right(self._addresses, address)
        if not index:
            return None
        memory = self._memories[self._addresses[index - 1]]
        return memory if address < memory.address + memory.nbytes else None

    def register(self, ctrlr: Controller, parts: Iterable[Any]) -> bool:
        """Registers with a controller what a command names; whether that was anything new."""
        new = False
        for part in parts:
            place = None if part is None else place_of(part)
            if place is None:
                continue
            with self._lock:
                memory = self._find(place[0])
                if memory is not None and ctrlr not in memory.registrations:
                    memory.registrations[ctrlr] = ctrlr.dma_register(memory.view)
                    new = True
        return new

    def forget(self, ctrlr: Controller) -> None:
        """A controller is being detached."""
        with self._lock:
            for memory in self._memories.values():
                registration = memory.registrations.pop(ctrlr, None)
                if registration is not None:
                    registration.close()


REGISTRY = Registry()


def _allocate(size: int, align: int) -> memoryview | None:
    if size <= 0 or align < 0 or align & (align - 1):
        return None
    # Anonymous memory is zero, and begins at a page.
    room = size + max(align - PAGE, 0)
    whole = memoryview(mmap.mmap(-1, room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    start = np.frombuffer(whole, np.uint8).ctypes.data
    skip = -start % align if align else 0
    view = whole[skip : skip + size]
    REGISTRY.add(Memory(view))
    return view


def spdk_zmalloc(
    size: int,
    align: int,
    unused: None = None,
    numa_id: int = SPDK_ENV_NUMA_ID_ANY,
    flags: int = SPDK_MALLOC_DMA,
) -> memoryview | None:
    """Memory of `size` zero bytes that every controller reaches; `spdk_free` gives it back.

    Args:
        size: Bytes.
        align: A power of two, or 0; memory begins at a page in any case.
        unused: As in SPDK.
        numa_id, flags: Taken, and not used.

    Returns:
        A writable `memoryview`, of which slices are payloads too; None for a size or alignment that cannot be.
    """
    with contextlib.suppress(OSError, MemoryError):
        return _allocate(size, align)
    return None


def spdk_malloc(
    size: int,
    align: int,
    unused: None = None,
    numa_id: int = SPDK_ENV_NUMA_ID_ANY,
    flags: int = SPDK_MALLOC_DMA,
) -> memoryview | None:
    """As `spdk_zmalloc`."""
    return spdk_zmalloc(size, align, unused, numa_id, flags)


def spdk_dma_zmalloc(size: int, align: int, unused: None = None) -> memoryview | None:
    """As `spdk_zmalloc`."""
    return spdk_zmalloc(size, align, unused)


def spdk_dma_malloc(size: int, align: int, unused: None = None) -> memoryview | None:
    """As `spdk_zmalloc`."""
    return spdk_zmalloc(size, align, unused)


def spdk_free(buf: memoryview | None) -> None:
    """Gives memory of `spdk_zmalloc` back; None is nothing. Its views stay readable, and are no payloads any more.

    Raises:
        UsageError: It does not begin where memory was given.
    """
    if buf is None:
        return
    place = place_of(buf)
    memory = None if place is None else REGISTRY.take(place[0])
    if memory is None:
        raise UsageError("spdk_free: this is not what spdk_zmalloc gave, or it was freed before")
    memory.close()


def spdk_dma_free(buf: memoryview | None) -> None:
    """As `spdk_free`."""
    spdk_free(buf)


def spdk_mem_register(vaddr: Any, len: int) -> int:
    """Lets every controller reach memory that the caller owns: the first `len` bytes of a writable buffer.

    Returns:
        0; -EINVAL where it is too short, or registered already.
    """
    view = memoryview(vaddr).cast("B")
    if not 0 < len <= view.nbytes:
        return -errno.EINVAL
    try:
        REGISTRY.add(Memory(view[:len]))
    except FAILURES as error:
        return errno_of(error)
    return 0


def spdk_mem_unregister(vaddr: Any, len: int) -> int:
    """Ends `spdk_mem_register` of the same memory; 0, or -EINVAL where there is none such."""
    place = place_of(vaddr)
    memory = None if place is None else REGISTRY.take(place[0])
    if memory is None:
        return -errno.EINVAL
    if memory.nbytes != len:
        REGISTRY.add(memory)
        return -errno.EINVAL
    memory.close()
    return 0
