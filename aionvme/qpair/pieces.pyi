from typing_extensions import disjoint_base

from aionvme.qpair.request import RequestOwner

WHY_NOT: dict[int, str]

@disjoint_base
class Pieces(RequestOwner): ...
