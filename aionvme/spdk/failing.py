"""Owns the way from our exceptions to SPDK's negative errno."""

from __future__ import annotations

import errno
import logging

from aionvme.errors import (
    AddressError,
    CommandTimeoutError,
    ControllerFailedError,
    ControllerLostError,
    ControllerResetError,
    NvmeError,
    QueueFullError,
    StatusError,
    UsageError,
)

logger = logging.getLogger("aionvme.spdk")

# The first that fits. What is not in it, a TypeError above all, stays an exception.
_ERRNOS: tuple[tuple[type[Exception], int], ...] = (
    (QueueFullError, errno.ENOMEM),
    (MemoryError, errno.ENOMEM),
    (ControllerLostError, errno.ENXIO),
    (ControllerFailedError, errno.ENXIO),
    (ControllerResetError, errno.EAGAIN),
    (CommandTimeoutError, errno.ETIMEDOUT),
    (StatusError, errno.ENXIO),
    (AddressError, errno.ENODEV),
    (UsageError, errno.EINVAL),
    (NvmeError, errno.EIO),
)
# A queue that is full is no failure: the caller polls and submits again. Of the others the driver's log has told.
_KNOWN = (QueueFullError, ControllerLostError, ControllerFailedError)
FAILURES: tuple[type[Exception], ...] = (NvmeError, MemoryError, OSError)


def errno_of(error: Exception) -> int:
    """The negative errno for one of `FAILURES`. Why it was is in the log, as an errno alone says little."""
    if not isinstance(error, _KNOWN):
        # As text: a record that is kept would keep the exception, and with it the caller's memory.
        logger.warning("%s: %s", type(error).__name__, str(error))
    for kind, code in _ERRNOS:
        if isinstance(error, kind):
            return -code
    return -(getattr(error, "errno", None) or errno.EIO)
