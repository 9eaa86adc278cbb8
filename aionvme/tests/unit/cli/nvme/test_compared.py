"""What is compared with nvme-cli: every sub-command that shows something is, or there is a reason."""

from __future__ import annotations

import pytest

pytest.importorskip("typer", reason="the command line is an extra")

from aionvme.cli.nvme import features, identify, logs, status
from aionvme.tests.vm.compared import FIRST, LISTS, OTHERS, REASONS, REFUSED


def test_each_that_shows_is_compared_or_has_a_reason() -> None:
    """A sub-command that shows something is in one of the tables, which have no other."""
    families = (identify, logs, features, status)
    shows = {entry.name for family in families for entry in family.commands.entries} | set(LISTS)
    compared = {name.split()[0] for table in (FIRST, OTHERS, REFUSED) for name in table} | set(LISTS)
    assert compared | set(REASONS) == shows
    assert not compared & set(REASONS)
