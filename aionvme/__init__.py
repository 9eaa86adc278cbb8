"""An NVMe driver for asyncio programs, in user space. The public names; no logic."""

from aionvme.admin.controller import Controller
from aionvme.admin.features import FeatureValue
from aionvme.admin.options import ArbMechanism, ControllerOptions, QPrio
from aionvme.connect import connect, detach, probe, run
from aionvme.errors import (
    AddressError,
    CommandSpecificError,
    CommandTimeoutError,
    ControllerFailedError,
    ControllerLostError,
    ControllerResetError,
    DecodeError,
    GenericStatusError,
    MediaError,
    NvmeError,
    PathError,
    QueueFullError,
    StatusError,
    UsageError,
    VendorStatusError,
    WrongLoopError,
)
from aionvme.pci.device import PciDevice
from aionvme.pci.discovery import discover
from aionvme.pci.dma import DmaBuffer, DmaRegistration
from aionvme.pci.hotplug import Hotplug, HotplugEvent, hotplug
from aionvme.qpair.io import IoQueuePair
from aionvme.qpair.namespace import Namespace
from aionvme.qpair.request import Completion, Request
from aionvme.qpair.sgl import SglCallbacks
from aionvme.spec.identify import IdentifyController, IdentifyNamespace
from aionvme.spec.nvm import IoFlags
from aionvme.spec.reservation import (
    AcquireAction,
    Cptpl,
    RegisterAction,
    ReleaseAction,
    ReservationStatus,
    ReservationType,
)
from aionvme.spec.status import Status, StatusCode, StatusCodeType

__version__ = "0.1.0.dev0"

__all__ = [
    "AcquireAction",
    "AddressError",
    "ArbMechanism",
    "CommandSpecificError",
    "CommandTimeoutError",
    "Completion",
    "Controller",
    "ControllerFailedError",
    "ControllerLostError",
    "ControllerOptions",
    "ControllerResetError",
    "Cptpl",
    "DecodeError",
    "DmaBuffer",
    "DmaRegistration",
    "FeatureValue",
    "GenericStatusError",
    "Hotplug",
    "HotplugEvent",
    "IdentifyController",
    "IdentifyNamespace",
    "IoFlags",
    "IoQueuePair",
    "MediaError",
    "Namespace",
    "NvmeError",
    "PathError",
    "PciDevice",
    "QPrio",
    "QueueFullError",
    "RegisterAction",
    "ReleaseAction",
    "Request",
    "ReservationStatus",
    "ReservationType",
    "SglCallbacks",
    "Status",
    "StatusCode",
    "StatusCodeType",
    "StatusError",
    "UsageError",
    "VendorStatusError",
    "WrongLoopError",
    "connect",
    "detach",
    "discover",
    "hotplug",
    "probe",
    "run",
]
