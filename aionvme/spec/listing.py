"""Owns pages and structures whose size is told in themselves: a fixed part, and lists that follow it.

A `Listing` is an attrs class with `decode`, `encode` and `to_dict`, as a `Structure` has them; its parts are
structures. A `Cursor` walks over the bytes and lets nothing be read beyond their end.
"""

from __future__ import annotations

from typing import Any, Self, TypeVar

import attrs

from aionvme.spec.errors import DecodeError
from aionvme.spec.structure import Buffer, Structure

S = TypeVar("S", bound=Structure)


class Listing:
    """Base of what decodes to a list of parts."""

    __slots__ = ()

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """What `data` begins with.

        Raises:
            DecodeError: `data` ends before it does, or says what cannot be.
        """
        raise NotImplementedError

    def encode(self) -> bytes:
        """The bytes."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, in forms that JSON knows; bytes as hexadecimal digits."""
        kind: Any = type(self)
        return {field.name: _plain(getattr(self, field.name)) for field in attrs.fields(kind)}


def _plain(value: Any) -> Any:
    if isinstance(value, (Structure, Listing)):
        return value.to_dict()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (tuple, frozenset)):
        return [_plain(item) for item in value]
    return value


class Cursor:
    """Where a decoder is in its bytes.

    Args:
        data: All of them.
        what: For the message of an error: "the ANA log".
    """

    def __init__(self, data: Buffer, what: str) -> None:
        self._data = bytes(data)
        self._what = what
        self.at = 0

    @property
    def left(self) -> int:
        """Bytes that were not taken."""
        return len(self._data) - self.at

    def raw(self, nbytes: int) -> bytes:
        """The next bytes."""
        if nbytes < 0 or nbytes > self.left:
            raise DecodeError(
                f"{self._what} has {len(self._data)} bytes, and says that {nbytes} are from byte {self.at} on"
            )
        taken = self._data[self.at : self.at + nbytes]
        self.at += nbytes
        return taken

    def take(self, kind: type[S]) -> S:
        """The next bytes as a structure."""
        return kind.decode(self.raw(kind.SIZE))

    def several(self, kind: type[S], count: int) -> tuple[S, ...]:
        """The next bytes as so many structures."""
        self._check(count, kind.SIZE)
        return tuple(self.take(kind) for _ in range(count))

    def uints(self, size: int, count: int) -> tuple[int, ...]:
        """The next bytes as so many integers of `size` bytes."""
        self._check(count, size)
        raw = self.raw(size * count)
        return tuple(int.from_bytes(raw[at : at + size], "little") for at in range(0, len(raw), size))

    def _check(self, count: int, size: int) -> None:
        # At once: a count of four thousand million is not gone through one by one.
        if count * size > self.left:
            raise DecodeError(
                f"{self._what} has {len(self._data)} bytes, and says that {count} parts of {size} bytes "
                f"are from byte {self.at} on"
            )


def encode_uints(values: tuple[int, ...], size: int) -> bytes:
    """Integers of `size` bytes each, one after the other."""
    try:
        return b"".join(value.to_bytes(size, "little") for value in values)
    except OverflowError as error:
        raise ValueError(f"{values}: a value does not fit in {size} bytes") from error


def encode_all(parts: tuple[Structure, ...]) -> bytes:
    """Structures, one after the other."""
    return b"".join(part.encode() for part in parts)
