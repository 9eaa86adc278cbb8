"""Where the commands of a workload go: inside the region, aligned, everywhere alike, and the same each time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.errors import UsageError
from aionvme.perf.walk import Walk


def walk(first: int, nblocks: int, step: int, **others: Any) -> Walk:
    return Walk(first, nblocks, step, **{"random": True, "read_percent": 100, "seed": 1} | others)


@given(
    st.integers(0, 2**40),
    st.integers(1, 2**40),
    st.integers(1, 300),
    st.booleans(),
    st.integers(0, 2**64 - 1),
)
def test_commands_stay_inside_and_are_aligned(
    first: int, nblocks: int, step: int, random: bool, seed: int
) -> None:
    """No command leaves the region, and each begins at a multiple of its own size from its beginning."""
    nblocks += step
    lbas = walk(first, nblocks, step, random=random, seed=seed).take(50)
    assert all(first <= lba <= first + nblocks - step for lba in lbas.tolist())
    assert all((lba - first) % step == 0 for lba in lbas.tolist())


def test_random_places_are_each_as_likely() -> None:
    """Of 64,000 commands each of 64 places has 1,000, give or take six standard deviations."""
    counts = np.bincount(walk(0, 64, 1).take(64_000).astype(np.int64), minlength=64)
    assert counts.sum() == 64_000
    assert abs(counts - 1000).max() < 6 * 1000**0.5


def test_a_sequential_walk_goes_round() -> None:
    """One place after another, the last one too, and then the first again; what does not fit is left out."""
    assert walk(10, 11, 2, random=False).take(12).tolist() == [10, 12, 14, 16, 18] * 2 + [10, 12]


def test_several_sequential_walks_share_the_region() -> None:
    """Each of several queue pairs begins in a part of its own, and goes on into the next."""
    begins = [walk(0, 100, 1, random=False, part=part, parts=4).take(26).tolist() for part in range(4)]
    assert [places[0] for places in begins] == [0, 25, 50, 75]
    assert begins[3][-1] == 0


def test_the_same_seed_is_the_same_walk() -> None:
    """A run can be repeated, and another seed is another run."""
    first, again, other = (walk(0, 10**9, 1, seed=seed).take(100).tolist() for seed in (7, 7, 8))
    assert first == again
    assert len({*first, *other}) == 200


@pytest.mark.parametrize("percent", [0, 1, 30, 99, 100])
def test_the_share_of_reads(percent: int) -> None:
    """So many of a hundred commands read, within six standard deviations; with 0 and 100 none is of the other kind."""
    reads, writes = walk(0, 1000, 1, read_percent=percent).take_mixed(50_000)
    wanted, deviation = 50_000 * percent / 100, (50_000 * percent / 100 * (1 - percent / 100)) ** 0.5
    assert len(reads) + len(writes) == 50_000
    assert abs(len(reads) - wanted) <= 6 * deviation


def test_reads_and_writes_are_of_one_walk() -> None:
    """What is sequential stays so, over reads and writes together."""
    reads, writes = walk(0, 1000, 1, random=False, read_percent=50).take_mixed(1000)
    assert sorted([*reads.tolist(), *writes.tolist()]) == list(range(1000))
    assert min(len(reads), len(writes)) > 400


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"nblocks": 7}, "no room"),
        ({"step": 0}, "no room"),
        ({"read_percent": 101}, "read_percent"),
        ({"read_percent": -1}, "read_percent"),
        ({"part": 1}, "part"),
    ],
)
def test_what_cannot_be_is_refused(words: dict[str, int], why: str) -> None:
    """A region that holds no command, and shares and parts that there are not."""
    with pytest.raises(UsageError, match=why):
        walk(**{"first": 0, "nblocks": 100, "step": 8} | words)
