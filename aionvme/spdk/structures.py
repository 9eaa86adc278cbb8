"""Owns SPDK's structures that a caller fills in or is given, under SPDK's names for their fields."""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from aionvme.admin.options import ArbMechanism, ControllerOptions
from aionvme.spdk.constants import SPDK_NVME_TRANSPORT_PCIE, SPDK_NVME_TRANSPORT_VFIOUSER
from aionvme.spec.entries import Sqe
from aionvme.spec.status import Status, StatusCode

if TYPE_CHECKING:
    from aionvme import PciDevice

Text = str  # where SPDK has a parameter of that name

_TRTYPES = {"pcie": SPDK_NVME_TRANSPORT_PCIE, "vfiouser": SPDK_NVME_TRANSPORT_VFIOUSER}
_PAIR = re.compile(r"([^:=]+)[:=](.+)")
_TRTYPE_NAMES = {SPDK_NVME_TRANSPORT_PCIE: "PCIE", SPDK_NVME_TRANSPORT_VFIOUSER: "VFIOUSER"}


@attrs.define
class spdk_nvme_transport_id:
    """Which controller, or which bus.

    Attributes:
        trtype: SPDK_NVME_TRANSPORT_PCIE or SPDK_NVME_TRANSPORT_VFIOUSER.
        traddr: "0000:01:00.0"; "mock:" and its options for a controller in software; "" for all of the bus.
        subnqn: Kept, not used.
        pci_dev: Ours: the `PciDevice` in what the callbacks are given.
    """

    trtype: int = SPDK_NVME_TRANSPORT_PCIE
    traddr: str = ""
    subnqn: str = ""
    pci_dev: PciDevice | None = attrs.field(default=None, eq=False)

    @property
    def trstring(self) -> str:
        """Name of the transport."""
        return _TRTYPE_NAMES[self.trtype]


def spdk_nvme_transport_id_parse(trid: spdk_nvme_transport_id, str: Text) -> int:
    """Reads "trtype:PCIe traddr:0000:01:00.0" into `trid`; 0, or -EINVAL."""
    found: dict[Text, Any] = {}
    for word in str.split():
        match = _PAIR.fullmatch(word)
        if match is None:
            return -errno.EINVAL
        found[match[1].lower()] = match[2]
    if "trtype" in found:
        trtype = _TRTYPES.get(found["trtype"].lower())
        if trtype is None:
            return -errno.EINVAL
        found["trtype"] = trtype
    if found.keys() - {"trtype", "traddr", "subnqn", "adrfam", "trsvcid", "hostnqn", "priority"}:
        return -errno.EINVAL
    for key in ("trtype", "traddr", "subnqn"):
        if key in found:
            setattr(trid, key, found[key])
    return 0


@attrs.define
class spdk_nvme_ctrlr_opts:
    """How a controller is brought up.

    Attributes:
        num_io_queues: I/O queue pairs to ask for.
        use_cmb_sqs: Put submission queues into the controller memory buffer, where it takes them.
        io_queue_size: Entries of an I/O queue, of which one stays empty.
        arb_mechanism: SPDK_NVME_CC_AMS_*.
        arbitration_burst: As a power of two.
        low_priority_weight, medium_priority_weight, high_priority_weight: As SPDK has them, 0's based.
        admin_queue_size: Entries of the admin queues.
        admin_timeout_ms: Of admin commands.
        no_shn_notification: Detach without the shutdown notification.
        command_set: CC.CSS, None for the NVM command set.
        extended_host_id: 16 bytes; all zeros for one that is random for this process.
        io_timeout_ms: Ours: of I/O commands, 0 for none.
        keep_alive_timeout_ms: 0 for no keep alive, which here is the default: a controller that has none refuses it.
    """

    num_io_queues: int = 64
    use_cmb_sqs: bool = False
    io_queue_size: int = 257
    arb_mechanism: int = 0
    arbitration_burst: int = 0
    low_priority_weight: int = 0
    medium_priority_weight: int = 0
    high_priority_weight: int = 0
    admin_queue_size: int = 32
    admin_timeout_ms: int = 60_000
    no_shn_notification: bool = False
    command_set: int | None = None
    extended_host_id: bytes = bytes(16)
    io_timeout_ms: int = 30_000
    keep_alive_timeout_ms: int = 0

    @classmethod
    def of(cls, opts: ControllerOptions) -> spdk_nvme_ctrlr_opts:
        """What ours are in SPDK's terms."""
        return cls(
            num_io_queues=opts.num_io_queues,
            use_cmb_sqs=opts.use_cmb_sqs,
            io_queue_size=opts.io_queue_depth + 1,
            arb_mechanism=int(opts.arb_mechanism),
            arbitration_burst=opts.arbitration_burst,
            low_priority_weight=opts.low_priority_weight - 1,
            medium_priority_weight=opts.medium_priority_weight - 1,
            high_priority_weight=opts.high_priority_weight - 1,
            admin_queue_size=opts.admin_queue_depth + 1,
            admin_timeout_ms=round(opts.admin_timeout * 1000),
            no_shn_notification=opts.no_shn_notification,
            command_set=opts.command_set,
            extended_host_id=opts.host_id or bytes(16),
            io_timeout_ms=round(opts.io_timeout * 1000),
            keep_alive_timeout_ms=round(opts.keep_alive_timeout * 1000),
        )

    def copy_from(self, other: spdk_nvme_ctrlr_opts) -> None:
        """Has every field as another has it."""
        for field in attrs.fields(spdk_nvme_ctrlr_opts):
            setattr(self, field.name, getattr(other, field.name))

    def write_to(self, opts: ControllerOptions) -> None:
        """Sets ours; `UsageError` for what cannot be."""
        opts.num_io_queues = self.num_io_queues
        opts.use_cmb_sqs = self.use_cmb_sqs
        opts.io_queue_depth = self.io_queue_size - 1
        opts.arb_mechanism = ArbMechanism(self.arb_mechanism)
        opts.arbitration_burst = self.arbitration_burst
        opts.low_priority_weight = self.low_priority_weight + 1
        opts.medium_priority_weight = self.medium_priority_weight + 1
        opts.high_priority_weight = self.high_priority_weight + 1
        opts.admin_queue_depth = self.admin_queue_size - 1
        opts.admin_timeout = self.admin_timeout_ms / 1000
        opts.no_shn_notification = self.no_shn_notification
        opts.command_set = self.command_set
        opts.host_id = self.extended_host_id if any(self.extended_host_id) else None
        opts.io_timeout = self.io_timeout_ms / 1000
        opts.keep_alive_timeout = self.keep_alive_timeout_ms / 1000


@attrs.define
class spdk_nvme_io_qpair_opts:
    """How an I/O queue pair is made.

    Attributes:
        qprio: SPDK_NVME_QPRIO_*.
        io_queue_size: Entries of the queues, of which one stays empty.
        io_queue_requests, delay_cmd_submit: Of SPDK's own memory and batching: taken, and not used.
        create_only, async_mode: Not supported: a queue pair that is allocated is connected.
    """

    qprio: int = 0
    io_queue_size: int = 0
    io_queue_requests: int = 0
    delay_cmd_submit: bool = False
    create_only: bool = False
    async_mode: bool = False


@attrs.define
class spdk_nvme_ns_cmd_ext_io_opts:
    """Further arguments of the `_ext` and `_iov` commands.

    Attributes:
        io_flags: SPDK_NVME_IO_FLAGS_*.
        metadata: Buffer of separate metadata.
        apptag_mask, apptag: Application tag.
        cdw13: With SPDK_NVME_IO_FLAGS_STREAMS_DIRECTIVE, the stream in its upper half.
        memory_domain, accel_sequence: Not supported: anything but None is -ENOTSUP.
        size, memory_domain_ctx: Not looked at.
    """

    io_flags: int = 0
    metadata: Any = None
    apptag_mask: int = 0
    apptag: int = 0
    cdw13: int = 0
    memory_domain: Any = None
    accel_sequence: Any = None
    memory_domain_ctx: Any = None
    size: int = 0


@attrs.define
class spdk_nvme_dsm_range:
    """A range of Dataset Management: `length` blocks, counted from 1, from `starting_lba` on."""

    attributes: int = 0
    length: int = 0
    starting_lba: int = 0

    def __bytes__(self) -> bytes:
        return struct.pack("<IIQ", self.attributes, self.length, self.starting_lba)


@attrs.define
class spdk_nvme_scc_source_range:
    """A source range of Copy; `nlb` is 0's based, as in the specification.

    The tags are for raw commands: `spdk_nvme_ns_cmd_copy` asks for no checks that would look at them.
    """

    slba: int = 0
    nlb: int = 0
    eilbrt: int = 0
    elbat: int = 0
    elbatm: int = 0

    def __bytes__(self) -> bytes:
        return struct.pack("<8xQH6xIHH", self.slba, self.nlb, self.eilbrt, self.elbat, self.elbatm)


@attrs.define
class spdk_nvme_reservation_register_data:
    """Keys of Reservation Register."""

    crkey: int = 0
    nrkey: int = 0

    def __bytes__(self) -> bytes:
        return self.crkey.to_bytes(8, "little") + self.nrkey.to_bytes(8, "little")


@attrs.define
class spdk_nvme_reservation_acquire_data:
    """Keys of Reservation Acquire."""

    crkey: int = 0
    prkey: int = 0

    def __bytes__(self) -> bytes:
        return self.crkey.to_bytes(8, "little") + self.prkey.to_bytes(8, "little")


@attrs.define
class spdk_nvme_reservation_key_data:
    """Key of Reservation Release."""

    crkey: int = 0

    def __bytes__(self) -> bytes:
        return self.crkey.to_bytes(8, "little")


@attrs.define
class spdk_nvme_format:
    """How a namespace is formatted.

    Attributes:
        lbaf: Index of the format, 0 to 15.
        ms: SPDK_NVME_FMT_NVM_METADATA_TRANSFER_*.
        pi: SPDK_NVME_FMT_NVM_PROTECTION_DISABLE, _TYPE1, _TYPE2 or _TYPE3.
        pil: SPDK_NVME_FMT_NVM_PROTECTION_AT_TAIL or _AT_HEAD.
        ses: SPDK_NVME_FMT_NVM_SES_*.
    """

    lbaf: int = 0
    ms: int = 0
    pi: int = 0
    pil: int = 0
    ses: int = 0


@attrs.define
class spdk_nvme_ctrlr_list:
    """Controllers by their identifiers (CNTLID), for attaching and detaching a namespace."""

    ctrlr_list: Sequence[int] = ()

    @property
    def ctrlr_count(self) -> int:
        """How many they are."""
        return len(self.ctrlr_list)

    def __bytes__(self) -> bytes:
        ids = [self.ctrlr_count, *self.ctrlr_list]
        return b"".join(number.to_bytes(2, "little") for number in ids).ljust(4096, b"\0")


@attrs.define
class spdk_nvme_cmd:
    """A submission queue entry, for the raw commands; `bytes()` of it are its 64 bytes. The CID is filled in by us."""

    opc: int = 0
    fuse: int = 0
    psdt: int = 0
    nsid: int = 0
    cdw2: int = 0
    cdw3: int = 0
    mptr: int = 0
    prp1: int = 0
    prp2: int = 0
    cdw10: int = 0
    cdw11: int = 0
    cdw12: int = 0
    cdw13: int = 0
    cdw14: int = 0
    cdw15: int = 0

    def __bytes__(self) -> bytes:
        head = bytes((self.opc, self.fuse | self.psdt << 6, 0, 0))
        words = (self.nsid, self.cdw2, self.cdw3)
        pointers = (self.mptr, self.prp1, self.prp2)
        rest = (self.cdw10, self.cdw11, self.cdw12, self.cdw13, self.cdw14, self.cdw15)
        return b"".join(
            (
                head,
                *(word.to_bytes(4, "little") for word in words),
                *(pointer.to_bytes(8, "little") for pointer in pointers),
                *(word.to_bytes(4, "little") for word in rest),
            )
        )


Command = spdk_nvme_cmd | Sqe | bytes | bytearray | memoryview


def sqe_of(cmd: Command) -> bytes:
    """The 64 bytes of a command."""
    return cmd.encode() if isinstance(cmd, Sqe) else bytes(cmd)


def payload_bytes(payload: Any) -> bytes:
    """The bytes of a structure of ours or SPDK's, or of a buffer."""
    encode = getattr(payload, "encode", None)
    return bytes(encode()) if encode is not None else bytes(payload)


@attrs.frozen
class Spoken:
    """A completion that no controller posted: of a command that was never sent. It reads as a `Completion` does."""

    status: Status
    value: Any = None
    dw0: int = 0
    dw1: int = 0
    sqhd: int = 0
    sqid: int = 0
    cid: int = 0

    @classmethod
    def of(cls, code: StatusCode) -> Spoken:
        """With that status."""
        return cls(Status.of(code))
