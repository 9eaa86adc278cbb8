"""Owns what the mock answers to Identify (NVMe Base 2.0, 5.17; NVM Command Set 1.0, 4.1.5)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from aionvme.mock.config_space import VENDOR
from aionvme.mock.refusal import Refused
from aionvme.spec.identify import (
    IdentifyController,
    IdentifyNamespace,
    LbaFormat,
    NamespaceDescriptor,
    Nidt,
    PowerState,
    encode_controller_list,
    encode_namespace_descriptors,
    encode_nsid_list,
)
from aionvme.spec.opcodes import Cns, CommandSet
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.options import MockOptions, NamespaceConfig
    from aionvme.spec.entries import Sqe

CNTLID = 1
ALL_NAMESPACES = 0xFFFFFFFF
WARNING_KELVIN, CRITICAL_KELVIN = 343, 373
ERROR_LOG_ENTRIES = 64
_NBYTES = 4096
_NAMES = uuid.UUID("5e0ad6a0-6b0c-4f5c-9f57-3f4a2f0a6a11")


class Identify:
    """The structures of one controller. `answer` gives 4096 bytes, or raises `Refused`."""

    def __init__(self, options: MockOptions) -> None:
        self._options = options
        self._controller = _controller(options).encode()
        self._answers: dict[int, Callable[[Sqe], bytes]] = {
            Cns.NAMESPACE: self._namespace,
            Cns.CONTROLLER: lambda _sqe: self._controller,
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

    def _namespace(self, sqe: Sqe) -> bytes:
        """Zeros for an inactive identifier. All of them (FFFFFFFFh) needs namespace management."""
        config = self._config(sqe.nsid)
        return _namespace(sqe.nsid, config, self._options).encode() if config.active else bytes(_NBYTES)

    def _allocated_namespace(self, sqe: Sqe) -> bytes:
        return _namespace(sqe.nsid, self._config(sqe.nsid), self._options).encode()

    def _active_namespaces(self, sqe: Sqe) -> bytes:
        return self._list(sqe, inactive=False)

    def _allocated_namespaces(self, sqe: Sqe) -> bytes:
        return self._list(sqe, inactive=True)

    def _descriptors(self, sqe: Sqe) -> bytes:
        self._active(sqe.nsid)
        return encode_namespace_descriptors(
            (
                NamespaceDescriptor(Nidt.EUI64, _eui64(sqe.nsid, self._options)),
                NamespaceDescriptor(Nidt.NGUID, _nguid(sqe.nsid, self._options)),
                NamespaceDescriptor(Nidt.UUID, _name(sqe.nsid, self._options).bytes),
                NamespaceDescriptor(Nidt.CSI, bytes([CommandSet.NVM])),
            )
        )

    def _csi_namespace(self, sqe: Sqe) -> bytes:
        """Nothing of the NVM command set's own structure is used without protection information."""
        _check_csi(sqe)
        self._config(sqe.nsid)
        return bytes(_NBYTES)

    def _csi_controller(self, sqe: Sqe) -> bytes:
        """No limits of Verify, Write Zeroes and Dataset Management are reported."""
        _check_csi(sqe)
        return bytes(_NBYTES)

    def _csi_active_namespaces(self, sqe: Sqe) -> bytes:
        _check_csi(sqe)
        return self._list(sqe, inactive=False)

    def _independent_namespace(self, sqe: Sqe) -> bytes:
        """Of any I/O command set (Base 2.0, 5.17.2.8): NSTAT, byte 14, says that it is ready."""
        config = self._config(sqe.nsid)
        return bytes(14) + bytes([config.active]) + bytes(_NBYTES - 15)

    def _attached_controllers(self, sqe: Sqe) -> bytes:
        return self._controller_list(sqe, attached=self._config(sqe.nsid).active)

    def _controllers(self, sqe: Sqe) -> bytes:
        return self._controller_list(sqe, attached=True)

    def _controller_list(self, sqe: Sqe, *, attached: bool) -> bytes:
        return encode_controller_list((CNTLID,) if attached and sqe.cdw10 >> 16 <= CNTLID else ())

    def _command_sets(self, sqe: Sqe) -> bytes:
        """One combination: the NVM command set alone. CNTID names this controller, or is FFFFh for it."""
        if sqe.cdw10 >> 16 not in (CNTLID, 0xFFFF):
            raise Refused(StatusCode.INVALID_FIELD)
        return (1 << CommandSet.NVM).to_bytes(8, "little") + bytes(_NBYTES - 8)


def _check_csi(sqe: Sqe) -> None:
    if sqe.cdw11 >> 24 != CommandSet.NVM:
        raise Refused(StatusCode.INVALID_FIELD)


def _name(nsid: int, options: MockOptions) -> uuid.UUID:
    return uuid.uuid5(_NAMES, f"{options.serial}/{nsid}")


def _nguid(nsid: int, options: MockOptions) -> bytes:
    return uuid.uuid5(_NAMES, f"nguid/{options.serial}/{nsid}").bytes


def _eui64(nsid: int, options: MockOptions) -> bytes:
    return _nguid(nsid, options)[:8]


def _controller(options: MockOptions) -> IdentifyController:
    return IdentifyController(
        vid=VENDOR,
        ssvid=VENDOR,
        sn=options.serial,
        mn=options.model,
        fr=options.firmware,
        rab=6,
        mdts=options.mdts,
        cntlid=CNTLID,
        ver=0x00020000,
        oaes=1 << 8,  # namespace attribute notices
        ctratt=1,  # 128-bit host identifier
        cntrltype=1,
        acl=options.abort_limit - 1,
        aerl=options.event_limit - 1,
        frmw=1 | 1 << 1,  # one slot, read only
        lpa=1 << 1 | 1 << 2 | 1 << 5,  # command effects, extended data, supported log pages
        elpe=ERROR_LOG_ENTRIES - 1,
        npss=0,
        wctemp=WARNING_KELVIN,
        cctemp=CRITICAL_KELVIN,
        tnvmcap=sum(config.size for config in options.namespaces),
        sqes=0x66,
        cqes=0x44,
        nn=len(options.namespaces),
        oncs=1 | 1 << 3 | 1 << 4 | 1 << 6,  # Compare, Write Zeroes, Save and Select, Timestamp
        vwc=0b111,  # present; Flush takes FFFFFFFFh
        subnqn=f"nqn.2014-08.org.nvmexpress:uuid:{_name(0, options)}",
        psd=(PowerState(mp=2500),),
    )


def _namespace(nsid: int, config: NamespaceConfig, options: MockOptions) -> IdentifyNamespace:
    return IdentifyNamespace(
        nsze=config.nblocks,
        ncap=config.nblocks,
        nuse=config.nblocks,
        dlfeat=1,  # a deallocated block reads as zeros
        noiob=config.noiob,
        nvmcap=config.size,
        nguid=_nguid(nsid, options),
        eui64=_eui64(nsid, options),
        lbaf=(LbaFormat(lbads=config.lba.bit_length() - 1),),
    )
