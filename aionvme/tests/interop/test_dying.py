"""A guest that is gone from one moment to the next, with commands outstanding, and what the server is then."""

from __future__ import annotations

from pathlib import Path

import pytest

import aionvme
from aionvme.tests.interop.conftest import SECONDS, each_way
from aionvme.tests.interop.serving import WAYS, served
from tools.interop import guest
from tools.interop.machine import Machine
from tools.vm.layout import VmError

# The machine is reset at once, without a word to any driver, and QEMU ends where another would boot again.
DIES = """
until [ -b /dev/nvme0n1 ]; do sleep 0.1; done
for job in 1 2 3 4; do while dd if=/dev/zero of=/dev/nvme0n1 oflag=direct bs=1M count=32; do :; done & done
until read reads writes </sys/block/nvme0n1/inflight && [ $writes -gt 1 ]; do :; done
echo b >/proc/sysrq-trigger
sleep 600
"""


@pytest.mark.asyncio
@pytest.mark.parametrize("way", each_way(["default", "asked"]))
async def test_a_guest_may_die_in_mid_io(set_up: None, way: str, tmp_path: Path) -> None:
    """The server outlives a guest that dies while it writes, and the next driver writes and reads as if nothing was."""
    with served(tmp_path, WAYS[way]) as server:
        machine = Machine((server.socket,), shared=WAYS[way].shared)
        with pytest.raises(VmError, match="gave no result"):
            guest.run(f"interop-dies-{way}", machine, DIES, SECONDS)
        async with (
            aionvme.connect(f"vfio-user:{server.socket}") as ctrlr,
            ctrlr.alloc_io_qpair(depth=8) as qp,
        ):
            assert ctrlr.data.sn == server.options["serial"]
            with ctrlr.dma_alloc(64 << 10) as buffer:
                buffer.array("uint8")[:] = 7
                await qp.write(ctrlr.namespaces[1], buffer, 64, 128)
                buffer.array("uint8")[:] = 0
                await qp.read(ctrlr.namespaces[1], buffer, 64, 128)
                assert bytes(buffer) == b"\7" * (64 << 10)
