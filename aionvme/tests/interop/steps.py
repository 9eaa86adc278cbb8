"""Owns what the guest left of each step of `guest.sh`, as tests read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Step:
    """How one step ended.

    Attributes:
        name: as `guest.sh` calls it.
        status: exit status.
        out: standard output.
        err: standard error.
    """

    name: str
    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output as text, without white space at its ends."""
        return self.out.decode().strip()

    @property
    def json(self) -> Any:
        """Standard output as JSON, behind what a program may have remarked in front of it."""
        text = self.text
        return json.loads(text[text.index("{") :])

    @property
    def fields(self) -> dict[str, str]:
        """Standard output in lines of `name:value`."""
        pairs = (line.partition(":") for line in self.text.splitlines())
        return {name: value.strip() for name, _, value in pairs}


@dataclass(frozen=True)
class Steps:
    """The folder in which the guest left them."""

    folder: Path

    def ended(self, name: str) -> Step:
        """A step that came to its end, well or not."""
        status = self.folder / f"{name}.status"
        assert status.exists(), f"the guest never came to the end of {name}"
        out, err = (self.folder / f"{name}.{each}" for each in ("out", "err"))
        return Step(name, int(status.read_text()), out.read_bytes(), err.read_text())

    def succeeded(self, name: str) -> Step:
        """A step whose exit status was 0."""
        step = self.ended(name)
        assert step.status == 0, f"{name} returned {step.status}: {step.err or step.text}"
        return step

    def table(self, name: str) -> list[list[int]]:
        """Standard output of a step that succeeded, as lines of numbers."""
        return [[int(word) for word in line.split()] for line in self.succeeded(name).text.splitlines()]


def differences(theirs: Any, ours: Any, where: str) -> Iterator[str]:
    """What nvme-cli has in its JSON and `aionvme` has not, or otherwise."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key, value in theirs.items():
            if key not in ours:
                yield f"{where}: no {key}"
            else:
                yield from differences(value, ours[key], f"{where}/{key}")
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for at, (their, our) in enumerate(zip(theirs, ours, strict=True)):
            yield from differences(their, our, f"{where}/{at}")
    elif theirs != ours:
        yield f"{where}: {ours!r}, and nvme-cli has {theirs!r}"
