"""The sub-commands in nvme-cli's language, each on the mock: for a person, for a program, and as bytes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import attrs
import pytest

pytest.importorskip("typer", reason="the command line is an extra")

import typer.main

from aionvme.cli.app import FAMILIES, app
from aionvme.cli.nvme import intel
from aionvme.tests.unit.spec.golden import CONTROLLERS, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., "Ended"]

# Made once: that takes longer than most sub-commands run.
command = typer.main.get_command(app)

MOCK = "mock:?size=64MiB&serial=SERIAL"
INTEL = f"{MOCK}&intel=1"


@attrs.frozen
class Ended:
    """How a sub-command ended.

    Attributes:
        status: Its exit status.
        out, err: What it wrote.
    """

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.out.decode()

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.text)


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in this process, without a terminal."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def invoke(*words: str) -> Ended:
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            command(list(words), prog_name="aionvme")
        out, err = capfdbinary.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, out, err.decode())

    return invoke


# What each prints: a line for a person, a key of its JSON, and how many bytes it has.
SHOWN = [
    ("id-ctrl", [], "sn ", "psds", 4096),
    ("id-ns", [], "nsze ", "lbafs", 4096),
    ("id-ns", ["-n", "1", "--force"], "nsze ", "lbafs", 4096),
    ("list-ns", [], "nsid:1", "nsid_list", 4096),
    ("list-ns", ["-a"], "nsid:1", "nsid_list", 4096),
    ("list-ctrl", [], "ctrl_id:1", "ctrl_list", 4096),
    ("list-ctrl", ["-n", "1"], "ctrl_id:1", "ctrl_list", 4096),
    ("cmdset-ind-id-ns", [], "nstat ", "nsfeat", 4096),
    ("cmd-set-independent-id-ns", [], "nstat ", "rgrpid", 4096),
    ("ns-descs", [], "Type:uuid", "ns-descs", 4096),
    ("nvm-id-ns", [], "lbstm ", "elbafs", 4096),
    ("nvm-id-ctrl", [], "vsl ", "dmrsl", 4096),
    ("id-iocs", [], "Selected", "IOCSC0", 4096),
    ("smart-log", [], "temperature ", "temperature", 512),
    ("error-log", [], "error_count", "errors", 64 * 64),
    ("error-log", ["-e", "2"], "error_count", "errors", 128),
    ("fw-log", [], "Firmware Rev Slot 1", "mock:?size=64MiB&serial=SERIAL", 512),
    ("changed-ns-list-log", [], "Changed Attached Namespace List Log", MOCK, 4096),
    ("self-test-log", ["-e", "1"], "Current Device Self-Test Operation", "List of Valid Reports", 564),
    ("sanitize-log", [], "sprog", MOCK, 512),
    ("supported-log-pages", [], "0x02", "supported_logs", 1024),
    ("persistent-event-log", [], "event_type", "list_of_event_entries", None),
    ("persistent-event-log", ["-a", "1"], "event_type", "list_of_event_entries", None),
    ("persistent-event-log", ["-a", "1", "-l", "1060"], "event_type", "list_of_event_entries", 1060),
    ("get-log", ["-i", "2"], "log-id:2", "data", 512),
    ("get-log", ["-i", "0x3", "-l", "0x40"], "log-id:3", "data", 64),
    ("get-log", ["-a", "0x00020102", "-x", "256"], "log-id:2", "data", 512),
    ("get-reg", ["--vs", "-O", "0"], "register: 0000", "register: 0x08", None),
    ("get-reg", ["--cap", "-H"], "Timeout (TO)", "register: 0000", None),
    ("get-feature", ["-f", "7", "-H"], "Number of IO Completion Queues", "feature: 0x07", 4),
    ("get-feature", ["-f", "0xe"], "get-feature:0x0e (Timestamp)", "Feature: 0x0e", 8),
    ("get-feature", ["-f", "4", "-s", "3"], "saveable", "Feature: 0x04: select", 4),
    ("get-feature", [], "get-feature:0x06", "feature: 0x81", None),
    ("get-lba-status", [], "NLSD", "Completion Condition (CMPC)", 4096),
    ("resv-report", [], "regctl ", "regctlext", 64),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words", "line", "key", "nbytes"),
    SHOWN,
    ids=[" ".join((name, *words)) for name, words, *_ in SHOWN],
)
def test_each_shows(run: Run, name: str, words: list[str], line: str, key: str, nbytes: int | None) -> None:
    """Each prints lines for a person, an object with nvme-cli's key in it, and the bytes that it was made of."""
    told = run(name, MOCK, *words)
    assert (told.status, told.err) == (0, "")
    assert line in told.text
    assert key in run(name, MOCK, *words, "-o", "json").json
    if nbytes is not None:
        assert len(run(name, MOCK, *words, "-b").out) == nbytes


def test_identify_of_intel(run: Run) -> None:
    """Intel's id-ctrl has the vendor's part behind all that id-ctrl shows, of any controller."""
    common = run("id-ctrl", INTEL, "-o", "json").json
    found = run("intel", "id-ctrl", INTEL, "-o", "json").json
    assert (found.pop("health"), found.pop("ww")) == ("healthy", "0" * 16)
    assert common.items() <= found.items()
    assert len(run("intel", "id-ctrl", INTEL, "-b").out) == 4096


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("smart-log-add", "Device stats"),
        ("lat-stats", "latstats"),
        ("temp-stats", "current"),
        ("market-name", "Intel Marketing Name"),
    ],
)
def test_each_of_intel(run: Run, name: str, key: str) -> None:
    """Intel's pages are shown of a controller that has them, and refused by one that has not."""
    assert key in run("intel", name, INTEL, "-o", "json").json
    assert run("intel", name, INTEL).status == 0
    refused = run("intel", name, MOCK)
    assert refused.status == 1
    assert "supported-log-pages" in refused.err


def test_lists(run: Run) -> None:
    """List and list-subsys tell of the controllers that are named, in nvme-cli's form; effects-log is one, too."""
    (device,) = run("list", MOCK, "-o", "json").json["Devices"]
    assert (device["NameSpace"], device["SerialNumber"], device["PhysicalSize"]) == (1, "SERIAL", 64 << 20)
    assert "64 MiB" in run("list", MOCK).text
    (host,) = run("list-subsys", MOCK, "-o", "json").json
    assert [path["Name"] for path in host["Subsystems"][-1]["Paths"]] == [MOCK]
    assert "NQN=" in run("list-subsys", MOCK).text
    (host,) = run("list-subsys", MOCK, "-v", "-o", "json").json
    assert host["Subsystems"][-1]["Serial"] == "SERIAL"
    (host,) = run("list", MOCK, "-v", "-o", "json").json["Devices"]
    assert host["Subsystems"][-1]["Controllers"][0]["Namespaces"][0]["PhysicalSize"] == 64 << 20
    (page,) = run("effects-log", MOCK, "-o", "json").json
    assert "ACS_6 (Identify)" in page["admin_cmd_set"]
    assert list(page["io_cmd_set"])[:3] == ["IOCS_0 (Flush)", "IOCS_1 (Write)", "IOCS_2 (Read)"]


def test_registers(run: Run) -> None:
    """show-regs and get-property tell the same of a register, and -H has its bits by name."""
    regs = run("show-regs", MOCK, "-o", "json").json
    assert regs["cc"] & 1
    assert regs["csts"] & 1
    cap = run("get-property", MOCK, "-O", "0", "-o", "json").json
    assert int(cap["value"], 16) == regs["cap"]
    assert re.search(r"mqes +: 0x", run("show-regs", MOCK, "-H").text)
    assert run("get-property", MOCK, "-O", "1").status == 2
    assert run("get-reg", MOCK).status == 2
    told = run("show-regs", MOCK, "-v", "-o", "json").json
    assert told.keys() == regs.keys()
    assert told["cap"][0]["Maximum Queue Entries Supported (MQES)"] == regs["cap"] % 65536 + 1


def test_telemetry(run: Run, tmp_path: Path) -> None:
    """The telemetry log is written to the file that is named; without one, that is said."""
    file = tmp_path / "telemetry"
    ended = run("telemetry-log", MOCK, "-O", str(file), "-m", "1")
    assert ended.status == 0
    assert f"{file.stat().st_size} bytes" in ended.text
    assert "--output-file" in run("telemetry-log", MOCK).err


def test_completion(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that asks what may follow is told the sub-commands, and the options of one."""
    for typed, wanted in (
        ("aionvme id-", {"id-ctrl", "id-ns", "id-iocs"}),
        ("aionvme id-ns --raw", {"--raw-binary"}),
    ):
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
        monkeypatch.setenv("_AIONVME_COMPLETE", "complete_bash")
        assert wanted <= set(run().text.split())


# -- how it ends ---------------------------------------------------------------------------------------------


def test_a_refusal(run: Run) -> None:
    """A status is exit status 1, a message that says what to try, and an object of its own in JSON."""
    ended = run("endurance-log", MOCK, "-g", "1", "-o", "json")
    assert ended.status == 1
    assert ended.json == {"error": "Invalid log page", "type": "nvme", "value": 0x109}
    assert f"aionvme supported-log-pages '{MOCK}'" in ended.err
    assert ended.err.count("\n") == 1


def test_wrong_usage(run: Run) -> None:
    """No address, several namespaces, no number: 2, and what to do; 1 for a namespace that is not there."""
    assert run("id-ns", "/dev/nvme0").status == 2
    gone = run("resv-report", MOCK, "-n", "9")
    assert (gone.status, "there is 1" in gone.err) == (1, True)
    several = run("id-ns", f"{MOCK}&namespaces=2")
    assert (several.status, "say which namespace with -n" in several.err) == (2, True)
    assert run("id-ns", MOCK, "-n", "x").status == 2
    assert run("list", "-o", "binary").status == 2


def test_the_address_may_stand_anywhere(run: Run) -> None:
    """Options before and behind the address, long and short, hexadecimal or decimal, mean the same."""
    first = run("id-ns", "-n", "0x1", "-o", "json", MOCK)
    assert first.json == run("id-ns", MOCK, "--namespace-id=1", "--output-format=json").json
    assert run("id-ns", MOCK, "-o", "binary").out == run("id-ns", "--raw-binary", MOCK).out


def test_every_sub_command_has_an_example(run: Run) -> None:
    """--help of each ends with something that can be typed."""
    entries = [(entry, [entry.name]) for family in FAMILIES for entry in family.entries if not entry.hidden]
    entries += [(entry, ["intel", entry.name]) for entry in intel.commands.entries]
    for entry, words in entries:
        ended = run(*words, "--help")
        assert f"Example: aionvme {' '.join(words)} " in ended.text
        assert entry.example.startswith(" ".join(words))


# -- other people's features ---------------------------------------------------------------------------------

FEATURES = [(each, path.stem) for each in CONTROLLERS for path in sorted((ROOT / each).glob("feature-*.txt"))]


@pytest.mark.parametrize(("controller", "name"), FEATURES, ids=[f"{name}-{each}" for each, name in FEATURES])
def test_features_of_others(controller: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A feature of another controller is printed as nvme-cli printed it, and has a meaning in JSON."""
    from aionvme.cli.nvme.features import _show
    from aionvme.cli.nvme.frame import Call
    from aionvme.cli.nvme.keys_features import fields

    lines = (ROOT / controller / f"{name}.txt").read_text().splitlines()
    dw0 = int(lines[0].rpartition(":")[2], 16)
    data = b"".join(bytes.fromhex(line[6:53]) for line in lines[2:])
    fid = int(name.removeprefix("feature-"), 16)
    _show(Call(address="mock:"), 0, [(fid, dw0, data)])
    assert capsys.readouterr().out.splitlines() == lines
    assert fields(fid, dw0, data)
