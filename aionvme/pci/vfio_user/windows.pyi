from typing_extensions import disjoint_base

__all__ = ["Windows"]

@disjoint_base
class Windows:
    def open(self, iova: int, nbytes: int, address: int) -> None: ...
    def close(self, iova: int) -> None: ...
