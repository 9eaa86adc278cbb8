"""The endurance test: its oracle notices what is wrong, and a short run of all of it loses nothing."""

from __future__ import annotations

import pytest

from tools.soak.__main__ import main
from tools.soak.oracle import ZEROES, Oracle


def test_the_oracle_knows_what_may_be_there() -> None:
    """The acknowledged write, or one since that ended otherwise; what was read stands from then on."""
    oracle = Oracle(2, 512)
    oracle.begin([0], 1)
    for version in (ZEROES, 1):
        assert oracle.known(0) is None
        oracle.check(0, oracle.block(0, version), "test")
        assert oracle.known(0) == version
        oracle.begin([0], 1 - version)
    oracle.acknowledge([0], 1)
    oracle.begin([0], 2)
    oracle.check(0, oracle.block(0, 2), "test")
    assert (oracle.verified, oracle.lost) == (3, [])


@pytest.mark.parametrize("wrong", ["old", "other", "damaged", "never"])
def test_the_oracle_notices(wrong: str) -> None:
    """A write that went, another block's data, a bit that flipped, and what nobody wrote are lost blocks."""
    oracle = Oracle(4, 512)
    oracle.acknowledge([1, 2], 7)
    block = bytearray(oracle.block(1, 7))
    block[300] ^= 1
    found = {
        "old": oracle.block(1, ZEROES),
        "other": oracle.block(2, 7),
        "damaged": bytes(block),
        "never": oracle.block(1, 8),
    }[wrong]
    oracle.check(1, found, "test")
    assert oracle.verified == 0
    assert len(oracle.lost) == 1


def test_a_short_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A few seconds of it: blocks were verified, none was lost, and nothing is left behind."""
    assert main(["--seconds", "2", "--seed", "4", "--loop", "asyncio"]) == 0
    rows = dict(
        line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines() if "  " in line.strip()
    )
    assert int(rows["blocks verified"]) > 0
    assert int(rows["blocks lost"]) == 0
