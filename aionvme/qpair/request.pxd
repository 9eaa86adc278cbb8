# A command as Python sees it: at once a coroutine and a future to asyncio. It knows its owner only as what can wait and
# cancel; rings and slots are the owner's.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from aionvme.qpair.iov cimport Cursor, Segment
from aionvme.qpair.ring cimport Cqe, Sqe


cdef enum RequestState:
    QUEUED = 0          # pieces of it may be in flight; at least one was not yet posted
    IN_FLIGHT = 1       # all that will be posted was posted
    ENDED = 2           # the device has let go of it


# How a request must end, whatever its completion says. A later reason replaces an earlier one only if it is greater.
cdef enum Verdict:
    BY_STATUS = 0
    BY_TIMEOUT = 1
    BY_ERROR = 2        # `error` says which: lost, failed, reset
    BY_CANCEL = 3


# How a command may say where its memory is.
cdef enum Pointers:
    CHEAPER = 0
    PRP_ONLY = 1
    SGL_ONLY = 2


cdef class Completion:
    cdef readonly uint32_t dw0
    cdef readonly uint32_t dw1
    cdef readonly uint16_t sqhd
    cdef readonly uint16_t sqid
    cdef readonly uint16_t cid
    cdef uint16_t raw_status        # 15 bits, without the phase
    cdef public object value


cdef class RequestOwner:
    cdef object loop
    cdef object ended               # a future of the loop's that has ended; None without a loop
    # Called when a task is about to wait for the request: the last chance to ring the doorbell, and to spin.
    cdef int about_to_wait(self, Request request) except -1
    # Asks the device to give the command up; the request ends later, or at the next turn of the loop.
    cdef int cancel_request(self, Request request) except -1
    # Gives what the request holds back: memory, buffer exports.
    cdef void let_go(self, Request request) noexcept
    cdef str describe(self)


cdef class Request:
    # Objects. Of a plain transfer that has been told all of them are None but the first two: it is taken again.
    cdef RequestOwner owner
    cdef readonly Completion cpl
    cdef object cb_fn
    cdef object cb_arg
    cdef object waiter              # the first done-callback, and its context
    cdef object waiter_context
    cdef Request next               # in the software queue, or in the queue of ended ones
    cdef object holder              # of the memory, until the device has let go
    cdef list more_waiters          # (callback, context) of the others
    cdef list program               # pieces that are made beforehand: (SQE, bytes of memory) each
    cdef object batch               # many commands of one kind: a Batch (batch.pxd)
    cdef list more_holders          # of memory that is more than one buffer
    cdef object on_end              # called with the request when the device has let go, before its memory goes back
    cdef object decode
    cdef object error
    cdef object cancel_message
    # Not objects: all zero in a new request, from here on. Hot: touched by every command.
    cdef RequestState state
    cdef Verdict verdict
    cdef bint _asyncio_blocking
    cdef bint failure_unseen        # nobody has been told of the failure
    cdef bint quiet                 # a callback command: told by its callback
    cdef bint value_wanted          # the await gives cpl.value
    cdef bint standing              # a request for an event: nobody waits for its end, and nothing is made late by it
    cdef bint in_backlog
    cdef bint has_cid
    cdef bint has_view
    cdef bint plain                 # one piece, in one buffer of ours, and nothing is to be done at its end
    cdef uint32_t in_flight         # pieces that the device owns
    cdef uint16_t first_cid
    cdef uint8_t opcode
    cdef uint8_t stage              # 0, then 1 when Abort was sent, 2 when the reset was asked for
    cdef uint64_t deadline_ns       # 0: none
    cdef double timeout
    # The command, and what is left of it to post.
    cdef Sqe sqe
    cdef Cursor cursor              # its memory from the next piece on
    cdef Segment one                # the list of segments where there is only one
    cdef Segment *segments          # the list where there are more; ours
    cdef size_t nbytes              # of memory, as it was given
    cdef uint64_t lba
    cdef uint64_t blocks_left
    cdef uint32_t piece_blocks      # blocks of a full piece; 0: the command is one piece
    cdef uint32_t boundary          # optimal I/O boundary in blocks, or 0
    cdef uint32_t unit              # bytes of memory per block
    cdef uint8_t *metadata          # separate metadata from the next piece on, or NULL
    cdef uint32_t metadata_unit     # bytes of it per block
    cdef bint metadata_sgl          # of the piece that is being described: its metadata is said by an SGL
    cdef uint64_t ref_mask          # bits of dwords 14 and 3 that are the reference tag, which counts blocks; 0: none
    cdef uint8_t pointers           # how memory may be described: a Pointers
    cdef bint used_sgl_
    cdef bint paired                # the program is two commands, posted together or not at all
    cdef Py_buffer view             # has to be the last

    cdef bint succeeded(self) noexcept
    cdef object outcome(self)
    cdef object failure(self)
    cdef int end(self) except -1
    cdef bint has_waiters(self) noexcept
    cdef int tell(self, bint resume_directly) except -1
    cdef int _tell_soon(self) except -1
    cdef int _raised(self, object callback, str what) except -1


# A request that owns nothing yet: a new one, or one that nobody has any more.
cdef Request take_request()
