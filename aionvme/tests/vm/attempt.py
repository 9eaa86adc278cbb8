"""Owns an attempt to connect, as a process of its own that may give up its rights first: `python -m ... ADDRESS`.

It prints as JSON which error it got, and what was left of the attempt in the process.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import os
import resource
import sys
from pathlib import Path

import aionvme
from aionvme.tests.leaks import Census

PR_SET_DUMPABLE = 4


def main() -> None:
    """Try once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--uid", type=int, help="become this user, without any capability")
    parser.add_argument("--memlock", type=int, help="limit on locked memory, in bytes")
    options = parser.parse_args()
    if options.memlock is not None:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (options.memlock, options.memlock))
    if options.uid is not None:
        _become(options.uid)
    print(json.dumps(_attempt(options.address)))


def _become(uid: int) -> None:
    # From inside the interpreter, since that may be in a folder that others can't enter.
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    # Else /proc/self belongs to root.
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def _attempt(address: str) -> dict[str, object]:
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
    return {"error": type(error).__name__ if error else None, "message": str(error or ""), "left": left}


async def _connect(address: str) -> None:
    async with aionvme.connect(address) as ctrlr, ctrlr.alloc_io_qpair() as qp:
        await qp.read(ctrlr.namespaces[1], ctrlr.dma_alloc(4096), 0, 1)


def _mapped() -> set[str]:
    """Device memory and memory for devices in this process."""
    words = ("vfio", "iommu", "memfd", "hugepage", "anon_inode")
    return {
        line for line in Path("/proc/self/maps").read_text().splitlines() if any(word in line for word in words)
    }


if __name__ == "__main__":
    sys.exit(main())
