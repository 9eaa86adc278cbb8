"""Answers that are changed at random: the client works or ends in an error, in bounded time, and leaves nothing."""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aionvme.errors import NvmeError
from aionvme.pci.address import VfioUserAddress
from aionvme.pci.vfio_user.function import VfioUserFunction
from aionvme.pci.vfio_user.opening import open_vfio_user
from aionvme.tests.quick import examples
from aionvme.tests.unit.pci.recording import address_of, pages
from aionvme.tests.unit.pci.vfio_user.scripted import (
    CONFIG,
    DMA_READ,
    DMA_WRITE,
    GET_REGION_INFO,
    HEADER,
    IOVA,
    PAGE,
    Asked,
    Server,
    region_info,
)

# Seconds: a server that is silent is given up, and a whole example ends.
SILENCE, MOST = 0.05, 5.0
SETTINGS = settings(
    deadline=None, max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture]
)

edges = st.sampled_from([0, 1, 2, 3, 8, 15, 16, 17, 32, 48, 255, 4095, 4096, 2**31, 2**32 - 1])


@attrs.frozen
class Change:
    """What becomes of one answer.

    Attributes:
        cut: Bytes that are left of it, None for all.
        more: Bytes after it.
        at, patch: Bytes in the place of others.
        fds: Descriptors beside it that nobody asked for.
        before: Bytes of another message, before it.
        times: How often it is sent; 0 for a silent server.
    """

    cut: int | None = None
    more: bytes = b""
    at: int = 0
    patch: bytes = b""
    fds: int = 0
    before: bytes = b""
    times: int = 1

    def of(self, answer: bytes) -> bytes:
        """The answer, changed."""
        data = bytearray(answer)
        data[self.at : self.at + len(self.patch)] = self.patch
        data = data[: self.cut] if self.cut is not None else data
        return self.before + (bytes(data) + self.more) * self.times


def _message(number: int, command: int, size: int, flags: int, payload: bytes) -> bytes:
    return HEADER.pack(number, command, size & 0xFFFFFFFF, flags, 0) + payload


messages = st.builds(
    _message,
    st.integers(0, 0xFFFF) | st.sampled_from([1, 2, 0x8000]),
    st.integers(0, 20),
    edges | st.integers(16, 200),
    st.sampled_from([0, 1, 2, 0x10, 0x11, 0x21, 0xFFFFFFFF]),
    st.binary(max_size=64),
)
numbers = edges.map(lambda number: struct.pack("<I", number))
changes = st.one_of(
    st.none(),
    st.builds(Change, cut=st.integers(0, 64)),
    st.builds(Change, more=st.binary(min_size=1, max_size=40)),
    st.builds(Change, at=st.integers(0, 80), patch=numbers | st.binary(min_size=1, max_size=8)),
    st.builds(Change, fds=st.integers(1, 40)),
    st.builds(Change, before=messages),
    st.builds(Change, times=st.sampled_from([0, 2, 3])),
    st.builds(
        Change, cut=st.integers(0, 64), fds=st.integers(0, 3), before=messages, at=st.integers(0, 15), patch=numbers
    ),
)  # fmt: skip


@contextmanager
def _bounded() -> Iterator[None]:
    """Takes no longer than it may, and leaves no descriptor, thread or mapping."""
    before, begun = set(os.listdir("/proc/self/fd")), time.monotonic()
    threads = set(os.listdir("/proc/self/task"))
    yield
    assert time.monotonic() - begun < MOST
    assert set(os.listdir("/proc/self/fd")) <= before
    while not set(os.listdir("/proc/self/task")) <= threads:
        assert time.monotonic() - begun < MOST
    assert "memfd:doorbells" not in Path("/proc/self/maps").read_text()


def _use(function: VfioUserFunction, eventfd: int) -> None:
    """Some of everything; what a server can break ends in an error of ours or of the system's."""
    memory = pages(2)
    calls: list[Callable[[], object]] = [
        lambda: function.read32(0x1C),
        lambda: function.read64(0),
        lambda: function.write32(0x14, 1),
        lambda: function.write64(0x28, 1),
        lambda: function.write32(0x1000, 1),
        lambda: function.config_read(0, 256),
        lambda: function.set_error_eventfd(eventfd),
        lambda: function.set_irqs([eventfd] * min(function.num_irqs, 3)),
        lambda: function.map_dma(address_of(memory), 2 * PAGE, IOVA),
        lambda: function.read32(0x1C),
        lambda: function.map_bar(2, 0, PAGE),
        function.reset,
        lambda: function.set_bus_master(True),
        lambda: function.unmap_dma(IOVA, 2 * PAGE),
    ]
    for call in calls:
        with contextlib.suppress(NvmeError, OSError):
            call()


@given(st.lists(changes, max_size=40), st.booleans())
@SETTINGS
def test_changed_answers(plan: list[Change | None], mapped: bool) -> None:
    """Whatever becomes of the answers, there is an end to it, and nothing is left."""
    with _bounded(), tempfile.TemporaryDirectory() as folder:
        eventfd = os.eventfd(0, os.EFD_NONBLOCK)
        with Server(Path(folder), mapped=mapped) as server:
            left = iter(plan)

            def handle(asked: Asked) -> tuple[bytes, Sequence[int]]:
                usual = server.usual(asked)
                answer, fds = usual if isinstance(usual, tuple) else (usual, ())
                change = next(left, None)
                if change is None:
                    return answer, fds
                return change.of(answer), [*fds, *[server.doorbells] * change.fds]

            for command in range(1, 17):
                server.instead(command, handle)
            with contextlib.suppress(NvmeError):
                function = open_vfio_user(VfioUserAddress(str(server.path), timeout=SILENCE))
                _use(function, eventfd)
                function.close()
        os.close(eventfd)


big = st.one_of(
    st.integers(0, 20).map(lambda n: n * PAGE),
    st.integers(0, 2**64 - 1),
    edges,
    st.sampled_from([2**63, 2**64 - PAGE]),
)


@given(
    areas=st.lists(st.tuples(big, big), max_size=5),
    size=big,
    offset=st.just(0) | big,
    count=st.none() | edges,
    argsz=st.none() | edges,
    cap_offset=st.just(32) | edges,
    flags=st.just(0xF) | st.integers(0, 31),
    pages_of_file=st.integers(0, 20),
    fds=st.integers(0, 6),
)
@SETTINGS
def test_any_region(
    areas: list[tuple[int, int]], size: int, offset: int, count: int | None, argsz: int | None, cap_offset: int,
    flags: int, pages_of_file: int, fds: int,
) -> None:  # fmt: skip
    """Whatever a region is described as, what is mapped of it is there: every doorbell can be rung."""
    info = region_info(
        areas=areas, size=size, offset=offset, count=count, argsz=argsz, cap_offset=cap_offset, flags=flags
    )
    with _bounded(), tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        os.truncate(server.doorbells, pages_of_file * PAGE)

        def handle(asked: Asked) -> tuple[bytes, Sequence[int]] | bytes:
            if asked.payload[8] == CONFIG:
                return asked.answer(struct.pack("<IIIIQQ", 32, 3, CONFIG, 0, 256, 0))
            return asked.answer(info), [server.doorbells] * fds

        server.instead(GET_REGION_INFO, handle)
        server.instead(10, lambda asked: asked.answer(asked.payload[:16]))
        with contextlib.suppress(NvmeError):
            function = open_vfio_user(VfioUserAddress(str(server.path), timeout=SILENCE))
            for at in range(0x1000, min(function.bar_bytes, 24 * PAGE) - 3, PAGE // 2):
                function.write32(at & ~3, 1)
            function.close()


@given(
    st.lists(
        st.tuples(
            st.sampled_from([DMA_READ, DMA_WRITE]),
            st.integers(-8, 8),
            st.integers(0, 3),
            st.integers(0, 20) | big,
            st.binary(max_size=24),
        ),
        max_size=20,
    )
)
@SETTINGS
def test_any_request_for_memory(plan: list[tuple[int, int, int, int, bytes]]) -> None:
    """Whatever the server asks for, it gets what is mapped and nothing else, and changes nothing else."""
    with _bounded(), tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        memory = pages(5)
        model = bytearray(b"\xa5" * (5 * PAGE))
        memory[:] = bytes(model)
        function = open_vfio_user(server.address)
        # Pages 1 and 2 side by side, and 3 elsewhere; 0 and 4 are nobody's business.
        for page, iova in ((1, IOVA), (2, IOVA + PAGE), (3, IOVA + 4 * PAGE)):
            function.map_dma(address_of(memory) + page * PAGE, PAGE, iova)
        for number, (command, shift, page, count, data) in enumerate(plan):
            iova = (IOVA + page * PAGE + shift) & (2**64 - 1)
            payload = struct.pack("<QQ", iova, count) + (
                data[:count].ljust(min(count, 24)) if command == DMA_WRITE else b""
            )
            answer = server.ask(command, payload, number=number)
            inside = count > 0 and (
                (iova >= IOVA and iova + count <= IOVA + 2 * PAGE)
                or (iova >= IOVA + 4 * PAGE and iova + count <= IOVA + 5 * PAGE)
            )
            right = inside and (command == DMA_READ or len(payload) == 16 + count)
            assert (answer.header[3] == 1) == right
            at = iova - IOVA + PAGE if iova < IOVA + 4 * PAGE else iova - IOVA - PAGE
            if right and command == DMA_WRITE:
                model[at : at + count] = payload[16:]
            elif right:
                assert answer.payload[16:] == model[at : at + count]
        assert memory[:] == model
        function.close()
