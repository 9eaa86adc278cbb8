"""What the typed value of a feature is: fields of command dwords and of dword 0, and the data beside them.

    class VolatileWriteCache(Feature, fid=FeatureId.VOLATILE_WRITE_CACHE):
        wce: int = cdw11(0, 1, "Enabled")

From the table come an immutable class as `Structure` makes it, the dwords and the data of Set Features (`words`,
`payload`), and the value of what Get Features gave (`from_get`). See NVMe Base 2.0, 5.15 and 5.27.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, IntEnum, unique
from typing import Any, ClassVar, Self

from aionvme.spec.bits import Bits, bits
from aionvme.spec.errors import DecodeError
from aionvme.spec.structure import Buffer, Structure

__all__ = ["Feature", "FeatureCapabilities", "FeatureSelect", "Scope", "Word", "argument", "cdw11", "cdw12"]


@unique
class FeatureSelect(IntEnum):
    """Which value Get Features gives (NVMe Base 2.0, 5.15, SEL)."""

    CURRENT = 0
    DEFAULT = 1
    SAVED = 2
    SUPPORTED = 3


class FeatureCapabilities(Bits, width=32):
    """What Get Features gives for `FeatureSelect.SUPPORTED` (NVMe Base 2.0, 5.15)."""

    saveable = bits(0, 1, "A value can be saved")
    namespace_specific = bits(1, 1, "Each namespace has a value of its own")
    changeable = bits(2, 1, "The value can be changed")


@unique
class Scope(Enum):
    """What a feature is of (NVMe Base 2.0, 5.27.1)."""

    CONTROLLER = "controller"
    NAMESPACE = "namespace"
    NVM_SET = "NVM set"
    ENDURANCE_GROUP = "endurance group"
    SUBSYSTEM = "NVM subsystem"


class Word:
    """A row: some bits of a command dword, and where completion dword 0 has them.

    Attributes:
        number: Of the command dword, 11 to 15.
        low, width: Its bits there.
        out: Whether dword 0 has it, at the same bits. What it has not, Get Features is told in the command.
        told: Whether it is told to Get Features.
        doc: What it is.
    """

    __slots__ = ("doc", "low", "mask", "name", "number", "out", "told", "width")
    default = 0

    def __init__(self, number: int, low: int, width: int, doc: str, *, out: bool, told: bool) -> None:
        self.name = ""
        self.number = number
        self.low = low
        self.width = width
        self.mask = (1 << width) - 1
        self.out = out
        self.told = told
        self.doc = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def take(self, word: int) -> int:
        """The field in a dword."""
        return word >> self.low & self.mask

    def put(self, owner: str, value: int) -> int:
        """The field's bits for a dword.

        Raises:
            ValueError: It does not fit.
        """
        number = int(value)
        if not 0 <= number <= self.mask:
            raise ValueError(f"{owner}.{self.name}: {value!r} does not fit in {self.width} bits")
        return number << self.low


# Each is typed Any: to a type checker it is the field's default value.


def cdw11(low: int, width: int = 1, doc: str = "", *, out: bool = True) -> Any:
    """Bits of command dword 11 of Set Features; unless `out` is False, of dword 0 of Get Features as well."""
    return Word(11, low, width, doc, out=out, told=False)


def cdw12(low: int, width: int = 1, doc: str = "", *, out: bool = True) -> Any:
    """Bits of command dword 12 of Set Features; unless `out` is False, of dword 0 of Get Features as well."""
    return Word(12, low, width, doc, out=out, told=False)


def argument(low: int, width: int, doc: str = "", *, out: bool = False) -> Any:
    """Bits of command dword 11 that say to both commands which value is meant."""
    return Word(11, low, width, doc, out=out, told=True)


class Feature(Structure, size=0):
    """The value of a feature. Subclass it with its identifier, its data's size where it has some, and rows.

    Rows are those of `Structure` for the data, and `cdw11`, `cdw12` and `argument` for dwords.

    Attributes:
        FID: Feature identifier.
        SCOPE: What it is of.
        WORDS: The fields of dwords, by name.
        GET_BYTES: Bytes of data that Get Features gives.
    """

    FID: ClassVar[int] = -1
    SCOPE: ClassVar[Scope] = Scope.CONTROLLER
    WORDS: ClassVar[dict[str, Word]] = {}
    GET_BYTES: ClassVar[int] = 0

    def __init_subclass__(
        cls, *, fid: int, size: int = 0, scope: Scope = Scope.CONTROLLER, **kwargs: Any
    ) -> None:
        """Takes the rows and checks them."""
        super().__init_subclass__(size=size, **kwargs)
        cls.FID, cls.SCOPE, cls.GET_BYTES = int(fid), scope, size
        cls.WORDS = {name: row for name, row in vars(cls).items() if isinstance(row, Word)}
        _check(cls)
        cls._DEFAULTS = dict.fromkeys(cls.WORDS, 0) | cls._DEFAULTS

    @classmethod
    def get_bytes(cls, cdw11: int) -> int:
        """Bytes of data that Get Features gives for a dword 11."""
        return cls.GET_BYTES

    @classmethod
    def from_get(cls, dw0: int, data: Buffer = b"", *, cdw11: int = 0) -> Self:
        """The value that Get Features gave.

        Args:
            dw0: Completion dword 0.
            data: The data, where the feature has some.
            cdw11: Dword 11 of the command.

        Raises:
            DecodeError: `data` is shorter than the feature's.
        """
        fields = {
            row.name: row.take(cdw11 if row.told else dw0)
            for row in cls.WORDS.values()
            if row.out or row.told
        }
        return cls(**fields, **cls._fields_of(data))

    @classmethod
    def _fields_of(cls, data: Buffer) -> dict[str, Any]:
        if len(data) < cls.SIZE:
            raise DecodeError(f"{cls.__name__} has {cls.SIZE} bytes of data, and here are {len(data)}")
        whole = bytes(data[: cls.SIZE])
        return {row.name: row.unpack(whole[row.offset : row.end]) for row in cls.ROWS.values()}

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """The value with this data and zeros in the dwords."""
        return cls.from_get(0, data)

    def words(self) -> dict[int, int]:
        """The dwords of Set Features, by number; 11 is always there.

        Raises:
            ValueError: A value does not fit in its field.
        """
        found = {11: 0}
        for row in self.WORDS.values():
            value = row.put(type(self).__name__, getattr(self, row.name))
            found[row.number] = found.get(row.number, 0) | value
        return found

    @property
    def cdw11(self) -> int:
        """Dword 11 of Set Features."""
        return self.words()[11]

    @property
    def cdw12(self) -> int:
        """Dword 12 of Set Features."""
        return self.words().get(12, 0)

    @property
    def argument(self) -> int:
        """Dword 11 of Get Features: which of the feature's values is meant."""
        return sum(
            row.put(type(self).__name__, getattr(self, row.name)) for row in self.WORDS.values() if row.told
        )

    @property
    def dw0(self) -> int:
        """Dword 0 with which a controller gives this value."""
        return sum(
            row.put(type(self).__name__, getattr(self, row.name)) for row in self.WORDS.values() if row.out
        )

    def payload(self) -> bytes | None:
        """The data of Set Features; None for a feature without."""
        return self.encode() if self.SIZE else None

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, in forms that JSON knows; bytes as hexadecimal digits."""
        return {name: int(getattr(self, name)) for name in self.WORDS} | super().to_dict()

    def _shown(self) -> Iterator[tuple[str, Any]]:
        yield from ((name, getattr(self, name)) for name in self.WORDS if getattr(self, name))
        yield from super()._shown()


def _check(cls: type[Feature]) -> None:
    ends: dict[int, tuple[int, str]] = {}
    for row in sorted(cls.WORDS.values(), key=lambda row: (row.number, row.low)):
        end, last = ends.get(row.number, (0, "the start"))
        if row.low < end or row.width < 1 or row.low + row.width > 32:
            raise TypeError(f"{cls.__name__}.{row.name} overlaps {last} or leaves the dword")
        ends[row.number] = row.low + row.width, row.name
