# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns the data that `--verify` writes: each block says where it belongs, and has a checksum over all of it.

A block is its LBA and the run's seed, 8 bytes each, then bytes that follow from both and repeat nowhere, then the
CRC-32C of all before it in the last 4 bytes; little endian. So a block that was moved, mixed from two, cut short or
left from an earlier run shows, without a table of what was written where. What does not show is a write that was lost
over an earlier one of the same run: that block had the same data.
"""

cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from aionvme.errors import UsageError
from aionvme.pi.crc cimport crc32c, crc32c_each

cdef enum:
    CRC_BYTES = 4
    HEAD_BYTES = 16
    TOGETHER = 48       # blocks whose checksums are computed side by side


cdef inline uint64_t _mixed(uint64_t value) noexcept nogil:
    """The finalizer of splitmix64 (Steele, Lea, Flood 2014): neighbours come out unlike."""
    value = (value ^ (value >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    value = (value ^ (value >> 27)) * <uint64_t>0x94D049BB133111EB
    return value ^ (value >> 31)


@cython.final
cdef class Pattern:
    """The data of the blocks of one run.

    Args:
        block_size: Bytes of a block, a multiple of 8, 32 or more.
        seed: 64 bits, another one for each run.
    """

    def __init__(self, block_size, seed):
        if block_size < 2 * HEAD_BYTES or block_size % 8:
            raise UsageError(f"block_size must be a multiple of 8 and 32 or more, not {block_size}")
        self.block_size = block_size
        self.seed = seed

    cdef void fill_at(self, uint8_t *memory, uint64_t lba, uint64_t nblocks) noexcept nogil:
        cdef uint64_t block, word, state
        cdef uint64_t *words
        cdef uint32_t crc
        for block in range(lba, lba + nblocks):
            words = <uint64_t *>memory
            words[0], words[1] = block, self.seed
            state = _mixed(block ^ _mixed(self.seed))
            for word in range(2, self.block_size // 8):
                state = state * <uint64_t>6364136223846793005 + <uint64_t>1442695040888963407
                words[word] = state ^ (state >> 29)
            crc = crc32c(memory, self.block_size - CRC_BYTES)
            memcpy(memory + self.block_size - CRC_BYTES, &crc, CRC_BYTES)
            memory += self.block_size

    cdef void spoil_at(self, uint8_t *memory, uint64_t nblocks) noexcept nogil:
        cdef uint64_t block
        for block in range(nblocks):
            (<uint64_t *>(memory + block * self.block_size))[1] = ~self.seed

    cdef uint64_t first_wrong(self, const uint8_t *memory, const uint64_t *lbas, uint64_t count,
                              uint64_t piece) noexcept nogil:
        cdef const uint8_t *blocks[TOGETHER]
        cdef uint32_t crcs[TOGETHER]
        cdef uint32_t stored
        cdef uint64_t done = 0, at, total = count * piece
        cdef size_t i, together, body = self.block_size - CRC_BYTES
        while done < total:
            together = min(<uint64_t>TOGETHER, total - done)
            for i in range(together):
                blocks[i] = memory + (done + i) * self.block_size
            crc32c_each(blocks, together, body, crcs)
            for i in range(together):
                at = done + i
                memcpy(&stored, blocks[i] + body, CRC_BYTES)
                if (stored != crcs[i] or (<const uint64_t *>blocks[i])[0] != lbas[at // piece] + at % piece
                        or (<const uint64_t *>blocks[i])[1] != self.seed):
                    return at
            done += together
        return total

    cdef str describe(self, const uint8_t *memory, uint64_t lba):
        cdef uint64_t there = (<const uint64_t *>memory)[0], seed = (<const uint64_t *>memory)[1]
        cdef uint32_t crc = crc32c(memory, self.block_size - CRC_BYTES), stored
        memcpy(&stored, memory + self.block_size - CRC_BYTES, CRC_BYTES)
        if crc != stored:
            if there == lba and seed == self.seed:
                return f"LBA {lba} has its own head, but its CRC-32C is {crc:#010x} where {stored:#010x} is stored"
            if all([memory[i] == memory[0] for i in range(self.block_size)]):
                return f"LBA {lba} holds nothing but bytes {memory[0]:#04x}"
            return f"LBA {lba} holds data that this run did not write"
        if seed != self.seed:
            return f"LBA {lba} holds what another run wrote for LBA {there}"
        return f"LBA {lba} holds the data of LBA {there}"

    def fill(self, uint8_t[::1] memory not None, lba):
        """Makes the data of as many blocks as the memory has room for.

        Args:
            memory: Whole blocks.
            lba: The first.

        Raises:
            UsageError: It is no whole number of blocks.
        """
        cdef uint64_t first = lba, nblocks = _count(self, memory.shape[0])
        if nblocks:
            with nogil:
                self.fill_at(&memory[0], first, nblocks)

    def fill_of(self, uint8_t[::1] memory not None, const uint64_t[::1] lbas not None, nblocks):
        """As `fill`, for pieces of `nblocks` blocks that are one behind the other, from these LBAs on.

        Raises:
            UsageError: The memory is shorter than the pieces.
        """
        cdef uint64_t piece = nblocks
        cdef size_t i, count = lbas.shape[0]
        _check_pieces(self, memory.shape[0], count, piece)
        with nogil:
            for i in range(count):
                self.fill_at(&memory[i * piece * self.block_size], lbas[i], piece)

    def spoil(self, uint8_t[::1] memory not None):
        """Makes every block in memory wrong, so that a read which moves nothing shows."""
        cdef uint64_t nblocks = _count(self, memory.shape[0])
        if nblocks:
            self.spoil_at(&memory[0], nblocks)

    def wrong(self, const uint8_t[::1] memory not None, lba):
        """What is wrong with the first block that is not as written, in words; None where all are right."""
        cdef uint64_t first = lba, nblocks = _count(self, memory.shape[0]), at
        if nblocks == 0:
            return None
        with nogil:
            at = self.first_wrong(&memory[0], &first, 1, nblocks)
        return None if at == nblocks else self.describe(&memory[at * self.block_size], first + at)

    def wrong_of(self, const uint8_t[::1] memory not None, const uint64_t[::1] lbas not None, nblocks):
        """As `wrong`, for pieces of `nblocks` blocks that are one behind the other, from these LBAs on.

        Raises:
            UsageError: The memory is shorter than the pieces.
        """
        cdef uint64_t piece = nblocks, count = lbas.shape[0], at
        if piece == 0 or count == 0:
            return None
        _check_pieces(self, memory.shape[0], count, piece)
        with nogil:
            at = self.first_wrong(&memory[0], &lbas[0], count, piece)
        if at == count * piece:
            return None
        return self.describe(&memory[at * self.block_size], lbas[at // piece] + at % piece)


cdef uint64_t _count(Pattern pattern, size_t nbytes) except? 0:
    if nbytes % pattern.block_size:
        raise UsageError(f"{nbytes} bytes are no whole number of blocks of {pattern.block_size} bytes")
    return nbytes // pattern.block_size


cdef int _check_pieces(Pattern pattern, size_t nbytes, uint64_t count, uint64_t piece) except -1:
    if count * piece * pattern.block_size > nbytes:
        raise UsageError(f"{nbytes} bytes of memory do not hold {count} pieces of {piece * pattern.block_size} bytes")
    return 0
