"""Format, sanitize and self-test as a program uses them, with their progress, on a mock whose clock the test moves."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.spec.logs.health import SanitizeState, SelfTestResultCode
from aionvme.tests.flow.io.spoken import spelled
from aionvme.tests.flow.support import rig, until

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]

MIB = 1 << 20
LONG = 1000.0  # seconds of the mock's clock
OFTEN = 0.001  # seconds between two looks
Code = aionvme.StatusCode
Action, Kind = aionvme.SanitizeAction, aionvme.SelfTestCode


def slow(**options: Any) -> MockController:
    """A mock of 1 MiB whose media take a thousand seconds for whatever is done."""
    times = {"format_time": LONG, "sanitize_time": LONG, "self_test_time": LONG}
    return MockController(**{"timeout": 0.5, "size": MIB} | times | options)


def begin(
    ctrlr: aionvme.Controller, spelling: str, name: str, *args: Any, **keywords: Any
) -> tuple[Any, list[Any]]:
    """The operation in one of the two spellings, and what its callback is told."""
    told: list[Any] = []
    if spelling == "await":
        return getattr(ctrlr, name)(*args, **keywords), told
    where = 2 if name == "device_self_test" else 1
    args = (*args, *(0xFFFFFFFF,) * (where - len(args)))
    call = getattr(ctrlr, f"submit_{name}")
    return call(*args, lambda arg, cpl: told.append((arg, cpl)), "arg", **keywords), told


async def steps(operation: Any, mock: MockController) -> list[float]:
    """Progress in the order in which it comes; the clock moves by a quarter of the time at each step."""
    seen: list[float] = []
    async for progress in operation:
        if not seen or progress.fraction > seen[-1] + 0.01:
            seen.append(progress.fraction)
            mock.advance(LONG / 4)
    return seen


@spelled
async def test_format(spelling: str) -> None:
    """From 512 bytes to 4096 and on with I/O: the old object takes no more commands, the new one does; FPI is told."""
    async with rig(slow()) as r:
        operation, told = begin(r.ctrlr, spelling, "format_nvm", 1, lbaf=1, interval=OFTEN)
        seen = await steps(operation, r.mock)
        await operation
        await until(lambda: len(told) == (spelling != "await"))
        assert seen[-1] == 1
        assert any(0.2 < fraction < 0.8 for fraction in seen)
        assert [(arg, bool(cpl.status)) for arg, cpl in told] == (
            [] if spelling == "await" else [("arg", False)]
        )
        ns = r.ctrlr.namespaces[1]
        assert (ns.block_size, ns.nblocks) == (4096, 256)
        with pytest.raises(aionvme.UsageError, match="namespace 1 was formatted"):
            r.read()
        buf = r.ctrlr.dma_alloc(4096)
        memoryview(buf)[:] = b"n" * 4096
        await r.qp.write(ns, buf, 255, 1)
        assert r.mock.peek(1, 255) == b"n" * 4096


async def test_secure_erase_keeps_the_object() -> None:
    """A format that changes nothing but the data leaves the namespace the same object, in every setting."""
    async with rig(slow(format_time=0, metadata=8, extended=True, pi=1, pi_first=True)) as r:
        r.mock.poke(1, 0, b"old")
        erase = aionvme.SecureErase.CRYPTOGRAPHIC
        await r.ctrlr.format_nvm(1, lbaf=0, ses=erase, pi=1, pil=True, mset=True)
        assert r.ctrlr.namespaces[1] is r.ns
        assert r.ns.active
        assert r.mock.peek(1, 0) == bytes(512)
        await r.ctrlr.format_nvm(1, lbaf=0, pi=1, pil=True)
        assert r.ns.gone
        assert not r.ctrlr.namespaces[1].extended


async def test_io_while_it_is_formatted() -> None:
    """Commands for it end with Format In Progress, those for others do not; a split ends at its first piece."""
    async with rig(slow(namespaces=2, mdts=8192)) as r:
        operation = r.ctrlr.format_nvm(1, lbaf=0, ses=1)
        large = r.ctrlr.dma_alloc(1 << 16)
        await until(lambda: r.mock.queue(0).opcodes.get(0x80))
        for request in (r.read(), r.qp.write(r.ns, large, 0, 128), r.qp.flush(r.ns)):
            with pytest.raises(aionvme.StatusError) as caught:
                await request
            assert caught.value.status == Code.FORMAT_IN_PROGRESS
        await r.qp.read(r.ctrlr.namespaces[2], r.buf, 0, 1)
        with pytest.raises(aionvme.StatusError) as caught:
            await r.ctrlr.format_nvm(1, lbaf=0)
        assert caught.value.status == Code.FORMAT_IN_PROGRESS
        r.mock.advance(LONG)
        await operation
        await r.works()


async def test_refused_formats() -> None:
    """Formats and settings that the namespace does not have raise at the call, with the field and what there is."""
    async with rig(slow(namespaces=2)) as r:
        c, sent = r.ctrlr, r.mock.queue(0).fetched
        wrong: tuple[tuple[dict[str, Any], str], ...] = (
            ({"lbaf": 64}, "lbaf must be from 0 to 63"),
            ({"lbaf": 4}, "lbaf must be less than 4"),
            ({"lbaf": 0, "pi": 1}, "0 bytes of metadata"),
            ({"lbaf": 0, "pi": 4}, "pi must be"),
            ({"lbaf": 0, "ses": 3}, "SecureErase"),
            ({"lbaf": 0, "interval": 0}, "interval"),
            ({"lbaf": 0, "all_namespaces": True}, "all_namespaces"),
        )
        for keywords, match in wrong:
            with pytest.raises(aionvme.UsageError, match=match):
                c.format_nvm(1, **keywords)
        with pytest.raises(aionvme.UsageError, match="all_namespaces=True"):
            c.format_nvm(0xFFFFFFFF, lbaf=0)
        c._core.data = c.data.replace(fna=1)
        with pytest.raises(aionvme.UsageError, match="formats every namespace"):
            c.format_nvm(1, lbaf=0)
        c._core.data = c.data.replace(fna=0)
        with pytest.raises(aionvme.UsageError, match="no cryptographic erase"):
            c.format_nvm(1, lbaf=0, ses=2)
        assert r.mock.queue(0).fetched == sent


async def test_format_of_all() -> None:
    """FFFFFFFFh formats every namespace that is attached, and all of them follow."""
    async with rig(slow(format_time=0, namespaces=3)) as r:
        await r.ctrlr.format_nvm(0xFFFFFFFF, lbaf=1, all_namespaces=True)
        assert [ns.block_size for ns in r.ctrlr.namespaces.values()] == [4096] * 3
        assert not r.ns.active


@spelled
async def test_sanitize(spelling: str) -> None:
    """Progress comes from the log, the end with the event at once, and the result is the log; then I/O goes on."""
    async with rig(slow()) as r:
        r.mock.poke(1, 0, b"secret")
        operation, told = begin(r.ctrlr, spelling, "sanitize", Action.BLOCK_ERASE, interval=OFTEN)
        looks = operation.__aiter__()
        await anext(looks)
        with pytest.raises(aionvme.StatusError) as caught:
            await r.read()
        assert caught.value.status == Code.SANITIZE_IN_PROGRESS
        with pytest.raises(aionvme.StatusError) as caught:
            await r.ctrlr.format_nvm(1, lbaf=1)
        assert caught.value.status == Code.SANITIZE_IN_PROGRESS
        seen = await steps(operation, r.mock)
        log = await operation
        assert (log.state, seen[-1]) == (SanitizeState.SUCCEEDED, 1)
        assert any(0.2 < fraction < 0.8 for fraction in seen)
        await until(lambda: len(told) == (spelling != "await"))
        assert r.mock.peek(1, 0) == bytes(512)
        await r.works()


async def test_sanitize_ends_by_its_event() -> None:
    """Who looks once an hour is told of the end by the controller."""
    async with rig(slow()) as r:
        operation = r.ctrlr.sanitize(Action.CRYPTO_ERASE, interval=3000.0)
        await anext(operation.__aiter__())
        r.mock.advance(LONG)
        assert (await operation).state == SanitizeState.SUCCEEDED


async def test_failed_sanitize() -> None:
    """It raises with the log; EXIT_FAILURE has the controller take commands again where that was allowed."""
    async with rig(slow(sanitize_time=0, sanitize_fails=True)) as r:
        with pytest.raises(aionvme.OperationFailedError, match="sanitize operation failed") as failed:
            await r.ctrlr.sanitize(Action.OVERWRITE, ause=True, owpass=16, ovrpat=0xDEADBEEF)
        assert failed.value.result.state == SanitizeState.FAILED
        with pytest.raises(aionvme.StatusError) as caught:
            await r.read()
        assert caught.value.status == Code.SANITIZE_FAILED
        await r.ctrlr.sanitize(Action.EXIT_FAILURE)
        await r.works()


async def test_sanitize_goes_on_without_us() -> None:
    """Neither a cancelled wait nor a reset ends it, and whoever comes later may follow it."""
    async with rig(slow()) as r:
        operation = r.ctrlr.sanitize(Action.BLOCK_ERASE, interval=OFTEN)
        await anext(operation.__aiter__())
        operation.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await operation
        following = r.ctrlr.sanitize_progress(interval=OFTEN)
        await anext(following.__aiter__())
        await r.ctrlr.reset()
        await anext(following.__aiter__())
        r.mock.advance(LONG)
        assert (await following).state == SanitizeState.SUCCEEDED


async def test_refused_sanitize() -> None:
    """Actions and options that SANICAP does not have raise at the call."""
    async with rig(slow()) as r:
        for args, keywords, match in (
            ((7,), {}, "SanitizeAction"),
            ((Action.EXIT_MEDIA_VERIFICATION,), {}, "EXIT_MEDIA_VERIFICATION"),
            ((Action.BLOCK_ERASE,), {"ndas": True}, "ndas"),
            ((Action.BLOCK_ERASE,), {"emvs": True}, "emvs"),
            ((Action.OVERWRITE,), {"owpass": 17}, "owpass"),
            ((Action.OVERWRITE,), {"ovrpat": 1 << 32}, "ovrpat"),
        ):
            with pytest.raises(aionvme.UsageError, match=match):
                r.ctrlr.sanitize(*args, **keywords)
        r.ctrlr._core.data = r.ctrlr.data.replace(sanicap=0)
        with pytest.raises(aionvme.UsageError, match="no Sanitize"):
            r.ctrlr.sanitize(Action.BLOCK_ERASE)


@spelled
async def test_self_test(spelling: str) -> None:
    """Its percent while I/O goes on, one at a time, and its result at the end."""
    async with rig(slow()) as r:
        operation, told = begin(r.ctrlr, spelling, "device_self_test", Kind.EXTENDED, interval=OFTEN)
        await anext(operation.__aiter__())
        await r.works()
        with pytest.raises(aionvme.StatusError) as caught:
            await r.ctrlr.device_self_test(Kind.SHORT)
        assert caught.value.status == Code.SELF_TEST_IN_PROGRESS
        seen = await steps(operation, r.mock)
        result = await operation
        assert (result.code, result.result, seen[-1]) == (2, SelfTestResultCode.NO_ERROR, 1)
        await until(lambda: len(told) == (spelling != "await"))


async def test_self_test_that_fails_or_is_aborted() -> None:
    """Both raise with the result: a failure by itself, an abort by another caller, a cancelled wait aborts it."""
    async with rig(slow(self_test_time=0, self_test_result=6)) as r:
        with pytest.raises(aionvme.OperationFailedError, match="FAILED_IN_UNKNOWN_SEGMENT"):
            await r.ctrlr.device_self_test(Kind.SHORT)
    async with rig(slow()) as r:
        operation = r.ctrlr.device_self_test(Kind.SHORT, 1, interval=OFTEN)
        await anext(operation.__aiter__())
        assert (await r.ctrlr.device_self_test(Kind.ABORT)).result == SelfTestResultCode.ABORTED_BY_COMMAND
        with pytest.raises(aionvme.OperationFailedError, match="ABORTED_BY_COMMAND") as failed:
            await operation
        assert failed.value.result.code == Kind.SHORT
        operation = r.ctrlr.device_self_test(Kind.SHORT, interval=OFTEN)
        await anext(operation.__aiter__())
        operation.cancel()
        with pytest.raises(asyncio.CancelledError):
            await operation
        with pytest.raises(aionvme.OperationFailedError, match="ABORTED_BY_COMMAND"):
            await r.ctrlr.self_test_progress()


async def test_refused_self_test() -> None:
    """No such code, no such namespace, and nothing to follow."""
    async with rig(slow()) as r:
        with pytest.raises(aionvme.UsageError, match="SelfTestCode"):
            r.ctrlr.device_self_test(3)
        with pytest.raises(aionvme.UsageError, match="nsid"):
            r.ctrlr.device_self_test(1, -1)
        with pytest.raises(aionvme.UsageError, match="no self-test"):
            await r.ctrlr.self_test_progress()
        with pytest.raises(aionvme.StatusError) as caught:
            await r.ctrlr.device_self_test(Kind.SHORT, 7)
        assert caught.value.status == Code.INVALID_NAMESPACE_OR_FORMAT
