"""A process that has a controller and lends it: `python -m aionvme.tests.flow.sharing.owner ADDRESS PATH`.

It says "lent", and goes on until it is killed or gets a line: "reset" resets the controller, "close" closes it.
"""

from __future__ import annotations

import asyncio
import sys

import aionvme


async def main(address: str, path: str) -> None:
    """Lends it until the end."""
    async with aionvme.connect(address) as ctrlr, aionvme.lend(ctrlr, path):
        print("lent", flush=True)
        while (word := (await asyncio.to_thread(sys.stdin.readline)).strip()) == "reset":
            await ctrlr.reset()
            print("was reset", flush=True)
        assert word == "close"


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
