"""Histograms of times: percentiles as numpy has them, merging, and what they refuse."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.errors import UsageError
from aionvme.histogram import Histogram

LARGEST = 2**64 - 1
#: Of the width of a bucket to the values in it.
WIDTH = Fraction(1, 128)

# Times as they are measured, of every magnitude, with those around the edges of octaves.
times = st.one_of(
    st.integers(0, LARGEST),
    st.integers(0, 10_000),
    st.integers(0, 63).flatmap(lambda bit: st.integers(max(2**bit - 2, 0), min(2**bit + 2, LARGEST))),
)


def histogram_of(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


def nearest_rank(values: list[int], q: float) -> int:
    """The percentile by its definition."""
    return sorted(values)[max(1, math.ceil(Fraction(str(q)) * len(values) / 100)) - 1]


@given(st.lists(times, min_size=1, max_size=300), st.floats(0, 100))
def test_percentiles_are_the_nearest_rank(values: list[int], q: float) -> None:
    """A percentile is the time of that rank, or up to a bucket's width above it, and never beyond the greatest."""
    found, right = histogram_of(values).percentile(q), nearest_rank(values, q)
    assert right <= found <= right * (1 + WIDTH)
    assert found <= max(values)


@given(st.lists(st.integers(0, 2**50), min_size=1, max_size=500), st.sampled_from([50, 90, 99, 99.9, 99.99]))
def test_percentiles_are_numpys(values: list[int], q: float) -> None:
    """They are those of numpy, whose rank may be the next one where the product of fractions is not exact."""
    # The two neighbours of the fraction; with as few times as here no further rank lies between them.
    least, greatest = np.percentile(values, [q - 1e-6, min(q + 1e-6, 100)], method="inverted_cdf")
    assert least <= histogram_of(values).percentile(q) <= int(greatest) * (1 + WIDTH)


@pytest.mark.parametrize("q", [50, 90, 99, 99.9, 99.99, 99.999])
def test_a_large_sample_agrees_with_numpy(q: float) -> None:
    """Half a million times of a distribution with a long tail give numpy's percentiles within a bucket's width."""
    values = np.random.default_rng(1).lognormal(9, 1.5, 500_000).astype(np.uint64)
    found = histogram_of(values.tolist()).percentile(q)
    below, above = np.percentile(values, [q - 1e-4, min(q + 1e-4, 100)], method="inverted_cdf")
    assert below <= found <= above * (1 + float(WIDTH))


@given(st.lists(times, min_size=1, max_size=100))
def test_count_sum_and_ends_are_exact(values: list[int]) -> None:
    """What needs no buckets is not rounded; the sum is kept in 64 bits."""
    histogram = histogram_of(values)
    assert (histogram.count, histogram.min, histogram.max) == (len(values), min(values), max(values))
    assert histogram.total == sum(values) % 2**64
    assert histogram.percentile(100) == max(values)


@given(st.lists(st.integers(0, 2**40), max_size=100), st.lists(st.integers(0, 2**40), max_size=100))
def test_merging_is_recording_together(some: list[int], others: list[int]) -> None:
    """Two histograms that are merged are one that recorded the times of both."""
    merged = histogram_of(some)
    merged.merge(histogram_of(others))
    together = histogram_of(some + others)
    assert merged.filled() == together.filled()
    assert (merged.count, merged.total, merged.min, merged.max, merged.mean) == (
        together.count, together.total, together.min, together.max, together.mean,
    )  # fmt: skip


@given(times)
def test_a_bucket_holds_its_time_and_is_narrow(value: int) -> None:
    """Each time is in the one bucket whose bounds have it, no wider than 1/128 of its least time."""
    ((least, greatest, count),) = histogram_of([value]).filled()
    assert (least <= value <= greatest, count) == (True, 1)
    assert greatest - least <= least * WIDTH


def test_buckets_follow_one_another() -> None:
    """No time is between two buckets: around each edge of an octave they are adjacent."""
    for bit in range(8, 64):
        edge = histogram_of([2**bit - 1, 2**bit]).filled()
        assert edge[0][1] + 1 == edge[1][0] == 2**bit


def test_many_at_once_are_as_many_calls() -> None:
    """A count records the same time so often, and none at all with a count of 0."""
    histogram = Histogram()
    histogram.record(700, 3)
    histogram.record(12, 0)
    assert histogram.filled() == histogram_of([700] * 3).filled()
    assert (histogram.count, histogram.total, histogram.min) == (3, 2100, 700)
    assert repr(histogram) == "<Histogram of 3 times from 700 to 700 ns>"


def test_nothing_was_recorded() -> None:
    """An empty histogram, a new one or one that was reset, has no ends, mean or percentiles."""
    used = histogram_of([5])
    used.reset()
    for empty in (Histogram(), used):
        assert (empty.count, empty.min, empty.max, empty.mean, empty.filled()) == (0, None, None, None, [])
        with pytest.raises(UsageError, match="no percentiles of nothing"):
            empty.percentile(50)


@pytest.mark.parametrize("q", [-0.1, 100.1, float("nan")])
def test_what_is_no_percentage_is_refused(q: float) -> None:
    """Below 0, above 100, or no number."""
    with pytest.raises(UsageError, match="from 0 to 100"):
        histogram_of([1]).percentile(q)


@pytest.mark.parametrize("value", [-1, 2**64])
def test_what_is_no_time_is_refused(value: int) -> None:
    """A negative time, or one beyond 64 bits, is refused and not counted."""
    histogram = Histogram()
    with pytest.raises(UsageError, match=str(value)):
        histogram.record(value)
    assert histogram.count == 0
