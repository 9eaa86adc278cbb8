"""Opening a function through VFIO and what it does then, against a kernel that records."""

from __future__ import annotations

import errno
import gc
import mmap
import os
import struct
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from aionvme.errors import AddressError, UsageError
from aionvme.pci import abi
from aionvme.pci.address import PciAddress
from aionvme.pci.vfio import VfioFunction, open_vfio
from aionvme.tests.unit.pci.machine import BAR_SIZE, BDF, FakeMachine

if TYPE_CHECKING:
    from collections.abc import Callable

MODES = ["group", "iommufd"]
TOKEN = UUID("2ab74924-c335-45f4-9b16-8569e5b08258")


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, machine: FakeMachine) -> str:
    """One way in, then the other, with a function that has both."""
    machine.function()
    machine.with_cdev()
    return str(request.param)


def names(machine: FakeMachine) -> list[Any]:
    """The calls that were made, without their arguments."""
    return [call[:2] if call[0] in ("open", "close") else call[0] for call in machine.calls]


def irq_sets(machine: FakeMachine) -> list[tuple[int, ...]]:
    """What was asked of VFIO_DEVICE_SET_IRQS: flags, index, start, count and the descriptors."""
    sets = []
    for call in machine.calls:
        if call[0] == "VFIO_DEVICE_SET_IRQS":
            size, *rest = struct.unpack(f"={len(call[1]) // 4}i", call[1])
            assert size == len(call[1])
            sets.append(tuple(rest))
    return sets


class Opened:
    """Opens the function for a block."""

    def __init__(self, machine: FakeMachine, iommu: str = "auto", vf_token: UUID | None = None) -> None:
        self.function = open_vfio(PciAddress(BDF, iommu, vf_token), machine)

    def __enter__(self) -> VfioFunction:
        return self.function

    def __exit__(self, *error: object) -> None:
        self.function.close()


def test_group_dialogue(machine: FakeMachine) -> None:
    """Container, group and device are opened in the kernel's order, and closed in the reverse one."""
    machine.function()
    open_vfio(PciAddress(BDF), machine).close()
    assert names(machine) == [
        ("open", "vfio/vfio"),
        "VFIO_GET_API_VERSION",
        "VFIO_CHECK_EXTENSION",
        ("open", "vfio/7"),
        "VFIO_GROUP_GET_STATUS",
        "VFIO_GROUP_SET_CONTAINER",
        "VFIO_SET_IOMMU",
        "VFIO_GROUP_GET_DEVICE_FD",
        "VFIO_IOMMU_GET_INFO",
        "VFIO_IOMMU_GET_INFO",
        "VFIO_DEVICE_GET_INFO",
        "VFIO_DEVICE_GET_REGION_INFO",
        "VFIO_DEVICE_GET_IRQ_INFO",
        "pread",
        "pwrite",
        "VFIO_DEVICE_GET_REGION_INFO",
        "pread",
        ("close", "device"),
        ("close", "vfio/7"),
        ("close", "vfio/vfio"),
    ]
    assert ("VFIO_SET_IOMMU", abi.VFIO_TYPE1v2_IOMMU) in machine.calls
    assert ("VFIO_GROUP_GET_DEVICE_FD", BDF.encode() + b"\0") in machine.calls


def test_iommufd_dialogue(machine: FakeMachine) -> None:
    """The function is bound to iommufd and attached to an address space before it is asked anything."""
    machine.function()
    machine.with_cdev()
    open_vfio(PciAddress(BDF), machine).close()
    assert names(machine)[:7] == [
        ("open", "iommu"),
        ("open", "vfio/devices/vfio3"),
        "VFIO_DEVICE_BIND_IOMMUFD",
        "IOMMU_IOAS_ALLOC",
        "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
        "IOMMU_IOAS_IOVA_RANGES",
        "VFIO_DEVICE_GET_INFO",
    ]
    assert names(machine)[-2:] == [("close", "vfio/devices/vfio3"), ("close", "iommu")]
    attach = next(call for call in machine.calls if call[0] == "VFIO_DEVICE_ATTACH_IOMMUFD_PT")
    assert struct.unpack("=3I", attach[1]) == (12, 0, 12)


def test_auto_takes_what_can_be_opened(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes iommufd where its nodes may be used; the group without them or the right to them, and for a token."""
    machine.function()
    with Opened(machine) as function:
        assert function.interface == "group"
    machine.with_cdev()
    with Opened(machine) as function:
        assert function.interface == "iommufd"
    with Opened(machine, vf_token=TOKEN) as function:
        assert function.interface == "group"
    monkeypatch.setattr(FakeMachine, "usable", lambda self, path: path.name != "iommu")
    with Opened(machine) as function:
        assert function.interface == "group"


def test_registers_are_the_devices(machine: FakeMachine, mode: str) -> None:
    """BAR 0 is mapped from the device's descriptor, all of it."""
    with Opened(machine, mode) as function:
        assert function.interface == mode
        assert function.read32(8) == 0x10400
        function.write32(BAR_SIZE - 4, 7)
        assert function.read32(BAR_SIZE - 4) == 7
        with pytest.raises(UsageError):
            function.read32(BAR_SIZE)


def test_memory_space_is_on_and_bus_mastering_off(machine: FakeMachine, mode: str) -> None:
    """A function that was left as bus master comes up without; `set_bus_master` changes that bit alone."""
    machine.device[4:6] = (0x0404).to_bytes(2, "little")
    with Opened(machine, mode) as function:
        assert function.config_read(4, 2) == (0x0402).to_bytes(2, "little")
        function.set_bus_master(True)
        assert function.config_read(4, 2) == (0x0406).to_bytes(2, "little")
        function.set_bus_master(False)
        assert function.config_read(4, 2) == (0x0402).to_bytes(2, "little")


def test_config_space_has_bounds(machine: FakeMachine, mode: str) -> None:
    """Reads and writes outside configuration space never reach the kernel."""
    with Opened(machine, mode) as function:
        assert function.config_read(0, 4) == bytes.fromhex("36 1b 10 00")
        for offset, nbytes in ((4095, 2), (-1, 1), (4096, 1)):
            with pytest.raises(UsageError):
                function.config_read(offset, nbytes)
            with pytest.raises(UsageError):
                function.config_write(offset, bytes(nbytes))


def test_a_short_read_is_an_error(machine: FakeMachine, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a register is no register."""
    with Opened(machine, mode) as function:
        monkeypatch.setattr(FakeMachine, "pread", lambda *arguments: b"\0")
        monkeypatch.setattr(FakeMachine, "pwrite", lambda *arguments: 1)
        with pytest.raises(OSError, match="only 1 of 2"):
            function.config_read(4, 2)
        with pytest.raises(OSError, match="only 1 of 2"):
            function.config_write(4, b"ab")
        monkeypatch.undo()


@pytest.mark.parametrize("count", [1, 2, 64, 65, 300])
def test_iova_ranges(machine: FakeMachine, mode: str, count: int) -> None:
    """However many ranges there are, all come back, both ends inclusive."""
    machine.ranges = [(index << 32, (index << 32) + 0xFFFF_FFFE) for index in range(count)]
    with Opened(machine, mode) as function:
        assert function.iova_ranges() == machine.ranges
        assert function.page_sizes & 4096


def test_a_kernel_without_ranges(machine: FakeMachine) -> None:
    """An old kernel does not say: then what every IOMMU can, without the interrupts' window."""
    machine.function()
    machine.ranges = []
    with Opened(machine, "group") as function:
        assert function.iova_ranges() == [(0, 0xFEDFFFFF), (0xFEF00000, (1 << 39) - 1)]


def test_dma_maps_and_unmaps(machine: FakeMachine, mode: str) -> None:
    """The kernel is told address, length, I/O address and both directions."""
    with Opened(machine, mode) as function:
        function.map_dma(0x7F0000000000, 8192, 0x10000)
        assert machine.mapped == {0x10000: 8192}
        call = machine.calls[-1]
        if mode == "group":
            assert struct.unpack("=2I3Q", call[1]) == (32, 3, 0x7F0000000000, 0x10000, 8192)
        else:
            assert struct.unpack("=4I3Q", call[1]) == (40, 7, 12, 0, 0x7F0000000000, 8192, 0x10000)
        function.unmap_dma(0x10000, 8192)
        assert machine.mapped == {}


def test_dma_mistakes_are_usage_errors(machine: FakeMachine, mode: str) -> None:
    """Mapping over another, and unmapping what was not mapped, or a part of it."""
    with Opened(machine, mode) as function:
        function.map_dma(0x7F0000000000, 8192, 0x10000)
        with pytest.raises(UsageError, match=r"0x11000 to 0x11fff .* are in use"):
            function.map_dma(0x7F0000000000, 4096, 0x11000)
        for iova, nbytes in ((0x10000, 4096), (0x20000, 8192)):
            with pytest.raises(UsageError, match="not what was mapped"):
                function.unmap_dma(iova, nbytes)
        machine.mapped.clear()
        with pytest.raises(UsageError):
            function.unmap_dma(0x10000, 8192)


def _raise(code: int) -> Callable[[int, Any], int]:
    def answer(fd: int, argument: Any) -> int:
        raise OSError(code, os.strerror(code))

    return answer


MAP = {"group": abi.VFIO_IOMMU_MAP_DMA, "iommufd": abi.IOMMU_IOAS_MAP}


def test_the_memlock_limit_is_named(machine: FakeMachine, mode: str) -> None:
    """The limit, what is in use and what is needed are said, and how to raise it."""
    machine.locked_limit = 65536
    with Opened(machine, mode) as function:
        machine.answers[MAP[mode]] = _raise(errno.ENOMEM)
        message = (
            r"65536 bytes, of which 106496 are in use, and 8192 more are needed. "
            r".*`ulimit -l 112`.*LimitMEMLOCK="
        )
        with pytest.raises(AddressError, match=message):
            function.map_dma(0x7F0000000000, 8192, 0x10000)


def test_other_failures_to_map_stay_os_errors(machine: FakeMachine, mode: str) -> None:
    """Without a limit ENOMEM means memory; and what we have no words for is the kernel's own error."""
    with Opened(machine, mode) as function:
        for code in (errno.ENOMEM, errno.EFAULT, errno.EINVAL):
            machine.answers[MAP[mode]] = _raise(code)
            with pytest.raises(OSError) as error:
                function.map_dma(0x7F0000000000, 8192, 0x10000)
            assert error.value.errno == code
        machine.answers[MAP[mode]] = _raise(errno.ENOSPC)
        with pytest.raises(AddressError, match="dma_entry_limit"):
            function.map_dma(0x7F0000000000, 8192, 0x10000)


def test_interrupts_are_set_in_one_call(machine: FakeMachine, mode: str) -> None:
    """All eventfds at once; another number of them only after those before are off; none switches off."""
    with Opened(machine, mode) as function:
        assert function.num_irqs == 5
        function.set_irqs([50, -1, 52])
        function.set_irqs([53])
        function.set_irqs([])
        function.set_irqs([])
        with pytest.raises(UsageError, match=r"6 interrupts were asked for, 0000:01:00\.0 has 5"):
            function.set_irqs([0] * 6)
    on = abi.VFIO_IRQ_SET_DATA_EVENTFD | abi.VFIO_IRQ_SET_ACTION_TRIGGER
    off = abi.VFIO_IRQ_SET_DATA_NONE | abi.VFIO_IRQ_SET_ACTION_TRIGGER
    index = abi.VFIO_PCI_MSIX_IRQ_INDEX
    assert irq_sets(machine) == [
        (on, index, 0, 3, 50, -1, 52),
        (off, index, 0, 0),
        (on, index, 0, 1, 53),
        (off, index, 0, 0),
    ]


def test_msi_where_there_is_no_msix(machine: FakeMachine, mode: str) -> None:
    """MSI stands in, and a function with neither has no interrupts; an index that is not known is none."""
    machine.vectors = {abi.VFIO_PCI_MSI_IRQ_INDEX: 2}
    with Opened(machine, mode) as function:
        assert function.num_irqs == 2
        function.set_irqs([9])
    assert irq_sets(machine)[0][1] == abi.VFIO_PCI_MSI_IRQ_INDEX
    machine.answers[abi.VFIO_DEVICE_GET_IRQ_INFO] = _raise(errno.EINVAL)
    with Opened(machine, mode) as function:
        assert function.num_irqs == 0


def test_too_few_vectors_on_the_machine(machine: FakeMachine, mode: str) -> None:
    """The kernel says how many it could have had; that is told, and nothing is on."""
    with Opened(machine, mode) as function:
        machine.answers[abi.VFIO_DEVICE_SET_IRQS] = lambda fd, argument: 2
        with pytest.raises(OSError, match="only 2 of 3 interrupt vectors"):
            function.set_irqs([1, 2, 3])
        del machine.answers[abi.VFIO_DEVICE_SET_IRQS]
    assert len(irq_sets(machine)) == 1


def test_removal_eventfd(machine: FakeMachine, mode: str) -> None:
    """The request notice is set by itself, and switched off at the end if it is on."""
    with Opened(machine, mode) as function:
        function.set_removal_eventfd(None)
        function.set_removal_eventfd(44)
    index = abi.VFIO_PCI_REQ_IRQ_INDEX
    assert [(entry[1], entry[3], *entry[4:]) for entry in irq_sets(machine)] == [(index, 1, 44), (index, 0)]


def test_error_eventfd(machine: FakeMachine, mode: str) -> None:
    """Notice of errors of the bus is asked for by itself, and is off again at the end, as that of removal is."""
    with Opened(machine, mode) as function:
        function.set_error_eventfd(45)
        function.set_removal_eventfd(44)
        function.set_error_eventfd(None)
    error, removal = abi.VFIO_PCI_ERR_IRQ_INDEX, abi.VFIO_PCI_REQ_IRQ_INDEX
    assert [(entry[1], entry[3], *entry[4:]) for entry in irq_sets(machine)] == [
        (error, 1, 45),
        (removal, 1, 44),
        (error, 0),
        (removal, 0),
    ]


def test_reset_keeps_bus_mastering(machine: FakeMachine, mode: str) -> None:
    """The command register is as before, whatever the reset does to it."""
    with Opened(machine, mode) as function:
        function.set_bus_master(True)

        def reset(fd: int, argument: Any) -> int:
            os.pwrite(fd, b"\0\0", 0x10004)
            return 0

        machine.answers[abi.VFIO_DEVICE_RESET] = reset
        function.reset()
        assert function.config_read(4, 2) == b"\x06\x00"


def test_a_function_without_reset(machine: FakeMachine, mode: str) -> None:
    """A function that cannot be reset says so before the kernel is asked."""

    def info(fd: int, answer: Any) -> int:
        answer.flags = abi.VFIO_DEVICE_FLAGS_PCI
        return 0

    machine.answers[abi.VFIO_DEVICE_GET_INFO] = info
    with Opened(machine, mode) as function, pytest.raises(OSError, match="has no reset of its own"):
        function.reset()
    assert "VFIO_DEVICE_RESET" not in names(machine)


def test_close_quiesces_first(machine: FakeMachine, mode: str) -> None:
    """Interrupts, bus mastering and mappings end before the descriptors; a second close does nothing."""
    function = open_vfio(PciAddress(BDF, mode), machine)
    function.set_bus_master(True)
    function.set_irqs([3])
    function.set_removal_eventfd(4)
    function.map_dma(0x7F0000000000, 4096, 0x10000)
    function.map_dma(0x7F0000010000, 4096, 0x20000)
    before = len(machine.calls)
    function.close()
    unmap = "VFIO_IOMMU_UNMAP_DMA" if mode == "group" else "IOMMU_IOAS_UNMAP"
    assert names(machine)[before : before + 6] == [
        "VFIO_DEVICE_SET_IRQS",
        "VFIO_DEVICE_SET_IRQS",
        "pread",
        "pwrite",
        unmap,
        unmap,
    ]
    assert machine.mapped == {}
    assert machine.open_fds == {}
    after = len(machine.calls)
    function.close()
    assert len(machine.calls) == after
    assert function.closed


def test_close_goes_on_when_the_device_is_gone(machine: FakeMachine, mode: str) -> None:
    """Every step may be refused; the descriptors are closed all the same."""
    function = open_vfio(PciAddress(BDF, mode), machine)
    function.set_irqs([3])
    function.set_removal_eventfd(4)
    function.map_dma(0x7F0000000000, 4096, 0x10000)

    def fail(number: int, name: str) -> None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    machine.fail = fail
    function.close()
    assert machine.open_fds == {}


def test_nothing_works_after_close(machine: FakeMachine, mode: str) -> None:
    """Each method says that it is closed, and the kernel hears of none."""
    function = open_vfio(PciAddress(BDF, mode), machine)
    function.close()
    before = len(machine.calls)
    calls: list[Callable[[], object]] = [
        lambda: function.read32(8),
        lambda: function.config_read(0, 4),
        lambda: function.config_write(4, b"ab"),
        lambda: function.set_bus_master(True),
        lambda: function.map_dma(0x7F0000000000, 4096, 0x10000),
        lambda: function.unmap_dma(0x10000, 4096),
        lambda: function.set_irqs([]),
        lambda: function.set_removal_eventfd(3),
        lambda: function.set_error_eventfd(3),
        function.iova_ranges,
        function.reset,
    ]
    for call in calls:
        with pytest.raises(UsageError, match="is closed"):
            call()
    assert len(machine.calls) == before


def test_a_forgotten_function_is_closed_with_a_warning(machine: FakeMachine, mode: str) -> None:
    """The collector closes what nobody closed, and says so."""
    function = open_vfio(PciAddress(BDF, mode), machine)
    with pytest.warns(ResourceWarning, match=r"0000:01:00\.0> was not closed"):
        del function
        gc.collect()
    assert machine.open_fds == {}


def test_a_forked_child_leaves_the_device_alone(
    machine: FakeMachine, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another process close only closes: no interrupt, register or mapping of the parent's is touched."""
    function = open_vfio(PciAddress(BDF, mode), machine)
    function.set_irqs([3])
    function.map_dma(0x7F0000000000, 4096, 0x10000)
    before = len(machine.calls)
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    function.close()
    assert {call[0] for call in machine.calls[before:]} == {"close"}
    assert machine.mapped == {0x10000: 4096}


def test_a_failure_at_any_step_leaves_nothing_open(machine: FakeMachine, mode: str) -> None:
    """An error at call k of opening comes out as it is, for every k; every descriptor is closed."""
    with Opened(machine, mode):
        steps = len(machine.calls)
    assert steps > 10
    for step in range(steps):
        machine.calls.clear()

        def fail(number: int, name: str, step: int = step) -> None:
            if number == step:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        machine.fail = fail
        with pytest.raises(OSError, match="Input/output error"):
            open_vfio(PciAddress(BDF, mode), machine)
        assert machine.open_fds == {}, f"call {step}, {machine.calls}"


def test_doorbells_for_others(machine: FakeMachine, mode: str) -> None:
    """They are mapped from the device itself, behind the registers, by a descriptor of the caller's own."""
    with Opened(machine, mode) as function:
        (file,) = function.doorbell_files()
        bar, fd = function.bar_bytes, file.fd
        assert (file.start, file.nbytes) == (0x1000, bar - 0x1000)
        with mmap.mmap(fd, file.nbytes, offset=file.offset) as doorbells:
            function.write32(0x1008, 0x1234)
            assert doorbells[8:10] == b"\x34\x12"
        assert fd not in machine.open_fds
        os.close(fd)


def test_a_mapping_that_fails_leaves_nothing_open(
    machine: FakeMachine, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step of all, mapping BAR 0."""
    monkeypatch.setattr(VfioFunction, "_map_bar", lambda *arguments: _raise(errno.ENODEV)(0, 0))
    with pytest.raises(AddressError, match=r"BAR 0 .* can't be mapped: No such device"):
        open_vfio(PciAddress(BDF, mode), machine)
    assert machine.open_fds == {}
