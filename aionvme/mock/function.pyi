from aionvme.mock.machine import Machine
from aionvme.pci.device import PciDevice
from aionvme.pci.function import Function

class MockFunction(Function):
    def __init__(
        self, pci_dev: PciDevice, mock: object, machine: Machine, registers: object, config: object, *, owned: bool, parks: bool
    ) -> None: ...
