"""Owns what the mock answers to Identify (NVMe Base 2.0, 5.17; NVM Command Set 1.0, 4.1.5)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from aionvme.mock import persistent
from aionvme.mock.commands import RESERVATIONS
from aionvme.mock.config_space import VENDOR
from aionvme.mock.feature_table import MAX_TMT, MIN_TMT, POWER_STATES, WARNING_KELVIN
from aionvme.mock.firmware import FRMW, GRANULARITY, Firmware
from aionvme.mock.refusal import Refused
from aionvme.spec.identify import (
    IdentifyController,
    IdentifyNamespace,
    LbaFormat,
    Lpa,
    NamespaceDescriptor,
    Nidt,
    Oacs,
    encode_controller_list,
    encode_namespace_descriptors,
    encode_nsid_list,
)
from aionvme.spec.identify_sets import (
    ExtendedFormat,
    IdentifyIndependentNamespace,
    IdentifyNvmController,
    IdentifyNvmNamespace,
)
from aionvme.spec.intel import INTEL_VID
from aionvme.spec.opcodes import Cns, CommandSet
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.options import MockOptions, NamespaceConfig
    from aionvme.mock.subsystem import Subsystem
    from aionvme.spec.entries import Sqe

ALL_NAMESPACES = 0xFFFFFFFF
CRITICAL_KELVIN = 373
ERROR_LOG_ENTRIES = 64
_NBYTES = 4096
_OACS = Oacs(security=1, firmware=1, directives=1, lba_status=1, lockdown=1).value
_NAMES = uuid.UUID("5e0ad6a0-6b0c-4f5c-9f57-3f4a2f0a6a11")


class Identify:
    """The structures of one controller. `answer` gives 4096 bytes, or raises `Refused`."""

    def __init__(self, options: MockOptions, subsystem: Subsystem, member: int, firmware: Firmware) -> None:
        self._options = options
        self._firmware = firmware
        self._subsystem = subsystem
        self._cntlid = member + 1
        self._answers: dict[int, Callable[[Sqe], bytes]] = {
            Cns.NAMESPACE: self._namespace,
            Cns.CONTROLLER: self._controller,
            Cns.ACTIVE_NAMESPACES: self._active_namespaces,
            Cns.NAMESPACE_DESCRIPTORS: self._descriptors,
            Cns.CSI_NAMESPACE: self._csi_namespace,
            Cns.CSI_CONTROLLER: self._csi_controller,
            Cns.CSI_ACTIVE_NAMESPACES: self._csi_active_namespaces,
            Cns.INDEPENDENT_NAMESPACE: self._independent_namespace,
            Cns.ALLOCATED_NAMESPACES: self._allocated_namespaces,
            Cns.ALLOCATED_NAMESPACE: self._allocated_namespace,
            Cns.ATTACHED_CONTROLLERS: self._attached_controllers,
            Cns.CONTROLLERS: self._controllers,
            Cns.COMMAND_SETS: self._command_sets,
        }

    def answer(self, sqe: Sqe) -> bytes:
        """The structure that CNS asks for."""
        build = self._answers.get(sqe.cdw10 & 0xFF)
        if build is None:
            raise Refused(StatusCode.INVALID_FIELD)
        return build(sqe)

    # -- which namespace -------------------------------------------------------------------------------------

    def _config(self, nsid: int) -> NamespaceConfig:
        if not 1 <= nsid <= len(self._options.namespaces):
            raise Refused(StatusCode.INVALID_NAMESPACE_OR_FORMAT)
        return self._options.namespaces[nsid - 1]

    def _active(self, nsid: int) -> NamespaceConfig:
        """Only an active namespace will do (Base 2.0, 3.2.1.5)."""
        config = self._config(nsid)
        if not config.active:
            raise Refused(StatusCode.INVALID_FIELD)
        return config

    def _list(self, sqe: Sqe, *, inactive: bool) -> bytes:
        if sqe.nsid >= 0xFFFFFFFE:
            raise Refused(StatusCode.INVALID_NAMESPACE_OR_FORMAT)
        nsids = [
            nsid
            for nsid, config in enumerate(self._options.namespaces, 1)
            if nsid > sqe.nsid and (config.active or inactive)
        ]
        return encode_nsid_list(tuple(nsids[:1024]))

    # -- by CNS ----------------------------------------------------------------------------------------------

    def _controller(self, _sqe: Sqe) -> bytes:
        return _controller(self._options, self._subsystem, self._cntlid, self._firmware.revision).encode()

    def _namespace(self, sqe: Sqe) -> bytes:
        """Zeros for an inactive identifier. All of them (FFFFFFFFh) needs namespace management."""
        return self._allocated_namespace(sqe) if self._config(sqe.nsid).active else bytes(_NBYTES)

    def _allocated_namespace(self, sqe: Sqe) -> bytes:
        config = self._config(sqe.nsid)
        return _namespace(sqe.nsid, config, self._options, self._subsystem).encode()

    def _active_namespaces(self, sqe: Sqe) -> bytes:
        return self._list(sqe, inactive=False)

    def _allocated_namespaces(self, sqe: Sqe) -> bytes:
        return self._list(sqe, inactive=True)

    def _descriptors(self, sqe: Sqe) -> bytes:
        self._active(sqe.nsid)
        return encode_namespace_descriptors(
            (
                NamespaceDescriptor(Nidt.EUI64, _eui64(sqe.nsid, self._subsystem)),
                NamespaceDescriptor(Nidt.NGUID, _nguid(sqe.nsid, self._subsystem)),
                NamespaceDescriptor(Nidt.UUID, _name(sqe.nsid, self._subsystem).bytes),
                NamespaceDescriptor(Nidt.CSI, bytes([CommandSet.NVM])),
            )
        )

    def _csi_namespace(self, sqe: Sqe) -> bytes:
        """Storage tags and the size of the guard, of the one format that there is."""
        _check_csi(sqe)
        config = self._config(sqe.nsid)
        pif = 2 if config.pi and config.guard == 64 else 0
        return IdentifyNvmNamespace(
            lbstm=(1 << config.sts) - 1,
            pic=1 | 1 << 1 if config.pi else 0,  # storage tags with a guard of 16 bits, and masks of them
            elbaf=(ExtendedFormat(value=config.sts | pif << 7),),
        ).encode()

    def _csi_controller(self, sqe: Sqe) -> bytes:
        """Limits of commands that move no data."""
        _check_csi(sqe)
        commands = self._options.commands
        return IdentifyNvmController(
            vsl=commands.vsl, wzsl=commands.wzsl, wusl=commands.wusl, dmrl=commands.dmrl,
            dmrsl=commands.dmrsl, dmsl=commands.dmsl,
        ).encode()  # fmt: skip

    def _csi_active_namespaces(self, sqe: Sqe) -> bytes:
        _check_csi(sqe)
        return self._list(sqe, inactive=False)

    def _independent_namespace(self, sqe: Sqe) -> bytes:
        """Of any I/O command set (Base 2.0, 5.17.2.8): NSTAT, byte 14, says that it is ready."""
        config = self._config(sqe.nsid)
        return IdentifyIndependentNamespace(
            nmic=int(self._subsystem.shared),
            anagrpid=int(self._options.ana),
            endgid=int(self._options.fdp > 0),
            rescap=_rescap(self._options),
            nstat=int(config.active),
        ).encode()

    def _attached_controllers(self, sqe: Sqe) -> bytes:
        return self._controller_list(sqe, attached=self._config(sqe.nsid).active)

    def _controllers(self, sqe: Sqe) -> bytes:
        return self._controller_list(sqe, attached=True)

    def _controller_list(self, sqe: Sqe, *, attached: bool) -> bytes:
        cntlids = self._subsystem.cntlids if attached else ()
        return encode_controller_list(tuple(cntlid for cntlid in cntlids if cntlid >= sqe.cdw10 >> 16))

    def _command_sets(self, sqe: Sqe) -> bytes:
        """One combination: the NVM command set alone. CNTID names this controller, or is FFFFh for it."""
        if sqe.cdw10 >> 16 not in (self._cntlid, 0xFFFF):
            raise Refused(StatusCode.INVALID_FIELD)
        return (1 << CommandSet.NVM).to_bytes(8, "little") + bytes(_NBYTES - 8)


def _check_csi(sqe: Sqe) -> None:
    if sqe.cdw11 >> 24 != CommandSet.NVM:
        raise Refused(StatusCode.INVALID_FIELD)


def _name(nsid: int, subsystem: Subsystem) -> uuid.UUID:
    return uuid.uuid5(_NAMES, f"{subsystem.serial}/{nsid}")


def _nguid(nsid: int, subsystem: Subsystem) -> bytes:
    return uuid.uuid5(_NAMES, f"nguid/{subsystem.serial}/{nsid}").bytes


def _eui64(nsid: int, subsystem: Subsystem) -> bytes:
    return _nguid(nsid, subsystem)[:8]


def subsystem_nqn(subsystem: Subsystem) -> str:
    """SUBNQN."""
    return f"nqn.2014-08.org.nvmexpress:uuid:{_name(0, subsystem)}"


def vendor_of(options: MockOptions) -> int:
    """PCI vendor of the device."""
    return INTEL_VID if options.intel else VENDOR


def _rescap(options: MockOptions) -> int:
    """All types, persistence, and Ignore Existing Key as of 1.3."""
    return 0xFF if options.commands.oncs & RESERVATIONS else 0


def _controller(options: MockOptions, subsystem: Subsystem, cntlid: int, revision: str) -> IdentifyController:
    commands = options.commands
    extended_formats = any(config.pi and config.guard == 64 for config in options.namespaces)
    return IdentifyController(
        vid=vendor_of(options),
        ssvid=vendor_of(options),
        sn=options.serial,
        mn=options.model,
        fr=revision,
        rab=6,
        mdts=options.mdts,
        cmic=subsystem.shared << 1 | options.ana << 3,
        cntlid=cntlid,
        ver=0x00020000,
        oaes=1 << 8 | options.ana << 11,  # notices of namespace attributes, and of asymmetric access
        # 128-bit host identifier, permissive mode, read recovery levels; endurance groups and data placement; guards
        # of more than 16 bits
        ctratt=1
        | 1 << 1
        | (commands.rrls > 0) << 3
        | (options.fdp > 0) << 4
        | extended_formats << 15
        | (options.fdp > 0) << 19,
        rrls=commands.rrls,
        apsta=1,
        hctma=1,
        mntmt=MIN_TMT,
        mxtmt=MAX_TMT,
        hmpre=commands.hmpre,
        hmmin=commands.hmmin,
        hmminds=commands.hmminds,
        hmmaxd=commands.hmmaxd,
        nwpc=commands.nwpc,
        cntrltype=1,
        acl=options.abort_limit - 1,
        aerl=options.event_limit - 1,
        frmw=FRMW,
        fwug=GRANULARITY // 4096,
        lpa=options.lpa,
        pels=persistent.UNITS if Lpa(options.lpa).persistent_events else 0,
        elpe=ERROR_LOG_ENTRIES - 1,
        npss=len(POWER_STATES) - 1,
        wctemp=WARNING_KELVIN,
        cctemp=CRITICAL_KELVIN,
        oacs=_OACS | options.shadow_doorbells << 8,
        endgidmax=int(options.fdp > 0),
        # All states are reported; there is one group.
        anatt=10 * options.ana,
        anacap=0x1F * options.ana,
        anagrpmax=int(options.ana),
        nanagrpid=int(options.ana),
        tnvmcap=sum(config.size for config in options.namespaces),
        sqes=0x66,
        cqes=0x44,
        nn=len(options.namespaces),
        oncs=commands.oncs,
        fuses=commands.fuses,
        ocfs=commands.ocfs,
        sgls=commands.sgls,
        vwc=0b111,  # present; Flush takes FFFFFFFFh
        subnqn=subsystem_nqn(subsystem),
        psd=POWER_STATES,
    )


def _namespace(
    nsid: int, config: NamespaceConfig, options: MockOptions, subsystem: Subsystem
) -> IdentifyNamespace:
    return IdentifyNamespace(
        flbas=config.extended << 4,
        mc=0 if not config.metadata else 1 if config.extended else 2,
        dpc=1 << (config.pi - 1) | (1 << 3 if config.pi_first else 1 << 4) if config.pi else 0,
        dps=config.pi | (config.pi > 0 and config.pi_first) << 3,
        nmic=int(subsystem.shared),
        rescap=_rescap(options),
        mssrl=options.commands.mssrl,
        mcl=options.commands.mcl,
        msrc=options.commands.msrc,
        nsze=config.nblocks,
        ncap=config.nblocks,
        nuse=config.nblocks,
        dlfeat=1 | 1 << 3,  # a deallocated block reads as zeros, with a guard of FFh; so does DEAC
        noiob=config.noiob,
        nvmcap=config.size,
        anagrpid=int(options.ana),
        endgid=int(options.fdp > 0),
        nguid=_nguid(nsid, subsystem),
        eui64=_eui64(nsid, subsystem),
        lbaf=(LbaFormat(ms=config.metadata, lbads=config.lba.bit_length() - 1),),
    )
