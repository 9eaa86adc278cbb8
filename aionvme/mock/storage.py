"""Owns where the blocks are: memory of the machine, or one sparse file for all namespaces."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from aionvme.errors import AddressError

if TYPE_CHECKING:
    from aionvme.mock.options import MockOptions
    from aionvme.mock.shelf import Shelf


def _open(path: str | os.PathLike[str]) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _no_storage(path, error) from error


def _no_storage(path: str | os.PathLike[str] | None, error: OSError) -> AddressError:
    """What becomes of the kernel's error, which is the cause."""
    mends = {
        errno.ENOENT: "make the folder that it is to be in",
        errno.ENOTDIR: "make the folder that it is to be in",
        errno.EISDIR: "name a file, not a folder",
        errno.EACCES: "name a file that you may read and write",
        errno.EPERM: "name a file that you may read and write",
        errno.EROFS: "name a file that you may read and write",
        errno.ENOSPC: "name a file where there is room for all namespaces",
        errno.EFBIG: "name a file where there is room for all namespaces",
    }
    mend = mends.get(error.errno or 0, "name a file that can be read and written at any place")
    return AddressError(f"storage: {os.fspath(path or '')}: {os.strerror(error.errno or 0)}; {mend}")


class Storage:
    """Gives each namespace its storage. A file that is there keeps its content, and grows as needed."""

    def __init__(self, shelf: Shelf, options: MockOptions) -> None:
        self._fd = -1
        if options.storage is not None:
            self._fd = _open(options.storage)
        try:
            self._place(shelf, options)
        except OSError as error:
            self.close()
            raise _no_storage(options.storage, error) from error
        except BaseException:
            self.close()
            raise

    def _place(self, shelf: Shelf, options: MockOptions) -> None:
        offset = 0
        for nsid, config in enumerate(options.namespaces, 1):
            shelf.add(nsid, config.lba.bit_length() - 1, config.nblocks, self._fd, offset, config.active)
            if config.metadata:
                shelf.add_metadata(
                    nsid, config.metadata, config.extended, config.pi, config.pi_bytes if config.pi else 0,
                    config.pi_offset, config.sts,
                )  # fmt: skip
            offset += config.stored
        if self._fd >= 0 and os.fstat(self._fd).st_size < offset:
            os.ftruncate(self._fd, offset)

    def close(self) -> None:
        """Closes the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
