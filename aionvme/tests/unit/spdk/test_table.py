"""The declaration of SPDK's functions, and everything that has to agree with it."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from aionvme import spdk
from aionvme.spdk.table import FUNCTIONS, Function, as_markdown, differences_as_markdown

TESTS = Path(__file__).parents[2]
DOCS = TESTS.parents[1] / "docs" / "spdk.md"

# Every function that the announcement of the API change names.
ANNOUNCED = {
    "spdk_nvme_probe",
    "spdk_nvme_detach",
    "spdk_nvme_ctrlr_is_log_page_supported",
    "spdk_nvme_ctrlr_cmd_get_log_page",
    "spdk_nvme_ctrlr_is_feature_supported",
    "spdk_nvme_ctrlr_cmd_set_feature",
    "spdk_nvme_ctrlr_cmd_get_feature",
    "spdk_nvme_ctrlr_attach_ns",
    "spdk_nvme_ctrlr_detach_ns",
    "spdk_nvme_ctrlr_create_ns",
    "spdk_nvme_ctrlr_delete_ns",
    "spdk_nvme_ns_cmd_reservation_register",
    "spdk_nvme_ns_cmd_reservation_release",
    "spdk_nvme_ns_cmd_reservation_acquire",
    "spdk_nvme_ns_cmd_reservation_report",
    "spdk_nvme_ctrlr_alloc_io_qpair",
    "spdk_nvme_ns_cmd_read",
    "spdk_nvme_ns_cmd_write",
    "spdk_nvme_ns_cmd_readv",
    "spdk_nvme_ns_cmd_writev",
    "spdk_nvme_ns_cmd_write_zeroes",
}


def _called() -> set[str]:
    """Names of SPDK's that a test names, tables of names apart."""
    found: set[str] = set()
    for path in (*TESTS.glob("flow/*spdk*.py"), *TESTS.glob("unit/spdk/test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
    return found


def test_no_function_is_declared_twice() -> None:
    """Each name has one row."""
    names = [row.name for row in FUNCTIONS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("row", FUNCTIONS, ids=lambda row: row.name)
def test_parameters(row: Function) -> None:
    """A function has SPDK's parameters under SPDK's names in SPDK's order, and can be called by position."""
    parameters = inspect.signature(getattr(spdk, row.name)).parameters
    assert tuple(parameters) == row.parameters
    assert {each.kind for each in parameters.values()} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}


def test_every_function_is_declared() -> None:
    """What the package has under SPDK's names for functions is in the table, and exported."""
    functions = {name for name in vars(spdk) if inspect.isfunction(getattr(spdk, name))}
    assert {name for name in functions if name.startswith("spdk_")} == {row.name for row in FUNCTIONS}
    assert {row.name for row in FUNCTIONS} <= set(spdk.__all__)


def test_every_function_is_called_by_a_test() -> None:
    """A function that is added is tested."""
    assert {row.name for row in FUNCTIONS} - _called() == set()


def test_every_announced_function_is_there() -> None:
    """All of those that the announcement names."""
    assert ANNOUNCED - {row.name for row in FUNCTIONS} == set()


def test_exported_names() -> None:
    """What is exported exists, once, under a name of SPDK's."""
    assert len(spdk.__all__) == len(set(spdk.__all__))
    assert [name for name in spdk.__all__ if not hasattr(spdk, name)] == []
    assert {name.split("_")[0].lower() for name in spdk.__all__} == {"spdk"}


@pytest.mark.skipif(not DOCS.is_file(), reason="the documentation is not beside the package")
def test_the_page_has_both_tables() -> None:
    """The documentation has the tables as they are declared."""
    page = DOCS.read_text()
    assert as_markdown() in page
    assert differences_as_markdown() in page
