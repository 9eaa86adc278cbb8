"""What is asked of arbitration, and what a controller makes of it."""

from __future__ import annotations

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.spec.opcodes import AdminOpcode, FeatureId
from aionvme.spec.status import StatusCode

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]


async def test_a_refusal_leaves_the_controllers_own() -> None:
    """A controller whose arbitration can't be changed comes up all the same, and `opts` has its own values."""
    asked = aionvme.ControllerOptions(
        arb_mechanism=aionvme.ArbMechanism.WEIGHTED_ROUND_ROBIN, arbitration_burst=2, high_priority_weight=200
    )
    with MockController(wrr=True) as mock:
        async with aionvme.connect(mock) as ctrlr:
            own = (await ctrlr.get_feature(FeatureId.ARBITRATION)).dw0
        # The first Set Features is the host identifier.
        mock.fail(StatusCode.FEATURE_NOT_CHANGEABLE, qid=0, opcode=AdminOpcode.SET_FEATURES, nth=2, dnr=True)
        async with aionvme.connect(mock, asked) as ctrlr:
            opts = ctrlr.opts
            assert opts.arb_mechanism is aionvme.ArbMechanism.WEIGHTED_ROUND_ROBIN
            assert (await ctrlr.get_feature(FeatureId.ARBITRATION)).dw0 == own
            assert opts.arbitration_burst == own & 7
            assert opts.low_priority_weight == (own >> 8 & 0xFF) + 1
            assert opts.medium_priority_weight == (own >> 16 & 0xFF) + 1
            assert opts.high_priority_weight == (own >> 24) + 1
            assert asked.high_priority_weight == 200
