"""Owns the journeys of log pages: those that every controller has, and what it says of those that it may have."""

from __future__ import annotations

import pytest

import aionvme
from aionvme.spec.logs import (
    ChangedNamespaces,
    CommandsSupportedAndEffects,
    ErrorLog,
    FirmwareSlots,
    SmartLog,
)
from aionvme.spec.opcodes import AdminOpcode, LogPageId, NvmOpcode
from aionvme.tests.journeys.device import Device, Journey


async def smart_counts_what_is_read(device: Device) -> None:
    """SMART counts the reads, is typed in both spellings, and has a temperature that can be."""
    async with device.queue_pair() as (ctrlr, ns, qp):
        before = await ctrlr.get_log_page(LogPageId.SMART)
        assert isinstance(before, SmartLog)
        assert -20 < before.temperature_c < 120
        with ctrlr.dma_alloc(ns.block_size) as buf:
            for lba in range(5):
                await qp.read(ns, buf, lba, 1)
        request = ctrlr.submit_get_log_page(LogPageId.SMART)
        after = await request
        assert after.host_read_commands == before.host_read_commands + 5
        assert request.cpl.value == after


async def mandatory_pages(device: Device) -> None:
    """Errors, SMART and firmware are there, by the query and by command; the slot that is active has a revision."""
    async with device.connect() as ctrlr:
        for lid in (LogPageId.ERROR_INFORMATION, LogPageId.SMART, LogPageId.FIRMWARE_SLOT):
            assert ctrlr.is_log_page_supported(lid)
        errors = await ctrlr.get_log_page(LogPageId.ERROR_INFORMATION)
        assert isinstance(errors, ErrorLog)
        assert len(errors.entries) == ctrlr.data.elpe + 1
        slots = await ctrlr.get_log_page(LogPageId.FIRMWARE_SLOT)
        assert isinstance(slots, FirmwareSlots)
        # Which it is, is not compared: QEMU's log and its Identify Controller disagree.
        assert slots.revisions[slots.active_slot]


async def commands_and_changes(device: Device) -> None:
    """The effects log has what the driver relies on; no namespace changed since bring-up."""
    async with device.connect() as ctrlr:
        assert ctrlr.is_log_page_supported(LogPageId.COMMAND_EFFECTS)
        effects = await ctrlr.get_log_page(LogPageId.COMMAND_EFFECTS)
        assert isinstance(effects, CommandsSupportedAndEffects)
        assert effects.supports_admin(AdminOpcode.IDENTIFY) and effects.supports_io(NvmOpcode.READ)
        await ctrlr.get_log_page(LogPageId.CHANGED_NAMESPACES)
        assert await ctrlr.get_log_page(LogPageId.CHANGED_NAMESPACES) == ChangedNamespaces()


async def pages_in_parts(device: Device) -> None:
    """Parts by their offset are the page, and the caller's memory is filled in place."""
    async with device.connect() as ctrlr:
        whole = (await ctrlr.get_log_page(LogPageId.COMMAND_EFFECTS)).encode()
        parts = [
            await ctrlr.get_log_page(LogPageId.COMMAND_EFFECTS, offset=at, nbytes=1024)
            for at in range(0, len(whole), 1024)
        ]
        assert b"".join(parts) == whole
        payload = bytearray(2048)
        assert await ctrlr.get_log_page(LogPageId.COMMAND_EFFECTS, offset=512, payload=payload) is payload
        assert payload == whole[512:2560]


async def a_page_that_is_not_there(device: Device) -> None:
    """The query says no, and the controller refuses it by status; the next page is read all the same."""
    async with device.connect() as ctrlr:
        lid = next(lid for lid in range(0xC0, 0x100) if not ctrlr.is_log_page_supported(lid))
        with pytest.raises(aionvme.StatusError):
            await ctrlr.get_log_page(lid, nbytes=512)
        await ctrlr.reset()
        assert not ctrlr.is_log_page_supported(lid)
        assert isinstance(await ctrlr.get_log_page(LogPageId.SMART), SmartLog)


WRITING: tuple[Journey, ...] = ()
OTHERS: tuple[Journey, ...] = (
    smart_counts_what_is_read,
    mandatory_pages,
    commands_and_changes,
    pages_in_parts,
    a_page_that_is_not_there,
)
