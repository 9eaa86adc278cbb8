# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns the host's memory that there is no pointer to, as a region of a vfio-user client without a descriptor.

Such memory is read and written by asking: `Core.peer` is an object with `read(iova, nbytes) -> bytes` and
`write(iova, data)`, which raise when that failed. They are called with the machine's lock; nobody who has the
interpreter's lock waits for the machine's, so taking the interpreter's here can't be for ever.

While a command is executed, pieces of memory of ours stand for the host's, and all other code sees pointers.
Neighbours are asked for together.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from aionvme.mock.rings cimport DATA_TRANSFER_ERROR, SUCCESS, Core, RemotePiece


cdef int remote_read(Core *core, uint64_t iova, void *data, size_t nbytes) noexcept nogil:
    cdef RemotePiece piece
    piece.iova, piece.memory, piece.nbytes = iova, <uint8_t *>data, nbytes
    with gil:
        return _read(core, &piece, 1)


cdef int remote_write(Core *core, uint64_t iova, const void *data, size_t nbytes) noexcept nogil:
    cdef RemotePiece piece
    piece.iova, piece.memory, piece.nbytes = iova, <uint8_t *>data, nbytes
    with gil:
        return _write(core, &piece, 1)


cdef size_t _total(const RemotePiece *pieces, size_t count) noexcept nogil:
    cdef size_t i, total = 0
    for i in range(count):
        total += pieces[i].nbytes
    return total


cdef int _read(Core *core, const RemotePiece *pieces, size_t count) noexcept:
    """Asks for pieces that are neighbours at the host."""
    cdef const char *data
    cdef size_t i
    if core.peer == NULL:
        return -1
    try:
        answer = (<object>core.peer).read(pieces[0].iova, _total(pieces, count))
        if not isinstance(answer, bytes) or <size_t>len(answer) != _total(pieces, count):
            return -1
    except Exception:
        # Whose connection it is knows of it, and ends it where that is called for.
        return -1
    data = PyBytes_AS_STRING(answer)
    for i in range(count):
        memcpy(pieces[i].memory, data, pieces[i].nbytes)
        data += pieces[i].nbytes
    return 0


cdef int _write(Core *core, const RemotePiece *pieces, size_t count) noexcept:
    cdef char *place
    cdef size_t i
    if core.peer == NULL:
        return -1
    try:
        data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>_total(pieces, count))
        place = PyBytes_AS_STRING(data)
        for i in range(count):
            memcpy(place, pieces[i].memory, pieces[i].nbytes)
            place += pieces[i].nbytes
        (<object>core.peer).write(pieces[0].iova, data)
    except Exception:
        return -1
    return 0


cdef uint8_t *remote_piece(Core *core, uint64_t iova, size_t nbytes, bint sending) noexcept nogil:
    cdef size_t capacity = core.pieces_capacity * 2 if core.pieces_capacity else 16
    cdef RemotePiece *grown
    cdef uint8_t *memory
    if core.npieces == core.pieces_capacity:
        grown = <RemotePiece *>realloc(core.pieces, capacity * sizeof(RemotePiece))
        if grown == NULL:
            return NULL
        core.pieces, core.pieces_capacity = grown, capacity
    memory = <uint8_t *>malloc(nbytes)
    if memory != NULL:
        core.pieces[core.npieces].iova, core.pieces[core.npieces].nbytes = iova, nbytes
        core.pieces[core.npieces].memory, core.pieces[core.npieces].to_host = memory, not sending
        core.npieces += 1
    return memory


cdef size_t _neighbours(const Core *core, size_t first) noexcept nogil:
    """How many pieces from this one on follow one another at the host, and go the same way."""
    cdef size_t i = first + 1
    while (i < core.npieces and core.pieces[i].to_host == core.pieces[first].to_host
           and core.pieces[i].iova - core.pieces[i - 1].iova == core.pieces[i - 1].nbytes):
        i += 1
    return i - first


cdef uint16_t remote_fetch(Core *core, uint16_t status) noexcept nogil:
    cdef size_t count
    while core.nfetched < core.npieces and status == SUCCESS:
        count = _neighbours(core, core.nfetched)
        if not core.pieces[core.nfetched].to_host:
            with gil:
                if _read(core, &core.pieces[core.nfetched], count) < 0:
                    status = DATA_TRANSFER_ERROR
        core.nfetched += count
    return status


cdef uint16_t remote_end(Core *core, uint16_t status) noexcept nogil:
    cdef size_t i = 0, count
    while i < core.npieces and status == SUCCESS:
        count = _neighbours(core, i)
        if core.pieces[i].to_host:
            with gil:
                if _write(core, &core.pieces[i], count) < 0:
                    status = DATA_TRANSFER_ERROR
        i += count
    for i in range(core.npieces):
        free(core.pieces[i].memory)
    core.npieces = core.nfetched = 0
    return status
