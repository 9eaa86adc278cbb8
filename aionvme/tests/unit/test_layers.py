"""The import rule: data flows down by calls, and no import points back up."""

from __future__ import annotations

from pathlib import Path

import pytest

import aionvme
from aionvme.tests import layers

ROOT = Path(aionvme.__file__).parent
LOWER = ("spec", "errors", "pci", "qpair", "admin")


def made_up(root: Path, files: dict[str, str]) -> Path:
    """A package of these files."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_no_import_points_up() -> None:
    """The package keeps the rule."""
    assert layers.violations(ROOT) == []


def test_every_kind_of_file_is_read() -> None:
    """The check would be worth nothing if it looked at nothing."""
    found = layers.sources(ROOT)
    assert {path.suffix for path in found} == set(layers.SUFFIXES)
    assert {"spec", "errors", "pci", "qpair", "admin", "mock"} <= {layers.layer_of(path) for path in found}
    seen = {name for path in found for name in layers.imports(path, (ROOT / path).read_text())}
    assert {"aionvme.pci.function.Function", "aionvme.pci.mmio.aio_barrier_full"} <= seen


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("pci/a.py", "import aionvme.qpair.core"),
        ("pci/a.py", "import os, aionvme.admin as admin"),
        ("pci/a.py", "from aionvme import qpair"),
        ("pci/a.py", "from .. import qpair"),
        ("pci/a.py", "from ..qpair import core"),
        ("pci/a.pyi", "from aionvme.qpair.core import QueuePair"),
        ("pci/a.py", "def late():\n    from aionvme.admin import bringup"),
        ("pci/a.py", "if TYPE_CHECKING:\n    from aionvme.admin import bringup"),
        ("pci/a.pyx", "cimport aionvme.qpair.ring"),
        ("pci/a.pyx", "cimport libc.stdlib, aionvme.qpair.ring as ring"),
        ("pci/a.pyx", "from aionvme.qpair.ring cimport Ring"),
        ("pci/a.pyx", "from aionvme.qpair.ring cimport (  # entries\n    Cqe,\n    Sqe,\n)"),
        ("pci/a.pyx", "def late():\n    from aionvme.qpair cimport ring"),
        ("pci/a.pyx", "if x: from aionvme.qpair cimport ring"),
        ("pci/a.pyx", "a = 1; from aionvme.qpair import core"),
        ("pci/a.pyx", "from aionvme.qpair \\\n    import core"),
        ("pci/a.pyx", 's = "don\'t"\nfrom ..qpair cimport ring'),
        ("pci/a.pxd", "from aionvme.qpair.ring cimport Ring"),
        ("spec/a.py", "from aionvme.errors import UsageError"),
        ("errors.py", "from aionvme.pci.address import parse_address"),
        ("qpair/a.py", "from aionvme.admin.bringup import Registers"),
        ("admin/a.py", "from aionvme.mock import MockController"),
        ("mock/a.py", "from aionvme.qpair.prp import build"),
        ("mock/a.pyx", "from aionvme.admin cimport x"),
        ("mock/a.py", "import aionvme"),
        ("mock/a.py", "from aionvme import connect"),
        ("admin/a.py", "from aionvme import Controller"),
        ("connecting.py", "import aionvme"),
        ("connecting.py", "from aionvme.cli import main"),
        ("cli/a.py", "from aionvme.tests.leaks import Census"),
        ("surprise.py", ""),
        ("surprise/a.py", ""),
    ],
)
def test_what_points_up_is_found(tmp_path: Path, path: str, text: str) -> None:
    """Each way to import from a layer above is found."""
    found = layers.violations(made_up(tmp_path, {path: text + "\n"}))
    assert [line for line in found if "may not import" in line or "belongs to no layer" in line]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            "pci/a.py",
            "from aionvme.errors import UsageError\nfrom aionvme.pci import dma\nfrom . import iova",
        ),
        ("pci/a.py", "from aionvme.spec.status import Status"),
        ("pci/a.py", '"""Says\nimport aionvme.qpair.core\n"""'),
        ("pci/a.pyx", '"""Says\nfrom aionvme.qpair cimport core\n"""\n# import aionvme.admin\n'),
        ("pci/a.pyx", "from libc.stdint cimport uint8_t\nfrom aionvme.pci.mmio cimport (\n    a,\n    b,\n)"),
        ("qpair/a.pxd", "from aionvme.pci.dma cimport DmaSpace\nfrom aionvme.qpair.ring cimport Ring"),
        ("admin/a.py", "from aionvme.qpair.io import AdminQueuePair"),
        ("mock/a.pyx", "from aionvme.pci.function cimport Function\nfrom aionvme.errors import UsageError"),
        ("connecting.py", "from aionvme.mock import MockController\nfrom aionvme.admin import controller"),
        ("__init__.py", "from aionvme.connecting import connect"),
        ("cli/a.py", "import aionvme"),
        ("tests/a.py", "import aionvme.cli"),
    ],
)
def test_what_points_down_is_not(tmp_path: Path, path: str, text: str) -> None:
    """What the rule allows, and what only looks like an import, passes."""
    assert layers.violations(made_up(tmp_path, {path: text + "\n"})) == []


@pytest.mark.parametrize("layer", layers.BLIND_TO_MOCK)
@pytest.mark.parametrize(
    "text", ["if isinstance(f, MockFunction): pass", "is_mock = 1", 'f.bdf == "mock:0"', 'f.bdf != "Mock"']
)
def test_no_special_case_for_the_mock(tmp_path: Path, layer: str, text: str) -> None:
    """The driver above the seam does not ask whether it drives the mock; a comment may tell of it."""
    allowed = '"""As the mock\'s."""\n# like the mock\n'
    assert layers.violations(made_up(tmp_path, {f"{layer}/a.py": allowed})) == []
    assert len(layers.violations(made_up(tmp_path, {f"{layer}/a.py": text}))) == 1


def test_the_order_is_strict() -> None:
    """Of two layers at most one may import the other."""
    for one in layers.ALLOWED:
        for other in layers.ALLOWED[one]:
            assert one not in layers.ALLOWED.get(other, ()), f"{one} and {other} may import each other"


def test_the_mock_stands_beside_the_driver() -> None:
    """Neither the driver nor the mock knows of the other, else the driver would test itself."""
    assert not layers.ALLOWED["mock"] & {"qpair", "admin"}
    assert not any("mock" in layers.ALLOWED[layer] for layer in LOWER)
