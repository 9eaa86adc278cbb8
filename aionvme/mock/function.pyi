from typing_extensions import disjoint_base

from aionvme.mock.config_space import ConfigSpace
from aionvme.mock.controller import MockController
from aionvme.mock.machine import Machine
from aionvme.mock.registers import Registers
from aionvme.pci.device import PciDevice
from aionvme.pci.function import Function

@disjoint_base
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
        shared: tuple[int, int] | None = None,
    ) -> None: ...
    def signal(self, kind: str) -> bool: ...
    def let_go(self) -> None: ...
