"""What every source file has: a stub if it is compiled, a first line on what it owns, a bounded length."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from aionvme.tests import layers
from tools import stubs

REPO = Path(__file__).parents[3]
PACKAGE = REPO / "aionvme"
LONGEST = 500
FIRST_LINE = re.compile(r"\S.{12,}[.:]")
HAND_WRITTEN = (*layers.SUFFIXES, ".h", ".c", ".sh")


def hand_written() -> list[Path]:
    """Every source file of the repository, what Cython wrote apart."""
    found = [
        path for folder in ("aionvme", "bench", "tools", "examples") for path in (REPO / folder).rglob("*")
    ]
    kept = (path for path in found if path.suffix in HAND_WRITTEN and not path.with_suffix(".pyx").exists())
    return sorted({*kept, *(path for path in found if path.suffix in layers.SUFFIXES), REPO / "setup.py"})


def first_line(path: Path) -> str:
    """The first line that says something: of the docstring, or of the comment in files that have none."""
    text = path.read_text()
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    if path.suffix == ".pyx":
        match = re.match(r'(?:#[^\n]*\n|\s)*"""([^\n]*?)(?:"""|\n)', text)
        return match[1].strip() if match else ""
    match = re.match(r"\s*(?:#|/\*|//)\s*([^\n]*)", text)
    return match[1].strip() if match else ""


def test_there_are_files() -> None:
    """The tests below have something to look at."""
    assert {path.suffix for path in hand_written()} >= {".py", ".pyi", ".pyx", ".pxd", ".h"}


def test_every_compiled_module_has_a_stub(tmp_path: Path) -> None:
    """A `.pyi` stands beside each `.pyx`, and one that is missing would be seen."""
    assert stubs.without_stub(PACKAGE) == []
    (tmp_path / "core.pyx").touch()
    assert stubs.without_stub(tmp_path) == [tmp_path / "core.pyx"]


def test_every_stub_is_compared() -> None:
    """Stubtest is given each compiled module by the name that it is imported by."""
    assert "aionvme.pci.dma" in stubs.modules(PACKAGE)


def test_modules_say_what_they_own() -> None:
    """The docstring of each module of the package and the tools begins with a whole sentence or phrase."""
    modules = [path for path in hand_written() if path.suffix in (".py", ".pyx")]
    told = {path: first_line(path) for path in modules if path.name != "__init__.py" or path.read_text()}
    assert [f"{path}: {line}" for path, line in told.items() if not FIRST_LINE.match(line)] == []


def test_declarations_say_what_they_are() -> None:
    """A `.pxd` or header, which has no docstring, begins with a comment."""
    declared = [path for path in hand_written() if path.suffix in (".pxd", ".h")]
    assert [path for path in declared if len(first_line(path)) < 15] == []


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.py", '"""Owns this.\n\nAnd more."""', "Owns this."),
        ("a.py", "import os", ""),
        ("a.pyx", '# cython: language_level=3\n"""Owns that.\n"""', "Owns that."),
        ("a.pyx", "# cython: language_level=3\nimport os", ""),
        ("a.h", "/* Reads and writes. */", "Reads and writes. */"),
        ("a.pxd", "# A class diagram.", "A class diagram."),
    ],
)
def test_first_lines_are_read(tmp_path: Path, name: str, text: str, line: str) -> None:
    """The check above reads what it means to."""
    (tmp_path / name).write_text(text)
    assert first_line(tmp_path / name) == line


def test_no_file_is_too_long() -> None:
    """A file that grows is telling of a part that wants out; the tables of `spec` apart."""
    lengths = {path: len(path.read_text().splitlines()) for path in hand_written()}
    tables = PACKAGE / "spec"
    long = {
        path: length for path, length in lengths.items() if length > LONGEST and tables not in path.parents
    }
    assert [f"{path.relative_to(REPO)}: {length}" for path, length in long.items()] == []


def test_each_test_has_a_sentence() -> None:
    """Every test says in words what it is that it tests."""
    mute = []
    for path in sorted((PACKAGE / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("test_") and not ast.get_docstring(node):
                mute.append(f"{path.relative_to(REPO)}:{node.lineno}")
    assert mute == []
