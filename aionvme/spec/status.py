"""Status of a completed command: the table of codes, and the 15 bits of a completion that hold one."""

from __future__ import annotations

from enum import IntEnum, unique
from functools import lru_cache
from typing import TYPE_CHECKING


@unique
class StatusCodeType(IntEnum):
    """Status code type, SCT (NVMe Base 2.0, 3.3.3.2.1)."""

    GENERIC = 0
    COMMAND_SPECIFIC = 1
    MEDIA = 2
    PATH = 3
    VENDOR = 7


@unique
class StatusCode(IntEnum):
    """Every status code, as sct << 8 | sc, with its text. This is the table: name = sct, sc, text.

    NVMe Base 2.0, 3.3.3.2.1, with the codes of the NVM, Zoned Namespace (1.1) and Key Value command sets. One
    of a later revision is marked with it. What the command specific codes 80h to BFh mean to Fabrics is left
    out: its commands do not exist on PCIe.
    """

    text: str

    def __new__(cls, sct: int, sc: int, text: str) -> StatusCode:
        """A member from its row."""
        code = int.__new__(cls, sct << 8 | sc)
        code._value_ = sct << 8 | sc
        code.text = text
        return code

    # Generic command status.
    SUCCESS = 0, 0x00, "Successful completion"
    INVALID_OPCODE = 0, 0x01, "Invalid command opcode"
    INVALID_FIELD = 0, 0x02, "Invalid field in command"
    COMMAND_ID_CONFLICT = 0, 0x03, "Command identifier conflict"
    DATA_TRANSFER_ERROR = 0, 0x04, "Data transfer error"
    ABORTED_POWER_LOSS = 0, 0x05, "Command aborted due to power loss notification"
    INTERNAL_ERROR = 0, 0x06, "Internal error"
    ABORTED_BY_REQUEST = 0, 0x07, "Command abort requested"
    ABORTED_SQ_DELETION = 0, 0x08, "Command aborted due to submission queue deletion"
    ABORTED_FAILED_FUSED = 0, 0x09, "Command aborted due to failed fused command"
    ABORTED_MISSING_FUSED = 0, 0x0A, "Command aborted due to missing fused command"
    INVALID_NAMESPACE_OR_FORMAT = 0, 0x0B, "Invalid namespace or format"
    COMMAND_SEQUENCE_ERROR = 0, 0x0C, "Command sequence error"
    INVALID_SGL_SEGMENT_DESCRIPTOR = 0, 0x0D, "Invalid SGL segment descriptor"
    INVALID_SGL_DESCRIPTOR_COUNT = 0, 0x0E, "Invalid number of SGL descriptors"
    DATA_SGL_LENGTH_INVALID = 0, 0x0F, "Data SGL length invalid"
    METADATA_SGL_LENGTH_INVALID = 0, 0x10, "Metadata SGL length invalid"
    SGL_DESCRIPTOR_TYPE_INVALID = 0, 0x11, "SGL descriptor type invalid"
    INVALID_CMB_USE = 0, 0x12, "Invalid use of controller memory buffer"
    PRP_OFFSET_INVALID = 0, 0x13, "PRP offset invalid"
    ATOMIC_WRITE_UNIT_EXCEEDED = 0, 0x14, "Atomic write unit exceeded"
    OPERATION_DENIED = 0, 0x15, "Operation denied"
    SGL_OFFSET_INVALID = 0, 0x16, "SGL offset invalid"
    HOST_ID_INCONSISTENT_FORMAT = 0, 0x18, "Host identifier inconsistent format"
    KEEP_ALIVE_EXPIRED = 0, 0x19, "Keep alive timer expired"
    KEEP_ALIVE_INVALID = 0, 0x1A, "Keep alive timeout invalid"
    ABORTED_PREEMPT = 0, 0x1B, "Command aborted due to preempt and abort"
    SANITIZE_FAILED = 0, 0x1C, "Sanitize failed"
    SANITIZE_IN_PROGRESS = 0, 0x1D, "Sanitize in progress"
    SGL_DATA_BLOCK_GRANULARITY_INVALID = 0, 0x1E, "SGL data block granularity invalid"
    COMMAND_NOT_SUPPORTED_IN_CMB = 0, 0x1F, "Command not supported for queue in controller memory buffer"
    NAMESPACE_WRITE_PROTECTED = 0, 0x20, "Namespace is write protected"
    COMMAND_INTERRUPTED = 0, 0x21, "Command interrupted"
    TRANSIENT_TRANSPORT_ERROR = 0, 0x22, "Transient transport error"
    PROHIBITED_BY_LOCKDOWN = 0, 0x23, "Command prohibited by command and feature lockdown"
    ADMIN_MEDIA_NOT_READY = 0, 0x24, "Admin command media not ready"
    INVALID_KEY_TAG = 0, 0x25, "Invalid key tag"  # 2.1
    HOST_DISPERSED_NOT_ENABLED = 0, 0x26, "Host dispersed namespace support not enabled"  # 2.1
    HOST_ID_NOT_INITIALIZED = 0, 0x27, "Host identifier not initialized"  # 2.1
    INCORRECT_KEY = 0, 0x28, "Incorrect key"  # 2.1
    FDP_DISABLED = 0, 0x29, "Flexible data placement disabled"  # 2.1
    INVALID_PLACEMENT_HANDLE_LIST = 0, 0x2A, "Invalid placement handle list"  # 2.1
    SANITIZE_NAMESPACE_FAILED = 0, 0x2B, "Sanitize namespace failed"  # 2.3
    SANITIZE_NAMESPACE_IN_PROGRESS = 0, 0x2C, "Sanitize namespace in progress"  # 2.3
    LBA_OUT_OF_RANGE = 0, 0x80, "LBA out of range"
    CAPACITY_EXCEEDED = 0, 0x81, "Capacity exceeded"
    NAMESPACE_NOT_READY = 0, 0x82, "Namespace not ready"
    RESERVATION_CONFLICT = 0, 0x83, "Reservation conflict"
    FORMAT_IN_PROGRESS = 0, 0x84, "Format in progress"
    INVALID_VALUE_SIZE = 0, 0x85, "Invalid value size"
    INVALID_KEY_SIZE = 0, 0x86, "Invalid key size"
    KEY_DOES_NOT_EXIST = 0, 0x87, "Key does not exist"
    UNRECOVERED_ERROR = 0, 0x88, "Unrecovered error"
    KEY_EXISTS = 0, 0x89, "Key exists"

    # Command specific status.
    COMPLETION_QUEUE_INVALID = 1, 0x00, "Completion queue invalid"
    INVALID_QUEUE_IDENTIFIER = 1, 0x01, "Invalid queue identifier"
    INVALID_QUEUE_SIZE = 1, 0x02, "Invalid queue size"
    ABORT_LIMIT_EXCEEDED = 1, 0x03, "Abort command limit exceeded"
    ASYNC_EVENT_LIMIT_EXCEEDED = 1, 0x05, "Asynchronous event request limit exceeded"
    INVALID_FIRMWARE_SLOT = 1, 0x06, "Invalid firmware slot"
    INVALID_FIRMWARE_IMAGE = 1, 0x07, "Invalid firmware image"
    INVALID_INTERRUPT_VECTOR = 1, 0x08, "Invalid interrupt vector"
    INVALID_LOG_PAGE = 1, 0x09, "Invalid log page"
    INVALID_FORMAT = 1, 0x0A, "Invalid format"
    FIRMWARE_NEEDS_CONVENTIONAL_RESET = 1, 0x0B, "Firmware activation requires conventional reset"
    INVALID_QUEUE_DELETION = 1, 0x0C, "Invalid queue deletion"
    FEATURE_NOT_SAVEABLE = 1, 0x0D, "Feature identifier not saveable"
    FEATURE_NOT_CHANGEABLE = 1, 0x0E, "Feature not changeable"
    FEATURE_NOT_NAMESPACE_SPECIFIC = 1, 0x0F, "Feature not namespace specific"
    FIRMWARE_NEEDS_SUBSYSTEM_RESET = 1, 0x10, "Firmware activation requires NVM subsystem reset"
    FIRMWARE_NEEDS_CONTROLLER_RESET = 1, 0x11, "Firmware activation requires controller level reset"
    FIRMWARE_NEEDS_MAXIMUM_TIME = 1, 0x12, "Firmware activation requires maximum time violation"
    FIRMWARE_ACTIVATION_PROHIBITED = 1, 0x13, "Firmware activation prohibited"
    OVERLAPPING_RANGE = 1, 0x14, "Overlapping range"
    NAMESPACE_INSUFFICIENT_CAPACITY = 1, 0x15, "Namespace insufficient capacity"
    NAMESPACE_ID_UNAVAILABLE = 1, 0x16, "Namespace identifier unavailable"
    NAMESPACE_ALREADY_ATTACHED = 1, 0x18, "Namespace already attached"
    NAMESPACE_IS_PRIVATE = 1, 0x19, "Namespace is private"
    NAMESPACE_NOT_ATTACHED = 1, 0x1A, "Namespace not attached"
    THIN_PROVISIONING_NOT_SUPPORTED = 1, 0x1B, "Thin provisioning not supported"
    CONTROLLER_LIST_INVALID = 1, 0x1C, "Controller list invalid"
    SELF_TEST_IN_PROGRESS = 1, 0x1D, "Device self-test in progress"
    BOOT_PARTITION_WRITE_PROHIBITED = 1, 0x1E, "Boot partition write prohibited"
    INVALID_CONTROLLER_ID = 1, 0x1F, "Invalid controller identifier"
    INVALID_SECONDARY_CONTROLLER_STATE = 1, 0x20, "Invalid secondary controller state"
    INVALID_CONTROLLER_RESOURCES = 1, 0x21, "Invalid number of controller resources"
    INVALID_RESOURCE_ID = 1, 0x22, "Invalid resource identifier"
    SANITIZE_PROHIBITED_WITH_PMR = 1, 0x23, "Sanitize prohibited while persistent memory region is enabled"
    ANA_GROUP_ID_INVALID = 1, 0x24, "ANA group identifier invalid"
    ANA_ATTACH_FAILED = 1, 0x25, "ANA attach failed"
    INSUFFICIENT_CAPACITY = 1, 0x26, "Insufficient capacity"
    ATTACHMENT_LIMIT_EXCEEDED = 1, 0x27, "Namespace attachment limit exceeded"
    PROHIBITION_NOT_SUPPORTED = 1, 0x28, "Prohibition of command execution not supported"
    COMMAND_SET_NOT_SUPPORTED = 1, 0x29, "I/O command set not supported"
    COMMAND_SET_NOT_ENABLED = 1, 0x2A, "I/O command set not enabled"
    COMMAND_SET_COMBINATION_REJECTED = 1, 0x2B, "I/O command set combination rejected"
    INVALID_COMMAND_SET = 1, 0x2C, "Invalid I/O command set"
    IDENTIFIER_UNAVAILABLE = 1, 0x2D, "Identifier unavailable"
    STREAM_ALLOCATION_FAILED = 1, 0x7F, "Stream resource allocation failed"
    CONFLICTING_ATTRIBUTES = 1, 0x80, "Conflicting attributes"
    INVALID_PROTECTION_INFORMATION = 1, 0x81, "Invalid protection information"
    WRITE_TO_READ_ONLY_RANGE = 1, 0x82, "Attempted write to read only range"
    COMMAND_SIZE_LIMIT_EXCEEDED = 1, 0x83, "Command size limit exceeded"
    INCOMPATIBLE_NAMESPACE_OR_FORMAT = 1, 0x85, "Incompatible namespace or format"  # NVM command set 1.1
    FAST_COPY_NOT_POSSIBLE = 1, 0x86, "Fast copy not possible"  # NVM command set 1.1
    OVERLAPPING_IO_RANGE = 1, 0x87, "Overlapping I/O range"  # NVM command set 1.1
    INSUFFICIENT_RESOURCES = 1, 0x89, "Insufficient resources"  # NVM command set 1.1
    INVALID_ZONE_OPERATION = 1, 0xB6, "Invalid zone operation request"
    ZRWA_RESOURCES_UNAVAILABLE = 1, 0xB7, "Zone random write area resources unavailable"
    ZONE_BOUNDARY_ERROR = 1, 0xB8, "Zone boundary error"
    ZONE_IS_FULL = 1, 0xB9, "Zone is full"
    ZONE_IS_READ_ONLY = 1, 0xBA, "Zone is read only"
    ZONE_IS_OFFLINE = 1, 0xBB, "Zone is offline"
    ZONE_INVALID_WRITE = 1, 0xBC, "Zone invalid write"
    TOO_MANY_ACTIVE_ZONES = 1, 0xBD, "Too many active zones"
    TOO_MANY_OPEN_ZONES = 1, 0xBE, "Too many open zones"
    INVALID_ZONE_STATE_TRANSITION = 1, 0xBF, "Invalid zone state transition"

    # Media and data integrity errors.
    WRITE_FAULT = 2, 0x80, "Write fault"
    UNRECOVERED_READ_ERROR = 2, 0x81, "Unrecovered read error"
    GUARD_CHECK_ERROR = 2, 0x82, "End-to-end guard check error"
    APPLICATION_TAG_CHECK_ERROR = 2, 0x83, "End-to-end application tag check error"
    REFERENCE_TAG_CHECK_ERROR = 2, 0x84, "End-to-end reference tag check error"
    COMPARE_FAILURE = 2, 0x85, "Compare failure"
    ACCESS_DENIED = 2, 0x86, "Access denied"
    DEALLOCATED_OR_UNWRITTEN_BLOCK = 2, 0x87, "Deallocated or unwritten logical block"
    STORAGE_TAG_CHECK_ERROR = 2, 0x88, "End-to-end storage tag check error"

    # Path related status.
    INTERNAL_PATH_ERROR = 3, 0x00, "Internal path error"
    ANA_PERSISTENT_LOSS = 3, 0x01, "Asymmetric access persistent loss"
    ANA_INACCESSIBLE = 3, 0x02, "Asymmetric access inaccessible"
    ANA_TRANSITION = 3, 0x03, "Asymmetric access transition"
    CONTROLLER_PATHING_ERROR = 3, 0x60, "Controller pathing error"
    HOST_PATHING_ERROR = 3, 0x70, "Host pathing error"
    COMMAND_ABORTED_BY_HOST = 3, 0x71, "Command aborted by host"


_CODES = {int(code): code for code in StatusCode}
_FIRST_VENDOR_SC = 0xC0


class Status:
    """The status field of a completion queue entry (NVMe Base 2.0, 3.3.3.2.1), immutable.

    False on success. Equal to the `StatusCode` that it carries, whatever its other bits; equal to another
    `Status` in all bits.

    Args:
        field: The 15 bits without the phase tag: SC 7:0, SCT 10:8, CRD 12:11, M 13, DNR 14.
    """

    __slots__ = ("_field",)

    def __init__(self, field: int) -> None:
        if not 0 <= field < 1 << 15:
            raise ValueError(f"a status field has 15 bits, not {field:#x}")
        object.__setattr__(self, "_field", field)

    _field: int

    if not TYPE_CHECKING:  # A type checker would take this as leave to set anything.

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(f"a Status does not change: {name}")

    @staticmethod
    @lru_cache(maxsize=1024)
    def from_field(field: int) -> Status:
        """The status of a field, the same object for the same field while it is remembered."""
        return Status(field)

    @staticmethod
    def of(code: StatusCode, *, crd: int = 0, more: bool = False, dnr: bool = False) -> Status:
        """A status with this code: what a controller in software answers."""
        return Status.from_field(int(code) | crd << 11 | more << 13 | dnr << 14)

    def to_field(self) -> int:
        """The 15 bits."""
        return self._field

    @property
    def sct(self) -> int:
        """Status code type."""
        return self._field >> 8 & 7

    @property
    def sc(self) -> int:
        """Status code within its type."""
        return self._field & 0xFF

    @property
    def crd(self) -> int:
        """Command retry delay: 1 to 3 for CRDT1 to CRDT3 of Identify Controller, 0 for none."""
        return self._field >> 11 & 3

    @property
    def more(self) -> bool:
        """The error information log has more about it."""
        return bool(self._field >> 13 & 1)

    @property
    def dnr(self) -> bool:
        """Do not retry: the same command would fail again."""
        return bool(self._field >> 14 & 1)

    @property
    def code(self) -> StatusCode | None:
        """The code, None for one that the table does not have."""
        return _CODES.get(self._field & 0x7FF)

    @property
    def name(self) -> str:
        """Name of the code; its kind and numbers where the table does not have it."""
        code = self.code
        if code is not None:
            return code.name
        return f"{self._kind.upper().replace(' ', '_')}_{self.sct:X}_{self.sc:02X}"

    @property
    def text(self) -> str:
        """What the specification calls it."""
        code = self.code
        return (
            code.text if code is not None else f"{self._kind} status (sct {self.sct:X}h, sc {self.sc:02X}h)"
        )

    @property
    def _kind(self) -> str:
        vendor = self.sct == StatusCodeType.VENDOR or (self.sct <= 3 and self.sc >= _FIRST_VENDOR_SC)
        return "Vendor specific" if vendor else "Reserved"

    def __bool__(self) -> bool:
        return self._field & 0x7FF != 0

    def __int__(self) -> int:
        return self._field

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Status):
            return self._field == other._field
        if isinstance(other, StatusCode):
            return self._field & 0x7FF == int(other)
        return NotImplemented

    def __hash__(self) -> int:
        # The hash of its code, to which it is equal.
        return hash(self._field & 0x7FF)

    def __repr__(self) -> str:
        rest = "".join(
            f", {name}={value}"
            for name, value in (("crd", self.crd), ("more", self.more), ("dnr", self.dnr))
            if value
        )
        return f"<Status {self.name} sct={self.sct:#x} sc={self.sc:#04x}{rest}>"

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return Status, (self._field,)
