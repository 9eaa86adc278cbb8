"""Owns the load: workers that each have blocks of their own, and that go on whatever becomes of their commands."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

import aionvme
from tools.soak.oracle import ZEROES, Oracle

BLOCKS = 16
"""Blocks of one worker."""
CANCELLED = 0.05  # of all commands
LONGEST_WAIT = 0.004  # seconds until one is cancelled
TIMEOUT = 0.25  # seconds that a command has


class Worker:
    """One command at a time on blocks of its own, so that what they may hold is known.

    Attributes:
        tally: Counts, for all workers: commands, cancellations, and what became of commands that did not succeed.
        turns: How many commands have ended: one that stands still hangs.
    """

    def __init__(
        self,
        number: int,
        ctrlr: aionvme.Controller,
        queue_pair: Callable[[], aionvme.IoQueuePair],
        oracle: Oracle,
        tally: Counter[str],
        seed: int,
    ) -> None:
        self.turns = 0
        self.tally = tally
        self._request: Any = None
        self._first = number * BLOCKS
        self._ns = ctrlr.namespaces[1]
        self._queue_pair = queue_pair
        self._oracle = oracle
        self._random = random.Random(seed * 1_000_003 + number)
        self._buf = ctrlr.dma_alloc(BLOCKS * self._ns.block_size)
        self._memory = memoryview(self._buf)
        self._kinds = (
            self._write,
            self._read,
            self._vectors,
            self._zero,
            self._compare,
            self._flush,
            self._batch,
        )
        self._weights = (30, 40, 8, 3, 5, 2, 4)

    async def run(self, stop: asyncio.Event) -> None:
        """Goes on until told to stop; what is under way then ends first."""
        while not stop.is_set():
            [kind] = self._random.choices(self._kinds, self._weights)
            try:
                await kind()
            except aionvme.ControllerLostError:
                raise
            except aionvme.StatusError as error:
                self.tally[f"status: {error.status.text}"] += 1
            except aionvme.NvmeError as error:
                self.tally[type(error).__name__] += 1
                # A queue pair that broke is being replaced.
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                    raise
                self.tally["cancelled"] += 1
            self.turns += 1
            if self.turns % 32 == 0:
                await asyncio.sleep(0)

    def close(self) -> None:
        """Gives its memory back."""
        self._memory.release()
        self._buf.close()

    async def verify_all(self) -> None:
        """Reads all of its blocks, in peace."""
        await self._queue_pair().read(self._ns, self._buf, self._first, BLOCKS)
        self._check(self._first, BLOCKS, "the last look")

    # -- the commands ----------------------------------------------------------------------------------------------

    def _extent(self) -> tuple[int, int]:
        begin = self._random.randrange(BLOCKS)
        return self._first + begin, self._random.randint(1, BLOCKS - begin)

    async def _awaited(self, request: Any) -> Any:
        """The command's end; now and then it is cancelled first."""
        self.tally["commands"] += 1
        self._request = request
        if self._random.random() < CANCELLED:
            delay = self._random.random() * LONGEST_WAIT
            handle = asyncio.get_running_loop().call_later(delay, request.cancel)
            try:
                return await request
            finally:
                handle.cancel()
        return await request

    def cancel(self) -> None:
        """Cancels the command that it waits for."""
        if self._request is not None:
            self._request.cancel()

    def _fill(self, lba: int, count: int, version: int) -> None:
        size = self._oracle.block_size
        for index in range(count):
            self._memory[index * size : (index + 1) * size] = self._oracle.block(lba + index, version)

    def _check(self, lba: int, count: int, how: str) -> None:
        size = self._oracle.block_size
        for index in range(count):
            self._oracle.check(lba + index, bytes(self._memory[index * size : (index + 1) * size]), how)

    async def _written(
        self, lba: int, count: int, version: int, submit: Callable[[], Awaitable[Any]]
    ) -> None:
        lbas = range(lba, lba + count)
        self._oracle.begin(lbas, version)
        await self._awaited(submit())
        self._oracle.acknowledge(lbas, version)

    async def _write(self) -> None:
        lba, count = self._extent()
        version = self._oracle.version()
        self._fill(lba, count, version)
        flags = aionvme.IoFlags.FORCE_UNIT_ACCESS if self._random.random() < 0.2 else 0
        await self._written(
            lba, count, version,
            lambda: self._queue_pair().write(self._ns, self._buf, lba, count, io_flags=flags, timeout=TIMEOUT),
        )  # fmt: skip

    async def _read(self) -> None:
        lba, count = self._extent()
        self._memory[:] = b"\xa5" * len(self._memory)
        await self._awaited(self._queue_pair().read(self._ns, self._buf, lba, count, timeout=TIMEOUT))
        self._check(lba, count, "read")

    async def _vectors(self) -> None:
        """Written from, and read into, pieces in another order than they are in memory."""
        lba, count = self._extent()
        size = self._oracle.block_size
        order = self._random.sample(range(count), count)
        pieces = [self._memory[place * size : (place + 1) * size] for place in order]
        version = self._oracle.version()
        for index, piece in enumerate(pieces):
            piece[:] = self._oracle.block(lba + index, version)
        await self._written(
            lba,
            count,
            version,
            lambda: self._queue_pair().writev(self._ns, pieces, lba, count, timeout=TIMEOUT),
        )
        await self._awaited(self._queue_pair().readv(self._ns, pieces, lba, count, timeout=TIMEOUT))
        for index, piece in enumerate(pieces):
            self._oracle.check(lba + index, bytes(piece), "readv")

    async def _zero(self) -> None:
        lba, count = self._extent()
        await self._written(
            lba, count, ZEROES, lambda: self._queue_pair().write_zeroes(self._ns, lba, count, timeout=TIMEOUT)
        )

    async def _compare(self) -> None:
        lba, _ = self._extent()
        version = self._oracle.known(lba)
        if version is None:
            return
        self._fill(lba, 1, version)
        try:
            await self._awaited(self._queue_pair().compare(self._ns, self._buf, lba, 1, timeout=TIMEOUT))
        except aionvme.StatusError as error:
            if error.status == aionvme.StatusCode.COMPARE_FAILURE:
                self._oracle.lost.append(f"LBA {lba} is not what was acknowledged, by compare: {version}")
            raise

    async def _flush(self) -> None:
        await self._awaited(self._queue_pair().flush(self._ns, timeout=TIMEOUT))

    async def _batch(self) -> None:
        lbas = self._first + np.array(self._random.sample(range(BLOCKS), BLOCKS))
        version, size = self._oracle.version(), self._oracle.block_size
        for index, lba in enumerate(lbas.tolist()):
            self._memory[index * size : (index + 1) * size] = self._oracle.block(lba, version)
        self._oracle.begin(lbas.tolist(), version)
        qp = self._queue_pair()
        await self._awaited(qp.write_batch(self._ns, self._buf, lbas, 1, queue_depth=4, timeout=TIMEOUT))
        self._oracle.acknowledge(lbas.tolist(), version)
        self.tally["commands"] += len(lbas) - 1
        await self._awaited(qp.read_batch(self._ns, self._buf, lbas, 1, queue_depth=4, timeout=TIMEOUT))
        self.tally["commands"] += len(lbas) - 1
        for index, lba in enumerate(lbas.tolist()):
            self._oracle.check(lba, bytes(self._memory[index * size : (index + 1) * size]), "read_batch")
