"""Every call of the announcement, in order, three times: awaited, called back, and by its SPDK name.

Each is done once as it should be, and once as it should not: a page or feature that is not there, capacity exceeded,
a namespace attached twice, one that another host or controller has, keys and reservations of others.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import pytest

import aionvme
from aionvme import AcquireAction, RegisterAction, ReleaseAction, ReservationType, StatusCode, spdk
from aionvme.mock import MockController
from aionvme.tests.flow.spdk_stage import Stage, stage
from aionvme.tests.flow.support import CREATE_SQ, rig, until

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]

OK = StatusCode.SUCCESS
CONFLICT = StatusCode.RESERVATION_CONFLICT
MIB = 1 << 20
FLAGS = aionvme.IoFlags.FORCE_UNIT_ACCESS | aionvme.IoFlags.LIMITED_RETRY
EXCLUSIVE = ReservationType.EXCLUSIVE_ACCESS
KEY, OTHERS, NO_KEY = 0xA, 0xB, 0xC
SMART, TEMPERATURE, NOWHERE = 0x02, 0x04, 0xC5

SMALL = aionvme.NamespaceSpec(nsze=64, ncap=64)
LARGE = aionvme.NamespaceSpec(nsze=1 << 40, ncap=1 << 40)
# For calls whose arguments are put together.
loose: Any = spdk


class Rings:
    """Where the submission queues of a mock lie, so that a command can be looked at as the controller gets it."""

    def __init__(self, mock: MockController) -> None:
        self._mock = mock
        self._at: dict[int, int] = {}
        self._create = mock._admin._commands[CREATE_SQ]
        mock._admin._commands[CREATE_SQ] = self._created

    def _created(self, sqe: Any) -> Any:
        self._at[sqe.cdw10 & 0xFFFF] = sqe.prp1
        return self._create(sqe)

    def last(self, qid: int) -> bytes:
        """The 64 bytes of the command that was fetched last."""
        queue = self._mock.queue(qid)
        slot = (queue.head - 1) % queue.entries
        with self._mock._machine as machine:
            status, data = machine.data_out(self._at[qid] + 64 * slot, 0, 64)
        assert status == 0
        return bytes(data)


@attrs.frozen
class On:
    """A controller with a queue pair and a namespace, by whichever names; and another host's, of the same namespace."""

    way: str
    mock: MockController
    rings: Rings
    ctrlr: aionvme.Controller
    qp: aionvme.IoQueuePair
    ns: aionvme.Namespace
    buf: Any
    other: aionvme.Controller
    stage: Stage | None

    @property
    def done(self) -> tuple[Any, Any]:
        """The callback and its argument that SPDK's functions are given."""
        assert self.stage is not None
        return self.stage.cb, "arg"

    async def ends(self, call: Call) -> int | bool:
        """How a call ends; by SPDK's name, of one that blocks there is no more than whether it succeeded."""
        if self.way == "spdk":
            return await self._by_spdk(call)
        target: Any = self.qp if call.of_queue else self.ctrlr
        if self.way == "await":
            try:
                await getattr(target, call.name)(*call.args(self), **call.keywords)
            except aionvme.StatusError as error:
                return _code(error.status)
            return OK
        told: list[Any] = []
        submit = getattr(target, f"submit_{call.name}")
        submit(*call.args(self), lambda *args: told.append(args), "arg", **call.keywords)
        await until(lambda: told, call.name)
        ((arg, cpl),) = told
        assert arg == "arg"
        return _code(cpl.status)

    async def _by_spdk(self, call: Call) -> int | bool:
        assert self.stage is not None
        answer = call.by_spdk(self)
        if inspect.isawaitable(answer):
            value = await answer
            return bool(value) if call.name == "create_ns" else value == 0
        assert answer == 0
        ((arg, cpl),) = await (self.stage.done() if call.of_queue else self.stage.admin())
        assert arg == "arg"
        return _code(cpl.status)


def _code(status: Any) -> int:
    return int(status.sct << 8 | status.sc)


@attrs.frozen
class Call:
    """A call in its two spellings, and how it is said by SPDK's name.

    Attributes:
        name: Of the method; before it `submit_` where it calls back.
        args: Those before the callback.
        by_spdk: Says it: gives its return code, or what to await.
        status: How it ends.
        keywords: Those after the callback.
    """

    name: str
    args: Callable[[On], tuple[Any, ...]]
    by_spdk: Callable[[On], Any]
    status: StatusCode = OK
    keywords: dict[str, Any] = attrs.field(factory=dict)

    @property
    def of_queue(self) -> bool:
        """A method of the queue pair, not of the controller."""
        return hasattr(aionvme.IoQueuePair, self.name)


def log_page(lid: int, status: StatusCode) -> Call:
    return Call(
        "get_log_page",
        lambda on: (lid,),
        lambda on: loose.spdk_nvme_ctrlr_cmd_get_log_page(
            on.ctrlr, lid, spdk.SPDK_NVME_GLOBAL_NS_TAG, bytearray(512), 512, 0, *on.done
        ),
        status,
        {"nbytes": 512},
    )


def feature(fid: int, status: StatusCode, value: int | None = None) -> Call:
    if value is None:
        return Call(
            "get_feature",
            lambda on: (fid,),
            lambda on: loose.spdk_nvme_ctrlr_cmd_get_feature(on.ctrlr, fid, 0, None, 0, *on.done),
            status,
        )
    return Call(
        "set_feature",
        lambda on: (fid,),
        lambda on: loose.spdk_nvme_ctrlr_cmd_set_feature(on.ctrlr, fid, value, 0, None, 0, *on.done),
        status,
        {"cdw11": value},
    )


def managed(name: str, status: StatusCode, *args: Any) -> Call:
    return Call(
        name, lambda on: args, lambda on: getattr(spdk, f"spdk_nvme_ctrlr_{name}")(on.ctrlr, *args), status
    )


def transfer(name: str, status: StatusCode) -> Call:
    def by_spdk(on: On) -> Any:
        function = getattr(spdk, f"spdk_nvme_ns_cmd_{name}")
        if name == "write_zeroes":
            return function(on.ns, on.qp, 0, 1, *on.done, int(FLAGS))
        if name.endswith("v"):
            segments = (lambda _arg, _offset: None, lambda _arg: memoryview(on.buf))
            return function(on.ns, on.qp, 0, 1, *on.done, int(FLAGS), *segments)
        return function(on.ns, on.qp, on.buf, 0, 1, *on.done, int(FLAGS))

    def args(on: On) -> tuple[Any, ...]:
        memory = () if name == "write_zeroes" else ([on.buf] if name.endswith("v") else on.buf,)
        return (on.ns, *memory, 0, 1)

    return Call(name, args, by_spdk, status, {"io_flags": FLAGS})


def register(action: RegisterAction, status: StatusCode, crkey: int = 0) -> Call:
    return Call(
        "reservation_register",
        lambda on: (on.ns, action),
        lambda on: loose.spdk_nvme_ns_cmd_reservation_register(
            on.ns, on.qp, spdk.spdk_nvme_reservation_register_data(crkey, KEY), False, action, 0, *on.done
        ),
        status,
        {"crkey": crkey, "nrkey": KEY},
    )


def acquire(status: StatusCode) -> Call:
    return Call(
        "reservation_acquire",
        lambda on: (on.ns, AcquireAction.ACQUIRE, EXCLUSIVE),
        lambda on: loose.spdk_nvme_ns_cmd_reservation_acquire(
            on.ns, on.qp, spdk.spdk_nvme_reservation_acquire_data(KEY), False, 0, EXCLUSIVE, *on.done
        ),
        status,
        {"crkey": KEY},
    )


def release(key: int, status: StatusCode) -> Call:
    return Call(
        "reservation_release",
        lambda on: (on.ns, ReleaseAction.RELEASE, EXCLUSIVE),
        lambda on: loose.spdk_nvme_ns_cmd_reservation_release(
            on.ns, on.qp, spdk.spdk_nvme_reservation_key_data(key), False, 0, EXCLUSIVE, *on.done
        ),
        status,
        {"crkey": key},
    )


REPORT = Call(
    "reservation_report",
    lambda on: (on.ns,),
    lambda on: loose.spdk_nvme_ns_cmd_reservation_report(on.ns, on.qp, bytearray(256), 256, *on.done),
)
TRANSFERS = ("write", "read", "writev", "readv", "write_zeroes")

CALLS: list[Call] = [
    log_page(SMART, OK),
    log_page(NOWHERE, StatusCode.INVALID_LOG_PAGE),
    feature(TEMPERATURE, OK, 300),
    feature(TEMPERATURE, OK),
    feature(NOWHERE, StatusCode.INVALID_FIELD, 1),
    feature(NOWHERE, StatusCode.INVALID_FIELD),
    managed("create_ns", OK, SMALL),
    managed("create_ns", StatusCode.NAMESPACE_INSUFFICIENT_CAPACITY, LARGE),
    managed("attach_ns", OK, 2, [1]),
    managed("attach_ns", StatusCode.NAMESPACE_ALREADY_ATTACHED, 2, [1]),
    managed("attach_ns", StatusCode.NAMESPACE_IS_PRIVATE, 2, [2]),
    *(transfer(name, OK) for name in TRANSFERS),
    register(RegisterAction.REGISTER, OK),
    register(RegisterAction.REPLACE, CONFLICT, NO_KEY),
    acquire(OK),
    REPORT,
    release(NO_KEY, CONFLICT),
    release(KEY, OK),
    managed("detach_ns", OK, 2, [1]),
    managed("detach_ns", StatusCode.NAMESPACE_NOT_ATTACHED, 2, [1]),
    managed("delete_ns", OK, 2),
    managed("delete_ns", StatusCode.INVALID_FIELD, 2),
]
# While another host holds the namespace.
IN_USE: list[Call] = [
    acquire(CONFLICT),
    *(transfer(name, CONFLICT) for name in TRANSFERS),
    managed("detach_ns", CONFLICT, 1, [1]),
    managed("delete_ns", CONFLICT, 1),
]
# Probing, attaching and detaching a controller, and queue pairs, are in the tests of bring-up and of SPDK's names.
ANNOUNCED = {
    "get_log_page", "get_feature", "set_feature", "create_ns", "delete_ns", "attach_ns", "detach_ns",
    "reservation_register", "reservation_acquire", "reservation_release", "reservation_report",
    "read", "write", "readv", "writev", "write_zeroes",
}  # fmt: skip


@asynccontextmanager
async def opened(way: str) -> AsyncIterator[On]:
    """Both hosts, with a controller each of one subsystem that has room for more namespaces."""
    async with AsyncExitStack() as stack:
        mock = MockController(timeout=0.5, size=MIB, capacity=4 * MIB, max_namespaces=4)
        rings = Rings(mock)
        if way == "spdk":
            on: Any = await stack.enter_async_context(stage(mock, extended_host_id=b"a" * 16))
        else:
            on = await stack.enter_async_context(rig(mock, host_id=b"a" * 16))
        second = stack.enter_context(mock.second(timeout=0.5))
        other = await stack.enter_async_context(
            aionvme.connect(second, aionvme.ControllerOptions(host_id=b"b" * 16))
        )
        yield On(
            way, mock, rings, on.ctrlr, on.qp, on.ns, on.ctrlr.dma_alloc(512), other,
            on if way == "spdk" else None,
        )  # fmt: skip


async def said(on: On, call: Call) -> None:
    """The call ends as it should, with the flags in its command."""
    ended = await on.ends(call)
    what = f"{call.name}{call.keywords}"
    assert ended == (call.status == OK if isinstance(ended, bool) else call.status), what
    if "io_flags" in call.keywords:
        cdw12 = int.from_bytes(on.rings.last(on.qp.qid)[48:52], "little")
        assert cdw12 == 0b11 << 30, what  # FUA, LR; one block, 0's based


ways = pytest.mark.parametrize("way", ["await", "submit", "spdk"])


@ways
async def test_every_call(way: str) -> None:
    """As it should be, and as it should not; afterwards the controller is as what succeeded left it."""
    async with opened(way) as on:
        for call in CALLS:
            await said(on, call)
        assert (await on.other.allocated_nsids(), list(on.ctrlr.namespaces)) == ((1,), [1])
        assert on.mock.peek(1, 0) == bytes(512)


@ways
async def test_a_namespace_in_use(way: str) -> None:
    """What another host has reserved is not read, written, taken, detached or deleted; afterwards it is."""
    async with opened(way) as on:
        await said(on, register(RegisterAction.REGISTER, OK))
        async with on.other.alloc_io_qpair() as qp:
            ns = on.other.namespaces[1]
            await qp.reservation_register(ns, RegisterAction.REGISTER, nrkey=OTHERS)
            await qp.reservation_acquire(ns, AcquireAction.ACQUIRE, EXCLUSIVE, crkey=OTHERS)
            for call in IN_USE:
                await said(on, call)
            assert await on.other.attached_controllers(1) == (1, 2)
            await qp.reservation_release(ns, ReleaseAction.RELEASE, EXCLUSIVE, crkey=OTHERS)
        for call in (acquire(OK), transfer("read", OK), managed("delete_ns", OK, 1)):
            await said(on, call)


@ways
async def test_queries_agree_with_the_controller(way: str) -> None:
    """What the queries say is not there, the controller refuses, and the other way round."""
    async with opened(way) as on:
        has_page: Any = on.ctrlr.is_log_page_supported
        has_feature: Any = on.ctrlr.is_feature_supported
        if way == "spdk":
            has_page = lambda lid: spdk.spdk_nvme_ctrlr_is_log_page_supported(on.ctrlr, lid)  # noqa: E731
            has_feature = lambda fid: spdk.spdk_nvme_ctrlr_is_feature_supported(on.ctrlr, fid)  # noqa: E731
        for lid in (0x01, SMART, 0x03, 0x0C, NOWHERE):
            assert has_page(lid) == (await on.ends(log_page(lid, OK)) == OK), hex(lid)
        for fid in (0x01, TEMPERATURE, 0x07, NOWHERE):
            assert has_feature(fid) == (await on.ends(feature(fid, OK)) == OK), hex(fid)


def test_every_call_has_its_two_sides() -> None:
    """Each of the announcement is said with success and with a refusal; only a report has nothing to refuse."""
    said_so = {(call.name, call.status == OK) for call in CALLS + IN_USE}
    assert said_so == {(name, well) for name in ANNOUNCED for well in (True, False)} - {
        ("reservation_report", False)
    }
