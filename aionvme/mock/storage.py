"""Owns where the blocks are: memory of the machine, or one sparse file for all namespaces."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aionvme.mock.options import MockOptions, NamespaceConfig
    from aionvme.mock.shelf import Shelf


class Storage:
    """Gives each namespace its storage. A file that is there keeps its content, and grows as needed."""

    def __init__(self, shelf: Shelf, options: MockOptions) -> None:
        self._shelf = shelf
        self._fd = -1
        self._places: dict[
            int, tuple[int, int]
        ] = {}  # by namespace: where in the file, and the byte behind it
        if options.storage is not None:
            self._fd = os.open(options.storage, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def place(self, nsid: int, config: NamespaceConfig) -> None:
        """Gives a namespace room: the first gap that is large enough."""
        offset = 0
        for start, end in sorted(self._places.values()):
            if start - offset >= config.stored:
                break
            offset = end
        end = offset + config.stored
        if self._fd >= 0 and os.fstat(self._fd).st_size < end:
            os.ftruncate(self._fd, end)
        shelf = self._shelf
        shelf.add(nsid, config.lba.bit_length() - 1, config.nblocks, self._fd, offset)
        if config.metadata:
            shelf.add_metadata(
                nsid, config.metadata, config.extended, config.pi, config.pi_bytes if config.pi else 0,
                config.pi_offset, config.sts,
            )  # fmt: skip
        self._places[nsid] = (offset, end)

    def remove(self, nsid: int) -> None:
        """Its room is free."""
        self._shelf.remove(nsid)
        del self._places[nsid]

    def close(self) -> None:
        """Closes the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
