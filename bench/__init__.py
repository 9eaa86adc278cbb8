"""Benchmarks: what the driver costs, measured. Not tests, and not in an installed package."""
