"""Owns the journeys of features: read, set and read back, in both directions typed, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import aionvme
from aionvme import FeatureId, FeatureSelect, StatusCode
from aionvme.spec.features import FEATURES, ErrorRecovery, TemperatureThreshold, VolatileWriteCache
from aionvme.spec.features_data import Timestamp
from aionvme.tests.journeys.device import Device, refused

# What there is on every controller, and what of it every controller lets be changed.
READ = (
    FeatureId.ARBITRATION,
    FeatureId.POWER_MANAGEMENT,
    FeatureId.INTERRUPT_COALESCING,
    FeatureId.INTERRUPT_VECTOR_CONFIGURATION,
    FeatureId.WRITE_ATOMICITY,
    FeatureId.ASYNC_EVENT_CONFIGURATION,
)
SET = (
    (TemperatureThreshold(tmpth=350), 0),
    (TemperatureThreshold(tmpth=250, thsel=1), 0),
    (VolatileWriteCache(wce=0), 0),
    (VolatileWriteCache(wce=1), 0),
    (ErrorRecovery(tler=12), 1),
)
NOWHERE = 0x7C


async def set_and_read_back(device: Device) -> None:
    """A typed value that is set is read back as it was set, and the one that was there before can be put back."""
    async with device.connect() as ctrlr:
        for value, nsid in SET:
            assert ctrlr.is_feature_supported(value.FID)
            asked: dict[str, Any] = {"cdw11": value.argument, "nsid": nsid}
            before = (await ctrlr.get_feature(value.FID, **asked)).value
            assert (await ctrlr.set_feature(value.FID, value=value, nsid=nsid)) is not None
            assert (await ctrlr.get_feature(value.FID, **asked)).value == value
            await ctrlr.set_feature(value.FID, value=before, nsid=nsid)
            assert (await ctrlr.get_feature(value.FID, **asked)).value == before
        events = (await ctrlr.get_feature(FeatureId.ASYNC_EVENT_CONFIGURATION)).value
        wanted = events.replace(temperature=1 - events.temperature)
        for each in (wanted, events):
            await ctrlr.set_feature(FeatureId.ASYNC_EVENT_CONFIGURATION, value=each)
            assert (await ctrlr.get_feature(FeatureId.ASYNC_EVENT_CONFIGURATION)).value == each


async def with_data(device: Device) -> None:
    """Timestamp and host behavior have data: the clock goes on, and what the host knows of is kept, all 512 bytes."""
    async with device.connect() as ctrlr:
        now = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
        await ctrlr.set_feature(FeatureId.TIMESTAMP, value=Timestamp.of(now))
        time = (await ctrlr.get_feature(FeatureId.TIMESTAMP)).value
        assert time.from_host
        assert timedelta(0) <= time.time - now < timedelta(minutes=1)
        held = await ctrlr.get_feature(FeatureId.HOST_BEHAVIOR_SUPPORT)
        assert len(held.data) == 512
        assert held.value.encode() == held.data
        await ctrlr.set_feature(FeatureId.HOST_BEHAVIOR_SUPPORT, value=held.value)
        assert await ctrlr.get_feature(FeatureId.HOST_BEHAVIOR_SUPPORT) == held


async def what_can_be_changed(device: Device) -> None:
    """The controller tells of each feature whether it can be changed and saved, and keeps to it; so does the driver."""
    async with device.connect() as ctrlr:
        for fid in READ:
            value = (await ctrlr.get_feature(fid)).value
            assert type(value) is FEATURES[fid]
            changed = await _ends(ctrlr.set_feature(fid, value=value))
            saved = await _ends(ctrlr.set_feature(fid, value=value, save=True))
            can = (await ctrlr.get_feature(fid, select=FeatureSelect.SUPPORTED)).value
            assert changed == (None if can.changeable else StatusCode.FEATURE_NOT_CHANGEABLE)
            if can.changeable and not can.saveable:
                assert saved == StatusCode.FEATURE_NOT_SAVEABLE
            if not can.changeable or not can.saveable:
                with pytest.raises(aionvme.UsageError, match=r"changed|saved"):
                    ctrlr.set_feature(fid, value=value, save=True)
        queues = (await ctrlr.get_feature(FeatureId.NUMBER_OF_QUEUES)).value
        assert queues.queue_pairs >= ctrlr.opts.num_io_queues
        assert not ctrlr.is_feature_supported(NOWHERE)
        await refused(ctrlr.get_feature(NOWHERE), StatusCode.INVALID_FIELD)
        await refused(ctrlr.set_feature(NOWHERE), StatusCode.INVALID_FIELD)


async def _ends(request: Any) -> Any:
    """The status code with which a request fails, None for none."""
    try:
        await request
    except aionvme.StatusError as error:
        return error.status
    return None


OTHERS = (set_and_read_back, with_data, what_can_be_changed)
