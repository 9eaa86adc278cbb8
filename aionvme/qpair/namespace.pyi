from typing import Any

from typing_extensions import disjoint_base

from aionvme.pci.dma import DmaSpace
from aionvme.spec.identify import IdentifyNamespace
from aionvme.spec.identify_sets import IdentifyNvmNamespace

@disjoint_base
class Namespace:
    @property
    def nsid(self) -> int: ...
    @property
    def block_size(self) -> int: ...
    @property
    def nblocks(self) -> int: ...
    @property
    def metadata_size(self) -> int: ...
    @property
    def extended(self) -> bool: ...
    @property
    def boundary(self) -> int: ...
    @property
    def pi_type(self) -> int: ...
    @property
    def pi_size(self) -> int: ...
    @property
    def tag_bits(self) -> int: ...
    @property
    def storage_tag_bits(self) -> int: ...
    @property
    def data(self) -> IdentifyNamespace | Any: ...
    @property
    def nvm(self) -> IdentifyNvmNamespace | None: ...
    @property
    def gone(self) -> str | None: ...
    @property
    def active(self) -> bool: ...
    @property
    def nbytes(self) -> int: ...
    def __init__(
        self,
        *,
        nsid: int,
        block_size: int,
        nblocks: int,
        metadata_size: int = 0,
        extended: bool = False,
        boundary: int = 0,
        pi_type: int = 0,
        pi_size: int = 0,
        tag_bits: int = 0,
        storage_tag_bits: int = 0,
        data: IdentifyNamespace | None = None,
        nvm: IdentifyNvmNamespace | None = None,
        controller: DmaSpace | None = None,
    ) -> None: ...
    def retire(self, why: str) -> None: ...
