"""Callback code as it was written for SPDK, and its tests, on a mock: `pytest test_legacy_callbacks.py`.

Nothing here awaits. `nvme_address` is what `aionvme.spdk` and `aionvme.connect` take; the log of commands and the look
for leaks are there for callbacks as for coroutines.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from aionvme import spdk
from aionvme.mock import MockController
from aionvme.spec.opcodes import NvmOpcode

# -- the code under test: it would be a module of its own ------------------------------------------------------------


class Copier:
    """Copies blocks one after the other: each callback begins the next step."""

    def __init__(self, ctrlr: Any) -> None:
        ns = spdk.spdk_nvme_ctrlr_get_ns(ctrlr, 1)
        assert ns is not None
        self.ns = ns
        self.qpair: Any = spdk.spdk_nvme_ctrlr_alloc_io_qpair(ctrlr, None, 0)
        self.buf: Any = spdk.spdk_zmalloc(spdk.spdk_nvme_ns_get_sector_size(self.ns), 4096)
        self.left = self.failed = 0
        self.source = self.target = 0

    def copy(self, source: int, target: int, nblocks: int) -> None:
        """Begins; `run` goes on until it has ended."""
        self.source, self.target, self.left, self.failed = source, target, nblocks, 0
        self._read()

    def _read(self) -> None:
        spdk.spdk_nvme_ns_cmd_read(self.ns, self.qpair, self.buf, self.source, 1, self._read_done, None, 0)

    def _read_done(self, _arg: None, cpl: Any) -> None:
        if spdk.spdk_nvme_cpl_is_error(cpl):
            self.left, self.failed = 0, self.failed + 1
            return
        spdk.spdk_nvme_ns_cmd_write(self.ns, self.qpair, self.buf, self.target, 1, self._write_done, None, 0)

    def _write_done(self, _arg: None, cpl: Any) -> None:
        self.failed += spdk.spdk_nvme_cpl_is_error(cpl)
        self.left -= 1
        self.source, self.target = self.source + 1, self.target + 1
        if self.left:
            self._read()

    def run(self) -> None:
        """Polls until all is done."""
        while self.left:
            spdk.spdk_nvme_qpair_process_completions(self.qpair, 0)

    def close(self) -> None:
        """Gives back what it has."""
        spdk.spdk_free(self.buf)
        spdk.spdk_nvme_ctrlr_free_io_qpair(self.qpair)


# -- its tests -------------------------------------------------------------------------------------------------------


@pytest.fixture
def copier(nvme_address: Any) -> Iterator[Copier]:
    """The code under test, attached as SPDK attaches."""
    ctrlr: Any = spdk.spdk_nvme_connect(nvme_address)
    assert ctrlr
    copier = Copier(ctrlr)
    yield copier
    copier.close()
    spdk.spdk_nvme_detach(ctrlr)


def fill(copier: Copier, blocks: list[bytes]) -> None:
    """Writes these blocks from 0 on, one by one."""
    done: list[Any] = []

    def written(_arg: None, cpl: Any) -> None:
        done.append(cpl)

    for lba, block in enumerate(blocks):
        copier.buf[: len(block)] = block
        spdk.spdk_nvme_ns_cmd_write(copier.ns, copier.qpair, copier.buf, lba, 1, written, None, 0)
        while len(done) <= lba:
            spdk.spdk_nvme_qpair_process_completions(copier.qpair, 0)
    assert not any(map(spdk.spdk_nvme_cpl_is_error, done))


def test_blocks_are_copied(copier: Copier) -> None:
    """What is copied is there twice: copied back, over blocks that were overwritten, it is what it was."""
    fill(copier, [b"one", b"two", b"three"])
    copier.copy(0, 8, 3)
    copier.run()
    fill(copier, [b"lost"] * 3)
    copier.copy(8, 0, 3)
    copier.run()
    copier.copy(1, 16, 1)
    copier.run()
    assert copier.failed == 0
    assert bytes(copier.buf[:3]) == b"two"


@pytest.mark.nvme(size=1 << 20)
def test_a_read_that_fails_ends_it(nvme_mock: MockController, copier: Copier) -> None:
    """A block that cannot be read is counted, and nothing is written in its place."""
    fill(copier, [b"one", b"two"])
    nvme_mock.fail(0x281, opcode=NvmOpcode.READ, nth=2)  # Unrecovered Read Error
    copier.copy(0, 8, 2)
    copier.run()
    assert copier.failed == 1
    assert nvme_mock.counters.writes == 3
