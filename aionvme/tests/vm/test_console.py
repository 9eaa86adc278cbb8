"""What the guest's kernel said while the tests ran: nothing that a driver of ours may cause."""

from __future__ import annotations

import re

import pytest

from aionvme.tests.vm.conftest import SHARE

pytestmark = pytest.mark.vm_host

# An access that the IOMMU refused, an interrupt that nobody wanted, a mistake that the kernel noticed.
BAD = re.compile(
    r"DMAR: .*fault|irq \d+: nobody cared|BUG:|\bOops\b|WARNING:|Call Trace|I/O error|nvme.*(timeout|resetting)"
)


def test_no_fault_was_reported() -> None:
    """The console has no IOMMU fault, no warning of the kernel's and no I/O error."""
    console = (SHARE.parent / "console.log").read_text(errors="replace")
    assert "DMAR: IOMMU enabled" in console, "the guest had no IOMMU, or said nothing of it"
    assert [line for line in console.splitlines() if BAD.search(line)] == []
