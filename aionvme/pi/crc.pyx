# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The CRCs of the three guards, over many blocks in one call and without the interpreter's lock.

Sixteen bytes are taken at a time, with a table for each of their places: entry [k][b] is what the byte b leaves in the
register when k more bytes follow it. The speed is the same for a short block as for a long one. CRC-32C is left to the
processor where that has an instruction for it.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "crc32c.h" nogil:
    int aio_has_crc32c()
    uint64_t aio_crc32c(uint64_t crc, const uint8_t *at, size_t nbytes)
    void aio_crc32c_three(uint64_t *crcs, const uint8_t *const *at, size_t nbytes)

__all__ = ["CRC16", "CRC32C", "CRC32C_BY_TABLE", "CRC64", "guards"]

CRC16 = 0
CRC32C = 1
CRC64 = 2
# What CRC32C is where the processor has no instruction.
CRC32C_BY_TABLE = 3

cdef enum:
    SLICES = 16

ctypedef uint16_t (*Table16)[256]
ctypedef uint64_t (*Table)[256]

# CRC-16 T10-DIF (SBC-4): polynomial 8BB7h, most significant bit first, the register starts at 0.
cdef uint16_t t10dif_table[SLICES][256]
# CRC-32C and the CRC-64 of NVM Command Set 1.0, 5.2.1.3.4: least significant bit first, so the polynomials are
# reflected; the register starts as all ones and is inverted at the end.
cdef uint64_t castagnoli_table[SLICES][256]
cdef uint64_t nvme_table[SLICES][256]


cdef void fill_t10dif() noexcept nogil:
    cdef int byte, _step, k
    cdef unsigned int crc
    for byte in range(256):
        crc = byte << 8
        for _step in range(8):
            crc = (crc << 1) ^ (0x18BB7 if crc & 0x8000 else 0)
        t10dif_table[0][byte] = <uint16_t>crc
    for k in range(1, SLICES):
        for byte in range(256):
            crc = t10dif_table[k - 1][byte]
            t10dif_table[k][byte] = <uint16_t>(crc << 8) ^ t10dif_table[0][crc >> 8]


cdef void fill_reflected(Table table, uint64_t polynomial) noexcept nogil:
    cdef int byte, _step, k
    cdef uint64_t crc
    for byte in range(256):
        crc = byte
        for _step in range(8):
            crc = (crc >> 1) ^ (polynomial if crc & 1 else 0)
        table[0][byte] = crc
    for k in range(1, SLICES):
        for byte in range(256):
            crc = table[k - 1][byte]
            table[k][byte] = (crc >> 8) ^ table[0][crc & 0xFF]


fill_t10dif()
fill_reflected(castagnoli_table, 0x82F63B78)  # 1EDC6F41h
fill_reflected(nvme_table, 0x9A6C9329AC4BC9B5)  # AD93D23594C93659h

cdef bint by_instruction = aio_has_crc32c()


cdef uint64_t t10dif(uint64_t crc, const uint8_t *at, Py_ssize_t left) noexcept nogil:
    cdef Table16 t = t10dif_table
    while left >= SLICES:
        crc = (
            t[15][at[0] ^ (crc >> 8)] ^ t[14][at[1] ^ (crc & 0xFF)]
            ^ t[13][at[2]] ^ t[12][at[3]] ^ t[11][at[4]] ^ t[10][at[5]] ^ t[9][at[6]] ^ t[8][at[7]]
            ^ t[7][at[8]] ^ t[6][at[9]] ^ t[5][at[10]] ^ t[4][at[11]]
            ^ t[3][at[12]] ^ t[2][at[13]] ^ t[1][at[14]] ^ t[0][at[15]]
        )
        at += SLICES
        left -= SLICES
    while left > 0:
        crc = ((crc << 8) & 0xFFFF) ^ t[0][at[0] ^ (crc >> 8)]
        at += 1
        left -= 1
    return crc


cdef uint64_t reflected(Table t, uint64_t crc, const uint8_t *at, Py_ssize_t left) noexcept nogil:
    cdef uint64_t a, b
    while left >= SLICES:
        # Little endian, as all hosts are that this package is for.
        memcpy(&a, at, 8)
        memcpy(&b, at + 8, 8)
        a ^= crc
        crc = (
            t[15][a & 0xFF] ^ t[14][a >> 8 & 0xFF] ^ t[13][a >> 16 & 0xFF] ^ t[12][a >> 24 & 0xFF]
            ^ t[11][a >> 32 & 0xFF] ^ t[10][a >> 40 & 0xFF] ^ t[9][a >> 48 & 0xFF] ^ t[8][a >> 56]
            ^ t[7][b & 0xFF] ^ t[6][b >> 8 & 0xFF] ^ t[5][b >> 16 & 0xFF] ^ t[4][b >> 24 & 0xFF]
            ^ t[3][b >> 32 & 0xFF] ^ t[2][b >> 40 & 0xFF] ^ t[1][b >> 48 & 0xFF] ^ t[0][b >> 56]
        )
        at += SLICES
        left -= SLICES
    while left > 0:
        crc = (crc >> 8) ^ t[0][(crc ^ at[0]) & 0xFF]
        at += 1
        left -= 1
    return crc


cdef inline uint64_t castagnoli(uint64_t crc, const uint8_t *at, Py_ssize_t left) noexcept nogil:
    if by_instruction:
        return aio_crc32c(crc, at, left)
    return reflected(&castagnoli_table[0], crc, at, left)


cdef uint32_t crc32c(const uint8_t *data, size_t nbytes) noexcept nogil:
    return <uint32_t>castagnoli(0xFFFFFFFF, data, nbytes) ^ <uint32_t>0xFFFFFFFF


cdef void crc32c_each(const uint8_t *const *blocks, size_t count, size_t nbytes, uint32_t *out) noexcept nogil:
    cdef uint64_t[3] crcs
    cdef size_t done = 0
    cdef int i
    while by_instruction and count - done >= 3:
        for i in range(3):
            crcs[i] = 0xFFFFFFFF
        aio_crc32c_three(crcs, blocks + done, nbytes)
        for i in range(3):
            out[done + i] = <uint32_t>crcs[i] ^ <uint32_t>0xFFFFFFFF
        done += 3
    while done < count:
        out[done] = crc32c(blocks[done], nbytes)
        done += 1


cdef uint64_t over(
    int kind, const uint8_t *data, Py_ssize_t length, const uint8_t *tail, Py_ssize_t tail_length
) noexcept nogil:
    cdef Table table = &castagnoli_table[0]
    cdef uint64_t ones = 0xFFFFFFFF
    if kind == 0:
        return t10dif(t10dif(0, data, length), tail, tail_length)
    if kind == 1:
        return castagnoli(castagnoli(ones, data, length), tail, tail_length) ^ ones
    if kind == 2:
        table = &nvme_table[0]
        ones = <uint64_t>0xFFFFFFFFFFFFFFFF
    return reflected(table, reflected(table, ones, data, length), tail, tail_length) ^ ones


def guards(
    int kind,
    const uint8_t[::1] data not None,
    Py_ssize_t stride,
    Py_ssize_t length,
    const uint8_t[::1] tail not None,
    Py_ssize_t tail_stride,
    Py_ssize_t tail_length,
    uint64_t[::1] out not None,
):
    """Write to out[i] the CRC over `length` bytes at data[i * stride] and `tail_length` bytes at tail[i * tail_stride].

    Raises:
        ValueError: An unknown CRC, or the buffers are too short for the length of `out`.
    """
    cdef Py_ssize_t i, count = out.shape[0]
    if kind < 0 or kind > 3:
        raise ValueError(f"there is no CRC {kind}")
    if min(stride, length, tail_stride, tail_length) < 0:
        raise ValueError("a length or stride is negative")
    if count == 0:
        return
    if (count - 1) * stride + length > data.shape[0] or (count - 1) * tail_stride + tail_length > tail.shape[0]:
        raise ValueError(f"the buffers are too short for {count} blocks")
    cdef uint8_t nothing = 0
    cdef const uint8_t *first = &data[0] if data.shape[0] else &nothing
    cdef const uint8_t *first_tail = &tail[0] if tail.shape[0] else &nothing
    with nogil:
        for i in range(count):
            out[i] = over(kind, first + i * stride, length, first_tail + i * tail_stride, tail_length)
