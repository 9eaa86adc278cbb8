"""Owns what one test has of NVMe: its mock or device, the log of its commands, and the look for what it left."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import attrs
import pytest

import aionvme
from aionvme.admin import recording
from aionvme.errors import UsageError
from aionvme.mock import MockController
from aionvme.pytest_plugin.leaks import PATIENCE, Census
from aionvme.trace.log import CommandLog
from aionvme.trace.showing import line

__all__ = ["Marker", "Stage"]


@attrs.frozen(kw_only=True)
class Marker:
    """What the `nvme` markers of a test say; the closest one that says it counts.

    Attributes:
        namespaces: How many the mock has, or a `NamespaceConfig` each; a device must have as many.
        block_size: Bytes of a block; a device must have it.
        faults: A `FaultPlan` of the mock; a device has none.
        loop: The event loop, "asyncio" or "uvloop", or both, one after the other.
        depth, completion: Of `nvme_qpair`, as for `Controller.alloc_io_qpair`.
        leaks: Whether it is a failure if the test leaves something behind.
        opts: The `ControllerOptions` of `nvme_ctrlr`.
        mock: Other options of the mock.
    """

    namespaces: Any = None
    block_size: int | None = None
    faults: Any = None
    loop: str | Sequence[str] | None = None
    depth: int | None = None
    completion: str = "poll"
    leaks: bool = True
    opts: aionvme.ControllerOptions | None = None
    mock: dict[str, Any] = attrs.field(factory=dict)

    @classmethod
    def of(cls, item: pytest.Item) -> Marker:
        """Those of a test, of its class and of its module."""
        words: dict[str, Any] = {}
        for marker in item.iter_markers("nvme"):
            if marker.args:
                raise pytest.UsageError(
                    f"{item.nodeid}: nvme(...) takes keywords only, not {marker.args[0]!r}"
                )
            words = {**marker.kwargs, **words}
        own = {field.name for field in attrs.fields(cls)} - {"mock"}
        return cls(
            **{name: value for name, value in words.items() if name in own},
            mock={name: value for name, value in words.items() if name not in own},
        )

    @property
    def of_mock(self) -> dict[str, Any]:
        """What the mock is told."""
        options = dict(self.mock)
        for name, value in (
            ("namespaces", self.namespaces),
            ("lba", self.block_size),
            ("faults", self.faults),
        ):
            if value is not None:
                options[name] = value
        return options

    @property
    def wants_mock(self) -> str:
        """Which of its words only a mock can fulfil; "" if none."""
        return ", ".join([*(["faults"] if self.faults is not None else []), *self.mock])


class Stage:
    """What one test has of NVMe, from before its first fixture to after its last.

    Attributes:
        marker: What the test wants.
    """

    def __init__(self, marker: Marker, device: str | None, log: int) -> None:
        self.marker = marker
        self._device = device
        self._most = log
        self._logs: dict[str, CommandLog] = {}
        self._left: list[str] = []
        self._open = contextlib.ExitStack()
        self._before: Census | None = None

    @classmethod
    def of(cls, request: pytest.FixtureRequest) -> Stage:
        """That of the test that is about to begin."""
        config = request.config
        marker = Marker.of(request.node)
        return cls(marker, config.getoption("--aionvme-address"), config.getoption("--aionvme-log"))

    # -- what it has ---------------------------------------------------------------------------------------------------

    @cached_property
    def mock(self) -> MockController:
        """The mock, made when the first fixture asks for it."""
        if self._device is not None:
            pytest.skip("takes the mock, and --aionvme-address names a controller")
        try:
            return self._open.enter_context(MockController(**self.marker.of_mock))
        except (UsageError, TypeError) as error:
            wrong = str(error)
        # Not while that is handled: pytest would show it once more, as what this failure came of.
        pytest.fail(f"nvme(...): {wrong}", pytrace=False)

    @property
    def address(self) -> Any:
        """What `connect` takes."""
        if self._device is None:
            return self.mock
        if wanted := self.marker.wants_mock:
            pytest.skip(f"takes a mock, for {wanted}, and --aionvme-address names a controller")
        return self._device

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[aionvme.Controller]:
        """A controller that is up."""
        before = asyncio.all_tasks()
        async with aionvme.connect(self.address, self.marker.opts) as ctrlr:
            if self._device is not None:
                self._suits(ctrlr)
            yield ctrlr
            self._left += [f"memory of {ctrlr.pci_dev}: {memory!r}" for memory in ctrlr.dma_in_use()]
            del ctrlr
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        self._left += [f"task {task!r}" for task in left]

    def _suits(self, ctrlr: aionvme.Controller) -> None:
        """Skips the test if the device is not what it takes."""
        wanted = self.marker.namespaces
        count = 1 if wanted is None else wanted if isinstance(wanted, int) else len(wanted)
        if len(ctrlr.namespaces) < count:
            pytest.skip(f"takes {count} namespaces, and {ctrlr.pci_dev} has {len(ctrlr.namespaces)}")
        sizes = {ns.block_size for ns in ctrlr.namespaces.values()}
        if self.marker.block_size not in (None, *sizes):
            pytest.skip(
                f"takes blocks of {self.marker.block_size} bytes, and {ctrlr.pci_dev} has {sorted(sizes)}"
            )

    @contextlib.asynccontextmanager
    async def queue_pair(self, ctrlr: aionvme.Controller) -> AsyncIterator[aionvme.IoQueuePair]:
        """A queue pair that a test may leave with commands, which then are aborted instead of waited for."""
        async with ctrlr.alloc_io_qpair(depth=self.marker.depth, completion=self.marker.completion) as qp:
            yield qp
            if qp.outstanding:
                qp.finish_by(0.0)

    # -- its end -------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if uvloop := sys.modules.get("uvloop"):
            # The first loop opens a pipe that stays.
            uvloop.new_event_loop().close()
        self._before = Census.take()
        if self._most:
            self._open.enter_context(recording.watch(self._listen))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._open.close()

    def _listen(self, name: str) -> CommandLog:
        # One that is connected to twice has two logs.
        key = name if name not in self._logs else f"{name} ({len(self._logs) + 1})"
        self._logs[key] = CommandLog(self._most)
        return self._logs[key]

    def look_for_commands(self) -> None:
        """Says which I/O commands the devices have now."""
        for name, log in self._logs.items():
            # Admin commands come and go behind a test's back: events, keep alive, health.
            found = [command for command in log.outstanding if command.qid]
            self._left += [
                f"command of {name} in flight: {' '.join(line(command).split())}" for command in found
            ]

    def check(self) -> None:
        """Fails the test if something is left."""
        if not self.marker.leaks:
            return
        if left := self._left + self._opened():
            pytest.fail("the test leaves behind:\n" + "\n".join(f"  {one}" for one in left), pytrace=False)

    def _opened(self) -> list[str]:
        """Descriptors and threads that were not there before."""
        assert self._before is not None
        end = time.monotonic() + PATIENCE
        while (left := Census.take().more_than(self._before)) and time.monotonic() < end:
            time.sleep(0.01)
        return left

    def sections(self) -> list[tuple[str, str]]:
        """What the report of the failed test says of its commands, a section for each controller."""
        return [
            (f"aionvme commands of {name}", "\n".join(log.lines()))
            for name, log in self._logs.items()
            if log.total
        ]
