from typing_extensions import disjoint_base

from aionvme.qpair.waking import Waking

@disjoint_base
class Spinning(Waking): ...
