"""Owns the command line: `python -m tools.vm setup | run | test`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.vm import abi, boot, initramfs, kernel, nvme_cli, pair, suite
from tools.vm.debian import Kernel
from tools.vm.layout import REPO, VmError, locked, say, stage
from tools.vm.machine import DEFAULT_DRIVES, Drive, Machine


def main(argv: Sequence[str]) -> int:
    """Run one subcommand and return an exit status."""
    options = _parser().parse_args(argv)
    options.argv = argv
    try:
        return int(options.action(options))
    except VmError as error:
        say(f"FAILED: {error}")
    except KeyboardInterrupt:
        say("interrupted")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.vm", description="The virtual machine of the VM test tier."
    )
    actions = parser.add_subparsers(required=True, metavar="setup|run|test")
    setup = actions.add_parser(
        "setup", help="install programs, build the guest's kernel modules and initramfs"
    )
    setup.add_argument(
        "--refresh", action="store_true", help="take a newer kernel and nvme-cli if Debian has them"
    )
    setup.set_defaults(action=_setup)
    run = actions.add_parser("run", help="boot and run one command")
    _machine_options(run, "shell")
    run.add_argument("command", nargs="+", metavar="-- COMMAND", help="what to run in the guest")
    run.set_defaults(action=_run)
    test = actions.add_parser("test", help="boot, run the guest's tests, then the host's checks")
    _machine_options(test, "test")
    test.add_argument("--python", type=Path, default=Path(sys.executable), help="runs pytest in both places")
    test.add_argument("--quick", action="store_true", help="each test once, in one of its circumstances")
    test.add_argument("--allow-skips", action="store_true", help="do not fail when a test was skipped")
    test.add_argument("--guests", type=int, choices=(1, 2), default=min(2, os.cpu_count() or 1),
                      help="two share the tier (default: %(default)s); tests that are named run in one")  # fmt: skip
    test.add_argument("--part", type=int, choices=pair.PARTS, help="only what one of two guests runs")
    test.add_argument("arguments", nargs="*", metavar="-- PYTEST ARGUMENTS", help="default: aionvme/tests/vm")
    test.set_defaults(action=_test)
    return parser


def _machine_options(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument(
        "--name", default=name, help="folder under .vm/runs for what is left (default: %(default)s)"
    )
    parser.add_argument("--drive", action="append", type=str, metavar="NAME:BLOCK_SIZE:SIZE[:OPTIONS]",
                        help="an NVMe controller with one namespace; repeatable (default: four)")  # fmt: skip
    parser.add_argument("--memory", type=int, default=2048, metavar="MIB")
    parser.add_argument(
        "--hugepages", type=int, default=64, metavar="N", help="2 MiB pages set aside in the guest"
    )
    parser.add_argument("--kernel-args", default="", help="appended to the kernel's command line")
    parser.add_argument(
        "--qemu-args", default="", help="appended to QEMU's command line, split as a shell does"
    )
    parser.add_argument(
        "--accel", default="tcg,thread=multi", help="QEMU's accelerator (default: %(default)s)"
    )
    parser.add_argument("--timeout", type=float, default=3600.0, metavar="SECONDS", help="for the whole boot")


def _machine(options: argparse.Namespace) -> Machine:
    drives = tuple(Drive.parse(text) for text in options.drive) if options.drive else DEFAULT_DRIVES
    return Machine(
        drives=drives,
        memory=options.memory,
        hugepages=options.hugepages,
        kernel_args=options.kernel_args,
        qemu_args=tuple(shlex.split(options.qemu_args)),
        accel=options.accel,
    )


def _ready(*, refresh: bool = False) -> Kernel:
    with stage("set-up"):
        chosen = kernel.set_up(refresh=refresh)
        initramfs.build(chosen, Machine.contents)
        abi.write_json(chosen)
        nvme_cli.set_up(refresh=refresh)
    return chosen


def _setup(options: argparse.Namespace) -> int:
    _ready(refresh=options.refresh)
    return 0


def _run(options: argparse.Namespace) -> int:
    with locked(f"run-{options.name}"):
        machine = boot.Boot(_machine(options), _ready(), boot.folder(options.name), options.timeout)
        return machine.run(boot.in_host_root(options.command, {}))


def _test(options: argparse.Namespace) -> int:
    with locked(f"run-{options.name}"):
        chosen, folder = _ready(), boot.folder(options.name)
        if not options.part:
            suite.compile_all(options.python)
        if options.guests == 2 and not options.part and not options.arguments:
            return pair.run(options.argv, options.name)
        machine = boot.Boot(_machine(options), chosen, folder, options.timeout)
        return suite.run(
            machine,
            options.python,
            options.arguments,
            part=options.part,
            quick=options.quick,
            allow_skips=options.allow_skips,
        )


if __name__ == "__main__":
    if Path.cwd() != REPO:
        sys.exit(f"vm: run this from {REPO}")
    sys.exit(main(sys.argv[1:]))
