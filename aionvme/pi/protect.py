"""Protection information in memory: written into blocks that will be written, checked in blocks that were read."""

from __future__ import annotations

from enum import StrEnum, unique
from typing import TYPE_CHECKING

import numpy as np

from aionvme.errors import NvmeError, UsageError
from aionvme.pi import crc
from aionvme.pi.format import Format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from typing_extensions import Buffer

_APP_TAG_ESCAPE = 0xFFFF


@unique
class Check(StrEnum):
    """What is compared, in the order in which it is."""

    GUARD = "guard"
    APP_TAG = "app_tag"
    STORAGE_TAG = "storage_tag"
    REF_TAG = "ref_tag"


_WORDS = {
    Check.GUARD: "guard",
    Check.APP_TAG: "application tag",
    Check.STORAGE_TAG: "storage tag",
    Check.REF_TAG: "reference tag",
}


class ProtectionError(NvmeError):
    """A block is not what its protection information says.

    Attributes:
        block: Which block, counted from 0 at the start of the buffer.
        check: Which comparison failed.
        expected: The CRC of what the buffer holds, or the tag that was asked for. Bits that are masked are 0.
        found: What the protection information has there. Bits that are masked are 0.
    """

    def __init__(self, block: int, check: Check, expected: int, found: int) -> None:
        super().__init__(block, check, expected, found)
        self.block = block
        self.check = check
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        return (
            f"block {self.block}: {_WORDS[self.check]} {self.found:#x} where {self.expected:#x} was expected"
        )


# -- the two directions ------------------------------------------------------------------------------------------------


def generate(
    fmt: Format,
    data: Buffer,
    metadata: Buffer | None = None,
    *,
    ref_tag: int,
    app_tag: int = 0,
    storage_tag: int = 0,
) -> None:
    """Write the protection information of each block in its place (NVM Command Set 1.0, 5.2.3).

    Args:
        fmt: How the namespace is formatted.
        data: The blocks, C contiguous; each followed by its metadata if the format is extended.
        metadata: The metadata of all blocks; None if the format is extended. What takes the information is writable.
        ref_tag: Reference tag of the first block. With type 1 the LBA is the one to give, whole: its least significant
            bits are taken. With type 1 and 2 it counts on from block to block, with type 3 it is the same in all.
        app_tag: Application tag of all blocks. FFFFh, with type 3 and a reference tag of ones, asks for no checks.
        storage_tag: Storage tag of all blocks.

    Raises:
        UsageError: Sizes that are not those of whole blocks, memory that cannot be written, a tag that does not fit.
    """
    blocks = _Blocks(fmt, data, metadata)
    if not blocks.information.flags.writeable:
        raise UsageError("the buffer for the protection information is read-only")
    first = fmt.initial_ref_tag(ref_tag)
    high = fmt.space(0, storage_tag)
    _check_16_bits("application tag", app_tag)

    blocks.information["guard"] = blocks.guards()
    blocks.information["app"] = app_tag
    # The storage tag is `high`, its bits above 64 in a field of their own. The reference tag has at most 64.
    space = blocks.ref_tags(first) | np.uint64(high & 0xFFFF_FFFF_FFFF_FFFF)
    low_bits = fmt.low_bits
    blocks.information["low"] = space & np.uint64((1 << low_bits) - 1)
    if fmt.has_high:
        blocks.information["high"] = high >> 64 if low_bits == 64 else space >> np.uint64(low_bits)


def verify(
    fmt: Format,
    data: Buffer,
    metadata: Buffer | None = None,
    *,
    ref_tag: int,
    app_tag: int = 0,
    app_mask: int = 0,
    storage_tag: int = 0,
    check_guard: bool = True,
    check_app: bool = True,
    check_storage: bool = True,
    check_ref: bool = True,
) -> None:
    """Check the protection information of each block, as a controller would (NVM Command Set 1.0, 5.2.3).

    A block is not checked whose application tag is FFFFh, with type 3 only if its reference tag is all ones too.

    Args:
        fmt: How the namespace is formatted.
        data: The blocks, C contiguous; each followed by its metadata if the format is extended.
        metadata: The metadata of all blocks; None if the format is extended.
        ref_tag: Reference tag of the first block, as for `generate`. Type 3 has none that could be checked.
        app_tag: Application tag.
        app_mask: Bits of the application tag that are compared. 0, which is the default, compares none.
        storage_tag: Storage tag; compared in the bits of the format's `storage_tag_mask`.
        check_guard: Compare the guard.
        check_app: Compare the application tag.
        check_storage: Compare the storage tag.
        check_ref: Compare the reference tag.

    Raises:
        ProtectionError: The first check that failed: of the first such block, in the order of `Check`.
        UsageError: Sizes that are not those of whole blocks, a tag that does not fit.
    """
    wanted = _wanted(fmt, check_guard, check_app and app_mask != 0, check_storage, check_ref)
    for error in _failures(fmt, data, metadata, ref_tag, app_tag, app_mask, storage_tag, wanted):
        raise error


def errors(
    fmt: Format,
    data: Buffer,
    metadata: Buffer | None = None,
    *,
    ref_tag: int,
    app_tag: int = 0,
    app_mask: int = 0,
    storage_tag: int = 0,
    check_guard: bool = True,
    check_app: bool = True,
    check_storage: bool = True,
    check_ref: bool = True,
) -> list[ProtectionError]:
    """Check as `verify` does, and return every failure instead of raising the first: by block, then by check.

    Raises:
        UsageError: As from `verify`.
    """
    wanted = _wanted(fmt, check_guard, check_app and app_mask != 0, check_storage, check_ref)
    return list(_failures(fmt, data, metadata, ref_tag, app_tag, app_mask, storage_tag, wanted))


# -- how ---------------------------------------------------------------------------------------------------------------


def _wanted(fmt: Format, guard: bool, app: bool, storage: bool, ref: bool) -> list[Check]:
    chosen = {
        Check.GUARD: guard,
        Check.APP_TAG: app,
        Check.STORAGE_TAG: storage and fmt.storage_tag_bits > 0,
        Check.REF_TAG: ref and fmt.ref_tag_bits > 0 and fmt.pi_type != 3,
    }
    return [check for check, so in chosen.items() if so]


def _failures(
    fmt: Format,
    data: Buffer,
    metadata: Buffer | None,
    ref_tag: int,
    app_tag: int,
    app_mask: int,
    storage_tag: int,
    wanted: list[Check],
) -> Iterator[ProtectionError]:
    blocks = _Blocks(fmt, data, metadata)
    first = fmt.initial_ref_tag(ref_tag)
    fmt.space(0, storage_tag)
    _check_16_bits("application tag", app_tag)
    _check_16_bits("application tag mask", app_mask)
    storage_mask = fmt.storage_tag_mask & ((1 << fmt.storage_tag_bits) - 1)

    checked = ~blocks.escaped()
    columns: list[tuple[NDArray[np.uint64], NDArray[np.uint64]]] = []
    for check in wanted:
        if check is Check.GUARD:
            columns.append((blocks.guards(), blocks.information["guard"].astype(np.uint64)))
        elif check is Check.APP_TAG:
            columns.append(blocks.masked(app_tag, blocks.app_tags_found(), app_mask))
        elif check is Check.STORAGE_TAG:
            columns.append(blocks.masked(storage_tag, blocks.storage_tags_found(), storage_mask))
        else:
            columns.append((blocks.ref_tags(first), blocks.ref_tags_found()))
    if not columns:
        return
    failed = np.stack([expected != found for expected, found in columns], axis=1) & checked[:, None]
    if not failed.any():
        return
    for block, column in np.argwhere(failed):
        expected, found = columns[column]
        yield ProtectionError(int(block), wanted[column], int(expected[block]), int(found[block]))


class _Blocks:
    """The blocks of one call: what is where in the caller's buffers, and what is computed of them."""

    def __init__(self, fmt: Format, data: Buffer, metadata: Buffer | None) -> None:
        self.fmt = fmt
        self.data = _as_bytes("data", data)
        self.unit = fmt.block_size + (fmt.metadata_size if fmt.extended else 0)
        self.count = _whole("data", self.data, self.unit)
        if fmt.extended:
            if metadata is not None:
                raise UsageError("the format is extended: the metadata is in the data buffer, not apart")
            rows = self.data.reshape(self.count, self.unit)[:, fmt.block_size :]
        else:
            if metadata is None:
                raise UsageError("the format has the metadata in a buffer of its own, and none is given")
            self.metadata = _as_bytes("metadata", metadata)
            count = _whole("metadata", self.metadata, fmt.metadata_size)
            if count != self.count:
                raise UsageError(f"data of {self.count} blocks, and metadata of {count}")
            rows = self.metadata.reshape(self.count, fmt.metadata_size)
        place = slice(fmt.pi_offset, fmt.pi_offset + fmt.pi_size)
        self.information: NDArray[np.void] = rows[:, place].view(fmt.dtype)[:, 0]

    def guards(self) -> NDArray[np.uint64]:
        """The CRC of each block's data and of the metadata that the guard covers."""
        fmt = self.fmt
        out = np.empty(self.count, np.uint64)
        if fmt.extended:
            length = fmt.block_size + fmt.covered_metadata
            crc.guards(fmt.guard, self.data, self.unit, length, self.data, 0, 0, out)
        else:
            crc.guards(
                fmt.guard,
                self.data,
                self.unit,
                fmt.block_size,
                self.metadata,
                fmt.metadata_size,
                fmt.covered_metadata,
                out,
            )
        return out

    def ref_tags(self, first: int) -> NDArray[np.uint64]:
        """The reference tag that each block should have. After all ones comes 0."""
        step = 0 if self.fmt.pi_type == 3 else 1
        tags = np.arange(self.count, dtype=np.uint64) * np.uint64(step) + np.uint64(first)
        return tags & np.uint64(self.fmt.ref_tag_mask)

    def masked(
        self, tag: int, found: NDArray[np.uint64], mask: int
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """The tag that every block should have, and what they have, in the bits of a mask."""
        return np.full(self.count, tag & mask, np.uint64), found & np.uint64(mask)

    def app_tags_found(self) -> NDArray[np.uint64]:
        """The application tag of each block."""
        return self.information["app"].astype(np.uint64)

    def ref_tags_found(self) -> NDArray[np.uint64]:
        """The reference tag of each block."""
        return self._space_found() & np.uint64(self.fmt.ref_tag_mask)

    def storage_tags_found(self) -> NDArray[np.uint64]:
        """The storage tag of each block."""
        shift = self.fmt.ref_tag_bits
        # numpy leaves a shift by all 64 bits undefined.
        low = self._space_found() >> np.uint64(shift) if shift < 64 else np.zeros(self.count, np.uint64)
        if self.fmt.low_bits < 64:
            return low
        return low | self.information["high"].astype(np.uint64) << np.uint64(64 - shift)

    def _space_found(self) -> NDArray[np.uint64]:
        """The least significant 64 bits of each block's storage and reference space."""
        low = self.information["low"].astype(np.uint64)
        if not self.fmt.has_high or self.fmt.low_bits == 64:
            return low
        return low | self.information["high"].astype(np.uint64) << np.uint64(self.fmt.low_bits)

    def escaped(self) -> NDArray[np.bool_]:
        """Which blocks say that they are not to be checked."""
        escaped: NDArray[np.bool_] = self.information["app"] == _APP_TAG_ESCAPE
        if self.fmt.pi_type == 3:
            escaped &= self.ref_tags_found() == np.uint64(self.fmt.ref_tag_mask)
        return escaped


def _as_bytes(name: str, buffer: Buffer) -> NDArray[np.uint8]:
    try:
        view = memoryview(buffer)
    except (ValueError, BufferError) as error:
        raise UsageError(f"{name} cannot be seen as bytes: {error}") from error
    if not view.c_contiguous:
        raise UsageError(f"{name} is not C contiguous")
    return np.frombuffer(view, np.uint8)


def _whole(name: str, buffer: NDArray[np.uint8], unit: int) -> int:
    count, rest = divmod(buffer.size, unit)
    if rest or not count:
        raise UsageError(f"{name} of {buffer.size} bytes is not a number of whole blocks of {unit} bytes")
    return count


def _check_16_bits(name: str, value: int) -> None:
    if not 0 <= value <= 0xFFFF:
        raise UsageError(f"{name} {value:#x} does not fit in 16 bits")
