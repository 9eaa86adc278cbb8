"""Owns the command line: `python -m tools.interop setup | test`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.interop import guest
from tools.vm.layout import REPO, Unavailable, VmError, say, stage
from tools.vm.processes import ends_with_parent

TESTS = "aionvme/tests/interop"


def main(argv: Sequence[str]) -> int:
    """Run one subcommand and return an exit status."""
    options = _parser().parse_args(argv)
    try:
        return int(options.action(options))
    except VmError as error:
        say(f"FAILED: {error}")
    except KeyboardInterrupt:
        say("interrupted")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.interop", description="The guest of the interop test tier, and the tier."
    )
    actions = parser.add_subparsers(required=True, metavar="setup|test")
    setup = actions.add_parser("setup", help="download QEMU and the guest's programs, make the initramfs")
    setup.add_argument("--refresh", action="store_true", help="take newer packages if Debian has some")
    setup.set_defaults(action=_setup)
    test = actions.add_parser("test", help="set up, then run the tests")
    test.add_argument("--quick", action="store_true", help="one way to reach the controller, not all of them")
    test.add_argument(
        "arguments", nargs="*", metavar="-- PYTEST ARGUMENTS", help=f"of {TESTS} if they name no tests"
    )
    test.set_defaults(action=_test)
    return parser


def _setup(options: argparse.Namespace) -> int:
    guest.set_up(refresh=options.refresh)
    return 0


def _test(options: argparse.Namespace) -> int:
    """Run the tests, those in the guest too if there can be one; else they are skipped, for the reason that is told."""
    try:
        guest.set_up()
        state = "ready"
    except Unavailable as error:
        say(f"NOTE: the tests in the guest are skipped: {error}")
        state = str(error)
    # xdist's workers would each begin a guest of their own.
    words = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-v", *["--quick"] * options.quick]
    words += options.arguments
    if not any(Path(word.partition("::")[0]).exists() for word in options.arguments):
        words.append(TESTS)
    environment = os.environ | {"AIONVME_INTEROP": state}
    with stage("tests"), subprocess.Popen(words, env=environment, preexec_fn=ends_with_parent()) as tests:
        return tests.wait()


if __name__ == "__main__":
    if Path.cwd() != REPO:
        sys.exit(f"interop: run this from {REPO}")
    sys.exit(main(sys.argv[1:]))
