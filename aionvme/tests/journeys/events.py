"""Owns the journeys with asynchronous events: warnings from outside, typed, and a reset in the midst of them."""

from __future__ import annotations

import asyncio

import aionvme
from aionvme import AsyncEvent, EventMask, EventType, SmartEvent
from aionvme.spec.logs import SmartLog
from aionvme.spec.opcodes import FeatureId, LogPageId
from aionvme.tests.journeys.device import Device, stale

# What it is reported as, by the warning (Base 2.0, figures 146 and 207).
WARNINGS = {
    EventMask.SPARE: SmartEvent.SPARE_BELOW_THRESHOLD,
    EventMask.TEMPERATURE: SmartEvent.TEMPERATURE_THRESHOLD,
    EventMask.RELIABILITY: SmartEvent.RELIABILITY,
    EventMask.READ_ONLY: SmartEvent.RELIABILITY,
    EventMask.VOLATILE_BACKUP: SmartEvent.RELIABILITY,
}
SECONDS = 20.0


async def _next(events: aionvme.EventStream) -> AsyncEvent:
    async with asyncio.timeout(SECONDS):
        return await anext(events)


def _is(event: AsyncEvent, information: SmartEvent) -> None:
    assert (event.kind, event.information) == (EventType.SMART, information)
    assert (event.log_page, event.error) == (LogPageId.SMART, None)
    assert isinstance(event.page, SmartLog)


async def warnings_from_outside(device: Device) -> None:
    """Each critical warning arrives typed, with the page that has it; the next one does too, as that cleared it."""
    device.warn(0)
    try:
        async with device.connect() as ctrlr:
            events = ctrlr.events()
            for warning, information in WARNINGS.items():
                device.warn(int(warning))
                event = await _next(events)
                _is(event, information)
                assert event.page.critical_warning & warning
    finally:
        device.warn(0)


async def warnings_that_are_not_wanted(device: Device) -> None:
    """A warning that was not chosen does not come; the one that was chosen does, and a callback is told of it."""
    device.warn(0)
    try:
        async with device.connect(events=EventMask.TEMPERATURE) as ctrlr:
            called: list[AsyncEvent] = []
            ctrlr.on_event(lambda arg, event: arg.append(event), called)
            events = ctrlr.events()
            device.warn(int(EventMask.RELIABILITY))
            device.warn(int(EventMask.RELIABILITY | EventMask.TEMPERATURE))
            _is(await _next(events), SmartEvent.TEMPERATURE_THRESHOLD)
            # The callbacks of an event are called in the same step as the iterators are told.
            await asyncio.sleep(0)
            assert [event.information for event in called] == [SmartEvent.TEMPERATURE_THRESHOLD]
    finally:
        device.warn(0)


async def temperature_event(device: Device) -> None:
    """A threshold below the temperature that the device has is an event; so it is again after it was set back."""
    device.warn(0)
    async with device.connect() as ctrlr:
        events = ctrlr.events()
        normal = (await ctrlr.get_feature(FeatureId.TEMPERATURE_THRESHOLD)).dw0
        smart = await ctrlr.get_log_page(LogPageId.SMART)
        for _ in range(2):
            await ctrlr.set_feature(FeatureId.TEMPERATURE_THRESHOLD, cdw11=smart.temperature - 5)
            event = await _next(events)
            _is(event, SmartEvent.TEMPERATURE_THRESHOLD)
            assert event.page.critical_warning & EventMask.TEMPERATURE
            await ctrlr.set_feature(FeatureId.TEMPERATURE_THRESHOLD, cdw11=normal)


async def events_after_a_reset(device: Device) -> None:
    """Requests are armed again after a reset of the controller and of the function; I/O goes on beside events."""
    device.warn(0)
    try:
        async with device.connect() as ctrlr, ctrlr.alloc_io_qpair(completion="interrupt") as qp:
            events, buf = ctrlr.events(), stale(ctrlr, device.block_size)
            for kind in ("controller", "function"):
                device.warn(int(EventMask.RELIABILITY))
                _is(await _next(events), SmartEvent.RELIABILITY)
                device.warn(0)
                await ctrlr.reset(kind)
                await qp.read(ctrlr.namespaces[1], buf, 0, 1)
            device.warn(int(EventMask.SPARE))
            _is(await _next(events), SmartEvent.SPARE_BELOW_THRESHOLD)
    finally:
        device.warn(0)


async def idle_with_events_armed(device: Device) -> None:
    """While nothing but events is waited for the admin queue pair takes no turn, and no interrupt is lost."""
    device.warn(0)
    try:
        async with device.connect() as ctrlr:
            admin, events = ctrlr._admin, ctrlr.events()
            await ctrlr.identify(1)
            await asyncio.sleep(0.1)
            before = admin.counters["turns"]
            await asyncio.sleep(0.5)
            assert admin.standing_requests > 0
            assert admin.counters["turns"] == before
            device.warn(int(EventMask.RELIABILITY))
            _is(await _next(events), SmartEvent.RELIABILITY)
    finally:
        device.warn(0)


EVENTS = (
    warnings_from_outside,
    warnings_that_are_not_wanted,
    temperature_event,
    events_after_a_reset,
    idle_with_events_armed,
)
