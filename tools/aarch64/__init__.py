"""The barriers and register accesses on aarch64: compiled on any Debian machine, their instructions looked at, and run.

Belongs here: what shows that `aionvme/pci/mmio.h` is right where no aarch64 machine is at hand. Does not: the driver.
"""
