# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns the namespaces of a subsystem: their storage, and the lock where several controllers use them."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from posix.mman cimport (
    MAP_ANONYMOUS, MAP_FAILED, MAP_NORESERVE, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, munmap,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from aionvme.errors import UsageError

from aionvme.mock.blocks cimport (
    deallocate, load_metadata, note_plain, read_storage, store_metadata, unmark_bad, write_storage,
)
from aionvme.mock.rings cimport (
    DENY_READ, DENY_WRITE, MEMBERS, Namespace, mock_store, pthread_mutex_destroy, pthread_mutex_init,
    pthread_mutex_lock, pthread_mutex_unlock,
)


cdef void *_reserve(uint64_t nbytes) except NULL:
    cdef void *memory = mmap(NULL, nbytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    if memory == MAP_FAILED:
        raise MemoryError(f"no address space for {nbytes} bytes of a namespace")
    return memory


cdef class Shelf:
    """Namespaces with identifiers 1 to `nn`. `with shelf:` no controller executes a command inside.

    Args:
        nn: How many.
        no_data: Reads and writes of them move no bytes.
    """

    def __cinit__(self, uint32_t nn, bint no_data):
        self.no_data = no_data
        self.namespaces = <Namespace *>calloc(nn, sizeof(Namespace))
        self.nn = nn
        self.mutex_made = pthread_mutex_init(&self.mutex, NULL) == 0
        if self.namespaces == NULL or not self.mutex_made:
            raise MemoryError("no memory for the namespaces of a mock controller")

    def __dealloc__(self):
        if self.namespaces != NULL:
            self.clear()
            free(self.namespaces)
        if self.mutex_made:
            pthread_mutex_destroy(&self.mutex)

    def after_fork(self):
        """In a child process: the lock may be held by a thread that is not there."""
        pthread_mutex_init(&self.mutex, NULL)

    def __enter__(self):
        # Who holds it may ask for the interpreter's lock (remote.pyx).
        with nogil:
            pthread_mutex_lock(&self.mutex)
        return self

    def __exit__(self, *_exc):
        pthread_mutex_unlock(&self.mutex)

    def add(self, uint32_t nsid, uint32_t shift, uint64_t nblocks, int fd, uint64_t offset):
        """Gives a namespace storage: a part of a file, or (`fd` negative) memory, touched when it is used.

        It is attached to no controller. This and what follows up to `refuse` is called while no controller executes
        a command for the namespace: `with subsystem.still():`.
        """
        cdef Namespace *ns = &self.namespaces[nsid - 1]
        if fd < 0:
            ns.memory = <uint8_t *>_reserve(nblocks << shift)
        ns.fd, ns.shift, ns.nblocks, ns.offset = fd, shift, nblocks, offset
        ns.no_data = self.no_data

    def add_metadata(self, uint32_t nsid, uint32_t nbytes, bint extended, uint32_t pi, uint32_t pi_bytes,
                     uint32_t pi_offset, uint32_t sts):
        """Gives each block metadata; in a file it follows the blocks."""
        cdef Namespace *ns = &self.namespaces[nsid - 1]
        ns.meta, ns.extended, ns.pi, ns.pi_bytes, ns.pi_offset = nbytes, extended, pi, pi_bytes, pi_offset
        ns.sts = sts
        ns.meta_offset = ns.offset + (ns.nblocks << ns.shift)
        if ns.fd < 0:
            ns.metadata = <uint8_t *>_reserve(ns.nblocks * nbytes)
        note_plain(ns)

    def remove(self, uint32_t nsid):
        """Takes the storage of a namespace away; there is no such namespace then."""
        cdef Namespace *ns = &self.namespaces[nsid - 1]
        if ns.memory != NULL:
            munmap(ns.memory, ns.nblocks << ns.shift)
        if ns.metadata != NULL:
            munmap(ns.metadata, ns.nblocks * ns.meta)
        free(ns.bad)
        memset(ns, 0, sizeof(Namespace))

    def erase(self, uint32_t nsid):
        """All blocks are as if they had never been written."""
        cdef Namespace *ns = self.find(nsid)
        if deallocate(ns, 0, ns.nblocks) < 0:
            raise OSError("the mock's storage could not be erased")

    def clear(self):
        """Gives the storage of all namespaces back."""
        cdef uint32_t nsid
        for nsid in range(1, self.nn + 1):
            self.remove(nsid)

    def attach(self, uint32_t nsid, uint32_t members):
        """Which controllers have the namespace: a bit each."""
        cdef Namespace *ns = self.find(nsid)
        ns.attached = members
        note_plain(ns)

    def refuse(self, uint32_t nsid, uint32_t status):
        """With which status every I/O command for the namespace ends; 0 for none."""
        cdef Namespace *ns = self.find(nsid)
        ns.refused = <uint16_t>status
        note_plain(ns)

    def reserve(self, uint32_t nsid, uint32_t rtype, list denied):
        """The reservation as it now is, and for each controller whether it denies reading and writing."""
        cdef Namespace *ns = self.find(nsid)
        cdef int i
        with self:
            ns.reserved = rtype
            for i in range(MEMBERS):
                ns.denied[i] = 0
            for i, (reading, writing) in enumerate(denied):
                ns.denied[i] = (DENY_READ if reading else 0) | (DENY_WRITE if writing else 0)
            note_plain(ns)

    def protect(self, uint32_t nsid, bint protected):
        """Whether commands that write are refused."""
        cdef Namespace *ns = self.find(nsid)
        with self:
            ns.protected = protected
            note_plain(ns)

    def preempt(self, uint32_t nsid, list members):
        """These controllers abort what they keep for the namespace (`Engine.preempt` tells them to)."""
        cdef Namespace *ns = self.find(nsid)
        for member in members:
            mock_store(&ns.preempted[<uint32_t>member], 1)

    cdef Namespace *find(self, uint32_t nsid) except NULL:
        if nsid == 0 or nsid > self.nn or self.namespaces[nsid - 1].nblocks == 0:
            raise UsageError(f"there is no namespace {nsid}")
        return &self.namespaces[nsid - 1]

    cdef Namespace *within(self, uint32_t nsid, uint64_t lba, uint64_t nblocks) except NULL:
        cdef Namespace *ns = self.find(nsid)
        if lba > ns.nblocks or nblocks > ns.nblocks - lba:
            raise UsageError(f"{nblocks} blocks at {lba} are not within namespace {nsid} of {ns.nblocks}")
        return ns

    def peek(self, uint32_t nsid, uint64_t lba, uint64_t nblocks):
        """Data of blocks."""
        cdef Namespace *ns = self.within(nsid, lba, nblocks)
        cdef uint64_t nbytes = nblocks << ns.shift
        data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>nbytes)
        if read_storage(ns, lba << ns.shift, <uint8_t *>PyBytes_AS_STRING(data), nbytes) < 0:
            raise OSError("the mock's storage could not be read")
        return data

    def poke(self, uint32_t nsid, uint64_t lba, bytes data):
        """Gives blocks other data; the last may be a part of one."""
        cdef uint64_t nbytes = <uint64_t>len(data)
        cdef uint64_t nblocks
        cdef Namespace *ns = self.find(nsid)
        nblocks = (nbytes + (<uint64_t>1 << ns.shift) - 1) >> ns.shift
        self.within(nsid, lba, nblocks)
        if write_storage(ns, lba << ns.shift, <uint8_t *>PyBytes_AS_STRING(data), nbytes) < 0:
            raise OSError("the mock's storage could not be written")
        unmark_bad(ns, lba, nblocks)

    def bad_ranges(self, uint32_t nsid, uint64_t lba, uint64_t nblocks, uint32_t most):
        """At most so many ranges of blocks that can't be read, as (first block, number of blocks)."""
        cdef Namespace *ns = self.within(nsid, lba, nblocks)
        cdef uint64_t i, begun = 0
        cdef bint within = False
        found = []
        if ns.nbad == 0:
            return found
        for i in range(lba, lba + nblocks):
            if bool(ns.bad[i >> 6] >> (i & 63) & 1) == within:
                continue
            if within:
                found.append((begun, i - begun))
                if <uint32_t>len(found) == most:
                    return found
            begun, within = i, not within
        if within:
            found.append((begun, lba + nblocks - begun))
        return found

    def peek_metadata(self, uint32_t nsid, uint64_t lba, uint64_t nblocks):
        """Metadata of blocks, one after the other."""
        cdef Namespace *ns = self.within(nsid, lba, nblocks)
        data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(nblocks * ns.meta))
        if load_metadata(ns, lba, nblocks, <uint8_t *>PyBytes_AS_STRING(data)) < 0:
            raise OSError("the mock's storage could not be read")
        return data

    def poke_metadata(self, uint32_t nsid, uint64_t lba, bytes data):
        """Gives blocks other metadata."""
        cdef Namespace *ns = self.find(nsid)
        if ns.meta == 0 or len(data) % ns.meta:
            raise UsageError(f"{len(data)} bytes are not the metadata of blocks of namespace {nsid}")
        self.within(nsid, lba, <uint64_t>len(data) // ns.meta)
        copy = bytearray(data)  # it is inverted on its way
        if store_metadata(ns, lba, len(data) // ns.meta, <uint8_t *><char *>copy) < 0:
            raise OSError("the mock's storage could not be written")
