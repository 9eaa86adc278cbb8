"""Log pages as a program reads them: typed and whole, in pieces, in both spellings, and refused."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import pytest

import aionvme
from aionvme.admin.operation import Operation
from aionvme.mock import MockController
from aionvme.qpair.request import Request
from aionvme.spec import logs
from aionvme.spec.entries import Sqe
from aionvme.spec.logs import fdp, health, namespaces
from aionvme.spec.logs.captures import BootPartitionHeader
from aionvme.spec.opcodes import AdminOpcode, LogPageId
from aionvme.spec.status import StatusCode
from aionvme.tests.flow.support import rig

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop")]

MIB = 1 << 20
RAE = 1 << 15
ALL_LPA, NO_OFFSETS, NO_LIST = 0x7E, 0x7A, 0x5E


def device(**options: Any) -> MockController:
    """A mock that gives up quickly."""
    return MockController(**{"timeout": 0.5} | options)


def asked(mock: MockController) -> list[Sqe]:
    """Every Get Log Page from now on, as the controller sees it."""
    sqes: list[Sqe] = []
    answer = mock._admin.logs.answer

    def note(sqe: Sqe) -> bytes:
        sqes.append(sqe)
        return answer(sqe)

    mock._admin.logs.answer = note  # type: ignore[method-assign]
    return sqes


def shapes(sqes: list[Sqe]) -> list[tuple[int, int, bool]]:
    """Offset and size of each, and whether the event is retained."""
    return [
        (
            sqe.cdw13 << 32 | sqe.cdw12,
            (sqe.cdw11 << 16 & 0xFFFF0000 | sqe.cdw10 >> 16) * 4 + 4,
            bool(sqe.cdw10 & RAE),
        )
        for sqe in sqes
    ]


# -- typed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lid", "kind", "keywords"),
    [
        (LogPageId.SUPPORTED_LOG_PAGES, logs.SupportedLogPages, {}),
        (LogPageId.ERROR_INFORMATION, logs.ErrorLog, {}),
        (LogPageId.SMART, logs.SmartLog, {}),
        (LogPageId.FIRMWARE_SLOT, logs.FirmwareSlots, {}),
        (LogPageId.CHANGED_NAMESPACES, logs.ChangedNamespaces, {}),
        (LogPageId.COMMAND_EFFECTS, logs.CommandsSupportedAndEffects, {}),
        (LogPageId.TELEMETRY_HOST, logs.TelemetryHeader, {}),
        (LogPageId.TELEMETRY_CONTROLLER, logs.TelemetryHeader, {}),
        (LogPageId.ENDURANCE_GROUP, logs.EnduranceGroupLog, {"lsi": 1}),
        (LogPageId.ANA, logs.AnaLog, {}),
        (LogPageId.PERSISTENT_EVENTS, logs.PersistentEventLog, {}),
        (LogPageId.LBA_STATUS, logs.LbaStatusLog, {}),
        (LogPageId.ENDURANCE_GROUP_EVENTS, logs.EventAggregate, {}),
        (LogPageId.FDP_CONFIGURATIONS, logs.FdpConfigurations, {"lsi": 1}),
        (LogPageId.FDP_HANDLE_USAGE, logs.FdpHandleUsage, {"lsi": 1}),
        (LogPageId.FDP_STATISTICS, logs.FdpStatistics, {"lsi": 1}),
        (LogPageId.FDP_EVENTS, logs.FdpEvents, {"lsi": 1}),
        (LogPageId.RESERVATION_NOTIFICATION, logs.ReservationNotification, {}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_typed_pages(lid: int, kind: type, keywords: dict[str, Any]) -> None:
    """Every page that the mock has is there, typed, and the same for a callback."""
    told: asyncio.Queue[tuple[str, aionvme.Completion]] = asyncio.Queue()
    async with rig(device(ana=True, fdp=3)) as r:
        assert r.ctrlr.is_log_page_supported(lid)
        page = await r.ctrlr.get_log_page(lid, **keywords)
        assert type(page) is kind
        r.ctrlr.submit_get_log_page(lid, lambda arg, cpl: told.put_nowait((arg, cpl)), "log", **keywords)
        arg, cpl = await told.get()
        assert (arg, bool(cpl.status), type(cpl.value)) == ("log", False, kind)


SCRIPTED = (
    (LogPageId.DEVICE_SELF_TEST, health.SelfTestLog(operation=1, completion=25)),
    (LogPageId.PREDICTABLE_LATENCY_NVM_SET, health.PredictableLatency(status=1, dtwin_reads_typical=9)),
    (LogPageId.PREDICTABLE_LATENCY_EVENTS, namespaces.EventAggregate(identifiers=tuple(range(1, 4001)))),
    (LogPageId.ROTATIONAL_MEDIA, health.RotationalMedia(nrs=7200)),
    (LogPageId.SANITIZE_STATUS, health.SanitizeLog(sprog=0x8000, sstat=2)),
    (
        LogPageId.BOOT_PARTITION,
        logs.BootPartition(head=BootPartitionHeader(lid=0x15, bpinfo=1), data=bytes(range(256)) * 512),
    ),
    (LogPageId.FDP_EVENTS, fdp.FdpEvents(events=tuple(fdp.FdpEvent(pid=n) for n in range(63)))),
)


@pytest.mark.parametrize(("lid", "page"), SCRIPTED, ids=lambda value: getattr(value, "name", ""))
async def test_pages_of_any_length(lid: int, page: Any) -> None:
    """A page that is longer than one command takes comes whole."""
    async with rig(device(mdts=8192)) as r:
        r.mock.set_log_page(lid, page)
        assert await r.ctrlr.get_log_page(lid) == page


async def test_what_smart_and_errors_say() -> None:
    """They are of this controller: what was read, and what failed."""
    async with rig(device()) as r:
        for _ in range(3):
            await r.read()
        with pytest.raises(aionvme.StatusError):
            await r.ctrlr.identify(0x77)
        smart = await r.ctrlr.get_log_page(LogPageId.SMART)
        assert (smart.temperature_c, smart.host_read_commands, smart.error_log_entries) == (37, 3, 1)
        log = await r.ctrlr.get_log_page(LogPageId.ERROR_INFORMATION)
        (error,) = log.errors
        assert (error.sqid, error.status.name) == (0, "INVALID_FIELD")
        assert len(log.entries) == r.ctrlr.data.elpe + 1


async def test_parts_are_bytes() -> None:
    """What is not the whole page is bytes; what is whole is typed however it was asked for."""
    async with rig(device()) as r:
        whole = (await r.ctrlr.get_log_page(2)).encode()
        assert await r.ctrlr.get_log_page(2, nbytes=64) == whole[:64]
        assert await r.ctrlr.get_log_page(2, nbytes=4, offset=508) == whole[508:]
        assert await r.ctrlr.get_log_page(2, offset=500) == whole[500:]
        assert isinstance(await r.ctrlr.get_log_page(2, nbytes=512), logs.SmartLog)
        assert len((await r.ctrlr.get_log_page(1, nbytes=128)).entries) == 2


async def test_payload() -> None:
    """The caller's memory is filled in place, is the result, and says how much; bytes beyond stay."""
    async with rig(device()) as r:
        whole = (await r.ctrlr.get_log_page(3)).encode()
        payload = bytearray(b"\xee" * 520)
        assert await r.ctrlr.get_log_page(3, nbytes=512, payload=payload) is payload
        assert payload == whole + b"\xee" * 8
        small = bytearray(64)
        await r.ctrlr.get_log_page(3, payload=memoryview(small))
        assert small == whole[:64]
        with r.ctrlr.dma_alloc(4096) as buf:
            await r.ctrlr.get_log_page(3, nbytes=512, payload=buf)
            assert bytes(buf)[:512] == whole


# -- pieces ----------------------------------------------------------------------------------------------------------


async def test_pieces() -> None:
    """Each has at most MDTS, they follow one another, and all but the last retain the event."""
    page = bytes(range(256)) * 80
    async with rig(device(mdts=8192)) as r:
        r.mock.set_log_page(0xC7, page)
        sqes = asked(r.mock)
        one = r.ctrlr.get_log_page(0xC7, nbytes=8192)
        assert isinstance(one, Request)
        assert await one == page[:8192]
        operation = r.ctrlr.get_log_page(0xC7, nbytes=20480, nsid=0, lsi=3, csi=2)
        assert isinstance(operation, Operation)
        seen = [step.done async for step in operation]
        assert await operation == page
        assert seen[-1] == 20480
        assert shapes(sqes) == [(0, 8192, False), (0, 8192, True), (8192, 8192, True), (16384, 4096, False)]
        assert {(sqe.nsid, sqe.cdw11 >> 16, sqe.cdw14 >> 24) for sqe in sqes[1:]} == {(0, 3, 2)}
        sqes.clear()
        payload = bytearray(16384)
        await r.ctrlr.get_log_page(0xC7, offset=4, payload=payload, retain_event=True)
        assert payload == page[4:16388]
        assert shapes(sqes) == [(4, 8192, True), (8196, 8192, True)]


async def test_a_piece_that_fails() -> None:
    """Its status is the operation's, and the callback's."""
    told: asyncio.Queue[aionvme.Completion] = asyncio.Queue()
    async with rig(device(mdts=8192)) as r:
        r.mock.set_log_page(0xC7, bytes(20480))
        r.mock.fail(StatusCode.INTERNAL_ERROR, qid=0, opcode=AdminOpcode.GET_LOG_PAGE, nth=2)
        operation = r.ctrlr.submit_get_log_page(
            0xC7, lambda _arg, cpl: told.put_nowait(cpl), None, nbytes=20480
        )
        with pytest.raises(aionvme.StatusError) as caught:
            await operation
        assert caught.value.status == StatusCode.INTERNAL_ERROR
        assert (await told.get()).status == StatusCode.INTERNAL_ERROR


async def test_a_piece_that_is_cancelled() -> None:
    """The command that is outstanding is aborted, and nothing follows it."""
    async with rig(device(mdts=8192)) as r:
        r.mock.set_log_page(0xC7, bytes(20480))
        with r.mock.hold(qid=0, opcode=AdminOpcode.GET_LOG_PAGE):
            before = r.mock.queue(0).opcodes.get(AdminOpcode.GET_LOG_PAGE, 0)
            operation = r.ctrlr.get_log_page(0xC7, nbytes=20480)
            await asyncio.sleep(0)
            operation.cancel()
            with pytest.raises(asyncio.CancelledError):
                await operation
            assert r.mock.queue(0).opcodes.get(AdminOpcode.GET_LOG_PAGE, 0) <= before + 1


async def test_no_offsets() -> None:
    """Without extended data: no offset, 16 KiB at most, and no page that is longer than one command."""
    async with rig(device(lpa=NO_OFFSETS, mdts=65536)) as r:
        before = r.mock.queue(0).fetched
        refused: tuple[tuple[dict[str, Any], str], ...] = (
            ({"nbytes": 64, "offset": 4}, r"offset 4: .*LPA bit 2"),
            ({"nbytes": 16388}, r"nbytes 16388: .*16384 bytes.*LPA bit 2"),
        )
        for keywords, text in refused:
            with pytest.raises(aionvme.UsageError, match=text):
                r.ctrlr.get_log_page(2, **keywords)
        assert r.mock.queue(0).fetched == before
        assert isinstance(await r.ctrlr.get_log_page(2), logs.SmartLog)
        r.mock.set_log_page(LogPageId.PREDICTABLE_LATENCY_EVENTS, SCRIPTED[2][1])
        assert await r.ctrlr.get_log_page(LogPageId.PREDICTABLE_LATENCY_EVENTS, nbytes=8008) == SCRIPTED[2][1]
        with pytest.raises(aionvme.UsageError, match="8008 bytes"):
            await r.ctrlr.get_log_page(LogPageId.PREDICTABLE_LATENCY_EVENTS)


# -- pages that tell their length ------------------------------------------------------------------------------------


def ana(changes: int, count: int = 3000) -> bytes:
    """A log of two groups that takes several commands."""
    groups = tuple(namespaces.AnaGroup(agid=n, state=1, nsids=tuple(range(count))) for n in (1, 2))
    return namespaces.AnaLog(chgcnt=changes, groups=groups).encode()


def changing(versions: Callable[[int], int]) -> Callable[[], bytes]:
    """An ANA log that has another change count by how often it was read."""
    reads = iter(range(1 << 20))
    return lambda: ana(versions(next(reads)))


async def test_a_page_that_changes_is_read_again() -> None:
    """What is given is whole of one version; the event is cleared by the last command only."""
    async with rig(device()) as r:
        r.mock.set_log_page(LogPageId.ANA, changing(lambda read: 1 + (read > 1)))
        sqes = asked(r.mock)
        page = await r.ctrlr.get_log_page(LogPageId.ANA)
        assert page.encode() == ana(2)
        half = len(sqes) // 2
        assert shapes(sqes)[:half] == shapes(sqes)[half:]
        assert [kept for _, _, kept in shapes(sqes)[half:]] == [True] * (half - 1) + [False]
        assert shapes(sqes)[-1] == (0, 16, False)
        sqes.clear()
        await r.ctrlr.get_log_page(LogPageId.ANA, retain_event=True)
        assert all(kept for _, _, kept in shapes(sqes))


async def test_a_page_that_never_stays_the_same() -> None:
    """It is given up after a few tries."""
    async with rig(device()) as r:
        r.mock.set_log_page(LogPageId.ANA, changing(lambda read: read))
        with pytest.raises(aionvme.DecodeError, match="changed whenever"):
            await r.ctrlr.get_log_page(LogPageId.ANA)


@pytest.mark.parametrize(
    ("lid", "raw", "text"),
    [
        (LogPageId.PREDICTABLE_LATENCY_EVENTS, b"\xff" * 64, "bytes"),
        (LogPageId.LBA_STATUS, struct.pack("<IIIHH", 0xFFFFFFF0, 1, 0, 0, 0), "4294967280 bytes"),
        (LogPageId.BOOT_PARTITION, struct.pack("<B3xI8x", 0x15, 0x7FFF), "4294836240 bytes"),
        (LogPageId.FDP_CONFIGURATIONS, struct.pack("<HBBI8x", 0xFFFF, 0, 0, 64), "FdpConfiguration"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_lengths_that_cannot_be(lid: int, raw: bytes, text: str) -> None:
    """A page that says nonsense of itself is a DecodeError, and no memory is asked for."""
    async with rig(device()) as r:
        r.mock.set_log_page(lid, raw.ljust(4096, b"\0"))
        with pytest.raises(aionvme.DecodeError, match=text):
            await r.ctrlr.get_log_page(lid)
        await r.works()


# -- what there is ---------------------------------------------------------------------------------------------------


async def test_support_by_the_list() -> None:
    """Page 00h counts, also for what it did not list before a reset; it is one command of bring-up."""
    for lpa, count in ((ALL_LPA, 1), (NO_LIST, 0)):
        mock = device(lpa=lpa)
        sqes = asked(mock)
        async with rig(mock):
            assert [sqe.cdw10 & 0xFF for sqe in sqes].count(LogPageId.SUPPORTED_LOG_PAGES) == count
    async with rig(device()) as r:
        assert r.ctrlr.is_log_page_supported(LogPageId.TELEMETRY_HOST)
        assert not r.ctrlr.is_log_page_supported(LogPageId.ROTATIONAL_MEDIA)
        r.mock.set_log_page(LogPageId.ROTATIONAL_MEDIA, bytes(512))
        await r.ctrlr.reset()
        assert r.ctrlr.is_log_page_supported(LogPageId.ROTATIONAL_MEDIA)
        for lid in (-1, 256):
            with pytest.raises(aionvme.UsageError, match="lid"):
                r.ctrlr.is_log_page_supported(lid)


@pytest.mark.parametrize(
    ("lpa", "lids"), [(NO_LIST, {1, 2, 3, 4, 5, 7, 8, 13, 14, 128}), (0, {1, 2, 3, 4, 14, 128})]
)
async def test_support_by_identify(lpa: int, lids: set[int]) -> None:
    """Without page 00h the mandatory ones are there, and what LPA, OAES, OACS and ONCS say."""
    async with rig(device(lpa=lpa)) as r:
        found = {lid for lid in range(256) if r.ctrlr.is_log_page_supported(lid)}
        assert found >= lids
        assert not found & {0, 9, 10, 12, 32} and not (found - lids) & set(range(0xC0, 0x100))


async def test_a_list_that_is_refused() -> None:
    """It takes nothing from bring-up: Identify says then. So does it of a list that has nothing in it."""
    mock = device()
    mock.fail(StatusCode.INVALID_LOG_PAGE, qid=0, opcode=AdminOpcode.GET_LOG_PAGE)
    async with rig(mock) as r:
        assert r.ctrlr.is_log_page_supported(LogPageId.SMART)
        assert not r.ctrlr.is_log_page_supported(LogPageId.ROTATIONAL_MEDIA)
    mock = device()
    mock.set_log_page(LogPageId.SUPPORTED_LOG_PAGES, bytes(1024))
    async with rig(mock) as r:
        assert r.ctrlr.is_log_page_supported(LogPageId.SMART)


async def test_pages_that_are_not_there() -> None:
    """The query says no, and the controller refuses, in both spellings."""
    told: asyncio.Queue[aionvme.Completion] = asyncio.Queue()
    async with rig(device()) as r:
        assert not r.ctrlr.is_log_page_supported(LogPageId.ANA)
        with pytest.raises(aionvme.CommandSpecificError) as caught:
            await r.ctrlr.get_log_page(LogPageId.ANA)
        assert caught.value.status == StatusCode.INVALID_LOG_PAGE
        r.ctrlr.submit_get_log_page(0xC5, lambda _arg, cpl: told.put_nowait(cpl), None, nbytes=4)
        assert (await told.get()).status == StatusCode.INVALID_LOG_PAGE
        with pytest.raises(aionvme.UsageError, match="nbytes"):
            r.ctrlr.get_log_page(0xC5)
        with pytest.raises(aionvme.UsageError, match="nbytes"):
            r.ctrlr.get_log_page(LogPageId.ANA, offset=16)


async def test_a_controller_that_is_closed() -> None:
    """Neither a command nor an operation begins, and the query still answers."""
    async with rig(device()) as r:
        pass
    assert r.ctrlr.is_log_page_supported(2)
    for call in (
        lambda: r.ctrlr.get_log_page(2),
        lambda: r.ctrlr.get_log_page(LogPageId.LBA_STATUS),
        lambda: r.ctrlr.get_persistent_events(),
        lambda: r.ctrlr.save_telemetry("never"),
    ):
        with pytest.raises(aionvme.UsageError, match="closed"):
            call()
