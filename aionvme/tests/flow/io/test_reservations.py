"""Reservations, from two hosts with a controller each in one subsystem."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.spec.reservation import AcquireAction, RegisterAction, ReleaseAction, ReservationType
from aionvme.spec.status import StatusCode
from aionvme.tests.flow.io.spoken import OK, code, say, spelled
from aionvme.tests.flow.support import rig

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]

ONE, TWO = bytes(range(16)), bytes(range(16, 32))
KEY1, KEY2 = 0x1122_3344_5566_7788, (1 << 64) - 1
CONFLICT = StatusCode.RESERVATION_CONFLICT


@attrs.frozen
class Host:
    """One of them, speaking in one spelling."""

    spelling: str
    qp: aionvme.IoQueuePair
    ns: aionvme.Namespace
    buf: Any

    async def does(self, name: str, *args: Any, **keywords: Any) -> int:
        """The status of a reservation command."""
        return code(await say(self.spelling, self.qp, f"reservation_{name}", self.ns, *args, **keywords))

    async def reports(self) -> Any:
        """The reservation status."""
        return (await say(self.spelling, self.qp, "reservation_report", self.ns)).value

    async def writes(self) -> int:
        """The status of a write."""
        return code(await say(self.spelling, self.qp, "write", self.ns, self.buf, 0, 1))

    async def reads(self) -> int:
        """The status of a read."""
        return code(await say(self.spelling, self.qp, "read", self.ns, self.buf, 0, 1))


@asynccontextmanager
async def hosts(spelling: str) -> AsyncIterator[tuple[Host, Host]]:
    """Two hosts with their controllers."""
    with MockController(timeout=0.5, size=1 << 20) as first, first.second() as second:
        async with (
            aionvme.connect(first, aionvme.ControllerOptions(host_id=ONE)) as ctrlr1,
            aionvme.connect(second, aionvme.ControllerOptions(host_id=TWO)) as ctrlr2,
            ctrlr1.alloc_io_qpair() as qp1,
            ctrlr2.alloc_io_qpair() as qp2,
        ):
            yield (
                Host(spelling, qp1, ctrlr1.namespaces[1], ctrlr1.dma_alloc(512)),
                Host(spelling, qp2, ctrlr2.namespaces[1], ctrlr2.dma_alloc(512)),
            )


@spelled
async def test_register_replace_unregister(spelling: str) -> None:
    """Both hosts see who is registered, with which key; a wrong key is a conflict, unless keys are ignored."""
    async with hosts(spelling) as (one, two):
        assert (await one.reports()).registrants == ()
        assert await one.does("register", RegisterAction.REGISTER, nrkey=KEY1) == OK
        assert await two.does("register", RegisterAction.REGISTER, nrkey=KEY2) == OK
        report = await two.reports()
        assert {(each.hostid, each.rkey) for each in report.registrants} == {(ONE, KEY1), (TWO, KEY2)}
        assert report.extended
        assert report.rtype == 0
        assert await one.does("register", RegisterAction.REPLACE, crkey=KEY2, nrkey=5) == CONFLICT
        assert await one.does("register", RegisterAction.REPLACE, crkey=KEY1, nrkey=5) == OK
        assert await two.does("register", RegisterAction.REPLACE, nrkey=6, ignore_key=True) == OK
        assert {each.rkey for each in (await one.reports()).registrants} == {5, 6}
        assert await two.does("register", RegisterAction.UNREGISTER, crkey=6) == OK
        assert [each.hostid for each in (await one.reports()).registrants] == [ONE]


# By reservation type: may a host that is registered and does not hold it read, and write; may one that is not.
RIGHTS = {
    ReservationType.WRITE_EXCLUSIVE: ((True, False), (True, False)),
    ReservationType.EXCLUSIVE_ACCESS: ((False, False), (False, False)),
    ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY: ((True, True), (True, False)),
    ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY: ((True, True), (False, False)),
    ReservationType.WRITE_EXCLUSIVE_ALL_REGISTRANTS: ((True, True), (True, False)),
    ReservationType.EXCLUSIVE_ACCESS_ALL_REGISTRANTS: ((True, True), (False, False)),
}


@spelled
@pytest.mark.parametrize("rtype", RIGHTS)
async def test_what_others_may(spelling: str, rtype: ReservationType) -> None:
    """Each type lets others read and write what it says (Base 2.0, 8.19), until it is released."""
    async with hosts(spelling) as (one, two):
        await one.does("register", RegisterAction.REGISTER, nrkey=KEY1)
        assert await one.does("acquire", AcquireAction.ACQUIRE, rtype, crkey=KEY1) == OK
        for registered, (may_read, may_write) in zip((True, False), RIGHTS[rtype], strict=True):
            if registered:
                await two.does("register", RegisterAction.REGISTER, nrkey=KEY2)
            else:
                await two.does("register", RegisterAction.UNREGISTER, crkey=KEY2)
            assert await two.reads() == (OK if may_read else CONFLICT)
            assert await two.writes() == (OK if may_write else CONFLICT)
            assert (await one.reads(), await one.writes()) == (OK, OK)
        report = await two.reports()
        assert report.rtype == rtype
        assert [each.holder for each in report.registrants] == [True]
        assert await one.does("release", ReleaseAction.RELEASE, rtype, crkey=KEY1) == OK
        assert (await two.reads(), await two.writes()) == (OK, OK)


@spelled
async def test_preempt_and_clear(spelling: str) -> None:
    """A host takes another's reservation and registration, and clears all."""
    async with hosts(spelling) as (one, two):
        rtype = ReservationType.EXCLUSIVE_ACCESS
        await one.does("register", RegisterAction.REGISTER, nrkey=KEY1)
        await two.does("register", RegisterAction.REGISTER, nrkey=KEY2)
        await one.does("acquire", AcquireAction.ACQUIRE, rtype, crkey=KEY1)
        assert await two.does("acquire", AcquireAction.ACQUIRE, rtype, crkey=KEY2) == CONFLICT
        assert await two.does("acquire", AcquireAction.PREEMPT, rtype, crkey=KEY2, prkey=KEY1) == OK
        assert [(each.hostid, each.holder) for each in (await one.reports()).registrants] == [(TWO, True)]
        assert await one.writes() == CONFLICT
        assert await two.does("release", ReleaseAction.CLEAR, rtype, crkey=KEY2) == OK
        assert (await one.reports()).registrants == ()
        assert await one.writes() == OK


async def test_the_other_form_of_a_report() -> None:
    """Asked for with the identifier of another size the controller says that it is the wrong one."""
    async with hosts("await") as (one, _):
        with pytest.raises(aionvme.StatusError) as caught:
            await one.qp.reservation_report(one.ns, extended=False)
        assert code(caught.value.cpl) == StatusCode.HOST_ID_INCONSISTENT_FORMAT


async def test_a_report_from_a_controller_that_transfers_little() -> None:
    """The report is no longer than MDTS."""
    async with rig(MockController(timeout=0.5, mdts=1)) as r:
        assert (await r.qp.reservation_report(r.ns)).value.registrants == ()
