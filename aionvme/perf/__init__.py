"""Measuring: workloads, the loops that drive them, histograms of latency, and reports of what was measured.

Belongs here: all that decides what a figure means. It is a user of the public names, and the hot part of its loops is
compiled, so that a measurement is one of the driver and not of the tool. Does not belong here: options, tables and
questions, which are the command line's (`aionvme perf`).
"""
