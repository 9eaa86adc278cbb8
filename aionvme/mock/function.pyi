from aionvme.mock.config_space import ConfigSpace
from aionvme.mock.controller import MockController
from aionvme.mock.machine import Machine
from aionvme.mock.registers import Registers
from aionvme.pci.device import PciDevice
from aionvme.pci.function import Function

class MockFunction(Function):
    def __init__(
        self,
        pci_dev: PciDevice,
        mock: MockController,
        machine: Machine,
        registers: Registers,
        config: ConfigSpace,
        *,
        owned: bool,
        parks: bool,
    ) -> None: ...
