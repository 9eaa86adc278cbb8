from typing_extensions import disjoint_base

from aionvme.qpair.request import Request

@disjoint_base
class Bounce:
    def __call__(self, request: Request) -> None: ...
