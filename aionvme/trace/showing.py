"""Owns a recording as people and programs look at it: text, JSON, and Chrome's trace format, which Perfetto opens."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from aionvme.trace.entries import Command
from aionvme.trace.reading import Trace

__all__ = ["as_json", "chrome", "line", "lines"]


def line(command: Command) -> str:
    """One command: when it began, where, what, how long it took, and how it ended. Never its data."""
    took = command.microseconds
    arguments = " ".join(f"{name}={value}" for name, value in command.arguments.items())
    return (
        f"{command.began_ns / 1e6:12.4f} ms  {f'q{command.qid}' if command.qid else 'admin':<6}{command.cid:04x}  "
        f"{command.name} {arguments}".ljust(78)
        + f"  {'' if took is None else f'{took:.1f} us':>12}  {command.outcome}"
    )


def lines(trace: Trace) -> Iterator[str]:
    """A recording as text: its header, a line for each command, and what there was in all."""
    device = trace.header.get("device", {})
    yield f"{device.get('model', 'a controller')} at {device.get('address', '?')}, {trace.header.get('began', '?')}"
    yield from map(line, trace.commands)
    yield summary(trace)


def summary(trace: Trace) -> str:
    """How many commands there were, how they ended, and whether the recording is whole."""
    outcomes = Counter(
        "succeeded" if command.status is not None and not command.status else command.outcome
        for command in trace.commands
    )
    counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    cut = "" if trace.is_whole else "; cut short: the process was killed, or could not write"
    strays = f"; {trace.strays} completions of earlier commands" if trace.strays else ""
    return f"{len(trace.commands)} commands" + (f": {counts}" if counts else "") + strays + cut


def as_json(trace: Trace) -> dict[str, Any]:
    """A recording for programs: the header, and each command decoded; without its data."""
    return {
        "header": trace.header,
        "whole": trace.is_whole,
        "commands": [_fields(command) for command in trace.commands],
    }


def _fields(command: Command) -> dict[str, Any]:
    status = command.status
    return {
        "qid": command.qid,
        "cid": command.cid,
        "opcode": command.opcode,
        "name": command.name,
        **command.arguments,
        "began_ns": command.began_ns,
        "ended_ns": command.ended_ns,
        "status": None if status is None else int(status),
        "outcome": command.outcome,
        "dw0": command.dw0,
        "sha256": command.digest,
    }


def chrome(trace: Trace) -> str:
    """A recording as Chrome's trace events, a track for each queue: ui.perfetto.dev and chrome://tracing open it.

    Commands overlap, so that each is an asynchronous pair, "b" and "e", with times in microseconds (the "Trace Event
    Format" of Chromium). One without a completion ends with the recording.
    """
    last = max((command.ended_ns or command.began_ns for command in trace.commands), default=0)
    events = [{"ph": "M", "pid": 1, "name": "process_name", "args": {"name": _title(trace)}}]
    qids = sorted({command.qid for command in trace.commands})
    events += [
        {
            "ph": "M",
            "pid": 1,
            "tid": qid,
            "name": "thread_name",
            "args": {"name": f"queue {qid}" if qid else "admin"},
        }
        for qid in qids
    ]
    for number, command in enumerate(trace.commands):
        events += _pair(number, command, last)
    events.extend(_depths(trace.commands))
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns"})


def _title(trace: Trace) -> str:
    device = trace.header.get("device", {})
    return f"{device.get('model', 'NVMe')} {device.get('address', '')}".strip()


def _pair(number: int, command: Command, last: int) -> list[dict[str, Any]]:
    common = {"cat": "nvme", "id": number, "pid": 1, "tid": command.qid, "name": command.name}
    ended = last if command.ended_ns is None else command.ended_ns
    return [
        {"ph": "b", "ts": command.began_ns / 1e3, "args": {"cid": command.cid, **command.arguments}} | common,
        {"ph": "e", "ts": ended / 1e3, "args": {"status": command.outcome}} | common,
    ]


def _depths(commands: Iterable[Command]) -> Iterator[dict[str, Any]]:
    """How many commands were outstanding, as a counter of each queue."""
    moments = [(command.began_ns, 1, command.qid) for command in commands]
    moments += [(command.ended_ns, -1, command.qid) for command in commands if command.ended_ns is not None]
    depths: Counter[int] = Counter()
    for when, change, qid in sorted(moments):
        depths[qid] += change
        yield {
            "ph": "C", "pid": 1, "ts": when / 1e3, "name": f"outstanding, {f'queue {qid}' if qid else 'admin'}",
            "args": {"commands": depths[qid]},
        }  # fmt: skip
