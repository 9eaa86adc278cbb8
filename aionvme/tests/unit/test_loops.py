"""The tests' own means: the loops that they run on, the look for leaks, the rule against skips."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import uvloop

from aionvme.tests.leaks import Census

REPO = Path(__file__).parents[3]


@pytest.mark.anyloop
async def test_a_marked_coroutine_runs(request: pytest.FixtureRequest) -> None:
    """The mark is enough to have a coroutine run, on the loop that its name says, and on each."""
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    assert request.node.name == f"test_a_marked_coroutine_runs[{loop}]"
    names = {item.name for item in request.session.items}
    assert {f"test_a_marked_coroutine_runs[{each}]" for each in ("asyncio", "uvloop")} <= names


@pytest.mark.anyloop
class TestInAClass:
    """The mark on a class counts for its coroutines."""

    async def test_a_method_runs(self) -> None:
        """It runs."""
        assert asyncio.get_running_loop().is_running()

    def test_a_function_may_be_there_too(self) -> None:
        """And what is no coroutine is left alone."""
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()


@pytest.mark.asyncio
async def test_without_the_mark_there_is_one_loop() -> None:
    """An ordinary asynchronous test runs on asyncio's own loop."""
    assert not isinstance(asyncio.get_running_loop(), uvloop.Loop)


@pytest.mark.anyloop
@pytest.mark.usefixtures("no_leaks")
async def test_nothing_is_no_leak() -> None:
    """What a test opens and closes again is no leak, nor is a thread of the loop's pool."""
    fd = os.open("/dev/null", os.O_RDONLY)
    thread = threading.Thread(target=os.close, args=(fd,))
    thread.start()
    thread.join()
    await asyncio.sleep(0)
    await asyncio.to_thread(os.getpid)


@pytest.mark.anyloop
async def test_leaks_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """An open descriptor, a running thread and a pending task are each seen."""
    monkeypatch.setattr("aionvme.tests.leaks.PATIENCE", 0.0)
    before = await Census.of_loop()
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    fd = os.open("/dev/null", os.O_RDONLY)
    task = asyncio.ensure_future(asyncio.Event().wait())
    left = await before.leaked()
    os.close(fd)
    stop.set()
    thread.join()
    task.cancel()
    assert [line.split()[0] for line in left] == ["descriptor", "thread", "task"]
    assert left[0] == f"descriptor {fd}: /dev/null"


@pytest.mark.parametrize(("setting", "jobs", "status"), [("", "0", 0), ("1", "0", 1), ("1", "2", 1)])
def test_a_skip_fails_the_run_where_there_may_be_none(
    tmp_path: Path, setting: str, jobs: str, status: int
) -> None:
    """AIONVME_NO_SKIPS turns a run with a skipped test into a failed one, also if processes share the tests."""
    (tmp_path / "test_it.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): pytest.skip('because')\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "aionvme.tests.conftest", "-p", "no:cacheprovider"]
    environment = os.environ | {"AIONVME_NO_SKIPS": setting, "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [*command, "-c", os.devnull, "-n", jobs, str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == status, done.stdout.decode()
