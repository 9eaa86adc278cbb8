"""Owns what tests of the server are given: a mock that is served, and clients of it; and the look for leaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aionvme.mock import MockController
from aionvme.mock.serving.listener import Serving
from aionvme.tests.leaks import PATIENCE, Census
from aionvme.tests.unit.mock.raw import SECONDS
from aionvme.tests.unit.mock.serving.client import Client, RemoteRaw, drive


class Stage:
    """A served mock, and its clients.

    Attributes:
        mock: The mock.
        serving: Its service.
    """

    def __init__(
        self, folder: Path, *, doorbells: str = "mapped", timeout: float = 10.0, **options: object
    ) -> None:
        self.mock = MockController(**{"size": 1 << 20, **options})  # type: ignore[arg-type]
        self.serving: Serving = self.mock.serve(folder, doorbells=doorbells, timeout=timeout)
        self._clients: list[Client] = []

    def client(self, serve: Callable[[int, bytes], bytes] | None = None) -> Client:
        """One more connection, which has said nothing yet."""
        client = Client(self.serving.path, serve)
        self._clients.append(client)
        return client

    def negotiated(self) -> Client:
        """One more connection, past its version."""
        client = self.client()
        client.negotiate()
        return client

    def raw(self) -> RemoteRaw:
        """A driver of it, not enabled."""
        return drive(self.mock, self.client())

    def forget(self, client: Client) -> None:
        """This connection is closed, and nobody asks for it any more."""
        client.close()
        self._clients.remove(client)

    def settle(self) -> None:
        """Waits until no client is attached."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        deadline = time.monotonic() + SECONDS
        while self.serving.attached:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def close(self) -> None:
        """Ends all."""
        for client in self._clients:
            client.close()
        self.serving.close()
        self.mock.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Makes served mocks; afterwards no descriptor and no thread is left of any."""
    before = Census.take()
    made: list[Stage] = []

    def make(**options: object) -> Stage:
        made.append(Stage(tmp_path / str(len(made)), **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()
    deadline = time.monotonic() + PATIENCE
    while (left := Census.take().more_than(before)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == []
