"""What who is new to the API gets wrong first: one message each, which says what to do; and a close that ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import aionvme
from aionvme.mock import MockController

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("no_leaks")]


async def test_namespace_by_its_number() -> None:
    """A number, or something else, for the namespace is told of `ctrlr.namespaces`; both spellings, read and write."""
    async with aionvme.connect("mock:") as ctrlr, ctrlr.alloc_io_qpair() as qp:
        buf: Any = ctrlr.dma_alloc(4096)
        calls: list[Any] = [qp.read, qp.write, qp.submit_read, qp.submit_write]
        for call in calls:
            with pytest.raises(TypeError, match=r"not 1: pass ctrlr\.namespaces\[1\]$"):
                call(1, buf, 0, 8)
            with pytest.raises(TypeError, match=r"as ctrlr\.namespaces\[1\], not .*DmaBuffer$"):
                call(buf, buf, 0, 8)


async def test_missing_arguments() -> None:
    """Too few arguments are told of in terms of the signature; by keyword they may still be given."""
    async with aionvme.connect("mock:") as ctrlr, ctrlr.alloc_io_qpair() as qp:
        read: Any = qp.read
        ns, buf = ctrlr.namespaces[1], ctrlr.dma_alloc(4096)
        with pytest.raises(TypeError, match=r"given 0 of them: read\(ns, buf, lba, nblocks\)$"):
            read()
        with pytest.raises(
            TypeError, match=r"given 2 of them: submit_write\(ns, buf, lba, nblocks, cb_fn, cb_arg\)$"
        ):
            qp.submit_write(ns, buf)  # type: ignore[call-arg]
        await read(ns, buf, lba=0, nblocks=1)
        await read(ns=ns, buf=buf, lba=0, nblocks=1)


async def test_namespace_that_is_not_there() -> None:
    """The `KeyError` of a namespace that there is not says which there are."""
    async with aionvme.connect("mock:?namespaces=2") as ctrlr:
        with pytest.raises(KeyError, match="no active namespace 7: the controller has 1, 2"):
            ctrlr.namespaces[7]
        assert ctrlr.namespaces.get(7) is None


async def test_with_for_async_with() -> None:
    """`with` says that it is to be `async with`, and there is no second warning."""
    opening: Any = aionvme.connect("mock:")
    with pytest.raises(TypeError, match="entered by `async with`, not by `with`"), opening:
        pass


async def test_options_of_another_type() -> None:
    """A dict for the options is refused by name, before there is a device."""
    opts: Any = {"num_io_queues": 2}
    with pytest.raises(TypeError, match=r"opts is an aionvme\.ControllerOptions or None, not dict"):
        await aionvme.connect("mock:", opts)


async def test_closed_things() -> None:
    """What is closed says so, whose close it was, and what to do instead."""
    async with aionvme.connect("mock:") as ctrlr:
        ns, buf = ctrlr.namespaces[1], ctrlr.dma_alloc(512)
        async with ctrlr.alloc_io_qpair() as first:
            pass
        with pytest.raises(
            aionvme.UsageError, match=r"is closed: allocate another one with ctrlr\.alloc_io_qpair"
        ):
            first.read(ns, buf, 0, 1)
        second = await ctrlr.alloc_io_qpair()
        buf.close()
        with pytest.raises(
            aionvme.UsageError, match=r"buf is closed: allocate another one with ctrlr\.dma_alloc"
        ):
            second.read(ns, buf, 0, 1)
    for call in (lambda: second.read(ns, buf, 0, 1), lambda: ctrlr.dma_alloc(512)):
        with pytest.raises(
            aionvme.UsageError, match=r"the controller mock:\d+ is closed: connect to it again"
        ):
            call()


@pytest.mark.virtual
@pytest.mark.parametrize("qpair_first", [False, True])
@pytest.mark.parametrize(("in_flight", "seconds"), [(True, 35), (False, 65)])
async def test_close_of_a_device_that_hangs(in_flight: bool, seconds: int, qpair_first: bool) -> None:
    """With the default options it waits for the first command, and then for none as long again."""
    with MockController(drive="step") as mock:
        ctrlr = await aionvme.connect(mock)
        qp, now = await ctrlr.alloc_io_qpair(), asyncio.get_running_loop().time
        mock.hold()
        begun = now()
        reads = [qp.submit_read(ctrlr.namespaces[1], ctrlr.dma_alloc(512), 0, 1)] if in_flight else []
        if qpair_first:
            await qp.close()
            seconds += 10  # for the reset, which others of the controller would want
        await ctrlr.close()
        assert seconds <= now() - begun < seconds + 2
        for read in reads:
            with pytest.raises(aionvme.CommandTimeoutError):
                await read


@pytest.mark.virtual
@pytest.mark.parametrize("hangs", [False, True])
async def test_close_during_a_reset(hangs: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A reset that is under way is waited for: one of a device that hangs in it for twice `abort_timeout`."""
    with MockController(drive="step") as mock:
        ctrlr = await aionvme.connect(mock)
        now = asyncio.get_running_loop().time
        held = mock.hold(count=1)
        reset = asyncio.ensure_future(ctrlr.reset())
        await asyncio.sleep(1)
        begun = now()
        closing = asyncio.ensure_future(ctrlr.close())
        if hangs:
            mock.hold()
        else:
            await asyncio.sleep(1)
            held.release()
        await closing
        assert (10 <= now() - begun < 12) is hangs
        assert (reset.exception() is not None) is hangs
        assert ("while it was being reset" in caplog.text) is hangs
