"""Owns what the mock answers to Identify (NVMe Base 2.0, 5.17; NVM Command Set 1.0, 4.1.5)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from aionvme.mock import persistent
from aionvme.mock.commands import RESERVATIONS
from aionvme.mock.config_space import VENDOR
from aionvme.mock.feature_table import MAX_TMT, MIN_TMT, POWER_STATES, WARNING_KELVIN
from aionvme.mock.firmware import FRMW, GRANULARITY, Firmware
from aionvme.mock.formatting import FNA
from aionvme.mock.refusal import Refused
from aionvme.mock.sanitizing import SANICAP
from aionvme.spec.identify import (
    Flbas,
    Fpi,
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
    from aionvme.mock.inventory import Allocated
    from aionvme.mock.options import MockOptions
    from aionvme.mock.subsystem import Subsystem
    from aionvme.spec.entries import Sqe

ALL_NAMESPACES = 0xFFFFFFFF
CRITICAL_KELVIN = 373
ERROR_LOG_ENTRIES = 64
_NBYTES = 4096
_OACS = Oacs(
    security=1, firmware=1, directives=1, lba_status=1, lockdown=1,
    format_nvm=1, namespace_management=1, self_test=1,
).value  # fmt: skip
_NAMES = uuid.UUID("5e0ad6a0-6b0c-4f5c-9f57-3f4a2f0a6a11")


class Identify:
    """The structures of one controller. `answer` gives 4096 bytes, or raises `Refused`."""

    def __init__(self, options: MockOptions, subsystem: Subsystem, member: int, firmware: Firmware) -> None:
        self._options = options
        self._firmware = firmware
        self._subsystem = subsystem
        self._member, self._cntlid = member, member + 1
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

    def _find(self, nsid: int) -> Allocated | None:
        return self._subsystem.inventory.find(nsid)

    def _is_active(self, allocated: Allocated | None) -> bool:
        return allocated is not None and self._member in allocated.attached

    def _list(self, sqe: Sqe, *, inactive: bool) -> bytes:
        if sqe.nsid >= 0xFFFFFFFE:
            raise Refused(StatusCode.INVALID_NAMESPACE_OR_FORMAT)
        nsids = [
            nsid
            for nsid, allocated in self._subsystem.inventory
            if nsid > sqe.nsid and (inactive or self._is_active(allocated))
        ]
        return encode_nsid_list(tuple(nsids[:1024]))

    # -- by CNS ----------------------------------------------------------------------------------------------

    def _controller(self, _sqe: Sqe) -> bytes:
        return _controller(self._options, self._subsystem, self._cntlid, self._firmware.revision).encode()

    def _namespace(self, sqe: Sqe) -> bytes:
        """Zeros for an inactive identifier; with FFFFFFFFh what a namespace that is created can have."""
        if sqe.nsid == ALL_NAMESPACES:
            return _formats(self._subsystem, self._options).encode()
        return self._allocated_namespace(sqe) if self._is_active(self._find(sqe.nsid)) else bytes(_NBYTES)

    def _allocated_namespace(self, sqe: Sqe) -> bytes:
        allocated = self._find(sqe.nsid)
        if allocated is None:
            return bytes(_NBYTES)
        return _namespace(sqe.nsid, allocated, self._options, self._subsystem).encode()

    def _active_namespaces(self, sqe: Sqe) -> bytes:
        return self._list(sqe, inactive=False)

    def _allocated_namespaces(self, sqe: Sqe) -> bytes:
        return self._list(sqe, inactive=True)

    def _descriptors(self, sqe: Sqe) -> bytes:
        life = self._subsystem.inventory.active(sqe.nsid, self._member).life
        return encode_namespace_descriptors(
            (
                NamespaceDescriptor(Nidt.EUI64, _eui64(sqe.nsid, self._subsystem, life)),
                NamespaceDescriptor(Nidt.NGUID, _nguid(sqe.nsid, self._subsystem, life)),
                NamespaceDescriptor(Nidt.UUID, _name(sqe.nsid, self._subsystem, life).bytes),
                NamespaceDescriptor(Nidt.CSI, bytes([CommandSet.NVM])),
            )
        )

    def _csi_namespace(self, sqe: Sqe) -> bytes:
        """Storage tags and the size of the guard, of the one format that there is."""
        _check_csi(sqe)
        allocated = self._find(sqe.nsid)
        if allocated is None:
            return bytes(_NBYTES)
        config = allocated.config
        return IdentifyNvmNamespace(
            lbstm=(1 << config.sts) - 1,
            pic=1 | 1 << 1 if config.pi else 0,  # storage tags with a guard of 16 bits, and masks of them
            elbaf=tuple(
                ExtendedFormat(value=form.sts | (2 if form.guard == 64 else 0) << 7)
                for form in self._subsystem.inventory.forms
            ),
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
        allocated = self._find(sqe.nsid)
        if allocated is None:
            return bytes(_NBYTES)
        return IdentifyIndependentNamespace(
            nmic=int(self._subsystem.inventory.is_shared(allocated)),
            anagrpid=int(self._options.ana),
            endgid=int(self._options.fdp > 0),
            rescap=_rescap(self._options),
            fpi=_fpi(sqe.nsid, self._subsystem),
            nstat=int(self._is_active(allocated)),
        ).encode()

    def _attached_controllers(self, sqe: Sqe) -> bytes:
        allocated = self._find(sqe.nsid)
        members = sorted(allocated.attached) if allocated is not None else []
        return self._controller_list(sqe, [member + 1 for member in members])

    def _controllers(self, sqe: Sqe) -> bytes:
        return self._controller_list(sqe, self._subsystem.cntlids)

    def _controller_list(self, sqe: Sqe, cntlids: Iterable[int]) -> bytes:
        return encode_controller_list(tuple(cntlid for cntlid in cntlids if cntlid >= sqe.cdw10 >> 16))

    def _command_sets(self, sqe: Sqe) -> bytes:
        """One combination: the NVM command set alone. CNTID names this controller, or is FFFFh for it."""
        if sqe.cdw10 >> 16 not in (self._cntlid, 0xFFFF):
            raise Refused(StatusCode.INVALID_FIELD)
        return (1 << CommandSet.NVM).to_bytes(8, "little") + bytes(_NBYTES - 8)


def _check_csi(sqe: Sqe) -> None:
    if sqe.cdw11 >> 24 != CommandSet.NVM:
        raise Refused(StatusCode.INVALID_FIELD)


def _name(nsid: int, subsystem: Subsystem, life: int = 0, kind: str = "") -> uuid.UUID:
    """Of one namespace alone: one that is created under an identifier that was in use has another name."""
    return uuid.uuid5(_NAMES, f"{kind}{subsystem.serial}/{nsid}" + (f"/{life}" if life else ""))


def _nguid(nsid: int, subsystem: Subsystem, life: int = 0) -> bytes:
    return _name(nsid, subsystem, life, "nguid/").bytes


def _eui64(nsid: int, subsystem: Subsystem, life: int = 0) -> bytes:
    return _nguid(nsid, subsystem, life)[:8]


def _fpi(nsid: int, subsystem: Subsystem) -> int:
    """Format progress indicator: supported, and the percent that remains."""
    begun, end = subsystem.formatting.get(nsid, (0.0, 0.0))
    left = end - subsystem.clock.now()
    return Fpi(supported=1, remaining=min(max(int(left / (end - begun) * 100), 1), 100) if end else 0).value


def subsystem_nqn(subsystem: Subsystem) -> str:
    """SUBNQN."""
    return f"nqn.2014-08.org.nvmexpress:uuid:{_name(0, subsystem)}"


def vendor_of(options: MockOptions) -> int:
    """PCI vendor of the device."""
    return INTEL_VID if options.intel else VENDOR


def _rescap(options: MockOptions) -> int:
    """All types, persistence, and Ignore Existing Key as of 1.3."""
    return 0xFF if options.commands.oncs & RESERVATIONS else 0


def _ctratt(options: MockOptions, subsystem: Subsystem) -> int:
    """128-bit host identifier, permissive mode, recovery levels, endurance groups and FDP, guards over 16 bits."""
    commands, groups = options.commands, options.fdp > 0
    extended_formats = any(form.guard == 64 for form in subsystem.inventory.forms)
    return (
        1
        | 1 << 1
        | (commands.rrls > 0) << 3
        | groups << 4
        | commands.tbkas << 6
        | extended_formats << 15
        | groups << 19
    )


def _controller(options: MockOptions, subsystem: Subsystem, cntlid: int, revision: str) -> IdentifyController:
    commands = options.commands
    inventory = subsystem.inventory
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
        # Notices of namespace attributes, telemetry, and asymmetric access.
        oaes=1 << 8 | (Lpa(options.lpa).telemetry and 1 << 10) | options.ana << 11,
        ctratt=_ctratt(options, subsystem),
        kas=commands.kas,
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
        tnvmcap=inventory.capacity,
        unvmcap=inventory.unallocated,
        edstt=subsystem.self_test.minutes,
        dsto=1,  # one self-test in the subsystem
        sanicap=SANICAP,
        fna=FNA,
        sqes=0x66,
        cqes=0x44,
        nn=inventory.nn,
        oncs=commands.oncs,
        fuses=commands.fuses,
        ocfs=commands.ocfs,
        sgls=commands.sgls,
        vwc=0b111,  # present; Flush takes FFFFFFFFh
        subnqn=subsystem_nqn(subsystem),
        psd=POWER_STATES,
    )


def _namespace(
    nsid: int, allocated: Allocated, options: MockOptions, subsystem: Subsystem
) -> IdentifyNamespace:
    config = allocated.config
    index = subsystem.inventory.form_index(config)
    return _formats(subsystem, options).replace(
        flbas=Flbas(low=index & 0xF, high=index >> 4, extended=int(config.extended)).value,
        dps=config.pi | (config.pi > 0 and config.pi_first) << 3,
        nmic=int(subsystem.inventory.is_shared(allocated)),
        fpi=_fpi(nsid, subsystem),
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
        nguid=_nguid(nsid, subsystem, allocated.life),
        eui64=_eui64(nsid, subsystem, allocated.life),
    )


def _formats(subsystem: Subsystem, options: MockOptions) -> IdentifyNamespace:
    """What every namespace has: formats, with metadata and protection in every way."""
    forms = subsystem.inventory.forms
    return IdentifyNamespace(
        nlbaf=len(forms) - 1,
        mc=0b11,
        dpc=0b11111,
        fpi=Fpi(supported=1).value,
        rescap=_rescap(options),
        dlfeat=1 | 1 << 3,  # a deallocated block reads as zeros, with a guard of FFh; so does DEAC
        lbaf=tuple(LbaFormat(ms=form.metadata, lbads=form.lba.bit_length() - 1) for form in forms),
    )
