from typing_extensions import disjoint_base

__all__ = ["SharedMemory"]

@disjoint_base
class SharedMemory:
    @property
    def nbytes(self) -> int: ...
    @property
    def fd(self) -> int: ...
    def __init__(self, nbytes: int, align: int, *, huge: bool = True, file: int = -1) -> None: ...
