from aionvme.pci.dma import DmaBuffer
from aionvme.perf.walk import Walk
from aionvme.qpair.io import IoQueuePair
from aionvme.qpair.namespace import Namespace

def reads(
    qp: IoQueuePair, ns: Namespace, buf: DmaBuffer, walk: Walk, depth: int, seconds: float
) -> tuple[int, int]: ...
