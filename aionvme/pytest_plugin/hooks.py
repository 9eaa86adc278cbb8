"""Owns what pytest calls: options, the marker, the loops of marked tests, the log in the report of a failed one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from aionvme.pytest_plugin.stage import Stage

    Loops = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]

LOOPS = ("asyncio", "uvloop")
MARKER = (
    "nvme(namespaces=1, block_size=512, faults=None, loop=None, depth=None, completion='poll', leaks=True, opts=None, "
    "**mock): the NVMe controller of this test, see aionvme's docs/testing.md"
)
STAGE: pytest.StashKey[Stage] = pytest.StashKey()
FAILED: pytest.StashKey[bool] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("aionvme", "NVMe controllers (aionvme)")
    group.addoption(
        "--aionvme-address",
        metavar="ADDRESS",
        help='run the tests on this controller instead of mocks: "0000:01:00.0", "vfio-user:/run/ctrl", ...',
    )
    group.addoption(
        "--aionvme-overwrite",
        action="store_true",
        help="with --aionvme-address: the tests may overwrite what is stored there",
    )
    group.addoption(
        "--aionvme-log",
        type=int,
        default=100,
        metavar="N",
        help="how many of its last commands the report of a failed test has (default: 100; 0: no log is kept)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker; refuse to endanger data that nobody said may go."""
    config.addinivalue_line("markers", MARKER)
    address = config.getoption("--aionvme-address")
    if address is None or config.getoption("--aionvme-overwrite"):
        return
    from aionvme.errors import AddressError
    from aionvme.pci.address import MockAddress, parse_address

    try:
        parsed = parse_address(address)
    except AddressError as error:
        raise pytest.UsageError(f"--aionvme-address: {error}") from None
    if not isinstance(parsed, MockAddress) or "storage" in parsed.options:
        raise pytest.UsageError(
            f"--aionvme-address {address}: tests may overwrite what is stored there. Add --aionvme-overwrite if that "
            "is meant"
        )


# -- loops --------------------------------------------------------------------------------------------------------


class _MarkedLoops:
    """Tells pytest-asyncio the loops of tests that are marked with some."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_asyncio_loop_factories(self, config: pytest.Config, item: pytest.Item) -> Loops | None:
        """The loops of one test; None for those that are not ours."""
        names = _loops_of(item)
        return {name: _new_loop(name) for name in names} if names else None


class _OtherLoops:
    """Tells pytest-asyncio the loop of all other tests, if nobody else does: it asks for all of them or for none."""

    @pytest.hookimpl(trylast=True)
    def pytest_asyncio_loop_factories(self, config: pytest.Config, item: pytest.Item) -> Loops:
        """What pytest-asyncio does by itself."""
        return {"default": asyncio.new_event_loop}


def _new_loop(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "asyncio":
        return asyncio.SelectorEventLoop
    import uvloop

    return uvloop.new_event_loop


def _loops_of(node: pytest.Item | pytest.Collector) -> tuple[str, ...]:
    for marker in node.iter_markers("nvme"):
        if (loop := marker.kwargs.get("loop")) is not None:
            return _checked(loop)
    return ()


def _checked(loop: Any) -> tuple[str, ...]:
    names = (loop,) if isinstance(loop, str) else tuple(loop)
    if not names or set(names) - set(LOOPS):
        raise pytest.UsageError(
            f"nvme(loop=...) is one of {', '.join(LOOPS)}, or a list of them, not {loop!r}"
        )
    return names


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: Any) -> None:
    """Tell of loops once a test wants one: pytest-asyncio treats every test otherwise as soon as anybody tells."""
    marks = [mark for mark in getattr(obj, "pytestmark", ()) if getattr(mark, "name", "") == "nvme"]
    marked = any(mark.kwargs.get("loop") is not None for mark in marks) or bool(_loops_of(collector))
    plugins = collector.config.pluginmanager
    if marked and plugins.hasplugin("asyncio") and not plugins.hasplugin("aionvme-loops"):
        plugins.register(_MarkedLoops(), "aionvme-loops")
        plugins.register(_OtherLoops(), "aionvme-other-loops")


# -- what a test left, and what it did ----------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Look for commands in flight before anything is closed, which would wait for them."""
    stage = item.stash.get(STAGE, None)
    if stage is not None:
        stage.look_for_commands()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the log of commands to the report of a test that failed."""
    report = yield
    stage = item.stash.get(STAGE, None)
    if stage is not None and report.failed:
        item.stash[FAILED] = True
        report.sections.extend(stage.sections())
    return report
