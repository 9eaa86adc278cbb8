"""Which of ONCS and the commands supported log is asked whether a controller has a command."""

from __future__ import annotations

import pytest

from aionvme import UsageError
from aionvme.qpair.limits import Limits
from aionvme.spec.opcodes import NvmOpcode

VERIFY = int(NvmOpcode.VERIFY)


def test_without_a_log_oncs_says_it() -> None:
    """Where there is no log, a command is there whose bit of ONCS is set."""
    Limits(oncs=1 << 7).require(VERIFY)
    with pytest.raises(UsageError, match="ONCS bit 7 is 0"):
        Limits(oncs=0xFFFF & ~(1 << 7)).require(VERIFY)


@pytest.mark.parametrize("oncs", [0, 0xFFFF])
def test_the_log_is_believed(oncs: int) -> None:
    """Where there is a log, it says it, whatever ONCS says."""
    Limits(oncs=oncs, in_log=lambda opcode: opcode == VERIFY).require(VERIFY)
    with pytest.raises(UsageError, match="log says so"):
        Limits(oncs=oncs, in_log=lambda opcode: opcode != VERIFY).require(VERIFY)
