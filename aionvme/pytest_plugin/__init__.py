"""The pytest plugin: fixtures of a mock, a controller and a queue pair, the look for leaks, the log of a failed test.

Belongs here: what pytest calls. Does not: anything that a program without pytest could use. Nothing of the driver is
imported before a test asks for it. docs/testing.md is the manual.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from aionvme.pytest_plugin import hooks
from aionvme.pytest_plugin.hooks import (
    pytest_addoption,
    pytest_configure,
    pytest_pycollect_makeitem,
    pytest_runtest_makereport,
    pytest_runtest_teardown,
)

# Without it there are tests without a loop, which need the mock alone.
HAS_ASYNCIO = find_spec("pytest_asyncio") is not None

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aionvme import Controller, IoQueuePair
    from aionvme.mock import MockController
    from aionvme.pytest_plugin.stage import Stage

__all__ = [
    "nvme_address",
    "nvme_ctrlr",
    "nvme_mock",
    "nvme_qpair",
    "pytest_addoption",
    "pytest_configure",
    "pytest_pycollect_makeitem",
    "pytest_runtest_makereport",
    "pytest_runtest_teardown",
]


@pytest.fixture
def _nvme_stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """What one test has of NVMe; afterwards nothing of it is left."""
    from aionvme.pytest_plugin.stage import Stage

    stage = Stage.of(request)
    request.node.stash[hooks.STAGE] = stage
    with stage:
        yield stage
    # Of a test that failed the traceback keeps what it had.
    if not request.node.stash.get(hooks.FAILED, False):
        stage.check()


@pytest.fixture
def nvme_mock(_nvme_stage: Stage) -> MockController:
    """A controller in software, as the test's `nvme` marker says; skips the test on a device."""
    return _nvme_stage.mock


@pytest.fixture
def nvme_address(_nvme_stage: Stage) -> Any:
    """What `aionvme.connect` and `aionvme.spdk` take: the mock, or the address that --aionvme-address gave."""
    return _nvme_stage.address


if HAS_ASYNCIO:
    import pytest_asyncio

    @pytest_asyncio.fixture
    async def nvme_ctrlr(_nvme_stage: Stage) -> AsyncIterator[Controller]:
        """A controller that is up, in the test's loop; closed afterwards."""
        async with _nvme_stage.connected() as ctrlr:
            yield ctrlr

    @pytest_asyncio.fixture
    async def nvme_qpair(_nvme_stage: Stage, nvme_ctrlr: Controller) -> AsyncIterator[IoQueuePair]:
        """An I/O queue pair of `nvme_ctrlr`, with the depth and completion of the marker; closed afterwards."""
        async with _nvme_stage.queue_pair(nvme_ctrlr) as qp:
            yield qp

else:

    @pytest.fixture
    def nvme_ctrlr() -> None:
        """Fails: a controller belongs to an event loop, which pytest-asyncio has for tests."""
        pytest.fail(
            "nvme_ctrlr and nvme_qpair take pytest-asyncio: pip install pytest-asyncio", pytrace=False
        )

    @pytest.fixture
    def nvme_qpair(nvme_ctrlr: None) -> None:
        """Fails as `nvme_ctrlr` does."""
