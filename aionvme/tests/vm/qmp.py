"""Owns the way from a test in the guest to QEMU's monitor: commands, their answers, and events (qmp-spec).

The machine has a monitor of its own for this, at the other end of the guest's virtio serial port `aionvme.qmp`.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import time
from pathlib import Path
from typing import Any, Self

PORT = "aionvme.qmp"
PORTS = Path("/sys/class/virtio-ports")
TIMEOUT = 60.0


class QmpError(Exception):
    """QEMU refused a command; `kind` is its error class."""

    def __init__(self, command: str, kind: str, description: str) -> None:
        super().__init__(f"{command}: {description} ({kind})")
        self.kind = kind


class Qmp:
    """QEMU's monitor. One at a time may have the port; every call blocks until QEMU answers.

    Args:
        fd: an open descriptor of a monitor, which it takes over; by default the guest's port is opened.
    """

    def __init__(self, fd: int | None = None) -> None:
        self._fd = os.open(_port(), os.O_RDWR | os.O_CLOEXEC) if fd is None else fd
        self._pending = b""
        self._events: list[dict[str, Any]] = []
        # Not the number that somebody who had the port before used, whose answer may still come.
        self._ids = itertools.count(time.monotonic_ns())
        try:
            self("qmp_capabilities")
        except QmpError as error:
            # It was negotiated by whoever had the port before.
            if error.kind != "CommandNotFound":
                raise

    def __call__(self, command: str, **arguments: Any) -> Any:
        """Run a command and return its answer.

        Args:
            command: its name, such as `device_add`.
            arguments: its arguments; an underscore in a name stays one, and names with a hyphen are given by `**`.

        Raises:
            QmpError: QEMU refused it.
            TimeoutError: no answer came within a minute.
        """
        number = next(self._ids)
        self._send({"execute": command, "arguments": arguments, "id": number})
        end = time.monotonic() + TIMEOUT
        while True:
            message = self._receive(end, f"the answer to {command}")
            if "event" in message:
                self._events.append(message)
            elif message.get("id") == number:
                break
        if "error" in message:
            raise QmpError(command, message["error"]["class"], message["error"]["desc"])
        return message["return"]

    def wait_event(self, name: str, timeout: float = TIMEOUT, **data: Any) -> dict[str, Any]:
        """Wait for an event, or find one that came before and was not waited for, and return its data.

        Args:
            name: such as `DEVICE_DELETED`.
            timeout: in seconds.
            data: what its data must say, such as `device="hot"`.

        Raises:
            TimeoutError: it did not come.
        """
        end = time.monotonic() + timeout
        seen = 0
        while True:
            for event in self._events[seen:]:
                found: dict[str, Any] = event.get("data", {})
                if event["event"] == name and data.items() <= found.items():
                    self._events.remove(event)
                    return found
            seen = len(self._events)
            message = self._receive(end, f"the event {name}")
            if "event" in message:
                self._events.append(message)

    def forget_events(self) -> None:
        """Drop the events that came until now."""
        self("query-status")
        self._events.clear()

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._fd, data) :]

    def _receive(self, end: float, what: str) -> dict[str, Any]:
        while b"\n" not in self._pending:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._fd], [], [], left)[0]:
                raise TimeoutError(f"still waiting for {what}")
            chunk = os.read(self._fd, 1 << 16)
            if not chunk:
                raise ConnectionError(f"QEMU closed its monitor before {what}")
            self._pending += chunk
        line, self._pending = self._pending.split(b"\n", 1)
        try:
            message: dict[str, Any] = json.loads(line)
        except ValueError:
            # The rest of a line that somebody who had the port before had begun to read.
            return {}
        return message

    def close(self) -> None:
        """Give the port back."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _port() -> Path:
    for port in PORTS.iterdir():
        if (port / "name").read_text().strip() == PORT:
            return Path("/dev", port.name)
    raise FileNotFoundError(f"the guest has no virtio serial port {PORT}")
