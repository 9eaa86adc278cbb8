"""Features as a program reads and sets them: typed, saved, refused, and those that do something."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import aionvme
from aionvme import FeatureSelect, StatusCode, UsageError
from aionvme.mock import MockController, NamespaceConfig
from aionvme.spec.features import (
    Arbitration,
    ErrorRecovery,
    NamespaceWriteProtection,
    ReadRecoveryLevel,
    TemperatureThreshold,
    VolatileWriteCache,
    WriteProtection,
)
from aionvme.spec.features_data import (
    AutonomousPowerStateTransition,
    HostBehaviorSupport,
    LbaRange,
    LbaRangeType,
    MetadataElement,
    NamespaceMetadata,
    Timestamp,
)
from aionvme.spec.intel_features import (
    INTEL_FEATURES,
    IntelFeatureId,
    IntelLatencyTracking,
    IntelLedPattern,
    IntelMaxLba,
    IntelPowerGovernor,
    IntelResetTimedWorkloadCounters,
    IntelSmbusAddress,
    PowerGovernorSetting,
)
from aionvme.spec.opcodes import FeatureId
from aionvme.spec.vendors import REGISTRY, Vendor, VendorFeature
from aionvme.tests.flow.support import rig, until

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]

ALL = 0xFFFFFFFF


async def _refused(awaitable: Any, code: StatusCode) -> None:
    with pytest.raises(aionvme.StatusError) as caught:
        await awaitable
    assert caught.value.status == code


async def test_values_are_typed_both_ways() -> None:
    """What is set by a typed value is read back as that value: a dword, an argument, dword 12, data, a namespace's."""
    async with rig() as r:
        threshold = TemperatureThreshold(tmpth=290, thsel=1)
        behavior = HostBehaviorSupport(acre=1, etdas=1, cdfe=0xC)
        power = AutonomousPowerStateTransition.of({0: (2, 500), 1: (2, 50)})
        ranges = LbaRangeType.of([LbaRange(nlb=100), LbaRange(slba=100, nlb=50, type=1)])
        metadata = NamespaceMetadata.of(MetadataElement(1, b"disk"))
        for value, nsid in (
            (VolatileWriteCache(wce=0), 0), (threshold, 0), (ReadRecoveryLevel(rrl=15), 0), (behavior, 0),
            (power, 0), (ranges, 1), (ErrorRecovery(tler=7), 1), (metadata, 1),
        ):  # fmt: skip
            await r.ctrlr.set_feature(value.FID, value=value, nsid=nsid)
            got = await r.ctrlr.get_feature(value.FID, cdw11=value.argument, nsid=nsid)
            assert got.value == value
            assert len(got.data) == value.GET_BYTES
        over = await r.ctrlr.get_feature(FeatureId.TEMPERATURE_THRESHOLD)
        assert over.value == TemperatureThreshold(tmpth=343)


async def test_both_spellings() -> None:
    """A callback gets the same value in its completion that awaiting gives."""
    async with rig() as r:
        done: list[Any] = []
        wanted = Arbitration(ab=3, hpw=9)
        r.ctrlr.submit_set_feature(1, lambda arg, cpl: done.append((arg, cpl)), "set", value=wanted)
        r.ctrlr.submit_get_feature(1, lambda arg, cpl: done.append((arg, cpl)), "get")
        got = await r.ctrlr.get_feature(1)
        assert [arg for arg, _ in done] == ["set", "get"]
        assert (done[0][1].value, done[1][1].value) == (0, got)
        assert (got.value, got.dw0, got.data) == (wanted, wanted.cdw11, b"")


async def test_dwords_and_data_without_a_type() -> None:
    """A feature may be set by its dwords and bytes; of data that was not all asked for there is no value."""
    async with rig() as r:
        await r.ctrlr.set_feature(FeatureId.READ_RECOVERY_LEVEL, cdw12=15)
        assert (await r.ctrlr.get_feature(FeatureId.READ_RECOVERY_LEVEL)).dw0 == 15
        await r.ctrlr.set_feature(FeatureId.HOST_BEHAVIOR_SUPPORT, data=bytearray(b"\1").ljust(512, b"\0"))
        whole = await r.ctrlr.get_feature(FeatureId.HOST_BEHAVIOR_SUPPORT)
        assert (whole.value.acre, whole.data[0], len(whole.data)) == (1, 1, 512)
        part = await r.ctrlr.get_feature(FeatureId.ARBITRATION, nbytes=4)
        assert (part.value, part.data) == (Arbitration(ab=7), bytes(4))


async def test_saved_values_outlive_a_reset() -> None:
    """Current, default, saved and capabilities are what they should be before and after a reset of the controller."""
    fid = FeatureId.VOLATILE_WRITE_CACHE
    async with rig() as r:
        await r.ctrlr.set_feature(fid, value=VolatileWriteCache(wce=0), save=True)
        await r.ctrlr.set_feature(fid, value=VolatileWriteCache(wce=1))
        values = [(await r.ctrlr.get_feature(fid, select=select)).value for select in FeatureSelect]
        assert [value.wce for value in values[:3]] == [1, 1, 0]
        assert values[3].to_dict() == {"saveable": 1, "namespace_specific": 0, "changeable": 1}
        await r.ctrlr.reset()
        assert (await r.ctrlr.get_feature(fid)).value.wce == 0


async def test_the_controller_s_refusals() -> None:
    """No such feature, not saveable, not changeable, not of a namespace, of no namespace, no such value."""
    mock = MockController(features_fixed=1 << FeatureId.WRITE_ATOMICITY, features_absent=1 << 6)
    async with rig(mock) as r:
        get, put = r.ctrlr.get_feature, r.ctrlr.set_feature
        await _refused(get(FeatureId.VOLATILE_WRITE_CACHE), StatusCode.INVALID_FIELD)
        await _refused(get(0xC5), StatusCode.INVALID_FIELD)
        await _refused(put(FeatureId.ASYNC_EVENT_CONFIGURATION, save=True), StatusCode.FEATURE_NOT_SAVEABLE)
        await _refused(put(FeatureId.WRITE_ATOMICITY, cdw11=1), StatusCode.FEATURE_NOT_CHANGEABLE)
        await _refused(put(1, cdw11=1, nsid=1), StatusCode.FEATURE_NOT_NAMESPACE_SPECIFIC)
        await _refused(get(FeatureId.ERROR_RECOVERY), StatusCode.INVALID_NAMESPACE_OR_FORMAT)
        await _refused(get(FeatureId.ERROR_RECOVERY, nsid=ALL), StatusCode.INVALID_NAMESPACE_OR_FORMAT)
        await _refused(put(FeatureId.POWER_MANAGEMENT, cdw11=31), StatusCode.INVALID_FIELD)


async def test_what_the_controller_said_is_believed() -> None:
    """A feature of which it said that it can't be saved or changed is refused at the call, and nothing is sent."""
    mock = MockController(features_fixed=1 << FeatureId.WRITE_ATOMICITY)
    async with rig(mock) as r:
        for fid in (FeatureId.WRITE_ATOMICITY, FeatureId.ARBITRATION):
            await r.ctrlr.get_feature(fid, select=FeatureSelect.SUPPORTED)
        before = mock.queue(0).fetched
        with pytest.raises(UsageError, match=r"0x0a.*changed"):
            r.ctrlr.set_feature(FeatureId.WRITE_ATOMICITY, cdw11=1)
        with pytest.raises(UsageError, match=r"save.*0x01"):
            r.ctrlr.set_feature(FeatureId.ARBITRATION, cdw11=1, save=True)
        assert mock.queue(0).fetched == before
        await r.ctrlr.set_feature(FeatureId.ARBITRATION, cdw11=1)


async def test_controllers_that_can_not_save() -> None:
    """Without ONCS bit 4 there is no save and no select."""
    async with rig(MockController(oncs=0x1FF & ~(1 << 4))) as r:
        with pytest.raises(UsageError, match="select"):
            r.ctrlr.get_feature(1, select=FeatureSelect.DEFAULT)
        with pytest.raises(UsageError, match="save"):
            r.ctrlr.set_feature(1, cdw11=1, save=True)
        await r.ctrlr.set_feature(1, cdw11=1)
        assert (await r.ctrlr.get_feature(1)).value.ab == 1


WRONG_GET: list[tuple[str, dict[str, Any]]] = [
    ("fid", {"fid": 256}),
    ("fid", {"fid": -1}),
    ("cdw11", {"fid": 1, "cdw11": 1 << 32}),
    ("nsid", {"fid": 1, "nsid": -1}),
    ("select", {"fid": 1, "select": 4}),
    ("nbytes", {"fid": 1, "nbytes": -1}),
]
WRONG_SET: list[tuple[str, dict[str, Any]]] = [
    ("fid", {"fid": 300}),
    ("cdw11", {"fid": 1, "cdw11": -1}),
    ("cdw12", {"fid": 1, "cdw12": 1 << 32}),
    ("nsid", {"fid": 1, "nsid": 1 << 32}),
    ("data", {"fid": 1, "data": b""}),
    ("value", {"fid": 1, "value": VolatileWriteCache(wce=1)}),
    ("value", {"fid": 1, "value": Arbitration(ab=1), "cdw11": 1}),
    ("value", {"fid": 1, "value": Arbitration(ab=1), "data": b"1234"}),
    ("ab", {"fid": 1, "value": Arbitration(ab=8)}),
]


async def test_wrong_arguments() -> None:
    """Each is refused at the call with its name, in both spellings, and no command is made of it."""
    async with rig() as r:
        before = r.mock.queue(0).fetched
        ctrlr = r.ctrlr
        for calls, wrong in (
            ((ctrlr.get_feature, ctrlr.submit_get_feature), WRONG_GET),
            ((ctrlr.set_feature, ctrlr.submit_set_feature), WRONG_SET),
        ):
            for call in calls:
                for name, keywords in wrong:
                    with pytest.raises(UsageError, match=re.compile(rf"\b{name}\b")):
                        call(**keywords)
        with pytest.raises(UsageError, match="fid"):
            ctrlr.is_feature_supported(256)
        with pytest.raises(TypeError, match="Feature"):
            ctrlr.set_feature(1, value=7)
        assert r.mock.queue(0).fetched == before


async def test_which_features_there_are() -> None:
    """What the controller lists is supported and can be read; what it does not list is not, and it refuses that."""
    absent = {FeatureId.HOST_BEHAVIOR_SUPPORT, FeatureId.TIMESTAMP}
    async with rig(MockController(features_absent=sum(1 << fid for fid in absent))) as r:
        for fid in range(256):
            supported = r.ctrlr.is_feature_supported(fid)
            request = r.ctrlr.get_feature(fid, select=FeatureSelect.SUPPORTED, nsid=1)
            if supported:
                await request
            else:
                await _refused(request, StatusCode.INVALID_FIELD)
            assert not (supported and fid in absent)
        assert r.ctrlr.is_feature_supported(FeatureId.NAMESPACE_WRITE_PROTECTION)


async def test_timestamps() -> None:
    """The controller's clock goes on from the time that it was told."""
    async with rig() as r:
        assert (await r.ctrlr.get_feature(FeatureId.TIMESTAMP)).value.time is None
        now = datetime.now(UTC)
        await r.ctrlr.set_feature(FeatureId.TIMESTAMP, value=Timestamp.of(now))
        time = (await r.ctrlr.get_feature(FeatureId.TIMESTAMP)).value.time
        assert timedelta(milliseconds=-1) < time - now < timedelta(seconds=8)


async def test_write_protection() -> None:
    """A protected namespace is read and not written, and not unprotected where that state is for ever."""
    fid = FeatureId.NAMESPACE_WRITE_PROTECTION
    async with rig(MockController(namespaces=[NamespaceConfig(), NamespaceConfig()])) as r:
        for state in (WriteProtection.WRITE_PROTECT, WriteProtection.PERMANENT):
            await r.ctrlr.set_feature(fid, value=NamespaceWriteProtection(wps=state), nsid=1)
            assert (await r.ctrlr.get_feature(fid, nsid=1)).value.wps == state
            await r.read()
            await r.qp.flush(r.ns)
            await _refused(r.qp.write(r.ns, r.buf, 0, 1), StatusCode.NAMESPACE_WRITE_PROTECTED)
            await _refused(r.qp.write_zeroes(r.ns, 0, 1), StatusCode.NAMESPACE_WRITE_PROTECTED)
            await r.qp.write(r.ctrlr.namespaces[2], r.buf, 0, 1)
        await _refused(r.ctrlr.set_feature(fid, nsid=1), StatusCode.FEATURE_NOT_CHANGEABLE)


# -- vendors ---------------------------------------------------------------------------------------------------------


def _encode(value: Any) -> tuple[int, bytes | None]:
    if not isinstance(value, str):
        raise ValueError(f"a name is a str, not {value!r}")
    return len(value), value.encode().ljust(16, b"\0")


def _decode(dw0: int, data: bytes) -> str:
    return data[:dw0].decode()


MADE_UP = Vendor(
    name="made up",
    vid=0x1B36,
    features=(
        # Numbers of the base specification's range are not for vendors: the mock has nothing behind these.
        VendorFeature(fid=0xC0, name="name", nbytes=16, decode=_decode, encode=_encode),
        VendorFeature(fid=0xC1, name="serial", writable=False),
        VendorFeature(fid=0xC2, name="trigger", readable=False),
        VendorFeature(fid=0xC3, name="other", supported=lambda _data, _directory: False),
    ),
)


async def test_a_vendor_s_features() -> None:
    """A registered vendor's features are encoded and decoded by its entry, and refused where it says so."""
    aionvme.register_vendor(MADE_UP)
    try:
        async with rig() as r:
            held = r.mock.hold(qid=0, opcode=0x09)
            request = r.ctrlr.set_feature(0xC0, value="disk")
            with held:
                pass
            await _refused(request, StatusCode.INVALID_FIELD)
            with pytest.raises(UsageError, match="a name is a str"):
                r.ctrlr.set_feature(0xC0, value=4)
            with pytest.raises(UsageError, match="serial can't be set"):
                r.ctrlr.set_feature(0xC1, cdw11=1)
            with pytest.raises(UsageError, match="trigger can't be read"):
                r.ctrlr.get_feature(0xC2)
            with pytest.raises(TypeError, match="vendor's entry"):
                r.ctrlr.set_feature(0xC2, value=4)
    finally:
        REGISTRY.unregister(MADE_UP.name)


async def test_intel_s_features() -> None:
    """On a device of Intel's each is typed by the registry's entry, in both directions where it has two."""
    async with rig(MockController(intel=True, size=1 << 20)) as r:
        for fid in INTEL_FEATURES:
            assert r.ctrlr.is_feature_supported(fid)
        for value in (
            IntelMaxLba(max_lba=1000), IntelPowerGovernor(setting=PowerGovernorSetting.WATTS_10),
            IntelSmbusAddress(address=0x53), IntelLedPattern(options=7, value=9), IntelLatencyTracking(enable=1),
        ):  # fmt: skip
            await r.ctrlr.set_feature(value.FID, value=value)
            assert (await r.ctrlr.get_feature(value.FID)).value == value
        assert (await r.ctrlr.get_feature(IntelFeatureId.NATIVE_MAX_LBA)).value.max_lba == 2047
        reset = IntelFeatureId.RESET_TIMED_WORKLOAD_COUNTERS
        await r.ctrlr.set_feature(reset, value=IntelResetTimedWorkloadCounters(reset=1))
        with pytest.raises(UsageError, match="can't be read"):
            r.ctrlr.get_feature(reset)
        with pytest.raises(UsageError, match="can't be set"):
            r.ctrlr.set_feature(IntelFeatureId.NATIVE_MAX_LBA, cdw11=1)
        with pytest.raises(UsageError, match="setting"):
            r.ctrlr.set_feature(0xC6, value=IntelPowerGovernor(setting=256))
        with pytest.raises(aionvme.StatusError) as caught:
            await r.ctrlr.set_feature(0xC1, value=IntelMaxLba(max_lba=2048))
        assert (caught.value.sct, caught.value.sc) == (1, 0xC0)
    async with rig() as r:
        assert not any(r.ctrlr.is_feature_supported(fid) for fid in INTEL_FEATURES)


async def test_features_of_a_controller_without_the_list() -> None:
    """Without the page of feature identifiers Identify says what there is, and the vendor's entry."""
    async with rig(MockController(intel=True, lpa=0)) as r:
        assert r.ctrlr.is_feature_supported(IntelFeatureId.LED_PATTERN)
        assert r.ctrlr.is_feature_supported(FeatureId.VOLATILE_WRITE_CACHE)
        assert not r.ctrlr.is_feature_supported(FeatureId.SOFTWARE_PROGRESS_MARKER)


# -- host memory buffer ----------------------------------------------------------------------------------------------

KIB = 1024


async def test_memory_is_lent_from_the_start_to_the_end() -> None:
    """The option lends what the controller would like; it is used, returned after a reset, given back at the end."""
    mock = MockController(hmpre=64, hmmin=4)
    async with rig(mock, host_memory_buffer="preferred") as r:
        assert r.ctrlr.opts.host_memory_buffer == mock.host_memory.nbytes == 256 * KIB
        value = (await r.ctrlr.get_feature(FeatureId.HOST_MEMORY_BUFFER)).value
        assert (value.ehm, value.hsize, value.hmdlec) == (1, 64, len(mock.host_memory.pieces))
        pieces = mock.host_memory.pieces
        for _ in range(2):
            await r.ctrlr.reset()
            assert (mock.host_memory.returned, mock.host_memory.pieces) == (True, pieces)
            await r.works()
        assert mock.host_memory.damaged == ()
    assert mock.host_memory.nbytes == 0
    assert mock.host_memory.looks > 64


async def test_memory_is_given_back_before_a_reset_and_a_shutdown() -> None:
    """Set Features with EHM=0 is seen before each of them."""
    mock = MockController(hmpre=4, hmmin=1)
    async with rig(mock, host_memory_buffer="preferred") as r:
        sets = mock.queue(0).opcodes[9]
        looks = mock.host_memory.looks
        await r.ctrlr.reset()
        # Taking it back looks at every page; the reset by itself at none.
        assert mock.host_memory.looks - looks >= 4
        assert mock.queue(0).opcodes[9] > sets
        looks = mock.host_memory.looks
    assert mock.host_memory.looks - looks >= 4


async def test_memory_is_lent_by_a_call() -> None:
    """As much as is asked for, rounded up to pages; another time it has to be taken back before."""
    mock = MockController(hmpre=64, hmmin=4)
    async with rig(mock) as r:
        assert (r.ctrlr.opts.host_memory_buffer, mock.host_memory.nbytes) == (0, 0)
        assert await r.ctrlr.enable_host_memory_buffer(17 * KIB) == 20 * KIB
        assert r.ctrlr.opts.host_memory_buffer == mock.host_memory.nbytes == 20 * KIB
        with pytest.raises(UsageError, match="disable it first"):
            r.ctrlr.enable_host_memory_buffer()
        await r.ctrlr.reset()
        assert mock.host_memory.nbytes == 20 * KIB
        await r.ctrlr.disable_host_memory_buffer()
        await r.ctrlr.disable_host_memory_buffer()
        assert (r.ctrlr.opts.host_memory_buffer, mock.host_memory.nbytes) == (0, 0)
        done: list[Any] = []
        await r.ctrlr.submit_enable_host_memory_buffer(lambda arg, cpl: done.append((arg, cpl.value)), 5)
        await asyncio.sleep(0)
        assert done == [(5, 256 * KIB)]
        assert mock.host_memory.damaged == ()
        await r.ctrlr.reset()
        assert mock.host_memory.nbytes == 256 * KIB


async def test_memory_that_was_given_back_is_used_again() -> None:
    """What was lent and taken back may be handed out and written; while it is lent it is not."""
    mock = MockController(hmpre=64, hmmin=4)
    async with rig(mock, host_memory_buffer="preferred") as r:
        for _ in range(8):
            with r.ctrlr.dma_alloc(256 * KIB) as buf:
                memoryview(buf)[:] = b"\xff" * (256 * KIB)
            await r.ctrlr.get_feature(1)
        await r.ctrlr.disable_host_memory_buffer()
        assert mock.host_memory.damaged == ()


async def test_limits_of_host_memory() -> None:
    """Too little, none supported, and what is not a size are refused; options that can't be only log."""
    async with rig(MockController(hmpre=64, hmmin=4), host_memory_buffer=8 * KIB) as r:
        assert r.ctrlr.opts.host_memory_buffer == 0
        with pytest.raises(UsageError, match=r"nbytes.*16384"):
            r.ctrlr.enable_host_memory_buffer(16 * KIB - 1)
    async with rig(MockController(hmpre=0), host_memory_buffer="preferred") as r:
        assert r.ctrlr.opts.host_memory_buffer == 0
        assert not r.ctrlr.is_feature_supported(FeatureId.HOST_MEMORY_BUFFER)
        with pytest.raises(UsageError, match="HMPRE"):
            r.ctrlr.enable_host_memory_buffer()
        await r.ctrlr.disable_host_memory_buffer()
    for wrong in ("on", -1):
        with pytest.raises(UsageError, match="host_memory_buffer"):
            aionvme.ControllerOptions(host_memory_buffer=wrong)


async def test_controllers_that_refuse_memory() -> None:
    """A refused option leaves the controller without; a refused call raises, and the memory is free again."""
    mock = MockController(hmpre=64, hmmin=4)
    mock.fail(StatusCode.INTERNAL_ERROR, qid=0, opcode=9, nth=3)
    async with rig(mock, host_memory_buffer="preferred") as r:
        assert r.ctrlr.opts.host_memory_buffer == 0
        mock.fail(StatusCode.INTERNAL_ERROR, qid=0, opcode=9)
        await _refused(r.ctrlr.enable_host_memory_buffer(), StatusCode.INTERNAL_ERROR)
        assert await r.ctrlr.enable_host_memory_buffer() == 256 * KIB
        mock.fail(StatusCode.INTERNAL_ERROR, qid=0, opcode=9)
        await _refused(r.ctrlr.disable_host_memory_buffer(), StatusCode.INTERNAL_ERROR)
        assert mock.host_memory.nbytes == 256 * KIB
        mock.fail(StatusCode.INTERNAL_ERROR, qid=0, opcode=9, nth=1, count=1)
        await r.ctrlr.reset()
        assert mock.host_memory.nbytes == 256 * KIB
        assert mock.host_memory.damaged == ()


async def test_a_cancelled_loan_is_known() -> None:
    """Cancelled while its command is held, it ends when that has, and who has the memory is known."""
    mock = MockController(hmpre=64, hmmin=4)
    async with rig(mock) as r:
        with mock.hold(qid=0, opcode=9) as held:
            operation = r.ctrlr.enable_host_memory_buffer()
            await until(lambda: held.commands, "the command")
            operation.cancel()
            await asyncio.sleep(0)
            assert not operation.done()
        with pytest.raises(asyncio.CancelledError):
            await operation
        assert mock.host_memory.nbytes == 256 * KIB
        await r.ctrlr.disable_host_memory_buffer()
        assert mock.host_memory.nbytes == 0


async def test_a_reset_meanwhile() -> None:
    """A reset while memory is being lent or taken back: who has it in the end is what was told to the caller."""
    mock = MockController(hmpre=64, hmmin=4)
    async with rig(mock) as r:
        with mock.hold(qid=0, opcode=9, count=1) as held:
            operation = r.ctrlr.enable_host_memory_buffer()
            await until(lambda: held.commands, "the command")
            await r.ctrlr.reset()
            with pytest.raises(aionvme.ControllerResetError):
                await operation
        assert mock.host_memory.nbytes == 0
        await r.ctrlr.enable_host_memory_buffer()
        with mock.hold(qid=0, opcode=9, count=1) as held:
            back = r.ctrlr.disable_host_memory_buffer()
            await until(lambda: held.commands, "the command")
            await r.ctrlr.reset()
            with pytest.raises(aionvme.ControllerResetError):
                await back
        assert mock.host_memory.nbytes == 256 * KIB
        await r.ctrlr.disable_host_memory_buffer()
        assert (mock.host_memory.nbytes, mock.host_memory.damaged) == (0, ())
