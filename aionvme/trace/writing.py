"""Owns the recording as it is written: a line of JSON for each command, completion and command that was given up.

A line is in the kernel's hands before the next one is made, so that of a process that was killed all but the last line
is there. docs/testing.md has the format.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from aionvme.trace.entries import transferred_to_host
from aionvme.trace.transfer import data_of

__all__ = ["FORMAT", "KINDS_OF_DATA", "VERSION", "Source", "Writer"]

FORMAT = "aionvme-trace"
VERSION = 1
#: Nothing of the data; its SHA-256; all of it.
KINDS_OF_DATA = ("none", "digest", "full")


class Source(Protocol):
    """What a recording has to know of the controller."""

    page_size: int

    def facts(self) -> Mapping[str, Any]:
        """What its header says of the controller."""

    def unit(self, nsid: int) -> int:
        """Bytes that are transferred for each block of a namespace; 0 for one that there is not."""

    def reach(self, iova: int, nbytes: int) -> bytes | None:
        """What is at an I/O address; None where that is not mapped."""


class Writer:
    """Writes one recording; what a tap tells. From any thread.

    Attributes:
        path: Where to.
        error: What ended it early, such as a disk that is full.
        ncommands: How many commands it has.
    """

    def __init__(self, path: str | Path, source: Source, data: str) -> None:
        self.path = Path(path)
        self.error: Exception | None = None
        self.ncommands = 0
        self._source = source
        self._data = data
        self._began = time.monotonic_ns()
        self._lock = threading.Lock()
        # Of commands whose data the device has yet to write: where that will be is said by the entry in the ring, in
        # whose place there may be another by then.
        self._reading: dict[tuple[int, int], bytes] = {}
        self._file = self.path.open("w", buffering=1, encoding="ascii")
        self._write({
            "format": FORMAT, "version": VERSION, "began": datetime.now(UTC).isoformat(timespec="microseconds"),
            "data": data, **source.facts(),
        })  # fmt: skip

    def posted(self, when_ns: int, qid: int, sqe: bytes) -> None:
        """A command is about to be the device's."""
        fields: dict[str, Any] = {"e": "posted", "t": when_ns - self._began, "q": qid, "sqe": sqe.hex()}
        if self._data != "none":
            if transferred_to_host(sqe[0]):
                self._reading[qid, int.from_bytes(sqe[2:4], "little")] = sqe
            else:
                fields |= self._of_data(qid, sqe)
        self.ncommands += 1
        self._write(fields)

    def completed(self, when_ns: int, qid: int, cqe: bytes) -> None:
        """It completed one."""
        fields: dict[str, Any] = {"e": "completed", "t": when_ns - self._began, "q": qid, "cqe": cqe.hex()}
        sqe = self._reading.pop((qid, int.from_bytes(cqe[12:14], "little")), None)
        failed = int.from_bytes(cqe[14:16], "little") >> 1 & 0x7FF
        if sqe is not None and not failed:
            fields |= self._of_data(qid, sqe)
        self._write(fields)

    def dropped(self, when_ns: int, qid: int, cid: int) -> None:
        """The host gave one up."""
        self._reading.pop((qid, cid), None)
        self._write({"e": "dropped", "t": when_ns - self._began, "q": qid, "cid": cid})

    def close(self) -> None:
        """Says that it is whole, and closes the file; may be called twice."""
        if self._file.closed:
            return
        try:
            with self._file:
                if self.error is None:
                    self._write({"e": "end", "t": time.monotonic_ns() - self._began})
        except OSError as error:
            self.error = self.error or error

    def _of_data(self, qid: int, sqe: bytes) -> dict[str, str]:
        data = data_of(qid, sqe, self._source)
        if data is None:
            return {}
        if self._data == "digest":
            return {"sha256": hashlib.sha256(data).hexdigest()}
        return {"data": base64.b64encode(data).decode("ascii")}

    def _write(self, fields: dict[str, Any]) -> None:
        text = json.dumps(fields, separators=(",", ":")) + "\n"
        with self._lock:
            self._file.write(text)
