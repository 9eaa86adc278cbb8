"""Owns what else to try after a status of the controller: the table of hints, by the name of the status.

A status without a row either says it all, or is one that no sub-command can be the cause of (queues, SGL, zones).
"""

from __future__ import annotations

import shlex
from collections.abc import Collection

import attrs

from aionvme.errors import StatusError

__all__ = ["ADVICE", "ADVICE_OF", "Asked", "advice"]

_RESET = "Each command begins with a reset, by which a controller forgets what was begun before"
_LATER = "It may go by itself: try again in a moment"
_LOCKED = (
    "The device is locked, or its maker does not allow this: unlock it with `aionvme security-send {address}`"
)
_MEDIA = (
    "`aionvme smart-log {address}` says how the medium is, `aionvme error-log {address}` where it failed; "
    "blocks that are written anew may be readable again"
)
_TAGS = (
    "Give the tags with which the blocks were written (--ref-tag, --app-tag, --app-tag-mask), or leave the check out "
    "(--prinfo 0)"
)
_CONTROLLERS = "`aionvme list-ctrl {address} -n NSID` lists the controllers that the namespace is attached to"
_SECONDARY = "`aionvme list-secondary {address}` lists the secondary controllers and their state"
_RESOURCES = "`aionvme primary-ctrl-caps {address}` says which resources there are"
_ANA = "`aionvme ana-log {address}` shows the state of each group; another controller may reach it"
_CAPACITY = (
    "`aionvme id-ctrl {address}` says how many bytes no namespace has (unvmcap): ask for fewer blocks, or make "
    "room with delete-ns"
)
_COMMAND_SETS = "`aionvme id-iocs {address}` says which I/O command sets go together"

#: By the name of a status (`aionvme.spec.status`), for any sub-command.
ADVICE = {
    "INVALID_OPCODE": "The controller does not have this command: `aionvme id-ctrl {address} -H` says which it has "
    "(oacs, oncs)",
    "INVALID_FIELD": "The controller does not have what was asked for, or not in this form: "
    "`aionvme id-ctrl {address} -H` says what it has",
    "DATA_TRANSFER_ERROR": "`aionvme error-log {address}` may say more",
    "INTERNAL_ERROR": "Try again; `aionvme error-log {address}` and `aionvme smart-log {address}` may say more",
    "INVALID_NAMESPACE_OR_FORMAT": "`aionvme list-ns {address}` says which namespaces there are; choose one with -n",
    "COMMAND_SEQUENCE_ERROR": f"A step that belongs before this one is missing. {_RESET}",
    "OPERATION_DENIED": _LOCKED,
    "SANITIZE_FAILED": "`aionvme sanitize-log {address}` says why. Sanitize again, or if it was begun with --ause "
    "leave the failure by `aionvme sanitize {address} -a exit-failure`",
    "SANITIZE_IN_PROGRESS": "Wait for its end: `aionvme sanitize-log {address}` shows how far it is",
    "NAMESPACE_WRITE_PROTECTED": "`aionvme get-feature {address} -f 0x84` says how; `aionvme set-feature {address} "
    "-f 0x84 -V 0` ends it, unless it is for ever",
    "COMMAND_INTERRUPTED": _LATER,
    "TRANSIENT_TRANSPORT_ERROR": _LATER,
    "ADMIN_MEDIA_NOT_READY": _LATER,
    "NAMESPACE_NOT_READY": _LATER,
    "PROHIBITED_BY_LOCKDOWN": "`aionvme get-log {address} -i 0x14 -l 512` has what is prohibited",
    "LBA_OUT_OF_RANGE": "`aionvme id-ns {address}` says how many blocks the namespace has (nsze)",
    "CAPACITY_EXCEEDED": "The namespace has no room left: deallocate blocks by `aionvme dsm {address} -d`",
    "RESERVATION_CONFLICT": "Another host holds a reservation: `aionvme resv-report {address}` shows whose",
    "FORMAT_IN_PROGRESS": "Wait for its end: `aionvme id-ns {address}` shows how far it is (fpi)",
    "INVALID_FIRMWARE_SLOT": "`aionvme fw-log {address}` shows the slots; choose one with -s",
    "INVALID_FIRMWARE_IMAGE": "The image is not for this model, or not whole: check the file, and the model with "
    "`aionvme id-ctrl {address}`",
    "INVALID_LOG_PAGE": "The controller does not have this log page: `aionvme supported-log-pages {address}` lists "
    "those that it has",
    "INVALID_FORMAT": "`aionvme id-ns {address} -H` lists the formats that there are (lbafs)",
    "FIRMWARE_NEEDS_CONVENTIONAL_RESET": "The image was taken; it runs once the machine was switched off and on",
    "FIRMWARE_NEEDS_SUBSYSTEM_RESET": "The image was taken; it runs after `aionvme subsystem-reset {address}`",
    "FIRMWARE_NEEDS_CONTROLLER_RESET": "The image was taken; it runs after `aionvme reset {address}`",
    "FEATURE_NOT_SAVEABLE": "Leave out --save",
    "FEATURE_NOT_CHANGEABLE": "`aionvme get-feature {address} -f FID -s 3` says what can be done with it",
    "FEATURE_NOT_NAMESPACE_SPECIFIC": "Leave out -n: the feature is the controller's",
    "OVERLAPPING_RANGE": "Pieces of the image overlap: check --offset and --xfer, or go on with --ignore-ovr",
    "NAMESPACE_INSUFFICIENT_CAPACITY": _CAPACITY,
    "INSUFFICIENT_CAPACITY": _CAPACITY,
    "NAMESPACE_ID_UNAVAILABLE": "The controller has as many namespaces as it can (nn): make room with delete-ns",
    "NAMESPACE_ALREADY_ATTACHED": _CONTROLLERS,
    "NAMESPACE_IS_PRIVATE": "One controller may have it at a time: detach it from that one first, or create it with "
    f"--nmic 1. {_CONTROLLERS}",
    "NAMESPACE_NOT_ATTACHED": _CONTROLLERS,
    "THIN_PROVISIONING_NOT_SUPPORTED": "Give a capacity that is the size: --ncap as --nsze",
    "CONTROLLER_LIST_INVALID": "There is no such controller: `aionvme list-ctrl {address}` lists them; leave out -c "
    "for the one that is asked",
    "SELF_TEST_IN_PROGRESS": "`aionvme device-self-test {address} --wait` waits for its end, and -s 0xf aborts it",
    "INVALID_CONTROLLER_ID": _SECONDARY,
    "INVALID_SECONDARY_CONTROLLER_STATE": f"Take it offline first (-a 7). {_SECONDARY}",
    "INVALID_CONTROLLER_RESOURCES": _RESOURCES,
    "INVALID_RESOURCE_ID": _RESOURCES,
    "ANA_GROUP_ID_INVALID": "`aionvme ana-log {address}` lists the groups that there are",
    "ATTACHMENT_LIMIT_EXCEEDED": "Detach another namespace first, with detach-ns",
    "COMMAND_SET_NOT_SUPPORTED": _COMMAND_SETS,
    "COMMAND_SET_NOT_ENABLED": _COMMAND_SETS,
    "COMMAND_SET_COMBINATION_REJECTED": _COMMAND_SETS,
    "INVALID_PROTECTION_INFORMATION": "`aionvme id-ns {address} -H` says how the namespace is protected (dps); "
    "--prinfo has to go with that",
    "COMMAND_SIZE_LIMIT_EXCEEDED": "Ask for fewer blocks: `aionvme nvm-id-ctrl {address}` says how many a command "
    "may have (vsl, wzsl, wusl, dmrl), for copy `aionvme id-ns {address}` (mssrl, mcl, msrc)",
    "OVERLAPPING_IO_RANGE": "Choose a destination that no range of the source has",
    "WRITE_FAULT": _MEDIA,
    "UNRECOVERED_READ_ERROR": _MEDIA,
    "UNRECOVERED_ERROR": _MEDIA,
    "GUARD_CHECK_ERROR": _TAGS,
    "APPLICATION_TAG_CHECK_ERROR": _TAGS,
    "REFERENCE_TAG_CHECK_ERROR": _TAGS,
    "STORAGE_TAG_CHECK_ERROR": _TAGS,
    "COMPARE_FAILURE": "The blocks have other data: `aionvme read {address}` with the same options and -d OTHER, then "
    "`cmp FILE OTHER`, shows where",
    "ACCESS_DENIED": _LOCKED,
    "DEALLOCATED_OR_UNWRITTEN_BLOCK": "The blocks have not been written: write them first, or read them as zeros, with "
    "DULBE of feature 5 off (`aionvme get-feature {address} -f 5 -H`)",
    "ANA_PERSISTENT_LOSS": _ANA,
    "ANA_INACCESSIBLE": _ANA,
    "ANA_TRANSITION": f"{_LATER}. {_ANA}",
}

_ALLOCATED = (
    "There is no such namespace: `aionvme list-ns {address} -a` lists those that there are, attached or not; "
    "`aionvme create-ns {address}` makes one"
)

#: By a sub-command and the name of a status, where it means something of its own there.
ADVICE_OF = {
    **{
        (command, status): _ALLOCATED
        # A controller answers these for an identifier that no namespace has (Base 2.0, 3.2.1.5).
        for status in ("INVALID_FIELD", "INVALID_NAMESPACE_OR_FORMAT")
        for command in ("attach-ns", "detach-ns", "delete-ns")
    },
    (
        "persistent-event-log",
        "COMMAND_SEQUENCE_ERROR",
    ): f"There is no context to read from or to release: leave -a out, which reads all in one. {_RESET}",
    (
        "fw-commit",
        "INVALID_FIRMWARE_IMAGE",
    ): "The controller has no image, or not a whole one: `aionvme fw-commit "
    f"{{address}} --fw FILE` downloads and commits in one. {_RESET}",
}


@attrs.frozen
class Asked:
    """What a controller was asked when it answered with a status.

    Attributes:
        address: Which controller.
        command: The sub-command.
        nsid: The namespace that was named; None for none.
        namespaces: Those that the controller has; None where it was not reached.
    """

    address: str
    command: str
    nsid: int | None
    namespaces: Collection[int] | None


_OF_A_NAMESPACE = ("INVALID_FIELD", "INVALID_NAMESPACE_OR_FORMAT")
_ALL = 0xFFFFFFFF


def advice(error: StatusError, asked: Asked) -> str | None:
    """What else to try, None where there is nothing to say."""
    name = error.status.name
    found = ADVICE_OF.get((asked.command, name))
    if found is None and name in _OF_A_NAMESPACE and _is_missing(asked):
        listed = ", ".join(map(str, sorted(asked.namespaces or ()))) or "none"
        found = f"There is no active namespace {asked.nsid}; there is {listed}: choose one with -n"
    found = found or ADVICE.get(name)
    return found.format(address=shlex.quote(asked.address)) if found else None


def _is_missing(asked: Asked) -> bool:
    if asked.nsid in (None, 0, _ALL) or asked.namespaces is None:
        return False
    return asked.nsid not in asked.namespaces
