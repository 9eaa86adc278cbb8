"""The mock as Linux sees it: the kernel's own nvme driver, nvme-cli, fio and ext4 in a guest of QEMU's."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import aionvme
from aionvme.cli.nvme.keys_events import persistent_events
from aionvme.cli.nvme.keys_logs import sanitize, self_test, supported_pages
from aionvme.cli.nvme.keys_status import reservation
from aionvme.mock import MockController
from aionvme.spec.identify import IdentifyController, IdentifyNamespace
from aionvme.tests.interop.conftest import PAYLOAD, Guest
from aionvme.tests.interop.steps import differences
from tools.interop import beside

# Of a disk's `stat` file (Documentation/block/stat.rst): requests that were completed.
READS, WRITES = 0, 4
LBA_OUT_OF_RANGE = 0x80
DNR = 0x4000
# Of QEMU's trace: what the guest wrote to a doorbell and QEMU passed on, since it is not mapped.
RUNG = re.compile(r"^vfio_region_write .*:region0\+0x1[0-9a-f]{3},", re.MULTILINE)
ASKED = re.compile(r"^vfio_user_recv_request ", re.MULTILINE)
# What the kernel says when a controller does not do what it is asked to.
COMPLAINTS = re.compile(
    r"nvme.*(timeout|abort|fail|is down|invalid id|dead|I/O Error)|BUG:|WARNING:|Call Trace"
)


def test_the_kernel_brings_it_up(linux: Guest) -> None:
    """The controller is live, has the names that it is served by, and an I/O queue for each processor of the guest."""
    linux.steps.succeeded("attached")
    told = linux.steps.succeeded("attributes").fields
    options = linux.served.options
    assert (told["serial"], told["model"], told["firmware_rev"]) == (
        options["serial"],
        options["model"],
        options["firmware"],
    )
    assert (told["state"], told["transport"]) == ("live", "pcie")
    assert int(told["queue_count"]) >= 3


def test_nvme_cli_lists_it(linux: Guest) -> None:
    """`nvme list` shows both namespaces, of their size, under the names of the controller."""
    listed = linux.steps.succeeded("list").json["Devices"]
    options = linux.served.options
    expected = (options["serial"], options["model"], options["firmware"], options["size"], 512)
    names = ("SerialNumber", "ModelNumber", "Firmware", "PhysicalSize", "SectorSize")
    assert [tuple(each[name] for name in names) for each in listed] == [expected] * 2
    assert {each["NameSpace"] for each in listed} == {1, 2}
    assert [each["nsid"] for each in linux.steps.succeeded("list-ns").json["nsid_list"]] == [1, 2]


@pytest.mark.asyncio
async def test_it_identifies_as_the_mock_does(linux: Guest) -> None:
    """What the guest reads of Identify is, field by field, what a mock with the same options says in this process."""
    with MockController(**linux.served.options) as mock:
        async with aionvme.connect(mock) as ctrlr:
            raw = linux.steps.succeeded("id-ctrl-raw").out
            assert IdentifyController.decode(raw) == ctrlr.data
            raw = linux.steps.succeeded("id-ns-raw").out
            assert IdentifyNamespace.decode(raw) == ctrlr.namespaces[1].data


def test_nvme_cli_understands_what_it_identifies_as(linux: Guest) -> None:
    """nvme-cli takes the same fields for the same things: names, limits, sizes."""
    controller, namespace = (linux.steps.succeeded(name).json for name in ("id-ctrl", "id-ns"))
    options = linux.served.options
    assert controller["sn"].rstrip() == options["serial"]
    assert controller["mn"].rstrip() == options["model"]
    assert controller["fr"].rstrip() == options["firmware"]
    assert controller["mdts"] == 5
    assert namespace["nsze"] == namespace["ncap"] == options["size"] // 512


CAPTURED: dict[str, Callable[[bytes], Any]] = {
    "resv-report": functools.partial(reservation, extended=True),
    "self-test-log": self_test,
    "sanitize-log": functools.partial(sanitize, name="nvme0"),
    "supported-log-pages": supported_pages,
}


@pytest.mark.parametrize("name", CAPTURED)
def test_aionvme_shows_what_nvme_cli_shows(linux: Guest, name: str) -> None:
    """Every key that nvme-cli has of these pages is in the JSON of `aionvme` of the same bytes, with its value."""
    theirs = linux.steps.succeeded(name).json
    ours = CAPTURED[name](linux.steps.succeeded(f"{name}-raw").out)
    assert list(differences(theirs, ours, name)) == []


# What nvme-cli's text calls the keys of a power on event.
POWER_ON = {
    "Firmware Revision": "fw_rev",
    "Controller ID": "ctrl_id",
    "Firmware Activation": "fw_act",
    "Operation in Progress": "op_in_prog",
    "Controller Power Cycle": "ctrl_power_cycle",
    "Power on milliseconds": "power_on_ml_secs",
    "Controller Timestamp": "ctrl_time_stamp",
}


def test_events_are_those_that_nvme_cli_reads(linux: Guest) -> None:
    """nvme-cli reads the header, the snapshot of SMART, and each power on event of the log as `aionvme` does."""
    ours = persistent_events(linux.steps.succeeded("persistent-raw").out)
    theirs = linux.steps.succeeded("persistent").json
    events = ours["list_of_event_entries"]
    assert theirs.pop("list_of_event_entries") == events[:1]
    known = {key: value for key, value in theirs.items() if not key.startswith("bitmap_") or key in ours}
    assert known == {key: ours[key] for key in known}
    told = linux.steps.succeeded("persistent-text").text
    assert len(events) == ours["total_num_of_events"] == told.count("Event Number: ") > 1
    for event, text in zip(events[1:], told.split("Event Number: ")[2:], strict=True):
        lines = dict(line.split(": ", 1) for line in text.splitlines()[1:] if ": " in line)
        assert {key: str(event[key]) for key in POWER_ON.values()} == {
            POWER_ON[name]: value for name, value in lines.items() if name in POWER_ON
        }


@pytest.mark.asyncio
async def test_its_health_is_the_mocks(linux: Guest) -> None:
    """`nvme smart-log` tells the temperature, spare and power cycles that the mock says of itself."""
    told = linux.steps.succeeded("smart-log").json
    with MockController(**linux.served.options) as mock:
        async with aionvme.connect(mock) as ctrlr:
            smart = await ctrlr.get_log_page(2)
    assert told["critical_warning"] == 0
    assert told["temperature"] == smart.temperature
    assert told["avail_spare"] == smart.available_spare
    assert told["spare_thresh"] == smart.available_spare_threshold
    assert told["power_cycles"] == smart.power_cycles
    assert told["unsafe_shutdowns"] == 0


@pytest.mark.parametrize(
    ("name", "nbytes", "depth"),
    [("depth1", 512 << 10, 1), ("depth32", 4 << 20, 32), ("large", 8 << 20, 2), ("jobs", 4 << 20, 8)],
)
def test_fio_reads_what_it_wrote(linux: Guest, name: str, nbytes: int, depth: int) -> None:
    """All of what fio wrote comes back with the right checksum, at this depth and by so many jobs."""
    (job,) = (job for job in linux.steps.succeeded("fio").json["jobs"] if job["jobname"] == name)
    assert job["error"] == 0
    assert job["latency_depth"] == depth
    assert (job["write"]["io_bytes"], job["read"]["io_bytes"]) == (nbytes, nbytes)


def test_both_sides_count_the_same_commands(linux: Guest) -> None:
    """The kernel completed as many reads and writes during fio as the mock's SMART log says that it executed."""
    before, after = (linux.steps.table(f"stat-{name}") for name in ("before", "after"))
    reads, writes = (
        sum(late[field] - early[field] for early, late in zip(before, after, strict=True))
        for field in (READS, WRITES)
    )
    early, late = (linux.steps.succeeded(f"smart-log-{name}").json for name in ("before", "after"))
    assert reads > 300 and writes > 300
    assert late["host_read_commands"] - early["host_read_commands"] == reads
    assert late["host_write_commands"] - early["host_write_commands"] == writes


def test_each_queue_has_its_interrupts(linux: Guest) -> None:
    """The admin queue and at least two I/O queues completed by interrupt, each by its own vector."""
    lines = [line.split() for line in linux.steps.succeeded("interrupts").text.splitlines()]
    counts = {line[-1]: sum(int(word) for word in line[1:] if word.isdecimal()) for line in lines}
    assert {"nvme0q0", "nvme0q1", "nvme0q2"} <= counts.keys()
    assert min(counts.values()) > 0


def test_a_file_system_is_sound(linux: Guest) -> None:
    """ext4 that the guest made, filled and trimmed is clean to fsck, there and on the host, and is read back."""
    for name in ("file-system", "fsck", "read-back", "read-again"):
        linux.steps.succeeded(name)
    done = subprocess.run(
        beside.run(beside.TREE / "usr/sbin/e2fsck", "-f", "-n", linux.served.storage),
        check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["payload2", "payload4"])
def test_the_host_reads_the_file(linux: Guest, name: str, tmp_path: Path) -> None:
    """After power-off the file's bytes are found by debugfs in the mock's storage."""
    found = tmp_path / name
    debugfs = beside.run(
        beside.TREE / "usr/sbin/debugfs", "-R", f"dump /{name} {found}", linux.served.storage
    )
    subprocess.run(debugfs, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    assert sha256(found.read_bytes()).hexdigest() == sha256(PAYLOAD).hexdigest()


def test_what_is_discarded_reads_as_zeros(linux: Guest) -> None:
    """Blocks that fio had written are zeros once the guest has deallocated them."""
    assert linux.steps.succeeded("discard").out == bytes(1 << 20)


def test_a_read_beyond_the_end_is_refused(linux: Guest) -> None:
    """It ends with LBA Out of Range, which nvme-cli reads again in the error log."""
    refused = linux.steps.ended("bad-read")
    assert refused.status != 0
    assert "LBA Out of Range" in refused.err
    entry = linux.steps.succeeded("error-log").json["errors"][0]
    assert entry["status_field"] & ~DNR == LBA_OUT_OF_RANGE
    assert (entry["nsid"], entry["lba"]) == (2, 0xFFFFFFFF)


def test_doorbells_and_memory_are_reached_as_agreed(linux: Guest) -> None:
    """Doorbells are messages only where they are not mapped, and the server asks for memory only where that is not."""
    rung, asked = len(RUNG.findall(linux.trace)), len(ASKED.findall(linux.trace))
    assert rung > 100 if linux.way.doorbells == "message" else not rung
    assert asked > 500 if not linux.way.shared else not asked


def test_the_kernel_asks_for_shadow_doorbells_where_there_are_any(linux: Guest) -> None:
    """Brought up anew, the driver identifies the controller, and configures doorbell buffers only where it may."""
    asked = linux.steps.succeeded("admin-commands").text
    assert "nvme_admin_identify" in asked and "nvme_admin_create_sq" in asked
    assert ("nvme_admin_dbbuf" in asked) == linux.way.shadow


@pytest.mark.parametrize("name", ["reset", "function-reset", "rebind"])
def test_it_works_after_being_reset(linux: Guest, name: str) -> None:
    """After a reset of controller or PCI function, or with the driver bound anew, what is written comes back."""
    linux.steps.succeeded(name)
    linux.steps.succeeded(f"works-{name}")


def test_a_reset_controller_is_live(linux: Guest) -> None:
    """The kernel calls the controller live when it was reset."""
    assert linux.steps.succeeded("state").text == "live"


def test_a_namespace_is_formatted(linux: Guest) -> None:
    """After `nvme format` the kernel knows the new size of a block, and what is written in such blocks comes back."""
    linux.steps.succeeded("format")
    assert linux.steps.succeeded("block-size").text == "4096"
    linux.steps.succeeded("works-format")


def test_a_namespace_is_deleted_and_created(linux: Guest) -> None:
    """The kernel hears by an event each that a namespace went and that one came, and has the new one's size."""
    linux.steps.succeeded("namespaces")
    assert linux.steps.succeeded("size").text == "65536"
    linux.steps.succeeded("works-namespaces")


@pytest.mark.asyncio
async def test_our_driver_may_come_next(linux: Guest) -> None:
    """When the guest is gone our own driver is served, and reads what the guest wrote and how it was left."""
    async with aionvme.connect(f"vfio-user:{linux.served.socket}") as ctrlr:
        namespace = ctrlr.namespaces[1]
        async with ctrlr.alloc_io_qpair(depth=8) as qp:
            with ctrlr.dma_alloc(1 << 20) as buffer:
                await qp.read(namespace, buffer, 0, (1 << 20) // namespace.block_size)
                found = sha256(buffer).hexdigest()
        smart = await ctrlr.get_log_page(2)
    with linux.served.storage.open("rb") as storage:
        assert found == sha256(storage.read(1 << 20)).hexdigest()
    assert (smart.power_cycles, smart.unsafe_shutdowns) == (1, 0)
    assert smart.host_write_commands > linux.steps.succeeded("smart-log-after").json["host_write_commands"]


def test_the_kernel_complains_of_nothing(linux: Guest) -> None:
    """There is no timeout, abort, I/O error or warning in the kernel's messages."""
    said = linux.steps.succeeded("dmesg").text + linux.console
    assert [line for line in said.splitlines() if COMPLAINTS.search(line)] == []
