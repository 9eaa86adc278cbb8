"""A loop that is torn down with commands in flight.

The process ends, in bounded time, and each task with it, once.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from aionvme.tests.flow import torn_program
from aionvme.tests.flow.programs import environment

LOOPS = ["asyncio", "uvloop"]
PATIENCE = 30.0
ABORT = torn_program.OPTIONS["abort_timeout"]
IO = torn_program.WITHIN["io_timeout"]
READY = 0.5  # CAP.TO of the program's mock
SLACK = 4.0  # what a busy machine adds

# By device: the least and the most that its end may take, but for SLACK. Silence is only ended by the reset
# after Abort's time; a controller that cannot be reset is waited for as long as CAP.TO says.
TIMES = {
    "healthy": (0, 0),
    "held": (0, ABORT),
    "silent": (ABORT, ABORT),
    "stuck": (ABORT + READY, ABORT + READY),
}

OK, CANCELLED, FAILED, TIMEOUT = "ok", "CancelledError", "ControllerFailedError", "CommandTimeoutError"


@dataclass
class Ended:
    """How the program ended: its status, what it told on its way out, and what it wrote to standard error."""

    status: int
    told: dict[str, Any]
    errors: str

    def check(self, device: str, *, kinds: Iterable[str], warned: bool, before: float = 0.0) -> None:
        """Each command ended once, as one of the kinds, in time.

        The warning is there exactly if it is owed.
        """
        assert (self.told["tasks"], self.told["most"]) == (128, 1), self.told
        assert (self.told["told"], self.told["most_told"]) == (16, 1), self.told
        assert set(self.told["kinds"]) <= set(kinds), self.told
        low, high = TIMES[device]
        assert low <= self.told["seconds"] < before + high + SLACK, self.told
        self.check_noise(warned=warned)

    def check_noise(self, *, warned: bool) -> None:
        """No complaint but the warning that a controller was not closed."""
        found = re.findall(r"ResourceWarning: <Controller .*> was not closed", self.errors)
        assert len(found) == warned, self.errors
        for noise in (
            "never awaited",
            "was destroyed",
            "Exception ignored",
            "Fatal Python",
            "coroutine ignored",
        ):
            assert noise not in self.errors, self.errors


def run(*words: str, interrupts: int = 0) -> Ended:
    """Runs the program, and interrupts it when it is ready."""
    command = [sys.executable, "-W", "always::ResourceWarning", "-m", torn_program.__name__, *words]
    program = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        for _ in range(interrupts):
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            program.send_signal(signal.SIGINT)
        out, errors = program.communicate(timeout=PATIENCE)
    finally:
        program.kill()
        program.communicate()
    last = out.splitlines()[-1] if out else "null"
    return Ended(program.returncode, json.loads(last), errors)


@pytest.mark.parametrize("device", ["healthy", "held", "silent", "stuck"])
@pytest.mark.parametrize("loop", LOOPS)
class TestAnyDevice:
    """What holds for a device that answers, one that needs an Abort, one that needs a reset.

    One that takes none.
    """

    def test_main_raises(self, loop: str, device: str) -> None:
        """An exception leaves main(): it is the program's end, after every command's."""
        ended = run(loop, "raise", device)
        assert ended.status == 1
        assert "RuntimeError: on purpose" in ended.errors
        ended.check(device, kinds=[OK, CANCELLED], warned=True)
        if device != "healthy":
            assert ended.told["kinds"] == {CANCELLED: 128}

    def test_main_is_interrupted(self, loop: str, device: str) -> None:
        """Ctrl-C ends main() and every command, and the process says so by its status."""
        ended = run(loop, "interrupt", device, interrupts=1)
        assert ended.status == -signal.SIGINT
        ended.check(device, kinds=[OK, CANCELLED], warned=True)

    def test_callback_exits(self, loop: str, device: str) -> None:
        """SystemExit from a command's callback leaves the loop as it leaves any handle.

        The rest ends all the same.
        """
        ended = run(loop, "exit", device)
        assert ended.status == 7, ended.errors
        ended.check(device, kinds=[OK, CANCELLED], warned=True)

    def test_main_returns(self, loop: str, device: str) -> None:
        """The controller is dropped with commands in flight.

        Cut off from memory at once, and each command told why.
        """
        ended = run(loop, "return", device)
        assert ended.status == 0
        kinds = [OK, CANCELLED, FAILED]
        assert ended.told["seconds"] < SLACK
        assert (ended.told["tasks"], ended.told["most"], ended.told["told"], ended.told["most_told"]) == (
            128,
            1,
            16,
            1,
        )
        assert set(ended.told["kinds"]) <= set(kinds)
        ended.check_noise(warned=True)

    def test_main_raises_within_the_context(self, loop: str, device: str) -> None:
        """With `async with` the controller is closed first.

        It waits for commands as long as they may take.
        """
        ended = run(loop, "raise-with", device)
        assert ended.status == 1
        assert "RuntimeError: on purpose" in ended.errors
        # A controller that is being closed is not reset any more: it is cut off from memory instead.
        device = "silent" if device == "stuck" else device
        ended.check(
            device, kinds=[OK, TIMEOUT], warned=False, before=IO + torn_program.OPTIONS["admin_timeout"]
        )


@pytest.mark.parametrize("loop", LOOPS)
def test_forgotten_close(loop: str) -> None:
    """Whoever forgets close() is told by a ResourceWarning that says what to do.

    The process ends at once.
    """
    ended = run(loop, "forget", "healthy")
    assert ended.status == 0
    ended.check_noise(warned=True)
    assert "use `async with`, or await close()" in ended.errors


@pytest.mark.parametrize("loop", LOOPS)
def test_second_interrupt_ends_a_close_that_waits(loop: str) -> None:
    """Commands without a time limit keep the close waiting.

    The second Ctrl-C has them aborted, and ends it all.
    """
    ended = run(loop, "interrupt-within", "silent", interrupts=2)
    assert ended.status == -signal.SIGINT
    # The interrupt may hit the close itself, which is then unfinished, and says so.
    warned = "was not closed" in ended.errors
    ended.check("silent", kinds=[CANCELLED, FAILED, TIMEOUT], warned=warned, before=ABORT)
