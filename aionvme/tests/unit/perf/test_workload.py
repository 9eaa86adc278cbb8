"""Workloads: what goes together, which blocks they are for, and what each refusal says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aionvme.cli import perf
from aionvme.errors import UsageError
from aionvme.perf.workload import COMPLETIONS, MODES, PATTERNS, Region, Workload

KiB = 1024
GiB = 1 << 30


def namespace(nblocks: int = 1000, block_size: int = 512, metadata_size: int = 0) -> Any:
    return SimpleNamespace(nsid=1, nblocks=nblocks, block_size=block_size, metadata_size=metadata_size)


@pytest.mark.parametrize(
    ("pattern", "random", "reads", "mixed", "destroys"),
    [
        ("read", False, 100, False, False),
        ("write", False, 0, False, True),
        ("rw", False, 50, True, True),
        ("randread", True, 100, False, False),
        ("randwrite", True, 0, False, True),
        ("randrw", True, 50, True, True),
    ],
)
def test_what_the_words_mean(pattern: str, random: bool, reads: int, mixed: bool, destroys: bool) -> None:
    """The words of SPDK's perf mean what they mean there."""
    load = Workload(pattern=pattern)
    assert (load.random, load.reads, load.mixed, load.destroys) == (random, reads, mixed, destroys)


def test_the_command_line_has_the_same_words() -> None:
    """What the command line offers is what there is."""
    assert [*perf.Pattern] == [*PATTERNS]
    assert [*perf.Mode] == [*MODES]
    assert [*perf.Completion] == [*COMPLETIONS]


def test_a_mix_may_be_of_one_kind() -> None:
    """0 and 100 percent are no mix; what only reads destroys nothing unless it is verified."""
    assert not Workload(pattern="rw", read_percent=0).mixed
    assert not Workload(pattern="rw", read_percent=100).destroys
    assert Workload(pattern="rw", read_percent=100, verify=True).destroys


def test_batches_have_no_latencies() -> None:
    """Latency is measured unless it is switched off, or there is no such thing."""
    assert Workload(mode="callback").times_commands
    assert not Workload(mode="batch").times_commands
    assert not Workload(latency=False).times_commands


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"pattern": "trim"}, "pattern is one of read, write"),
        ({"mode": "thread"}, "mode is one of await, callback, batch"),
        ({"completion": "manual"}, "completion is one of poll, interrupt, adaptive"),
        ({"pattern": "read", "read_percent": 50}, "read_percent is for rw and randrw"),
        ({"pattern": "rw", "read_percent": 101}, "read_percent must be from 0 to 100"),
        ({"pattern": "randwrite", "verify": True}, "reads nothing"),
        ({"pattern": "rw", "read_percent": 0, "verify": True}, "reads nothing"),
        ({"io_size": 0}, "io_size"),
        ({"depth": 0}, "depth"),
        ({"queue_pairs": 0}, "queue_pairs"),
        ({"seconds": 0}, "seconds"),
        ({"seconds": float("nan")}, "seconds"),
        ({"seconds": float("inf")}, "seconds"),
        ({"warmup": -1}, "warmup"),
        ({"warmup": float("nan")}, "warmup"),
        ({"rate": 0}, "rate"),
        ({"rate": float("inf")}, "rate"),
        ({"offset": -512}, "offset"),
        ({"size": 0}, "size"),
    ],
)
def test_what_cannot_be_is_refused(words: dict[str, Any], why: str) -> None:
    """Unknown words, numbers that can't be, and what does not go together."""
    with pytest.raises(UsageError, match=why):
        Workload(**words)


def test_the_region() -> None:
    """By default it is the namespace; offset and size cut it."""
    assert Workload(io_size=4096).region_in(namespace()) == Region(0, 1000)
    assert Workload(io_size=4096, offset=1024).region_in(namespace()) == Region(2, 998)
    assert Workload(io_size=4096, offset=1024, size=8192).region_in(namespace()) == Region(2, 16)


def test_what_is_verified_is_bounded() -> None:
    """A large namespace is not written as a whole before its data is verified, unless that is asked for."""
    large = namespace(4 * GiB // 512)
    assert Workload(verify=True).region_in(large) == Region(0, GiB // 512)
    assert Workload(verify=True, offset=GiB).region_in(large) == Region(GiB // 512, GiB // 512)
    assert Workload(verify=True, size=4 * GiB).region_in(large) == Region(0, 4 * GiB // 512)
    assert Workload(verify=True, io_size=2 * GiB).region_in(large) == Region(0, 2 * GiB // 512)


@pytest.mark.parametrize(
    ("words", "ns", "why"),
    [
        ({"io_size": 1000}, namespace(), "multiple of the 512 bytes"),
        ({"io_size": 2048}, namespace(block_size=4096), "multiple of the 4096 bytes"),
        ({}, namespace(metadata_size=8), "8 bytes of metadata"),
        ({"offset": 100}, namespace(), "multiples of the 512"),
        ({"size": 5000}, namespace(), "multiples of the 512"),
        ({"io_size": 1024 * KiB}, namespace(), "there are 512000 bytes from offset 0"),
        ({"offset": 512 * 999}, namespace(), "there are 512 bytes from offset 511488"),
        ({"offset": 512 * 2000}, namespace(), "there are 0 bytes"),
        ({"offset": 512 * 500, "size": 512 * 501}, namespace(), "there are 256000 bytes"),
        ({"size": 2048}, namespace(), "there are 2048 bytes"),
    ],
)
def test_what_does_not_fit_the_namespace(words: dict[str, Any], ns: Any, why: str) -> None:
    """Sizes that are no blocks, regions outside or too small, and blocks with metadata."""
    with pytest.raises(UsageError, match=why):
        Workload(**words).region_in(ns)
