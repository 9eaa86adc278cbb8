"""Owns what a completion is asked."""

from __future__ import annotations

from typing import Any

from aionvme.spdk import constants
from aionvme.spec.status import Status, StatusCodeType

_TYPES = {
    StatusCodeType.GENERIC: "GENERIC",
    StatusCodeType.COMMAND_SPECIFIC: "COMMAND SPECIFIC",
    StatusCodeType.MEDIA: "MEDIA ERROR",
    StatusCodeType.PATH: "PATH",
    StatusCodeType.VENDOR: "VENDOR SPECIFIC",
}
_PI_ERRORS = (
    constants.SPDK_NVME_SC_GUARD_CHECK_ERROR,
    constants.SPDK_NVME_SC_APPLICATION_TAG_CHECK_ERROR,
    constants.SPDK_NVME_SC_REFERENCE_TAG_CHECK_ERROR,
)


def spdk_nvme_cpl_is_error(cpl: Any) -> bool:
    """Whether the command failed: `cpl.status.sct` and `cpl.status.sc` say how."""
    return bool(cpl.status.sct or cpl.status.sc)


def spdk_nvme_cpl_is_success(cpl: Any) -> bool:
    """Whether it did not."""
    return not spdk_nvme_cpl_is_error(cpl)


def spdk_nvme_cpl_is_pi_error(cpl: Any) -> bool:
    """Whether a check of protection information failed."""
    return bool(cpl.status.sct == StatusCodeType.MEDIA and cpl.status.sc in _PI_ERRORS)


def spdk_nvme_cpl_is_abort_success(cpl: Any) -> bool:
    """Of an Abort: whether the command was aborted."""
    return spdk_nvme_cpl_is_success(cpl) and not cpl.dw0 & 1


def spdk_nvme_cpl_get_status_string(status: Status) -> str:
    """The status in words."""
    return status.text


def spdk_nvme_cpl_get_status_string_ext(status: Status, opc: int) -> str:
    """The status in words; only fabrics have words that depend on the opcode."""
    return status.text


def spdk_nvme_cpl_get_status_type_string(status: Status) -> str:
    """The status code type in words."""
    kind = status.sct
    return _TYPES[StatusCodeType(kind)] if kind in set(StatusCodeType) else "RESERVED"
