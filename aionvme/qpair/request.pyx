# cython: language_level=3, boundscheck=False, wraparound=False
# cython: binding=False, embedsignature=True, embedsignature.format=clinic
"""The request object: one command, awaited or called back.

To asyncio it is a coroutine (`create_task`, `TaskGroup`) and a future (`gather`, `shield`, `wait_for`, `ensure_future`)
at once. Both protocols were read from asyncio's source:

* A task's step calls `send(None)`; we yield ourselves with `_asyncio_future_blocking` true, and the task then calls
  `add_done_callback(wakeup, context=...)`. When we end, the wake-up calls `result()` and steps the task again.
* `cancel()` reaches us from `Task.cancel` when a task waits for us, `throw(CancelledError)` when we are a task's own
  coroutine and it is cancelled before its first step. Both ask the device to abort the command and go on waiting: the
  memory belongs to the device until the completion, or a reset, says otherwise.

A command that has ended tells its waiters itself (`tell`), without `call_soon`, when it is reaped outside any task.
"""

import asyncio
import sys
from contextvars import copy_context

cimport cython
from cpython.exc cimport PyErr_SetObject
from cpython.ref cimport Py_DECREF, PyObject, PyTypeObject
from libc.stdint cimport uint8_t, uint16_t
from libc.stdlib cimport free
from libc.string cimport memset

from aionvme.errors import CommandTimeoutError, status_error
from aionvme.spec.status import Status, StatusCode

cdef object _CancelledError = asyncio.CancelledError
cdef object _InvalidStateError = asyncio.InvalidStateError
cdef object _status_from_field = Status.from_field
cdef object _copy_context = copy_context
cdef uint16_t HOST_ABORTED = <uint16_t>int(StatusCode.COMMAND_ABORTED_BY_HOST)

cdef extern from "../qpair/protocol.h":
    enum:
        AIO_RESUMED
        AIO_ENTERED
    PyObject *aio_take_kept()
    void aio_set_slots(PyTypeObject *kind, void *advance, void *strip, object task_type)
    int aio_resume(PyObject *context, PyObject *callback, PyObject *request, PyObject *ended)
    int aio_call_back(PyObject *callback, PyObject *argument, PyObject *cpl)


@cython.final
@cython.freelist(256)
@cython.no_gc       # its value is data
cdef class Completion:
    """A completion queue entry (NVMe Base 2.0, 3.3.3.2), as given to callbacks and by `await`.

    Attributes:
        status: The `Status`; false on success.
        value: The decoded result of an admin command, else None.
        dw0, dw1: The command specific double words.
        sqhd, sqid, cid: Submission queue head and identifier, command identifier.
    """

    @property
    def status(self):
        return _status_from_field(self.raw_status)

    def __repr__(self):
        return f"<Completion {self.status.name} sqid={self.sqid} cid={self.cid:#06x} dw0={self.dw0:#x}>"


def host_completion(bint success, value=None):
    """A completion that no device sent: of what took several commands, or none. A failure is aborted by the host."""
    cdef Completion cpl = Completion.__new__(Completion)
    cpl.raw_status = 0 if success else HOST_ABORTED
    cpl.value = value
    return cpl


cdef class RequestOwner:
    """What a request needs of its queue pair."""

    cdef int about_to_wait(self, Request request) except -1:
        return 0

    cdef int cancel_request(self, Request request) except -1:
        raise NotImplementedError

    cdef void let_go(self, Request request) noexcept:
        pass

    cdef str describe(self):
        return "queue pair"


cdef int _return(object value) except -1:
    # As `return value` of a coroutine. A tuple would be taken for the arguments of StopIteration.
    if isinstance(value, tuple):
        raise StopIteration(value)
    PyErr_SetObject(StopIteration, value)
    return -1


@cython.final
@cython.no_gc_clear     # its end may have to be reported; a cycle always has something else that can be cleared
cdef class Request:
    """One command: awaitable once it was submitted, cancellable until it has ended.

    Awaiting gives the `Completion` (of an admin command its decoded value) or raises `StatusError`,
    `CommandTimeoutError`, `ControllerLostError`, `ControllerResetError` or `CancelledError`; each only when the device
    no longer owns the command's memory.

    Attributes:
        cpl: The `Completion`, once done; also of a command that was cancelled but completed all the same.
    """

    def __init__(self):
        raise TypeError("a Request is made by a queue pair's submit_ methods, or by calling read, write, ...")

    # -- what users call -----------------------------------------------------------------------------------------------

    @cython.binding(False)
    def done(self):
        """Whether the command has ended: the device will not touch its memory any more."""
        return self.state == ENDED

    def cancelled(self):
        """Whether it ended by cancellation."""
        return self.state == ENDED and self.verdict == BY_CANCEL

    @property
    def cid(self):
        """The command identifier of its first piece, or None while it waits for a slot."""
        return self.first_cid if self.has_cid else None

    @property
    def used_sgl(self):
        """Whether a piece of it that was posted described its memory by an SGL; else by PRPs, or it has none."""
        return bool(self.used_sgl_)

    @cython.binding(False)
    def cancel(self, msg=None):
        """Asks for the end of the command. True: it will end in `CancelledError`, whatever its completion says.

        A command that still waits for a slot is taken out; for one in flight Abort is sent, and the request goes on
        until the device has let go of it. A second call sends no second Abort. False: it had ended before.
        """
        if self.state == ENDED:
            return False
        if self.verdict == BY_CANCEL:
            return True
        self.verdict = BY_CANCEL
        self.cancel_message = msg
        self.owner.cancel_request(self)
        return True

    @cython.binding(False)
    def result(self):
        """The result of a command that is done; `InvalidStateError` before."""
        if self.state != ENDED:
            raise _InvalidStateError("the command has not ended")
        return self.outcome()

    def exception(self):
        """The exception of a command that is done, or None; `CancelledError` if it was cancelled."""
        if self.state != ENDED:
            raise _InvalidStateError("the command has not ended")
        if self.verdict == BY_CANCEL:
            self.failure_unseen = False
            raise self._make_cancelled_error()
        self.failure_unseen = False
        return self.failure()

    # -- future protocol -------------------------------------------------------------------------------------------

    @property
    def _asyncio_future_blocking(self):
        return self._asyncio_blocking

    @_asyncio_future_blocking.setter
    def _asyncio_future_blocking(self, bint value):
        self._asyncio_blocking = value

    @property
    def _loop(self):
        return self.owner.loop

    @property
    def _cancel_message(self):
        # `gather(return_exceptions=True)` reads it.
        return self.cancel_message

    @cython.binding(False)
    def get_loop(self):
        """The event loop that the queue pair belongs to."""
        return self.owner.loop

    @cython.binding(False)
    def add_done_callback(self, callback, *, context=None):
        """Has `callback(request)` called in `context` when the command has ended; soon, if it has."""
        if context is None:
            context = _copy_context()
        if self.state == ENDED and not self.in_backlog:
            self.owner.loop.call_soon(callback, self, context=context)
        elif self.waiter is None:
            self.waiter = callback
            self.waiter_context = context
        elif self.more_waiters is None:
            self.more_waiters = [(callback, context)]
        else:
            self.more_waiters.append((callback, context))

    def remove_done_callback(self, callback):
        """Takes every such callback out; how many there were."""
        cdef list kept
        cdef int removed = 0
        kept = [(f, c) for f, c in self._waiters() if f != callback]
        removed = len(self._waiters()) - len(kept)
        self.waiter = self.waiter_context = self.more_waiters = None
        if kept:
            self.waiter, self.waiter_context = kept[0]
            self.more_waiters = kept[1:] or None
        return removed

    def _waiters(self):
        if self.waiter is None:
            return []
        return [(self.waiter, self.waiter_context), *(self.more_waiters or ())]

    def _make_cancelled_error(self):
        if self.cancel_message is None:
            return _CancelledError()
        return _CancelledError(self.cancel_message)

    # -- coroutine protocol ------------------------------------------------------------------------------------------

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        result = advance(self)
        if result is self:
            return self
        _return(result)

    @cython.binding(False)
    def send(self, value):
        """A step of the coroutine: ends it with the result, or gives the task something to wait for (this request)."""
        result = advance(self)
        if result is self:
            return self
        _return(result)

    def throw(self, typ, val=None, tb=None):
        """As a coroutine's. `CancelledError` before the end means `cancel()`: the request goes on waiting."""
        exception = _as_exception(typ, val, tb)
        if isinstance(exception, _CancelledError):
            self.failure_unseen = False
            if self.state != ENDED:
                self.cancel(exception.args[0] if exception.args else None)
                if self.state != ENDED:
                    self._asyncio_blocking = True
                    return self
        raise exception

    def close(self):
        """As a coroutine's: lets go of the waiter, never of the command."""

    # -- how it ends -------------------------------------------------------------------------------------------------

    cdef bint succeeded(self) noexcept:
        """Whether the device did all of it."""
        return self.cpl is not None and self.cpl.raw_status == 0 and self.verdict != BY_ERROR

    cdef object outcome(self):
        cdef object error
        self.failure_unseen = False
        if self.verdict == BY_CANCEL:
            raise self._make_cancelled_error()
        if self.verdict == BY_STATUS and self.error is None and self.cpl.raw_status == 0:
            return self.cpl.value if self.value_wanted else self.cpl
        # With the traceback reset: else it would grow at each await.
        error = self.failure()
        raise error.with_traceback(None)

    cdef object failure(self):
        """The exception that the request ended with, made once; None on success."""
        if self.error is not None:
            return self.error
        if self.verdict == BY_TIMEOUT:
            self.error = CommandTimeoutError(self.opcode, self.cpl.sqid, self.first_cid, self.timeout)
        elif self.cpl.raw_status != 0:
            self.error = status_error(
                self.cpl.status, opcode=self.opcode, qid=self.cpl.sqid, cid=self.cpl.cid, cpl=self.cpl)
        return self.error

    cdef int end(self) except -1:
        """The device has let go: decodes the result, gives the memory back. The waiters are told later, by `tell`."""
        self.state = ENDED
        if self.decode is not None and self.verdict == BY_STATUS and self.cpl.raw_status == 0:
            try:
                self.cpl.value = self.decode(self.cpl)
            except Exception as error:
                self.error = error
        if self.on_end is not None:
            try:
                self.on_end(self)
            except Exception as error:
                self.error = error
            self.on_end = None
        self.owner.let_go(self)
        self.decode = None
        self.program = None
        if self.verdict != BY_CANCEL and not self.quiet:
            self.failure_unseen = (
                self.error is not None or self.verdict != BY_STATUS or self.cpl.raw_status != 0)
        return 0

    cdef bint has_waiters(self) noexcept:
        return self.cb_fn is not None or self.waiter is not None

    cdef int tell(self, bint resume_directly) except -1:
        """Calls the callback and wakes the waiters. Only KeyboardInterrupt and SystemExit come out of it.

        Each is taken out before it is called, so that a call that raises, or re-enters, is never made twice.
        """
        cdef object callback = self.cb_fn, argument = self.cb_arg, context
        cdef int called
        if callback is not None:
            self.cb_fn = self.cb_arg = None
            if aio_call_back(<PyObject *>callback, <PyObject *>argument, <PyObject *>self.cpl) != AIO_RESUMED:
                self._raised(callback, "the callback")
        if self.waiter is None:
            return 0
        if self.more_waiters is not None or not resume_directly:
            # asyncio promises the order of registration: the others first get their place in the loop.
            return self._tell_soon()
        callback, context = self.waiter, self.waiter_context
        self.waiter = self.waiter_context = None
        called = aio_resume(<PyObject *>context, <PyObject *>callback, <PyObject *>self, <PyObject *>self.owner.ended)
        if called == AIO_ENTERED:
            # Whoever called process_completions did so in this very context.
            self.owner.loop.call_soon(callback, self, context=context)
        elif called != AIO_RESUMED:
            self._raised(callback, "a done-callback")
        return 0

    cdef int _tell_soon(self) except -1:
        waiters = self._waiters()
        self.waiter = self.waiter_context = self.more_waiters = None
        for callback, context in waiters:
            self.owner.loop.call_soon(callback, self, context=context)
        return 0

    cdef int _raised(self, object callback, str what) except -1:
        """There is an exception: it is reported, unless it is one that ends the program."""
        try:
            _raise()
        except Exception as error:
            report(self.owner.loop, f"exception in {what} of a command on {self.owner.describe()}", error, self,
                   callback)
        return 0

    def __dealloc__(self):
        free(self.segments)

    def __del__(self):
        # Not in __dealloc__: the collector may have cleared the exception by then, and the queue pair.
        if self.failure_unseen:
            self.failure_unseen = False
            error = self.failure()
            report(self.owner.loop, f"a command on {self.owner.describe()} failed, and nobody awaited it", error,
                   None, None)

    def __repr__(self):
        states = {QUEUED: "queued", IN_FLIGHT: "in flight", ENDED: "done"}
        cid = f" cid={self.first_cid:#06x}" if self.has_cid else ""
        return f"<Request opcode={self.opcode:#04x}{cid} {states[self.state]} on {self.owner.describe()}>"


def report(loop, str message, exception, request, callback):
    """Tells the loop's exception handler, or standard error where there is no loop."""
    context = {"message": message, "exception": exception}
    if request is not None:
        context["request"] = repr(request)
    if callback is not None:
        context["callback"] = repr(callback)
    if loop is not None and not loop.is_closed():
        loop.call_exception_handler(context)
        return
    sys.excepthook(type(exception), exception, exception.__traceback__)


cdef object _as_exception(typ, val, tb):
    # The three-argument form of throw() that old callers use, and the one-argument form.
    if isinstance(typ, BaseException):
        exception = typ
    elif isinstance(val, BaseException):
        exception = val
    elif val is None:
        exception = typ()
    else:
        exception = typ(val)
    return exception if tb is None else exception.with_traceback(tb)


cdef int _raise() except -1:
    # The exception that a call in C left behind.
    return -1


cdef object advance(Request request):
    """A step of the coroutine: its result when it has ended, else the request itself, for the task to wait for."""
    if request.state != ENDED:
        request.owner.about_to_wait(request)
        if request.state != ENDED:
            request._asyncio_blocking = True
            return request
    return request.outcome()


# -- requests that are taken again -------------------------------------------------------------------------------------

cdef bint _strip(Request request) noexcept:
    """Lets go of what a request still refers to; False where it is more than a plain transfer that has been told."""
    if (request.cb_fn is not None or request.cb_arg is not None or request.waiter is not None
            or request.next is not None or request.holder is not None or request.more_waiters is not None
            or request.program is not None or request.batch is not None or request.more_holders is not None
            or request.on_end is not None or request.decode is not None or request.error is not None
            or request.cancel_message is not None or request.failure_unseen or request.segments != NULL):
        return False
    request.owner = None
    request.cpl = None
    request.waiter_context = None
    return True


cdef Request take_request():
    cdef PyObject *kept = aio_take_kept()
    cdef Request request
    if kept == NULL:
        return Request.__new__(Request)
    request = <Request>kept
    Py_DECREF(request)
    memset(&request.state, 0, <uint8_t *>(&request.view + 1) - <uint8_t *>&request.state)
    return request


aio_set_slots(<PyTypeObject *>Request, <void *>advance, <void *>_strip, asyncio.Task)
