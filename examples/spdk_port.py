"""SPDK's hello world, ported: `python spdk_port.py [ADDRESS]`, by default "mock:".

SPDK's functions, argument order and return values; no event loop and no await. What it does is what the program in C
does: attach, write "Hello world!" to the first block of each namespace, read it back from the callback of the write.
On a real device that block is overwritten: there it wants `--overwrite` after the address.
"""

import sys
from typing import Any

import aionvme
from aionvme.spdk import (
    SPDK_ENV_NUMA_ID_ANY,
    SPDK_MALLOC_DMA,
    SPDK_NVME_OPC_READ,
    SPDK_NVME_OPC_WRITE,
    spdk_free,
    spdk_nvme_cpl_get_status_string_ext,
    spdk_nvme_cpl_is_error,
    spdk_nvme_ctrlr_alloc_io_qpair,
    spdk_nvme_ctrlr_free_io_qpair,
    spdk_nvme_ctrlr_get_first_active_ns,
    spdk_nvme_ctrlr_get_next_active_ns,
    spdk_nvme_ctrlr_get_ns,
    spdk_nvme_detach,
    spdk_nvme_ns_cmd_read,
    spdk_nvme_ns_cmd_write,
    spdk_nvme_ns_get_id,
    spdk_nvme_ns_get_size,
    spdk_nvme_probe,
    spdk_nvme_qpair_process_completions,
    spdk_zmalloc,
)

g_controllers: list[aionvme.Controller] = []
g_namespaces: list[tuple[aionvme.Controller, aionvme.Namespace]] = []


class Sequence:
    """What the callbacks are handed: `struct hello_world_sequence` in C."""

    def __init__(self, ns: aionvme.Namespace, qpair: Any, buf: memoryview) -> None:
        self.ns = ns
        self.qpair = qpair
        self.buf = buf
        self.is_completed = 0  # 1: done, 2: failed


def read_complete(arg: Sequence, cpl: Any) -> None:
    """The last of the sequence."""
    arg.is_completed = 1
    if spdk_nvme_cpl_is_error(cpl):
        print("read failed:", spdk_nvme_cpl_get_status_string_ext(cpl.status, SPDK_NVME_OPC_READ))
        arg.is_completed = 2
        return
    print(bytes(arg.buf).rstrip(b"\0").decode())


def write_complete(arg: Sequence, cpl: Any) -> None:
    """Called from `spdk_nvme_qpair_process_completions`; submits the read."""
    if spdk_nvme_cpl_is_error(cpl):
        print("write failed:", spdk_nvme_cpl_get_status_string_ext(cpl.status, SPDK_NVME_OPC_WRITE))
        arg.is_completed = 2
        return
    arg.buf[:] = bytes(len(arg.buf))
    rc = spdk_nvme_ns_cmd_read(arg.ns, arg.qpair, arg.buf, 0, 1, read_complete, arg, 0)
    if rc != 0:
        print("starting the read failed:", rc)
        arg.is_completed = 2


def hello_world() -> int:
    """One sequence on each namespace."""
    failed = 0
    for ctrlr, ns in g_namespaces:
        qpair = spdk_nvme_ctrlr_alloc_io_qpair(ctrlr, None, 0)
        if qpair is None:
            print("spdk_nvme_ctrlr_alloc_io_qpair() failed")
            return 1
        buf = spdk_zmalloc(0x1000, 0x1000, None, SPDK_ENV_NUMA_ID_ANY, SPDK_MALLOC_DMA)
        assert buf is not None
        sequence = Sequence(ns, qpair, buf)
        text = b"Hello world!"
        buf[: len(text)] = text
        rc = spdk_nvme_ns_cmd_write(ns, sequence.qpair, buf, 0, 1, write_complete, sequence, 0)
        if rc != 0:
            print("starting the write failed:", rc)
            sequence.is_completed = 2
        while not sequence.is_completed:
            spdk_nvme_qpair_process_completions(sequence.qpair, 0)
        failed += sequence.is_completed == 2
        spdk_free(buf)
        spdk_nvme_ctrlr_free_io_qpair(sequence.qpair)
    return int(failed > 0)


def probe_cb(cb_ctx: Any, trid: Any, opts: Any) -> bool:
    """Every controller that is found is wanted."""
    print("attaching to", trid.traddr)
    return True


def attach_cb(cb_ctx: Any, trid: Any, ctrlr: aionvme.Controller, opts: Any) -> None:
    """Registers the controller and its namespaces."""
    print("attached to", trid.traddr)
    g_controllers.append(ctrlr)
    nsid = spdk_nvme_ctrlr_get_first_active_ns(ctrlr)
    while nsid != 0:
        ns = spdk_nvme_ctrlr_get_ns(ctrlr, nsid)
        if ns is not None:
            g_namespaces.append((ctrlr, ns))
            print(f"  namespace {spdk_nvme_ns_get_id(ns)}: {spdk_nvme_ns_get_size(ns) / 1e9:.2f} GB")
        nsid = spdk_nvme_ctrlr_get_next_active_ns(ctrlr, nsid)


def main(address: str, *options: str) -> int:
    """Probes, says hello, detaches."""
    if not address.startswith("mock:") and options != ("--overwrite",):
        print(f"this writes to block 0 of every namespace of {address}: say --overwrite after the address")
        return 2
    rc = spdk_nvme_probe(address, None, probe_cb, attach_cb, None)
    if rc != 0 or not g_controllers:
        print("no NVMe controller could be attached")
        return 1
    rc = hello_world()
    for ctrlr in g_controllers:
        spdk_nvme_detach(ctrlr)
    return rc


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] or ["mock:"])))
