"""An asynchronous application and its tests, on a mock: `pip install "aionvme[test]"`, then `pytest test_my_app.py`.

The same tests run on a drive, whose first blocks they overwrite, with `--aionvme-address=0000:01:00.0
--aionvme-overwrite`. Where aionvme is not installed, but on the path, add `-p aionvme.pytest_plugin`.
"""

import asyncio
import zlib

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.spec.opcodes import NvmOpcode

# -- the application: it would be a module of its own ----------------------------------------------------------------


class Journal:
    """Appends records of a block each, with a checksum; a record is there when `append` has returned."""

    def __init__(self, ctrlr: aionvme.Controller, qp: aionvme.IoQueuePair) -> None:
        self.ctrlr = ctrlr
        self.qp = qp
        self.ns = ctrlr.namespaces[min(ctrlr.namespaces)]
        self.next = 0

    async def append(self, record: bytes) -> int:
        """Writes a record, once again if that failed, and gives its number."""
        number, self.next = self.next, self.next + 1
        body = len(record).to_bytes(4, "little") + record
        with self.ctrlr.dma_alloc(self.ns.block_size) as buf:
            memoryview(buf)[: len(body) + 4] = zlib.crc32(body).to_bytes(4, "little") + body
            try:
                await self.qp.write(self.ns, buf, number, 1)
            except aionvme.StatusError as error:
                if error.dnr:
                    raise
                await self.qp.write(self.ns, buf, number, 1)
        return number

    async def read(self, number: int) -> bytes:
        """Reads a record; ValueError if it is none."""
        with self.ctrlr.dma_alloc(self.ns.block_size) as buf:
            await self.qp.read(self.ns, buf, number, 1)
            block = bytes(buf)
        size = int.from_bytes(block[4:8], "little")
        if int.from_bytes(block[:4], "little") != zlib.crc32(block[4 : 8 + size]):
            raise ValueError(f"record {number} is damaged")
        return block[8 : 8 + size]


# -- its tests -------------------------------------------------------------------------------------------------------

# A mark counts for the whole module; a test may have another with what is different for it.
pytestmark = [pytest.mark.asyncio, pytest.mark.nvme(depth=16)]


async def test_records_are_read_back(nvme_ctrlr: aionvme.Controller, nvme_qpair: aionvme.IoQueuePair) -> None:
    """Records that were appended at once are all there."""
    journal = Journal(nvme_ctrlr, nvme_qpair)
    records = [f"record {number}".encode() for number in range(100)]
    numbers = await asyncio.gather(*map(journal.append, records))
    assert await asyncio.gather(*map(journal.read, numbers)) == records


@pytest.mark.nvme(block_size=4096, loop=["asyncio", "uvloop"])
async def test_large_blocks(nvme_ctrlr: aionvme.Controller, nvme_qpair: aionvme.IoQueuePair) -> None:
    """A record may be as long as a block allows, on either event loop."""
    journal = Journal(nvme_ctrlr, nvme_qpair)
    assert await journal.read(await journal.append(b"x" * 4000)) == b"x" * 4000


async def test_a_write_is_tried_again(
    nvme_mock: MockController, nvme_ctrlr: aionvme.Controller, nvme_qpair: aionvme.IoQueuePair
) -> None:
    """One write that fails is not the application's end; two in a row are."""
    journal = Journal(nvme_ctrlr, nvme_qpair)
    nvme_mock.fail(aionvme.StatusCode.WRITE_FAULT, opcode=NvmOpcode.WRITE)
    assert await journal.read(await journal.append(b"once")) == b"once"
    nvme_mock.fail(aionvme.StatusCode.WRITE_FAULT, opcode=NvmOpcode.WRITE, count=2)
    with pytest.raises(aionvme.MediaError):
        await journal.append(b"twice")


async def test_damage_is_noticed(nvme_ctrlr: aionvme.Controller, nvme_qpair: aionvme.IoQueuePair) -> None:
    """What somebody else wrote is no record."""
    journal = Journal(nvme_ctrlr, nvme_qpair)
    number = await journal.append(b"mine")
    with nvme_ctrlr.dma_alloc(journal.ns.block_size) as buf:
        memoryview(buf)[:] = b"theirs" + bytes(journal.ns.block_size - 6)
        await nvme_qpair.write(journal.ns, buf, number, 1)
    with pytest.raises(ValueError, match="damaged"):
        await journal.read(number)
