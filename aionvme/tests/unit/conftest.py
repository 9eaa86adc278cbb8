"""Owns how hypothesis runs these tests: what it finds is a failure, how long the machine took to find it is none."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# By the clock on the wall, both: a machine that is busy with other things would fail any test now and then.
settings.register_profile("aionvme", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("aionvme")
