"""Owns what all tiers share: the loops a test runs on, the look for leaks, quick runs, and the rule against skips.

A coroutine marked `anyloop` runs on asyncio's own loop and on uvloop, one marked `virtual` on a loop with a virtual
clock; these need no other mark. One marked `asyncio` runs on asyncio's own loop.

With AIONVME_NO_SKIPS set, a run in which a test was skipped has failed: CI has all that the tests need.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import uvloop

from aionvme.testing import VirtualLoop
from aionvme.tests import quick
from aionvme.tests.leaks import Census, settle

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

# So that a journey's failed assertion says what it compared.
pytest.register_assert_rewrite("aionvme.tests.journeys")

LEFT_OUT = pytest.StashKey[int]()
NO_SKIPS = bool(os.environ.get("AIONVME_NO_SKIPS"))
ASYNCIO: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
VIRTUAL: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {"virtual": VirtualLoop}
ANY_LOOP = {**ASYNCIO, "uvloop": uvloop.new_event_loop}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of quick runs."""
    parser.addoption(
        "--quick", action="store_true", help="leave out what aionvme/tests/quick.py says, for CI"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the marks of quick runs, and say whether this is one; have Ctrl-C heeded."""
    # A shell that runs this in the background has it ignored, in whatever tests begin as well.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    quick.begin(quick=config.getoption("quick"))
    for marker in quick.MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a quick run does not have, before tests are shared out to guests; pytest counts it."""
    if config.getoption("quick"):
        left_out = quick.left_out(items)
        config.hook.pytest_deselected(items=left_out)
        gone = frozenset(left_out)
        items[:] = [item for item in items if item not in gone]
        _tell_left_out(config, len(left_out))


def _tell_left_out(config: pytest.Config, count: int) -> None:
    config.stash[LEFT_OUT] = count
    # Of a worker of xdist, which sends it on when it ends.
    if hasattr(config, "workeroutput"):
        config.workeroutput["left_out"] = count


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take from a worker of xdist what it has left out: each collects for itself, and all the same."""
    if (count := getattr(node, "workeroutput", {}).get("left_out")) is not None:
        node.config.stash[LEFT_OUT] = count


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tell pytest-asyncio the loops of one test."""
    if item.get_closest_marker("virtual") is not None:
        return VIRTUAL
    return ASYNCIO if item.get_closest_marker("anyloop") is None else ANY_LOOP


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: Any) -> None:
    """Let `anyloop` and `virtual` imply `asyncio`, which pytest-asyncio looks for in strict mode."""
    function = getattr(obj, "__func__", obj)
    if not inspect.iscoroutinefunction(inspect.unwrap(function)) or not collector.funcnamefilter(name):
        return
    marks = {mark.name for mark in getattr(function, "pytestmark", ())}
    marks |= {mark.name for mark in collector.iter_markers()}
    if marks & {"anyloop", "virtual"} and "asyncio" not in marks:
        pytest.mark.asyncio(function)


def pytest_collection_finish() -> None:
    """Make the collections cheap that each look for leaks begins with."""
    settle()


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """A test that silences the driver's log silences it for itself alone."""
    logger = logging.getLogger("aionvme")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest_asyncio.fixture
async def no_leaks() -> AsyncIterator[None]:
    """Afterwards there are no more open descriptors, threads and tasks than before.

    It has to be set up before what it watches: take it by `@pytest.mark.usefixtures("no_leaks")`, or as the
    first argument.
    """
    before = await Census.of_loop()
    yield
    assert await before.leaked() == []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run with skipped tests where there may be none."""
    if NO_SKIPS and exitstatus == pytest.ExitCode.OK and _skipped(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Say what a quick run has left out, and why a run with skipped tests has failed."""
    if config.getoption("quick"):
        count = config.stash.get(LEFT_OUT, 0)
        terminalreporter.write_line(
            f"quick run: `make full` has {count} tests more, and more examples of each property"
        )
    if NO_SKIPS and (count := _skipped(config)):
        terminalreporter.write_line(f"FAILED: {count} skipped, and AIONVME_NO_SKIPS is set", red=True)


def _skipped(config: pytest.Config) -> int:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return len(reporter.stats.get("skipped", ())) if reporter else 0
