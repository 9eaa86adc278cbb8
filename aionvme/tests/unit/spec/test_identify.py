"""Identify structures: against another decoder's reading, and against another header's offsets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.spec.errors import DecodeError
from aionvme.spec.identify import (
    ActivePower,
    IdentifyController,
    IdentifyNamespace,
    LbaFormat,
    NamespaceDescriptor,
    Nidt,
    Oacs,
    Oncs,
    PowerState,
    PowerStateFlags,
    Sgls,
    decode_controller_list,
    decode_namespace_descriptors,
    decode_nsid_list,
    encode_controller_list,
    encode_namespace_descriptors,
    encode_nsid_list,
)
from aionvme.tests.unit.spec.golden import CONTROLLERS, read_bytes, read_json

# First bytes of the fields as another implementation's comments give them, after Figure 312 of Base 2.1.
CONTROLLER_OFFSETS = """
vid 0 ssvid 2 sn 4 mn 24 fr 64 rab 72 ieee 73 cmic 76 mdts 77 cntlid 78 ver 80 rtd3r 84 rtd3e 88 oaes 92
ctratt 96 rrls 100 bpcap 102 nssl 104 plsi 110 cntrltype 111 fguid 112 crdt1 128 crdt2 130 crdt3 132
crcap 134 nvmsr 253 vwci 254 mec 255 oacs 256 acl 258 aerl 259 frmw 260 lpa 261 elpe 262 npss 263
avscc 264 apsta 265 wctemp 266 cctemp 268 mtfa 270 hmpre 272 hmmin 276 tnvmcap 280 unvmcap 296 rpmbs 312
edstt 316 dsto 318 fwug 319 kas 320 hctma 322 mntmt 324 mxtmt 326 sanicap 328 hmminds 332 hmmaxd 336
nsetidmax 338 endgidmax 340 anatt 342 anacap 343 anagrpmax 344 nanagrpid 348 pels 352 domainid 356
kpioc 358 mptfawr 360 megcap 368 tmpthha 384 cqt 386 sqes 512 cqes 513 maxcmd 514 nn 516 oncs 520
fuses 522 fna 524 vwc 525 awun 526 awupf 528 icsvscc 530 nwpc 531 acwu 532 ocfs 534 sgls 536 mnan 540
maxdna 544 maxcna 560 oaqd 564 rhiri 568 hirt 569 cmmrtd 570 nmmrtd 572 minmrtg 574 maxmrtg 575
trattr 576 mcudmq 578 mnsudmq 580 mcmr 582 nmcmr 584 mcdqpc 586 subnqn 768 ioccsz 1792 iorcsz 1796
icdoff 1800 fcatt 1802 msdbd 1803 ofcs 1804 dctype 1806 psd 2048 vs 3072
"""
# Sums of the member sizes of libnvme's and FreeBSD's structures.
NAMESPACE_OFFSETS = """
nsze 0 ncap 8 nuse 16 nsfeat 24 nlbaf 25 flbas 26 mc 27 dpc 28 dps 29 nmic 30 rescap 31 fpi 32 dlfeat 33
nawun 34 nawupf 36 nacwu 38 nabsn 40 nabo 42 nabspf 44 noiob 46 nvmcap 48 npwg 64 npwa 66 npdg 68 npda 70
nows 72 mssrl 74 mcl 76 msrc 80 kpios 81 nulbaf 82 kpiodaag 84 anagrpid 92 nsattr 99 nvmsetid 100
endgid 102 nguid 104 eui64 120 lbaf 128 vs 384
"""
POWER_STATE_OFFSETS = """
mp 0 flags 3 enlat 4 exlat 8 rrt 12 rrl 13 rwt 14 rwl 15 idlp 16 ips 18 actp 20 apws 22 epfrt 23 fqvt 24
epfvt 25 epfr_fqv_ts 26 epfvts 27
"""
LBA_FORMAT_OFFSETS = "ms 0 lbads 2 rp 3"


def offsets(text: str) -> dict[str, int]:
    """Pairs of name and number as a dictionary."""
    words = text.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [
        (IdentifyController, 4096, CONTROLLER_OFFSETS),
        (IdentifyNamespace, 4096, NAMESPACE_OFFSETS),
        (PowerState, 32, POWER_STATE_OFFSETS),
        (LbaFormat, 4, LBA_FORMAT_OFFSETS),
    ],
)
def test_every_field_lies_where_others_have_it(kind: Any, size: int, expected: str) -> None:
    """Names, offsets and sizes agree with other people's headers."""
    assert size == kind.SIZE
    assert {name: row.offset for name, row in kind.ROWS.items()} == offsets(expected)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("ieee", 3),
        ("tnvmcap", 16),
        ("megcap", 16),
        ("maxdna", 16),
        ("subnqn", 256),
        ("psd", 1024),
        ("vs", 1024),
    ],
)
def test_sizes_of_the_unusual_fields(name: str, size: int) -> None:
    """Fields that are no plain integers have the size that the specification gives."""
    assert IdentifyController.ROWS[name].size == size


def as_nvme_cli(value: Any) -> Any:
    """Our value in the form that nvme-cli prints: hexadecimal identifiers, everything else as it is."""
    return value.hex() if isinstance(value, bytes) else value


PSD_NAMES = {
    "max_power": "mp",
    "entry_lat": "enlat",
    "exit_lat": "exlat",
    "read_tput": "rrt",
    "read_lat": "rrl",
    "write_tput": "rwt",
    "write_lat": "rwl",
    "idle_power": "idlp",
    "active_power": "actp",
    "emerg_power_fail_recover_time": "epfrt",
    "force_quiesce_vault_time": "fqvt",
    "emerg_power_fail_vault_time": "epfvt",
}


def power_state_as_nvme_cli(state: PowerState) -> dict[str, int]:
    """A power state descriptor under nvme-cli's names."""
    return {theirs: getattr(state, ours) for theirs, ours in PSD_NAMES.items()} | {
        "max_power_scale": PowerStateFlags(state.flags).mxps,
        "non-operational_state": PowerStateFlags(state.flags).nops,
        "idle_scale": state.ips >> 6,
        "active_scale": ActivePower(state.apws).aps,
        "active_power_work": ActivePower(state.apws).apw,
        "emerg_power_fail_recover_scale": state.epfr_fqv_ts & 0xF,
        "force_quiesce_vault_scale": state.epfr_fqv_ts >> 4,
        "emerg_power_fail_vault_scale": state.epfvts & 0xF,
    }


CONTROLLER_CAPTURES = [
    ("qemu-10.0.2", "id-ctrl"),
    ("qemu-10.0.2", "zns-ns-id-ctrl"),
    ("spdk-26.05", "id-ctrl"),
]
NAMESPACE_CAPTURES = [
    ("qemu-10.0.2", "id-ns-1"),
    ("qemu-10.0.2", "id-ns-2"),
    ("qemu-10.0.2", "zns-ns-id-ns-1"),
    ("spdk-26.05", "id-ns-1"),
    ("spdk-26.05", "id-ns-2"),
]


@pytest.mark.parametrize(("controller", "name"), CONTROLLER_CAPTURES)
def test_controllers_read_as_nvme_cli_reads_them(controller: str, name: str) -> None:
    """Every field that nvme-cli prints of Identify Controller has the same value here."""
    ours = IdentifyController.decode(read_bytes(controller, name))
    theirs = read_json(controller, name)
    states = theirs.pop("psds")
    assert theirs.pop("fguid").replace("-", "") == ours.fguid.hex()
    for field in ("sn", "mn", "fr"):
        assert theirs.pop(field).rstrip() == getattr(ours, field)
    assert {field: as_nvme_cli(getattr(ours, field)) for field in theirs} == theirs
    assert [power_state_as_nvme_cli(state) for state in ours.power_states] == states


@pytest.mark.parametrize(("controller", "name"), NAMESPACE_CAPTURES)
def test_namespaces_read_as_nvme_cli_reads_them(controller: str, name: str) -> None:
    """Every field that nvme-cli prints of Identify Namespace has the same value here."""
    ours = IdentifyNamespace.decode(read_bytes(controller, name))
    theirs = read_json(controller, name)
    formats = theirs.pop("lbafs")
    assert theirs.pop("vs") == []
    assert {field: as_nvme_cli(getattr(ours, field)) for field in theirs} == theirs
    assert [
        {
            "lbaf": at,
            "ms": each.ms,
            "ds": each.lbads,
            "rp": each.rp,
            "in_use": int(at == ours.lba_format_index),
        }
        for at, each in enumerate(ours.lba_formats)
    ] == formats


@pytest.mark.parametrize(("controller", "name"), CONTROLLER_CAPTURES + NAMESPACE_CAPTURES)
def test_captured_bytes_come_back(controller: str, name: str) -> None:
    """Decoding and encoding a real controller's bytes gives the same bytes."""
    kind = IdentifyController if "ctrl" in name else IdentifyNamespace
    data = read_bytes(controller, name)
    assert kind.decode(data).encode() == data


def test_capability_bits_of_a_known_controller() -> None:
    """QEMU's capabilities are what its source sets: bit tables read the right bits."""
    data = IdentifyController.decode(read_bytes("qemu-10.0.2", "id-ctrl"))
    assert {name for name, bit in Oacs(data.oacs).to_dict().items() if bit} == {
        "format_nvm",
        "namespace_management",
        "directives",
        "doorbell_buffer",
    }
    assert {name for name, bit in Oncs(data.oncs).to_dict().items() if not bit} == {
        "write_uncorrectable",
        "reservations",
        "verify",
    }
    assert (Sgls(data.sgls).support, Sgls(data.sgls).bit_bucket, Sgls(data.sgls).mptr_sgl) == (1, 0, 1)
    assert data.power_states[0].watts == pytest.approx(25.0)


def test_block_of_each_captured_namespace() -> None:
    """Block and metadata sizes are those that the namespaces were made with."""
    plain = IdentifyNamespace.decode(read_bytes("qemu-10.0.2", "id-ns-1"))
    protected = IdentifyNamespace.decode(read_bytes("qemu-10.0.2", "id-ns-2"))
    assert (plain.block_size, plain.metadata_size, plain.protection_type) == (512, 0, 0)
    assert (protected.block_size, protected.metadata_size, protected.protection_type) == (4096, 8, 1)
    assert not plain.extended
    assert not protected.extended


def test_metadata_is_extended_only_where_there_is_some() -> None:
    """Bit 4 of FLBAS means something only with a format that has metadata."""
    formats = (LbaFormat(lbads=9), LbaFormat(lbads=9, ms=8))
    assert IdentifyNamespace(lbaf=formats, nlbaf=1, flbas=0x11).extended
    assert not IdentifyNamespace(lbaf=formats, nlbaf=1, flbas=0x10).extended
    assert not IdentifyNamespace(lbaf=formats, nlbaf=1, flbas=0x01).extended


@pytest.mark.parametrize(
    ("nlbaf", "flbas", "index"), [(63, 0x7F, 63), (63, 0x25, 21), (16, 0x20, 16), (15, 0x65, 5)]
)
def test_upper_format_bits_count_beyond_sixteen_formats(nlbaf: int, flbas: int, index: int) -> None:
    """Bits 6:5 of FLBAS extend the index where there are more than 16 formats, and are ignored elsewhere."""
    formats = tuple(LbaFormat(ms=at) for at in range(64))
    namespace = IdentifyNamespace(nlbaf=nlbaf, flbas=flbas, lbaf=formats)
    assert namespace.lba_format_index == index
    assert namespace.metadata_size == index


@given(st.integers(0, 4095), st.sampled_from([IdentifyController, IdentifyNamespace]))
def test_truncated_structures_are_refused(length: int, kind: Any) -> None:
    """Any shorter input raises DecodeError."""
    with pytest.raises(DecodeError):
        kind.decode(bytes(length))


@given(st.binary(min_size=64, max_size=64), st.sampled_from([IdentifyController, IdentifyNamespace]))
def test_any_bytes_decode_and_come_back(seed: bytes, kind: Any) -> None:
    """No bytes make a decoder raise, and what it made of them encodes and decodes to the same."""
    data = bytearray(seed * 64)
    if kind is IdentifyController:
        kind.decode(data)
        # A name that is no UTF-8 is shown with replacement characters, which have no way back.
        row = kind.ROWS["subnqn"]
        data[row.offset : row.end] = b"nqn".ljust(row.size, b"\0")
    value = kind.decode(data)
    assert kind.decode(value.encode()) == value


@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("name", ["ns-descs-1", "ns-descs-2"])
def test_descriptors_read_as_nvme_cli_reads_them(controller: str, name: str) -> None:
    """Types, lengths and identifiers of the descriptors are nvme-cli's, and the bytes come back."""
    data = read_bytes(controller, name)
    ours = decode_namespace_descriptors(data)
    theirs = read_json(controller, name)["ns-descs"]
    assert [(each.nidt, len(each.nid)) for each in ours] == [(each["nidt"], each["nidl"]) for each in theirs]
    for each, their in zip(ours, theirs, strict=True):
        text = their[their["Type"]].replace("-", "")
        assert each.nid == (bytes([int(text)]) if their["Type"] == "csi" else bytes.fromhex(text))
    assert encode_namespace_descriptors(ours) == data


def test_the_command_set_of_a_namespace_is_in_its_descriptors() -> None:
    """The CSI descriptor gives a number, and other descriptors none."""
    assert NamespaceDescriptor(Nidt.CSI, b"\x02").csi == 2
    assert NamespaceDescriptor(Nidt.EUI64, bytes(8)).csi is None


def test_unknown_descriptors_are_kept() -> None:
    """A type that came later is passed over by its length, not by guessing."""
    later = NamespaceDescriptor(9, b"abc")
    known = NamespaceDescriptor(Nidt.UUID, bytes(range(16)))
    assert decode_namespace_descriptors(encode_namespace_descriptors((later, known))) == (later, known)


def test_descriptors_may_fill_the_page() -> None:
    """Without an end mark the list ends with the page."""
    full = (NamespaceDescriptor(7, bytes(60)),) * 64
    assert decode_namespace_descriptors(encode_namespace_descriptors(full)) == full


@pytest.mark.parametrize(
    "data",
    [
        b"\x01\x04\0\0" + bytes(4092),  # an EUI64 of 4 bytes
        b"\x03\x08\0\0" + bytes(4092),  # a UUID of 8 bytes
        (b"\x07\xff\0\0" + bytes(255)) * 15 + b"\x07\xff\0\0" + bytes(207),  # the last one leaves the page
        bytes(4095),
    ],
)
def test_impossible_descriptors_are_refused(data: bytes) -> None:
    """A wrong length, or a descriptor that leaves the page, raises DecodeError."""
    with pytest.raises(DecodeError):
        decode_namespace_descriptors(data)


@given(st.lists(st.integers(1, 0xFFFFFFFE), max_size=1024))
def test_namespace_lists_come_back(nsids: list[int]) -> None:
    """A namespace list ends at the first zero or with the page."""
    data = encode_nsid_list(tuple(nsids))
    assert len(data) == 4096
    assert decode_nsid_list(data) == tuple(nsids)


@given(st.lists(st.integers(0, 0xFFEF), max_size=2047))
def test_controller_lists_come_back(cntlids: list[int]) -> None:
    """A controller list is as long as its count says, and 0 is an identifier like any other."""
    data = encode_controller_list(tuple(cntlids))
    assert len(data) == 4096
    assert decode_controller_list(data) == tuple(cntlids)


def test_lists_have_the_layout_of_the_specification() -> None:
    """Namespace lists are dwords from 0; controller lists are a count and words behind it (Base 2.0, 4.4)."""
    assert decode_nsid_list(bytes.fromhex("01000000 02000000") + bytes(4088)) == (1, 2)
    assert decode_controller_list(bytes.fromhex("0200 0000 0500 0700") + bytes(4088)) == (0, 5)
    assert decode_nsid_list(bytes(4096)) == ()
    assert decode_controller_list(bytes(4096)) == ()


def test_impossible_lists_are_refused() -> None:
    """A count beyond the page, short input, and lists too long to encode raise."""
    with pytest.raises(DecodeError, match="2048 identifiers"):
        decode_controller_list(b"\x00\x08" + bytes(4094))
    with pytest.raises(DecodeError):
        decode_controller_list(bytes(4095))
    with pytest.raises(DecodeError):
        decode_nsid_list(bytes(4095))
    with pytest.raises(ValueError, match="do not fit"):
        encode_nsid_list((1,) * 1025)
    with pytest.raises(ValueError, match="do not fit"):
        encode_controller_list((1,) * 2048)
    with pytest.raises(ValueError, match="do not fit"):
        encode_namespace_descriptors((NamespaceDescriptor(7, bytes(60)),) * 65)
