"""The exceptions, by whose fault: the controller's, the caller's, the device's absence, the host's set-up.

Errors of the kernel stay `OSError`; a wrong type stays `TypeError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionvme.spec.errors import DecodeError, NvmeError
from aionvme.spec.status import Status, StatusCodeType

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AddressError",
    "CommandSpecificError",
    "CommandTimeoutError",
    "ControllerFailedError",
    "ControllerLostError",
    "ControllerResetError",
    "DecodeError",
    "GenericStatusError",
    "MediaError",
    "NvmeError",
    "OperationFailedError",
    "PathError",
    "QueueFullError",
    "StatusError",
    "UsageError",
    "VendorStatusError",
    "WrongLoopError",
]


class StatusError(NvmeError):
    """The controller completed a command with a status other than success.

    Attributes:
        status: The `Status`, with its name and text.
        cpl: The completion queue entry as it came.
        opcode, qid, cid: Which command it was, and where.
    """

    def __init__(self, status: Status, *, opcode: int, qid: int, cid: int, cpl: Any = None) -> None:
        super().__init__(status, opcode, qid, cid)
        self.status = status
        self.opcode = opcode
        self.qid = qid
        self.cid = cid
        self.cpl = cpl

    @property
    def sct(self) -> int:
        """Status code type."""
        return self.status.sct

    @property
    def sc(self) -> int:
        """Status code within its type."""
        return self.status.sc

    @property
    def dnr(self) -> bool:
        """Do not retry: the same command would fail again."""
        return self.status.dnr

    @property
    def more(self) -> bool:
        """The error information log has more about this command."""
        return self.status.more

    @property
    def crd(self) -> int:
        """Command retry delay: an index into Identify Controller's CRDT1 to CRDT3, 0 for none."""
        return self.status.crd

    def __str__(self) -> str:
        where = f"queue {self.qid}, cid {self.cid:#06x}, opcode {self.opcode:#04x}"
        return f"{self.status.text} ({self.status.name}, sct {self.sct:#x} sc {self.sc:#04x}; {where})"


class GenericStatusError(StatusError):
    """Status code type 0h, generic command status."""


class CommandSpecificError(StatusError):
    """Status code type 1h, command specific status."""


class MediaError(StatusError):
    """Status code type 2h, media and data integrity errors."""


class PathError(StatusError):
    """Status code type 3h, path related status."""


class VendorStatusError(StatusError):
    """Status code type 7h, vendor specific."""


_STATUS_ERRORS: Mapping[int, type[StatusError]] = {
    StatusCodeType.GENERIC: GenericStatusError,
    StatusCodeType.COMMAND_SPECIFIC: CommandSpecificError,
    StatusCodeType.MEDIA: MediaError,
    StatusCodeType.PATH: PathError,
    StatusCodeType.VENDOR: VendorStatusError,
}


def status_error(status: Status, *, opcode: int, qid: int, cid: int, cpl: Any = None) -> StatusError:
    """The exception for a status, of the class that its status code type has."""
    cls = _STATUS_ERRORS.get(status.sct, StatusError)
    return cls(status, opcode=opcode, qid=qid, cid=cid, cpl=cpl)


class UsageError(NvmeError, ValueError):
    """The caller asked for what cannot be: wrong size, alignment or range, memory not mapped for DMA, closed."""


class WrongLoopError(UsageError):
    """An object was used from another event loop or thread than the one it belongs to."""


class QueueFullError(NvmeError):
    """The queue pair has no free slot, and the call asked not to wait (`when_full="error"`)."""


class AddressError(NvmeError):
    """No such device, not an NVMe function, not bound, or no permission: the message says which command mends it."""


class ControllerLostError(NvmeError):
    """The controller is gone: removed, unplugged, or its registers read as all ones."""


class ControllerFailedError(NvmeError):
    """The controller does not work any more: fatal status, never ready, or it broke the protocol."""


class ControllerResetError(NvmeError):
    """A controller reset ended this command; whether the controller executed it is not known.

    Submit it again if it may be executed twice.
    """


class OperationFailedError(NvmeError):
    """What a command began, and the controller went on with in the background, did not end well.

    Attributes:
        result: What the controller says of it: the sanitize status log, or the result of a self-test.
    """

    def __init__(self, text: str, result: Any) -> None:
        super().__init__(text, result)
        self.result = result

    def __str__(self) -> str:
        return str(self.args[0])


class CommandTimeoutError(NvmeError, TimeoutError):
    """A command was not completed in its time. Its buffer is the caller's again when this is raised."""

    def __init__(self, opcode: int, qid: int, cid: int, timeout: float) -> None:
        super().__init__(opcode, qid, cid, timeout)
        self.opcode = opcode
        self.qid = qid
        self.cid = cid
        self.timeout = timeout

    def __str__(self) -> str:
        return (
            f"command not completed in {self.timeout:g} s "
            f"(queue {self.qid}, cid {self.cid:#06x}, opcode {self.opcode:#04x})"
        )
