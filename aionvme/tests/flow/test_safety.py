"""What is not to happen to data and process: data that is shown, a forked child that drives, resources that run out."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.spec.opcodes import NvmOpcode
from aionvme.tests.flow.support import until
from aionvme.tests.leaks import Census

SECRET = b"my secret, "


@contextmanager
def _descriptors(count: int) -> Iterator[None]:
    """This process may open so many more."""
    lowest = os.dup(0)
    os.close(lowest)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def _reads(mock: MockController) -> None:
    async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair() as qp:
        with ctrlr.dma_alloc(4096) as buf:
            await qp.read(ctrlr.namespaces[1], buf, 0, 1)


@pytest.mark.asyncio
async def test_few_descriptors() -> None:
    """With none it is said what to do, with some it uses fewer interrupts; nothing stays open whatever failed."""
    with MockController() as mock:
        await _reads(mock)
        before = await Census.of_loop()
        ended = []
        for count in range(12):
            with _descriptors(count):
                try:
                    await _reads(mock)
                    ended.append("well")
                except OSError as error:
                    assert error.errno == errno.EMFILE  # noqa: PT017
                    ended.append(str(error))
            assert await before.leaked() == []
        assert "ulimit -n" in ended[0] and str(mock.pci_dev) in ended[0]
        assert ended[-1] == "well"


@pytest.mark.asyncio
async def test_no_memory(no_leaks: None) -> None:
    """More memory than there is, or than the process may have, is said to be so, and what was had before goes on."""
    with MockController() as mock:
        async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair() as qp:
            with pytest.raises(MemoryError, match="bytes are available"):
                ctrlr.dma_alloc(1 << 44)
            limits = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, limits[1]))
            try:
                with pytest.raises(MemoryError, match="no address space for 2147483648 bytes"):
                    ctrlr.dma_alloc(2 << 30)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, limits)
            with ctrlr.dma_alloc(4096) as buf:
                await qp.read(ctrlr.namespaces[1], buf, 0, 1)


@pytest.mark.asyncio
async def test_a_forked_child_is_refused(no_leaks: None) -> None:
    """Nothing that a child has of an open driver takes a command, and the parent's goes on."""
    with MockController() as mock:
        async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair() as qp:
            buf = ctrlr.dma_alloc(512)
            ns = ctrlr.namespaces[1]
            manual = await ctrlr.alloc_io_qpair(completion="manual")
            manual.submit_flush(ns, lambda _arg, _cpl: None)
            calls: list[Callable[[], object]] = [
                lambda: qp.submit_read(ns, buf, 0, 1),
                lambda: qp.submit_write(ns, buf, 0, 1),
                lambda: qp.read_batch(ns, buf, np.arange(1), 1),
                lambda: qp.submit_flush(ns),
                lambda: manual.submit_read(ns, buf, 0, 1),
                lambda: manual.submit_flush(ns),
                lambda: manual.process_completions(),
                lambda: ctrlr.identify(1),
                lambda: ctrlr.dma_alloc(512),
            ]
            child = os.fork()
            if child == 0:
                os._exit(_taken(calls))
            assert _status_of(child) == 0
            await qp.read(ns, buf, 0, 1)
            await until(manual.process_completions)
            await manual.close()
            buf.close()


def _status_of(child: int) -> int:
    """How it ended; the loop stands still meanwhile."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _taken(calls: list[Callable[[], object]]) -> int:
    """How many of the calls were not refused."""
    count = 0
    for call in calls:
        try:
            call()
        except aionvme.UsageError:
            continue
        except BaseException:
            traceback.print_exc()
        count += 1
    return count


@pytest.mark.asyncio
async def test_data_is_never_shown(caplog: pytest.LogCaptureFixture, no_leaks: None) -> None:
    """Neither a repr, nor an error, nor the log at its most talkative has what is in a buffer or on the device."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    shown: list[str] = []
    with MockController() as mock:
        opts = aionvme.ControllerOptions(abort_timeout=0.05)
        async with aionvme.connect(mock, opts) as ctrlr, ctrlr.alloc_io_qpair() as qp:
            ns, buf = ctrlr.namespaces[1], ctrlr.dma_alloc(4096)
            memoryview(buf)[:] = (SECRET * 4096)[:4096]
            owned = bytearray(buf)
            async with ctrlr.dma_register(owned) as registration:
                shown += [repr(await qp.write(ns, buf, 0, 8)), repr(registration)]
                result = await qp.write_batch(ns, buf, np.arange(8), 1)
                mock.fail(0x281, qid=1, opcode=NvmOpcode.READ)
                failing, held = qp.read(ns, buf, 0, 1), qp.submit_compare(ns, owned, 0, 8)
                shown += [repr(one) for one in (buf, failing, held, result, ctrlr, qp, ns, mock)]
                with pytest.raises(aionvme.StatusError) as failed:
                    await failing
                await held
                with mock.hold(qid=1), pytest.raises(aionvme.CommandTimeoutError) as late:
                    await qp.write(ns, buf, 0, 8, timeout=0.01)
                await ctrlr.reset()
                shown += ["".join(traceback.format_exception(one.value)) for one in (failed, late)]
            buf.close()
    shown += [record.getMessage() for record in caplog.records]
    text = "".join(shown)
    assert len(text) > 1000
    assert SECRET.decode() not in text and SECRET.hex() not in text
