"""Asynchronous events: told once, in order, typed, with their pages; armed again after everything; never in the way."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import weakref
from functools import partial
from typing import Any

import pytest

import aionvme
from aionvme import (
    AsyncEvent,
    ErrorEvent,
    EventMask,
    EventType,
    ImmediateEvent,
    IoCommandEvent,
    NoticeEvent,
    SmartEvent,
)
from aionvme.admin import events as admin_events
from aionvme.mock import MockController
from aionvme.mock.inspect import Held
from aionvme.spec import entries
from aionvme.spec.opcodes import FeatureId, LogPageId
from aionvme.spec.status import StatusCode
from aionvme.tests.flow.support import IDENTIFY, Recorder, Rig, bare_admin, fetched, kinds, rig, turns, until

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]

EVENT, LOG = 0x0C, 0x02


def armed(r: Rig) -> int:
    """Requests for events that the mock holds."""
    return bare_admin(r.ctrlr).standing_requests


async def test_an_event_is_told_with_its_page() -> None:
    """A critical warning from outside arrives typed, with the SMART page that says it, which clears it."""
    async with rig() as r:
        events = r.ctrlr.events()
        r.mock.critical_warning = EventMask.RELIABILITY
        event = await anext(events)
        assert (event.kind, event.information) == (EventType.SMART, SmartEvent.RELIABILITY)
        assert (event.log_page, event.error, event.cpl.dw0) == (LogPageId.SMART, None, 0x020001)
        assert (
            bytes(event.page.encode() if hasattr(event.page, "encode") else event.page)[0]
            == EventMask.RELIABILITY
        )
        # Cleared: the next one of the same type comes through.
        r.mock.critical_warning = EventMask.RELIABILITY | EventMask.SPARE
        assert (await anext(events)).information is SmartEvent.SPARE_BELOW_THRESHOLD


@pytest.mark.parametrize(
    ("dword", "kind", "information"),
    [
        ((3, 0, 0), EventType.IMMEDIATE, ImmediateEvent.NORMAL_SUBSYSTEM_SHUTDOWN),
        ((3, 1, 0), EventType.IMMEDIATE, ImmediateEvent.TEMPERATURE_HYSTERESIS_RECOVERY),
        ((2, 0, 4), EventType.NOTICE, NoticeEvent.NAMESPACE_CHANGED),
        ((2, 1, 3), EventType.NOTICE, NoticeEvent.FIRMWARE_ACTIVATION_STARTING),
        ((0, 3, 1), EventType.ERROR, ErrorEvent.PERSISTENT_INTERNAL_ERROR),
        ((6, 0, 0x80), EventType.IO_COMMAND, IoCommandEvent.RESERVATION_LOG_AVAILABLE),
        ((6, 1, 0x81), EventType.IO_COMMAND, IoCommandEvent.SANITIZE_COMPLETED),
        ((7, 9, 0xC5), EventType.VENDOR, 9),
        ((1, 9, 2), EventType.SMART, 9),
        ((5, 9, 2), 5, 9),
    ],
)
async def test_every_kind(dword: tuple[int, int, int], kind: int, information: int) -> None:
    """Events of all types arrive typed; one that the specification does not know, by its numbers."""
    async with rig() as r:
        events = r.ctrlr.events()
        r.mock.event(*dword)
        event = await anext(events)
        assert (event.kind, event.information, event.log_page) == (
            kind,
            information,
            None if kind == EventType.IMMEDIATE else dword[2],
        )
        assert type(event.kind) is type(kind)
        assert type(event.information) is type(information)


async def test_many_readers_and_callbacks() -> None:
    """Each iterator and each callback is told each event, in the same order; one that was taken back is not."""
    async with rig() as r:
        first, second = r.ctrlr.events(), r.ctrlr.events()
        called: list[tuple[str, Any]] = []
        take_back = r.ctrlr.on_event(lambda arg, event: called.append((arg, event.information)), "a")
        r.ctrlr.on_event(lambda arg, event: called.append((arg, event.information)), "b")
        r.mock.event(1, 1, 2)
        assert await anext(first) == await anext(second)
        take_back()
        take_back()
        r.mock.event(2, 0, 4)
        assert await anext(first) == await anext(second)
        await until(lambda: len(called) == 3)
        assert called == [("a", 1), ("b", 1), ("b", 0)]


async def test_callback_that_raises() -> None:
    """It is reported to the loop's handler, and the others are told all the same."""
    async with rig() as r:
        events = r.ctrlr.events()
        r.ctrlr.on_event(lambda _arg, _event: 1 // 0)
        with Recorder() as recorder:
            r.mock.event(1, 1, 2)
            await anext(events)
            await until(lambda: recorder.messages)
        assert isinstance(recorder.contexts[0]["exception"], ZeroDivisionError)


async def test_reader_that_takes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Its queue is bounded: the oldest go, are counted and logged; another reader has all of them."""
    async with rig() as r:
        slow, quick = r.ctrlr.events(limit=2), r.ctrlr.events()
        for information in range(5):
            r.mock.event(3, information, 0)
            assert (await anext(quick)).information == information
        assert slow.dropped == 3
        assert [(await anext(slow)).information, (await anext(slow)).information] == [3, 4]
        assert "dropped" in caplog.text
        with pytest.raises(aionvme.UsageError, match="limit"):
            r.ctrlr.events(limit=0)


async def test_iteration_ends_with_the_controller() -> None:
    """A close ends every iteration, also one that waits; what was not taken is told first."""
    async with rig() as r:
        events, waiting = r.ctrlr.events(), asyncio.ensure_future(_all(r.ctrlr.events()))
        r.mock.event(1, 1, 2)
        await until(lambda: len(events._events) == 1)
        await r.ctrlr.close()
        assert [event.information for event in await waiting] == [1]
        assert [event.information async for event in events] == [1]
        with pytest.raises(StopAsyncIteration):
            await anext(r.ctrlr.events())


async def _all(events: aionvme.EventStream) -> list[AsyncEvent]:
    return [event async for event in events]


async def test_iteration_raises_why_the_controller_was_lost() -> None:
    """Surprise removal ends the iteration with the error, in every reader, again and again."""
    async with rig() as r:
        events = r.ctrlr.events()
        waiting = asyncio.ensure_future(_all(r.ctrlr.events()))
        await turns()
        r.mock.remove()
        assert await kinds([waiting]) == [aionvme.ControllerLostError]
        for _ in range(2):
            with pytest.raises(aionvme.ControllerLostError, match="gone"):
                await anext(events)


async def test_cancelled_reader_loses_nothing() -> None:
    """A reader that is cancelled while it waits has the next event all the same when it asks again."""
    async with rig() as r:
        events = r.ctrlr.events()
        waiting = asyncio.ensure_future(anext(events))
        await turns()
        waiting.cancel()
        assert await kinds([waiting]) == [asyncio.CancelledError]
        r.mock.event(1, 1, 2)
        assert (await anext(events)).information == 1


async def test_armed_again_after_a_reset() -> None:
    """A reset ends the requests; as many are armed afterwards, and the choice of events is set anew."""
    async with rig(events=EventMask.TEMPERATURE | EventMask.NAMESPACE) as r:
        events, before = r.ctrlr.events(), armed(r)
        assert before == 3
        for _ in range(3):
            await r.ctrlr.reset()
            assert armed(r) == before
            value = await r.ctrlr.get_feature(FeatureId.ASYNC_EVENT_CONFIGURATION)
            assert value.dw0 == EventMask.TEMPERATURE | EventMask.NAMESPACE
            r.mock.event(1, 1, 2)
            assert (await anext(events)).information == 1


async def test_armed_again_after_each() -> None:
    """After any number of events as many requests are armed as before."""
    async with rig() as r:
        events = r.ctrlr.events()
        for number in range(20):
            r.mock.event(3, number, 0)
            assert (await anext(events)).information == number
        await until(lambda: armed(r) == 3)


@pytest.mark.parametrize("limit", [1, 2, 3, 8])
async def test_as_many_requests_as_the_controller_takes(limit: int) -> None:
    """At most four, and one is left to whoever sends one himself, where the controller takes more than one."""
    async with rig(MockController(timeout=0.5, event_limit=limit)) as r:
        assert armed(r) == max(1, min(4, limit - 1))
        events = r.ctrlr.events()
        r.mock.event(1, 1, 2)
        await anext(events)
        if limit > 1:
            own = r.ctrlr.admin_raw(entries.async_event_request(), timeout=0)
            await until(lambda: r.mock.queue(0).opcodes[EVENT] > max(1, min(4, limit - 1)) + 1)
            assert not own.done()
            own.cancel()
            assert await kinds([own]) == [asyncio.CancelledError]


async def test_controller_that_takes_fewer_requests_than_it_says() -> None:
    """Asynchronous Event Request Limit Exceeded: it has as many as it took, and tells its events."""
    mock = MockController(timeout=0.5)
    mock.fail(StatusCode.ASYNC_EVENT_LIMIT_EXCEEDED, qid=0, opcode=EVENT, nth=2, count=None)
    async with rig(mock) as r:
        await until(lambda: armed(r) == 1)
        sent = r.mock.queue(0).opcodes[EVENT]
        await turns(50)
        assert r.mock.queue(0).opcodes[EVENT] == sent


async def test_controller_that_refuses_every_request(caplog: pytest.LogCaptureFixture) -> None:
    """It is asked a bounded number of times, this is logged, and everything else works."""
    mock = MockController(timeout=0.5)
    mock.fail(StatusCode.INVALID_OPCODE, qid=0, opcode=EVENT, count=None)
    async with rig(mock) as r:
        await until(lambda: "tells no more events" in caplog.text)
        assert r.mock.queue(0).opcodes[EVENT] <= admin_events.MOST_FAILURES + 3
        await r.works()
        await r.ctrlr.reset()
        await r.works()


async def test_which_events_are_switched_on() -> None:
    """What Identify Controller has of what is asked; `opts` says it, and 0 asks for none at all."""
    async with rig() as r:
        used = r.ctrlr.opts.events
        assert used is not None
        assert EventMask.NAMESPACE | EventMask.TEMPERATURE in used
        assert not used & (EventMask.ANA | EventMask.TELEMETRY | EventMask.ZONE)
    async with rig(events=EventMask(0)) as r:
        assert (armed(r), r.mock.queue(0).opcodes.get(EVENT, 0)) == (0, 0)
        assert r.ctrlr.opts.events == EventMask(0)
    async with rig(events=EventMask.ANA | EventMask.SPARE) as r:
        assert r.ctrlr.opts.events == EventMask.SPARE


async def test_events_that_are_not_switched_on_do_not_come() -> None:
    """A warning that is not chosen is not told; one that is true when it is switched on, is."""
    mock = MockController(timeout=0.5)
    mock.critical_warning = EventMask.RELIABILITY
    async with rig(mock, events=EventMask.SPARE) as r:
        events = r.ctrlr.events()
        mock.critical_warning = EventMask.RELIABILITY | EventMask.SPARE
        assert (await anext(events)).information is SmartEvent.SPARE_BELOW_THRESHOLD
    async with rig(mock2 := MockController(timeout=0.5)) as r:
        mock2.critical_warning = EventMask.RELIABILITY
        events = r.ctrlr.events()
        await anext(events)
        await r.ctrlr.reset()
        assert (await anext(events)).information is SmartEvent.RELIABILITY


async def test_page_that_cannot_be_read() -> None:
    """The event is told without it, and says why."""
    async with rig() as r:
        events = r.ctrlr.events()
        r.mock.fail(StatusCode.INVALID_LOG_PAGE, qid=0, opcode=LOG)
        r.mock.event(1, 1, 2)
        event = await anext(events)
        assert event.page is None
        assert isinstance(event.error, aionvme.StatusError)


async def test_event_in_the_middle_of_a_reset() -> None:
    """Its page cannot be read then; it is told all the same, and the events after it come."""
    async with rig() as r:
        events = r.ctrlr.events()
        held = r.mock.hold(qid=0, opcode=LOG, count=1)
        r.mock.event(1, 1, 2)
        await until(lambda: held.commands)
        await r.ctrlr.reset()
        assert isinstance((await anext(events)).error, aionvme.ControllerResetError)
        r.mock.event(2, 0, 4)
        assert (await anext(events)).error is None


async def test_hooks_come_first() -> None:
    """A part of the controller has followed an event when the user is told of it."""
    async with rig() as r:
        order: list[str] = []

        async def hook(event: AsyncEvent) -> None:
            await r.ctrlr.identify(1)
            order.append(f"hook {event.namespaces_changed}")

        r.ctrlr._core.events.add_hook(hook)
        r.ctrlr.on_event(lambda _arg, _event: order.append("user"))
        r.mock.event(2, 0, 4)
        await until(lambda: len(order) == 2)
        assert order == ["hook True", "user"]


async def test_a_storm_does_not_starve_io() -> None:
    """The same event again and again is read later and later: reads go on, and few pages are asked for."""
    async with rig(events=EventMask.SMART) as r:
        before = r.mock.queue(0).opcodes.get(LOG, 0)
        stop = r.ctrlr.on_event(lambda _arg, _event: r.mock.event(1, 0, 2))
        r.mock.event(1, 0, 2)
        begun, reads = time.monotonic(), 0
        while time.monotonic() - begun < 1.0:
            await asyncio.gather(*r.reads(32))
            reads += 32
        asked = r.mock.queue(0).opcodes[LOG] - before
        stop()
        assert reads >= 320
        assert admin_events.AT_ONCE <= asked <= 12


async def test_a_storm_of_different_events_is_bounded() -> None:
    """More events than are kept: those beyond stay with the controller, and all of them are told in the end."""
    async with rig() as r:
        events = r.ctrlr.events(limit=1000)
        held = r.mock.hold(qid=0, opcode=LOG)
        for number in range(100):
            r.mock.event(5, number, 0)
        await until(lambda: held.commands)
        held.stop()
        held.release()
        seen = [(await anext(events)).information for _ in range(100)]
        assert seen == list(range(100))


@pytest.mark.parametrize("vectors", [65, 1, 0])
async def test_an_idle_controller_takes_no_turn(vectors: int) -> None:
    """With events armed and nothing else outstanding the admin queue pair takes no turn, and an event is told."""
    async with rig(MockController(timeout=0.5, num_irqs=vectors)) as r:
        admin, events = bare_admin(r.ctrlr), r.ctrlr.events()
        await until(lambda: armed(r) == 3 and admin.outstanding == 0)
        before = admin.counters["turns"]
        # Long enough for each of its timers to have come.
        await asyncio.sleep(0.3)
        await turns(200)
        assert admin.counters["turns"] == before
        r.mock.event(1, 1, 2)
        assert (await anext(events)).information == 1
        assert admin.counters["missed_interrupts"] == 0


def _holds(held: Held) -> bool:
    return bool(held.commands)


async def test_admin_commands_do_not_busy_poll() -> None:
    """One that takes long costs a bounded number of turns, with an interrupt and without one."""
    for vectors in (65, 0):
        async with rig(MockController(timeout=0.5, num_irqs=vectors)) as r:
            held, admin = r.mock.hold(qid=0, opcode=IDENTIFY, count=1), bare_admin(r.ctrlr)
            request = r.ctrlr.identify(1)
            await until(partial(_holds, held))
            await turns(200)
            before = admin.counters["turns"]
            await turns(200)
            assert admin.counters["turns"] == before
            held.release()
            await request


async def test_lost_interrupt() -> None:
    """An event whose interrupt is lost is told all the same, a little later."""
    async with rig() as r:
        events, admin = r.ctrlr.events(), bare_admin(r.ctrlr)
        r.ctrlr._core.function.set_irqs([])
        r.mock.event(1, 1, 2)
        assert (await anext(events)).information == 1
        assert admin.counters["missed_interrupts"] >= 1


async def test_close_with_events_in_all_states(caplog: pytest.LogCaptureFixture) -> None:
    """A close while a page is read, and while an event is held back, ends; nothing complains."""
    async with rig() as r:
        held = r.mock.hold(qid=0, opcode=LOG, count=1)
        r.mock.event(1, 1, 2)
        await until(lambda: held.commands)
        closing = asyncio.ensure_future(r.ctrlr.close())
        await turns()
        held.release()
        await closing
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_small_admin_queue() -> None:
    """Events take no slot of the admin queue that was asked for."""
    async with rig(admin_queue_depth=2) as r:
        held = r.mock.hold(qid=0, opcode=IDENTIFY)
        requests = [r.ctrlr.identify(1), r.ctrlr.identify(1)]
        await until(lambda: len(held.commands) == 2)
        held.stop()
        held.release()
        await asyncio.gather(*requests)
        assert armed(r) == 3
        await fetched(r.mock, 1, qid=0)


async def test_a_dropped_controller_is_collected() -> None:
    """Armed requests keep no controller alive that nobody has any more, whatever hangs on its loop and tasks."""
    with MockController(timeout=0.5) as mock:
        ctrlr = await aionvme.connect(mock)
        await turns()  # a turn that stands in the loop's queue keeps it
        assert bare_admin(ctrlr).standing_requests == 3
        found = weakref.ref(ctrlr)
        # As a traceback does, of an exception in whose midst a task of its poller was cancelled.
        ctrlr._admin.set_host(HasController(ctrlr))
        # Its function may be collected before it, as they are in one cycle.
        with pytest.warns(ResourceWarning) as warned:
            del ctrlr
            gc.collect()
        assert any("<Controller" in str(warning.message) for warning in warned)
        assert found() is None


class HasController:
    """What a queue pair leads to, and what leads to the controller."""

    def __init__(self, ctrlr: aionvme.Controller) -> None:
        self.ctrlr = ctrlr

    def abort(self, qid: int, cid: int, opcode: int) -> None:
        """Nothing."""

    def escalate(self, why: str) -> None:
        """Nothing."""
