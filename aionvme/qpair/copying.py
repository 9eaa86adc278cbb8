"""Owns what a Copy says of protection information: the flags and tags of what it reads, and of what it writes."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from aionvme.errors import UsageError
from aionvme.spec.nvm import IoFlags

if TYPE_CHECKING:
    from aionvme.qpair.namespace import Namespace
    from aionvme.qpair.ranges import Range

_CHECKS = IoFlags.PRCHK_GUARD | IoFlags.PRCHK_APP | IoFlags.PRCHK_REF | IoFlags.STORAGE_TAG_CHECK
SOURCE_FLAGS = int(_CHECKS)
FLAGS = int(_CHECKS | IoFlags.PRACT | IoFlags.FORCE_UNIT_ACCESS | IoFlags.LIMITED_RETRY)
# PRINFOR, in bits 15:12 of dword 12, is bits 29:26 of other commands (NVM Command Set 1.0, 3.2.2).
_PRINFO_SHIFT = 26


def number(value: Any, name: str, most: int) -> int:
    """A whole number of at most `most`.

    Raises:
        UsageError: It is less than 0 or more.
        TypeError: It is none.
    """
    try:
        found = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {value!r}") from None
    if not 0 <= found <= most:
        raise UsageError(f"{name} must be from 0 to {most}, not {value}")
    return found


def flags_of(value: Any, name: str, allowed: int) -> int:
    """Flags, of which only `allowed` ones are taken."""
    flags = number(value, name, 0xFFFFFFFF)
    if flags & ~allowed:
        names = " and ".join(str(flag.name) for flag in IoFlags if flag & allowed)
        raise UsageError(f"{name} {flags & ~allowed:#x}: copy takes only {names}")
    return flags


@attrs.frozen
class Tags:
    """The tags of one side of a copy.

    Attributes:
        width: Bits of the reference tag.
        counts: It counts up from block to block: all types but 3.
        storage: Storage tag.
        app, mask: Application tag, and which of its bits are checked.
    """

    width: int
    counts: bool
    storage: int
    app: int
    mask: int

    def at(self, reference: int, nblocks: int) -> int:
        """Storage and reference tag, as a command has them, of the block that is so many after the first."""
        if self.counts:
            reference += nblocks
        return self.storage << self.width | reference & (1 << self.width) - 1


def tags_of(ns: Namespace, prefix: str, app_tag: Any, app_mask: Any, storage_tag: Any) -> Tags:
    """The tags of a side whose parameters begin with `prefix`.

    Raises:
        UsageError: One has more bits than the namespace has for it.
    """
    storage = number(
        storage_tag,
        f"{prefix}storage_tag",
        (1 << ns.storage_tag_bits) - 1 if ns.storage_tag_bits else 1 << 80,
    )
    if storage and not ns.storage_tag_bits:
        raise UsageError(f"{prefix}storage_tag: {ns!r} has none (STS is 0)")
    return Tags(
        ns.tag_bits - ns.storage_tag_bits,
        ns.pi_type != 3,
        storage,
        number(app_tag, f"{prefix}app_tag", 0xFFFF),
        number(app_mask, f"{prefix}app_mask", 0xFFFF),
    )


def reference(ns: Namespace, tags: Tags, name: str, value: Any, lba: int, wanted: bool) -> int:
    """The reference tag of blocks from `lba` on, which is the LBA with type 1.

    Args:
        ns, tags: Of the side.
        name: Of the parameter.
        value: As it was given, None for none.
        lba: First block.
        wanted: It is written, or checked.

    Raises:
        UsageError: It does not fit, is missing, or is not the LBA with type 1.
    """
    mask = (1 << tags.width) - 1
    if value is None:
        if ns.pi_type == 2 and wanted:
            raise UsageError(f"{name}: give it: with protection type 2 it is not the LBA")
        return lba & mask if ns.pi_type == 1 else 0
    found = number(value, name, mask)
    if ns.pi_type == 1 and wanted and found != lba & mask:
        raise UsageError(
            f"{name} {value}: with protection type 1 it is the lowest {tags.width} bits of the LBA, or the command "
            "fails"
        )
    return found


@attrs.frozen
class Protection:
    """Protection information of one copy.

    Attributes:
        flags: Of the command, without those of the reads.
        source_flags: `IoFlags` of the reads.
        read, written: Tags of either side.
        reference: Reference tag of the first block that is written.
        references: Of the first block of each range that is read.
    """

    flags: int
    source_flags: int
    read: Tags
    written: Tags
    reference: int
    references: Sequence[int]

    @property
    def prinfor(self) -> int:
        """PRINFOR. The action is one for both sides (NVM Command Set 1.0, 3.2.2)."""
        return (self.source_flags | self.flags & IoFlags.PRACT) >> _PRINFO_SHIFT & 0xF

    @property
    def checks_source_storage(self) -> bool:
        """STCR."""
        return bool(self.source_flags & IoFlags.STORAGE_TAG_CHECK)

    def expected(
        self, pairs: Sequence[Range], groups: Iterable[list[Range]]
    ) -> Iterator[tuple[list[Range], list[int]]]:
        """Each group with the tags that are expected in its pieces, which are `pairs`, cut, in order."""
        left = iter(zip(pairs, self.references, strict=True))
        first = total = done = 0
        for group in groups:
            tags = []
            for _, nblocks in group:
                if done == total:
                    (_, total), first = next(left)
                    done = 0
                tags.append(self.read.at(first, done))
                done += nblocks
            yield group, tags


@attrs.frozen(kw_only=True)
class Asked:
    """What a caller of `copy` says of protection information, as it was given."""

    io_flags: Any
    ref_tag: Any
    app_tag: Any
    app_mask: Any
    storage_tag: Any
    source_flags: Any
    source_ref_tags: Any
    source_app_tag: Any
    source_app_mask: Any
    source_storage_tag: Any

    def check(self, ns: Namespace, source: Namespace, pairs: Sequence[Range], dest_lba: int) -> Protection:
        """As the command says it.

        Raises:
            UsageError: A flag that there is not, a tag that does not fit or is missing, or any of it where a block has
                no protection information.
        """
        flags = flags_of(self.io_flags, "io_flags", FLAGS)
        source_flags = flags_of(self.source_flags, "source_flags", SOURCE_FLAGS)
        if ns.pi_type == 0:
            self._check_none(ns, flags)
        read = tags_of(source, "source_", self.source_app_tag, self.source_app_mask, self.source_storage_tag)
        written = tags_of(ns, "", self.app_tag, self.app_mask, self.storage_tag)
        first = reference(
            ns, written, "ref_tag", self.ref_tag, dest_lba, bool(flags & (IoFlags.PRCHK_REF | IoFlags.PRACT))
        )
        wanted = bool(source_flags & IoFlags.PRCHK_REF)
        given = self._source_ref_tags(len(pairs))
        references = [
            reference(source, read, f"source_ref_tags[{index}]", tag, lba, wanted)
            for index, ((lba, _), tag) in enumerate(zip(pairs, given, strict=True))
        ]
        return Protection(flags, source_flags, read, written, first, references)

    def _check_none(self, ns: Namespace, flags: int) -> None:
        tags = (self.app_tag, self.app_mask, self.storage_tag)
        expected = (self.source_app_tag, self.source_app_mask, self.source_storage_tag)
        named = self.ref_tag is not None or self.source_ref_tags is not None
        if flags & (_CHECKS | IoFlags.PRACT) or self.source_flags or named or any(tags) or any(expected):
            raise UsageError(
                f"{ns!r} has no protection information: io_flags with PRACT or PRCHK, source_flags, and tags of either "
                "side mean nothing there"
            )

    def _source_ref_tags(self, count: int) -> list[Any]:
        if self.source_ref_tags is None:
            return [None] * count
        if not isinstance(self.source_ref_tags, Iterable):
            raise TypeError(
                f"source_ref_tags must be reference tags, one for each range, not {self.source_ref_tags!r}"
            )
        given = list(self.source_ref_tags)
        if len(given) != count:
            raise UsageError(f"source_ref_tags has {len(given)} tags, and there are {count} ranges")
        return given
