"""Structures in memory, declared once as a table: field, offset, kind.

    class LbaFormat(Structure, size=4):
        ms: int = u16(0, "Metadata size in bytes")
        lbads: int = u8(2, "LBA data size, as a power of two")

From the table come an immutable class (to attrs, one of its own) with typed attributes that default to zero,
`decode`, `encode`, `SIZE`, `ROWS` and `to_dict`. All integers are little-endian. A duplicate name, an overlap, or a
row that leaves the structure fails at import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast, dataclass_transform

from aionvme.spec.bits import Bits, TableMeta
from aionvme.spec.errors import DecodeError

Buffer = bytes | bytearray | memoryview


class Row:
    """One row of a table.

    Attributes:
        name: Of the field.
        offset, size: In bytes.
        doc: What the field is.
        bits: The table of its bits, where it has one.
        default: The value of a field of zeros.
        unpack, pack: Between the field's bytes and its value.
        convert: Brings a value given to the constructor into the form that `unpack` gives; None for no need.
        plain: Brings the value into a form that JSON knows.
    """

    __slots__ = ("bits", "convert", "default", "doc", "name", "offset", "pack", "plain", "size", "unpack")

    def __init__(
        self,
        offset: int,
        size: int,
        doc: str,
        *,
        default: Any,
        unpack: Callable[[bytes], Any],
        pack: Callable[[Any], bytes],
        convert: Callable[[Any], Any] | None = None,
        plain: Callable[[Any], Any] | None = None,
        bits: type[Bits] | None = None,
    ) -> None:
        self.name = ""
        self.offset = offset
        self.size = size
        self.doc = doc
        self.default = default
        self.unpack = unpack
        self.pack = pack
        self.convert = convert
        self.plain = plain
        self.bits = bits

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def end(self) -> int:
        """Offset of the first byte behind the field."""
        return self.offset + self.size


# -- kinds of row. Each is typed Any: to a type checker it is the field's default value. ---------------------


def _from_little(raw: bytes) -> int:
    return int.from_bytes(raw, "little")


def uint(offset: int, size: int, doc: str = "", *, bits: type[Bits] | None = None) -> Any:
    """An unsigned integer of `size` bytes."""
    if bits is not None and size * 8 != bits.WIDTH:
        raise TypeError(f"{bits.__name__} has {bits.WIDTH} bits and its field {size} bytes")

    def pack(value: int) -> bytes:
        return int(value).to_bytes(size, "little")

    return Row(offset, size, doc, default=0, unpack=_from_little, pack=pack, bits=bits)


def u8(offset: int, doc: str = "", *, bits: type[Bits] | None = None) -> Any:
    """One byte."""
    return uint(offset, 1, doc, bits=bits)


def u16(offset: int, doc: str = "", *, bits: type[Bits] | None = None) -> Any:
    """Two bytes."""
    return uint(offset, 2, doc, bits=bits)


def u32(offset: int, doc: str = "", *, bits: type[Bits] | None = None) -> Any:
    """Four bytes."""
    return uint(offset, 4, doc, bits=bits)


def u64(offset: int, doc: str = "", *, bits: type[Bits] | None = None) -> Any:
    """Eight bytes."""
    return uint(offset, 8, doc, bits=bits)


def u128(offset: int, doc: str = "") -> Any:
    """Sixteen bytes as one integer."""
    return uint(offset, 16, doc)


def uints(offset: int, size: int, count: int, doc: str = "") -> Any:
    """`count` unsigned integers of `size` bytes each, as a tuple. A shorter tuple is filled with zeros."""

    def unpack(raw: bytes) -> tuple[int, ...]:
        return tuple(_from_little(raw[at : at + size]) for at in range(0, len(raw), size))

    def pack(values: tuple[int, ...]) -> bytes:
        return b"".join(value.to_bytes(size, "little") for value in values)

    fill = _filler(count, 0)
    return Row(
        offset, size * count, doc, default=(0,) * count, unpack=unpack, pack=pack, convert=fill, plain=list
    )


def ascii_text(offset: int, size: int, doc: str = "") -> Any:
    """ASCII padded with spaces: a str without them. Other bytes are Latin-1."""

    def unpack(raw: bytes) -> str:
        return raw.decode("latin-1").rstrip("\0 ")

    def pack(text: str) -> bytes:
        return _fit(text.encode("latin-1"), size).ljust(size, b" ")

    return Row(offset, size, doc, default="", unpack=unpack, pack=pack)


def utf8_text(offset: int, size: int, doc: str = "") -> Any:
    """UTF-8 ended by a null, as NQNs are (Base 2.0, 4.5): a str."""

    def unpack(raw: bytes) -> str:
        return raw.partition(b"\0")[0].decode("utf-8", "replace")

    def pack(text: str) -> bytes:
        return _fit(text.encode(), size).ljust(size, b"\0")

    return Row(offset, size, doc, default="", unpack=unpack, pack=pack)


def raw_bytes(offset: int, size: int, doc: str = "") -> Any:
    """Bytes in the order in which they lie. A shorter value is filled with zeros."""

    def pack(value: bytes) -> bytes:
        return _fit(value, size)

    def convert(value: Buffer) -> bytes:
        return bytes(value).ljust(size, b"\0")

    return Row(
        offset, size, doc, default=bytes(size), unpack=bytes, pack=pack, convert=convert, plain=bytes.hex
    )


def nested(offset: int, kind: type[Structure], doc: str = "") -> Any:
    """Another structure."""
    return Row(
        offset, kind.SIZE, doc, default=kind(), unpack=kind.decode, pack=kind.encode, plain=kind.to_dict
    )


def array(offset: int, kind: type[Structure], count: int, doc: str = "") -> Any:
    """`count` structures one after the other, as a tuple. A shorter one is filled with zeros."""
    size = kind.SIZE
    empty = kind()

    def unpack(raw: bytes) -> tuple[Structure, ...]:
        return tuple(kind.decode(raw[at : at + size]) for at in range(0, len(raw), size))

    def pack(values: tuple[Structure, ...]) -> bytes:
        return b"".join(value.encode() for value in values)

    def plain(values: tuple[Structure, ...]) -> list[dict[str, Any]]:
        return [value.to_dict() for value in values]

    fill = _filler(count, empty)
    return Row(
        offset,
        size * count,
        doc,
        default=(empty,) * count,
        unpack=unpack,
        pack=pack,
        convert=fill,
        plain=plain,
    )


def _filler(count: int, empty: Any) -> Callable[[Any], tuple[Any, ...]]:
    def fill(values: Any) -> tuple[Any, ...]:
        given = tuple(values)
        return given + (empty,) * (count - len(given))

    return fill


def _fit(value: bytes, size: int) -> bytes:
    if len(value) > size:
        raise OverflowError(f"{len(value)} bytes")
    return value


# -- the class -----------------------------------------------------------------------------------------------


class StructureMeta(TableMeta):
    """Makes every structure an attrs class to `attrs.fields`, `attrs.evolve`, `attrs.asdict` and whoever else asks.

    What attrs knows of a class is made when somebody asks: had attrs made the classes, it would write and compile a
    constructor of up to a hundred arguments for each, and that would be most of the time that an import takes.
    """

    @property
    def __attrs_attrs__(cls) -> tuple[Any, ...]:
        known = cls.__dict__.get("_ATTRS")
        if known is None:
            import attrs

            defaults: dict[str, Any] = cls.__dict__["_DEFAULTS"]
            fields = {name: attrs.field(default=default, kw_only=True) for name, default in defaults.items()}
            known = attrs.fields(attrs.make_class(cls.__name__, fields, frozen=True))
            cls._ATTRS = known
        return cast("tuple[Any, ...]", known)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Structure(metaclass=StructureMeta):
    """A structure of the specification. Subclass it with its size in bytes, and rows made as above.

    Attributes:
        SIZE: Bytes.
        ROWS: The table, by field name, in the order of the declaration.
    """

    SIZE: ClassVar[int] = 0
    ROWS: ClassVar[dict[str, Row]] = {}
    _DEFAULTS: ClassVar[dict[str, Any]] = {}
    _CONVERT: ClassVar[dict[str, Callable[[Any], Any]]] = {}
    _ATTRS: ClassVar[tuple[Any, ...] | None]
    if TYPE_CHECKING:
        __attrs_attrs__: ClassVar[Any]

    def __init_subclass__(cls, *, size: int, **kwargs: Any) -> None:
        """Takes the rows and checks them."""
        super().__init_subclass__(**kwargs)
        cls.SIZE = size
        cls.ROWS = {name: row for name, row in vars(cls).items() if isinstance(row, Row)}
        _check(cls)
        cls._DEFAULTS = {row.name: row.default for row in cls.ROWS.values()}
        cls._CONVERT = {row.name: row.convert for row in cls.ROWS.values() if row.convert}

    # One constructor for all classes: compiling one of a hundred arguments for each would be most of the time
    # that an import takes.
    def __init__(self, **fields: Any) -> None:
        values = self._DEFAULTS | fields
        if len(values) != len(self._DEFAULTS):
            unknown = ", ".join(name for name in fields if name not in self._DEFAULTS)
            raise TypeError(f"{type(self).__name__} has no field {unknown}")
        for name, convert in self._CONVERT.items():
            values[name] = convert(values[name])
        vars(self).update(values)

    if not TYPE_CHECKING:  # A type checker would take these as leave to set and delete anything.

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(f"a {type(self).__name__} does not change: {name}")

        def __delattr__(self, name: str) -> None:
            raise AttributeError(f"a {type(self).__name__} does not change: {name}")

    def replace(self, **changes: Any) -> Self:
        """A structure with other values in the named fields."""
        return type(self)(**vars(self) | changes)

    __replace__ = replace

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """The structure at the start of `data`.

        Raises:
            DecodeError: `data` is shorter than the structure.
        """
        if len(data) < cls.SIZE:
            raise DecodeError(f"{cls.__name__} has {cls.SIZE} bytes, and here are {len(data)}")
        whole = bytes(data[: cls.SIZE])
        return cls(**{row.name: row.unpack(whole[row.offset : row.end]) for row in cls.ROWS.values()})

    def encode(self) -> bytes:
        """The bytes, with zeros where no row is.

        Raises:
            ValueError: A value does not fit in its field.
        """
        out = bytearray(self.SIZE)
        for row in self.ROWS.values():
            value = getattr(self, row.name)
            try:
                packed = row.pack(value)
                if len(packed) > row.size:
                    raise OverflowError
            except OverflowError as error:
                raise ValueError(
                    f"{type(self).__name__}.{row.name}: {value!r} does not fit in {row.size} bytes"
                ) from error
            out[row.offset : row.offset + len(packed)] = packed
        return bytes(out)

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, in forms that JSON knows; bytes as hexadecimal digits."""
        return {
            row.name: row.plain(getattr(self, row.name)) if row.plain else getattr(self, row.name)
            for row in self.ROWS.values()
        }

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def _shown(self) -> Iterator[tuple[str, Any]]:
        for name, row in self.ROWS.items():
            value = getattr(self, name)
            if value != row.default:
                yield name, _without_zeros(value, row.default)

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self._shown())
        return f"{type(self).__name__}({', '.join(shown)})"


def _without_zeros(value: Any, default: Any) -> Any:
    """A tuple or bytes without the zeros at its end: the constructor fills them in again."""
    if isinstance(value, bytes):
        return value.rstrip(b"\0")
    if isinstance(value, tuple):
        used = max(at for at, item in enumerate(value) if item != default[at]) + 1
        return value[:used]
    return value


def _check(cls: type[Structure]) -> None:
    end, last = 0, "the start"
    for row in sorted(cls.ROWS.values(), key=lambda row: row.offset):
        if row.offset < end or row.size < 1 or row.end > cls.SIZE:
            raise TypeError(f"{cls.__name__}.{row.name} overlaps {last} or leaves the {cls.SIZE} bytes")
        end, last = row.end, row.name
