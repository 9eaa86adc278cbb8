"""Holds the journeys on QEMU's NVMe controller in a guest, through the Linux kernel's VFIO. See tools/vm."""
