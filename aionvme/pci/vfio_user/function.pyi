from typing_extensions import disjoint_base

from aionvme.pci.device import PciDevice
from aionvme.pci.function import Function
from aionvme.pci.vfio_user.client import Client

__all__ = ["VfioUserFunction"]

@disjoint_base
class VfioUserFunction(Function):
    def __init__(self, pci_dev: PciDevice, client: Client) -> None: ...
    @property
    def doorbells_mapped(self) -> bool: ...
    def __del__(self) -> None: ...
