# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns what a vfio-user server reaches of this process by message, and that it reaches nothing else."""

from libc.errno cimport EINVAL
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

from aionvme.pci.vfio_user.sockets cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock,
)

__all__ = ["Windows"]


cdef class Windows:
    """Pieces of memory by I/O address. Any thread may call."""

    def __cinit__(self):
        pthread_mutex_init(&self._lock, NULL)

    def __dealloc__(self):
        free(self._table)
        pthread_mutex_destroy(&self._lock)

    def open(self, uint64_t iova, uint64_t nbytes, size_t address):
        """Lets the server reach memory of this process by message: `nbytes` at `address`, by the name of `iova` on.

        The memory must stay until `close`.
        """
        cdef Window *windows
        cdef size_t at = 0
        pthread_mutex_lock(&self._lock)
        if self._count == self._capacity:
            windows = <Window *>realloc(self._table, (2 * self._capacity + 16) * sizeof(Window))
            if windows == NULL:
                pthread_mutex_unlock(&self._lock)
                raise MemoryError("no memory for the table of DMA mappings")
            self._table = windows
            self._capacity = 2 * self._capacity + 16
        while at < self._count and self._table[at].iova < iova:
            at += 1
        memmove(self._table + at + 1, self._table + at, (self._count - at) * sizeof(Window))
        self._table[at].iova, self._table[at].nbytes = iova, nbytes
        self._table[at].address = <uint8_t *>address
        self._count += 1
        pthread_mutex_unlock(&self._lock)

    def close(self, uint64_t iova):
        """Takes back what one `open` gave: when it returns, nothing reaches the memory by message."""
        cdef size_t at = 0
        pthread_mutex_lock(&self._lock)
        while at < self._count and self._table[at].iova != iova:
            at += 1
        if at < self._count:
            self._count -= 1
            memmove(self._table + at, self._table + at + 1, (self._count - at) * sizeof(Window))
        pthread_mutex_unlock(&self._lock)

    cdef int reach(self, uint64_t iova, uint64_t nbytes, uint8_t *data, bint write) noexcept nogil:
        # Copies from the windows, or into them; all or nothing. No window goes meanwhile.
        cdef size_t first = 0, at
        cdef uint64_t done = 0, offset, part
        cdef Window *window
        cdef int error = 0
        pthread_mutex_lock(&self._lock)
        while first < self._count and iova - self._table[first].iova >= self._table[first].nbytes:
            first += 1
        at = first
        while done < nbytes:
            if at == self._count:
                error = EINVAL
                break
            offset = iova + done - self._table[at].iova
            if offset >= self._table[at].nbytes:
                error = EINVAL
                break
            done += min(nbytes - done, self._table[at].nbytes - offset)
            at += 1
        done, at = 0, first
        while done < nbytes and not error:
            window = self._table + at
            offset = iova + done - window.iova
            part = min(nbytes - done, window.nbytes - offset)
            if write:
                memcpy(window.address + offset, data + done, part)
            else:
                memcpy(data + done, window.address + offset, part)
            done += part
            at += 1
        pthread_mutex_unlock(&self._lock)
        return error
