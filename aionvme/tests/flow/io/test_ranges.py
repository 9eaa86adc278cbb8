"""Write Zeroes, Verify, Write Uncorrectable, Dataset Management and Copy, within one command's limits and beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.spec.status import StatusCode
from aionvme.tests.flow.io.spoken import OK, code, noise, say, spelled
from aionvme.tests.flow.support import Rig, rig

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]

BLOCKS = 2048


def mock(**options: Any) -> MockController:
    """A namespace of 2048 blocks."""
    return MockController(**{"timeout": 0.5, "size": BLOCKS * 512} | options)


def fill(r: Rig, nsid: int = 1) -> bytes:
    """Puts noise all over a namespace."""
    data = noise(BLOCKS * 512, nsid)
    r.mock.poke(nsid, 0, data)
    return data


async def commands(r: Rig, spelling: str, name: str, *args: Any, **keywords: Any) -> int:
    """How many commands a call was, which succeeded."""
    before = r.mock.queue(1).fetched
    assert code(await say(spelling, r.qp, name, r.ns, *args, **keywords)) == OK
    return int(r.mock.queue(1).fetched) - before


@spelled
@pytest.mark.parametrize("deallocate", [False, True])
@pytest.mark.parametrize(
    ("options", "count"), [({}, 1), ({"wzsl": 1}, 7), ({"noiob": 40}, 3), ({"wzsl": 13}, 1)]
)
async def test_write_zeroes(spelling: str, deallocate: bool, options: dict[str, int], count: int) -> None:
    """The blocks read as zeroes, and those beside are as they were; WZSL and the boundary cut it."""
    async with rig(mock(**options), depth=2) as r:
        data = fill(r)
        assert await commands(r, spelling, "write_zeroes", 5, 100, deallocate=deallocate) == count
        assert r.mock.peek(1, 0, BLOCKS) == data[:2560] + bytes(51200) + data[53760:]


@spelled
@pytest.mark.parametrize(("options", "count"), [({}, 1), ({"vsl": 1}, 7), ({"noiob": 40}, 3)])
async def test_verify_and_write_uncorrectable(spelling: str, options: dict[str, int], count: int) -> None:
    """Blocks that were made uncorrectable fail reads and verifies until they are written again."""
    async with rig(mock(**options | ({"wusl": 1} if "vsl" in options else {})), depth=2) as r:
        fill(r)
        assert await commands(r, spelling, "verify", 5, 100) == count
        assert await commands(r, spelling, "write_uncorrectable", 50, 100) == count
        buf = r.ctrlr.dma_alloc(512)
        for lba, status in ((49, OK), (50, 0x281), (149, 0x281), (150, OK)):
            assert code(await say(spelling, r.qp, "read", r.ns, buf, lba, 1)) == status
            assert code(await say(spelling, r.qp, "verify", r.ns, lba, 1)) == status
        assert code(await say(spelling, r.qp, "verify", r.ns, 5, 100)) == StatusCode.UNRECOVERED_READ_ERROR
        await r.qp.write(r.ns, r.ctrlr.dma_alloc(51200), 50, 100)
        assert code(await say(spelling, r.qp, "verify", r.ns, 0, BLOCKS)) == OK


RANGES = [(3, 1), (10, 30), (100, 200), (5, 2)]


@spelled
@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 1), ({"dmrl": 1}, 4), ({"dmrl": 3}, 2), ({"dmrsl": 100}, 1), ({"dmsl": 100}, 3), ({"dmrl": 0}, 1)],
)
async def test_deallocate(spelling: str, options: dict[str, int], count: int) -> None:
    """Deallocated blocks read as zeroes, those beside are as they were; DMRL, DMRSL and DMSL cut it."""
    async with rig(mock(**options)) as r:
        data = bytearray(fill(r))
        assert await commands(r, spelling, "dataset_management", RANGES, deallocate=True) == count
        for lba, nblocks in RANGES:
            data[512 * lba : 512 * (lba + nblocks)] = bytes(512 * nblocks)
        assert r.mock.peek(1, 0, BLOCKS) == bytes(data)


@spelled
async def test_advice_changes_nothing(spelling: str) -> None:
    """Integral reads and writes are advice; ranges may be an array."""
    async with rig(mock()) as r:
        data = fill(r)
        ranges = np.array(RANGES, np.uint64)
        for advice in ({"integral_read": True}, {"integral_write": True}, {}):
            assert await commands(r, spelling, "dataset_management", ranges, **advice) == 1
        assert r.mock.peek(1, 0, BLOCKS) == data


@spelled
@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 1), ({"mssrl": 50}, 1), ({"mcl": 60}, 4), ({"msrc": 0}, 4), ({"msrc": 1, "mcl": 100}, 4)],
)
async def test_copy(spelling: str, options: dict[str, int], count: int) -> None:
    """The ranges stand one after another at the destination; MSSRL, MCL and MSRC cut it."""
    async with rig(mock(**{"mssrl": 512, "mcl": 4096} | options)) as r:
        data = fill(r)
        assert await commands(r, spelling, "copy", RANGES, 1000) == count
        expected = b"".join(data[512 * lba : 512 * (lba + nblocks)] for lba, nblocks in RANGES)
        assert r.mock.peek(1, 0, 1000) == data[: 512 * 1000]
        assert r.mock.peek(1, 1000, 233) == expected
        assert r.mock.peek(1, 1233, BLOCKS - 1233) == data[512 * 1233 :]


@spelled
@pytest.mark.parametrize("msrc", [127, 0])
async def test_copy_across_namespaces(spelling: str, msrc: int) -> None:
    """With format 2 what is read is of another namespace."""
    async with rig(mock(namespaces=2, msrc=msrc)) as r:
        fill(r)
        data = fill(r, 2)
        source = r.ctrlr.namespaces[2]
        await commands(r, spelling, "copy", RANGES, 0, format=2, source_ns=source)
        expected = b"".join(data[512 * lba : 512 * (lba + nblocks)] for lba, nblocks in RANGES)
        assert r.mock.peek(1, 0, 233) == expected
        assert r.mock.peek(2, 0, BLOCKS) == data


# What is switched off, and what is then refused.
OFF: list[tuple[str, dict[str, int], str, tuple[Any, ...], str]] = [
    ("compare", {"oncs": 0x1FE}, "compare", ("buf", 0, 1), "compare command .ONCS bit 0"),
    ("comparev", {"oncs": 0x1FE}, "comparev", (["buf"], 0, 1), "compare command .ONCS bit 0"),
    ("write uncorrectable", {"oncs": 0x1FD}, "write_uncorrectable", (0, 1), "ONCS bit 1"),
    ("dataset management", {"oncs": 0x1FB}, "dataset_management", ([(0, 1)],), "ONCS bit 2"),
    ("write zeroes", {"oncs": 0x1F7}, "write_zeroes", (0, 1), "write zeroes command .ONCS bit 3"),
    ("register", {"oncs": 0x1DF}, "reservation_register", (0,), "ONCS bit 5"),
    ("acquire", {"oncs": 0x1DF}, "reservation_acquire", (0, 1), "ONCS bit 5"),
    ("release", {"oncs": 0x1DF}, "reservation_release", (0, 1), "ONCS bit 5"),
    ("report", {"oncs": 0x1DF}, "reservation_report", (), "ONCS bit 5"),
    ("verify", {"oncs": 0x17F}, "verify", (0, 1), "ONCS bit 7"),
    ("copy", {"oncs": 0x0FF}, "copy", ([(0, 1)], 9), "ONCS bit 8"),
    ("copy format", {"ocfs": 1}, "copy", ([(0, 1)], 9), "OCFS is 0x1"),
    ("compare and write", {"fuses": 0}, "compare_and_write", ("buf", "buf", 0, 1), "FUSES bit 0"),
    ("SGLs", {"sgls": 0}, "read", ("buf", 0, 1), "SGLS bits 1:0"),
]


@spelled
@pytest.mark.parametrize("case", [pytest.param(case, id=case[0]) for case in OFF])
async def test_what_a_controller_has_not_is_refused(spelling: str, case: Any) -> None:
    """A command whose bit is off is refused by the call, which says which bit; nothing is sent, and others work."""
    _, options, name, args, text = case
    async with rig(mock(**options)) as r:
        named = {"buf": r.buf}
        given = [
            ([r.buf] if arg == ["buf"] else named.get(arg, arg) if isinstance(arg, str) else arg)
            for arg in args
        ]
        keywords: dict[str, Any] = {"format": 2, "source_ns": r.ns} if "ocfs" in options else {}
        if "sgls" in options:
            keywords["sgl"] = True
        before = r.mock.queue(1).fetched
        with pytest.raises(aionvme.UsageError, match=text):
            await say(spelling, r.qp, name, r.ns, *given, **keywords)
        assert r.mock.queue(1).fetched == before
        await r.works()


@spelled
@pytest.mark.parametrize("form", [1, 3])
async def test_copy_with_a_long_guard(spelling: str, form: int) -> None:
    """Formats 1 and 3 are those of namespaces with a guard of 64 bits; 0 and 2 are refused there."""
    async with rig(mock(pi=3, metadata=16, guard=64)) as r:
        data = fill(r)
        keywords: dict[str, Any] = {"source_ns": r.ns} if form == 3 else {}
        with pytest.raises(aionvme.UsageError, match="guards of 16 bits"):
            r.qp.copy(r.ns, [(3, 4)], 1000, format=form - 1, **keywords)
        assert await commands(r, spelling, "copy", [(3, 4), (90, 1)], 1000, format=form, **keywords) == 1
        assert r.mock.peek(1, 1000, 5) == data[512 * 3 : 512 * 7] + data[512 * 90 : 512 * 91]
