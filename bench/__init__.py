"""Benchmarks: what the driver costs, beside what others cost, on one machine and in one run. Not tests.

Each is a module with `--help`; `make bench` runs the main one. Runs of what is compared are interleaved, and medians
are told with their spread. Figures say nothing unless the machine does nothing else.
"""
