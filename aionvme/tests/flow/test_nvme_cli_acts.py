"""The sub-commands in nvme-cli's language that act: each on the mock, with round trips of data, and what goes wrong."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("typer", reason="the command line is an extra")

from aionvme.mock import MockController, firmware_image
from aionvme.tests.flow.programs import environment
from aionvme.tests.flow.test_nvme_cli import run  # noqa: F401

if TYPE_CHECKING:
    from aionvme.tests.flow.test_nvme_cli import Run

MOCK = "mock:?size=64MiB&serial=SERIAL&capacity=1GiB&max_namespaces=8"
BLOCK = bytes(range(256)) * 2

Feed = Callable[[bytes], None]


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Feed:
    """Puts bytes on standard input, which is empty without."""

    def put(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    put(b"")
    return put


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a mock that outlives each command, which no command may overwrite without being told to."""
    folder = tmp_path_factory.mktemp("served")
    options = {"size": "64MiB", "serial": "SERIAL", "capacity": "1GiB", "max_namespaces": "8"}
    with MockController.from_options(options) as mock, mock.serve(folder):
        yield f"vfio-user:{folder}"


@pytest.fixture
def block(tmp_path: Path) -> str:
    """A file of one block."""
    path = tmp_path / "block"
    path.write_bytes(BLOCK)
    return str(path)


# What each says when it has succeeded, on a mock of its own.
SUCCEED: list[tuple[list[str], str]] = [
    (["create-ns", "-s", "1000", "-c", "0x3e8", "-f", "0"], "create-ns: Success, created nsid:2"),
    (["create-ns", "-S", "10.5M", "-C", "10.5M", "-b", "4096"], "create-ns: Success, created nsid:2"),
    (["delete-ns", "-n", "1"], "delete-ns: Success, deleted nsid:1"),
    (["delete-ns", "-n", "0xffffffff"], "delete-ns: Success, deleted nsid:4294967295"),
    (["detach-ns", "-n", "1"], "detach-ns: Success, nsid:1"),
    (["format", "-l", "1", "-s", "1"], "Success formatting namespace:1"),
    (["format", "-n", "1", "-b", "4096", "-r"], "Success formatting namespace:1"),
    (["format", "-n", "0xffffffff", "-l", "0"], "Success formatting namespace:ffffffff"),
    (["sanitize", "-a", "start-crypto-erase"], "sanitize: Success"),
    (["sanitize", "-a", "3", "-n", "1", "-p", "0xdead", "-i", "--wait"], "sanitize: Success, sanitized"),
    (["sanitize", "-a", "1"], "sanitize: Success"),
    (["fw-commit", "-s", "1", "-a", "set-active"], "Success committing firmware action:2 slot:1"),
    (["fw-activate", "-s", "1", "-a", "2"], "Success committing firmware action:2 slot:1"),
    (["device-self-test"], "no self test running"),
    (["device-self-test", "-s", "1"], "Short Device self-test started"),
    (["device-self-test", "-s", "2", "--wait"], "Device self-test: Success"),
    (["device-self-test", "-s", "0xf"], "Aborting device self-test operation"),
    (["reset"], "Reset: Success"),
    (["subsystem-reset"], "Subsystem-reset: Success"),
    (["set-feature", "-f", "4", "-V", "0x157"],
     "set-feature:0x04 (Temperature Threshold), value:0x00000157, cdw12:00000000, save:0"),
    (["set-feature", "-f", "0xe", "-V", "1000"], "set-feature:0x0e (Timestamp)"),
    (["resv-register", "-k", "0x10", "-i"], "NVME Reservation  success"),
    (["write-zeroes", "-s", "8", "-c", "7", "-d"], "NVME Write Zeroes Success"),
    (["write-zeroes", "-s", "8", "-T", "1", "-D", "4"], "NVME Write Zeroes Success"),
    (["write-uncor", "-s", "8", "-c", "0"], "NVME Write Uncorrectable Success"),
    (["verify", "-s", "0", "-c", "7", "-l"], "NVME Verify Success"),
    (["dsm", "-s", "0,64", "-b", "8,8", "-d"], "NVMe DSM: success"),
    (["dsm", "-s", "0", "-b", "8", "-a", "1", "-c", "1"], "NVMe DSM: success"),
    (["copy", "-s", "0,64", "-b", "7,7", "-d", "1024"], "NVMe Copy: success"),
    (["flush"], "NVMe Flush: success"),
    (["flush", "-n", "0xffffffff"], "NVMe Flush: success"),
    (["security-recv", "-p", "0", "-x", "16"], "NVME Security Receive Command Success"),
    (["dir-send", "-D", "0", "-O", "1", "-T", "0", "-e", "1"],
     "dir-send: type 0, operation 0x1, spec_val 0, nsid 0x1, result 0"),
    (["dir-receive", "-D", "0", "-O", "1", "-H"], "identify  enabled"),
    (["admin-passthru", "-O", "6", "-4", "1", "-l", "64", "-s"], "cdw10        : 00000001"),
    (["io-passthru", "-O", "2", "-n", "1", "-l", "512", "-T"], "0000: 00 00"),
    (["io-passthru", "-O", "1", "-n", "1", "-l", "512", "-d"], "opcode       : 01"),
    (["read", "-z", "512", "-V", "-w", "-s", "7"], "slba         : 7"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "says"), SUCCEED, ids=[" ".join(words) for words, _ in SUCCEED])
def test_each_acts(run: Run, feed: Feed, words: list[str], says: str) -> None:  # noqa: F811
    """Each says in nvme-cli's words what it did, its exit status is 0, and no question is asked on a mock."""
    ended = run(words[0], MOCK, *words[1:])
    assert (ended.status, says in ended.text) == (0, True), (ended.text, ended.err)


# What the controller refuses, by its status; exit status 1.
REFUSED: list[tuple[list[str], str]] = [
    (["virt-mgmt", "-c", "1", "-a", "7"], "INVALID_OPCODE"),
    (["attach-ns", "-n", "1"], "NAMESPACE_ALREADY_ATTACHED"),
    (["attach-ns", "-n", "7"], "INVALID_FIELD"),
    (["create-ns", "-s", "100000000", "-c", "100000000"], "NAMESPACE_INSUFFICIENT_CAPACITY"),
    (["dir-send", "-D", "0", "-O", "1", "-T", "1"], "INVALID_FIELD"),
    (["dir-receive", "-D", "1", "-O", "1"], "INVALID_FIELD"),
    (["resv-acquire", "-c", "1", "-t", "1"], "RESERVATION_CONFLICT"),
    (["resv-release", "-c", "1", "-t", "1"], "RESERVATION_CONFLICT"),
    (["fw-commit", "-s", "2", "-a", "1"], "INVALID_FIRMWARE_IMAGE"),
    (["security-recv", "-p", "0x55", "-x", "16"], "INVALID_FIELD"),
    (["set-feature", "-f", "0xdf", "-V", "1"], "INVALID_FIELD"),
    (["admin-passthru", "-O", "0xc1", "-r"], "INVALID_OPCODE"),
    (["io-passthru", "-O", "2", "-n", "1", "-4", "0xffffffff", "-l", "512"], "LBA_OUT_OF_RANGE"),
    # This mock's pages have no index.
    (["get-log", "-i", "2", "-O"], "INVALID_FIELD"),
]


@pytest.mark.parametrize(("words", "status"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_what_the_controller_refuses(run: Run, feed: Feed, words: list[str], status: str) -> None:  # noqa: F811
    """It ends in the controller's status, by name, and exit status 1; JSON has it too."""
    ended = run(words[0], MOCK, *words[1:])
    assert (ended.status, status in ended.err) == (1, True), ended.err
    assert "error" in run(words[0], MOCK, *words[1:], "-o", "json").json


# What is wrong before any command is sent; exit status 2.
WRONG: list[tuple[list[str], str]] = [
    (["read"], "data size not provided"),
    (["read", "-z", "banana"], "is no number"),
    (["read", "-c", "70000"], "0's based"),
    (["read", "-z", "512", "-s", "1000000000"], "outside of the namespace"),
    (["read", "-z", "512", "-p", "16"], "--prinfo"),
    (["write", "-z", "512"], "has no data"),
    (["write", "-z", "512", "-d", "/no/such/file"], "/no/such/file can't be read"),
    (["compare"], "data size not provided"),
    (["dsm"], "No range definition provided"),
    (["dsm", "-s", "1,x"], "is no number"),
    (["copy", "-N", "1,2", "-s", "0", "-b", "0"], "--snsids"),
    (["delete-ns"], "delete-ns: say which namespace with -n"),
    (["attach-ns", "-n", "0xffffffff"], "attach-ns: name one namespace with -n"),
    (["create-ns"], "give a size and a capacity"),
    (["create-ns", "-S", "much", "-C", "1G"], "is no size"),
    (["create-ns", "-s", "1", "-c", "1", "-b", "777"], "777 bytes"),
    (["format", "-l", "0", "-b", "512"], "one of --lbaf and --block-size"),
    (["format", "-l", "9"], "lbaf must be less"),
    (["format", "-s", "7"], "--ses is from 0 to 2"),
    (["sanitize"], "Invalid Sanitize Action"),
    (["sanitize", "-a", "3", "-n", "16"], "OWPASS"),
    (["fw-download"], "--fw is required"),
    (["fw-download", "-f", "/no/such/file"], "/no/such/file can't be read"),
    (["fw-commit", "-s", "8"], "invalid slot"),
    (["fw-commit", "-a", "5"], "invalid action"),
    (["device-self-test", "-s", "7"], "--self-test-code"),
    (["set-feature"], "say which feature: --feature-id"),
    (["set-feature", "-f", "4"], "say what feature 0x4 is set to: --value"),
    (["resv-register", "-p", "1"], "invalid cptpl"),
    (["resv-register", "-r", "3"], "invalid rrega"),
    (["resv-acquire", "-a", "3"], "invalid racqa"),
    (["resv-release", "-a", "2"], "invalid rrela"),
    (["security-send"], "how many bytes are sent: --tl"),
    (["security-recv"], "how many bytes are received: --size"),
    (["dir-send", "-D", "0", "-O", "1"], "which directive is enabled or disabled: --target-dir"),
    (["dir-send", "-D", "5"], "invalid directive type"),
    (["dir-receive", "-D", "1", "-O", "9"], "--dir-oper"),
    (["virt-mgmt"], "--act is 1, 7, 8 or 9"),
    (["admin-passthru"], "opcode parameter required"),
    (["admin-passthru", "-O", "0x1ff"], "opc"),
    (["get-feature", "-f", "300"], "get-feature: fid: 300 does not fit in 8 bits: give a smaller number"),
    (["id-ns", "-n", "0x100000000"], "id-ns: nsid: 4294967296 does not fit"),
    (["io-passthru", "-O", "0x84", "-l", "512"], "data direction"),
    (["admin-passthru", "-O", "6", "-m", "8"], "--metadata-len"),
    (["read", "-z", "512", "-b", "4096"], "namespace 1 has blocks of 512 bytes"),
    (["get-log", "-i", "2", "-x", "3"], "--xfer-len"),
    (["copy", "-s", "0", "-b", "0", "-A", "1,2"], "--expected-app-tags"),
]


@pytest.mark.parametrize(("words", "says"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_what_is_wrong_at_once(run: Run, feed: Feed, words: list[str], says: str) -> None:  # noqa: F811
    """It is said in a sentence, with exit status 2."""
    ended = run(words[0], MOCK, *words[1:])
    assert (ended.status, ended.text) == (2, "")
    assert says in ended.err
    assert "Traceback" not in ended.err


# -- round trips -------------------------------------------------------------------------------------------------------


def test_data_there_and_back(run: Run, feed: Feed, served: str, block: str, tmp_path: Path) -> None:  # noqa: F811
    """Written from a file, read to a file and to standard output, compared, copied, zeroed and made unreadable."""
    wrote = run("write", served, "-s", "100", "-z", "512", "-d", block, "--force", "-t")
    assert (wrote.status, wrote.text) == (0, "")
    assert "write: Success" in wrote.err and "latency: write:" in wrote.err
    back = tmp_path / "back"
    assert run("read", served, "-s", "100", "-c", "0", "-d", str(back)).status == 0
    assert back.read_bytes() == BLOCK
    assert run("read", served, "-s", "100", "-z", "512").out == BLOCK
    assert run("compare", served, "-s", "100", "-z", "512", "-d", block).status == 0
    differs = run("compare", served, "-s", "101", "-z", "512", "-d", block)
    assert (differs.status, "COMPARE_FAILURE" in differs.err) == (1, True)
    assert run("copy", served, "-s", "100", "-b", "0", "-d", "200", "--force").status == 0
    assert run("read", served, "-s", "200", "-z", "512").out == BLOCK
    assert run("write-zeroes", served, "-s", "100", "-c", "0", "--force").status == 0
    assert run("read", served, "-s", "100", "-z", "512").out == bytes(512)
    assert run("write-uncor", served, "-s", "200", "--force").status == 0
    unread = run("read", served, "-s", "200", "-z", "512")
    assert (unread.status, unread.text) == (1, "")
    assert "NVMe status" in unread.err


def test_data_of_standard_input(run: Run, feed: Feed, served: str) -> None:  # noqa: F811
    """What is missing of the last block is zeros; what is more than was told is left; several blocks are one call."""
    feed(b"hello")
    assert run("write", served, "-s", "300", "-z", "512", "--force").status == 0
    assert run("read", served, "-s", "300", "-z", "512").out == b"hello".ljust(512, b"\0")
    feed(BLOCK * 3)
    rounded = run("write", served, "-s", "300", "-c", "1", "-z", "1000", "-D", "1", "--force")
    assert (rounded.status, "Rounding data size to fit block count (1024 bytes)" in rounded.err) == (0, True)
    assert run("read", served, "-s", "300", "-c", "1").out == (BLOCK * 2)[:1000].ljust(1024, b"\0")
    feed(BLOCK * 1024)
    assert run("write", served, "-s", "1024", "-c", "1023", "--force").status == 0
    assert run("read", served, "-s", "1024", "-z", "512k", "-D", "0").out == BLOCK * 1024


def test_data_by_passthru(run: Run, feed: Feed, served: str, block: str, tmp_path: Path) -> None:  # noqa: F811
    """Any command goes there and back with its data, and what nvme-cli says of it is on standard error."""
    told = ["-n", "1", "-4", "500", "-l", "512"]
    wrote = run("io-passthru", served, "-O", "1", *told, "-i", block, "--force")
    assert (wrote.status, wrote.text) == (0, "")
    assert "IO Command Write is Success and result: 0x00000000" in wrote.err
    assert run("io-passthru", served, "-O", "2", *told, "-b").out == BLOCK
    back = tmp_path / "back"
    assert run("io-passthru", served, "-O", "2", *told, "-i", str(back)).text == ""
    assert back.read_bytes() == BLOCK
    identified = run("admin-passthru", served, "-O", "6", "-4", "1", "-l", "4096", "-b")
    assert identified.out == run("id-ctrl", served, "-b").out
    feed(b"ab")
    assert run("io-passthru", served, "-O", "1", *told, "-p", "0x2e", "--force").status == 0
    assert run("read", served, "-s", "500", "-z", "512").out == b"ab".ljust(512, b".")


@pytest.mark.parametrize("extended", ["0", "1"])
def test_metadata_there_and_back(run: Run, feed: Feed, tmp_path: Path, extended: str) -> None:  # noqa: F811
    """Metadata is of a file of its own, or follows each block's data, as the namespace was formatted."""
    address = f"mock:?size=1MiB&metadata=8&extended={extended}&storage={tmp_path / 'storage'}"
    data, meta = tmp_path / "data", tmp_path / "meta"
    if extended == "1":
        data.write_bytes((BLOCK + b"metadata") * 2)
        assert run("write", address, "-z", "1040", "-d", str(data), "--force").status == 0
        assert run("read", address, "-c", "1").out == (BLOCK + b"metadata") * 2
        return
    data.write_bytes(BLOCK * 2)
    meta.write_bytes(b"metadata" * 2)
    words = ["-c", "1", "-y", "16", "-d", str(data), "-M", str(meta)]
    assert run("write", address, *words, "--force").status == 0
    data.unlink()
    meta.unlink()
    assert run("read", address, *words).status == 0
    assert (data.read_bytes(), meta.read_bytes()) == (BLOCK * 2, b"metadata" * 2)
    meta.unlink()
    by_passthru = ["-O", "2", "-n", "1", "-6", "1", "-l", "1024", "-m", "16", "-M", str(meta), "-b"]
    assert run("io-passthru", address, *by_passthru).out == BLOCK * 2
    assert meta.read_bytes() == b"metadata" * 2


def test_a_namespace_from_creation_to_deletion(run: Run, feed: Feed, served: str) -> None:  # noqa: F811
    """Created, attached, written, detached and deleted, each by a command of its own."""
    created = run("create-ns", served, "-s", "1000", "-c", "1000", "-b", "4096", "-o", "json")
    assert created.json == {"result": "create-ns: Success, created nsid:2"}
    assert run("attach-ns", served, "-n", "2", "-c", "1").text == "attach-ns: Success, nsid:2\n"
    feed(b"x")
    assert run("write", served, "-n", "2", "-z", "4096", "--force").status == 0
    assert run("format", served, "-n", "2", "-l", "0", "--force").status == 0
    assert run("read", served, "-n", "2", "-c", "0").out == bytes(512)
    assert run("detach-ns", served, "-n", "2").status == 0
    assert run("read", served, "-n", "2", "-c", "0").status == 1
    assert run("delete-ns", served, "-n", "2", "-f").text == "delete-ns: Success, deleted nsid:2\n"


def test_a_reservation_from_key_to_release(run: Run, feed: Feed, served: str) -> None:  # noqa: F811
    """Registered, acquired, released and unregistered; resv-report sees it."""
    assert run("resv-register", served, "-k", "0x10").status == 0
    assert run("resv-acquire", served, "-c", "0x10", "-t", "1").text == "NVME Reservation Acquire success\n"
    assert run("resv-report", served, "-o", "json").json["rtype"] == 1
    assert run("resv-release", served, "-c", "0x10", "-t", "1").text == "NVME Reservation Release success\n"
    assert run("resv-register", served, "-c", "0x10", "-r", "1").status == 0


def test_firmware_from_file_to_reset(run: Run, feed: Feed, served: str, tmp_path: Path) -> None:  # noqa: F811
    """Downloaded and committed by one command, since each begins with a reset; and it runs after the next."""
    image = tmp_path / "image"
    image.write_bytes(firmware_image("9.9"))
    downloaded = run("fw-download", served, "-f", str(image), "-x", "4k")
    assert (downloaded.status, downloaded.text) == (0, "Firmware download success\n")
    assert "fw-commit --fw" in downloaded.err
    # What was downloaded is gone by then, as the specification has it.
    assert run("fw-commit", served, "-s", "2", "-a", "replace-and-activate").status == 1
    committed = run("fw-commit", served, "--fw", str(image), "-s", "2", "-a", "replace-and-activate")
    assert (committed.status, "after the next reset" in committed.err) == (0, True)
    assert run("reset", served).status == 0
    assert run("id-ctrl", served, "-o", "json").json["fr"].strip() == "9.9"


def test_security_there_and_back(run: Run, feed: Feed, served: str) -> None:  # noqa: F811
    """What is sent to the mock's protocol F0h is received from it."""
    feed(b"secret")
    sent = run("security-send", served, "-p", "0xf0", "-s", "7", "-t", "16")
    assert sent.text == "NVME Security Send Command Success\n"
    assert run("security-recv", served, "-p", "0xf0", "-s", "7", "-x", "16", "-b").out == b"secret".ljust(
        16, b"\0"
    )


# -- asking, and being interrupted -------------------------------------------------------------------------------------

DESTROY = [
    ["write", "-z", "512"],
    ["write-zeroes"],
    ["write-uncor"],
    ["dsm", "-s", "0", "-b", "1", "-d"],
    ["copy", "-s", "0", "-b", "0", "-d", "9"],
    ["delete-ns", "-n", "1"],
    ["format"],
    ["sanitize", "-a", "2"],
    ["io-passthru", "-O", "1", "-n", "1", "-l", "512"],
    ["admin-passthru", "-O", "0x84", "-4", "2"],
]


ALL_THAT_DESTROY = pytest.mark.parametrize("words", DESTROY, ids=[words[0] for words in DESTROY])


@ALL_THAT_DESTROY
def test_without_a_terminal(run: Run, feed: Feed, served: str, words: list[str]) -> None:  # noqa: F811
    """Nobody could be asked: it takes --force, which is said, with exit status 2."""
    feed(BLOCK)
    refused = run(words[0], served, *words[1:])
    assert (refused.status, "--force" in refused.err) == (2, True)


@pytest.mark.spread("words")
@ALL_THAT_DESTROY
def test_nothing_is_lost_unless_confirmed(
    run: Run,  # noqa: F811
    feed: Feed,
    served: str,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a terminal the serial number is asked for, and anything else does nothing."""
    questions: list[str] = []

    async def no(question: str, accepted: object) -> bool:
        questions.append(f"{question} {accepted}")
        return False

    monkeypatch.setattr("aionvme.cli.nvme.acting.can_ask", lambda: True)
    monkeypatch.setattr("aionvme.cli.nvme.acting.confirmed", no)
    before = run("read", served, "-c", "15").out
    feed(BLOCK)
    declined = run(words[0], served, *words[1:])
    assert (declined.status, "nothing was done" in declined.err) == (1, True), declined.err
    assert "About to" in declined.err and "SERIAL" in questions[0]
    assert run("read", served, "-c", "15").out == before


def test_a_device_of_the_kernel_is_not_touched(run: Run, feed: Feed) -> None:  # noqa: F811
    """A function that is not this program's to have is not formatted, whatever was said."""
    ended = run("format", "0000:ff:1f.7", "--force")
    assert (ended.status, ended.text) == (1, "")
    assert "0000:ff:1f.7" in ended.err


@pytest.mark.parametrize(
    ("words", "begun", "left"),
    [
        (["sanitize", "mock:?sanitize_time=60", "-a", "2", "-w"], "sanitizing:", "goes on in the device"),
        pytest.param(
            ["device-self-test", "mock:?self_test_time=60", "-s", "1", "-w"],
            "testing:",
            "was aborted",
            marks=pytest.mark.exhaustive,
        ),
        # It takes as long as an Abort may take before the controller is reset.
        pytest.param(
            ["format", "mock:?format_time=60"], "formatting:", "format it again", marks=pytest.mark.exhaustive
        ),
    ],
    ids=["sanitize", "device-self-test", "format"],
)
def test_ctrl_c(words: list[str], begun: str, left: str) -> None:
    """Long work shows how far it is; Ctrl-C ends it with 130, and it says what goes on in the device."""
    program = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "aionvme.cli", *words],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    assert program.stderr is not None
    try:
        seen = ""
        while begun not in seen:
            line = program.stderr.readline()
            assert line, seen
            seen += line
        program.send_signal(signal.SIGINT)
        _, rest = program.communicate(timeout=60)
        assert program.returncode == 130
        assert left in rest and rest.endswith("interrupted\n")
    finally:
        program.kill()
        program.communicate()
