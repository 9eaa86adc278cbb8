"""Making, opening and closing a mock; its options; what is left behind (nothing)."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from aionvme.errors import AddressError, UsageError
from aionvme.mock import MockController, NamespaceConfig
from aionvme.mock.options import _TEXTS
from aionvme.tests.unit.mock.raw import CC, CC_ENABLE, CSTS, PAGE, Raw

MiB = 1 << 20


def descriptors() -> int:
    """Open descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def test_one_at_a_time() -> None:
    """A mock that is open can't be opened again; after close it can, and the storage is as it was."""
    with MockController(drive="step") as mock:
        raw = Raw(mock)
        with pytest.raises(AddressError, match="in use"):
            mock.open()
        raw.enable()
        queue = raw.create(1)
        raw.memory.bytes[raw.page : raw.page + 512] = b"\x42" * 512
        queue.run(0x01, nsid=1, prp1=raw.page_iova, cdw10=9)
        raw.close()
        raw.close()
        assert mock.num_queues == 0
        with Raw(mock) as again:
            again.enable()
            assert again.create(1).run(0x02, nsid=1, prp1=again.page_iova, cdw10=9).status == 0
            assert again.data(512) == b"\x42" * 512


@pytest.mark.parametrize(
    ("place", "number", "text"),
    [("nowhere/image", errno.ENOENT, "make the folder"), (".", errno.EISDIR, "name a file, not a folder")],
)
def test_storage_that_cannot_be_had(tmp_path: Path, place: str, number: int, text: str) -> None:
    """Its path and what to do are in the message, and the kernel's error is the cause."""
    with pytest.raises(AddressError, match=f"storage: .*; {text}") as caught:
        MockController(storage=tmp_path / place)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == number


def test_storage_without_room(tmp_path: Path) -> None:
    """A file that cannot be as large as the namespaces is refused in the same way, and is closed."""
    fds = descriptors()
    with pytest.raises(AddressError, match="where there is room") as caught:
        MockController(storage=tmp_path / "image", size=1 << 62, lba=65536)
    assert isinstance(caught.value.__cause__, OSError)
    assert descriptors() == fds


def test_every_option_is_in_the_reference() -> None:
    """The page of options has each that an address can have, and no other."""
    page = (Path(__file__).parents[4] / "docs/mock.md").read_text()
    rows = re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE)
    assert {name for row in rows for name in re.findall("`([a-z0-9_]+)`", row)} == set(_TEXTS)


def test_owned() -> None:
    """A function that owns its mock closes it."""
    mock = MockController()
    function = mock.open(owned=True)
    function.close()
    assert mock.closed
    with pytest.raises(UsageError, match="is closed"):
        mock.open()


def test_closing_the_mock_first() -> None:
    """A driver whose mock is closed sees a removed device, and can still close its function."""
    mock = MockController()
    raw = Raw(mock)
    raw.enable()
    mock.close()
    mock.close()
    assert raw.function.read32(CSTS) == 0xFFFFFFFF
    raw.admin.ring()
    raw.close()
    with pytest.raises(UsageError, match="is closed"):
        raw.function.read32(CSTS)
    with pytest.raises(UsageError, match="is closed"):
        raw.memory.unmap()


def test_nothing_is_left_behind() -> None:
    """200 mocks, opened, enabled and closed: no thread and no descriptor more than before."""
    threads, fds = threading.active_count(), descriptors()
    event = os.eventfd(0)
    for _ in range(200):
        with MockController() as mock, Raw(mock, memory=64 * PAGE) as raw:
            raw.function.set_irqs([event])
            raw.enable(entries=2)
            assert raw.identify(1)[0].status == 0
    os.close(event)
    gc.collect()
    assert (threading.active_count(), descriptors()) == (threads, fds)


def test_reopening() -> None:
    """One mock, opened 200 times: no thread and no descriptor more than with it open once."""
    with MockController() as mock:
        threads, fds = threading.active_count(), descriptors()
        for _ in range(200):
            with Raw(mock, memory=64 * PAGE) as raw:
                raw.enable(entries=2)
                assert raw.identify(1)[0].status == 0
        assert (threading.active_count(), descriptors()) == (threads, fds)


def drop(holder: list[object]) -> None:
    """Drops what it holds, and collects."""
    holder.clear()
    gc.collect()


def test_collected_while_open() -> None:
    """A mock, and a function, that are dropped while open warn, and stop."""
    threads = threading.active_count()
    holder: list[object] = [MockController()]
    with pytest.warns(ResourceWarning, match="MockController mock:.* was collected while open"):
        drop(holder)
    assert threading.active_count() == threads
    with MockController() as mock:
        holder = [mock.open()]
        with pytest.warns(ResourceWarning, match="MockFunction mock:.* was collected while open"):
            drop(holder)
        mock.open().close()


def test_an_open_function_keeps_its_mock() -> None:
    """A mock is not collected while a function of it is open."""
    function = MockController().open(owned=True)
    gc.collect()
    assert function.read32(CSTS) == 0
    function.close()


SCRIPT = """
import threading
from aionvme.mock import MockController
from aionvme.tests.unit.mock.raw import Raw
mock = MockController()
raw = Raw(mock)
raw.enable()
queue = raw.create(1)
for cid in range(60):
    queue.post(0, cid=cid, nsid=1)
queue.ring()
print("reached")
"""


def test_the_interpreter_ends_with_it_open() -> None:
    """A program that ends with a mock open and working neither crashes nor hangs."""
    root = Path(__file__).parents[4]
    for ending in ("", "import sys; sys.exit(3)", "import os; os._exit(3) if os.fork() == 0 else os.wait()"):
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "ignore::ResourceWarning", "-c", SCRIPT + ending],
            cwd=root, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == (3 if "sys.exit" in ending else 0), done.stderr
        assert done.stdout.startswith("reached")


def test_a_forked_child() -> None:
    """A child that inherits an open mock may close it: nothing hangs, and the parent's goes on."""
    with MockController() as mock, Raw(mock) as raw:
        raw.enable()
        child = os.fork()
        if child == 0:
            try:
                raw.close()
                mock.close()
            finally:
                os._exit(7 if mock.closed else 8)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert raw.identify(1)[0].status == 0


def test_a_file_survives(tmp_path: Path) -> None:
    """Storage in a file is there for the next mock, namespaces one after the other; and it is sparse."""
    path = tmp_path / "disk"
    configs = [NamespaceConfig(size=MiB), NamespaceConfig(size=1 << 30, lba=4096)]
    with MockController(drive="step", namespaces=configs, storage=path) as mock, Raw(mock) as raw:
        raw.enable()
        queue = raw.create(1)
        raw.memory.bytes[raw.page : raw.page + PAGE] = b"\x17" * PAGE
        assert queue.run(0x01, nsid=2, prp1=raw.page_iova, cdw10=5).status == 0
        assert queue.run(0x05, nsid=2, prp1=raw.page_iova, cdw10=5).status == 0
        assert queue.run(0x05, nsid=2, prp1=raw.page_iova, cdw10=6).code == 0x285
        assert queue.run(0x00, nsid=2).status == 0
        mock.poke(1, 1, b"first")
    assert path.stat().st_size == MiB + (1 << 30)
    assert path.stat().st_blocks * 512 < 4 * MiB
    with path.open("rb") as file:
        file.seek(MiB + 5 * 4096)
        assert file.read(PAGE) == b"\x17" * PAGE
    with MockController(drive="step", namespaces=configs, storage=path) as mock:
        assert mock.peek(1, 1)[:5] == b"first"
        assert mock.peek(2, 5) == b"\x17" * PAGE
    with MockController(drive="step", namespaces=configs, storage=path) as mock, Raw(mock) as raw:
        raw.enable()
        assert raw.create(1).run(0x08, nsid=2, cdw10=4, cdw12=200).status == 0
        assert mock.peek(2, 5) == bytes(PAGE)


def test_large_storage_costs_nothing() -> None:
    """A namespace of 1 TiB is address space until it is used."""
    with MockController(drive="step", size=1 << 40) as mock:
        mock.poke(1, (1 << 31) - 1, b"end")
        assert mock.peek(1, (1 << 31) - 1)[:3] == b"end"


def test_options_of_an_address() -> None:
    """Options as text become the same mock as keywords."""
    texts = {"size": "1GiB", "lba": "4096", "namespaces": "2", "mdts": "1MiB", "wrr": "1", "drive": "loop"}
    with MockController.from_options(texts) as mock:
        assert [config.nblocks for config in mock.options.namespaces] == [1 << 18] * 2
        assert (mock.options.mdts, mock.options.wrr, mock.options.drive) == (8, True, "loop")


@pytest.mark.parametrize(
    "texts",
    [{"sise": "1GiB"}, {"size": "big"}, {"lba": "1000"}, {"namespaces": "0"}, {"wrr": "maybe"},
     {"drive": "hand"}, {"drive": "step"}, {"mdts": "5000"}, {"size": "1000"}, {"queue_entries": "1"},
     {"timeout": "never"}],
)  # fmt: skip
def test_bad_options_of_an_address(texts: dict[str, str]) -> None:
    """An option that there is not, or a bad value, is an AddressError that names it."""
    with pytest.raises(AddressError, match="mock") as caught:
        MockController.from_options(texts)
    if "sise" in texts:
        assert "Did you mean size? `aionvme mock options` lists" in str(caught.value)


@pytest.mark.parametrize(
    "keywords",
    [{"lba": 513}, {"size": 100}, {"queue_entries": 65537}, {"num_io_queues": 0}, {"drive": "x"},
     {"mdts": 16}, {"serial": "x" * 21}, {"namespaces": 0}],
)  # fmt: skip
def test_bad_keywords(keywords: dict[str, object]) -> None:
    """A keyword that can't be is refused before anything was made."""
    threads = threading.active_count()
    with pytest.raises(UsageError):
        MockController(**keywords)  # type: ignore[arg-type]
    assert threading.active_count() == threads


def test_dma_refusals() -> None:
    """Mapping takes whole pages inside the ranges, once; unmapping takes what was mapped."""
    with MockController(drive="step") as mock, Raw(mock) as raw:
        function = raw.function
        assert function.iova_ranges() == [(0, 0xFEDFFFFF), (0xFEF00000, (1 << 48) - 1)]
        for address, nbytes, iova in (
            (100, PAGE, 0), (PAGE, 100, 0), (PAGE, 0, 0), (PAGE, PAGE, 100),
            (PAGE, PAGE, 0xFEE00000), (PAGE, 2 * PAGE, 0xFEDFF000), (PAGE, PAGE, 1 << 48),
        ):  # fmt: skip
            with pytest.raises(UsageError):
                function.map_dma(address, nbytes, iova)
        with pytest.raises(UsageError, match="mapped already"):
            function.map_dma(PAGE, PAGE, raw.memory.iova + PAGE)
        with pytest.raises(UsageError, match="not what one map_dma gave"):
            function.unmap_dma(raw.memory.iova, PAGE)
        with pytest.raises(UsageError, match="more than the 65"):
            function.set_irqs([0] * 66)


def test_stepping_needs_the_drive() -> None:
    """Only a stepped mock is stepped."""
    with MockController() as mock, pytest.raises(UsageError, match="not stepped"):
        mock.step()


def test_an_event_loop_drives_it() -> None:
    """With drive="loop" callbacks of the loop execute commands, and wait while there are none."""

    async def main() -> None:
        with MockController(drive="loop") as mock, Raw(mock) as raw:
            raw.function.set_bus_master(True)
            raw.admin = raw.enable()
            for round_ in range(50):
                raw.admin.post(0x06, cid=round_, prp1=raw.page_iova, cdw10=1)
                raw.admin.ring()
                for _ in range(40 if round_ % 10 == 0 else 3):
                    await asyncio.sleep(0)
                (cqe,) = raw.admin.reap()
                assert (cqe.cid, cqe.status) == (round_, 0)
            raw.function.write32(CC, 0)
            raw.enable(cc=CC_ENABLE)

    fds = descriptors()
    asyncio.run(main())
    assert descriptors() == fds
    with MockController(drive="loop") as mock, pytest.raises(UsageError, match="event loop"):
        mock.open()
