"""Owns executing what a page shows: its Python, and its commands with what they print.

A page's blocks share a folder, a namespace and an event loop, in which Python may await outside of a function.

| block | what is done |
|---|---|
| `python` | executed; what it prints has to be in a `text` block behind it |
| `text` | compared with what the block before it has printed |
| `console` | each `$ command` is run, and prints what stands below it, with exit status 0 |
| `json` | parsed |

Three dots stand for anything. A comment in the line before a block says what is different about it, where readers of
the source see it:

    <!-- not executed: needs a drive -->   the reason is one of `REASONS`
    <!-- file: plan.json -->               the block is written into this file, and not executed
    <!-- figures vary -->                  numbers, and how many spaces there are, are not compared
    <!-- exit status: 1 -->                of a command that is to fail
    <!-- in the background -->             a command that goes on running until the page is done

`<!-- invisible-code-block: python ... -->` is Python that readers do not see.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import json
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, RawFencedCodeBlockLexer

from aionvme.cli import main
from aionvme.tests.flow.programs import environment

__all__ = ["REASONS", "execute", "parse", "unexecuted"]

#: Why a block is not executed.
REASONS = frozenset(
    {
        "needs a drive",
        "needs root",
        "needs another program",
        "a file of the system",
        "goes on until it is stopped",
        "takes minutes",
        "code of another library",
    }
)
_MARKER = re.compile(r"<!-- ([^>]*?) -->\n\s*\Z")
_PROMPT = "$ "
# What a shell would do something about; other commands run in this process, which is much faster.
_SHELL = re.compile(r"[|&;<>`$\\\n]")
_FIGURE = re.compile(r" *\d[\d.,]*(?: ?[KMG]?i?(?:B|[nmµ]?s)\b)? *")
_INTERRUPTED = 130


class _Blocks:
    """Sybil's parser: every fenced block but MyST's directives, and the invisible ones."""

    def __init__(self, session: Session | None) -> None:
        self._session = session
        self._lexers = (
            RawFencedCodeBlockLexer(re.compile(r"(?P<language>[^\n]*)\n")),
            DirectiveInHTMLCommentLexer("invisible-code-block", "python", {"source": "source"}),
        )

    def __call__(self, document: Document) -> Iterator[Region]:
        for lexer in self._lexers:
            for region in lexer(document):
                language = region.lexemes.get("language", "python").strip()
                if not language.startswith("{"):
                    region.parsed = (language, str(region.lexemes["source"]))
                    region.evaluator = self._session.evaluate if self._session is not None else None
                    yield region


def parse(page: Path, session: Session | None = None) -> list[Example]:
    """The blocks of a page, in order; each can be evaluated if there is a session to do that in."""
    return list(Sybil([_Blocks(session)]).parse(page).examples())


def execute(page: Path, folder: Path) -> None:
    """Execute the blocks of a page, in a folder; raises what is wrong with one, if anything."""
    with Session(folder) as session:
        for example in parse(page, session):
            example.evaluate()
        if problem := session.unshown():
            raise AssertionError(problem)


def unexecuted(page: Path) -> list[tuple[str, str]]:
    """Language and reason of each block that its marker says is not executed."""
    found = ((example.parsed[0], _marker(example).partition(": ")) for example in parse(page))
    return [(language, reason) for language, (marker, _, reason) in found if marker == "not executed"]


def _marker(example: Example) -> str:
    match = _MARKER.search(example.document.text[: example.start])
    return match[1] if match else ""


class Session:
    """Where the blocks of a page are executed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._namespace: dict[str, Any] = {"__name__": "__main__"}
        self._printed = ""
        self._stack = contextlib.ExitStack()
        self._shell: _Shell | None = None

    def __enter__(self) -> Self:
        self._stack.enter_context(contextlib.chdir(self._folder))
        self._runner = self._stack.enter_context(asyncio.Runner())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def evaluate(self, example: Example) -> str | None:
        """Execute a block; say what is wrong, if anything."""
        language, source = example.parsed
        marker, _, what = _marker(example).partition(": ")
        if marker == "not executed":
            return None if what in REASONS else f"{what!r} is not one of the reasons that pages.py lists"
        if language != "text" and (problem := self.unshown()):
            return problem
        if marker == "file":
            Path(what).write_text(source)
            return json.loads(source) and None if language == "json" else None
        vary = marker == "figures vary"
        if language == "text":
            printed, self._printed = self._printed, ""
            return _compare(source, printed, vary)
        if language == "python":
            self._python(source, f"{example.path}:{example.line}")
            return None
        if language == "json":
            json.loads(source)
            return None
        if language == "console":
            if marker == "in the background":
                return self._background(source)
            return self._console(source, int(what) if marker == "exit status" else 0, vary)
        return f"{language!r}: a block is python, text, console or json, or is marked as not executed"

    def unshown(self) -> str | None:
        """What is wrong if no `text` block follows, if anything."""
        return f"no `text` block shows what was printed:\n{self._printed}" if self._printed else None

    def _python(self, source: str, name: str) -> None:
        code = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            if code.co_flags & inspect.CO_COROUTINE:
                self._runner.run(eval(code, self._namespace))
            else:
                exec(code, self._namespace)
        self._printed = output.getvalue()

    def _console(self, source: str, status: int, vary: bool) -> str | None:
        for command, expected in _commands(source):
            printed, ended = self._run(command)
            if ended != status:
                return f"{command}\nended with {ended}, not {status}:\n{printed}"
            if problem := _compare(expected, printed, vary):
                return f"{command}\n{problem}"
        return None

    def _run(self, command: str) -> tuple[str, int]:
        """Run a command, in this process where that can be: what it prints, and its exit status."""
        words = shlex.split(command, comments=True)
        *before, last_but_one, last = ["", *words]
        if last_but_one == ">" and words[0] == "aionvme":
            printed, ended = _in_process(before[1:])
            Path(last).write_text(printed)
            return "", ended
        # A program that starts others, whose output is caught as well, is one itself.
        alone = words[0] == "aionvme" or (
            words[0] == "python" and "subprocess" not in Path(words[1]).read_text()
        )
        if alone and not _SHELL.search(shlex.join(words)):
            return _in_process(words)
        self._shell = self._shell or self._stack.enter_context(_Shell(self._folder))
        return self._shell.run(command)

    def _background(self, source: str) -> str | None:
        ((command, expected),) = _commands(source)
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "aionvme.cli", *shlex.split(command)[1:]],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(),
        )  # fmt: skip
        self._stack.callback(_end, process)
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in expected.splitlines()]
        return _compare(expected, "".join(printed), vary=False)


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    process.communicate()


def _commands(source: str) -> list[tuple[str, str]]:
    """Commands, and what is below each."""
    found: list[tuple[str, list[str]]] = []
    goes_on = False
    for line in source.splitlines():
        if goes_on:
            command, below = found.pop()
            found.append((f"{command}\n{line}", below))
        elif line.startswith(_PROMPT):
            found.append((line.removeprefix(_PROMPT), []))
        elif found:
            found[-1][1].append(line)
        else:
            raise ValueError(f"{line!r} stands before the first `{_PROMPT}`")
        goes_on = found[-1][0].endswith("\\")
    return [(command, "\n".join(below)) for command, below in found]


def _compare(expected: str, printed: str, vary: bool) -> str | None:
    want, got = ("\n".join(map(str.rstrip, text.strip("\n").splitlines())) for text in (expected, printed))
    pattern, text = (re.sub(" +", " ", _FIGURE.sub(" 0 ", each)) if vary else each for each in (want, got))
    if doctest.OutputChecker().check_output(pattern, text, doctest.ELLIPSIS):
        return None
    return f"the page shows:\n{want}\n\nprinted was:\n{got}"


def _in_process(words: list[str]) -> tuple[str, int]:
    """Run the `aionvme` command or a Python program here; return what it prints, and its exit status."""
    output, argv = io.StringIO(), sys.argv
    sys.argv = words if words[0] == "aionvme" else words[1:]
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            if words[0] == "aionvme":
                main()
            else:
                runpy.run_path(words[1], run_name="__main__")
    except SystemExit as error:
        return output.getvalue(), int(error.code or 0)
    except KeyboardInterrupt:
        return output.getvalue(), _INTERRUPTED
    finally:
        sys.argv = argv
    return output.getvalue(), 0


class _Shell:
    """A bash that runs one command after another, and finds this Python and its `aionvme`."""

    def __init__(self, folder: Path) -> None:
        programs = folder / ".bin"
        programs.mkdir()
        for name, words in (("python", ""), ("pytest", "-m pytest"), ("aionvme", "-m aionvme.cli")):
            (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
            (programs / name).chmod(0o755)
        self._process = subprocess.Popen(
            ["bash", "--norc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, cwd=folder, env=environment(PATH=f"{programs}:{os.environ['PATH']}"),
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def run(self, command: str) -> tuple[str, int]:
        """What the command prints, and its exit status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # Its input is not the shell's, which are the commands.
        self._process.stdin.write(f"{{ {command}\n}} </dev/null\nprintf '\\n%s %d\\n' end-of-command $?\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if line.startswith("end-of-command "):
                return "".join(lines).removesuffix("\n"), int(line.split()[1])
            lines.append(line)
        raise EOFError(f"the shell ended at {command!r}:\n{''.join(lines)}")
