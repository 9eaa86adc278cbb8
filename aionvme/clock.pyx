# cython: language_level=3
"""Owns the time that driver and mock go by: the machine's monotonic clock, or a virtual one that a test's loop moves.

While the clock is virtual nothing polls: who has a command outstanding, or works on one, is asked by the loop, when it
would wait, whether there is something to do (`watch`); and the time goes to the next moment at which anybody wants to
do something.
"""

import time

from libc.stdint cimport uint64_t

from aionvme.errors import UsageError

cdef object _virtual = None


def monotonic():
    """Seconds since some moment, as `time.monotonic`."""
    return virtual_ns / 1e9 if virtual_ns else time.monotonic()


def is_virtual_now():
    """Whether the clock is virtual."""
    return virtual_ns != 0


def set_virtual(clock, uint64_t now_ns):
    """Has `clock` keep the time from now on; None and 0: it is real again.

    Args:
        clock: Has `loop` and `watch(look, due_ns)`, as `aionvme.testing.VirtualClock`.
        now_ns: The time.

    Raises:
        UsageError: Another keeps it already.
    """
    global virtual_ns, _virtual
    if clock is not None and _virtual is not None and _virtual is not clock:
        raise UsageError("the clock is virtual already: close that virtual loop first, there is one in a process")
    _virtual = clock
    virtual_ns = now_ns


def watch(look, due_ns=None):
    """Where the clock is virtual, has its loop call `look` when it would wait; it returns whether it did anything.

    Args:
        look: A bound method; it is held weakly.
        due_ns: A bound method that gives when there will be something to do, in the clock's nanoseconds; 0: never.
    """
    if _virtual is not None:
        _virtual.watch(look, due_ns)


def check_loop(loop):
    """Refuses what can't go by a virtual clock, where the clock is virtual: a loop that is not its own.

    Raises:
        UsageError: The loop (None: a thread) keeps real time.
    """
    if _virtual is not None and _virtual.loop is not loop:
        what = "a thread" if loop is None else f"{type(loop).__module__}.{type(loop).__qualname__}"
        raise UsageError(
            f"the clock is virtual, and {what} keeps real time: run on the aionvme.testing.VirtualLoop")
