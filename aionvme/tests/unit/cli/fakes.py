"""A controller as the command sees one: the public names, over a bytearray, with a test's faults."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = 512


class FakeBuffer(bytearray):
    """Memory that can be entered, as a `DmaBuffer` can."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


class FakeController:
    """A controller with namespaces 1 and 3 of 64 blocks, and 4, whose blocks have metadata.

    Attributes:
        storage: What namespace 1 holds.
        calls: The commands, by name and first block.
        on_read: Given what a read is about to return, returns what it returns.
        closed: How often it was closed.
        refusal: Raised when it is connected to.
    """

    def __init__(self) -> None:
        self.storage = bytearray(64 * BLOCK)
        self.calls: list[tuple[str, int]] = []
        self.on_read: Callable[[bytes], bytes] = lambda data: data
        self.closed = 0
        self.refusal: BaseException | None = None
        self.data = SimpleNamespace(mn="Fake drive", sn="S123", fr="1.0", ver=0x00020001)
        self.pci_dev = SimpleNamespace(bdf="0000:01:00.0")
        self.namespaces: dict[int, Any] = {
            nsid: SimpleNamespace(nsid=nsid, block_size=BLOCK, nblocks=64, metadata_size=metadata)
            for nsid, metadata in ((1, 0), (3, 0), (4, 8))
        }

    def connect(self, address: str, **_options: object) -> contextlib.AbstractAsyncContextManager[Any]:
        """In the place of `aionvme.connect`."""
        return _Connection(self)

    def dma_alloc(self, nbytes: int) -> FakeBuffer:
        """Zeroed memory."""
        return FakeBuffer(nbytes)

    def alloc_io_qpair(self, **_options: object) -> contextlib.AbstractAsyncContextManager[Any]:
        """Itself: it has the commands too."""
        return contextlib.nullcontext(self)

    async def write(self, ns: Any, buf: FakeBuffer, lba: int, nblocks: int) -> None:
        """Stores blocks."""
        self.calls.append(("write", lba))
        self.storage[lba * BLOCK : (lba + nblocks) * BLOCK] = buf

    async def read(self, ns: Any, buf: FakeBuffer, lba: int, nblocks: int) -> None:
        """Gives blocks, or what the test would have it give."""
        self.calls.append(("read", lba))
        data = self.on_read(bytes(self.storage[lba * BLOCK : (lba + nblocks) * BLOCK]))
        buf[: len(data)] = data


class _Connection:
    def __init__(self, ctrlr: FakeController) -> None:
        self.ctrlr = ctrlr

    async def __aenter__(self) -> FakeController:
        if self.ctrlr.refusal is not None:
            raise self.ctrlr.refusal
        return self.ctrlr

    async def __aexit__(self, *exc_info: object) -> None:
        self.ctrlr.closed += 1


@contextlib.contextmanager
def no_change(ctrlr: FakeController) -> Iterator[None]:
    """The block must not write."""
    before = bytes(ctrlr.storage)
    yield
    assert bytes(ctrlr.storage) == before
    assert all(name != "write" for name, _ in ctrlr.calls)
