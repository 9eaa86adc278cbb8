"""Owns what `hello` does with a controller: connect, perhaps write, read, compare; and how long that took."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import attrs

import aionvme
from aionvme.cli.console import named
from aionvme.cli.pattern import difference, looks_like, pattern
from aionvme.errors import NvmeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

__all__ = ["Plan", "Trial", "TrialError", "run_trial"]

# Neither zeros, which fresh memory and unwritten blocks have, nor text: a read that moves nothing shows.
_STALE = 0xA5


class TrialError(NvmeError):
    """The controller can't be tried like this, or nobody confirmed the write."""


@attrs.frozen
class Plan:
    """What is asked for.

    Attributes:
        address: Of the controller.
        write: Whether to write.
        nsid: The namespace, None for the first.
        lba, nblocks: Which blocks.
        completion: How the queue pair learns of completions.
    """

    address: str
    write: bool
    nsid: int | None
    lba: int
    nblocks: int
    completion: str


@attrs.define
class Trial:
    """What came of it.

    Attributes:
        plan: What was asked for.
        ctrlr, ns: On what. The controller is closed by the time that this is returned.
        found: A few words on what was in the blocks before, None if that was not read.
        written: Whether the blocks were written.
        mismatch: Where what was read is not what was written; None if it is, or nothing was written.
        microseconds: How long each step took.
    """

    plan: Plan
    ctrlr: aionvme.Controller
    ns: aionvme.Namespace
    found: str | None = None
    written: bool = False
    mismatch: str | None = None
    microseconds: dict[str, float] = attrs.field(factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes in the blocks."""
        return self.plan.nblocks * self.ns.block_size

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Notes how long the block takes."""
        begun = time.perf_counter_ns()
        yield
        self.microseconds[name] = (time.perf_counter_ns() - begun) / 1000


async def run_trial(
    plan: Plan,
    on_connected: Callable[[Trial], None],
    may_overwrite: Callable[[Trial], Awaitable[bool]] | None,
) -> Trial:
    """Tries a controller.

    Args:
        plan: What to do.
        on_connected: Called once the controller is up.
        may_overwrite: Asked before the write, with `found` filled in; None to write at once.

    Raises:
        TrialError: No such namespace, or one that this can't use; or `may_overwrite` said no.
        NvmeError: What the driver raises.
    """
    begun = time.perf_counter_ns()
    async with aionvme.connect(plan.address) as ctrlr:
        took = (time.perf_counter_ns() - begun) / 1000
        trial = Trial(plan, ctrlr, _namespace(ctrlr, plan), microseconds={"connect": took})
        on_connected(trial)
        begun = time.perf_counter_ns()
        async with ctrlr.alloc_io_qpair(completion=plan.completion) as qp:
            trial.microseconds["queue pair"] = (time.perf_counter_ns() - begun) / 1000
            if not plan.write or may_overwrite is not None:
                await _look(trial, qp)
            if plan.write:
                if may_overwrite is not None and not await may_overwrite(trial):
                    raise TrialError("not confirmed: nothing was written")
                await _write_and_verify(trial, qp)
    return trial


def _namespace(ctrlr: aionvme.Controller, plan: Plan) -> aionvme.Namespace:
    if not ctrlr.namespaces:
        raise TrialError(f"{named(plan.address)}: the controller has no active namespace")
    nsid = min(ctrlr.namespaces) if plan.nsid is None else plan.nsid
    ns = ctrlr.namespaces.get(nsid)
    if ns is None:
        there = ", ".join(str(number) for number in sorted(ctrlr.namespaces))
        raise UsageError(f"{named(plan.address)}: no active namespace {nsid}; there is {there}")
    if ns.metadata_size:
        raise TrialError(
            f"{named(plan.address)}: the blocks of namespace {nsid} have {ns.metadata_size} bytes of metadata, "
            "which hello does not write. Choose another one with --nsid"
        )
    if plan.lba + plan.nblocks > ns.nblocks:
        raise UsageError(
            f"{named(plan.address)}: LBA {plan.lba} to {plan.lba + plan.nblocks - 1} is outside of namespace "
            f"{nsid}, whose last is {ns.nblocks - 1}"
        )
    return ns


async def _look(trial: Trial, qp: aionvme.IoQueuePair) -> None:
    with trial.ctrlr.dma_alloc(trial.nbytes) as buf:
        with trial.timed("look" if trial.plan.write else "read"):
            await qp.read(trial.ns, buf, trial.plan.lba, trial.plan.nblocks)
        trial.found = looks_like(bytes(buf))


async def _write_and_verify(trial: Trial, qp: aionvme.IoQueuePair) -> None:
    plan, ns = trial.plan, trial.ns
    wanted = pattern(plan.lba, plan.nblocks, ns.block_size, seed=time.time_ns())
    # Another buffer for the read: what it holds afterwards can only have come from the controller.
    with trial.ctrlr.dma_alloc(trial.nbytes) as out, trial.ctrlr.dma_alloc(trial.nbytes) as back:
        memoryview(out)[:] = wanted
        memoryview(back)[:] = bytes([_STALE]) * trial.nbytes
        with trial.timed("write"):
            await qp.write(ns, out, plan.lba, plan.nblocks)
        trial.written = True
        with trial.timed("read"):
            await qp.read(ns, back, plan.lba, plan.nblocks)
        with trial.timed("verify"):
            trial.mismatch = difference(wanted, bytes(back), plan.lba, ns.block_size)
