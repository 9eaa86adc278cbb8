"""The root of our exceptions, and the one that a decoder raises. Everything else is in `aionvme.errors`."""

from __future__ import annotations


class NvmeError(Exception):
    """Root of every exception that this package defines."""


class DecodeError(NvmeError, ValueError):
    """Bytes that are not the structure they are said to be: too short, or impossible in themselves."""
