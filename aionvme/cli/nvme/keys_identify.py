"""Owns nvme-cli's keys of what Identify gives. The order and the quirks are those of its nvme-print-json.c."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aionvme.cli.nvme.document import Document, Key, Keys, Note, hex_text, text_dump, uuid_text, when
from aionvme.spec.identify import (
    IdentifyController,
    IdentifyNamespace,
    LbaFormat,
    Nidt,
    PowerState,
    decode_controller_list,
    decode_namespace_descriptors,
    decode_nsid_list,
)
from aionvme.spec.identify_sets import (
    ExtendedFormat,
    IdentifyIndependentNamespace,
    IdentifyNvmController,
    IdentifyNvmNamespace,
)
from aionvme.spec.namespaces import (
    PrimaryControllerCapabilities,
    SecondaryController,
    decode_secondary_controllers,
)

if TYPE_CHECKING:
    from aionvme.spec.structure import Buffer

__all__ = [
    "CONTROLLER",
    "INDEPENDENT_NAMESPACE",
    "NAMESPACE",
    "NVM_CONTROLLER",
    "PRIMARY_CONTROLLER",
    "command_sets",
    "controller_list",
    "namespace_descriptors",
    "nsid_list",
    "nvm_namespace",
    "secondary_controllers",
    "verbose_formats",
]


def _scale(field: str) -> Key:
    """The unit of a power, in the two upper bits of its byte (Base 2.0, 5.17.2.1)."""
    name = {"ips": "idle_scale", "apws": "active_scale"}[field]
    return Key(name, lambda state, _raw: getattr(state, field) >> 6, Note("1 for 0.0001 W, 2 for 0.01 W"))


def _nibble(name: str, field: str, shift: int) -> Key:
    return Key(name, lambda state, _raw: getattr(state, field) >> shift & 0xF, Note("Scale of the time"))


_POWER_STATE = Keys(
    PowerState,
    "max_power=mp max_power_scale=flags.mxps non-operational_state=flags.nops entry_lat=enlat exit_lat=exlat "
    "read_tput=rrt read_lat=rrl write_tput=rwt write_lat=rwl idle_power=idlp",
    _scale("ips"),
    "active_power=actp active_power_work=apws.apw",
    _scale("apws"),
    "emerg_power_fail_recover_time=epfrt",
    _nibble("emerg_power_fail_recover_scale", "epfr_fqv_ts", 0),
    "force_quiesce_vault_time=fqvt",
    _nibble("force_quiesce_vault_scale", "epfr_fqv_ts", 4),
    "emerg_power_fail_vault_time=epfvt",
    _nibble("emerg_power_fail_vault_scale", "epfvts", 0),
)

CONTROLLER = Keys(
    IdentifyController,
    "vid:x ssvid:x sn mn fr rab ieee:x cmic:x mdts cntlid:x ver:x rtd3r:x rtd3e:x oaes:x ctratt:x rrls bpcap:x nssl "
    "plsi cntrltype",
    Key("fguid", uuid_text("fguid"), Note("FRU globally unique identifier")),
    "crdt1 crdt2 crdt3 crcap nvmsr vwci mec oacs:x acl aerl frmw:x lpa:x elpe npss avscc:x apsta:x wctemp cctemp mtfa "
    "hmpre hmmin tnvmcap unvmcap rpmbs:x edstt dsto fwug kas hctma:x mntmt mxtmt sanicap:x hmminds hmmaxd nsetidmax "
    "endgidmax anatt anacap anagrpmax nanagrpid pels domainid kpioc mptfawr megcap tmpthha cqt sqes:x cqes:x maxcmd "
    "nn oncs:x fuses:x fna:x vwc:x awun awupf icsvscc nwpc acwu ocfs:x sgls:x mnan maxdna maxcna oaqd rhiri hirt "
    "cmmrtd nmmrtd minmrtg maxmrtg trattr mcudmq mnsudmq mcmr nmcmr mcdqpc",
    when(lambda ctrl: ctrl.subnqn, "subnqn"),
    "ioccsz iorcsz icdoff fcatt msdbd ofcs",
    Key("psds", lambda ctrl, _raw: [_POWER_STATE.of(state) for state in ctrl.power_states]),
)

_FORMAT = Keys(LbaFormat, "ms ds=lbads rp")


def _formats(ns: Any, _raw: bytes) -> list[dict[str, Any]]:
    # Those with attributes of their own (NULBAF) are not listed.
    formats = []
    for at, form in enumerate(ns.lbaf[: ns.nlbaf + 1]):
        formats.append(Document(lbaf=at) | _FORMAT.of(form) | {"in_use": int(at == ns.lba_format_index)})
    return formats


_RANKS = ("Best", "Better", "Good", "Degraded")


def verbose_formats(raw: Buffer) -> list[dict[str, Any]]:
    """The formats as nvme-cli has them with -v."""
    ns = IdentifyNamespace.decode(raw)
    return [
        {
            "LBA Format": at,
            "Metadata Size": f"{form.ms} bytes",
            "Data Size": f"{form.block_size} bytes",
            "Relative Performance": f"{form.rp:#x} {_RANKS[form.rp & 3]}",
            "in use": "yes" if at == ns.lba_format_index else "no",
        }
        for at, form in enumerate(ns.lbaf[: ns.nlbaf + 1])
    ]


NAMESPACE = Keys(
    IdentifyNamespace,
    "nsze:x ncap:x nuse:x nsfeat:x nlbaf flbas:x mc:x dpc:x dps:x nmic:x rescap:x fpi:x dlfeat nawun nawupf nacwu "
    "nabsn nabo nabspf noiob nvmcap",
    # NPWG and what follows count where OPTPERF says so, of one bit or of two (NVM Command Set 1.1, 4.1.5.1).
    when(lambda ns: ns.nsfeat & 0x30, "npwg npwa"),
    when(lambda ns: ns.nsfeat & 0x10, "npdg"),
    when(lambda ns: ns.nsfeat & 0x30, "npda nows"),
    "mssrl mcl msrc kpios nulbaf kpiodaag anagrpid nsattr nvmsetid endgid nguid eui64",
    Key("lbafs", _formats),
    Key("vs", lambda ns, _raw: text_dump(ns.vs.partition(b"\0")[0])),
)


def _later(name: str, offset: int, size: int, meaning: str) -> Key:
    """A field that came after the revision that the structure is declared by."""
    return Key(name, lambda _ns, raw: int.from_bytes(raw[offset : offset + size], "little"), Note(meaning))


# The last three are of Base 2.1, 5.1.13.2.8.
INDEPENDENT_NAMESPACE = Keys(
    IdentifyIndependentNamespace,
    "nsfeat:x nmic:x rescap:x fpi:x anagrpid nsattr:x nvmsetid endgid nstat:x",
    _later("kpios", 15, 1, "Key per I/O status"),
    _later("maxkt", 16, 2, "Maximum key tag"),
    _later("rgrpid", 20, 4, "Reachability group identifier"),
)

# WZDSL, KPIOCAP, VER and LBAMQF are of NVM Command Set 1.1, 4.1.5.
NVM_CONTROLLER = Keys(
    IdentifyNvmController,
    "vsl wzsl wusl dmrl dmrsl dmsl",
    _later("kpiocap", 16, 1, "Key per I/O capabilities"),
    _later("wzdsl", 17, 1, "Write Zeroes with deallocation size limit"),
    "aocs:x",
    _later("ver", 20, 4, "Version of the command set's specification"),
    _later("lbamqf", 24, 1, "LBA migration queue format"),
)

_EXTENDED_FORMAT = Keys(ExtendedFormat, "sts=value.sts pif=value.pif qpif=value.qpif")
_NVM_FIRST = Keys(IdentifyNvmNamespace, "lbstm:x pic:x pifa")
_NVM_LONG = Keys(IdentifyNvmNamespace, "npdgl")
_NVM_LAST = Keys(IdentifyNvmNamespace, "nprg npra nors npdal lbapss tlbaag")


def nvm_namespace(raw: Buffer, common: IdentifyNamespace) -> Document:
    """Identify Namespace of the NVM command set; how many formats there are says `common`."""
    own = IdentifyNvmNamespace.decode(raw)
    document = _NVM_FIRST.of(own)
    document["elbafs"] = [_EXTENDED_FORMAT.of(form) for form in own.elbaf[: common.nlbaf + common.nulbaf + 1]]
    for keys in (_NVM_LONG, _NVM_LAST) if common.nsfeat & 0x20 else (_NVM_LAST,):
        more = keys.of(own)
        document.update(more)
        document.notes.update(more.notes)
    return document


PRIMARY_CONTROLLER = Keys(
    PrimaryControllerCapabilities,
    "cntlid portid crt vqfrt vqrfa vqrfap vqprt vqfrsm vqgran vifrt virfa virfap viprt vifrsm vigran",
)
_SECONDARY_CONTROLLER = Keys(
    SecondaryController,
    "secondary-controller-identifier=scid primary-controller-identifier=pcid secondary-controller-state=scs "
    "virtual-function-number=vfn num-virtual-queues=nvq num-virtual-interrupts=nvi",
)


# -- lists ---------------------------------------------------------------------------------------------------


def nsid_list(raw: Buffer) -> Document:
    """A namespace list."""
    return Document(nsid_list=[{"nsid": nsid} for nsid in decode_nsid_list(raw)])


def controller_list(raw: Buffer) -> Document:
    """A controller list."""
    cntlids = decode_controller_list(raw)
    return Document(num_ctrl=len(cntlids), ctrl_list=[{"ctrl_id": cntlid} for cntlid in cntlids])


def secondary_controllers(raw: Buffer, most: int) -> Document:
    """A secondary controller list, of so many entries at most."""
    entries = decode_secondary_controllers(raw)[:most]
    return Document(
        {"num": len(entries), "secondary-controllers": [_SECONDARY_CONTROLLER.of(each) for each in entries]}
    )


# What nvme-cli calls an identifier, and how it writes it.
_NIDT: dict[int, tuple[str, Callable[[bytes], str]]] = {
    Nidt.EUI64: ("eui64", bytes.hex),
    Nidt.NGUID: ("nguid", bytes.hex),
    Nidt.UUID: ("uuid", lambda nid: str(uuid.UUID(bytes=nid))),
    Nidt.CSI: ("csi", lambda nid: hex_text(nid[0])),
}


def namespace_descriptors(raw: Buffer) -> Document:
    """Namespace identification descriptors; those of an unknown type are left out, and so is an empty list."""
    found = []
    at = 0
    for each in decode_namespace_descriptors(raw):
        if each.nidt in _NIDT:
            name, text = _NIDT[each.nidt]
            found.append(
                {"loc": at, "nidt": each.nidt, "nidl": len(each.nid), "Type": name, name: text(each.nid)}
            )
        at += 4 + len(each.nid)
    return Document({"ns-descs": found} if found else {})


# Bits of an I/O command set vector (Base 2.0, 5.17.2.21; the last two came later).
_SETS = (
    ("Computational Programs Namespace Command Set", 4),
    ("Subsystem Local Memory Command Set", 3),
    ("Zoned Namespace Command Set", 2),
    ("Key Value Command Set", 1),
    ("NVM Command Set", 0),
)


def command_sets(raw: Buffer) -> Document:
    """Which combinations of I/O command sets the controller has (CNS 1Ch)."""
    document = Document()
    for at in range(512):
        vector = int.from_bytes(raw[8 * at : 8 * at + 8], "little")
        if vector:
            document[f"I/O Command Set Combination[{at}]"] = vector
            document[f"IOCSC{at}"] = {
                name: "Selected" if vector >> bit & 1 else "Not selected" for name, bit in _SETS
            }
    return document
