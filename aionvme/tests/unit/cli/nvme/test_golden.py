"""Our JSON of other people's bytes is nvme-cli's, letter for letter: keys, order, numbers, spaces."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("typer", reason="the command line is an extra")

from aionvme.cli.nvme import (
    keys_events,
    keys_identify,
    keys_intel,
    keys_logs,
    keys_registers,
    keys_registers_told,
)
from aionvme.cli.nvme.output import print_json
from aionvme.spec.identify import IdentifyNamespace
from aionvme.spec.registers import Reg
from aionvme.tests.unit.spec.golden import CONTROLLERS, ROOT, read_bytes, read_json

if TYPE_CHECKING:
    from collections.abc import Callable

QEMU, SPDK = CONTROLLERS
MADE = "nvme-cli-2.16"
# What nvme-cli called the controller whose pages it read.
NAME = "nvme0"


def _nvm_namespace(controller: str, nsid: int) -> Callable[[bytes], Any]:
    common = IdentifyNamespace.decode(read_bytes(controller, f"id-ns-{nsid}"))
    return functools.partial(keys_identify.nvm_namespace, common=common)


CAPTURES: list[tuple[str, str, Callable[[bytes], Any]]] = [
    *((each, "id-ctrl", keys_identify.CONTROLLER.document) for each in CONTROLLERS),
    (QEMU, "zns-ns-id-ctrl", keys_identify.CONTROLLER.document),
    *((each, f"id-ns-{nsid}", keys_identify.NAMESPACE.document) for each in CONTROLLERS for nsid in (1, 2)),
    (QEMU, "zns-ns-id-ns-1", keys_identify.NAMESPACE.document),
    *((QEMU, f"cmdset-ind-id-ns-{nsid}", keys_identify.INDEPENDENT_NAMESPACE.document) for nsid in (1, 2)),
    *(
        (each, f"ns-descs-{nsid}", keys_identify.namespace_descriptors)
        for each in CONTROLLERS
        for nsid in (1, 2)
    ),
    *((each, "nvm-id-ctrl", keys_identify.NVM_CONTROLLER.document) for each in CONTROLLERS),
    *((QEMU, f"nvm-id-ns-{nsid}", _nvm_namespace(QEMU, nsid)) for nsid in (1, 2)),
    *((each, "smart-log", keys_logs.smart) for each in CONTROLLERS),
    *((each, "error-log", keys_logs.errors) for each in CONTROLLERS),
    *((each, "fw-log", functools.partial(keys_logs.firmware, name=NAME)) for each in CONTROLLERS),
    *(
        (each, "changed-ns-list-log", functools.partial(keys_logs.changed_namespaces, name=NAME))
        for each in CONTROLLERS
    ),
    (QEMU, "endurance-log", keys_logs.ENDURANCE.document),
    (MADE, "intel-id-ctrl", keys_intel.controller),
]


@pytest.mark.parametrize(
    ("controller", "name", "document"), CAPTURES, ids=[f"{name}-{each}" for each, name, _ in CAPTURES]
)
def test_as_nvme_cli_has_it(
    controller: str, name: str, document: Callable[[bytes], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The document of captured bytes, printed, is the text that nvme-cli 2.16 printed of them."""
    print_json(document(read_bytes(controller, name)))
    assert capsys.readouterr().out == (ROOT / controller / f"{name}.json").read_text()


def test_events_as_nvme_cli_has_them() -> None:
    """An event of each type has nvme-cli's keys in its order, with its values; so has the header.

    nvme-cli has a key for an event that is not supported, too, under which stands the name of another one.
    """
    name = MADE, "persistent-event-log"
    ours = json.loads(json.dumps(keys_events.persistent_events(read_bytes(*name))))
    theirs = read_json(*name)
    told = [(key, value) for key, value in theirs.items() if not key.startswith("bitmap_") or key in ours]
    assert list(ours.items()) == told
    for our, their in zip(ours["list_of_event_entries"], theirs["list_of_event_entries"], strict=True):
        assert list(our) == list(their)


def test_a_part_of_the_events() -> None:
    """Of the first bytes of the log there are the events that are whole in them, and the header as ever."""
    raw = read_bytes(MADE, "persistent-event-log")
    whole = keys_events.persistent_events(raw)
    for nbytes, count in ((512, 0), (1047, 0), (1048, 1), (1090, 1), (1094, 2)):
        part = keys_events.persistent_events(raw[:nbytes])
        assert part.pop("list_of_event_entries") == whole["list_of_event_entries"][:count]
        assert part == {key: whole[key] for key in part}


def test_registers_as_nvme_cli_tells_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the same values of the registers there is the text that nvme-cli prints with -v."""
    values = {Reg[name.upper()]: value for name, value in read_json(MADE, "show-regs").items()}
    print_json(keys_registers.told_document(values))
    assert capsys.readouterr().out == (ROOT / MADE / "show-regs-v.json").read_text()


def test_registers_of_a_memory_buffer() -> None:
    """A controller memory buffer is told of where there is one: CMBSZ says that for CMBLOC."""
    there = {Reg.CMBLOC: 0x1A2, Reg.CMBSZ: 0x10019}
    location, size = (keys_registers_told.told(reg, there) for reg in there)
    assert (location["cmbloc"], location["Base Indicator Register (BIR)"]) == ("1a2", "0x2")
    assert location["CMB Data Pointer Mixed Locations Support (CDPMLS)"] == "Not enforced"
    assert (size["Size (SZ)"], size["Size Units (SZU)"]) == (16, "4 KB")
    gone = keys_registers_told.told(Reg.CMBLOC, there | {Reg.CMBSZ: 0})
    assert gone == {"cmbloc": "1a2", "Result": "Controller Memory Buffer feature is not supported"}
