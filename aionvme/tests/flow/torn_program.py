"""Owns the program whose loop is torn down: `python -m ... loop way device`.

It prints what ended how, as JSON.

Ways: "raise" leaves main() by an exception, "exit" by SystemExit from a callback, "return" returns, each with
commands in flight; "interrupt" waits for SIGINT; "forget" returns without close() and nothing in flight. A
way with "-with" has the controller in an `async with`, and one with "-within" without a time limit for its
commands. Devices: healthy, held (completes nothing until it is aborted), silent (completes nothing), stuck
(cannot be reset either).
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import json
import sys
import time
from collections import Counter
from typing import Any

import aionvme
from aionvme.mock import MockController

# More than a close takes until it waits for the commands.
TURNS_OF_CLOSE = 50
TASKS, CALLBACKS = 128, 16
# No time limit of a command's own: what ends it is the end of the loop.
OPTIONS = {"io_timeout": 0.0, "abort_timeout": 0.2, "admin_timeout": 1.0}
# In an `async with` the close comes first, which waits as long as a command may take.
WITHIN = {**OPTIONS, "io_timeout": 0.3}

ends: Counter[str] = Counter()
told: Counter[int] = Counter()
running: list[asyncio.Task[None]] = []
begun = 0.0


async def one(qp: aionvme.IoQueuePair, ns: aionvme.Namespace, buf: aionvme.DmaBuffer, number: int) -> None:
    """Reads a block, and counts how that ended."""
    try:
        await qp.read(ns, buf, number, 1)
    except BaseException as error:
        ends[f"{type(error).__name__} {number}"] += 1
        raise
    ends[f"ok {number}"] += 1


def print_ready() -> None:
    """Says that the next interrupt may come."""
    print("ready", flush=True)


def print_ready_later(turns: int) -> None:
    """Says it so many turns of the loop from now."""
    if turns:
        asyncio.get_running_loop().call_soon(print_ready_later, turns - 1)
    else:
        print_ready()


async def use(ctrlr: aionvme.Controller, mock: MockController, way: str, device: str) -> None:
    """Has 144 commands in flight, and ends as the way says."""
    global begun
    qp = await ctrlr.alloc_io_qpair(depth=TASKS + CALLBACKS)
    ns, buf = ctrlr.namespaces[1], ctrlr.dma_alloc(512)
    if way == "forget":
        await qp.read(ns, buf, 0, 1)
        return
    if device == "held":
        mock.hold(qid=1)
    mock.silent = device in ("silent", "stuck")
    mock.stuck = device == "stuck"
    # Kept here: a loop refers to them weakly.
    running.extend(asyncio.create_task(one(qp, ns, buf, number)) for number in range(TASKS))
    for number in range(CALLBACKS):
        qp.submit_read(ns, buf, 0, 1, lambda arg, _cpl: told.update([arg]), number)
    await asyncio.sleep(0)
    # There is nothing to await: the mock tells nobody what it has fetched.
    while device != "healthy" and mock.queue(1).fetched < TASKS + CALLBACKS:  # noqa: ASYNC110
        await asyncio.sleep(0)
    begun = time.monotonic()
    if way == "raise":
        raise RuntimeError("on purpose")
    if way == "exit":
        # In a command's callback: one that is taken out of the queue ends where the device is silent, too.
        qp.submit_read(ns, buf, 0, 1, lambda *_: sys.exit(7)).cancel()
    if way in ("exit", "interrupt"):
        print_ready()
        try:
            # Not of the tasks: those that main() waits for are cancelled with it.
            await asyncio.Event().wait()
        finally:
            # Once the close waits: an interrupt that hits the body of main() is no second one to the close.
            print_ready_later(TURNS_OF_CLOSE)


async def main(mock: MockController, way: str, device: str) -> None:
    """Connects as the way says."""
    way, _, within = way.partition("-")
    opts: Any = {"with": WITHIN, "within": OPTIONS}.get(within, OPTIONS)
    ctrlr = await aionvme.connect(mock, aionvme.ControllerOptions(**opts))
    if not within:
        return await use(ctrlr, mock, way, device)
    async with ctrlr:
        await use(ctrlr, mock, way, device)
    return None


def tell(mock: MockController) -> None:
    """Prints how everything ended, when nothing else of the program is left."""
    # What the interpreter keeps of the exception keeps the controller, too.
    for name in ("last_exc", "last_value", "last_traceback"):
        setattr(sys, name, None)
    running.clear()
    gc.collect()
    mock.close()
    kinds = Counter(end.split()[0] for end in ends)
    print(
        json.dumps(
            {
                "seconds": time.monotonic() - begun,
                "kinds": kinds,
                "tasks": len({end.split()[1] for end in ends}),
                "most": max(ends.values(), default=0),
                "told": len(told),
                "most_told": max(told.values(), default=0),
            }
        )
    )


if __name__ == "__main__":
    loop, way, device = sys.argv[1:]
    mock = MockController(timeout=0.5)
    atexit.register(tell, mock)
    run: Any = asyncio.run if loop == "asyncio" else aionvme.run
    run(main(mock, way, device))
