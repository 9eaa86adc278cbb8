"""What a controller may come back with from a reset."""

from __future__ import annotations

import pytest

from aionvme.admin.bringup import Registers, check_unchanged
from aionvme.errors import ControllerFailedError, ControllerLostError
from aionvme.spec.registers import Cap
from aionvme.tests.unit.pci.recording import RecordingFunction


class Function(RecordingFunction):
    """A function that is nothing but CAP."""

    def __init__(self, **fields: int) -> None:
        super().__init__()
        self.cap = Cap(**fields).to_int()

    def read64(self, offset: int) -> int:
        assert offset == 0
        return self.cap


def test_a_controller_that_came_back_the_same_or_with_fewer_entries() -> None:
    """Then what it has now holds from here on."""
    function = Function(mqes=63, mpsmax=4)
    registers = Registers(function)
    check_unchanged(registers, 4096)
    function.cap = Cap(mqes=31, mpsmax=0).to_int()
    check_unchanged(registers, 4096)
    assert registers.cap.mqes == 31


@pytest.mark.parametrize(
    "now", [{"mqes": 63, "dstrd": 1, "mpsmax": 4}, {"mqes": 63, "mpsmin": 1, "mpsmax": 4}]
)
def test_a_controller_that_came_back_with_other_doorbells_or_pages(now: dict[str, int]) -> None:
    """The rings were laid out by what it had: it has to be connected to anew, which the message says."""
    function = Function(mqes=63, mpsmax=4)
    registers = Registers(function)
    function.cap = Cap(**now).to_int()
    with pytest.raises(ControllerFailedError, match=r"other doorbells or pages .*connect to it anew"):
        check_unchanged(registers, 4096)
    assert registers.cap.mqes == 63


def test_a_controller_that_is_gone_by_then() -> None:
    """All ones are no capabilities."""
    function = Function(mqes=63)
    registers = Registers(function)
    function.cap = (1 << 64) - 1
    with pytest.raises(ControllerLostError):
        check_unchanged(registers, 4096)
