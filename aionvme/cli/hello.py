"""Owns `aionvme hello`: its options, its questions and what it prints."""

from __future__ import annotations

import functools
import os
import shlex
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

import aionvme
from aionvme.cli import console
from aionvme.cli.confirm import can_ask, confirmed, is_disposable
from aionvme.cli.trial import Plan, Trial, run_trial
from aionvme.errors import AddressError, UsageError
from aionvme.pci.address import MockAddress, parse_address

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["hello"]


class Completion(StrEnum):
    """How completions are learnt of; "manual" is for callback code, see examples/callbacks.py."""

    POLL = "poll"
    INTERRUPT = "interrupt"
    ADAPTIVE = "adaptive"


def hello(
    address: Annotated[
        str,
        typer.Argument(help='Which controller: "mock:", "0000:01:00.0", "vfio-user:/run/ctrl".'),
    ] = "mock:",
    write: Annotated[
        bool, typer.Option("--write", metavar="", help="Write on a real device: OVERWRITES the blocks.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", metavar="", help="With --write: do not ask.")] = False,
    lba: Annotated[int, typer.Option(min=0, help="First block.")] = 0,
    nblocks: Annotated[int, typer.Option(min=1, max=65536, help="How many blocks.")] = 8,
    nsid: Annotated[int | None, typer.Option(min=1, help="Namespace; by default the first.")] = None,
    completion: Annotated[Completion, typer.Option(help="How completions are learnt of.")] = Completion.POLL,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print JSON.")] = False,
) -> None:
    """Try a controller: identify it, write a pattern, read it back, verify it, say how long each step took.

    The mock is a controller in this process with memory of its own, so there it writes without asking. On any
    other address, and on a mock with a storage file, it only reads, unless --write is given, and confirmed or
    --yes is given too.
    """
    disposable = is_disposable(address)
    _check_storage(address, write)
    if write and not disposable and not yes and not can_ask():
        raise UsageError(
            f"{console.named(address)}: --write overwrites data, and there is no terminal to ask on. Add --yes if "
            "that is meant"
        )
    plan = Plan(address, write or disposable, nsid, lba, nblocks, completion.value)
    asks: Callable[[Trial], Awaitable[bool]] | None
    asks = None if disposable else functools.partial(_may_overwrite, yes)
    trial = aionvme.run(run_trial(plan, _ignore if as_json else _show_controller, asks))
    if as_json:
        console.print_json(_as_json(trial))
    else:
        _show_steps(trial)
    if trial.mismatch is not None:
        console.error(f"{console.named(address)}: verification failed: {trial.mismatch}")
        raise typer.Exit(console.ERROR)


def _check_storage(address: str, write: bool) -> None:
    """A mock makes the file that it is told of; only looking, nothing is to be left behind."""
    parsed = parse_address(address)
    path = parsed.options.get("storage") if isinstance(parsed, MockAddress) else None
    if path is not None and not write and not os.path.exists(path):
        raise AddressError(f"{address}: there is no file {path}, and without --write none is made")


async def _may_overwrite(yes: bool, trial: Trial) -> bool:
    serial, bdf = _text(trial.ctrlr.data.sn), trial.ctrlr.pci_dev.bdf
    console.note("About to overwrite:" if not yes else "Overwriting:")
    console.facts(
        [
            ("controller", trial.plan.address),
            ("model", _text(trial.ctrlr.data.mn)),
            ("serial", serial),
            ("blocks", _blocks(trial)),
            ("there now", trial.found or ""),
        ],
        aside=True,
    )
    if yes:
        return True
    return await confirmed(
        "What is there now is lost. Type the serial number or the address to go on: ",
        (serial, bdf, trial.plan.address),
    )


def _ignore(_trial: Trial) -> None:
    pass


def _text(value: str) -> str:
    return value.strip()


def _version(ctrlr: aionvme.Controller) -> str:
    # Major in the upper half, then minor and tertiary (Base 2.0, figure 275, VER).
    number = ctrlr.data.ver
    parts = [number >> 16, number >> 8 & 0xFF, number & 0xFF]
    return ".".join(str(part) for part in (parts if parts[2] else parts[:2]))


def _extent(ns: aionvme.Namespace) -> str:
    metadata = f" with {ns.metadata_size} of metadata" if ns.metadata_size else ""
    return (
        f"{console.size(ns.nblocks * ns.block_size)}, {ns.nblocks} blocks of {ns.block_size} bytes{metadata}"
    )


def _blocks(trial: Trial) -> str:
    last = trial.plan.lba + trial.plan.nblocks - 1
    return f"namespace {trial.ns.nsid}, LBA {trial.plan.lba} to {last} ({console.size(trial.nbytes)})"


def _show_controller(trial: Trial) -> None:
    data, namespaces = trial.ctrlr.data, sorted(trial.ctrlr.namespaces.items())
    console.result(f"Controller {trial.plan.address}", "bold")
    console.facts(
        [
            ("model", _text(data.mn)),
            ("serial", _text(data.sn)),
            ("firmware", _text(data.fr)),
            ("NVMe", _version(trial.ctrlr)),
            ("capacity", console.size(sum(ns.nblocks * ns.block_size for _, ns in namespaces))),
            *((f"namespace {nsid}", _extent(ns)) for nsid, ns in namespaces),
        ]
    )


def _show_steps(trial: Trial) -> None:
    console.result(f"N{_blocks(trial)[1:]}", "bold")
    width = max(len(f"{took:.1f}") for took in trial.microseconds.values())
    console.facts([(name, f"{took:{width}.1f} µs") for name, took in trial.microseconds.items()])
    if not trial.written:
        console.result(f"What is there: {trial.found}. Nothing was written.")
        console.note(
            f"`aionvme hello {shlex.quote(trial.plan.address)} --write` overwrites these blocks and verifies them."
        )
    elif trial.mismatch is None:
        console.result("Verified: what was read is what was written.", "green")


def _as_json(trial: Trial) -> dict[str, Any]:
    data = trial.ctrlr.data
    return {
        "address": trial.plan.address,
        "model": _text(data.mn),
        "serial": _text(data.sn),
        "firmware": _text(data.fr),
        "version": _version(trial.ctrlr),
        "namespaces": [
            {"nsid": nsid, "nblocks": ns.nblocks, "block_size": ns.block_size}
            for nsid, ns in sorted(trial.ctrlr.namespaces.items())
        ],
        "nsid": trial.ns.nsid,
        "lba": trial.plan.lba,
        "nblocks": trial.plan.nblocks,
        "completion": trial.plan.completion,
        "written": trial.written,
        "verified": trial.mismatch is None if trial.written else None,
        "microseconds": {name.replace(" ", "_"): round(took, 1) for name, took in trial.microseconds.items()},
    }
