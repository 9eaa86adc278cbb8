"""Owns an attempt to connect, for a process of its own, which may give up its rights first."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import resource
from dataclasses import dataclass
from pathlib import Path

import aionvme
from aionvme.tests.leaks import Census

PR_SET_DUMPABLE = 4


@dataclass(frozen=True)
class Attempt:
    """How an attempt ended.

    Attributes:
        error: the name of the exception's class, empty if it worked.
        message: what the exception says.
        left: what the process has afterwards that it did not have before.
    """

    error: str
    message: str
    left: tuple[str, ...]


def attempt(address: str, uid: int | None, memlock: int | None) -> Attempt:
    """Connect and read a block.

    Args:
        address: what to connect to.
        uid: the user to become first, without any capability.
        memlock: the limit on locked memory, in bytes.
    """
    if memlock is not None:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (memlock, memlock))
    if uid is not None:
        become(uid)
    return _attempt(address)


def become(uid: int) -> None:
    """Be this user from now on, without any capability."""
    # From inside the interpreter, since that may be in a folder that others can't enter.
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    # Else /proc/self belongs to root.
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def _attempt(address: str) -> Attempt:
    asyncio.run(asyncio.sleep(0))
    before, mapped = Census.take(), _mapped()
    error: Exception | None = None
    try:
        asyncio.run(_connect(address))
    except Exception as caught:
        # Its traceback would keep what it passed through.
        error = caught.with_traceback(None)
        error.__context__ = error.__cause__ = None
    gc.collect()
    left = [*Census.take().more_than(before), *sorted(_mapped() - mapped)]
    return Attempt(type(error).__name__ if error else "", str(error or ""), tuple(left))


async def _connect(address: str) -> None:
    async with aionvme.connect(address) as ctrlr, ctrlr.alloc_io_qpair() as qp:
        await qp.read(ctrlr.namespaces[1], ctrlr.dma_alloc(4096), 0, 1)


def _mapped() -> set[str]:
    """Device memory and memory for devices in this process."""
    words = ("vfio", "iommu", "memfd", "hugepage", "anon_inode")
    return {
        line
        for line in Path("/proc/self/maps").read_text().splitlines()
        if any(word in line for word in words)
    }
