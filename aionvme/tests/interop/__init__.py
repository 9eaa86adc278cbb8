"""Holds what the mock goes through with other people's drivers, over vfio-user. See tools/interop."""
