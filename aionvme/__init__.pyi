from .admin.controller import Controller
from .admin.event_stream import AsyncEvent, EventStream
from .admin.features import FeatureValue
from .admin.firmware import FirmwareCommitted
from .admin.operation import Operation, Progress
from .admin.options import ArbMechanism, ControllerOptions, QPrio
from .admin.vendors import register_vendor
from .connecting import connect, detach, probe, run
from .errors import (
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
from .pci.device import PciDevice
from .pci.discovery import discover
from .pci.dma import DmaBuffer, DmaRegistration
from .pci.hotplug import Hotplug, HotplugEvent, hotplug
from .qpair.batches import BatchResult
from .qpair.io import IoQueuePair
from .qpair.namespace import Namespace
from .qpair.request import Completion, Request
from .qpair.sgl import SglCallbacks
from .sharing.borrowed import BorrowedController, borrow
from .sharing.lender import Lender, lend
from .spec.directives import DirectiveType
from .spec.events import (
    ErrorEvent,
    EventMask,
    EventType,
    ImmediateEvent,
    IoCommandEvent,
    NoticeEvent,
    OneShotEvent,
    SmartEvent,
)
from .spec.feature import FeatureCapabilities, FeatureSelect
from .spec.firmware import CommitAction, ResetNeeded
from .spec.identify import IdentifyController, IdentifyNamespace
from .spec.lba_status import LbaStatus, LbaStatusAction
from .spec.media import SanitizeAction, SecureErase, SelfTestCode
from .spec.namespaces import NamespaceSpec
from .spec.nvm import IoFlags
from .spec.opcodes import FeatureId
from .spec.reservation import (
    AcquireAction,
    Cptpl,
    RegisterAction,
    ReleaseAction,
    ReservationStatus,
    ReservationType,
)
from .spec.security import LockdownInterface, LockdownScope
from .spec.status import Status, StatusCode, StatusCodeType
from .spec.vendors import Vendor, VendorFeature, VendorLogPage
from .spec.virtualization import VirtualizationAction, VirtualResource

__version__: str

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
