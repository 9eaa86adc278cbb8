"""Every construct of asyncio at every moment: commands behave in it as futures do, and as the rules for memory say."""

from __future__ import annotations

import asyncio

import pytest

from aionvme.tests.flow.tasks.constructs import CONSTRUCTS, Construct
from aionvme.tests.flow.tasks.moments import MOMENTS, Commands, Futures, Late, Moment, play
from aionvme.tests.flow.tasks.stage import Stage

# A command tells its waiter in the turn that reaps it, a future one turn later: the group knows of the failure first.
TOLD_EARLIER = ("task_group", "posted, failed")


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
@pytest.mark.parametrize("construct", CONSTRUCTS, ids=str)
def test_as_a_future(stage: Stage, construct: Construct, moment: Moment) -> None:
    """What is to be seen is what futures show whose cancellation takes time; the end is that of asyncio's own."""

    async def compare(stage: Stage) -> None:
        seen = await play(construct, moment, Commands(stage))
        assert seen == await play(construct, moment, Futures(stage, Late))
        plain = await play(construct, moment, Futures(stage, asyncio.Future))
        if (str(construct), moment.name) != TOLD_EARLIER:
            assert seen.ended == plain.ended

    stage.run(compare)
