"""Metadata and protection information: what is stored is right by `aionvme.pi`, and each wrong tag has its status."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

import aionvme
from aionvme import pi
from aionvme.mock import MockController, NamespaceConfig
from aionvme.spec.nvm import IoFlags
from aionvme.spec.status import StatusCode
from aionvme.tests.flow.io.spoken import OK, SPELLINGS, alloc, code, noise, say, spelled
from aionvme.tests.flow.support import Rig, rig

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]

CHECKS = IoFlags.PRCHK_GUARD | IoFlags.PRCHK_APP | IoFlags.PRCHK_REF
COUNT = 100
LBA = 21


def mock(**options: Any) -> MockController:
    """A small namespace, split at 64 KiB and every 40 blocks."""
    return MockController(**{"timeout": 0.5, "size": 1 << 20, "mdts": 4, "noiob": 40} | options)


def stored(r: Rig) -> tuple[bytes, bytes]:
    """The blocks and the metadata that the mock has."""
    return r.mock.peek(1, LBA, COUNT), r.mock.peek_metadata(1, LBA, COUNT)


def interleaved(data: bytes, metadata: bytes, size: int) -> bytes:
    """Each block with its metadata behind it."""
    return b"".join(
        data[512 * n : 512 * (n + 1)] + metadata[size * n : size * (n + 1)] for n in range(len(data) // 512)
    )


@spelled
@pytest.mark.parametrize("size", [8, 16, 64])
@pytest.mark.parametrize("sgl", [None, True, False])
async def test_separate_metadata(spelling: str, size: int, sgl: bool | None) -> None:
    """Each command of a split transfer has its part of the metadata; a compare looks at it, too."""
    async with rig(mock(metadata=size)) as r:
        data, metadata = noise(512 * COUNT, 1), noise(size * COUNT, 2)
        out, beside = alloc(r, data), alloc(r, metadata)
        back, back_beside = alloc(r, len(data)), alloc(r, len(metadata))
        cpl = await say(spelling, r.qp, "write", r.ns, out, LBA, COUNT, metadata=beside, sgl=sgl)
        assert code(cpl) == OK
        assert stored(r) == (data, metadata)
        await say(spelling, r.qp, "read", r.ns, back, LBA, COUNT, metadata=back_beside, sgl=sgl)
        assert (bytes(back), bytes(back_beside)) == (data, metadata)
        same = {"metadata": back_beside, "sgl": sgl}
        assert code(await say(spelling, r.qp, "compare", r.ns, back, LBA, 19, **same)) == OK
        memoryview(back_beside)[3] ^= 1
        cpl = await say(spelling, r.qp, "compare", r.ns, back, LBA, 19, **same)
        assert code(cpl) == StatusCode.COMPARE_FAILURE


@spelled
@pytest.mark.parametrize("size", [8, 16, 64])
@pytest.mark.parametrize("sgl", [None, True, False])
async def test_interleaved_metadata(spelling: str, size: int, sgl: bool | None) -> None:
    """Metadata behind each block in one buffer, or in segments that end anywhere."""
    async with rig(mock(metadata=size, extended=True)) as r:
        data, metadata = noise(512 * COUNT, 1), noise(size * COUNT, 2)
        both = interleaved(data, metadata, size)
        out, back = alloc(r, both), alloc(r, len(both))
        assert code(await say(spelling, r.qp, "write", r.ns, out, LBA, COUNT, sgl=sgl)) == OK
        assert stored(r) == (data, metadata)
        await say(spelling, r.qp, "read", r.ns, back, LBA, COUNT, sgl=sgl)
        assert bytes(back) == both
        if sgl is not False:
            view = memoryview(alloc(r, len(both)))
            cut = len(both) // 8 * 4
            await say(spelling, r.qp, "readv", r.ns, [view[-cut:], view[:-cut]], LBA, COUNT, sgl=sgl)
            assert bytes(view[-cut:]) + bytes(view[:-cut]) == both


@attrs.frozen
class Protected:
    """A protected namespace, and the tags of a transfer."""

    options: dict[str, Any]
    tags: dict[str, Any] = attrs.field(factory=dict)

    @property
    def first(self) -> dict[str, Any]:
        """The tags of the first block."""
        return {"ref_tag": LBA} | self.tags

    @property
    def size(self) -> int:
        return int(self.options["metadata"])


# Reference tags that count over the end of their width, and of dword 14.
FORMATS = {
    "type 1": Protected({"pi": 1, "metadata": 8}),
    "type 1, more metadata": Protected({"pi": 1, "metadata": 64}),
    "type 1, first": Protected({"pi": 1, "metadata": 64, "pi_first": True}),
    "type 1, storage tag": Protected({"pi": 1, "metadata": 8, "sts": 26}, {"storage_tag": 0x2AB_CDEF}),
    "type 2": Protected({"pi": 2, "metadata": 8}, {"ref_tag": 0xFFFF_FFE0, "app_tag": 0x1234}),
    "type 2, storage tag": Protected(
        {"pi": 2, "metadata": 8, "sts": 8}, {"ref_tag": 0xFF_FFE0, "storage_tag": 0xA5, "app_tag": 7}),
    "type 3": Protected({"pi": 3, "metadata": 8}, {"ref_tag": 0xCAFE, "app_tag": 0x4321}),
    "64-bit guard, type 1": Protected({"pi": 1, "metadata": 16, "guard": 64}),
    "64-bit guard, type 2": Protected(
        {"pi": 2, "metadata": 16, "guard": 64}, {"ref_tag": 0x1FF_FFFF_FFE0 & 0xFFFF_FFFF_FFFF}),
    "64-bit guard, carrying": Protected({"pi": 2, "metadata": 16, "guard": 64}, {"ref_tag": 0xFFFF_FFE0}),
    "64-bit guard, storage tag": Protected(
        {"pi": 2, "metadata": 32, "guard": 64, "sts": 20}, {"ref_tag": 0xFFF_FFE0, "storage_tag": 0xABCDE}),
    "64-bit guard, type 3": Protected({"pi": 3, "metadata": 16, "guard": 64}, {"ref_tag": 0xFACE_CAFE_BEEF}),
}  # fmt: skip
formats = pytest.mark.parametrize("name", FORMATS)
either_place = pytest.mark.parametrize("extended", [False, True])


def generated(r: Rig, fmt: pi.Format, protected: Protected) -> tuple[bytes, bytes]:
    """Blocks and metadata with the right protection information."""
    apart = attrs.evolve(fmt, extended=False)
    data, metadata = noise(512 * COUNT, 1), bytearray(noise(protected.size * COUNT, 2))
    pi.generate(apart, data, metadata, **protected.first)
    return data, bytes(metadata)


def checks(protected: Protected) -> dict[str, Any]:
    """The keywords of a transfer that has everything checked."""
    flags = CHECKS | (IoFlags.STORAGE_TAG_CHECK if "storage_tag" in protected.tags else 0)
    if protected.options["pi"] == 3:
        flags &= ~IoFlags.PRCHK_REF
    return {"io_flags": flags, "app_mask": 0xFFFF} | protected.tags


@formats
@either_place
async def test_protection_of_the_hosts(name: str, extended: bool) -> None:
    """Made on the host, checked by the controller when written, read and verified, and again on the host."""
    protected = FORMATS[name]
    async with rig(mock(extended=extended, **protected.options)) as r:
        fmt = pi.Format.of(r.ns.data, r.ns.nvm)
        data, metadata = generated(r, fmt, protected)
        keywords = checks(protected)
        for spelling in SPELLINGS:
            if extended:
                out, back = (alloc(r, interleaved(data, metadata, protected.size)) for _ in range(2))
                memoryview(back)[:] = bytes(len(back))
                beside: dict[str, Any] = {}
                back_beside: dict[str, Any] = {}
            else:
                out, back = alloc(r, data), alloc(r, len(data))
                beside, back_beside = {"metadata": alloc(r, metadata)}, {"metadata": alloc(r, len(metadata))}
            r.mock.poke(1, LBA, bytes(512 * COUNT))
            assert code(await say(spelling, r.qp, "write", r.ns, out, LBA, COUNT, **keywords, **beside)) == OK
            assert stored(r) == (data, metadata)
            assert (
                code(await say(spelling, r.qp, "read", r.ns, back, LBA, COUNT, **keywords, **back_beside))
                == OK
            )
            pi.verify(fmt, back, back_beside.get("metadata"), **protected.first)
            assert bytes(back) == bytes(out)
            assert code(await say(spelling, r.qp, "verify", r.ns, LBA, COUNT, **keywords)) == OK


@formats
@either_place
async def test_protection_of_the_controllers(name: str, extended: bool) -> None:
    """With PRACT the controller puts it in, for every piece with its reference tag, and takes it out if it is all."""
    protected = FORMATS[name]
    async with rig(mock(extended=extended, **protected.options)) as r:
        fmt = pi.Format.of(r.ns.data, r.ns.nvm)
        data, metadata = generated(r, fmt, protected)
        stripped = protected.size == fmt.pi_size
        keywords = checks(protected) | {"io_flags": IoFlags.PRACT}
        for spelling in SPELLINGS:
            r.mock.poke(1, LBA, bytes(512 * COUNT))
            r.mock.poke_metadata(1, LBA, bytes(protected.size * COUNT))
            beside: dict[str, Any] = {}
            if stripped:
                out, back = alloc(r, data), alloc(r, len(data))
            elif extended:
                out, back = (
                    alloc(r, interleaved(data, metadata, protected.size)),
                    alloc(r, len(data) + len(metadata)),
                )
            else:
                out, back, beside = alloc(r, data), alloc(r, len(data)), {"metadata": alloc(r, metadata)}
            assert code(await say(spelling, r.qp, "write", r.ns, out, LBA, COUNT, **keywords, **beside)) == OK
            blocks, tuples = stored(r)
            pi.verify(attrs.evolve(fmt, extended=False), blocks, tuples, **protected.first)
            assert (blocks, tuples) == (data, metadata)
            checked = checks(protected) | {"io_flags": IoFlags.PRACT | checks(protected)["io_flags"]}
            assert code(await say(spelling, r.qp, "read", r.ns, back, LBA, COUNT, **checked, **beside)) == OK
            assert bytes(back) == bytes(out)


WRONG = {
    "guard": (IoFlags.PRCHK_GUARD, {}, StatusCode.GUARD_CHECK_ERROR),
    "application tag": (IoFlags.PRCHK_APP, {"app_tag": 0x1235}, StatusCode.APPLICATION_TAG_CHECK_ERROR),
    "reference tag": (IoFlags.PRCHK_REF, {"ref_tag": 78}, StatusCode.REFERENCE_TAG_CHECK_ERROR),
    "storage tag": (IoFlags.STORAGE_TAG_CHECK, {"storage_tag": 0xA4}, StatusCode.STORAGE_TAG_CHECK_ERROR),
}


@pytest.mark.parametrize("guard", [16, 64])
@pytest.mark.parametrize("name", WRONG)
async def test_wrong_tags_are_told(name: str, guard: int) -> None:
    """Each check fails with a status of its own, in reads, writes and verifies, and in what follows all is well."""
    flags, wrong, status = WRONG[name]
    options = {"pi": 2, "metadata": guard // 8 + (6 if guard == 16 else 8), "guard": guard, "sts": 8}
    tags = {"ref_tag": 77, "app_tag": 0x1234, "storage_tag": 0xA5}
    async with rig(mock(**options)) as r:
        protected = Protected(options, tags)
        data, metadata = generated(r, pi.Format.of(r.ns.data, r.ns.nvm), protected)
        out, beside = alloc(r, data), alloc(r, metadata)
        for spelling in SPELLINGS:
            keywords: dict[str, Any] = {"app_mask": 0xFFFF} | tags
            await say(spelling, r.qp, "write", r.ns, out, LBA, COUNT, metadata=beside, **keywords)
            if name == "guard":
                r.mock.poke(1, LBA + 60, noise(512, 9))
                memoryview(out)[512 * 60] ^= 1
            bad = keywords | wrong | {"io_flags": flags}
            for command in ("write", "read", "verify"):
                args = (LBA, COUNT) if command == "verify" else (out, LBA, COUNT)
                memory = {} if command == "verify" else {"metadata": beside}
                assert code(await say(spelling, r.qp, command, r.ns, *args, **memory, **bad)) == status, (
                    command
                )
                if command == "read":
                    memoryview(out)[:], memoryview(beside)[:] = data, metadata
            memoryview(out)[:], memoryview(beside)[:] = data, metadata
            good = keywords | {"io_flags": flags}
            assert (
                code(await say(spelling, r.qp, "write", r.ns, out, LBA, COUNT, metadata=beside, **good)) == OK
            )


async def test_masked_application_tag() -> None:
    """Only the bits of `app_mask` are checked."""
    async with rig(mock(pi=1, metadata=8)) as r:
        out = alloc(r, noise(512))
        flags = IoFlags.PRACT | IoFlags.PRCHK_APP
        await r.qp.write(r.ns, out, 5, 1, io_flags=IoFlags.PRACT, app_tag=0xAB12)
        assert not (await r.qp.read(r.ns, out, 5, 1, io_flags=flags, app_tag=0xAB99, app_mask=0xFF00)).status
        with pytest.raises(aionvme.StatusError) as caught:
            await r.qp.read(r.ns, out, 5, 1, io_flags=flags, app_tag=0xAB99, app_mask=0x00FF)
        assert code(caught.value.cpl) == StatusCode.APPLICATION_TAG_CHECK_ERROR


@formats
async def test_write_zeroes_with_protection(name: str) -> None:
    """With PRACT the zeroes get protection information, whose reference tags count through every piece."""
    protected = FORMATS[name]
    async with rig(mock(**protected.options, wzsl=1)) as r:
        fmt = pi.Format.of(r.ns.data, r.ns.nvm)
        for spelling in SPELLINGS:
            r.mock.poke(1, LBA, noise(512 * COUNT))
            cpl = await say(
                spelling, r.qp, "write_zeroes", r.ns, LBA, COUNT, io_flags=IoFlags.PRACT, **protected.tags)  # fmt: skip
            assert code(cpl) == OK
            blocks, tuples = stored(r)
            assert blocks == bytes(512 * COUNT)
            pi.verify(fmt, blocks, tuples, **protected.first)


@spelled
@pytest.mark.parametrize("guard", [16, 64])
async def test_copy_from_another_namespace(spelling: str, guard: int) -> None:
    """With formats 2 and 3 the other namespace's blocks are checked by its tags, and get tags of their own place."""
    size, more = 1 << 20, guard // 4 if guard == 64 else 8
    config = NamespaceConfig(size=size, metadata=more, pi=1, guard=guard)
    async with rig(MockController(timeout=0.5, namespaces=[config] * 2, mssrl=7, mcl=9)) as r:
        source, fmt = r.ctrlr.namespaces[2], pi.Format.of(r.ns.data, r.ns.nvm)
        data = noise(512 * 20)
        with alloc(r, data) as out:
            await r.qp.write(source, out, 300, 20, io_flags=IoFlags.PRACT, app_tag=0x55)
        expected = {"source_app_tag": 0x55, "source_app_mask": 0xFFFF, "source_flags": CHECKS}
        keywords = {
            "format": 3 if guard == 64 else 2,
            "source_ns": source,
            "io_flags": IoFlags.PRACT,
            "app_tag": 0x66,
        }
        ranges = [(310, 10), (300, 10)]
        cpl = await say(spelling, r.qp, "copy", r.ns, ranges, LBA, **keywords, **expected)
        assert code(cpl) == OK
        blocks, tuples = r.mock.peek(1, LBA, 20), r.mock.peek_metadata(1, LBA, 20)
        assert blocks == data[5120:] + data[:5120]
        pi.verify(fmt, blocks, tuples, ref_tag=LBA, app_tag=0x66, app_mask=0xFFFF)
        wrong = expected | {"source_app_tag": 0x56}
        cpl = await say(spelling, r.qp, "copy", r.ns, ranges, 900, **keywords, **wrong)
        assert code(cpl) == StatusCode.APPLICATION_TAG_CHECK_ERROR
        assert r.mock.peek(1, 900, 20) == bytes(512 * 20)
