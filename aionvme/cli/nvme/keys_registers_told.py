"""Owns what nvme-cli says of each register with -v: its keys and words (nvme-print-json.c, json_registers_*)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aionvme.cli.nvme.document import hex_text
from aionvme.spec import registers
from aionvme.spec.bits import Bits
from aionvme.spec.registers import Reg

__all__ = ["told"]

# A key, and what is said under it of the register's bits.
_Row = tuple[str, Callable[[Any], Any]]

_SUPPORTED = ("Not supported", "Supported")
_NO_YES = ("No", "Yes")
_ENFORCED = ("Enforced", "Not enforced")
_UNITS = ("Bytes", "One KB", "One MB", "One GB")
_SIZES = ("4 KB", "64 KB", "1 MB", "16 MB", "256 MB", "4 GB", "64 GB")
_ARBITRATION = {0: "Round Robin", 1: "Weighted Round Robin with Urgent Priority Class", 7: "Vendor Specific"}
_SELECTED = {0: "NVM Command Set", 6: "All supported I/O Command Sets", 7: "Admin Command Set only"}
_SHUTDOWN = ("No notification; no effect", "Normal shutdown notification", "Abrupt shutdown notification")
_SHUT = (
    "Normal operation (no shutdown has been requested)",
    "Shutdown processing occurring",
    "Shutdown processing complete",
)
_BOOT = (
    "No Boot Partition read operation requested",
    "Boot Partition read in progress",
    "Boot Partition read completed successfully",
    "Error completing Boot Partition read",
)
_HEALTH = ("Normal Operation", "Restore Error", "Read Only", "Unreliable")
_NO_BUFFER = {"Result": "Controller Memory Buffer feature is not supported"}
# CAP.NSSES is of Base 2.1.
_NSSES = 61


def _word(field: str, words: Mapping[int, str] | tuple[str, ...], form: str = "{}") -> Callable[[Any], str]:
    """A word for the number of a bit field."""
    known = words if isinstance(words, Mapping) else dict(enumerate(words))
    return lambda bits: form.format(known.get(getattr(bits, field), "Reserved"))


def _hex(field: str) -> Callable[[Any], str]:
    return lambda bits: f"{getattr(bits, field):x}"


def _more(field: str, base: int) -> Callable[[Any], int]:
    return lambda bits: getattr(bits, field) + base


def _bytes(field: str, shift: int = 0) -> Callable[[Any], str]:
    return lambda bits: f"{1 << shift + getattr(bits, field)} bytes"


def _seconds(field: str) -> Callable[[Any], str]:
    return lambda bits: f"{getattr(bits, field) // 2} secs"


def _command_sets(cap: registers.Cap) -> list[dict[str, str]]:
    last = "Only Admin Command Set" if cap.css & 0x80 else "I/O Command Set"
    return [
        {
            "NVM command set": _SUPPORTED[cap.css & 1],
            "One or more I/O Command Sets": _SUPPORTED[cap.css >> 6 & 1],
            last: "Supported",
        }
    ]


_ROWS: dict[Reg, tuple[type[Bits], tuple[_Row, ...]]] = {
    Reg.CAP: (
        registers.Cap,
        (
            (
                "NVM Subsystem Shutdown Enhancements Supported (NSSES)",
                lambda cap: _SUPPORTED[cap.value >> _NSSES & 1],
            ),
            ("Controller Ready With Media Support (CRWMS)", _word("crwms", _SUPPORTED)),
            ("Controller Ready Independent of Media Support (CRIMS)", _word("crims", _SUPPORTED)),
            ("NVM Subsystem Shutdown Supported (NSSS)", _word("nsss", _SUPPORTED)),
            ("Controller Memory Buffer Supported (CMBS):", _word("cmbs", _SUPPORTED)),
            ("Persistent Memory Region Supported (PMRS)", _word("pmrs", _SUPPORTED)),
            ("Memory Page Size Maximum (MPSMAX)", _bytes("mpsmax", 12)),
            ("Memory Page Size Minimum (MPSMIN)", _bytes("mpsmin", 12)),
            (
                "Controller Power Scope (CPS)",
                _word("cps", ("Not Reported", "Controller scope", "Domain scope", "NVM subsystem scope")),
            ),
            ("Boot Partition Support (BPS)", _word("bps", _NO_YES)),
            ("Command Sets Supported (CSS)", _command_sets),
            ("NVM Subsystem Reset Supported (NSSRS)", _word("nssrs", _NO_YES)),
            ("Doorbell Stride (DSTRD)", _bytes("dstrd", 2)),
            ("Timeout (TO)", lambda cap: f"{500 * cap.to} ms"),
            (
                "Arbitration Mechanism Supported (AMS)",
                lambda cap: [{_ARBITRATION[1]: _SUPPORTED[cap.ams >> 1 & 1]}],
            ),
            ("Contiguous Queues Required (CQR)", _word("cqr", _NO_YES)),
            ("Maximum Queue Entries Supported (MQES)", _more("mqes", 1)),
        ),
    ),
    Reg.CC: (
        registers.Cc,
        (
            ("Controller Ready Independent of Media Enable (CRIME)", _word("crime", ("Disabled", "Enabled"))),
            ("I/O Completion Queue Entry Size (IOCQES): ", _bytes("iocqes")),
            ("I/O Submission Queue Entry Size (IOSQES)", _bytes("iosqes")),
            ("Shutdown Notification (SHN)", _word("shn", _SHUTDOWN)),
            ("Arbitration Mechanism Selected (AMS)", _word("ams", _ARBITRATION)),
            ("Memory Page Size (MPS)", _bytes("mps", 12)),
            ("I/O Command Set Selected (CSS)", _word("css", _SELECTED)),
            ("Enable (EN)", _word("en", _NO_YES)),
        ),
    ),
    Reg.CSTS: (
        registers.Csts,
        (
            ("Shutdown Type (ST)", _word("st", ("Controller", "Subsystem"))),
            ("Processing Paused (PP)", _word("pp", _NO_YES)),
            ("NVM Subsystem Reset Occurred (NSSRO)", _word("nssro", _NO_YES)),
            ("Shutdown Status (SHST)", _word("shst", _SHUT)),
            ("Controller Fatal Status (CFS)", _word("cfs", ("False", "True"))),
            ("Ready (RDY)", _word("rdy", _NO_YES)),
        ),
    ),
    Reg.AQA: (
        registers.Aqa,
        (
            ("Admin Completion Queue Size (ACQS)", _more("acqs", 1)),
            ("Admin Submission Queue Size (ASQS)", _more("asqs", 1)),
        ),
    ),
    Reg.CMBLOC: (
        registers.Cmbloc,
        (
            ("Offset (OFST) (See cmbsz.szu for granularity)", lambda loc: f"0x{loc.ofst:x}"),
            ("CMB Queue Dword Alignment (CQDA)", _more("cqda", 0)),
            ("CMB Data Metadata Mixed Memory Support (CDMMMS)", _word("cdmmms", _ENFORCED)),
            (
                "CMB Data Pointer and Command Independent Locations Support (CDPCILS)",
                _word("cdpcils", _ENFORCED),
            ),
            ("CMB Data Pointer Mixed Locations Support (CDPMLS)", _word("cdpmls", _ENFORCED)),
            ("CMB Queue Physically Discontiguous Support (CQPDS)", _word("cqpds", _ENFORCED)),
            ("CMB Queue Mixed Memory Support (CQMMS)", _word("cqmms", _ENFORCED)),
            ("Base Indicator Register (BIR)", lambda loc: f"0x{loc.bir:x}"),
        ),
    ),
    Reg.CMBSZ: (
        registers.Cmbsz,
        (
            ("Size (SZ)", _more("sz", 0)),
            ("Size Units (SZU)", _word("szu", _SIZES)),
            ("Write Data Support (WDS)", _word("wds", _SUPPORTED)),
            ("Read Data Support (RDS)", _word("rds", _SUPPORTED)),
            ("PRP SGL List Support (LISTS)", _word("lists", _SUPPORTED)),
            ("Completion Queue Support (CQS)", _word("cqs", _SUPPORTED)),
            ("Submission Queue Support (SQS)", _word("sqs", _SUPPORTED)),
        ),
    ),
    Reg.BPINFO: (
        registers.Bpinfo,
        (
            ("Active Boot Partition ID (ABPID)", _more("abpid", 0)),
            ("Boot Read Status (BRS)", _word("brs", _BOOT)),
            ("Boot Partition Size (BPSZ)", _more("bpsz", 0)),
        ),
    ),
    Reg.BPRSEL: (
        registers.Bprsel,
        (
            ("Boot Partition Identifier (BPID)", _more("bpid", 0)),
            ("Boot Partition Read Offset (BPROF)", _hex("bprof")),
            ("Boot Partition Read Size (BPRSZ)", _hex("bprsz")),
        ),
    ),
    Reg.CMBMSC: (
        registers.Cmbmsc,
        (
            ("Controller Base Address (CBA)", _hex("cba")),
            ("Controller Memory Space Enable (CMSE)", _hex("cmse")),
            ("Capabilities Registers Enabled (CRE)", _word("cre", ("Not enabled", "Enabled"))),
        ),
    ),
    Reg.CMBSTS: (registers.Cmbsts, (("Controller Base Address Invalid (CBAI)", _hex("cbai")),)),
    Reg.CMBEBS: (
        registers.Cmbebs,
        (
            ("CMB Elasticity Buffer Size Base (CMBWBZ)", lambda ebs: hex_text(ebs.cmbwbz)),
            ("CMB Read Bypass Behavior (CMBRBB)", _word("cmbrbb", ("may", "shall"))),
            ("CMB Elasticity Buffer Size Units (CMBSZU)", _word("cmbszu", _UNITS)),
        ),
    ),
    Reg.CMBSWTP: (
        registers.Cmbswtp,
        (
            ("CMB Sustained Write Throughput (CMBSWTV)", lambda rate: hex_text(rate.cmbswtv)),
            ("CMB Sustained Write Throughput Units (CMBSWTU)", _word("cmbswtu", _UNITS, "{}/second")),
        ),
    ),
    Reg.CRTO: (registers.Crto, (("CRIMT", _seconds("crimt")), ("CRWMT", _seconds("crwmt")))),
    Reg.PMRCAP: (
        registers.Pmrcap,
        (
            ("Controller Memory Space Supported (CMSS)", _word("cmss", _SUPPORTED)),
            ("Persistent Memory Region Timeout (PMRTO)", _hex("pmrto")),
            ("Persistent Memory Region Write Barrier Mechanisms (PMRWBM)", _hex("pmrwbm")),
            (
                "Persistent Memory Region Time Units (PMRTU)",
                lambda cap: "minutes" if cap.pmrtu else "500 milliseconds",
            ),
            ("Base Indicator Register (BIR)", _hex("bir")),
            ("Write Data Support (WDS)", _word("wds", _SUPPORTED)),
            ("Read Data Support (RDS)", _word("rds", _SUPPORTED)),
        ),
    ),
    Reg.PMRCTL: (registers.Pmrctl, (("Enable (EN)", _word("en", ("Disabled", "Ready"))),)),
    Reg.PMRSTS: (
        registers.Pmrsts,
        (
            ("Controller Base Address Invalid (CBAI)", _hex("cbai")),
            ("Health Status (HSTS)", _word("hsts", _HEALTH)),
            ("Not Ready (NRDY)", _word("nrdy", ("Ready", "Not ready"))),
            ("Error (ERR)", _hex("err")),
        ),
    ),
    Reg.PMREBS: (
        registers.Pmrebs,
        (
            ("PMR Elasticity Buffer Size Base (PMRWBZ)", _hex("pmrwbz")),
            ("Read Bypass Behavior", _word("rbb", ("May", "Shall"))),
            ("PMR Elasticity Buffer Size Units (PMRSZU)", _word("pmrszu", _UNITS)),
        ),
    ),
    Reg.PMRSWTP: (
        registers.Pmrswtp,
        (
            ("PMR Sustained Write Throughput (PMRSWTV)", _hex("pmrswtv")),
            ("PMR Sustained Write Throughput Units (PMRSWTU)", _word("pmrswtu", _UNITS, "{}/second")),
        ),
    ),
    Reg.PMRMSCL: (
        registers.Pmrmscl,
        (
            ("Controller Base Address (CBA)", lambda low: hex_text(low.cba)),
            ("Controller Memory Space Enable (CMSE)", lambda low: hex_text(low.cmse)),
        ),
    ),
}
# Registers that are one value: what it is called, and how it is written.
_WHOLE: dict[Reg, tuple[str, Callable[[int], Any]]] = {
    Reg.INTMS: ("Interrupt Vector Mask Set (IVMS)", "{:x}".format),
    Reg.INTMC: ("Interrupt Vector Mask Set (IVMC)", "{:x}".format),
    Reg.NSSR: ("NVM Subsystem Reset Control (NSSRC)", int),
    Reg.ASQ: ("Admin Submission Queue Base (ASQB)", "{:x}".format),
    Reg.ACQ: ("Admin Completion Queue Base (ACQB)", "{:x}".format),
    Reg.BPMBL: (
        "Boot Partition Memory Buffer Base Address (BMBBA)",
        lambda address: f"{address >> 12:x}",
    ),
    Reg.NSSD: ("NVM Subsystem Shutdown Control (NSSC)", hex_text),
    Reg.PMRMSCU: ("Controller Base Address (CBA)", hex_text),
}
# Those that have a 0x in front.
_PREFIXED = (Reg.CMBEBS, Reg.CMBSWTP, Reg.PMRMSCL, Reg.PMRMSCU)


def told(reg: Reg, values: Mapping[Reg, int]) -> dict[str, Any]:
    """What nvme-cli says of a register.

    Args:
        reg: Which.
        values: Its value, and for CMBLOC that of CMBSZ, for PMRSTS that of PMRCTL.
    """
    value = values[reg]
    if reg == Reg.VS:
        version = registers.Vs(value)
        return {
            "Version": f"{value:x}",
            "NVMe specification": f"{version.mjr}.{version.mnr}.{version.ter}",
        }
    found: dict[str, Any] = {reg.name.lower(): hex_text(value) if reg in _PREFIXED else f"{value:x}"}
    if reg in _WHOLE:
        name, written = _WHOLE[reg]
        # NSSD has no key for the whole.
        return {name: written(value)} if reg == Reg.NSSD else found | {name: written(value)}
    if reg in (Reg.CMBLOC, Reg.CMBSZ) and not values[Reg.CMBSZ]:
        return found | _NO_BUFFER
    kind, rows = _ROWS[reg]
    bits = kind(value)
    found |= {name: say(bits) for name, say in rows}
    if reg == Reg.PMRSTS and not values[Reg.PMRCTL] & 1:
        found["Not Ready (NRDY)"] = "Not ready"
    return found
