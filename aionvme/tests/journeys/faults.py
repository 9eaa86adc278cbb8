"""Owns the journeys of what goes wrong: a status, a cancellation, a time limit, a reset under way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import aionvme
from aionvme.spec.entries import Sqe
from aionvme.spec.opcodes import AdminOpcode, NvmOpcode
from aionvme.tests.journeys.device import Device, MiB, fill, pattern, stale

# Reserved, as an admin command and in the NVM command set.
NO_SUCH_OPCODE = 0x1F


async def lba_out_of_range(device: Device) -> None:
    """A read behind the last block is a `UsageError` at the call; sent raw, the controller's LBA Out of Range."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair() as qp:
        buf = ctrlr.dma_alloc(4096)
        ns = ctrlr.namespaces[1]
        for lba, nblocks in ((device.nblocks, 1), (device.nblocks - 1, 2), (0, 0), (-1, 1), (1 << 64, 1)):
            with pytest.raises(aionvme.UsageError):
                qp.read(ns, buf, lba, nblocks)
        request = qp.submit_io_raw(
            Sqe(opc=NvmOpcode.READ, nsid=1, cdw10=device.nblocks).encode(),
            data=memoryview(buf)[: device.block_size],
        )
        with pytest.raises(aionvme.GenericStatusError) as caught:
            await request
        error = caught.value
        assert error.status.name == "LBA_OUT_OF_RANGE"
        assert (error.sct, error.sc, error.dnr) == (0, 0x80, True)
        assert (error.opcode, error.qid, error.cid) == (NvmOpcode.READ, qp.qid, request.cid)
        assert (error.cpl.sqid, error.cpl.cid) == (qp.qid, request.cid)
        await qp.read(ns, buf, device.nblocks - 1, 1)


async def invalid_opcodes(device: Device) -> None:
    """A command that there is not fails with Invalid Command Opcode, on both kinds of queue pair and to a callback."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair() as qp:
        sqe = Sqe(opc=NO_SUCH_OPCODE, nsid=1).encode()
        told = asyncio.get_running_loop().create_future()
        qp.submit_io_raw(sqe, lambda future, cpl: future.set_result(cpl.status), told)
        assert (await told).name == "INVALID_OPCODE"
        for queue, command in ((qp.qid, qp.io_raw), (0, ctrlr.admin_raw)):
            with pytest.raises(aionvme.StatusError) as caught:
                await command(sqe)
            assert caught.value.status.name == "INVALID_OPCODE"
            assert (caught.value.qid, caught.value.opcode) == (queue, NO_SUCH_OPCODE)


async def a_queued_command_is_cancelled(device: Device) -> None:
    """A write that waits for a slot and is cancelled ends at once, and nothing of it reaches the device."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair(depth=2) as qp:
        ns, size, lba, count = ctrlr.namespaces[1], device.block_size, device.blocks(7 * MiB), 24
        before, after = pattern(10_000, count * size), pattern(10_001, count * size)
        with ctrlr.dma_alloc(count * size) as buf:
            await qp.write(ns, fill(buf, before), lba, count)
            fill(buf, after)
            requests = [qp.submit_write(ns, memoryview(buf)[n * size :], lba + n, 1) for n in range(count)]
            victims = [request for n, request in enumerate(requests) if n % 3 == 2]
            assert all(request.cid is None for request in victims)
            for request in victims:
                assert request.cancel("not wanted any more")
                assert request.cancelled()
            ended = await asyncio.gather(*requests, return_exceptions=True)
            assert [isinstance(e, asyncio.CancelledError) for e in ended] == [r in victims for r in requests]
            assert not victims[0].cancel()
            await qp.read(ns, fill(buf, bytes(count * size)), lba, count)
            wanted = b"".join(
                (before if n % 3 == 2 else after)[n * size : (n + 1) * size] for n in range(count)
            )
            assert bytes(buf) == wanted
    device.record_blocks(lba, wanted)


async def commands_in_flight_are_cancelled(device: Device) -> None:
    """Tasks that are cancelled while the device has their command end cancelled, once their memory is theirs."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair(depth=64) as qp:
        ns, nblocks, count = ctrlr.namespaces[1], device.blocks(16384), 32
        buffers = [stale(ctrlr, 16384) for _ in range(count)]
        requests = [qp.submit_read(ns, buf, 0, nblocks) for buf in buffers]

        async def wait(request: aionvme.Request) -> None:
            await request

        tasks = [asyncio.create_task(wait(request)) for request in requests]
        await asyncio.sleep(0)
        asked = [task.cancel() for task in tasks[::2]]
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(request.done() for request in requests)
        seen = [bytes(buf) for buf in buffers]
        for task_asked, result in zip(asked, ended[::2], strict=True):
            assert isinstance(result, asyncio.CancelledError) == task_asked
        assert [result for result in ended[1::2] if result is not None] == []
        # Later commands leave the memory of the ended ones alone, and the queue pair is as good as new.
        await qp.read(ns, ctrlr.dma_alloc(16384), 0, nblocks)
        assert [bytes(buf) for buf in buffers] == seen


async def short_time_limits(device: Device) -> None:
    """With hardly any time a command ends in time or in `CommandTimeoutError`, and the next one is not affected."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair(depth=4) as qp:
        ns, nblocks = ctrlr.namespaces[1], device.blocks(MiB)
        with ctrlr.dma_alloc(MiB) as buf:
            ended: list[object] = await asyncio.gather(
                *(qp.read(ns, buf, 0, nblocks, timeout=1e-5) for _ in range(16)), return_exceptions=True
            )
            late = [error for error in ended if isinstance(error, aionvme.CommandTimeoutError)]
            assert [e for e in ended if not isinstance(e, aionvme.Completion)] == late
            # Of those that waited for a slot some must have been late.
            assert late
            assert {(e.opcode, e.qid, e.timeout) for e in late} == {(NvmOpcode.READ, qp.qid, 1e-5)}
            await qp.read(ns, buf, 0, nblocks)


async def a_command_that_never_ends(device: Device) -> None:
    """A command that the device keeps ends at its time limit by Abort or by a reset, and all goes on after it."""
    async with device.connect(abort_timeout=0.5) as ctrlr, ctrlr.alloc_io_qpair() as qp:
        ns, nblocks = ctrlr.namespaces[1], device.blocks(8192)
        data = pattern(11_000, nblocks * device.block_size)
        with ctrlr.dma_alloc(len(data)) as buf:
            await qp.write(ns, fill(buf, data), device.scratch, nblocks)
            # An Asynchronous Event Request is completed by an event, of which there is none.
            never = ctrlr.admin_raw(Sqe(opc=AdminOpcode.ASYNC_EVENT_REQUEST).encode(), timeout=0.2)
            with pytest.raises(aionvme.CommandTimeoutError) as caught:
                await never
            assert (caught.value.opcode, caught.value.qid) == (AdminOpcode.ASYNC_EVENT_REQUEST, 0)
            fill(buf, bytes(len(data)))
            await qp.read(ns, buf, device.scratch, nblocks)
            assert bytes(buf) == data
            await ctrlr.identify(1)


async def a_reset_with_commands_in_flight(device: Device) -> None:
    """A reset ends what the device has with `ControllerResetError`, and what waits for a slot is done afterwards."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair(depth=8) as qp:
        ns, size, lba = ctrlr.namespaces[1], device.block_size, device.blocks(7 * MiB + MiB // 2)
        count, data = 40, pattern(12_000, 40 * size)
        with ctrlr.dma_alloc(len(data)) as buf:
            fill(buf, data)

            def write(n: int) -> aionvme.Request:
                n %= count
                return qp.submit_write(ns, memoryview(buf)[n * size :], lba + n, 1)

            # More than one turn of the loop can be done with, however fast the device.
            requests = [write(n) for n in range(10 * count)]
            resetting = asyncio.create_task(ctrlr.reset())
            ended: list[Any] = await asyncio.gather(*requests, return_exceptions=True)
            await resetting
            lost = [n for n, e in enumerate(ended) if isinstance(e, aionvme.ControllerResetError)]
            assert lost, "none was in flight"
            assert len(lost) <= 8
            assert [e for e in ended if isinstance(e, BaseException)] == [ended[n] for n in lost]
            await asyncio.gather(*(write(n) for n in lost))
            await qp.read(ns, fill(buf, bytes(len(data))), lba, count)
            assert bytes(buf) == data
    device.record_blocks(lba, data)


async def resets_in_a_row(device: Device) -> None:
    """After each of several resets every queue pair, buffer and registration works as before."""
    async with device.connect() as ctrlr:
        ns, size = ctrlr.namespaces[1], device.block_size
        pairs = [await ctrlr.alloc_io_qpair(completion=mode) for mode in ("poll", "interrupt", "adaptive")]
        own = bytearray(3 * 4096)
        with ctrlr.dma_alloc(4096) as buf, ctrlr.dma_register(own):
            for turn in range(3):
                data = pattern(13_000 + turn, size)
                await ctrlr.reset()
                assert ctrlr.namespaces[1] is ns
                for n, qp in enumerate(pairs):
                    await qp.write(ns, fill(buf, data), device.scratch + n, 1)
                    await qp.read(ns, own, device.scratch + n, 1)
                    assert own[:size] == data
        for qp in pairs:
            await qp.close()


WRITING = (a_queued_command_is_cancelled, a_reset_with_commands_in_flight)
OTHERS = (
    lba_out_of_range,
    invalid_opcodes,
    commands_in_flight_are_cancelled,
    short_time_limits,
    a_command_that_never_ends,
    resets_in_a_row,
)
