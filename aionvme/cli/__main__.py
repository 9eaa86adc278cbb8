"""`python -m aionvme.cli`: the command where its script is not installed."""

from aionvme.cli import command

command()
