"""Owns the check of the import rule: what a source file imports, and what its layer may.

The files are read, not run, Cython's as well; what is imported in functions or only for type checkers counts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "aionvme"
SUFFIXES = (".py", ".pyi", ".pyx", ".pxd")
# The package itself, as `import aionvme` and `from aionvme import connect` reach it.
TOP = "__init__"

_BELOW_MOCK = frozenset({"spec", "errors", "clock", "pci"})
_LAYERS = _BELOW_MOCK | {"trace", "histogram", "qpair", "admin", "mock"}
_USER = _LAYERS | {"metrics", "connecting", TOP}
# Layer -> what it may import besides itself. What is not in the table belongs to no layer.
ALLOWED: dict[str, frozenset[str]] = {
    "spec": frozenset(),
    "errors": frozenset({"spec"}),
    "clock": frozenset({"errors"}),
    "pci": frozenset({"spec", "errors"}),
    "trace": frozenset({"spec", "errors"}),
    "qpair": _BELOW_MOCK,
    "admin": _BELOW_MOCK | {"trace", "qpair"},
    "mock": _BELOW_MOCK,
    "histogram": frozenset({"errors"}),
    "metrics": _BELOW_MOCK | {"histogram", "qpair", "admin"},
    "connecting": _LAYERS | {"metrics"},
    "sharing": _BELOW_MOCK | {"qpair", "admin"},
    "pi": frozenset({"spec", "errors"}),
    TOP: _LAYERS | {"connecting", "sharing"},
    "spdk": _USER,
    "perf": _USER | {"pi"},
    "replay": _USER,
    "cli": _USER | {"perf", "replay"},
    "pytest_plugin": _USER,
    "testing": frozenset({"clock"}),
}
# These drive the mock as they drive any other function. An address is text that may begin with "mock:".
BLIND_TO_MOCK = ("pci", "qpair", "admin")
MAY_NAME_MOCK = (Path("pci/address.py"),)

# Strings and comments, so that what looks like an import inside them is none.
_TEXT = re.compile(
    r'"""(?:\\.|[^\\])*?"""|'
    + r"'''(?:\\.|[^\\])*?'''|"
    + r'"(?:\\.|[^"\\\n])*"|'
    + r"'(?:\\.|[^'\\\n])*'|#[^\n]*",
    re.DOTALL,
)
_FROM = re.compile(r"from\s+(\.*)\s*([\w.]*)\s+c?import\s+(.*)")
_IMPORT = re.compile(r"c?import\s+([\w.].*)")


def sources(root: Path) -> list[Path]:
    """List the package's source files, its tests apart, relative to its folder."""
    found = (path.relative_to(root) for path in root.rglob("*") if path.suffix in SUFFIXES)
    return sorted(path for path in found if path.parts[0] != "tests")


def layer_of(path: Path) -> str:
    """Name the layer of a file: a folder, or a module at the top."""
    return path.parts[0] if len(path.parts) > 1 else path.stem


def violations(root: Path) -> list[str]:
    """Say what breaks the rule in the package at `root`, a line each."""
    found = []
    for path in sources(root):
        text = (root / path).read_text()
        found += [f"{path}: {problem}" for problem in _problems(path, text)]
    return found


def imports(path: Path, text: str) -> set[str]:
    """List what a file imports of our own, in full: `aionvme.pci.dma.DmaSpace`."""
    found = _of_python(text) if path.suffix in (".py", ".pyi") else _of_cython(text)
    package = (PACKAGE, *path.parts[:-1])
    names = {_absolute(package, dots, name) for dots, name in found}
    return {name for name in names if name.split(".")[0] == PACKAGE}


def _problems(path: Path, text: str) -> Iterator[str]:
    layer = layer_of(path)
    if layer not in ALLOWED:
        yield f"{layer!r} belongs to no layer"
        return
    for name in sorted(imports(path, text)):
        target = _target(name)
        if target != layer and target not in ALLOWED[layer]:
            yield f"{layer!r} may not import {name}"
    if layer in BLIND_TO_MOCK and path not in MAY_NAME_MOCK and "mock" in _code(text).lower():
        yield f"{layer!r} may not know that there is a mock"


def _target(name: str) -> str:
    words = name.split(".")
    return words[1] if len(words) > 1 and (words[1] in ALLOWED or words[1] == "tests") else TOP


def _absolute(package: tuple[str, ...], dots: int, name: str) -> str:
    if not dots:
        return name
    base = package[: len(package) - dots + 1]
    return ".".join((*base, name)) if name else ".".join(base)


def _of_python(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = f"{node.module}." if node.module else ""
            yield from ((node.level, module + alias.name) for alias in node.names)


def _of_cython(text: str) -> Iterator[tuple[int, str]]:
    bare = _TEXT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    # Lines joined as Python joins them; then statements, of which a line may hold several.
    joined = re.sub(r"\([^()]*\)", lambda match: match[0].replace("\n", " "), bare.replace("\\\n", " "))
    for statement in re.split(r"[\n;:]", joined):
        words = statement.strip()
        if match := _FROM.fullmatch(words):
            module = f"{match[2]}." if match[2] else ""
            yield from ((len(match[1]), module + name) for name in _names(match[3]))
        elif match := _IMPORT.fullmatch(words):
            yield from ((0, name) for name in _names(match[1]))


def _names(text: str) -> list[str]:
    listed = (entry.split() for entry in text.strip(" ()").split(","))
    return [words[0] for words in listed if words]


def _code(text: str) -> str:
    """What is left without comments and long strings: identifiers, and strings that are compared."""
    long = ("#", '"""', "'''")
    return _TEXT.sub(lambda match: "" if match[0].startswith(long) else match[0], text)
