"""Owns nvme-cli's keys of the persistent event log: its header, and the events by type."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from aionvme.cli.nvme import words
from aionvme.cli.nvme.document import Document, Key, Keys, text_dump
from aionvme.cli.nvme.keys_logs import SMART
from aionvme.spec.errors import DecodeError
from aionvme.spec.listing import Cursor
from aionvme.spec.logs.events import (
    ChangeNamespaceEvent,
    FirmwareCommitEvent,
    FormatCompletionEvent,
    FormatStartEvent,
    HardwareErrorEvent,
    PersistentEvent,
    PersistentEventHeader,
    PersistentEventLog,
    PersistentEventsHeader,
    PersistentEventType,
    PowerOnResetEvent,
    ResetInformation,
    SanitizeCompletionEvent,
    SanitizeStartEvent,
    SetFeatureEvent,
    ThermalExcursionEvent,
    TimestampChangeEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["persistent_events"]

_HEADER = Keys(
    PersistentEventsHeader,
    "log_id=lid total_num_of_events=tnev total_log_len=tll log_revision=lrev log_header_len=lhl timestamp "
    "power_on_hours=poh power_cycle_count=pcc pci_vid=vid:x pci_ssvid=ssvid:x sn mn subnqn gen_number=generation rci:x",
)
_EVENT = Keys(
    PersistentEventHeader,
    Key("event_type", lambda head, _raw: words.event_name(head.etype)),
    "event_type_rev=etrev event_header_len=ehl event_header_additional_info=ehai ctrl_id=cntlid "
    "event_time_stamp=timestamp port_id=pelpid vu_info_len=vsil event_len=el",
)

_TABLES: dict[int, Keys] = {
    PersistentEventType.SMART: SMART,
    PersistentEventType.FIRMWARE_COMMIT: Keys(
        FirmwareCommitEvent,
        Key("old_fw_rev", lambda _event, raw: words.firmware_text(raw[:8])),
        Key("new_fw_rev", lambda _event, raw: words.firmware_text(raw[8:16])),
        "fw_commit_action=action fw_slot=slot sct_fw=sct sc_fw=sc vu_assign_fw_commit_rc=vendor",
    ),
    PersistentEventType.TIMESTAMP_CHANGE: Keys(
        TimestampChangeEvent, "prev_ts=previous ml_secs_since_reset=since_reset"
    ),
    PersistentEventType.CHANGE_NAMESPACE: Keys(
        ChangeNamespaceEvent,
        "nsmgt_cdw10=cdw10 nsze nscap=ncap flbas dps nmic ana_grp_id=anagrpid nvmset_id=nvmsetid nsid",
    ),
    PersistentEventType.FORMAT_START: Keys(FormatStartEvent, "nsid fna format_nvm_cdw10=cdw10"),
    PersistentEventType.FORMAT_COMPLETION: Keys(
        FormatCompletionEvent,
        "nsid smallest_fpi=fpi format_nvm_status=status compln_info=information status_field",
    ),
    PersistentEventType.SANITIZE_START: Keys(
        SanitizeStartEvent, "SANICAP=sanicap sani_cdw10=cdw10 sani_cdw11=cdw11"
    ),
    PersistentEventType.SANITIZE_COMPLETION: Keys(
        SanitizeCompletionEvent, "sani_prog=sprog sani_status=sstat cmpln_info=information"
    ),
    PersistentEventType.THERMAL_EXCURSION: Keys(ThermalExcursionEvent, "over_temp=over threshold"),
}

_RESET = Keys(
    ResetInformation,
    "ctrl_id=cntlid fw_act=firmware_activation op_in_prog=operation ctrl_power_cycle=power_cycle "
    "power_on_ml_secs=power_on_milliseconds ctrl_time_stamp=timestamp",
)


def _power_on(data: bytes) -> dict[str, Any]:
    # Where there are several controllers, nvme-cli's keys are those of the last.
    found: dict[str, Any] = {"fw_rev": words.firmware_text(data[:8])}
    for controller in PowerOnResetEvent.decode(data).controllers:
        found |= _RESET.of(controller)
    return found


def _hardware_error(data: bytes) -> dict[str, Any]:
    return {"nss_hw_err_code": HardwareErrorEvent.decode(data).code}


def _set_feature(data: bytes) -> dict[str, Any]:
    event = SetFeatureEvent.decode(data)
    fid = event.fid or 0
    value = event.cdws[1] if len(event.cdws) > 1 else 0
    return {"feature": f"{fid:#04x}", "name": words.feature_name(fid), "value": f"{value:#010x}"}


def _telemetry(data: bytes) -> dict[str, Any]:
    return {"create": text_dump(data[:512])}


_OTHERS: dict[int, Callable[[bytes], dict[str, Any]]] = {
    PersistentEventType.POWER_ON_OR_RESET: _power_on,
    PersistentEventType.HARDWARE_ERROR: _hardware_error,
    PersistentEventType.SET_FEATURE: _set_feature,
    PersistentEventType.TELEMETRY_CREATE: _telemetry,
}


def _event(number: int, event: PersistentEvent) -> Document:
    # The number is nvme-cli's count, the first event has 0.
    document = Document(event_number=number)
    own = _EVENT.of(event.head)
    document.update(own)
    document.notes.update(own.notes)
    keys, other = _TABLES.get(event.head.etype), _OTHERS.get(event.head.etype)
    if keys is not None and len(event.data) >= keys.kind.SIZE:
        document.update(keys.document(event.data))
    elif other is not None:
        document.update(other(event.data))
    return document


def _events(raw: bytes, head: PersistentEventsHeader) -> Iterator[PersistentEvent]:
    """The events of the log; of a part of it those that are whole in it."""
    if len(raw) >= head.tll:
        yield from PersistentEventLog.decode(raw).events
        return
    cursor = Cursor(raw, "the persistent event log")
    cursor.take(PersistentEventsHeader)
    with contextlib.suppress(DecodeError):
        for _ in range(head.tnev):
            yield PersistentEvent.take(cursor)


def persistent_events(raw: bytes) -> Document:
    """The persistent event log, or as many bytes of it as there are, but the header at least."""
    head = PersistentEventsHeader.decode(raw)
    document = _HEADER.document(raw)
    for kind in sorted(head.supported):
        document[f"bitmap_{kind:x}"] = f"Support {words.event_name(kind)}"
    document["list_of_event_entries"] = [
        _event(number, event) for number, event in enumerate(_events(raw, head))
    ]
    return document
