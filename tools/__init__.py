"""Holds what the development of aionvme needs and an installed aionvme does not."""
