"""What drives the mock: the driver's own loop, or a thread that a test interferes with."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.spec.opcodes import AdminOpcode, FeatureId, LogPageId
from aionvme.tests.flow.support import PATIENCE, rig, until


def test_a_mock_that_is_a_task_of_the_loop_can_be_connected_to() -> None:
    """The mock may share the driver's loop instead of having a thread: a write reads back."""

    async def main() -> bytes:
        with MockController(drive="loop") as mock:
            async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair(depth=4) as qp:
                ns = ctrlr.namespaces[1]
                with ctrlr.dma_alloc(ns.block_size) as buf:
                    memoryview(buf)[:4] = b"loop"
                    await qp.write(ns, buf, 3, 1)
                    await qp.read(ns, buf, 3, 1)
                    return bytes(buf)[:4]

    for run in (asyncio.run, aionvme.run):
        assert run(main()) == b"loop"


class _Watched(asyncio.SelectorEventLoop):
    """A loop that knows which threads let go of its descriptors."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()

    def remove_reader(self, fd: Any) -> bool:
        self.threads.add(threading.get_ident())
        return super().remove_reader(fd)


def test_a_loop_is_left_by_its_own_thread() -> None:
    """A function is closed in a thread of the pool; a loop is not to be touched there, and uvloop's may break of it."""

    async def main() -> set[int]:
        with MockController(drive="loop") as mock:
            await (await aionvme.connect(mock)).close()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _Watched)
        return loop.threads

    with asyncio.Runner(loop_factory=_Watched) as runner:
        assert runner.run(main()) == {threading.get_ident()}


@pytest.mark.asyncio
async def test_releasing_a_command_loses_no_other_that_the_mock_has_just_fetched() -> None:
    """While its thread waits for the interpreter with an admin command, a release has that executed before its own."""
    async with rig() as r:
        for _ in range(500):
            held = r.mock.hold(qid=0, opcode=AdminOpcode.GET_LOG_PAGE, count=1)
            page = asyncio.ensure_future(r.ctrlr.get_log_page(LogPageId.SMART))
            await until(partial(getattr, held, "commands"))
            feature = asyncio.ensure_future(r.ctrlr.get_feature(FeatureId.NUMBER_OF_QUEUES))
            # Long enough to be fetched, too short to be executed.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            held.release()
            await asyncio.wait_for(asyncio.gather(page, feature), PATIENCE)
