"""The pytest plugin, by pytest run in pytest: what fixtures give, what a marker changes, what is left and logged."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import IO

import pytest

import aionvme
import aionvme.mock
import aionvme.pytest_plugin.stage
import aionvme.spdk
from aionvme import pytest_plugin

pytest_plugins = ["pytester"]

# A run within this process forgets the modules that it was the first to import, and names are imported when asked for.
for name in aionvme.__all__:
    getattr(aionvme, name)

Run = Callable[..., pytest.RunResult]

HEAD = """
import asyncio, pytest, aionvme
from aionvme.mock import MockController, NamespaceConfig
kept = []
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Runs tests as a user's project has them."""

    def run(text: str, *words: str, mode: str = "strict") -> pytest.RunResult:
        pytester.makeini(
            f"[pytest]\nasyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = function\n"
            "filterwarnings = error\naddopts = --strict-markers\n"
        )
        pytester.makepyfile(HEAD + text)
        # As a module: it is imported already, which pytest would warn of.
        given = ("-p", "no:cacheprovider", "-p", "no:xdist", *words)
        return pytester.runpytest_inprocess(*given, plugins=[pytest_plugin])

    return run


def test_fixtures_and_markers(run: Run) -> None:
    """Markers add up, the closest counts; both event loops are had, and tests without a mark are left alone."""
    result = run(
        """
        pytestmark = [pytest.mark.asyncio, pytest.mark.nvme(namespaces=2, depth=7)]

        async def test_module(nvme_mock, nvme_address, nvme_ctrlr, nvme_qpair):
            assert nvme_address is nvme_mock and nvme_ctrlr.pci_dev is nvme_mock.pci_dev
            assert len(nvme_ctrlr.namespaces) == 2
            assert (nvme_qpair.depth, nvme_qpair.completion) == (7, "poll")

        @pytest.mark.nvme(block_size=4096, completion="manual", serial="MINE", loop=["uvloop", "asyncio"],
                          opts=aionvme.ControllerOptions(num_io_queues=3))
        async def test_own(nvme_ctrlr, nvme_qpair, request):
            assert nvme_ctrlr.namespaces[2].block_size == 4096
            assert nvme_qpair.completion == "manual" and nvme_ctrlr.data.sn.strip() == "MINE"
            assert nvme_ctrlr.opts.num_io_queues == 3
            assert type(asyncio.get_running_loop()).__module__.startswith(request.node.callspec.id)

        async def test_without(): pass
        """.replace("\n        ", "\n").replace(
            ".startswith(request.node.callspec.id)", ".partition('.')[0] in request.node.callspec.id"
        )
    )
    result.assert_outcomes(passed=4)
    result.stdout.no_fnmatch_line("*aionvme commands*")


def test_marker_with_a_fault_plan(run: Run) -> None:
    """The mock has the faults of the closest plan, which strike; what is no plan fails the test, and says why."""
    result = run(
        """
from aionvme.mock import Fault, FaultPlan

lost = FaultPlan([Fault("lost", qid=1, nth=2), Fault("status", status=0x281, qid=1, nth=2)])
pytestmark = [pytest.mark.asyncio, pytest.mark.nvme(faults=lost)]

async def test_of_the_module(nvme_mock, nvme_ctrlr, nvme_qpair):
    ns, buf = nvme_ctrlr.namespaces[1], nvme_ctrlr.dma_alloc(512)
    await nvme_qpair.read(ns, buf, 0, 1)
    with pytest.raises(aionvme.CommandTimeoutError):
        await nvme_qpair.read(ns, buf, 0, 1, timeout=0.01)
    assert nvme_mock.strikes == [1, 0]

@pytest.mark.nvme(faults=FaultPlan([Fault("status", status=0x281, qid=1)]))
async def test_of_its_own(nvme_mock, nvme_ctrlr, nvme_qpair):
    with pytest.raises(aionvme.MediaError):
        await nvme_qpair.read(nvme_ctrlr.namespaces[1], nvme_ctrlr.dma_alloc(512), 0, 1)
    assert nvme_mock.strikes == [1]

@pytest.mark.nvme(faults=["lost"])
async def test_no_plan(nvme_ctrlr):
    pass
"""
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*nvme(...): a fault plan has faults*"])


def test_auto_mode_and_callbacks(run: Run) -> None:
    """In auto mode no mark is wanted; what is no coroutine takes the address, and is logged when it fails."""
    result = run(
        """
async def test_auto(nvme_qpair):
    assert nvme_qpair.depth == 256

def test_callbacks(nvme_address):
    from aionvme import spdk
    ctrlr = spdk.spdk_nvme_connect(nvme_address)
    qpair = spdk.spdk_nvme_ctrlr_alloc_io_qpair(ctrlr, None, 0)
    ns = spdk.spdk_nvme_ctrlr_get_ns(ctrlr, 1)
    done = []
    assert spdk.spdk_nvme_ns_cmd_flush(ns, qpair, lambda arg, cpl: done.append(cpl), None) == 0
    while not done:
        spdk.spdk_nvme_qpair_process_completions(qpair, 0)
    spdk.spdk_nvme_ctrlr_free_io_qpair(qpair)
    spdk.spdk_nvme_detach(ctrlr)
    raise SystemError("on purpose")
""",
        mode="auto",
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*aionvme commands of mock:*", "* q1 * flush nsid=1 *Successful completion"])


def test_what_is_left_behind(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands, memory, tasks and descriptors that a test leaves fail it, by name, unless it says that it may."""
    files: list[IO[str]] = []
    monkeypatch.setattr(builtins, "files", files, raising=False)
    text = """
@pytest.mark.asyncio
async def test_leaks(nvme_mock, nvme_ctrlr, nvme_qpair):
    buf = nvme_ctrlr.dma_alloc(4096)
    nvme_mock.hold()  # Closing has not to wait for this, either.
    kept.extend([buf, nvme_qpair.submit_read(nvme_ctrlr.namespaces[1], buf, 5, 1, lambda arg, cpl: None)])
    kept.extend([asyncio.create_task(asyncio.sleep(60), name="forgotten")])
    files.append(open("/dev/null"))
"""
    result = run(text)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "the test leaves behind:",
            "*command of mock:* in flight: * read nsid=1 lba=5 nblocks=1 outstanding",
            "*memory of mock:*DmaBuffer of 4096 bytes*",
            "*task <Task pending name='forgotten'*",
            "*descriptor *: /dev/null",
        ]
    )
    result = run(text.replace("async def", "@pytest.mark.nvme(leaks=False)\nasync def"), "--aionvme-log=0")
    result.assert_outcomes(passed=1)
    for file in files:
        file.close()


def test_the_log_of_a_failed_test(run: Run) -> None:
    """The report has the last commands of every controller, with what came of them, and never their data."""
    result = run(
        """
@pytest.mark.asyncio
async def test_fails(nvme_mock, nvme_ctrlr, nvme_qpair):
    buf = nvme_ctrlr.dma_alloc(512)
    memoryview(buf)[:6] = b"SECRET"
    ns = nvme_ctrlr.namespaces[1]
    await nvme_qpair.write(ns, buf, 3, 1)
    nvme_mock.fail(0x281, qid=1)
    await nvme_qpair.read(ns, buf, 4, 1)
""",
        "--aionvme-log=2",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*aionvme commands of mock:*",
            "(* commands before these)",
            "* q1 * write nsid=1 lba=3 nblocks=1 *Successful completion",
            "* q1 * read nsid=1 lba=4 nblocks=1 *Unrecovered read error",
        ]
    )
    assert "SECRET" not in result.stdout.str().replace('b"SECRET"', "")


def test_on_an_address(run: Run) -> None:
    """The same tests run on what --aionvme-address names; those that take a mock, or another device, are skipped."""
    text = """
pytestmark = pytest.mark.asyncio

async def test_any(nvme_ctrlr):
    assert nvme_ctrlr.data.sn.strip() == "DEVICE"

async def test_mock(nvme_mock, nvme_ctrlr): raise SystemError

@pytest.mark.nvme(serial="OTHER")
async def test_option(nvme_ctrlr): raise SystemError

@pytest.mark.nvme(namespaces=3)
async def test_namespaces(nvme_ctrlr): raise SystemError

@pytest.mark.nvme(block_size=4096)
async def test_blocks(nvme_ctrlr): raise SystemError
"""
    result = run(text, "--aionvme-address=mock:?serial=DEVICE&namespaces=2", "-rs")
    result.assert_outcomes(passed=1, skipped=4)
    result.stdout.fnmatch_lines_random(
        [
            "*takes the mock,*",
            "*takes a mock, for serial*",
            "*takes 3 namespaces*",
            "*takes blocks of 4096 bytes*",
        ]
    )


@pytest.mark.parametrize(
    "address", ["0000:ff:1f.7", "mock:?storage=there", "vfio-user:/run/ctrl", "nonsense"]
)
def test_data_is_not_endangered(run: Run, address: str) -> None:
    """A device that may have somebody's data on it is not taken unless that was said."""
    result = run("def test_nothing(): pass", f"--aionvme-address={address}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--aionvme-overwrite*" if address != "nonsense" else "*nonsense*"])


def test_bad_markers_say_so(run: Run) -> None:
    """A loop or an option of the mock that there is not is said where the test is."""
    result = run("@pytest.mark.nvme(nothing=1)\ndef test_option(nvme_mock): pass")
    result.stdout.fnmatch_lines(["nvme(...): *nothing*"])
    result.stdout.no_fnmatch_line("During handling*")
    result.assert_outcomes(errors=1)
    result = run("@pytest.mark.asyncio\n@pytest.mark.nvme(loop='trio')\nasync def test_loop(nvme_mock): pass")
    assert "asyncio, uvloop" in result.stdout.str() + result.stderr.str()
    assert result.ret != 0
