"""An NVMe controller in software, behind the same seam as a VFIO function.

Belongs here: what a controller does, how a test interferes with it, and how drivers in other processes reach it (the
folder `serving`). Does not: anything of the driver. It
imports neither `qpair` nor `admin`, since the driver would then test itself.
"""

from aionvme.mock.controller import MockController
from aionvme.mock.fault_plan import Fault, FaultKind, FaultPlan, FaultStep
from aionvme.mock.firmware import firmware_image
from aionvme.mock.function import MockFunction
from aionvme.mock.host_buffer import HostMemoryState
from aionvme.mock.inspect import Counters, Held, QueueState
from aionvme.mock.options import NamespaceConfig
from aionvme.mock.serving.listener import Serving

__all__ = [
    "Counters",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "FaultStep",
    "Held",
    "HostMemoryState",
    "MockController",
    "MockFunction",
    "NamespaceConfig",
    "QueueState",
    "Serving",
    "firmware_image",
]
