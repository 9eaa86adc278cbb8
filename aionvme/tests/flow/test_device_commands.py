"""Firmware, security, lockdown, directives, virtualization and LBA status on the mock, in both spellings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import aionvme
from aionvme.mock import MockController, firmware_image
from aionvme.spec.firmware import CommitAction, ResetNeeded
from aionvme.spec.lba_status import LbaStatusAction
from aionvme.spec.opcodes import LogPageId
from aionvme.spec.security import LockdownInterface, LockdownScope
from aionvme.spec.virtualization import VirtualizationAction
from aionvme.tests.flow.support import rig

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]

MAILBOX = 0xF0


async def _called(submit: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """The completion of the callback spelling."""
    told: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
    submit(*args, cb_fn=lambda arg, cpl: told.put_nowait((arg, cpl)), cb_arg="mine", **keywords)
    arg, cpl = await told.get()
    assert arg == "mine"
    return cpl


# -- firmware ------------------------------------------------------------------------------------------------


async def test_firmware_is_updated() -> None:
    """Download in pieces with progress, commit, reset: Identify says the new revision, and I/O goes on."""
    async with rig() as r:
        image = firmware_image("2.0", nbytes=200_000)
        download = r.ctrlr.firmware_download(image)
        steps = [progress async for progress in download]
        await download
        assert [step.done for step in steps][-1] == len(image)
        assert len(steps) >= len(image) // 65536
        committed = await r.ctrlr.firmware_commit(2)
        assert committed.reset is ResetNeeded.NONE
        assert r.ctrlr.data.fr.strip() == "1.0"
        await r.ctrlr.reset()
        assert r.ctrlr.data.fr.strip() == "2.0"
        page = await r.ctrlr.get_log_page(LogPageId.FIRMWARE_SLOT, nbytes=512)
        raw = page if isinstance(page, bytes) else page.encode()
        assert raw[0] == 2
        assert raw[16:24] == b"2.0     "
        await r.works()


async def test_firmware_by_callbacks() -> None:
    """The same in callbacks: each is called once, the commit's completion has the result."""
    async with rig() as r:
        image = firmware_image("2.1", nbytes=8192)
        assert not (await _called(r.ctrlr.submit_firmware_download, image)).status
        cpl = await _called(r.ctrlr.submit_firmware_commit, 0, CommitAction.REPLACE_AND_ACTIVATE)
        assert not cpl.status
        assert cpl.value.reset is ResetNeeded.NONE
        await r.ctrlr.reset()
        assert r.ctrlr.data.fr.strip() == "2.1"


@pytest.mark.parametrize(
    ("needs", "action", "says"),
    [
        (ResetNeeded.NONE, CommitAction.ACTIVATE_NOW, ResetNeeded.NONE),
        (ResetNeeded.CONTROLLER, CommitAction.ACTIVATE_NOW, ResetNeeded.CONTROLLER),
        (ResetNeeded.SUBSYSTEM, CommitAction.ACTIVATE_NOW, ResetNeeded.SUBSYSTEM),
        (ResetNeeded.SUBSYSTEM, CommitAction.REPLACE_AND_ACTIVATE, ResetNeeded.SUBSYSTEM),
        (ResetNeeded.CONVENTIONAL, CommitAction.REPLACE_AND_ACTIVATE, ResetNeeded.CONVENTIONAL),
        (ResetNeeded.CONTROLLER, CommitAction.REPLACE_AND_ACTIVATE, ResetNeeded.NONE),
        (ResetNeeded.CONTROLLER, CommitAction.REPLACE, ResetNeeded.NONE),
    ],
)
async def test_the_reset_that_is_needed_is_no_error(
    needs: ResetNeeded, action: CommitAction, says: ResetNeeded
) -> None:
    """A status that names a reset is a result. Only what a controller reset activates is active after one."""
    async with rig() as r:
        await r.ctrlr.firmware_download(firmware_image("3", reset=needs))
        committed = await r.ctrlr.firmware_commit(3, action)
        assert committed.reset is says
        await r.ctrlr.reset()
        active = action is not CommitAction.REPLACE and needs <= ResetNeeded.CONTROLLER
        assert r.ctrlr.data.fr.strip() == ("3" if active else "1.0")


async def test_an_image_in_a_slot_is_activated_later() -> None:
    """Replace without activation, then activate: the old one can be had back in the same way."""
    async with rig() as r:
        await r.ctrlr.firmware_download(firmware_image("4"))
        await r.ctrlr.firmware_commit(2, CommitAction.REPLACE)
        for slot, revision in ((2, "4"), (1, "1.0")):
            await r.ctrlr.firmware_commit(slot, CommitAction.ACTIVATE)
            await r.ctrlr.reset()
            assert r.ctrlr.data.fr.strip() == revision


@pytest.mark.parametrize(
    "damage",
    [
        lambda image: image[:-4096],
        lambda image: image[:100] + b"\xff" + image[101:],
        lambda image: b"\0" * len(image),
    ],
)
async def test_a_damaged_image_is_refused(damage: Callable[[bytes], bytes]) -> None:
    """Invalid Firmware Image; the one that runs goes on running."""
    async with rig() as r:
        await r.ctrlr.firmware_download(damage(firmware_image("5")))
        with pytest.raises(aionvme.CommandSpecificError) as caught:
            await r.ctrlr.firmware_commit(2)
        assert caught.value.status.name == "INVALID_FIRMWARE_IMAGE"
        await r.ctrlr.reset()
        assert r.ctrlr.data.fr.strip() == "1.0"


async def test_pieces_that_overlap_are_refused() -> None:
    """Overlapping Range; a reset forgets what was downloaded."""
    async with rig() as r:
        image = firmware_image("6")
        await r.ctrlr.firmware_download(image[:8192])
        cpl = await _called(r.ctrlr.submit_firmware_download, image[4096:8192], offset=4096)
        assert cpl.status.name == "OVERLAPPING_RANGE"
        await r.ctrlr.reset()
        await r.ctrlr.firmware_download(image)
        await r.ctrlr.firmware_commit(2)


async def test_a_download_is_cancelled_between_pieces() -> None:
    """Cancelling aborts the piece in flight; after a reset the controller takes the image from its start."""
    async with rig() as r:
        image = firmware_image("7", nbytes=1 << 20)
        download = r.ctrlr.firmware_download(image, piece=4096)
        async for progress in download:
            if progress.done >= 65536:
                break
        download.cancel()
        with pytest.raises(asyncio.CancelledError):
            await download
        await r.ctrlr.reset()
        await r.ctrlr.firmware_download(image)
        await r.ctrlr.firmware_commit(2)
        await r.works()


WRONG: list[tuple[Callable[[Any], Any], str]] = [
    (lambda c: c.firmware_download(b""), "image"),
    (lambda c: c.firmware_download(bytes(6)), "image"),
    (lambda c: c.firmware_download(bytes(8), offset=100), "offset"),
    (lambda c: c.firmware_download(bytes(8), piece=100), "piece"),
    (lambda c: c.firmware_download(bytes(8), piece=1 << 30), "piece"),
    (lambda c: c.firmware_commit(4), "slot"),
    (lambda c: c.firmware_commit(-1), "slot"),
    (lambda c: c.firmware_commit(1), "read only"),
    (lambda c: c.firmware_commit(2, 5), "action"),
    (lambda c: c.firmware_commit(2, boot_partition=2), "boot_partition"),
    (lambda c: c.security_send(256, b"x"), "protocol"),
    (lambda c: c.security_send(MAILBOX, b""), "data"),
    (lambda c: c.security_send(MAILBOX, b"x", specific=1 << 16), "specific"),
    (lambda c: c.security_send(MAILBOX, b"x", nssf=-1), "nssf"),
    (lambda c: c.security_receive(MAILBOX, 0), "nbytes"),
    (lambda c: c.security_receive(MAILBOX, 1 << 30), "nbytes"),
    (lambda c: c.lockdown(1, 0x09, prohibit=True), "scope"),
    (lambda c: c.lockdown(LockdownScope.FEATURE, 256, prohibit=True), "identifier"),
    (lambda c: c.lockdown(LockdownScope.FEATURE, 6, prohibit=True, interface=3), "interface"),
    (lambda c: c.directive_send(256, 1), "dtype"),
    (lambda c: c.directive_send(0, 256), "doper"),
    (lambda c: c.directive_send(0, 1, dspec=1 << 16), "dspec"),
    (lambda c: c.directive_send(0, 1, data=b"abc"), "data"),
    (lambda c: c.directive_receive(0, 1, nbytes=3), "nbytes"),
    (lambda c: c.enable_directive(256, nsid=1), "dtype"),
    (lambda c: c.get_lba_status(0, 0), "nsid"),
    (lambda c: c.get_lba_status(1, -1), "lba"),
    (lambda c: c.get_lba_status(1, 0, 1 << 16), "nblocks"),
    (lambda c: c.get_lba_status(1, 0, action=1), "action"),
    (lambda c: c.get_lba_status(1, 0, nbytes=4), "nbytes"),
    (lambda c: c.virtualization_management(VirtualizationAction.SECONDARY_ONLINE, 1), "Virtualization"),
]


async def test_wrong_arguments_are_refused_by_the_call() -> None:
    """Each raises `UsageError` that names the field, before anything is sent; the controller goes on."""
    async with rig() as r:
        before = r.mock.queue(0).fetched
        for call, field in WRONG:
            with pytest.raises(aionvme.UsageError, match=field):
                call(r.ctrlr)
        assert r.mock.queue(0).fetched == before
        await r.works()


# -- security and lockdown -----------------------------------------------------------------------------------


async def test_what_is_sent_to_a_security_protocol_is_received() -> None:
    """The list of protocols names the mailbox; what is sent there comes back, in both spellings."""
    async with rig() as r:
        protocols = await r.ctrlr.security_receive(0, 512)
        assert MAILBOX in protocols[8 : 8 + int.from_bytes(protocols[6:8], "big")]
        await r.ctrlr.security_send(MAILBOX, b"hello", specific=7)
        assert await r.ctrlr.security_receive(MAILBOX, 8, specific=7) == b"hello\0\0\0"
        assert not (await _called(r.ctrlr.submit_security_send, MAILBOX, b"again", specific=8)).status
        cpl = await _called(r.ctrlr.submit_security_receive, MAILBOX, 5, specific=8)
        assert cpl.value == b"again"
        with pytest.raises(aionvme.GenericStatusError):
            await r.ctrlr.security_send(0x01, b"not there")


async def test_what_is_locked_down_is_not_executed() -> None:
    """A prohibited command and the setting of a prohibited feature get their status until they are allowed again."""
    async with rig() as r:
        await r.ctrlr.lockdown(LockdownScope.FEATURE, 0x06, prohibit=True)
        with pytest.raises(aionvme.StatusError) as caught:
            await r.ctrlr.set_feature(0x06, cdw11=1)
        assert caught.value.status.name == "PROHIBITED_BY_LOCKDOWN"
        assert (await r.ctrlr.get_feature(0x06)).dw0 == 1
        await r.ctrlr.lockdown(LockdownScope.FEATURE, 0x06, prohibit=False)
        await r.ctrlr.set_feature(0x06, cdw11=1)
        cpl = await _called(r.ctrlr.submit_lockdown, LockdownScope.ADMIN_OPCODE, 0x81, prohibit=True)
        assert not cpl.status
        with pytest.raises(aionvme.StatusError):
            await r.ctrlr.security_send(MAILBOX, b"x")
        with pytest.raises(aionvme.StatusError) as caught:
            await r.ctrlr.lockdown(LockdownScope.ADMIN_OPCODE, 0x24, prohibit=True)
        assert caught.value.status.name == "PROHIBITION_NOT_SUPPORTED"


async def test_a_lockdown_is_the_subsystem_s() -> None:
    """Another controller of the subsystem refuses it too, also after resets; a power cycle allows it again."""
    with MockController() as mock, mock.second() as other:
        async with aionvme.connect(mock) as first, aionvme.connect(other) as second:
            await first.lockdown(LockdownScope.FEATURE, 0x06, prohibit=True)
            await second.reset()
            with pytest.raises(aionvme.StatusError) as caught:
                await second.set_feature(0x06, cdw11=1)
            assert caught.value.status.name == "PROHIBITED_BY_LOCKDOWN"
            with pytest.raises(aionvme.StatusError) as caught:
                await first.lockdown(
                    LockdownScope.FEATURE, 0x06, prohibit=True, interface=LockdownInterface.OUT_OF_BAND
                )
            assert caught.value.status.name == "INVALID_FIELD"
        mock.power_cycle()
        async with aionvme.connect(other) as second:
            await second.set_feature(0x06, cdw11=1)


async def test_firmware_that_waits_for_a_power_cycle() -> None:
    """An image that takes a conventional reset is not activated by a controller's, but by a power cycle."""
    with MockController() as mock:
        async with aionvme.connect(mock) as ctrlr:
            await ctrlr.firmware_download(firmware_image("8", reset=ResetNeeded.CONVENTIONAL))
            assert (await ctrlr.firmware_commit(2)).reset is ResetNeeded.CONVENTIONAL
            await ctrlr.reset()
            assert ctrlr.data.fr.strip() == "1.0"
        mock.power_cycle()
        async with aionvme.connect(mock) as ctrlr:
            assert ctrlr.data.fr.strip() == "8"


# -- directives and LBA status -------------------------------------------------------------------------------


async def test_directives_are_asked_for() -> None:
    """The Identify directive is there and enabled; Streams is not, and enabling it is refused."""
    async with rig() as r:
        page = await r.ctrlr.directive_receive(0, 1, nsid=1)
        assert [(page.supports(n), page.enables(n)) for n in (0, 1)] == [(True, True), (False, False)]
        assert (await _called(r.ctrlr.submit_directive_receive, 0, 1, nsid=1)).value == page
        raw = await r.ctrlr.directive_receive(0, 1, nsid=1, nbytes=32)
        assert raw == page.supported
        assert await r.ctrlr.enable_directive(0, nsid=1) == 0
        assert (await _called(r.ctrlr.submit_enable_directive, 1, nsid=1)).status.name == "INVALID_FIELD"
        with pytest.raises(aionvme.GenericStatusError):
            await r.ctrlr.enable_directive(1, nsid=1)
        assert (await _called(r.ctrlr.submit_directive_send, 1, 1, nsid=1)).status


async def test_blocks_that_cannot_be_read_are_listed() -> None:
    """Write Uncorrectable's blocks, as ranges; what does not fit is said; a write takes one out."""
    async with rig() as r:
        await r.qp.write_uncorrectable(r.ns, 10, 3)
        await r.qp.write_uncorrectable(r.ns, 100, 1)
        status = await r.ctrlr.get_lba_status(1, 0, 1000)
        assert status.complete
        assert [(each.dslba, each.nblocks) for each in status.ranges] == [(10, 3), (100, 1)]
        cut = (await _called(r.ctrlr.submit_get_lba_status, 1, 0, 0, nbytes=24)).value
        assert not cut.complete
        assert [each.dslba for each in cut.ranges] == [10]
        await r.qp.write(r.ns, r.buf, 11, 1)
        status = await r.ctrlr.get_lba_status(1, 5, 50, action=LbaStatusAction.SCAN)
        assert [(each.dslba, each.nblocks) for each in status.ranges] == [(10, 1), (12, 1)]
        with pytest.raises(aionvme.GenericStatusError) as caught:
            await r.ctrlr.get_lba_status(1, r.ns.nblocks, 1)
        assert caught.value.status.name == "LBA_OUT_OF_RANGE"
