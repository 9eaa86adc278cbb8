"""The root of our exceptions, and the one that a decoder raises. Everything else is in `aionvme.errors`."""

from __future__ import annotations

from typing import Any


class NvmeError(Exception):
    """Root of every exception that this package defines.

    Attributes:
        result: What was done before the error, where several commands were asked for at once: the `BatchResult` of a
            batch. Else None.
    """

    result: Any = None


class DecodeError(NvmeError, ValueError):
    """Bytes that are not the structure they are said to be: too short, or impossible in themselves."""
