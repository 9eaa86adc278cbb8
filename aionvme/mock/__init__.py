"""An NVMe controller in software, behind the same seam as a VFIO function."""
