# The blocks of a namespace in memory or in a file, with their metadata.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint64_t

from aionvme.mock.rings cimport Core, Namespace

# Between storage and the segments of the command; -1 when the file failed.
cdef int segments_to_storage(Core *core, Namespace *ns, uint64_t offset) noexcept nogil
cdef int storage_to_segments(Core *core, Namespace *ns, uint64_t offset) noexcept nogil
cdef int read_storage(const Namespace *ns, uint64_t offset, uint8_t *data, size_t nbytes) noexcept nogil
cdef int write_storage(const Namespace *ns, uint64_t offset, uint8_t *data, size_t nbytes) noexcept nogil
cdef int load_metadata(const Namespace *ns, uint64_t lba, uint64_t nblocks, uint8_t *data) noexcept nogil
# Leaves `data` inverted where it is protection information.
cdef int store_metadata(const Namespace *ns, uint64_t lba, uint64_t nblocks, uint8_t *data) noexcept nogil
# Data and metadata as of a block that was never written; -1 when the file failed.
cdef int deallocate(Namespace *ns, uint64_t lba, uint64_t nblocks) noexcept nogil
cdef int zero_data(Namespace *ns, uint64_t lba, uint64_t nblocks) noexcept nogil
cdef bint any_bad(const Namespace *ns, uint64_t lba, uint64_t nblocks) noexcept nogil
cdef uint16_t mark_bad(Namespace *ns, uint64_t lba, uint64_t nblocks) noexcept nogil
cdef void unmark_bad(Namespace *ns, uint64_t lba, uint64_t nblocks) noexcept nogil
cdef void note_plain(Namespace *ns) noexcept nogil
