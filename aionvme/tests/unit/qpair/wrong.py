"""Owns the table of wrong arguments: for each command and parameter what is refused, how, and what the message names.

It is of a namespace of 1000 blocks of 512 bytes, a buffer of two blocks, and a largest transfer of 64 KiB.
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from aionvme.errors import UsageError
from aionvme.qpair.sgl import SglCallbacks

NBLOCKS = 1000
LARGE = 1 << 70


@attrs.frozen
class Wrong:
    """A call that is refused. In `args` and `keywords` a `Named` stands for what a test has by that name."""

    name: str
    args: tuple[Any, ...]
    keywords: dict[str, Any]
    error: type[Exception]
    text: str

    def __str__(self) -> str:
        shown = ", ".join(
            [*map(_short, self.args), *(f"{key}={_short(value)}" for key, value in self.keywords.items())]
        )
        return f"{self.name}({shown})"


@attrs.frozen
class Named:
    """What a test has by this name: "buf", "odd", "unmapped", "large", "readonly", "closed", "strange", "other"."""

    name: str

    def __repr__(self) -> str:
        return self.name


def _short(value: Any) -> str:
    # An address would differ among the processes that share the tests.
    text = re.sub(" at 0x[0-9a-f]+", "", repr(value))
    return text if len(text) < 40 else f"{text[:37]}..."


BUF, ODD, UNMAPPED, LARGE_BUF, READONLY, CLOSED, STRANGE, OTHER, NS = map(
    Named, ("buf", "odd", "unmapped", "large", "readonly", "closed", "strange", "other", "ns")
)
HOLES = Named("holes")
CASES: list[Wrong] = []


def wrong(name: str, *args: Any, error: type[Exception] = UsageError, text: str, **keywords: Any) -> None:
    CASES.append(Wrong(name, args, keywords, error, text))


def _one(key: str, value: Any) -> dict[str, Any]:
    return {key: value}


def _places(name: str, before: tuple[Any, ...] = (), after: tuple[Any, ...] = ()) -> None:
    """Everything that a block and a number of blocks can be."""
    for lba, nblocks, error, text in (
        (NBLOCKS, 1, UsageError, "lba 1000.*outside of the namespace, which has 1000 blocks"),
        (NBLOCKS - 1, 2, UsageError, "lba 999, nblocks 2: outside of the namespace, which has 1000 blocks"),
        (0, 0, UsageError, "nblocks must be 1 or more, not 0"),
        (-1, 1, UsageError, "lba must be from 0"),
        (0, -1, UsageError, "nblocks must be from 0"),
        (LARGE, 1, UsageError, "lba must be from 0 to 18446744073709551615"),
        (0, LARGE, UsageError, "nblocks must be from 0 to 18446744073709551615"),
        ((1 << 64) - 1, 2, UsageError, "outside of the namespace"),
        (0.0, 1, TypeError, "lba must be a whole number"),
        (0, 1.0, TypeError, "nblocks must be a whole number"),
        ("0", 1, TypeError, "lba must be a whole number"),
        (0, None, TypeError, "nblocks must be a whole number"),
    ):
        wrong(name, NS, *before, lba, nblocks, *after, error=error, text=text)


def _ending(name: str, *args: Any, **keywords: Any) -> None:
    """What every command has: a namespace first, and a timeout."""
    wrong(name, OTHER, *args, text="ns: .* of another controller", **keywords)
    for ns in (1, None):
        wrong(name, ns, *args, error=TypeError, text="ns", **keywords)
    for timeout in (-1, float("nan"), float("inf"), 10**400):
        wrong(name, NS, *args, timeout=timeout, text="timeout must be from 0", **keywords)
    wrong(name, NS, *args, timeout="1", error=TypeError, text="timeout must be a number", **keywords)


def _flags(name: str, *args: Any) -> None:
    wrong(
        name, NS, *args, io_flags=1, text="io_flags 0x1: .*takes only .*FORCE_UNIT_ACCESS and LIMITED_RETRY"
    )
    wrong(name, NS, *args, io_flags=-1, text="io_flags must be from 0 to 4294967295")
    wrong(name, NS, *args, io_flags=1 << 40, text="io_flags must be from 0 to 4294967295")
    wrong(name, NS, *args, io_flags="fua", error=TypeError, text="io_flags must be a whole number")


def _tags(name: str, *args: Any) -> None:
    """Of a namespace without protection information."""
    tags: tuple[dict[str, Any], ...] = (
        {"ref_tag": 0},
        {"app_tag": 1},
        {"app_mask": 1},
        {"storage_tag": 1},
        {"io_flags": 1 << 29},
    )
    for keywords in tags:
        wrong(name, NS, *args, text=f"no protection information.*{next(iter(keywords))}", **keywords)


def _options(name: str, *args: Any) -> None:
    """What a transfer can be told."""
    _flags(name, *args)
    _tags(name, *args)
    wrong(name, NS, *args, metadata=bytearray(8), text="metadata: .* no separate metadata")
    wrong(name, NS, *args, sgl=2, text="sgl must be True, False or None")
    wrong(name, NS, *args, sgl="yes", text="sgl must be True, False or None")
    if name.startswith("write"):
        wrong(name, NS, *args, dtype=16, text="dtype must be from 0 to 15")
        wrong(name, NS, *args, dspec=1 << 16, text="dspec must be from 0 to 65535")
        wrong(name, NS, *args, dtype="1", error=TypeError, text="dtype must be a whole number")
    else:
        wrong(name, NS, *args, dtype=1, text="dtype, dspec: directives are for writes")
        wrong(name, NS, *args, dspec=1, text="dtype, dspec: directives are for writes")


def _memory(name: str, parameter: str, *around: Any, writes: bool) -> None:
    """Everything that a buffer can be; `around` has None where it goes."""
    for memory, error, text in (
        (ODD, UsageError, "must begin at a multiple of 4"),
        (UNMAPPED, UsageError, r"byte 0 of .* is not mapped for DMA.*dma_alloc\(\).*dma_register\(\)"),
        (CLOSED, UsageError, "closed"),
        (HOLES, UsageError, "C-contiguous"),
        (5, TypeError, "must be memory"),
        (None, TypeError, "must be memory"),
        *([(READONLY, UsageError, "writable")] if writes else []),
    ):
        args = [memory if each is BUF_HERE else each for each in around]
        wrong(name, NS, *args, error=error, text=f"{parameter}.*{text}")


BUF_HERE = object()

for _name in ("read", "write", "compare"):
    _places(_name, (BUF,))
    _ending(_name, BUF, 0, 1)
    _options(_name, BUF, 0, 1)
    _memory(_name, "buf", BUF_HERE, 0, 1, writes=_name == "read")
    wrong(_name, NS, BUF, 0, 3, text="buf has 1024 bytes; 3 blocks of 512 need 1536")
wrong(
    "compare",
    NS,
    LARGE_BUF,
    0,
    129,
    text="nblocks 129: a compare is one command, which takes at most 128 blocks",
)

for _name in ("readv", "writev", "comparev"):
    _places(_name, ([BUF],))
    _ending(_name, [BUF], 0, 1)
    _options(_name, [BUF], 0, 1)
    wrong(_name, NS, [BUF], 0, 3, text="iov has 1024 bytes in 1 segments; the blocks need 1536")
    wrong(_name, NS, [], 0, 1, text="iov has 0 bytes in 0 segments")
    wrong(_name, NS, BUF, 0, 1, error=TypeError, text="iov is a sequence of buffers")
    wrong(_name, NS, 5, 0, 1, error=TypeError, text="iov is a sequence of buffers")
    wrong(_name, NS, bytes(512), 0, 1, error=TypeError, text="iov is a sequence of buffers")
    wrong(_name, NS, [UNMAPPED], 0, 1, text=r"iov\[0\]: byte 0 of 512 is not mapped")
    wrong(_name, NS, [(1 << 40, 512)], 0, 1, text=r"iov\[0\]: byte 0 of 512 is not mapped")
    wrong(_name, NS, [CLOSED], 0, 1, text=r"iov\[0\] is closed")
    wrong(_name, NS, [5], 0, 1, error=TypeError, text=r"iov\[0\] must be memory")
    wrong(_name, NS, [BUF, "x"], 0, 3, error=TypeError, text=r"iov\[1\] must be memory")
    wrong(_name, NS, [(1, 2, 3)], 0, 1, text=r"iov\[0\] is a buffer or \(address, length\)")
    wrong(_name, NS, [(0, 512)], 0, 1, text=r"iov\[0\]: 0x0 is no address")
    wrong(_name, NS, [(None, -1)], 0, 1, text=r"iov\[0\]: a length of -1")
    wrong(_name, NS, [(None, 1 << 60)], 0, 1, text=r"iov\[0\]: a length of")
    wrong(_name, NS, SglCallbacks(lambda _arg, _offset: None, lambda _arg: (None, 0)), 0, 1,
          text="next_sge_fn gave 0 of 512 bytes")  # fmt: skip
    if _name != "readv":
        wrong(_name, NS, [(None, 512)], 0, 1, text=r"iov\[0\]: a bit bucket is for reads only")
    else:
        wrong(_name, NS, [READONLY], 0, 1, text=r"iov\[0\] must be .*writable")
    wrong(_name, NS, [HOLES], 0, 1, text=r"iov\[0\] must be C-contiguous")
    wrong(_name, NS, [ODD, BUF], 0, 3, sgl=False, text="iov, at byte 0, .*bounce=True")

for _name in ("write_zeroes", "verify"):
    _places(_name)
    _ending(_name, 0, 1)
    _flags(_name, 0, 1)
    _tags(_name, 0, 1)
wrong("write_zeroes", NS, 0, 1, io_flags=1 << 25, text="io_flags 0x2000000")
_places("write_uncorrectable")
_ending("write_uncorrectable", 0, 1)
_ending("flush")

for _name, _after in (("dataset_management", ()), ("copy", (500,))):
    _ending(_name, [(0, 1)], *_after)
    for _ranges, _error, _text in (
        ([], UsageError, "ranges: give at least one"),
        (
            [(0, 1), (NBLOCKS, 1)],
            UsageError,
            r"ranges\[1\]: lba 1000, nblocks 1 is outside .* has 1000 blocks",
        ),
        ([(999, 2)], UsageError, r"ranges\[0\]: lba 999, nblocks 2 is outside"),
        ([(0, 0)], UsageError, r"ranges\[0\]: nblocks must be 1 or more, not 0"),
        ([(-1, 1)], UsageError, r"ranges\[0\]: lba -1"),
        ([(0, LARGE)], UsageError, r"ranges\[0\]"),
        ([(0.5, 1)], UsageError, r"ranges\[0\] is \(lba, nblocks\), not \(0.5, 1\)"),
        ([(1, 2, 3)], UsageError, r"ranges\[0\] is \(lba, nblocks\)"),
        ([5], UsageError, r"ranges\[0\] is \(lba, nblocks\)"),
        (5, TypeError, "ranges must be"),
    ):
        wrong(_name, NS, _ranges, *_after, error=_error, text=_text)
_flags("copy", [(0, 1)], 500)
_copied: tuple[dict[str, Any], ...] = (
    *({name: 1} for name in ("ref_tag", "app_tag", "app_mask", "storage_tag")),
    *({f"source_{name}": 1} for name in ("app_tag", "app_mask", "storage_tag")),
    {"source_ref_tags": [1]},
    {"source_flags": 1 << 26},
    {"io_flags": 1 << 29},
)
for _given in _copied:
    wrong("copy", NS, [(0, 1)], 500, text="has no protection information: .*source_flags, and tags", **_given)
for _lba, _error, _text in (
    (NBLOCKS, UsageError, "dest_lba 1000: 1 blocks .*has 1000 blocks"),
    (-1, UsageError, "dest_lba must be from 0"),
    (LARGE, UsageError, "dest_lba must be from 0"),
    ("9", TypeError, "dest_lba must be a whole number"),
):
    wrong("copy", NS, [(0, 1)], _lba, error=_error, text=_text)
wrong("copy", NS, [(0, 2)], 999, text="dest_lba 999: 2 blocks")
wrong("copy", NS, [(0, 10)], 9, text="ranges: one overlaps the 10 blocks from dest_lba 9")
wrong("copy", NS, [(0, 1)], 500, format=4, text="format must be")
wrong("copy", NS, [(0, 1)], 500, format="0", text="format must be")
wrong("copy", NS, [(0, 1)], 500, format=2, text="format 2: .*source_ns")
wrong("copy", NS, [(0, 1)], 500, source_ns=STRANGE, text="source_ns: another namespace is read with format=2")
wrong("copy", NS, [(0, 1)], 500, format=2, source_ns=STRANGE, text="source_ns: .* has other blocks")
wrong("copy", NS, [(0, 1)], 500, format=2, source_ns=OTHER, text="ns: .* of another controller")
wrong("copy", NS, [(0, 1)], 500, format=2, source_ns=5, error=TypeError, text="source_ns must be a Namespace")

_places("compare_and_write", (BUF, BUF))
_ending("compare_and_write", BUF, BUF, 0, 1)
_flags("compare_and_write", BUF, BUF, 0, 1)
_memory("compare_and_write", "compare_buf", BUF_HERE, BUF, 0, 1, writes=False)
_memory("compare_and_write", "write_buf", BUF, BUF_HERE, 0, 1, writes=False)
wrong("compare_and_write", NS, BUF, LARGE_BUF, 0, 3, text="compare_buf has 1024 bytes; the blocks need 1536")
wrong("compare_and_write", NS, LARGE_BUF, BUF, 0, 3, text="write_buf has 1024 bytes; the blocks need 1536")
wrong(
    "compare_and_write",
    NS,
    LARGE_BUF,
    LARGE_BUF,
    0,
    129,
    text="nblocks 129: .* not split, .* at most 128 blocks",
)

for _name, _args, _keys in (
    ("reservation_register", (0,), ("crkey", "nrkey")),
    ("reservation_acquire", (0, 1), ("crkey", "prkey")),
    ("reservation_release", (0, 1), ("crkey",)),
):
    _ending(_name, *_args)
    for _key in _keys:
        wrong(_name, NS, *_args, text=f"{_key} must be from 0 to 18446744073709551615", **_one(_key, -1))
        wrong(_name, NS, *_args, text=f"{_key} must be from 0 to 18446744073709551615", **_one(_key, 1 << 64))
        wrong(_name, NS, *_args, error=TypeError, text=f"{_key} must be a whole number", **_one(_key, "k"))
    wrong(_name, NS, 3, *_args[1:], text="action must be one of")
    wrong(_name, NS, "x", *_args[1:], text="action must be one of")
    if len(_args) > 1:
        for _rtype in (0, 7, "x"):
            wrong(_name, NS, 0, _rtype, text=r"rtype must be one of WRITE_EXCLUSIVE \(1\)")
wrong(
    "reservation_register",
    NS,
    0,
    cptpl=1,
    text=r"cptpl must be one of NO_CHANGE \(0\), CLEAR \(2\), PERSIST \(3\)",
)
_ending("reservation_report")

wrong("io_raw", bytes(63), text="sqe must have 64 bytes, not 63")
wrong("io_raw", memoryview(bytes(128))[::2], text="sqe must be 64 contiguous bytes")
wrong("io_raw", 5, error=TypeError, text="sqe must be 64 bytes")
wrong("io_raw", b"\2\x40" + bytes(62), data=BUF, text="sqe: PSDT")
wrong("io_raw", bytes(64), data=LARGE_BUF, text="data has .* from 1 to 65536")
wrong("io_raw", bytes(64), data=UNMAPPED, text="not mapped")
wrong("io_raw", bytes(64), data=READONLY, text="writable")
wrong("io_raw", bytes(64), data=5, error=TypeError, text="must be memory")
wrong("io_raw", bytes(64), metadata=ODD, text="metadata must begin at a multiple of 4")
wrong("io_raw", bytes(64), metadata=UNMAPPED, text="metadata: byte 0")
wrong("io_raw", bytes(64), timeout=-1, text="timeout must be from 0")
