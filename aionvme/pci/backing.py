"""The files behind arenas: shared memory without a name, of huge pages where the system has some to spare."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

import attrs

from aionvme.errors import UsageError
from aionvme.pci.available import available_memory

__all__ = ["HUGE_PAGE", "PAGE", "DoorbellFile", "backing_file", "check_backing_file"]

PAGE = os.sysconf("SC_PAGESIZE")

HUGE_PAGE = 2 << 20

# More than the address space of a process on x86-64 and aarch64 with 48-bit addresses.
_MOST = 1 << 48

_NO_MEMORY = (errno.ENOMEM, errno.ENOSPC, errno.EFBIG)


@attrs.frozen
class DoorbellFile:
    """A file by which a process maps doorbells of a function.

    Attributes:
        fd: The descriptor.
        offset: Where in the file they begin.
        start: Where in BAR 0 that is.
        nbytes: How much may be mapped, whole pages.
    """

    fd: int
    offset: int
    start: int
    nbytes: int


def check_backing_file(fd: int, nbytes: int) -> None:
    """Looks at a file that another process made: it has so much memory, for as long as somebody has it.

    Raises:
        UsageError: It has not, or may shrink, whereupon an access would end this process (SIGBUS).
    """
    about = os.fstat(fd)
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        seals = 0  # It is no file of memory.
    if not stat.S_ISREG(about.st_mode) or not seals & fcntl.F_SEAL_SHRINK or about.st_size < nbytes:
        raise UsageError(
            f"{nbytes} bytes of memory must come by a file of as many that is sealed against shrinking"
        )


def backing_file(nbytes: int, *, huge: bool = True) -> tuple[int, int]:
    """Creates a file of zeroed memory, all of it allocated: no later access fails for want of memory.

    Args:
        nbytes: Whole pages.
        huge: Try 2 MiB pages first, where `nbytes` is at least one.

    Returns:
        The descriptor, which the caller closes, and the file's size: `nbytes`, up to whole huge pages if
        those are used.

    Raises:
        MemoryError: There is not that much memory.
        OSError: The kernel has no such files, or no descriptor is left.
    """
    if nbytes > _MOST:
        raise MemoryError(f"no memory for {nbytes} bytes of DMA memory: no process has that much")
    if huge and nbytes >= HUGE_PAGE:
        size = -(-nbytes // HUGE_PAGE) * HUGE_PAGE
        try:
            return _filled_file(size, os.MFD_HUGETLB | os.MFD_HUGE_2MB), size
        except OSError:
            # No pool of huge pages, or none left: ordinary pages serve as well.
            pass
    # The kernel would fill all memory, and then kill processes, before it refused.
    available = available_memory()
    if nbytes > available:
        raise MemoryError(
            f"no memory for {nbytes} bytes of DMA memory: {available} bytes are available to this process. "
            "Close buffers that are not needed, or raise the limit of its control group (`memory.max`)"
        )
    try:
        return _filled_file(nbytes, 0), nbytes
    except OSError as error:
        if error.errno not in _NO_MEMORY:
            raise
        raise MemoryError(f"no memory for {nbytes} bytes of DMA memory: {error.strerror}") from error


def _filled_file(nbytes: int, flags: int) -> int:
    fd = os.memfd_create("aionvme-dma", flags | os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.posix_fallocate(fd, 0, nbytes)
        # A device in another process gets the descriptor. Shrunk by it, the memory would end this process (SIGBUS).
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(fd)
        raise
    return fd
