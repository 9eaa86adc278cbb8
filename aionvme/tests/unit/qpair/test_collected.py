"""What the collector finds of requests: a failure that nobody was told of is reported while it is still all there."""

from __future__ import annotations

import gc

import pytest

from aionvme.errors import ControllerLostError
from aionvme.tests.unit.qpair.device import device

REQUESTS = 50


class Lost(ControllerLostError):
    """One that refers to what ended by it."""

    ended: list[object]


def _fails() -> None:
    with device(depth=4) as far:
        error = Lost("the end")
        request = far.qp.submit_read(far.namespace(nblocks=8), far.alloc(4096), 0, 1)
        # The collector clears the error first, which is older, and the request goes with the list.
        error.ended = [request]
        error.ended.append(error.ended)
        far.qp.end_outstanding(error, True)
        far.qp.process_completions()
        assert request.done()


def test_an_error_that_goes_with_its_request(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a request in a cycle with its error each is reported, as it was."""
    for _ in range(REQUESTS):
        _fails()
    gc.collect()
    assert capsys.readouterr().err.count("Lost: the end") == REQUESTS
