"""Writes a block (of a mock only) and reads it: `python hello_world.py [ADDRESS]`, by default "mock:"."""

import sys

import aionvme


async def main(address: str) -> None:
    """Identifies the controller, writes if it is a mock, reads the first block."""
    # Connecting takes the function, enables the controller and identifies it; leaving shuts it down in order.
    async with aionvme.connect(address) as ctrlr:
        print(f"{ctrlr.data.mn}, serial {ctrlr.data.sn}, firmware {ctrlr.data.fr}")
        ns = ctrlr.namespaces[min(ctrlr.namespaces)]
        print(f"namespace {ns.nsid}: {ns.nblocks} blocks of {ns.block_size} bytes")
        # The device reads and writes this memory itself, so it comes from the controller.
        with ctrlr.dma_alloc(ns.block_size) as buf:
            async with ctrlr.alloc_io_qpair(depth=8) as qp:
                # A real device, or a mock's storage file, has somebody's data on it.
                if address.startswith("mock:") and "storage=" not in address:
                    memoryview(buf)[:13] = b"Hello, world!"
                    await qp.write(ns, buf, lba=0, nblocks=1)
                    memoryview(buf)[:13] = bytes(13)
                await qp.read(ns, buf, lba=0, nblocks=1)
            print("LBA 0 begins with", bytes(buf)[:16])


aionvme.run(main(sys.argv[1] if len(sys.argv) > 1 else "mock:"))
