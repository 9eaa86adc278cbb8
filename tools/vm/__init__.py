"""Owns the virtual machine of the VM test tier: its kernel, its boot, and what is checked after power-off.

Nothing here is part of the driver or is installed with it. The standard library is all it needs on the host.
"""
