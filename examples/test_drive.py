"""A test suite for drives, tried out on a mock first: `pytest test_drive.py`.

On a drive, whose first blocks it overwrites: `pytest test_drive.py --aionvme-address=0000:01:00.0
--aionvme-overwrite`. What a drive does not have is skipped; what it did is in the report of a test that fails.
"""

import asyncio
import random

import numpy as np
import pytest

import aionvme
from aionvme.spec import nvm
from aionvme.spec.opcodes import LogPageId, NvmOpcode

pytestmark = [pytest.mark.asyncio, pytest.mark.nvme(depth=64)]

NBLOCKS = 256


@pytest.fixture
def ns(nvme_ctrlr: aionvme.Controller) -> aionvme.Namespace:
    """The first namespace."""
    return nvme_ctrlr.namespaces[min(nvme_ctrlr.namespaces)]


async def test_it_says_what_it_is(nvme_ctrlr: aionvme.Controller) -> None:
    """Its names are there, and its health is not critical."""
    assert nvme_ctrlr.data.mn.strip()
    assert nvme_ctrlr.data.sn.strip()
    smart = await nvme_ctrlr.get_log_page(LogPageId.SMART)
    assert not any(smart.warnings.to_dict().values())


async def test_data_is_kept(
    nvme_ctrlr: aionvme.Controller, nvme_qpair: aionvme.IoQueuePair, ns: aionvme.Namespace
) -> None:
    """Blocks that are written in a random order are read back in another."""
    random_ = random.Random(1)
    lbas = np.arange(NBLOCKS)
    with nvme_ctrlr.dma_alloc(NBLOCKS * ns.block_size) as buf:
        written = random_.randbytes(len(buf))
        memoryview(buf)[:] = written
        await nvme_qpair.write_batch(ns, buf, lbas, 1)
        order = np.array(random_.sample(range(NBLOCKS), NBLOCKS))
        await nvme_qpair.read_batch(ns, buf, order, 1)
        read = np.frombuffer(bytes(buf), np.uint8).reshape(NBLOCKS, -1)
    assert (read == np.frombuffer(written, np.uint8).reshape(NBLOCKS, -1)[order]).all()


async def test_it_refuses_what_is_beyond_its_end(
    nvme_ctrlr: aionvme.Controller, nvme_qpair: aionvme.IoQueuePair, ns: aionvme.Namespace
) -> None:
    """A read past the last block is an error of the device's: the driver's own check is passed by."""
    with nvme_ctrlr.dma_alloc(ns.block_size) as buf:
        sqe = nvm.transfer(NvmOpcode.READ, ns.nsid, ns.nblocks, 1)
        with pytest.raises(aionvme.StatusError) as refused:
            await nvme_qpair.io_raw(sqe, data=buf)
    assert refused.value.status == aionvme.StatusCode.LBA_OUT_OF_RANGE


async def test_data_survives_a_reset(
    nvme_ctrlr: aionvme.Controller, nvme_qpair: aionvme.IoQueuePair, ns: aionvme.Namespace
) -> None:
    """What was acknowledged before a reset under load is there after it."""
    with nvme_ctrlr.dma_alloc(ns.block_size) as buf, nvme_ctrlr.dma_alloc(ns.block_size) as other:
        memoryview(buf)[:4] = b"kept"
        await nvme_qpair.write(ns, buf, 0, 1, io_flags=aionvme.IoFlags.FORCE_UNIT_ACCESS)
        reads = [nvme_qpair.read(ns, other, lba, 1) for lba in range(1, 33)]
        await nvme_ctrlr.reset()
        ended = await asyncio.gather(*reads, return_exceptions=True)
        assert all(isinstance(one, aionvme.Completion | aionvme.ControllerResetError) for one in ended)
        memoryview(buf)[:] = bytes(len(buf))
        await nvme_qpair.read(ns, buf, 0, 1)
        assert bytes(buf)[:4] == b"kept"
