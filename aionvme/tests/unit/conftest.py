"""Owns how hypothesis runs these tests: what it finds is a failure, how long the machine took to find it is none."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from aionvme.tests.quick import examples


def pytest_configure() -> None:
    """Load the profile, once it is known whether this is a quick run."""
    settings.register_profile(
        "aionvme",
        deadline=None,  # this and the check by the clock on the wall: a busy machine would fail any test now and then
        suppress_health_check=[HealthCheck.too_slow],
        max_examples=examples(100),
    )
    settings.load_profile("aionvme")
