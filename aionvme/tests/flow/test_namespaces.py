"""Namespaces created, attached, detached and deleted under a program that uses them, on the mock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import aionvme
from aionvme.admin import namespaces
from aionvme.mock import MockController, NamespaceConfig
from aionvme.spec.opcodes import Cns
from aionvme.tests.flow.io.spoken import spelled
from aionvme.tests.flow.support import PATIENCE, rig, until

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]

MIB = 1 << 20
Spec = aionvme.NamespaceSpec
Code = aionvme.StatusCode


def roomy(**options: Any) -> MockController:
    """A mock with one namespace of 1 MiB, and room for more."""
    return MockController(**{"timeout": 0.5, "size": MIB, "capacity": 8 * MIB, "max_namespaces": 8} | options)


@asynccontextmanager
async def two(**options: Any) -> AsyncIterator[tuple[aionvme.Controller, aionvme.Controller, MockController]]:
    """Two controllers of one subsystem, as two hosts have them, and the mock of the first."""
    with roomy(**options) as mock, mock.second(timeout=0.5) as other:
        async with (
            asyncio.timeout(PATIENCE),
            aionvme.connect(mock, aionvme.ControllerOptions(host_id=b"a" * 16)) as first,
            aionvme.connect(other, aionvme.ControllerOptions(host_id=b"b" * 16)) as second,
        ):
            yield first, second, mock


async def call(ctrlr: aionvme.Controller, spelling: str, name: str, *args: Any, **keywords: Any) -> Any:
    """A command in one of its two spellings: its value, or the exception of its status."""
    if spelling == "await":
        return await getattr(ctrlr, name)(*args, **keywords)
    told: list[Any] = []
    place = {"attach_ns": 2, "detach_ns": 2}.get(name, 1)
    args = (*args, *(None,) * (place - len(args)))
    operation = getattr(ctrlr, f"submit_{name}")(
        *args[:place], lambda arg, cpl: told.append((arg, cpl)), "arg", **keywords
    )
    await asyncio.wait([operation])
    await until(lambda: told)
    ((arg, cpl),) = told
    assert arg == "arg"
    assert cpl is not None
    value = await operation
    assert cpl.value == value
    return value


async def fails(code: Code, coro: Any) -> None:
    """The controller refuses it with this status."""
    with pytest.raises(aionvme.StatusError) as caught:
        await coro
    assert caught.value.status == code


@spelled
async def test_life_of_a_namespace(spelling: str) -> None:
    """Created, attached, written, detached and deleted; the controller's namespaces and capacity follow each step."""
    async with rig(roomy()) as r:
        assert r.ctrlr.data.unvmcap == 7 * MIB
        nsid = await call(r.ctrlr, spelling, "create_ns", Spec(nsze=256, ncap=256, flbas=1))
        assert (nsid, list(r.ctrlr.namespaces), r.ctrlr.data.unvmcap) == (2, [1], 6 * MIB)
        assert await r.ctrlr.allocated_nsids() == (1, 2)
        await call(r.ctrlr, spelling, "attach_ns", nsid)
        ns = r.ctrlr.namespaces[nsid]
        assert (ns.block_size, ns.nblocks, ns.active) == (4096, 256, True)
        assert r.ctrlr.namespaces[1] is r.ns
        assert await r.ctrlr.attached_controllers(nsid) == (1,)
        await r.qp.write_zeroes(ns, 0, 256)
        await call(r.ctrlr, spelling, "detach_ns", nsid, r.ctrlr.data.cntlid)
        assert list(r.ctrlr.namespaces) == [1]
        with pytest.raises(aionvme.UsageError, match="namespace 2 was detached"):
            r.qp.submit_flush(ns)
        await call(r.ctrlr, spelling, "delete_ns", nsid)
        assert (await r.ctrlr.allocated_nsids(), r.ctrlr.data.unvmcap) == ((1,), 7 * MIB)
        await r.works()


@spelled
async def test_refused_by_the_controller(spelling: str) -> None:
    """Capacity exceeded, attached twice, not attached, private, no such controller, and nothing there to delete."""
    async with two() as (first, _second, _mock):
        for status, name, args in (
            (Code.NAMESPACE_INSUFFICIENT_CAPACITY, "create_ns", (Spec(nsze=1 << 40, ncap=1 << 40),)),
            (Code.THIN_PROVISIONING_NOT_SUPPORTED, "create_ns", (Spec(nsze=8, ncap=4),)),
            (Code.INVALID_FORMAT, "create_ns", (Spec(nsze=8, ncap=8, flbas=9),)),
            (Code.NAMESPACE_ALREADY_ATTACHED, "attach_ns", (1, 1)),
            (Code.CONTROLLER_LIST_INVALID, "attach_ns", (1, 77)),
            (Code.INVALID_NAMESPACE_OR_FORMAT, "attach_ns", (9, 1)),
            (Code.INVALID_FIELD, "delete_ns", (2,)),
            (Code.INVALID_NAMESPACE_OR_FORMAT, "delete_ns", (9,)),
        ):
            await fails(status, call(first, spelling, name, *args))
        nsid = await first.create_ns(Spec(nsze=8, ncap=8))
        await fails(Code.NAMESPACE_IS_PRIVATE, call(first, spelling, "attach_ns", nsid, [2, 1]))
        await first.attach_ns(nsid, 2)
        await fails(Code.NAMESPACE_IS_PRIVATE, call(first, spelling, "attach_ns", nsid, 1))
        await fails(Code.NAMESPACE_NOT_ATTACHED, call(first, spelling, "detach_ns", nsid, 1))
        assert list(first.namespaces) == [1]


async def test_refused_at_the_call() -> None:
    """Arguments that cannot be raise before anything is sent, with the field and its limit."""
    async with rig(roomy()) as r:
        c, sent = r.ctrlr, r.mock.queue(0).fetched
        for call_, match in (
            (lambda: c.create_ns(Spec()), "nsze"),
            (lambda: c.create_ns(Spec(nsze=8, ncap=9)), "ncap must be at most nsze, 8"),
            (lambda: c.create_ns(Spec(nsze=1 << 64)), "nsze"),
            (lambda: c.create_ns(Spec(nsze=8, flbas=256)), "flbas"),
            (lambda: c.create_ns(Spec(nsze=8), csi=256), "csi"),
            (lambda: c.delete_ns(0), "nsid"),
            (lambda: c.delete_ns(0xFFFFFFFF), "all_namespaces=True"),
            (lambda: c.delete_ns(1, all_namespaces=True), "all_namespaces"),
            (lambda: c.attach_ns(1, []), "from 1 to 2047"),
            (lambda: c.attach_ns(1, [1, 1]), "twice"),
            (lambda: c.attach_ns(1, 0xFFF0), "0xffef"),
            (lambda: c.detach_ns(0xFFFFFFFF), "all_namespaces"),
            (lambda: c.detach_ns(1, range(3000)), "2047"),
        ):
            with pytest.raises(aionvme.UsageError, match=match):
                call_()
        with pytest.raises(TypeError, match="NamespaceSpec"):
            c.create_ns({"nsze": 8})  # type: ignore[arg-type]
        assert r.mock.queue(0).fetched == sent


async def test_delete_all() -> None:
    """With the word that it is meant every namespace is deleted, and none is left to the program."""
    async with rig(roomy(namespaces=2)) as r:
        await r.ctrlr.delete_ns(0xFFFFFFFF, all_namespaces=True)
        assert (dict(r.ctrlr.namespaces), await r.ctrlr.allocated_nsids()) == ({}, ())
        with pytest.raises(aionvme.UsageError, match="namespace 1 was deleted"):
            r.read()


@pytest.mark.parametrize("log", [True, False])
async def test_said_and_not_there(log: bool) -> None:
    """A controller that claims the capability in OACS and has no such command: refused by its log, or by its status."""
    async with rig(roomy()) as r:
        if log:
            effects = list(r.ctrlr._core.commands_log.acs)  # type: ignore[union-attr]
            effects[0x0D] = 0
            r.ctrlr._core.commands_log = r.ctrlr._core.commands_log.replace(acs=tuple(effects))  # type: ignore[union-attr]
            with pytest.raises(
                aionvme.UsageError, match=r"Namespace Management \(its commands supported log"
            ):
                r.ctrlr.create_ns(Spec(nsze=8))
            await fails(Code.NAMESPACE_ALREADY_ATTACHED, r.ctrlr.attach_ns(1))
            return
        r.mock.fail(Code.INVALID_OPCODE, qid=0, opcode=0x0D)
        with pytest.raises(aionvme.StatusError) as caught:
            await r.ctrlr.create_ns(Spec(nsze=8))
        assert caught.value.status == Code.INVALID_OPCODE
        assert "OACS" in caught.value.__notes__[0]


async def test_another_host_changes_them() -> None:
    """What the one controller attaches and detaches, the other follows by its event, before the program is told."""
    async with two() as (first, second, _mock):
        events = second.events()
        kept = second.namespaces[1]
        nsid = await first.create_ns(Spec(nsze=64, ncap=64, nmic=1))
        await first.attach_ns(nsid, [1, 2])
        event = await anext(events)
        assert event.log_page == 4
        assert list(second.namespaces) == [1, nsid]
        gone = second.namespaces[nsid]
        await first.delete_ns(nsid)
        await anext(events)
        assert list(second.namespaces) == [1]
        assert (gone.active, second.namespaces[1]) == (False, kept)
        assert second.data.unvmcap == first.data.unvmcap
        await first.format_nvm(1, lbaf=1)
        await anext(events)
        assert (kept.active, second.namespaces[1].block_size) == (False, 4096)


async def test_commands_in_flight_at_a_detachment() -> None:
    """The controller ends what it has; what waits for a slot, or is the rest of a split, ends here."""
    async with two(mdts=8192) as (first, second, mock):
        qp = await first.alloc_io_qpair(depth=2)
        ns, buf = first.namespaces[1], first.dma_alloc(64 * 1024)
        held = mock.hold(qid=qp.qid)
        split = qp.write(ns, buf, 0, 128)
        waiting = qp.read(ns, buf, 0, 1)
        await until(lambda: len(held.commands) == 2)
        await second.detach_ns(1, 1)
        await until(lambda: not ns.active)
        with pytest.raises(aionvme.UsageError, match="namespace 1 is not attached"):
            await waiting
        assert not split.done()
        held.release()
        with pytest.raises(aionvme.NvmeError):
            await split
        assert mock.queue(qp.qid).fetched == 2
        held.stop()
        await first.attach_ns(1, 1)
        await qp.read(first.namespaces[1], buf, 0, 1)


async def test_reservation_held() -> None:
    """A namespace that another host has reserved is not detached or deleted; by the holder it is, with all."""
    async with two() as (first, second, _mock):
        async with first.alloc_io_qpair() as qp:
            ns = first.namespaces[1]
            await qp.reservation_register(ns, aionvme.RegisterAction.REGISTER, nrkey=5)
            await qp.reservation_acquire(
                ns, aionvme.AcquireAction.ACQUIRE, aionvme.ReservationType.WRITE_EXCLUSIVE, crkey=5
            )
        await fails(Code.RESERVATION_CONFLICT, second.delete_ns(1))
        await fails(Code.RESERVATION_CONFLICT, second.detach_ns(1, 2))
        await first.delete_ns(1)
        assert await second.create_ns(Spec(nsze=64, ncap=64)) == 1
        await second.attach_ns(1)
        async with second.alloc_io_qpair() as qp:
            assert (await qp.reservation_report(second.namespaces[1])).value.rtype == 0


async def test_reset_in_the_middle() -> None:
    """A reset while the namespaces are read anew has them read by the reset, or once more; the call succeeds."""
    async with rig(roomy()) as r:
        nsid = await r.ctrlr.create_ns(Spec(nsze=64, ncap=64))
        held = r.mock.hold(qid=0, opcode=0x06, count=1)
        attaching = r.ctrlr.attach_ns(nsid)
        await until(lambda: held.commands)
        await r.ctrlr.reset()
        await attaching
        assert list(r.ctrlr.namespaces) == [1, nsid]


async def test_refresh_in_the_background() -> None:
    """Who cannot wait has the namespaces read soon; a controller that is closed meanwhile is no error."""
    async with rig(roomy()) as r:
        namespaces.refresh_soon(r.ctrlr._core)
        namespaces.refresh_soon(r.ctrlr._core)
        await until(lambda: r.ctrlr._core.rescan is None)
        assert r.ctrlr.namespaces[1] is r.ns
        namespaces.refresh_soon(r.ctrlr._core)


async def test_more_than_one_list() -> None:
    """Lists of 1024 namespaces are continued, and one that goes back is refused."""
    many = [NamespaceConfig(size=512, active=nsid % 256 == 0) for nsid in range(1024)]
    with MockController(timeout=0.5, namespaces=many) as mock:
        async with aionvme.connect(mock) as ctrlr:
            assert await ctrlr.active_nsids() == (1, 257, 513, 769)
            assert await ctrlr.allocated_nsids() == tuple(range(1, 1025))
            answers = mock._admin._identify._answers
            answers[Cns.ALLOCATED_NAMESPACES] = lambda _sqe: (5).to_bytes(4, "little") * 1024
            with pytest.raises(aionvme.DecodeError, match="not in order"):
                await ctrlr.allocated_nsids()
