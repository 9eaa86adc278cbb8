# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns protection information as the controller makes and checks it (NVM Command Set 1.0, 5.2)."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from cpython.bytes cimport PyBytes_AS_STRING

from aionvme.mock.rings cimport (
    APP_TAG_ERROR, DNR, GUARD_ERROR, INVALID_PROTECTION, REF_TAG_ERROR, STORAGE_TAG_ERROR, SUCCESS, Namespace,
    Sqe,
)

cdef extern from "../mock/crc.h" nogil:
    void mock_crc_init()
    uint16_t mock_crc16(uint16_t crc, const uint8_t *data, size_t nbytes)
    uint64_t mock_crc64(uint64_t crc, const uint8_t *data, size_t nbytes)

mock_crc_init()

cdef enum:
    CHECK_REF = 1
    CHECK_APP = 2
    CHECK_GUARD = 4


cdef struct Tuple:          # protection information of one block
    uint64_t guard
    uint16_t app
    uint64_t storage
    uint64_t ref


def crc16(bytes data):
    """CRC-16 T10-DIF."""
    return mock_crc16(0, <const uint8_t *>PyBytes_AS_STRING(data), <size_t>len(data))


def crc64(bytes data):
    """CRC-64 NVMe."""
    return mock_crc64(0, <const uint8_t *>PyBytes_AS_STRING(data), <size_t>len(data))


cdef inline uint64_t _take(const uint8_t *bytes, uint32_t count) noexcept nogil:
    """A number, most significant byte first."""
    cdef uint64_t value = 0
    cdef uint32_t i
    for i in range(count):
        value = value << 8 | bytes[i]
    return value


cdef inline void _put(uint8_t *bytes, uint32_t count, uint64_t value) noexcept nogil:
    cdef uint32_t i
    for i in range(count):
        bytes[i] = <uint8_t>(value >> 8 * (count - 1 - i))


cdef inline uint32_t _space(const Namespace *ns) noexcept nogil:
    """Bits that the storage tag and the reference tag have together."""
    return 32 if ns.pi_bytes == 8 else 48


cdef inline uint64_t _ref_mask(const Namespace *ns) noexcept nogil:
    return (<uint64_t>1 << (_space(ns) - ns.sts)) - 1


cdef Tags tags_of(const Namespace *ns, const Sqe *sqe) noexcept nogil:
    """Dwords 12, 14, 15 and, where they have more than 32 bits, 3 (NVM 1.0, 3.2.4)."""
    cdef Tags tags
    tags.action = ns.pi != 0 and sqe.cdw12 >> 29 & 1
    tags.checks = sqe.cdw12 >> 26 & 7
    tags.check_storage = sqe.cdw12 >> 24 & 1
    tags.initial = sqe.cdw14
    if ns.pi_bytes == 16:
        tags.initial |= <uint64_t>(sqe.cdw3 & 0xFFFF) << 32
    tags.app, tags.mask = <uint16_t>sqe.cdw15, <uint16_t>(sqe.cdw15 >> 16)
    return tags


cdef uint16_t tags_refused(const Namespace *ns, const Tags *tags, uint64_t lba) noexcept nogil:
    """Type 1 has the address for a reference tag; type 3 has none to compare (NVM 1.0, 5.2.2)."""
    if ns.pi == 1 and tags.checks & CHECK_REF and (lba ^ tags.initial) & _ref_mask(ns):
        return INVALID_PROTECTION | DNR
    if ns.pi == 3 and tags.checks & CHECK_REF:
        return INVALID_PROTECTION | DNR
    return SUCCESS


cdef bint is_stripped(const Namespace *ns, const Tags *tags) noexcept nogil:
    return ns.pi != 0 and tags.action and ns.meta == ns.pi_bytes


cdef uint64_t _guard(const Namespace *ns, const uint8_t *data, const uint8_t *meta) noexcept nogil:
    """Over the data, and the metadata that precedes the protection information."""
    cdef uint16_t low
    cdef size_t block = <size_t>1 << ns.shift
    if ns.pi_bytes == 16:
        return mock_crc64(mock_crc64(0, data, block), meta, ns.pi_offset)
    low = mock_crc16(0, data, block)
    return mock_crc16(low, meta, ns.pi_offset)


cdef uint64_t _expected_ref(const Namespace *ns, const Tags *tags, uint64_t index) noexcept nogil:
    """It counts up from block to block, but for type 3."""
    return (tags.initial + (index if ns.pi != 3 else 0)) & _ref_mask(ns)


cdef void pi_insert(const Namespace *ns, const Tags *tags, const uint8_t *data, size_t stride, uint8_t *meta,
                    uint64_t first, uint64_t nblocks) noexcept nogil:
    cdef uint64_t i, space
    cdef uint32_t guard_bytes = 2 if ns.pi_bytes == 8 else 8
    cdef uint8_t *info
    for i in range(nblocks):
        info = meta + ns.pi_offset
        space = (tags.initial & ~_ref_mask(ns)) | _expected_ref(ns, tags, first + i)
        _put(info, guard_bytes, _guard(ns, data, meta))
        _put(info + guard_bytes, 2, tags.app)
        _put(info + guard_bytes + 2, _space(ns) // 8, space)
        data += stride
        meta += ns.meta


cdef Tuple _read(const Namespace *ns, const uint8_t *info) noexcept nogil:
    cdef Tuple found
    cdef uint32_t guard_bytes = 2 if ns.pi_bytes == 8 else 8
    cdef uint64_t space = _take(info + guard_bytes + 2, _space(ns) // 8)
    found.guard = _take(info, guard_bytes)
    found.app = <uint16_t>_take(info + guard_bytes, 2)
    found.ref = space & _ref_mask(ns)
    found.storage = space & ~_ref_mask(ns)
    return found


cdef inline bint _escapes(const Namespace *ns, const Tuple *found) noexcept nogil:
    """An application tag of all ones switches the checks off; type 3 wants a reference tag of ones too."""
    return found.app == 0xFFFF and (ns.pi != 3 or found.ref == _ref_mask(ns))


cdef uint16_t pi_check(const Namespace *ns, const Tags *tags, const uint8_t *data, const uint8_t *meta,
                       uint64_t first, uint64_t nblocks) noexcept nogil:
    cdef uint64_t i
    cdef Tuple found
    for i in range(nblocks):
        found = _read(ns, meta + ns.pi_offset)
        if not _escapes(ns, &found):
            if tags.checks & CHECK_GUARD and found.guard != _guard(ns, data, meta):
                return GUARD_ERROR
            if tags.checks & CHECK_APP and (found.app ^ tags.app) & tags.mask:
                return APP_TAG_ERROR
            if tags.check_storage and ns.sts and found.storage != tags.initial & ~_ref_mask(ns):
                return STORAGE_TAG_ERROR
            if tags.checks & CHECK_REF and found.ref != _expected_ref(ns, tags, first + i):
                return REF_TAG_ERROR
        data += <size_t>1 << ns.shift
        meta += ns.meta
    return SUCCESS
