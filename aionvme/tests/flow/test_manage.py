"""`aionvme manage` and its example, by scripts: every entry of the menu, on the mock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aionvme.mock import firmware_image
from aionvme.tests.flow.programs import environment

pytest.importorskip("typer", reason="the command line is an extra")

ADDRESS = "mock:?size=64MiB&capacity=1GiB&max_namespaces=8&serial=SERIAL"


def manage(
    *answers: str, address: str = ADDRESS, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Runs the command with these answers piped in, one a line."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "aionvme.cli", "manage", address, *options],
        check=False,
        input="".join(f"{answer}\n" for answer in answers),
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )


def test_a_namespace_from_creation_to_deletion() -> None:
    """Created, attached, formatted, detached and deleted, by numbers and by words; each step says what it did."""
    ended = manage(
        "create", "1", "1000", "0",
        "attach", "2", "1",
        "list",
        "6", "2", "0", "0", "SERIAL",
        "detach", "2", "1",
        "3", "2", "SERIAL",
        "1",
        "0",
    )  # fmt: skip
    assert (ended.returncode, ended.stdout.count("\n")) == (0, 9), ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("Namespace 2 was created.")
    assert lines[1] == "Namespace 2 was attached to controller 1."
    assert "1 (64 MiB, 512 B), 2 (3.906 MiB, 4096 B)" in lines[3]
    assert lines[4] == "Namespace 2 was formatted: 8000 blocks of 512 bytes."
    assert lines[5:7] == ["Namespace 2 was detached from controller 1.", "Namespace 2 was deleted."]
    assert lines[8].endswith("1 (64 MiB, 512 B)")


def test_identify() -> None:
    """It shows the capacity that is left, and the formats of each namespace with that in use."""
    ended = manage("9", "quit")
    assert ended.returncode == 0
    facts = dict(line.strip().split(None, 1) for line in ended.stdout.splitlines() if line.startswith("  "))
    assert facts["serial"] == "SERIAL"
    assert "namespace management" in facts["optional"]
    assert [line for line in ended.stdout.splitlines() if line.endswith("in use")]


def test_firmware(tmp_path: Path) -> None:
    """An image from a file is downloaded, committed and activated by a reset."""
    image = tmp_path / "image"
    image.write_bytes(firmware_image("9.9"))
    ended = manage("firmware", str(image), "2", "yes", "list")
    assert ended.returncode == 0, ended.stderr
    assert "activated by a controller reset: firmware 9.9" in ended.stdout
    assert "downloading: 100%" in ended.stderr


def test_sanitize_shows_its_progress() -> None:
    """It asks for the serial number, and says when it has ended."""
    ended = manage("8", "2", "SERIAL", address=f"{ADDRESS}&sanitize_time=0.5")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "Sanitized."
    assert "sanitizing" in ended.stderr


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (("77",), "line 1: there is no command '77'"),
        (("delete", "1", "OTHER"), "not confirmed: 'OTHER' is not the serial number SERIAL"),
        (("delete", "9"), "namespace 9 is none of those allocated: 1"),
        (("create", "0", "many"), "size in blocks: a number, from 1, please, not 'many'"),
        (("create", "99"), "format: one of 0, 1"),
        (("create", "0", "100000000", "0"), "capacity"),
        (("attach", "1", "1"), "already attached"),
        (("firmware", "/no/such/file"), "/no/such/file"),
    ],
)
def test_a_script_ends_at_what_is_wrong(answers: tuple[str, ...], says: str) -> None:
    """One sentence, exit status 1, and nothing of what came after it is done."""
    ended = manage(*answers, "list")
    assert ended.returncode == 1
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == "" or "ADDRESS" not in ended.stdout


def test_confirmation_by_an_option() -> None:
    """--yes takes the place of typing the serial number."""
    ended = manage("delete", "1", "list", options=("--yes",))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[0] == "Namespace 1 was deleted."


def test_the_script_of_a_file(tmp_path: Path) -> None:
    """Comments are left out, the end of the file ends the tool."""
    script = tmp_path / "script"
    script.write_text("# what is there\nlist\n# the end\n")
    ended = manage(options=("--script", str(script)))
    assert (ended.returncode, ended.stdout.count("serial=SERIAL")) == (0, 1)


def test_one_controller_of_two_that_can_be_had() -> None:
    """The other is said, and the tool goes on; with none it ends."""
    ended = manage("list", options=("0000:ff:1f.7",))
    assert ended.returncode == 0
    assert "0000:ff:1f.7" in ended.stderr
    assert "SERIAL" in ended.stdout
    ended = manage("list", address="0000:ff:1f.7")
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
