"""An NVMe driver for asyncio programs, in user space. The public names; no logic."""

from aionvme.admin.controller import Controller
from aionvme.admin.event_stream import AsyncEvent, EventStream
from aionvme.admin.features import FeatureValue
from aionvme.admin.firmware import FirmwareCommitted
from aionvme.admin.operation import Operation, Progress
from aionvme.admin.options import ArbMechanism, ControllerOptions, QPrio
from aionvme.admin.vendors import register_vendor
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
    OperationFailedError,
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
from aionvme.qpair.batches import BatchResult
from aionvme.qpair.io import IoQueuePair
from aionvme.qpair.namespace import Namespace
from aionvme.qpair.request import Completion, Request
from aionvme.qpair.sgl import SglCallbacks
from aionvme.sharing.borrowed import BorrowedController, borrow
from aionvme.sharing.lender import Lender, lend
from aionvme.spec.directives import DirectiveType
from aionvme.spec.events import (
    ErrorEvent,
    EventMask,
    EventType,
    ImmediateEvent,
    IoCommandEvent,
    NoticeEvent,
    OneShotEvent,
    SmartEvent,
)
from aionvme.spec.feature import FeatureCapabilities, FeatureSelect
from aionvme.spec.firmware import CommitAction, ResetNeeded
from aionvme.spec.identify import IdentifyController, IdentifyNamespace
from aionvme.spec.lba_status import LbaStatus, LbaStatusAction
from aionvme.spec.media import SanitizeAction, SecureErase, SelfTestCode
from aionvme.spec.namespaces import NamespaceSpec
from aionvme.spec.nvm import IoFlags
from aionvme.spec.opcodes import FeatureId
from aionvme.spec.reservation import (
    AcquireAction,
    Cptpl,
    RegisterAction,
    ReleaseAction,
    ReservationStatus,
    ReservationType,
)
from aionvme.spec.security import LockdownInterface, LockdownScope
from aionvme.spec.status import Status, StatusCode, StatusCodeType
from aionvme.spec.vendors import Vendor, VendorFeature, VendorLogPage
from aionvme.spec.virtualization import VirtualizationAction, VirtualResource

__version__ = "0.1.0.dev0"

__all__ = [
    "AcquireAction",
    "AddressError",
    "ArbMechanism",
    "AsyncEvent",
    "BatchResult",
    "BorrowedController",
    "CommandSpecificError",
    "CommandTimeoutError",
    "CommitAction",
    "Completion",
    "Controller",
    "ControllerFailedError",
    "ControllerLostError",
    "ControllerOptions",
    "ControllerResetError",
    "Cptpl",
    "DecodeError",
    "DirectiveType",
    "DmaBuffer",
    "DmaRegistration",
    "ErrorEvent",
    "EventMask",
    "EventStream",
    "EventType",
    "FeatureCapabilities",
    "FeatureId",
    "FeatureSelect",
    "FeatureValue",
    "FirmwareCommitted",
    "GenericStatusError",
    "Hotplug",
    "HotplugEvent",
    "IdentifyController",
    "IdentifyNamespace",
    "ImmediateEvent",
    "IoCommandEvent",
    "IoFlags",
    "IoQueuePair",
    "LbaStatus",
    "LbaStatusAction",
    "Lender",
    "LockdownInterface",
    "LockdownScope",
    "MediaError",
    "Namespace",
    "NamespaceSpec",
    "NoticeEvent",
    "NvmeError",
    "OneShotEvent",
    "Operation",
    "OperationFailedError",
    "PathError",
    "PciDevice",
    "Progress",
    "QPrio",
    "QueueFullError",
    "RegisterAction",
    "ReleaseAction",
    "Request",
    "ReservationStatus",
    "ReservationType",
    "ResetNeeded",
    "SanitizeAction",
    "SecureErase",
    "SelfTestCode",
    "SglCallbacks",
    "SmartEvent",
    "Status",
    "StatusCode",
    "StatusCodeType",
    "StatusError",
    "UsageError",
    "Vendor",
    "VendorFeature",
    "VendorLogPage",
    "VendorStatusError",
    "VirtualResource",
    "VirtualizationAction",
    "WrongLoopError",
    "borrow",
    "connect",
    "detach",
    "discover",
    "hotplug",
    "lend",
    "probe",
    "register_vendor",
    "run",
]
