"""What `aionvme` shows of a controller against what nvme-cli shows of it: the same controller, key by key.

nvme-cli asks by way of the kernel's own driver, then vfio takes the function and `aionvme` asks. The newest nvme-cli of
Debian is what there was when the machine was set up (`tools.vm.nvme_cli`).
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from typer.core import TyperCommand

import aionvme
from aionvme.cli.app import FAMILIES, app
from aionvme.cli.nvme.frame import Call
from aionvme.cli.nvme.options import Output
from aionvme.tests.vm.compared import FIRST, OTHERS, REFUSED
from aionvme.tests.vm.conftest import DEVICES, NvmeFunction
from aionvme.tests.vm.kernel import block_device, bound_to_vfio
from tools.vm import nvme_cli

pytestmark = pytest.mark.timeout(300)

# Counters, clocks, and what one driver sets and the other does not.
DIFFERS = {
    "data_units_read",
    "data_units_written",
    "host_read_commands",
    "host_write_commands",
    "timestamp",
    "timestamp string",
    "timestamp origin",
    "feature: 0x0b",
    "Feature: 0x0b",
    "LBA Format Extension Enable (LBAFEE)",
    "Advanced Command Retry Enable (ACRE)",
    "cc",
    "aqa",
    "asq",
    "acq",
}
ENTRIES = {entry.name: entry for family in FAMILIES for entry in family.entries}


def _nvme(*words: str) -> Any:
    """What nvme-cli prints as JSON; before it, it may remark something."""
    ended = subprocess.run(
        nvme_cli.run(*words, "-o", "json"), check=False, capture_output=True, text=True, timeout=100
    )
    assert ended.stdout, ended.stderr
    start = min(at for at in map(ended.stdout.find, "{[") if at >= 0)
    return json.loads(ended.stdout[start:])


async def _ours(bdf: str, device: str, asked: dict[str, str]) -> dict[str, Any]:
    """What `aionvme` prints as JSON, by sub-command; it calls the controller what the kernel called it."""
    found = {}
    async with aionvme.connect(f"{bdf}?iommu=group") as ctrlr:
        for name, options in asked.items():
            command, *switches = name.split()
            call = Call(address=device, output=Output.JSON, detail="--verbose" in switches, ctrlr=ctrlr)
            out = io.StringIO()
            try:
                with contextlib.redirect_stdout(out):
                    await ENTRIES[command].function(call, **_given(command, options))
            except (aionvme.StatusError, aionvme.UsageError) as error:
                # By the controller, or by the driver where Identify says that the controller would.
                found[name] = {"error": str(error)}
            else:
                found[name] = json.loads(out.getvalue())
    return found


def _given(command: str, options: str) -> dict[str, Any]:
    """The sub-command's own options, as it parses them."""
    entry = ENTRIES[command]
    parsed = entry.build(TyperCommand).make_context(command, ["mock:", *options.split()]).params
    own = inspect.signature(entry.function).parameters.keys() | entry.more.keys()
    return {name: value for name, value in parsed.items() if name in own}


def _list(*words: str) -> Any:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
        app([*words, "-o", "json"], prog_name="aionvme")
    return json.loads(out.getvalue())


def _differences(theirs: Any, ours: Any, where: str) -> Iterator[str]:
    """What nvme-cli has and we have not, or otherwise."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key, value in theirs.items():
            # What nvme-cli was refused without a namespace, it notes under a name of its own.
            if key.startswith("Error: "):
                continue
            if key not in ours:
                yield f"{where}: no {key}"
            elif key not in DIFFERS:
                yield from _differences(value, ours[key], f"{where}/{key}")
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for at, (their, our) in enumerate(zip(theirs, ours, strict=True)):
            yield from _differences(their, our, f"{where}/{at}")
    elif theirs != ours:
        yield f"{where}: {ours!r}, and nvme-cli has {theirs!r}"


@pytest.fixture(autouse=True)
def _reference() -> None:
    if not nvme_cli.TREE.exists():
        pytest.skip("nvme-cli could not be had when the machine was set up")


@pytest.mark.parametrize(
    ("shown", "refused"),
    [
        pytest.param(FIRST, {}, id="first"),
        pytest.param(OTHERS, REFUSED, id="others", marks=pytest.mark.exhaustive),
    ],
)
def test_json_is_that_of_nvme_cli(
    block512: NvmeFunction, shown: dict[str, str], refused: dict[str, str]
) -> None:
    """Every key that nvme-cli has is there with its value, of structures, log pages, features and registers."""
    block_device(block512)
    (device,) = (path.name for path in (DEVICES / block512.bdf).glob("nvme/nvme*"))
    asked = shown | refused

    def ask(name: str) -> Any:
        command, *switches = name.split()
        return _nvme(command, f"/dev/{device}", *switches, *asked[name].split())

    with ThreadPoolExecutor(2) as both:
        theirs = dict(zip(asked, both.map(ask, asked), strict=True))
    with bound_to_vfio(block512) as bdf:
        ours = aionvme.run(_ours(bdf, device, asked))
    for found in (theirs, ours):
        assert [name for name in asked if "error" in found[name]] == list(refused)
    lines = [line for name in shown for line in _differences(theirs[name], ours[name], name)]
    assert not lines, f"{_version()}: " + "\n".join(lines)


@pytest.mark.exhaustive
def test_lists_are_those_of_nvme_cli(block512: NvmeFunction) -> None:
    """List and list-subsys tell of the kernel's controllers what nvme-cli tells."""
    block_device(block512)
    their_list, their_subsystems = _nvme("list"), _nvme("list-subsys")
    their_details = _nvme("list-subsys", "-v")
    ours = {entry["DevicePath"]: entry for entry in _list("list")["Devices"]}
    found = [
        line
        for entry in their_list["Devices"]
        for line in _differences(entry, ours.get(entry["DevicePath"]), "list")
    ]
    for words, theirs in ((("list-subsys",), their_subsystems), (("list-subsys", "-v"), their_details)):
        found += _differences(theirs[0]["Subsystems"], _list(*words)[0]["Subsystems"], " ".join(words))
    detailed = (_nvme("list", "-v"), _list("list", "-v"))
    theirs, ours = (each["Devices"][0]["Subsystems"] for each in detailed)
    found += _differences(theirs, ours, "list -v")
    assert not found, f"{_version()}: " + "\n".join(found)


def _version() -> str:
    return subprocess.run(
        nvme_cli.run("version"), check=True, capture_output=True, text=True
    ).stdout.partition("\n")[0]
