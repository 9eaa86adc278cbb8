"""A device with anything in its registers: bring-up ends with an error or a controller, in bounded time.

AIONVME_FUZZ=N has N times as many examples; `make full` sets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aionvme
from aionvme.admin.bringup import Registers
from aionvme.mock import MockController
from aionvme.spec.registers import Reg
from aionvme.testing import run

MORE = int(os.environ.get("AIONVME_FUZZ", "1"))
OPTIONS = aionvme.ControllerOptions(
    admin_timeout=0.05, abort_timeout=0.05, num_io_queues=2, shutdown_timeout=0.1
)
# Far more than all of its time limits together.
SECONDS = 60.0
OFFSETS = (Reg.CAP, Reg.CAP + 4, Reg.VS, Reg.CC, Reg.CSTS, Reg.CMBLOC, Reg.CMBSZ)
VALUES = st.one_of(st.sampled_from([0, 1, 2, 3, 1 << 4, 0xFFFFFFFF]), st.integers(0, 0xFFFFFFFF))


async def _connects(lies: dict[int, int], after: int) -> None:
    """Brings up a mock whose registers are these from the n-th look at CSTS on."""
    with MockController(drive="step") as mock:
        true, left = mock._registers.refresh, after

        def refresh() -> None:
            nonlocal left
            true()
            left -= 1
            if left < 0:
                lie()

        def lie() -> None:
            for offset, value in lies.items():
                mock._machine.set32(offset, value)

        mock._registers.refresh = refresh  # type: ignore[method-assign]
        if after == 0:
            lie()
        async with asyncio.timeout(SECONDS), aionvme.connect(mock, OPTIONS) as ctrlr:
            assert ctrlr.data.mn.strip() == "aionvme mock"


@settings(max_examples=40 * MORE, deadline=None)
@given(st.dictionaries(st.sampled_from(OFFSETS), VALUES, min_size=1), st.integers(0, 4))
def test_anything_in_the_registers(lies: dict[int, int], after: int) -> None:
    """It is a controller that says what it is, or an error of ours; never a crash, another exception or a hang."""
    with pytest.MonkeyPatch.context() as patch:
        # CAP.TO has up to two minutes.
        patch.setattr(Registers, "timeout", 0.05)
        with contextlib.suppress(aionvme.NvmeError):
            run(_connects(lies, after))
