"""QEMU's monitor as the tests in the guest reach it, and the drive that they plug in by it."""

from __future__ import annotations

import pytest

from aionvme.tests.vm.conftest import DEVICES, Machine
from aionvme.tests.vm.kernel import NVME_CLASS, driver_of, wait_until
from aionvme.tests.vm.qmp import Qmp, QmpError


def test_a_command_is_answered(qmp: Qmp) -> None:
    """The monitor runs a command and gives its answer."""
    assert qmp("query-status")["status"] == "running"


def test_an_error_is_raised(qmp: Qmp) -> None:
    """What QEMU refuses is raised with its error class, and the next command works."""
    with pytest.raises(QmpError, match="no-such-drive") as error:
        qmp("device_del", id="no-such-drive")
    assert error.value.kind == "DeviceNotFound"
    assert qmp("query-name") == {}


def test_a_property_is_set(qmp: Qmp) -> None:
    """Controllers are found in QEMU's tree by their names, and take values."""
    path = "/machine/peripheral/block512"
    assert qmp("qom-get", path=path, property="serial") == "AIO-block512"
    qmp("qom-set", path=path, property="smart_critical_warning", value=0)


def test_the_hot_drive_comes_and_goes(machine: Machine, qmp: Qmp) -> None:
    """`device_add` makes the spare controller appear, with the kernel's driver; `device_del` takes it away."""
    assert not machine.hot.plugged
    qmp.forget_events()
    qmp("device_add", **machine.hot_plug)
    wait_until(lambda: machine.hot.plugged, "the drive")
    bdf = machine.hot.bdf
    assert (DEVICES / bdf / "class").read_text().strip() == NVME_CLASS
    wait_until(lambda: driver_of(bdf) == "nvme", "the kernel's driver")
    qmp("device_del", id=machine.hot.name)
    qmp.wait_event("DEVICE_DELETED", device=machine.hot.name)
    assert not machine.hot.plugged
