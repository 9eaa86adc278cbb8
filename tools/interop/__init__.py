"""Owns the guest of the interop tier: a Linux whose own drivers and tools use what a process of ours serves.

It is made like the guest of `tools.vm`, by whose parts it is built and booted, but has a later QEMU and a root of its
own. Nothing here is part of the driver or is installed with it. The standard library is all it needs on the host.
"""
