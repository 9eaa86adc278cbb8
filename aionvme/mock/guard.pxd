# Protection information: what a command says of it, making it, checking it.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from aionvme.mock.rings cimport Namespace, Sqe


cdef struct Tags:
    bint action             # PRACT: the controller makes it, or takes it off
    uint32_t checks         # PRCHK: 4 guard, 2 application tag, 1 reference tag
    bint check_storage      # STC
    uint64_t initial        # storage tag, and the reference tag of the first block
    uint16_t app
    uint16_t mask           # bits of the application tag that are compared

cdef Tags tags_of(const Namespace *ns, const Sqe *sqe) noexcept nogil
# Whether these tags can't be for blocks from `lba` on.
cdef uint16_t tags_refused(const Namespace *ns, const Tags *tags, uint64_t lba) noexcept nogil
# Whether the protection information is all of the metadata, and is not transferred.
cdef bint is_stripped(const Namespace *ns, const Tags *tags) noexcept nogil
# Blocks `first` and on of the command; the data of one is `stride` bytes after that of the one before.
cdef void pi_insert(const Namespace *ns, const Tags *tags, const uint8_t *data, size_t stride, uint8_t *meta,
                    uint64_t first, uint64_t nblocks) noexcept nogil
cdef uint16_t pi_check(const Namespace *ns, const Tags *tags, const uint8_t *data, const uint8_t *meta,
                       uint64_t first, uint64_t nblocks) noexcept nogil
