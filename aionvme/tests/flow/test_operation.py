"""What takes several admin commands and is used as one."""

import asyncio
from typing import Any

import pytest

import aionvme
from aionvme.admin.operation import Operation, Reporter
from aionvme.errors import StatusError
from aionvme.mock import MockController
from aionvme.qpair.request import Completion
from aionvme.spec.opcodes import AdminOpcode, Cns

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop")]


async def _serials(ctrlr: aionvme.Controller, times: int) -> list[str]:
    return [(await ctrlr.identify(Cns.CONTROLLER)).sn for _ in range(times)]


def _start(ctrlr: aionvme.Controller, calls: list[Completion]) -> Operation[list[str]]:
    def call(_arg: Any, cpl: Completion) -> None:
        calls.append(cpl)

    return ctrlr._operation("serials", _serials(ctrlr, 3), call, None)


async def test_it_is_awaited_and_called_back() -> None:
    """Its result is what awaiting gives, and the value of the one completion that its callback gets."""
    calls: list[Completion] = []
    async with aionvme.connect("mock:") as ctrlr:
        operation = _start(ctrlr, calls)
        assert operation.cpl is None
        serials = await operation
        await asyncio.sleep(0)
    assert len(serials) == 3
    assert [(cpl.value, bool(cpl.status)) for cpl in calls] == [(serials, False)]


async def test_its_failure_is_the_command_s() -> None:
    """The command that failed is what it raises, and the completion that its callback gets."""
    mock = MockController()
    calls: list[Completion] = []
    async with aionvme.connect(mock) as ctrlr:
        mock.fail(0x06, qid=0, opcode=AdminOpcode.IDENTIFY)
        operation = _start(ctrlr, calls)
        with pytest.raises(StatusError) as caught:
            await operation
        await asyncio.sleep(0)
    assert calls == [caught.value.cpl]
    mock.close()


async def test_it_is_cancelled_when_its_command_has_ended() -> None:
    """Cancelling it aborts the command that it waits for; its callback gets a status, and once."""
    mock = MockController()
    calls: list[Completion] = []
    async with aionvme.connect(mock) as ctrlr:
        with mock.hold(qid=0, opcode=AdminOpcode.IDENTIFY):
            operation = _start(ctrlr, calls)
            await asyncio.sleep(0)
            operation.cancel()
            with pytest.raises(asyncio.CancelledError):
                await operation
            await asyncio.sleep(0)
    assert [cpl.status.name for cpl in calls] == ["COMMAND_ABORTED_BY_HOST"]
    mock.close()


async def test_none_begins_on_a_controller_that_is_closed() -> None:
    """It says why, and leaves no coroutine that was never awaited."""
    async with aionvme.connect("mock:") as ctrlr:
        pass
    with pytest.raises(aionvme.UsageError, match="closed"):
        _start(ctrlr, [])


async def _steps(ctrlr: aionvme.Controller, report: Reporter, failing: bool) -> int:
    for number in range(1, 4):
        await ctrlr.identify(Cns.CONTROLLER)
        report(number, 3)
        await asyncio.sleep(0)
    if failing:
        raise aionvme.UsageError("on purpose")
    return 3


@pytest.mark.parametrize("failing", [False, True])
async def test_its_progress_is_iterated(failing: bool) -> None:
    """Each step is seen, by two at once; the iteration ends with the operation, and only awaiting it raises."""
    async with aionvme.connect("mock:") as ctrlr:
        report = Reporter()
        operation = ctrlr._operation("steps", _steps(ctrlr, report, failing), None, None, report)
        assert not operation.progress

        async def watch() -> list[int]:
            return [progress.done async for progress in operation]

        seen = await asyncio.gather(watch(), watch())
        assert list(seen) == [[1, 2, 3], [1, 2, 3]]
        assert operation.progress
        assert operation.progress.fraction == 1
        if failing:
            with pytest.raises(aionvme.UsageError, match="on purpose"):
                await operation
        else:
            assert await operation == 3
