"""Owns how a test says a command in either spelling, and the memory that it takes."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

import aionvme
from aionvme.spec.status import StatusCode
from aionvme.tests.flow.support import Rig

SPELLINGS = ("await", "submit")
spelled = pytest.mark.parametrize("spelling", SPELLINGS)
OK = StatusCode.SUCCESS


async def say(spelling: str, qp: aionvme.IoQueuePair, name: str, *args: Any, **keywords: Any) -> Any:
    """The completion of a command; of one that failed, too."""
    if spelling == "await":
        try:
            return await getattr(qp, name)(*args, **keywords)
        except aionvme.StatusError as error:
            return error.cpl
    told: asyncio.Future[tuple[object, Any]] = asyncio.get_running_loop().create_future()
    argument = object()
    getattr(qp, f"submit_{name}")(*args, lambda arg, cpl: told.set_result((arg, cpl)), argument, **keywords)
    given, cpl = await told
    assert given is argument
    return cpl


def code(cpl: Any) -> int:
    """SCT and SC of a completion, as `StatusCode` has them."""
    return int(cpl.status.sct << 8 | cpl.status.sc)


def noise(nbytes: int, seed: int = 1) -> bytes:
    """Bytes that no other seed has."""
    return random.Random(seed).randbytes(nbytes)


def alloc(r: Rig, data: bytes | int) -> Any:
    """DMA memory with these bytes in it, or of that many bytes that are all A5h."""
    filled = bytes([0xA5]) * data if isinstance(data, int) else data
    buf = r.ctrlr.dma_alloc(len(filled))
    memoryview(buf)[:] = filled
    return buf


def scattered(buf: Any, *spans: tuple[int, int]) -> list[memoryview]:
    """Parts of a buffer, each as (offset, bytes)."""
    view = memoryview(buf)
    return [view[offset : offset + nbytes] for offset, nbytes in spans]


def joined(parts: list[memoryview]) -> bytes:
    """Their bytes, one after another."""
    return b"".join(bytes(part) for part in parts)
