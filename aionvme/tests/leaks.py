"""Owns the name by which the tests here look for leaks: the look itself is that of the pytest plugin."""

from aionvme.pytest_plugin.leaks import PATIENCE, Census, settle

__all__ = ["PATIENCE", "Census", "settle"]
