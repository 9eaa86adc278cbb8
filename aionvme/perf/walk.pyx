# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns where the commands of a workload go: the next LBA, and whether it is read or written."""

import numpy as np

cimport cython
from libc.stdint cimport uint64_t

from aionvme.errors import UsageError


@cython.final
cdef class Walk:
    """The blocks of one queue pair's commands, in the order in which they are sent. The same seed gives the same walk.

    Args:
        first, nblocks: The region, in blocks of the namespace.
        step: Blocks of one command; every command begins at a multiple of it from `first` on.
        random: Any place, each as likely; else one after another, and from the first again.
        read_percent: How many of the commands read, from 0 to 100; which ones is random.
        seed: 64 bits.
        part, parts: Which of several sequential walks it is: each begins in another part of the region.

    Raises:
        UsageError: The region has no room for one command.
    """

    def __init__(self, first, nblocks, step, *, random, read_percent, seed, part=0, parts=1):
        if step < 1 or nblocks < step:
            raise UsageError(f"a region of {nblocks} blocks has no room for a command of {step} blocks")
        if not 0 <= read_percent <= 100:
            raise UsageError(f"read_percent must be from 0 to 100, not {read_percent}")
        if not 0 <= part < parts:
            raise UsageError(f"part must be from 0 to {parts - 1}, not {part}")
        self.first, self.step, self.places = first, step, nblocks // step
        self.at = self.places * part // parts
        self.random = random
        self.read_below = (1 << 32) * read_percent // 100
        self.state = seed

    def take(self, count):
        """The next `count` LBAs, as an array."""
        cdef uint64_t i, number = count
        lbas = np.empty(number, np.uint64)
        cdef uint64_t[::1] view = lbas
        with nogil:
            for i in range(number):
                view[i] = next_lba(self)
        return lbas

    def take_mixed(self, count):
        """The next `count` commands: the LBAs of those that read, and of those that write."""
        cdef uint64_t _i, number = count, lba, nread = 0, nwritten = 0
        reads, writes = np.empty(number, np.uint64), np.empty(number, np.uint64)
        cdef uint64_t[::1] to_read = reads, to_write = writes
        with nogil:
            for _i in range(number):
                lba = next_lba(self)
                if next_writes(self):
                    to_write[nwritten] = lba
                    nwritten += 1
                else:
                    to_read[nread] = lba
                    nread += 1
        return reads[:nread], writes[:nwritten]
