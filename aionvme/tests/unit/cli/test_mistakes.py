"""What a mistaken call is told: one line on standard error, with what to do; and that examples are none."""

from __future__ import annotations

import errno
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("typer", reason="the command line is an extra")

import typer

from aionvme.cli import console, mistakes
from aionvme.cli.app import app
from aionvme.cli.nvme.advice import ADVICE, ADVICE_OF, Asked, advice
from aionvme.errors import GenericStatusError
from aionvme.spec.status import Status, StatusCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aionvme.tests.unit.cli.conftest import Run

COMMAND: Any = typer.main.get_command(app)


def every_command(group: Any = COMMAND, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each sub-command with its path, those of groups and hidden ones too."""
    ctx = group.context_class(group, info_name="aionvme", resilient_parsing=True)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        yield (*path, name), command
        if hasattr(command, "list_commands"):
            yield from every_command(command, (*path, name))


COMMANDS = dict(every_command())


def parse(words: list[str]) -> None:
    """Reads the words as the command would, without doing anything; raises where they are wrong usage."""
    path = tuple(words[:1]) if tuple(words[:2]) not in COMMANDS else tuple(words[:2])
    COMMANDS[path].make_context(" ".join(path), words[len(path) :])


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_each_has_an_example_that_parses(path: tuple[str, ...]) -> None:
    """Every sub-command's help ends with a line to type, which is of that sub-command and is taken."""
    intro, _, example = (COMMANDS[path].epilog or "").partition("Example: aionvme ")
    words = shlex.split(example.partition(" > ")[0])
    assert (intro, bool(words)) == ("", True)
    if path[-1] not in ("cmd-set-independent-id-ns", "fw-activate"):  # Other names of one that is there.
        assert tuple(words[: len(path)]) == path
    parse(words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("smrt-log mock:", "aionvme has no sub-command 'smrt-log'. Did you mean smart-log? See `aionvme --help`"),
        ("mock serv", "error: aionvme mock has no sub-command 'serv'. Did you mean serve? See `aionvme mock --help`"),
        ("intel lat-stat mock:", "Did you mean lat-stats? See `aionvme intel --help`"),
        ("frobnicate", "error: aionvme has no sub-command 'frobnicate'. See `aionvme --help`"),
        ("--frobnicate", "error: there is no option --frobnicate. See `aionvme --help`"),
        ("read mock: --strt-block 1", "read: there is no option --strt-block. Did you mean --start-block? See"),
        ("read", "error: read: missing argument 'ADDRESS'. See `aionvme read --help`"),
        ("read mock: -z", "error: read: option '-z' requires an argument. See `aionvme read --help`"),
        ("read mock: -s x", "'x' is no number: write it as 10 or 0xa. See `aionvme read --help`"),
        ("id-ctrl mock: -o jsn", "'jsn' is not one of 'normal', 'json', 'binary'"),
        ("mock serve", "error: mock serve: missing option '--socket'"),
        ("top foo", "error: top: "),
        ("id-ctrl mock:?sise=1GiB", "no option 'sise'. Did you mean size? `aionvme mock options` lists what there is"),
        ("list mock:?size=much", "written like size=64MiB, not 'much'. `aionvme mock options` lists what there is"),
        ("hello mock:?lba=7", "error: mock: "),
        ("id-ctrl /dev/nvme0n1", "is the kernel's name of a drive, not an address. Run `aionvme list`"),
        ("id-ctrl nvme0", "Run `aionvme list`"),
        ("manage nowhere", "Accepted are"),
        ("attach-ns mock:", "attach-ns: say which namespace with -n; `aionvme list-ns mock: -a`"),
        ("set-feature mock: -f 7", "set-feature: say what feature 0x7 is set to: --value NUM"),
        ("write mock: -z 512 -d /nonexistent", "/nonexistent can't be read: no such file or directory"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line(run: Run, words: str, said: str) -> None:
    """It is told in one line what to do instead, and ends with status 2."""
    ended = run(*shlex.split(words))
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith("error: ")
    assert said in ended.err
    assert len(ended.err) < 400


def test_noiommu_is_no_remedy(run: Run) -> None:
    """What is accepted in an address does not name the mode in which nothing protects memory."""
    assert "noiommu" not in run("id-ctrl", "nowhere").err


def test_an_address_is_said_once(run: Run) -> None:
    """What the driver says of a function begins with its address, and gets no second one; an option is none of it."""
    ended = run("id-ctrl", "99:00.0")
    assert (ended.status, ended.err.count("99:00.0")) == (1, 1)
    ended = run("id-ctrl", "vfio-user:/nonexistent")
    assert ended.err.count("vfio-user:/nonexistent") == 1
    assert console.about("mock:", "it failed") == "mock: it failed"
    assert console.about("vfio-user:/x?timeout=1", "vfio-user:/x: gone") == "vfio-user:/x: gone"


def test_no_subsystem(run: Run) -> None:
    """A machine without NVM subsystems is said to have none, and what else to try is beside the result."""
    ended = run("list-subsys")
    assert (ended.status, ended.out) == (0, "This machine's kernel has no NVM subsystem.\n")
    assert "list-subsys mock:" in ended.err


def test_every_option_of_the_mock_is_listed(run: Run) -> None:
    """`mock options` has what a mistyped one refers to."""
    listed = run("mock", "options").out
    assert re.search(r"^ *size +64MiB$", listed, re.MULTILINE)
    assert re.search(r"^ *faults +/", listed, re.MULTILINE)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "free some space"), (errno.ENOENT, "in a folder that is there")]
)
def test_a_file_that_can_not_be_written(number: int, remedy: str) -> None:
    """It is the file that was named which is told of, whatever else failed, without the kernel's number."""
    with pytest.raises(mistakes.FileError) as raised, mistakes.writing(Path("/a/log")):
        raise OSError(number, os.strerror(number), "/a/log.part")
    assert str(raised.value).startswith("/a/log can't be written: no ")
    assert remedy in str(raised.value)
    assert "Errno" not in str(raised.value)


def test_an_error_of_the_kernel(run: Run, tmp_path: Path) -> None:
    """One that reaches the end says its file and what to do."""
    ended = run("trace", str(tmp_path))
    assert (ended.status, ended.err) == (1, f"error: {tmp_path}: is a directory: name a file\n")
    assert mistakes.reason(OSError("odd")) == "odd"


def test_a_file_is_overwritten_by_read(run: Run, tmp_path: Path) -> None:
    """As nvme-cli does, and as --help says."""
    path = tmp_path / "there"
    path.write_bytes(b"x" * 1024)
    assert run("read", "mock:", "-z", "512", "-d", str(path)).status == 0
    assert path.read_bytes() == bytes(512)
    assert "overwritten" in run("read", "--help").out


# -- hints -------------------------------------------------------------------------------------------------------------


def test_hints_are_of_statuses_and_their_commands_parse() -> None:
    """Each is of a status that there is, and what it says to type is taken by the sub-command."""
    statuses = {code.name for code in StatusCode}
    assert ADVICE.keys() <= statuses
    assert {status for _, status in ADVICE_OF} <= statuses
    assert {(command,) for command, _ in ADVICE_OF} <= COMMANDS.keys()
    for text in {*ADVICE.values(), *ADVICE_OF.values()}:
        for example in re.findall(r"`aionvme ([^`]+)`", text):
            words = example.format(address="mock:").split()
            parse([{"FID": "7", "NSID": "1"}.get(word, word) for word in words])


def test_a_hint_quotes_the_address() -> None:
    """A hint can be pasted into a shell, and names the namespaces where the one that was asked for is none of them."""
    error = GenericStatusError(Status.of(StatusCode.INVALID_FIELD), opcode=6, qid=0, cid=1)
    address = "mock:?a=1&b=2"
    assert f"id-ctrl '{address}'" in str(advice(error, Asked(address, "id-ns", 1, [1])))
    assert "no active namespace 3; there is 1, 2" in str(advice(error, Asked(address, "id-ns", 3, [2, 1])))
    assert f"list-ns '{address}' -a" in str(advice(error, Asked(address, "attach-ns", 3, [1])))
    unknown = GenericStatusError(Status.of(StatusCode.ABORTED_BY_REQUEST), opcode=6, qid=0, cid=1)
    assert advice(unknown, Asked(address, "id-ns", None, None)) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("id-ns mock: -n 9", "There is no active namespace 9; there is 1: choose one with -n"),
        ("format mock: -n 9", "no active namespace 9; there is 1: choose one with -n"),
        ("attach-ns mock:?max_namespaces=4 -n 3", "`aionvme list-ns 'mock:?max_namespaces=4' -a` lists"),
        ("create-ns mock:?capacity=64MiB -s 1 -c 1", "says how many bytes no namespace has (unvmcap)"),
        ("compare mock: -z 512 -d /bin/sh", "then `cmp FILE OTHER`, shows where"),
    ],
)
def test_a_status_has_its_hint(run: Run, words: str, said: str) -> None:
    """What the controller says no to ends with status 1, and with what else to try; a namespace that is none, too."""
    ended = run(*shlex.split(words))
    assert (ended.status, ended.err.count("\n"), said in ended.err) == (1, 1, True)
