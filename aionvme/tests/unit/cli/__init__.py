"""The `aionvme` command."""
