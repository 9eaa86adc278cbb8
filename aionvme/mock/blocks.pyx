# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns the blocks: in memory or in a file, with their metadata, and those that can't be read."""

from libc.errno cimport EFAULT, EINTR, errno
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy, memset
from posix.types cimport off_t

from aionvme.mock.client_memory cimport replaced
from aionvme.mock.pointers cimport copy_from_segments, copy_to_segments
from aionvme.mock.rings cimport INTERNAL_ERROR, SUCCESS, Core, Namespace, iovec

cdef extern from "<sys/uio.h>" nogil:
    ssize_t preadv(int fd, const iovec *iov, int count, off_t offset)
    ssize_t pwritev(int fd, const iovec *iov, int count, off_t offset)

cdef extern from "<sys/mman.h>" nogil:
    int MADV_DONTNEED
    int madvise(void *address, size_t nbytes, int advice)

cdef extern from "<fcntl.h>" nogil:
    int FALLOC_FL_PUNCH_HOLE
    int FALLOC_FL_KEEP_SIZE
    int fallocate(int fd, int mode, off_t offset, off_t nbytes)

cdef enum:
    IOV_MAX = 1024
    FAULTS_MOST = 64        # mappings that a client took away during one transfer
    PAGE = 65536            # the largest page of the processors that we run on

cdef uint8_t[65536] _zeroes
memset(_zeroes, 0, sizeof(_zeroes))


# -- transfers -----------------------------------------------------------------------------------------------

cdef int _file_transfer(int fd, iovec *segments, size_t count, uint64_t offset, bint writing) noexcept nogil:
    """Moves all segments (and uses them up); -1 when the file failed, or is shorter than it was made."""
    cdef ssize_t moved
    cdef size_t part
    cdef int faults = 0
    while count:
        part = min(count, <size_t>IOV_MAX)
        moved = (pwritev if writing else preadv)(fd, segments, <int>part, <off_t>offset)
        if moved < 0 and errno == EINTR:
            continue
        if moved < 0 and errno == EFAULT and faults < FAULTS_MOST and replaced(segments.iov_base):
            faults += 1
            continue
        if moved <= 0:
            return -1
        offset += <uint64_t>moved
        while count and <size_t>moved >= segments.iov_len:
            moved -= <ssize_t>segments.iov_len
            segments += 1
            count -= 1
        if moved:
            segments.iov_base = <uint8_t *>segments.iov_base + moved
            segments.iov_len -= <size_t>moved
    return 0


cdef int segments_to_storage(Core *core, Namespace *ns, uint64_t offset) noexcept nogil:
    """What the host sent is stored."""
    if ns.fd < 0:
        copy_from_segments(&core.data, ns.memory + offset)
        return 0
    return _file_transfer(ns.fd, core.data.items, core.data.count, ns.offset + offset, True)


cdef int storage_to_segments(Core *core, Namespace *ns, uint64_t offset) noexcept nogil:
    """The host is sent what is stored; there are no bit buckets where it is a file."""
    if ns.fd < 0:
        copy_to_segments(&core.data, ns.memory + offset)
        return 0
    return _file_transfer(ns.fd, core.data.items, core.data.count, ns.offset + offset, False)


cdef int _transfer(int fd, uint64_t offset, uint8_t *memory, uint8_t *data, size_t nbytes,
                   bint writing) noexcept nogil:
    cdef iovec whole
    if nbytes == 0:
        return 0
    if fd < 0:
        memcpy(memory if writing else data, data if writing else memory, nbytes)
        return 0
    whole.iov_base, whole.iov_len = data, nbytes
    return _file_transfer(fd, &whole, 1, offset, writing)


cdef int read_storage(const Namespace *ns, uint64_t offset, uint8_t *data, size_t nbytes) noexcept nogil:
    """Bytes of a namespace; -1 when its file failed."""
    return _transfer(ns.fd, ns.offset + offset, ns.memory + offset, data, nbytes, False)


cdef int write_storage(const Namespace *ns, uint64_t offset, uint8_t *data, size_t nbytes) noexcept nogil:
    """Stores bytes of a namespace; -1 when its file failed."""
    return _transfer(ns.fd, ns.offset + offset, ns.memory + offset, data, nbytes, True)


# -- metadata ------------------------------------------------------------------------------------------------

cdef void _invert(const Namespace *ns, uint8_t *data, uint64_t nblocks) noexcept nogil:
    """Turns protection information over, as it is stored: what was never written then has FFh there, which
    switches its checks off (NVM 1.0, 5.2.1.4)."""
    cdef uint64_t _i
    cdef uint32_t k
    if ns.pi == 0:
        return
    data += ns.pi_offset
    for _i in range(nblocks):
        for k in range(ns.pi_bytes):
            data[k] ^= 0xFF
        data += ns.meta


cdef int load_metadata(const Namespace *ns, uint64_t lba, uint64_t nblocks, uint8_t *data) noexcept nogil:
    cdef uint64_t offset = lba * ns.meta
    cdef int failed
    failed = _transfer(ns.fd, ns.meta_offset + offset, ns.metadata + offset, data, nblocks * ns.meta, False)
    _invert(ns, data, nblocks)
    return failed


cdef int store_metadata(const Namespace *ns, uint64_t lba, uint64_t nblocks, uint8_t *data) noexcept nogil:
    cdef uint64_t offset = lba * ns.meta
    _invert(ns, data, nblocks)
    return _transfer(ns.fd, ns.meta_offset + offset, ns.metadata + offset, data, nblocks * ns.meta, True)


# -- zeros ---------------------------------------------------------------------------------------------------

cdef void _zero_memory(uint8_t *memory, size_t nbytes) noexcept nogil:
    """Zeros; whole pages of a large range go back to the kernel and are zeros when they are next touched."""
    cdef size_t head = (PAGE - (<size_t>memory & (PAGE - 1))) & (PAGE - 1)
    cdef size_t whole
    if nbytes >= 16 * PAGE:
        whole = (nbytes - head) & ~<size_t>(PAGE - 1)
        if madvise(memory + head, whole, MADV_DONTNEED) == 0:
            memset(memory, 0, head)
            memset(memory + head + whole, 0, nbytes - head - whole)
            return
    memset(memory, 0, nbytes)


cdef int _zero(int fd, uint64_t offset, uint8_t *memory, size_t nbytes) noexcept nogil:
    cdef iovec part
    cdef size_t chunk
    if nbytes == 0:
        return 0
    if fd < 0:
        _zero_memory(memory, nbytes)
        return 0
    if fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, <off_t>offset, <off_t>nbytes) == 0:
        return 0
    while nbytes:
        chunk = min(nbytes, sizeof(_zeroes))
        part.iov_base, part.iov_len = <void *>_zeroes, chunk
        if _file_transfer(fd, &part, 1, offset, True) < 0:
            return -1
        offset += chunk
        nbytes -= chunk
    return 0


cdef int zero_data(Namespace *ns, uint64_t lba, uint64_t nblocks) noexcept nogil:
    cdef uint64_t offset = lba << ns.shift
    return _zero(ns.fd, ns.offset + offset, ns.memory + offset, nblocks << ns.shift)


cdef int deallocate(Namespace *ns, uint64_t lba, uint64_t nblocks) noexcept nogil:
    cdef uint64_t offset = lba * ns.meta
    unmark_bad(ns, lba, nblocks)
    if zero_data(ns, lba, nblocks) < 0:
        return -1
    return _zero(ns.fd, ns.meta_offset + offset, ns.metadata + offset, nblocks * ns.meta)


# -- blocks that can't be read -------------------------------------------------------------------------------

cdef void note_plain(Namespace *ns) noexcept nogil:
    """Whether a read or a write is nothing but a copy."""
    ns.plain = ns.attached
    if ns.meta or ns.nbad or ns.reserved or ns.refused or ns.protected:
        ns.plain = 0


cdef bint any_bad(const Namespace *ns, uint64_t lba, uint64_t nblocks) noexcept nogil:
    """Whether Write Uncorrectable was the last to write one of these."""
    cdef uint64_t i
    if ns.nbad == 0:
        return False
    for i in range(lba, lba + nblocks):
        if ns.bad[i >> 6] >> (i & 63) & 1:
            return True
    return False


cdef uint16_t mark_bad(Namespace *ns, uint64_t lba, uint64_t nblocks) noexcept nogil:
    """These can't be read until they are written."""
    cdef uint64_t i
    if ns.bad == NULL:
        ns.bad = <uint64_t *>calloc((ns.nblocks + 63) // 64, sizeof(uint64_t))
        if ns.bad == NULL:
            return INTERNAL_ERROR
    for i in range(lba, lba + nblocks):
        if not ns.bad[i >> 6] >> (i & 63) & 1:
            ns.bad[i >> 6] |= <uint64_t>1 << (i & 63)
            ns.nbad += 1
    note_plain(ns)
    return SUCCESS


cdef void unmark_bad(Namespace *ns, uint64_t lba, uint64_t nblocks) noexcept nogil:
    """These were written."""
    cdef uint64_t i
    if ns.nbad == 0:
        return
    for i in range(lba, lba + nblocks):
        if ns.bad[i >> 6] >> (i & 63) & 1:
            ns.bad[i >> 6] &= ~(<uint64_t>1 << (i & 63))
            ns.nbad -= 1
    note_plain(ns)
