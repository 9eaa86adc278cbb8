"""What goes wrong under SPDK's names, other threads and loops, and memory, without a loop and in one."""

from __future__ import annotations

import asyncio
import errno
import threading
from typing import Any

import pytest

from aionvme import spdk
from aionvme.spdk.driving import PRIVATE
from aionvme.spdk.memory import REGISTRY, place_of
from aionvme.tests.flow.spdk_stage import BLOCK, Stage, both_ways, in_loop, memory, stage, until, value


@pytest.fixture(autouse=True)
def _no_loop_is_left() -> Any:
    """A thread's private loop goes with its last controller."""
    yield
    assert PRIVATE._loop is None


def read(on: Stage, buf: memoryview, arg: Any = None) -> int:
    return spdk.spdk_nvme_ns_cmd_read(on.ns, on.qp, buf, 0, 1, on.cb, arg, 0)


# -- when things go wrong --------------------------------------------------------------------------------------------


@both_ways
async def test_timeout() -> None:
    """Polling is all that it takes for a command to time out and be aborted; its queue pair goes on."""
    async with stage(io_timeout_ms=20) as on:
        buf = memory()
        with on.mock.hold(qid=on.qp.qid, count=1):
            assert read(on, buf, "late") == 0
            ((arg, cpl),) = await on.done()
        assert arg == "late"
        assert spdk.spdk_nvme_cpl_is_error(cpl)
        await on.ok(read(on, buf))


@both_ways
async def test_abort() -> None:
    """Abort by SPDK's function ends the command, and says that it did."""
    async with stage() as on:
        buf = memory()
        with on.mock.hold(qid=on.qp.qid) as held:
            assert read(on, buf, "read") == 0
            await until(lambda: held.commands)
            ((qid, cid, _opcode),) = held.commands
            assert qid == on.qp.qid
            assert spdk.spdk_nvme_ctrlr_cmd_abort(on.ctrlr, on.qp, cid, on.cb, "abort") == 0
            ((arg, cpl),) = await on.admin()
            assert (arg, spdk.spdk_nvme_cpl_is_abort_success(cpl)) == ("abort", True)
            ((arg, cpl),) = await on.done()
            assert (arg, cpl.status.sc) == ("read", spdk.SPDK_NVME_SC_ABORTED_BY_REQUEST)


@both_ways
async def test_reset() -> None:
    """A reset ends what the controller had as an error, and the queue pair works again."""
    async with stage() as on:
        buf = memory()
        with on.mock.hold(qid=on.qp.qid) as held:
            assert read(on, buf) == 0
            await until(lambda: held.commands)
            assert await value(spdk.spdk_nvme_ctrlr_reset(on.ctrlr)) == 0
        ((_arg, cpl),) = await on.done()
        assert spdk.spdk_nvme_cpl_is_error(cpl)
        await on.ok(read(on, buf))


@both_ways
async def test_reset_that_fails() -> None:
    """It is -1; then everything is -ENXIO, once what was outstanding has been called back."""
    async with stage() as on:
        buf = memory()
        with on.mock.hold(qid=on.qp.qid) as held:
            assert read(on, buf) == 0
            await until(lambda: held.commands)
            on.mock.stuck = True
            assert await value(spdk.spdk_nvme_ctrlr_reset(on.ctrlr)) == -1
        ((_arg, cpl),) = await on.done()
        assert spdk.spdk_nvme_cpl_is_error(cpl)
        assert spdk.spdk_nvme_qpair_process_completions(on.qp, 0) == -errno.ENXIO
        assert read(on, buf) == -errno.ENXIO
        assert spdk.spdk_nvme_ctrlr_cmd_get_feature(on.ctrlr, 7, 0, None, 0, on.cb, None) == -errno.ENXIO
        assert spdk.spdk_nvme_ctrlr_process_admin_completions(on.ctrlr) == -errno.ENXIO
        assert await value(spdk.spdk_nvme_ctrlr_reset(on.ctrlr)) == -1


@both_ways
async def test_surprise_removal() -> None:
    """Commands of a controller that is gone are called back with an error, then everything is -ENXIO."""
    async with stage() as on:
        buf = memory()
        with on.mock.hold(qid=on.qp.qid) as held:
            assert read(on, buf) == 0
            await until(lambda: held.commands)
            on.mock.remove()
        ((_arg, cpl),) = await on.done()
        assert spdk.spdk_nvme_cpl_is_error(cpl)
        assert spdk.spdk_nvme_qpair_process_completions(on.qp, 0) == -errno.ENXIO
        assert read(on, buf) == -errno.ENXIO


# -- threads, loops, memory ------------------------------------------------------------------------------------------


@both_ways
async def test_another_thread() -> None:
    """A queue pair belongs to the thread that allocated it: elsewhere it is -EINVAL."""
    async with stage() as on:
        buf = memory()
        codes: list[int] = []

        def elsewhere() -> None:
            codes.append(read(on, buf))
            codes.append(spdk.spdk_nvme_qpair_process_completions(on.qp, 0))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert codes == [-errno.EINVAL, -errno.EINVAL]


def test_threads_of_their_own() -> None:
    """Each thread drives its own controllers without a loop, with memory that all of them reach."""
    buf = memory(b"shared")
    failed: list[BaseException] = []

    async def journey() -> None:
        async with stage() as on:
            for lba in range(50):
                code = spdk.spdk_nvme_ns_cmd_write(on.ns, on.qp, buf, lba, 1, on.cb, None, 0)
                await on.ok(code)
            assert on.mock.peek(1, 49)[:6] == b"shared"

    def run() -> None:
        try:
            journey().send(None)
        except StopIteration:
            pass
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    spdk.spdk_free(buf)


def test_inside_a_loop_that_is_another() -> None:
    """What was attached without a loop is -EINVAL inside one, and works again outside."""

    async def journey() -> None:
        async with stage() as on:
            buf = memory()

            async def inside() -> None:
                assert in_loop()
                assert read(on, buf) == -errno.EINVAL
                assert await value(spdk.spdk_nvme_ctrlr_alloc_io_qpair(on.ctrlr, None, 0)) is None
                assert await value(spdk.spdk_nvme_ctrlr_reset(on.ctrlr)) == -1

            asyncio.run(inside())
            await on.ok(read(on, buf))

    with pytest.raises(StopIteration):
        journey().send(None)


@both_ways
async def test_memory_of_two_controllers() -> None:
    """One buffer is a payload of every controller; freed, it is a payload of none."""
    buf = memory(b"both", 2 * BLOCK)
    async with stage() as one, stage() as two:
        for on in (one, two):
            code = spdk.spdk_nvme_ns_cmd_write(on.ns, on.qp, buf[BLOCK // 2 :], 0, 1, on.cb, None, 0)
            assert code == 0
            await on.done()
            code = spdk.spdk_nvme_ns_cmd_write(on.ns, on.qp, buf, 1, 1, on.cb, None, 0)
            await on.ok(code)
            assert on.mock.peek(1, 1)[:4] == b"both"
        spdk.spdk_free(buf)
        for on in (one, two):
            assert read(on, buf) == -errno.EINVAL


@both_ways
async def test_memory_of_the_callers() -> None:
    """Memory that the caller registered is a payload until it is unregistered."""
    mine = bytearray(4 * BLOCK)
    async with stage() as on:
        on.mock.poke(1, 0, b"mine" * (BLOCK // 4))
        into = memoryview(mine)[BLOCK : 2 * BLOCK]
        assert read(on, into) == -errno.EINVAL
        assert spdk.spdk_mem_register(mine, len(mine)) == 0
        await on.ok(read(on, into))
        assert mine[BLOCK : 2 * BLOCK] == b"mine" * (BLOCK // 4)
        assert spdk.spdk_mem_unregister(mine, len(mine)) == 0
        assert read(on, into) == -errno.EINVAL


@both_ways
async def test_memory_outlives_a_controller() -> None:
    """What was registered with a controller that is detached is registered anew with the next."""
    buf = memory(b"again")
    place = place_of(buf)
    assert place is not None
    for _ in range(2):
        async with stage() as on:
            await on.ok(spdk.spdk_nvme_ns_cmd_write(on.ns, on.qp, buf, 0, 1, on.cb, None, 0))
            assert list(REGISTRY._memories[place[0]].registrations) == [on.ctrlr]
        assert list(REGISTRY._memories[place[0]].registrations) == []
    spdk.spdk_free(buf)
