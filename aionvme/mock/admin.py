"""Owns the admin commands as the controller executes them (NVMe Base 2.0, 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from aionvme.mock import directives
from aionvme.mock.events import Events
from aionvme.mock.features import Features
from aionvme.mock.firmware import Firmware
from aionvme.mock.formatting import Formatting
from aionvme.mock.identify import Identify
from aionvme.mock.keep_alive import KeepAlive
from aionvme.mock.locks import Security
from aionvme.mock.logs import COMPOSITE_KELVIN, LogPages
from aionvme.mock.ns_management import NamespaceManagement
from aionvme.mock.refusal import Refused
from aionvme.spec.entries import Sqe
from aionvme.spec.events import EventMask, NoticeEvent
from aionvme.spec.firmware import ResetNeeded
from aionvme.spec.intel_features import IntelFeatureId
from aionvme.spec.lba_status import LbaStatusAction, LbaStatusCdw13, LbaStatusDescriptor, LbaStatusHead
from aionvme.spec.opcodes import AdminOpcode, FeatureId, LogPageId
from aionvme.spec.registers import Cc, Reg
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.commands import CommandOptions
    from aionvme.mock.machine import Machine
    from aionvme.mock.options import MockOptions
    from aionvme.mock.subsystem import Subsystem

# A queue's memory starts at a page of CC.MPS; entries have 2**6 and 2**4 bytes.
_SQE_POWER, _CQE_POWER = 6, 4


def _nobody(_rule: int) -> None:
    """There are no faults."""


class Admin:
    """Executes admin commands. The machine calls it, standing still, one command at a time."""

    def __init__(self, machine: Machine, options: MockOptions, subsystem: Subsystem, member: int) -> None:
        self._machine = machine
        self._options = options
        self._subsystem = subsystem
        self._member = member
        self.firmware = Firmware(machine, options.firmware)
        self._security = Security(machine)
        self._identify = Identify(options, subsystem, member, self.firmware)
        self.features = Features(machine, options, subsystem, member)
        self.logs = LogPages(machine, options, self.features, self.firmware, subsystem, member)
        self.events = Events(machine, options.event_limit, self.features)
        self._formatting = Formatting(machine, subsystem, member, options.media.format_time)
        self.logs.add(LogPageId.DEVICE_SELF_TEST, subsystem.self_test.log_page)
        self.logs.add(LogPageId.SANITIZE_STATUS, subsystem.sanitizing.log_page)
        management = NamespaceManagement(machine, subsystem, member)
        self.keep_alive = KeepAlive(machine, options, self.features.special)
        #: What ends this controller, which meets something that it cannot go on from; the registers set it.
        self.fail: Callable[[], None] = machine.halt
        self.strike: Callable[[int], None] = _nobody
        self._commands: dict[int, Callable[[Sqe], int | None]] = {
            AdminOpcode.DELETE_IO_SQ: self._delete_sq,
            AdminOpcode.CREATE_IO_SQ: self._create_sq,
            AdminOpcode.GET_LOG_PAGE: self._get_log_page,
            AdminOpcode.DELETE_IO_CQ: self._delete_cq,
            AdminOpcode.CREATE_IO_CQ: self._create_cq,
            AdminOpcode.IDENTIFY: self._do_identify,
            AdminOpcode.ABORT: self._abort,
            AdminOpcode.SET_FEATURES: self._set_features,
            AdminOpcode.GET_FEATURES: self.features.get,
            AdminOpcode.ASYNC_EVENT_REQUEST: self.events.request,
            AdminOpcode.FIRMWARE_DOWNLOAD: self.firmware.download,
            AdminOpcode.FIRMWARE_COMMIT: self.firmware.commit,
            AdminOpcode.SECURITY_SEND: self._security.send,
            AdminOpcode.SECURITY_RECEIVE: lambda sqe: self._give(sqe, self._security.receive(sqe)),
            AdminOpcode.DIRECTIVE_SEND: directives.send,
            AdminOpcode.DIRECTIVE_RECEIVE: self._receive_directive,
            AdminOpcode.LOCKDOWN: subsystem.lockdown.execute,
            AdminOpcode.GET_LBA_STATUS: self._get_lba_status,
            AdminOpcode.NAMESPACE_MANAGEMENT: management.manage,
            AdminOpcode.NAMESPACE_ATTACHMENT: management.attach,
            AdminOpcode.FORMAT_NVM: self._formatting.execute,
            AdminOpcode.SANITIZE: lambda sqe: subsystem.sanitizing.execute(sqe, member),
            AdminOpcode.DEVICE_SELF_TEST: lambda sqe: subsystem.self_test.execute(sqe, member),
        }
        if options.commands.kas:
            self._commands[AdminOpcode.KEEP_ALIVE] = self.keep_alive.keep_alive
        if options.shadow_doorbells:
            self._commands[AdminOpcode.DOORBELL_BUFFER_CONFIG] = self._configure_doorbells
        machine.set_limits(options.commands.limits())

    def change(self, mdts: int | None, commands: CommandOptions) -> None:
        """Other limits and commands from now on, where they are named."""
        options = self._options
        if mdts is not None:
            options.mdts = mdts
        options.commands = attrs.evolve(options.commands, **commands)
        self._machine.set_limits(options.commands.limits())
        self._machine.max_transfer = options.max_transfer

    def reset(self) -> None:
        """Controller reset: outstanding event requests go, features have their defaults."""
        self.events.reset()
        self.keep_alive.reset()
        self.features.reset()
        self._follow_intel()
        self.firmware.reset(ResetNeeded.CONTROLLER)
        self.logs.reset()
        self._machine.set_shadow(0, 0)
        self._subsystem.reservations.controller_was_reset(self._member)
        self._subsystem.self_test.controller_was_reset(self._member)
        self._formatting.reset()

    def reset_subsystem(self) -> None:
        """An NVM subsystem reset was asked for. Called with no machine standing still: each does so in its turn."""
        self._subsystem.reset()

    def power_loss(self) -> None:
        """An NVM subsystem reset, of this controller."""
        self._subsystem.reservations.power_loss()
        self.firmware.reset(ResetNeeded.SUBSYSTEM)

    def execute(self, qid: int, raw: bytes) -> None:
        """Executes one command and completes it, unless it stays outstanding."""
        sqe = Sqe.decode(raw)
        if self.keep_alive.expired():
            self.fail()
            return
        self.hear_news()
        if not qid:
            self.features.buffer.use()
        try:
            dw0 = self._reserve(raw, sqe) if qid else self._execute(sqe)
        except Refused as refused:
            self._machine.note_error(qid, sqe.cid, sqe.nsid, refused.field)
            self._machine.complete(qid, sqe.cid, refused.field, 0, 0)
            return
        if dw0 is not None:
            self._machine.complete(qid, sqe.cid, 0, dw0, 0)

    def hear_news(self) -> None:
        """What other controllers of the subsystem, or their commands, changed: namespaces."""
        nsids = self._subsystem.take_changes(self._member)
        if nsids:
            self.logs.changed.extend(nsids)
            self.events.namespace_changed()

    def _reserve(self, raw: bytes, sqe: Sqe) -> int:
        """The I/O commands that are not compiled are those of reservations."""
        self._subsystem.inventory.active(sqe.nsid, self._member)
        self._subsystem.sanitizing.check(None)
        if sqe.nsid in self._subsystem.formatting:
            raise Refused(StatusCode.FORMAT_IN_PROGRESS, dnr=False)
        self._subsystem.reservations.execute(self._machine, self._member, raw, sqe)
        return 0

    def _execute(self, sqe: Sqe) -> int | None:
        command = self._commands.get(sqe.opc)
        if command is None:
            raise Refused(StatusCode.INVALID_OPCODE)
        if sqe.fuse or sqe.psdt:
            raise Refused(StatusCode.INVALID_FIELD)  # neither is supported
        self._subsystem.lockdown.check(sqe)
        self._subsystem.sanitizing.check(sqe.opc)
        return command(sqe)

    def bad_doorbell(self, value: bool) -> None:
        """A doorbell was written that should not have been; `value`: with a value that can't be."""
        self.events.report(0, int(value), LogPageId.ERROR_INFORMATION)

    def _give(self, sqe: Sqe, data: bytes) -> int:
        status = self._machine.data_in(sqe.prp1, sqe.prp2, data)
        if status:
            raise Refused.by_field(status)
        return 0

    # -- queues ----------------------------------------------------------------------------------------------

    def _check_queue(self, sqe: Sqe, power: int, wanted: int) -> None:
        """What both kinds of queue ask: entry size as enabled, entries, memory."""
        entries = (sqe.cdw10 >> 16) + 1
        if entries < 2 or entries > self._options.queue_entries or power != wanted:
            raise Refused(StatusCode.INVALID_QUEUE_SIZE)
        if not sqe.cdw11 & 1:  # PC: CAP.CQR wants contiguous queues
            raise Refused(StatusCode.INVALID_FIELD)
        if sqe.prp1 % self._page:
            raise Refused(StatusCode.PRP_OFFSET_INVALID)

    @property
    def _cc(self) -> Cc:
        return Cc(self._machine.get32(Reg.CC))

    @property
    def _page(self) -> int:
        return 1 << 12 + self._cc.mps

    def _create_cq(self, sqe: Sqe) -> int:
        qid, vector = sqe.cdw10 & 0xFFFF, sqe.cdw11 >> 16
        if not 1 <= qid <= self.features.queues[1] or self._machine.has_cq(qid):
            raise Refused(StatusCode.INVALID_QUEUE_IDENTIFIER)
        self._check_queue(sqe, self._cc.iocqes, _CQE_POWER)
        if vector >= max(self._options.num_irqs, 1):
            raise Refused(StatusCode.INVALID_INTERRUPT_VECTOR)
        if self._machine.in_cmb(sqe.prp1):
            raise Refused(StatusCode.INVALID_CMB_USE)  # it takes submission queues only
        self.features.queues_created = True
        self._machine.create_cq(qid, sqe.prp1, (sqe.cdw10 >> 16) + 1, vector, bool(sqe.cdw11 >> 1 & 1))
        return 0

    def _create_sq(self, sqe: Sqe) -> int:
        qid, cqid = sqe.cdw10 & 0xFFFF, sqe.cdw11 >> 16
        if not 1 <= qid <= self.features.queues[0] or self._machine.has_sq(qid):
            raise Refused(StatusCode.INVALID_QUEUE_IDENTIFIER)
        if not 1 <= cqid <= self.features.queues[1]:
            raise Refused(StatusCode.INVALID_QUEUE_IDENTIFIER)
        if not self._machine.has_cq(cqid):
            raise Refused(StatusCode.COMPLETION_QUEUE_INVALID)
        self._check_queue(sqe, self._cc.iosqes, _SQE_POWER)
        self._machine.create_sq(qid, cqid, sqe.prp1, (sqe.cdw10 >> 16) + 1, sqe.cdw11 >> 1 & 3)
        return 0

    def _configure_doorbells(self, sqe: Sqe) -> int:
        """Doorbell Buffer Config (5.8): the pages of the doorbells, and of what the controller saw of them."""
        if not sqe.prp1 or not sqe.prp2 or sqe.prp1 % self._page or sqe.prp2 % self._page:
            raise Refused(StatusCode.INVALID_FIELD)
        if not self._machine.set_shadow(sqe.prp1, sqe.prp2):
            raise Refused(StatusCode.DATA_TRANSFER_ERROR)
        return 0

    def _delete_sq(self, sqe: Sqe) -> int:
        qid = sqe.cdw10 & 0xFFFF
        if qid == 0 or not self._machine.has_sq(qid):
            raise Refused(StatusCode.INVALID_QUEUE_IDENTIFIER)
        self._machine.delete_sq(qid)
        return 0

    def _delete_cq(self, sqe: Sqe) -> int:
        qid = sqe.cdw10 & 0xFFFF
        if qid == 0 or not self._machine.has_cq(qid):
            raise Refused(StatusCode.INVALID_QUEUE_IDENTIFIER)
        if self._machine.cq_users(qid):
            raise Refused(StatusCode.INVALID_QUEUE_DELETION)
        self._machine.delete_cq(qid)
        return 0

    # -- the rest --------------------------------------------------------------------------------------------

    def _do_identify(self, sqe: Sqe) -> int:
        return self._give(sqe, self._identify.answer(sqe))

    def _get_log_page(self, sqe: Sqe) -> int:
        self._give(sqe, self.logs.answer(sqe))
        if not sqe.cdw10 >> 15 & 1:  # RAE: retain asynchronous event
            lid = sqe.cdw10 & 0xFF
            self.logs.was_read(lid)
            self.events.page_was_read(lid)
        return 0

    def capture_telemetry(self) -> None:
        """The controller captures its state, and says so (5.2.1, telemetry log changed) where that was switched on."""
        self.logs.telemetry.capture()
        self.events.notice(EventMask.TELEMETRY, NoticeEvent.TELEMETRY_CHANGED, LogPageId.TELEMETRY_CONTROLLER)

    def set_ana_state(self, state: int) -> None:
        """The namespaces are reached otherwise, and the controller says so where that was switched on."""
        self.logs.media.ana_state = state
        self.logs.media.ana_changes += 1
        self.events.notice(EventMask.ANA, NoticeEvent.ANA_CHANGED, LogPageId.ANA)

    def _receive_directive(self, sqe: Sqe) -> int:
        return self._give(sqe, directives.receive(sqe, self._options.max_transfer))

    def _get_lba_status(self, sqe: Sqe) -> int:
        """Get LBA Status (NVM 1.0, 4.2.1): blocks that were made unreadable by Write Uncorrectable."""
        dword, nbytes = LbaStatusCdw13(sqe.cdw13), (sqe.cdw12 + 1) * 4
        lba = sqe.cdw11 << 32 | sqe.cdw10
        config = self._subsystem.inventory.active(sqe.nsid, self._member).config
        if (
            dword.atype not in (LbaStatusAction.SCAN, LbaStatusAction.TRACKED)
            or nbytes > self._options.max_transfer
        ):
            raise Refused(StatusCode.INVALID_FIELD)
        left = config.nblocks - lba
        if left <= 0 or dword.rl > left:
            raise Refused(StatusCode.LBA_OUT_OF_RANGE)
        room = max(nbytes - LbaStatusHead.SIZE, 0) // LbaStatusDescriptor.SIZE
        bad = self._subsystem.shelf.bad_ranges(sqe.nsid, lba, dword.rl or left, room + 1)
        head = LbaStatusHead(nlsd=min(len(bad), room), cmpc=1 if len(bad) > room else 2)
        entries = (LbaStatusDescriptor(dslba=first, nlb=count - 1) for first, count in bad[:room])
        answer = head.encode() + b"".join(entry.encode() for entry in entries)
        return self._give(sqe, answer[:nbytes].ljust(nbytes, b"\0"))

    def _set_features(self, sqe: Sqe) -> int:
        dw0 = self.features.set(sqe)
        self._follow_intel()
        if sqe.cdw10 & 0xFF in (FeatureId.TEMPERATURE_THRESHOLD, FeatureId.ASYNC_EVENT_CONFIGURATION):
            self._look_at_temperature()
        if sqe.cdw10 & 0xFF == FeatureId.ASYNC_EVENT_CONFIGURATION:
            self.events.warning(self.logs.warning)  # what is true when it is switched on is told
        return dw0

    def _follow_intel(self) -> None:
        if self.logs.intel is not None:
            self.logs.intel.tracks_latency = bool(self.features.value(IntelFeatureId.LATENCY_TRACKING))

    def _look_at_temperature(self) -> None:
        """A threshold that is passed is a critical warning, where that event is switched on (5.27.1.8)."""
        switched_on = self.features.value(FeatureId.ASYNC_EVENT_CONFIGURATION) & 2
        if switched_on and self.features.over_temperature(COMPOSITE_KELVIN):
            self.events.report(1, 1, LogPageId.SMART)

    @property
    def critical_warning(self) -> int:
        """Critical warnings of the SMART / health log that were made true from outside."""
        return self.logs.warning

    @critical_warning.setter
    def critical_warning(self, bits: int) -> None:
        come = bits & ~self.logs.warning
        self.logs.warning = bits
        self.events.warning(come)

    def _abort(self, sqe: Sqe) -> int:
        """What is kept, and requests for events, can be aborted; all else was executed at once (5.1)."""
        sqid, cid = sqe.cdw10 & 0xFFFF, sqe.cdw10 >> 16
        if self._machine.count_kept(0, AdminOpcode.ABORT) >= self._options.abort_limit:
            raise Refused(StatusCode.ABORT_LIMIT_EXCEEDED, dnr=False)
        if not self._machine.has_sq(sqid):
            raise Refused(StatusCode.INVALID_FIELD)
        if self._machine.abort_kept(sqid, cid) or (sqid == 0 and self.events.abort(cid)):
            return 0
        return 1
