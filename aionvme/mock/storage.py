"""Owns where the blocks are: memory of the machine, or one sparse file for all namespaces."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from aionvme.errors import AddressError

if TYPE_CHECKING:
    from aionvme.mock.options import MockOptions, NamespaceConfig
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
        self._shelf = shelf
        self._path = options.storage
        self._fd = -1
        self._places: dict[
            int, tuple[int, int]
        ] = {}  # by namespace: where in the file, and the byte behind it
        if options.storage is not None:
            self._fd = _open(options.storage)

    def place(self, nsid: int, config: NamespaceConfig) -> None:
        """Gives a namespace room: the first gap that is large enough."""
        offset = 0
        for start, end in sorted(self._places.values()):
            if start - offset >= config.stored:
                break
            offset = end
        end = offset + config.stored
        self._grow(end)
        shelf = self._shelf
        shelf.add(nsid, config.lba.bit_length() - 1, config.nblocks, self._fd, offset)
        if config.metadata:
            shelf.add_metadata(
                nsid, config.metadata, config.extended, config.pi, config.pi_bytes if config.pi else 0,
                config.pi_offset, config.sts,
            )  # fmt: skip
        self._places[nsid] = (offset, end)

    def _grow(self, nbytes: int) -> None:
        if self._fd < 0:
            return
        try:
            if os.fstat(self._fd).st_size < nbytes:
                os.ftruncate(self._fd, nbytes)
        except OSError as error:
            raise _no_storage(self._path, error) from error

    def remove(self, nsid: int) -> None:
        """Its room is free."""
        self._shelf.remove(nsid)
        del self._places[nsid]

    def close(self) -> None:
        """Closes the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
