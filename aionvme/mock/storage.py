"""Owns where the blocks are: memory of the machine, or one sparse file for all namespaces."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aionvme.mock.options import MockOptions
    from aionvme.mock.shelf import Shelf


class Storage:
    """Gives each namespace its storage. A file that is there keeps its content, and grows as needed."""

    def __init__(self, shelf: Shelf, options: MockOptions) -> None:
        self._fd = -1
        if options.storage is not None:
            self._fd = os.open(options.storage, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._place(shelf, options)
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
