"""Bit fields of a register, dword or byte, declared once as a table: `en = bits(0)`, `mps = bits(7, 4)`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, overload


class BitField:
    """One row: where a field lies in its word, and what it is. As an attribute it gives and sets the bits."""

    __slots__ = ("doc", "low", "mask", "name", "width")

    def __init__(self, low: int, width: int, doc: str) -> None:
        self.low = low
        self.width = width
        self.mask = (1 << width) - 1
        self.doc = doc
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, word: None, owner: type) -> Self: ...
    @overload
    def __get__(self, word: Bits, owner: type) -> int: ...
    def __get__(self, word: Bits | None, owner: type) -> Self | int:
        if word is None:
            return self
        return word.value >> self.low & self.mask

    def __set__(self, word: Bits, value: int) -> None:
        if not 0 <= value <= self.mask:
            raise ValueError(f"{type(word).__name__}.{self.name}: {value} does not fit in {self.width} bits")
        word.value = word.value & ~(self.mask << self.low) | int(value) << self.low


def bits(low: int, width: int = 1, doc: str = "") -> BitField:
    """A field of `width` bits whose least significant is bit `low`."""
    return BitField(low, width, doc)


class NoRedefinition(dict[str, Any]):
    """The namespace of a table's class body: a name that is given twice fails there, at import."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self and not name.startswith("__"):
            raise TypeError(f"{name} is declared twice")
        super().__setitem__(name, value)


class TableMeta(type):
    """Makes a duplicate name in a table an error."""

    @classmethod
    def __prepare__(metacls, name: str, bases: tuple[type, ...], /, **kwargs: Any) -> NoRedefinition:
        """The guarded namespace."""
        return NoRedefinition()


class BitsMeta(TableMeta):
    """Leaves no room for attributes that are no field: a misspelt one cannot be set."""

    @classmethod
    def __prepare__(metacls, name: str, bases: tuple[type, ...], /, **kwargs: Any) -> NoRedefinition:
        """The guarded namespace, without a dictionary in the instances."""
        return NoRedefinition(__slots__=())


class Bits(metaclass=BitsMeta):
    """A word cut into fields. Subclass it with its width in bits, and rows made by `bits`.

    Bits that no row names keep their value: `to_int` after `from_int` gives the same word.

    Args:
        value: The whole word.
        **fields: Fields to set in it.
    """

    WIDTH: ClassVar[int] = 0
    FIELDS: ClassVar[dict[str, BitField]] = {}
    __slots__ = ("value",)

    def __init_subclass__(cls, *, width: int, **kwargs: Any) -> None:
        """Takes the rows, and refuses one that overlaps another or leaves the word."""
        super().__init_subclass__(**kwargs)
        cls.WIDTH = width
        cls.FIELDS = {name: row for name, row in vars(cls).items() if isinstance(row, BitField)}
        end, last = 0, "the start"
        for row in sorted(cls.FIELDS.values(), key=lambda row: row.low):
            if row.low < end or row.width < 1 or row.low + row.width > width:
                raise TypeError(f"{cls.__name__}.{row.name} overlaps {last} or leaves the {width} bits")
            end, last = row.low + row.width, row.name

    def __init__(self, value: int = 0, **fields: int) -> None:
        if not 0 <= value < 1 << self.WIDTH:
            raise ValueError(f"{type(self).__name__}: {value} does not fit in {self.WIDTH} bits")
        self.value = value
        for name, field in fields.items():
            if name not in self.FIELDS:
                raise TypeError(f"{type(self).__name__} has no field {name}")
            setattr(self, name, field)

    @classmethod
    def from_int(cls, value: int) -> Self:
        """The word as read."""
        return cls(value)

    def to_int(self) -> int:
        """The word to write."""
        return self.value

    def to_dict(self) -> dict[str, int]:
        """Every field by name."""
        return {name: getattr(self, name) for name in self.FIELDS}

    def __int__(self) -> int:
        return self.value

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.value == other.value

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value:#x}" for name, value in self.to_dict().items() if value)
        return f"{type(self).__name__}({shown})"
