"""Two hosts and one namespace: `python reservation.py [ADDRESS ADDRESS]`, by default two controllers of one mock.

The first host registers and acquires a "write exclusive" reservation; the second one's write is refused until it
preempts the first. On real devices the addresses are two controllers of one NVM subsystem, and the first block of the
first namespace is OVERWRITTEN; it asks for --overwrite.
"""

import sys
from contextlib import AsyncExitStack

import aionvme
from aionvme import AcquireAction, RegisterAction, ReleaseAction, ReservationType
from aionvme.mock import MockController

KEYS = (0x1111, 0x2222)


class Host:
    """One host: its controller, queue pair, key and a buffer."""

    def __init__(self, name: str, key: int, ctrlr: aionvme.Controller, qp: aionvme.IoQueuePair) -> None:
        self.name, self.key, self.ctrlr, self.qp = name, key, ctrlr, qp
        self.ns = ctrlr.namespaces[min(ctrlr.namespaces)]
        self.buf = ctrlr.dma_alloc(self.ns.block_size)

    async def tries_to_write(self) -> None:
        """Writes a block, and says how it went."""
        try:
            await self.qp.write(self.ns, self.buf, 0, 1)
            print(f"{self.name}: wrote")
        except aionvme.StatusError as error:
            print(f"{self.name}: {error.status.text}")


async def reserve(one: Host, two: Host) -> None:
    """Register, acquire, conflict, preempt, release, unregister."""
    for host in (one, two):
        await host.qp.reservation_register(host.ns, RegisterAction.REGISTER, nrkey=host.key, ignore_key=True)
    await one.qp.reservation_acquire(
        one.ns, AcquireAction.ACQUIRE, ReservationType.WRITE_EXCLUSIVE, crkey=one.key
    )
    status = await report(one)
    print(f"{len(status.registrants)} registered, reserved as {ReservationType(status.rtype).name.lower()}")
    await one.tries_to_write()
    await two.tries_to_write()
    await two.qp.reservation_acquire(
        two.ns, AcquireAction.PREEMPT, ReservationType.WRITE_EXCLUSIVE, crkey=two.key, prkey=one.key
    )
    print("two: preempted one")
    await two.tries_to_write()
    await one.tries_to_write()
    await two.qp.reservation_release(
        two.ns, ReleaseAction.RELEASE, ReservationType.WRITE_EXCLUSIVE, crkey=two.key
    )
    await two.qp.reservation_register(two.ns, RegisterAction.UNREGISTER, crkey=two.key)
    print(f"{len((await report(two)).registrants)} registered")


async def report(host: Host) -> aionvme.ReservationStatus:
    """Reservation Report, decoded."""
    cpl = await host.qp.reservation_report(host.ns)
    status: aionvme.ReservationStatus = cpl.value
    return status


async def main(words: list[str]) -> int:
    """Connects two hosts to one namespace."""
    overwrite = "--overwrite" in words
    addresses = [word for word in words if word != "--overwrite"]
    if addresses and (len(addresses) != 2 or not overwrite):
        print(__doc__)
        print("Two addresses and --overwrite, please.")
        return 2
    async with AsyncExitStack() as stack:
        devices: list[MockController | str] = [*addresses]
        if not devices:
            mock = stack.enter_context(MockController(lba=4096))
            devices = [mock, stack.enter_context(mock.second())]
        hosts = []
        for name, key, device in zip(("one", "two"), KEYS, devices, strict=True):
            # A host is who its host identifier says.
            opts = aionvme.ControllerOptions(host_id=name.encode().ljust(16, b"\0"))
            ctrlr = await stack.enter_async_context(aionvme.connect(device, opts))
            qp = await stack.enter_async_context(ctrlr.alloc_io_qpair(depth=8))
            hosts.append(Host(name, key, ctrlr, qp))
        await reserve(*hosts)
    return 0


sys.exit(aionvme.run(main(sys.argv[1:])))
