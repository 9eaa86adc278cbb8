"""What is refused: by the call itself, in both spellings, before anything reaches the device.

With advice.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.tests.flow.support import Rig, fetched, kinds, rig

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]

Make = Callable[[Rig], tuple[Any, ...]]
USAGE = aionvme.UsageError
LAST = 131072  # blocks of the mock's namespace


def _of(r: Rig, nbytes: int = 4096) -> memoryview:
    return memoryview(r.ctrlr.dma_alloc(nbytes))


def _closed(r: Rig) -> aionvme.DmaBuffer:
    buf = r.ctrlr.dma_alloc(512)
    buf.close()
    return buf


# What is wrong, the arguments (of a read and of a write), the exception, and what the message must say.
TRANSFERS = [
    ("buffer too short", lambda r: (r.ns, r.buf, 0, 2), USAGE, "512 bytes; 2 blocks of 512 need 1024"),
    ("no block", lambda r: (r.ns, r.buf, 0, 0), USAGE, "nblocks must be 1 or more, not 0"),
    ("negative count", lambda r: (r.ns, r.buf, 0, -1), USAGE, "nblocks must be from 0"),
    ("huge count", lambda r: (r.ns, r.buf, 0, 2**64 - 1), USAGE, "outside of the namespace"),
    ("count beyond 64 bits", lambda r: (r.ns, r.buf, 0, 2**70), USAGE, "nblocks must be"),
    ("behind the end", lambda r: (r.ns, r.buf, LAST, 1), USAGE, f"which has {LAST} blocks"),
    ("over the end", lambda r: (r.ns, _of(r), LAST - 1, 2), USAGE, f"which has {LAST} blocks"),
    ("sum wraps", lambda r: (r.ns, r.buf, 2**64 - 1, 2), USAGE, "outside of the namespace"),
    ("negative lba", lambda r: (r.ns, r.buf, -1, 1), USAGE, "lba must be from 0"),
    ("misaligned", lambda r: (r.ns, _of(r)[1:], 0, 1), USAGE, "multiple of 4 bytes"),
    ("not mapped", lambda r: (r.ns, bytearray(512), 0, 1), USAGE, r"ctrlr\.dma_register\(\)"),
    ("not contiguous", lambda r: (r.ns, np.zeros((64, 32), "u1")[:, ::2], 0, 1), USAGE, "C-contiguous"),
    ("closed buffer", lambda r: (r.ns, _closed(r), 0, 1), USAGE, "closed"),
    ("no buffer", lambda r: (r.ns, 5, 0, 1), TypeError, None),
    ("no buffer but None", lambda r: (r.ns, None, 0, 1), TypeError, None),
    ("lba with a fraction", lambda r: (r.ns, r.buf, 0.5, 1), TypeError, None),
    ("no namespace", lambda r: (1, r.buf, 0, 1), TypeError, None),
    ("namespace None", lambda r: (None, r.buf, 0, 1), TypeError, None),
    ("lba of a wrong type", lambda r: (r.ns, r.buf, "0", 1), TypeError, None),
    ("count of a wrong type", lambda r: (r.ns, r.buf, 0, 1.5), TypeError, None),
]
KEYWORDS = [
    ({"io_flags": 1}, USAGE, "FORCE_UNIT_ACCESS and LIMITED_RETRY"),
    ({"io_flags": 1 << 40}, USAGE, "io_flags"),
    ({"io_flags": -1}, USAGE, "io_flags"),
    ({"io_flags": "fua"}, TypeError, None),
    ({"timeout": -1}, USAGE, "timeout must be from 0"),
    ({"timeout": float("nan")}, USAGE, "timeout must be from 0"),
    ({"timeout": float("inf")}, USAGE, "timeout must be from 0"),
    ({"timeout": 1e30}, USAGE, "timeout must be from 0"),
    ({"timeout": 10**400}, USAGE, "timeout must be from 0"),
    ({"timeout": "1"}, TypeError, None),
]


async def refused(
    r: Rig, calls: list[Callable[[], object]], error: type[Exception], text: str | None
) -> None:
    """Each call raises; the device has seen nothing, no slot is taken, the queue pair works.

    Its memory is free.
    """
    before = (r.mock.queue(1).fetched, r.mock.queue(1).doorbells)
    for call in calls:
        with pytest.raises(error, match=text):
            call()
    assert r.qp.outstanding == 0
    await asyncio.sleep(0)
    assert (r.mock.queue(1).fetched, r.mock.queue(1).doorbells) == before
    await r.works()


@pytest.mark.parametrize(
    ("make", "error", "text"), [pytest.param(*case[1:], id=case[0]) for case in TRANSFERS]
)
async def test_transfer_is_refused(make: Make, error: type[Exception], text: str | None) -> None:
    """A read or write with such arguments is refused by all four calls."""
    async with rig() as r:
        args = make(r)
        calls = [r.qp.read, r.qp.write, r.qp.submit_read, r.qp.submit_write]
        await refused(r, [partial(call, *args) for call in calls], error, text)


@pytest.mark.parametrize(("keywords", "error", "text"), KEYWORDS)
async def test_keyword_is_refused(keywords: dict[str, Any], error: type[Exception], text: str | None) -> None:
    """Flags and timeouts that cannot be are refused by all four calls.

    Where they apply by the flushes.
    """
    async with rig() as r:
        args = (r.ns, r.buf, 0, 1)
        calls = [r.qp.read, r.qp.write, r.qp.submit_read, r.qp.submit_write]
        bad: list[Callable[[], object]] = [partial(call, *args, **keywords) for call in calls]
        if "timeout" in keywords:
            bad += [lambda: r.qp.flush(r.ns, **keywords), lambda: r.qp.submit_flush(r.ns, **keywords)]
            bad += [lambda: r.qp.io_raw(bytes(64), **keywords)]
        await refused(r, bad, error, text)


async def test_refused_buffer_is_released() -> None:
    """After a refusal no export of the caller's buffer is kept.

    Its registration can be closed at once.
    """
    async with rig() as r:
        array = bytearray(8192)
        with r.ctrlr.dma_register(array) as registration:
            with pytest.raises(USAGE):
                r.qp.read(r.ns, array, 0, 1, timeout=-1)
            with pytest.raises(USAGE):
                r.qp.read(r.ns, array, 0, 17)
        await asyncio.wait_for(registration.wait_closed(), 1)
        with pytest.raises(USAGE):
            r.qp.read(r.ns, array, 0, 1)
        gc.collect()
        array += b"x"  # BufferError if anything still exported it


async def test_read_only_memory_is_refused_for_a_read() -> None:
    """A read writes memory; a write takes read-only memory, if the device reaches it."""
    async with rig() as r:
        view = _of(r).toreadonly()
        await refused(
            r,
            [lambda: r.qp.read(r.ns, view, 0, 1), lambda: r.qp.submit_read(r.ns, view, 0, 1)],
            USAGE,
            "writable",
        )
        assert not (await r.qp.write(r.ns, view, 0, 8)).status


async def test_memory_and_namespace_of_another_controller() -> None:
    """Each controller has its own memory and namespaces."""
    async with rig() as r, rig() as other:
        message = "not mapped for DMA by this controller|another controller"
        calls: list[Callable[[], object]] = [
            lambda: r.qp.read(r.ns, memoryview(other.buf), 0, 1),
            lambda: r.qp.submit_write(r.ns, memoryview(other.buf), 0, 1),
            lambda: r.qp.read(r.ns, other.buf, 0, 1),
            lambda: r.qp.read(other.ns, r.buf, 0, 1),
            lambda: r.qp.submit_write(other.ns, r.buf, 0, 1),
            lambda: r.qp.flush(other.ns),
            lambda: r.qp.submit_flush(other.ns),
        ]
        await refused(r, calls, USAGE, message)


async def test_bad_when_full() -> None:
    """Only None and "error" are known."""
    async with rig() as r:
        calls: list[Callable[[], object]] = [
            lambda: r.qp.submit_read(r.ns, r.buf, 0, 1, when_full="wait"),  # type: ignore[arg-type]
            lambda: r.qp.submit_flush(r.ns, when_full=True),  # type: ignore[arg-type]
        ]
        await refused(r, calls, USAGE, 'None or "error"')


async def test_full_queue_can_be_an_error() -> None:
    """With `when_full="error"` a full queue pair raises, and the command is not taken; otherwise it waits."""
    async with rig(depth=2) as r:
        held = r.mock.hold(qid=1)
        requests = [r.qp.submit_read(r.ns, r.buf, 0, 1, when_full="error") for _ in range(2)]
        for call in (r.qp.submit_read, r.qp.submit_write):
            with pytest.raises(aionvme.QueueFullError, match="all 2 slots"):
                call(r.ns, r.buf, 0, 1, when_full="error")
        with pytest.raises(aionvme.QueueFullError):
            r.qp.submit_flush(r.ns, when_full="error")
        await fetched(r.mock, 2)
        held.stop()
        held.release()
        assert await kinds([*requests, r.read()]) == [None] * 3
        assert r.mock.queue(1).fetched == 3


RAW = [
    ({"sqe": bytes(63)}, USAGE, "64 bytes, not 63"),
    ({"sqe": b""}, USAGE, "64 bytes, not 0"),
    ({"sqe": np.zeros(16, "u4")}, USAGE, "64 contiguous bytes"),
    ({"sqe": np.zeros(128, "u1")[::2]}, USAGE, "64 contiguous bytes"),
    ({"sqe": "x" * 64}, TypeError, None),
    ({"sqe": bytes([2, 0x40, *bytes(62)]), "data": True}, USAGE, "PSDT"),
    ({"sqe": bytes(64), "data": b"x" * 512}, USAGE, "writable"),
    ({"sqe": bytes(64), "data": bytearray(512)}, USAGE, "not mapped"),
    ({"sqe": bytes(64), "data": bytearray(0)}, USAGE, "takes from 1 to"),
    ({"sqe": bytes(64), "data": "big"}, USAGE, "takes from 1 to 131072"),
    ({"sqe": bytes(64), "data": 7}, TypeError, None),
]


@pytest.mark.parametrize(("keywords", "error", "text"), RAW)
async def test_raw_command_is_refused(
    keywords: dict[str, Any], error: type[Exception], text: str | None
) -> None:
    """A raw command is checked as far as it can be.

    Its length, its memory, and that the data pointer is ours.
    """
    async with rig() as r:
        keywords = dict(keywords)
        sqe = keywords.pop("sqe")
        if keywords.get("data") is True:
            keywords["data"] = r.buf
        if keywords.get("data") == "big":
            keywords["data"] = r.ctrlr.dma_alloc(131076)
        calls: list[Callable[[], object]] = [
            lambda: r.qp.io_raw(sqe, **keywords),
            lambda: r.qp.submit_io_raw(sqe, **keywords),
            lambda: r.ctrlr.admin_raw(sqe, **keywords),
            lambda: r.ctrlr.submit_admin_raw(sqe, **keywords),
        ]
        await refused(r, calls, error, text)


async def test_closed_queue_pair_and_controller() -> None:
    """What is closed says that it is, at the call."""
    async with rig() as r:
        await r.qp.close()
        for call in (r.qp.read, r.qp.write, r.qp.submit_read, r.qp.submit_write):
            with pytest.raises(USAGE, match="closed"):
                call(r.ns, r.buf, 0, 1)
        with pytest.raises(USAGE, match="closed"):
            r.qp.flush(r.ns)
        await r.ctrlr.close()
        with pytest.raises(USAGE, match="closed"):
            r.ctrlr.identify(1)
        with pytest.raises(USAGE, match="closed"):
            r.ctrlr.submit_abort(1, 1)
        with pytest.raises(USAGE, match="closed"):
            r.ctrlr.dma_alloc(512)
        with pytest.raises(USAGE, match="closed"):
            await r.ctrlr.alloc_io_qpair()


def test_options_of_another_kind() -> None:
    """An option that is no number where one is wanted says which it is."""
    with pytest.raises(TypeError, match="io_queue_depth must be a whole number, not 'many'"):
        aionvme.ControllerOptions(io_queue_depth="many")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="io_timeout must be a number of seconds"):
        aionvme.ControllerOptions(io_timeout="1 s")  # type: ignore[arg-type]


async def test_wrong_thread_and_loop() -> None:
    """A queue pair is used from its own loop and thread only, and says so."""
    async with rig() as r:
        raised: list[BaseException] = []

        def attempt(call: Callable[[], object]) -> None:
            try:
                call()
            except BaseException as error:
                raised.append(error)

        async def in_other_loop() -> None:
            attempt(lambda: r.qp.read(r.ns, r.buf, 0, 1))
            attempt(lambda: r.ctrlr.submit_identify(1))
            for opening in (r.ctrlr.reset, r.ctrlr.close, r.ctrlr.alloc_io_qpair):
                try:
                    await opening()
                except aionvme.UsageError as error:
                    raised.append(error)

        def other_thread() -> None:
            attempt(lambda: r.qp.submit_read(r.ns, r.buf, 0, 1))
            attempt(lambda: r.qp.process_completions())
            asyncio.run(in_other_loop())

        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join()
        assert [type(error) for error in raised] == [aionvme.WrongLoopError] * 7
        await r.works()


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        ({"depth": 0}, USAGE, "depth must be from 1 to"),
        ({"depth": -1}, USAGE, "depth must be from 1 to"),
        ({"depth": 1024}, USAGE, "from 1 to 1023 .*CAP.MQES"),
        ({"depth": "8"}, TypeError, None),
        ({"depth": 2.5}, TypeError, None),
        ({"qprio": 4}, USAGE, "QPrio"),
        ({"qprio": "high"}, USAGE, "QPrio"),
        ({"completion": "irq"}, USAGE, "poll, interrupt, adaptive, manual"),
    ],
)
async def test_queue_pair_that_cannot_be(
    keywords: dict[str, Any], error: type[Exception], text: str | None
) -> None:
    """An allocation with such arguments reaches no device, and takes no identifier."""
    async with rig() as r:
        before = r.mock.queue(0).fetched
        with pytest.raises(error, match=text):
            await r.ctrlr.alloc_io_qpair(**keywords)
        assert r.mock.queue(0).fetched == before
        async with r.ctrlr.alloc_io_qpair() as qp:
            assert qp.qid == 2


async def test_no_queue_left() -> None:
    """When every queue pair that the controller granted is in use, the message says what can be done."""
    async with rig(MockController(num_io_queues=2, timeout=0.5)) as r:
        async with r.ctrlr.alloc_io_qpair():
            with pytest.raises(USAGE, match=r"granted 2 I/O queue pairs.*close one.*num_io_queues"):
                await r.ctrlr.alloc_io_qpair()
        async with r.ctrlr.alloc_io_qpair() as qp:
            assert qp.qid == 2


async def test_no_interrupt_left() -> None:
    """A queue pair without a vector cannot be told by interrupt; the message says what can."""
    async with rig(MockController(num_irqs=0, timeout=0.5)) as r:
        with pytest.raises(USAGE, match=r'no interrupt vector for queue 2.*completion="poll"'):
            await r.ctrlr.alloc_io_qpair(completion="interrupt")


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"nbytes": 0}, "more than 0"),
        ({"nbytes": 6}, "multiple of 4"),
        ({"nbytes": 4, "offset": 2}, "multiple of 4"),
        ({"nbytes": 4, "offset": -4}, "multiple of 4"),
        ({"nbytes": (1 << 34) + 4}, "at most 16 GiB"),
        ({"nbytes": 64, "payload": bytearray(60)}, "payload has 60 bytes"),
        ({"payload": bytearray(62)}, "multiple of 4"),
        ({"payload": bytes(64)}, "can be written"),
        ({"lsp": 128}, "lsp must be from 0 to 127"),
        ({"nsid": 1 << 32}, "nsid"),
        ({"csi": 256}, "csi"),
        ({"lsi": -1}, "lsi"),
        ({"uuid_index": 128}, "uuid_index"),
    ],
)
async def test_log_page_that_cannot_be_read(keywords: dict[str, Any], text: str) -> None:
    """Sizes that Get Log Page cannot say are refused by the call, in both spellings."""
    async with rig() as r:
        before = r.mock.queue(0).fetched
        for call in (r.ctrlr.get_log_page, r.ctrlr.submit_get_log_page):
            with pytest.raises(USAGE, match=text):
                call(2, **keywords)
        assert r.mock.queue(0).fetched == before
