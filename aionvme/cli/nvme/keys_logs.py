"""Owns nvme-cli's keys of log pages, but the persistent event log's. Order and quirks are nvme-print-json.c's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionvme.cli.nvme import words
from aionvme.cli.nvme.document import Document, Key, Keys, Note, hex_text
from aionvme.spec.logs.health import (
    EnduranceGroupLog,
    ErrorInformation,
    ErrorLog,
    FirmwareSlots,
    SanitizeLog,
    SelfTestLog,
    SelfTestResult,
    SelfTestResultCode,
    SmartLog,
)
from aionvme.spec.logs.namespaces import AnaLog, AnaState, ChangedNamespaces
from aionvme.spec.logs.support import CommandsSupportedAndEffects, SupportedLogPages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aionvme.spec.structure import Buffer

__all__ = [
    "ENDURANCE",
    "SMART",
    "ana",
    "changed_namespaces",
    "effects",
    "errors",
    "firmware",
    "sanitize",
    "self_test",
    "smart",
    "supported_pages",
]

_ERROR = Keys(
    ErrorInformation,
    "error_count sqid cmdid=cid",
    Key("status_field", lambda entry, _raw: entry.status_field >> 1, Note("Status field", hexadecimal=True)),
    Key("phase_tag", lambda entry, _raw: entry.status_field & 1, Note("Phase tag")),
    "parm_error_location=parameter_error_location:x lba nsid vs=vendor_log_page trtype cs=command_specific "
    "trtype_spec_info=transport_specific",
)


def errors(raw: Buffer) -> Document:
    """The error information log, the empty entries too."""
    return Document(errors=[_ERROR.of(entry) for entry in ErrorLog.decode(raw).entries])


_SMART_FIRST = (
    "critical_warning:x temperature avail_spare=available_spare spare_thresh=available_spare_threshold "
    "percent_used=percentage_used endurance_grp_critical_warning_summary=endurance_group_warning:x data_units_read "
    "data_units_written host_read_commands host_write_commands controller_busy_time power_cycles power_on_hours "
    "unsafe_shutdowns media_errors num_err_log_entries=error_log_entries warning_temp_time=warning_temperature_time "
    "critical_comp_time=critical_temperature_time"
)


def _sensor(number: int) -> Key:
    return Key(
        f"temperature_sensor_{number}",
        lambda smart, _raw: smart.temperature_sensors[number - 1],
        Note("Kelvin"),
        lambda smart: smart.temperature_sensors[number - 1],
    )


SMART = Keys(
    SmartLog,
    _SMART_FIRST,
    *(_sensor(number) for number in range(1, 9)),
    "thm_temp1_trans_count=thermal_transitions_1 thm_temp2_trans_count=thermal_transitions_2 "
    "thm_temp1_total_time=thermal_time_1 thm_temp2_total_time=thermal_time_2",
)

# What nvme-cli calls the bits of the critical warning.
_WARNINGS = ("available_spare", "temp_threshold", "reliability_degraded", "ro", "vmbu_failed", "pmr_ro")


def smart(raw: Buffer, *, detail: bool = False) -> Document:
    """The SMART log; with `detail` the critical warning is an object of its bits."""
    document = SMART.document(raw)
    if detail:
        value = document["critical_warning"]
        document["critical_warning"] = {
            "value": value,
            **{name: value >> bit & 1 for bit, name in enumerate(_WARNINGS)},
        }
    return document


def firmware(raw: Buffer, name: str) -> Document:
    """The firmware slot information of the controller that is called `name`."""
    slots = FirmwareSlots.decode(raw)
    found = Document({"Active Firmware Slot (afi)": slots.afi})
    for slot in range(1, 8):
        revision = slots.frs[8 * slot - 8 : 8 * slot]
        if revision[0]:
            found[f"Firmware Rev Slot {slot}"] = words.firmware_text(revision)
    return Document({name: found})


def changed_namespaces(raw: Buffer, name: str) -> Document:
    """The changed namespaces; where they are too many to be listed, nvme-cli says nothing, and this does."""
    changed = ChangedNamespaces.decode(raw)
    listed = {f"[{at:4}]": hex_text(nsid) for at, nsid in enumerate(changed.nsids, 1)}
    if changed.too_many:
        listed = {"error": "more namespaces changed than the list has room for: look at all of them"}
    return Document({"Changed Attached Namespace List Log": name, name: listed})


def effects(raw: Buffer, csi: int) -> Document:
    """Commands supported and effects, of one I/O command set."""
    page = CommandsSupportedAndEffects.decode(raw)
    return Document(
        command_set_identifier=csi,
        admin_cmd_set={
            f"ACS_{opcode} ({words.admin_command(opcode)})": effect
            for opcode, effect in enumerate(page.acs)
            if effect & 1
        },
        io_cmd_set={
            f"IOCS_{opcode} ({words.io_command(opcode)})": effect
            for opcode, effect in enumerate(page.iocs)
            if effect & 1
        },
    )


# -- self-test and sanitize ----------------------------------------------------------------------------------


def _self_test_result(result: SelfTestResult) -> Iterator[tuple[str, Any]]:
    yield "Self test result", result.result
    if result.result == SelfTestResultCode.NOT_USED:
        return
    yield "Self test code", result.code
    yield "Segment number", result.segment
    yield "Valid Diagnostic Information", result.valid
    yield "Power on hours", result.poh
    for bit, (name, value) in enumerate(
        (
            ("Namespace Identifier", result.nsid),
            ("Failing LBA", result.flba),
            ("Status Code Type", result.sct),
            ("Status Code", result.sc),
        )
    ):
        if result.valid >> bit & 1:
            yield name, value
    yield "Vendor Specific", result.vendor


def self_test(raw: Buffer, entries: int = 20) -> Document:
    """The device self-test log, with so many results."""
    log = SelfTestLog.decode(raw)
    return Document(
        {
            "Current Device Self-Test Operation": log.operation,
            "Current Device Self-Test Completion": log.completion,
            "List of Valid Reports": [dict(_self_test_result(result)) for result in log.results[:entries]],
        }
    )


_SANITIZE = Keys(
    SanitizeLog,
    "cdw10_info=scdw10 time_over_write=eto time_block_erase=etbe time_crypto_erase=etce "
    "time_over_write_no_dealloc=etondmm time_block_erase_no_dealloc=etbenmm time_crypto_erase_no_dealloc=etcenmm",
    # Of Base 2.1, 5.1.12.1.33, as the state below.
    Key(
        "time_post_verification_dealloc",
        lambda _log, raw: int.from_bytes(raw[32:36], "little"),
        Note("Time of the deallocation that follows media verification"),
    ),
)
_SANITIZE_STAT = Keys(
    SanitizeLog,
    "media_verification_canceled=sstat.mvcncled global_erased=sstat.global_data_erased no_cmplted_passes=sstat.passes",
)
_FAILED = 3


def sanitize(raw: Buffer, name: str) -> Document:
    """The sanitize status of the controller that is called `name`."""
    log = SanitizeLog.decode(raw)
    status = _SANITIZE_STAT.of(log)
    status["status"] = _told(log.state, words.SANITIZE_STATUS, "Unknown")
    state = raw[36]
    found = Document(sprog=log.sprog, sstat=status)
    rest = _SANITIZE.of(log, bytes(raw))
    found.update(rest)
    found.notes.update(rest.notes)
    found["sanitize_state_information"] = {
        "sanitize_state": _told(state & 0xF, words.SANITIZE_STATES, "Reserved")
    }
    if log.state == _FAILED:
        found["sanitize_state_information"]["failure_state"] = _told(
            state >> 4, words.SANITIZE_STATES, "Reserved"
        )
    return Document({name: found})


def _told(number: int, texts: tuple[str, ...], otherwise: str) -> str:
    return f"({number}) {texts[number] if number < len(texts) else otherwise}"


ENDURANCE = Keys(
    EnduranceGroupLog,
    "critical_warning:x endurance_group_features=egfeat:x avl_spare=available_spare "
    "avl_spare_threshold=available_spare_threshold percent_used=percentage_used domain_identifier=domainid "
    "endurance_estimate data_units_read data_units_written media_units_written host_read_cmds=host_read_commands "
    "host_write_cmds=host_write_commands media_data_integrity_err=media_errors "
    "num_err_info_log_entries=error_log_entries total_end_grp_cap=tegcap unalloc_end_grp_cap=uegcap",
)


def supported_pages(raw: Buffer) -> Document:
    """The supported log pages; nvme-cli has a space at the end of each key."""
    pages = SupportedLogPages.decode(raw)
    return Document(
        supported_logs=[{f"lid_{lid:#x} ": value} for lid, value in enumerate(pages.lids) if value & 1]
    )


_ANA_STATES = {
    AnaState.OPTIMIZED: "optimized",
    AnaState.NON_OPTIMIZED: "non-optimized",
    AnaState.INACCESSIBLE: "inaccessible",
    AnaState.PERSISTENT_LOSS: "persistent-loss",
    AnaState.CHANGE: "change",
}


def ana(raw: Buffer, name: str) -> Document:
    """Asymmetric namespace access, of the controller that is called `name`."""
    log = AnaLog.decode(raw)
    states: dict[int, str] = {int(state): text for state, text in _ANA_STATES.items()}
    return Document(
        {
            "Asymmetric Namespace Access Log for NVMe device": name,
            "chgcnt": log.chgcnt,
            "ngrps": len(log.groups),
            "ANA DESC LIST ": [
                {
                    "grpid": group.agid,
                    "nnsids": len(group.nsids),
                    "chgcnt": group.chgcnt,
                    "state": states.get(group.state, "invalid state"),
                    "NSIDS": [{"nsid": nsid} for nsid in group.nsids],
                }
                for group in log.groups
            ],
        }
    )
