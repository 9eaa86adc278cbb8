"""Messages and queues as no client would send them: the mock refuses, or ends the connection, and serves the next.

The seeds are fixed, so that a run says the same each time; `AIONVME_FUZZ=n` has n times as many examples, of new seeds.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aionvme.tests.leaks import Census
from aionvme.tests.unit.mock.raw import IOVA, Pages
from aionvme.tests.unit.mock.serving.client import (
    DMA_MAP,
    DMA_UNMAP,
    GET_INFO,
    HEADER,
    IRQ_INFO,
    IRQ_SET,
    MAP,
    REGION,
    REGION_INFO,
    REGION_IO_FDS,
    REGION_READ,
    REGION_WRITE,
    SET_IRQS,
    UNMAP,
    WRITE_MULTI,
    Client,
    RemoteFunction,
    RemoteRaw,
    shared_memory,
)  # fmt: skip
from aionvme.tests.unit.mock.serving.conftest import Stage

PAGE = 4096
MORE = int(os.environ.get("AIONVME_FUZZ", "0"))
BOUNDED = settings(
    max_examples=60 * max(MORE, 1),
    derandomize=not MORE,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# Where something begins, ends, wraps or changes its sign.
EDGES = (
    0, 1, 2, 3, 4, 7, 8, 15, 16, 20, 24, 31, 32, 33, 64, 65, 255, 4095, 4096, 4097, 8192, 32767, 32768, 1 << 20,
    (1 << 20) + 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 4096, 1 << 63, (1 << 64) - 4096,
    (1 << 64) - 1, IOVA, IOVA + PAGE, IOVA - PAGE,
)  # fmt: skip


def number(bits: int) -> st.SearchStrategy[int]:
    """A field of so many bits."""
    mask = (1 << bits) - 1
    return st.sampled_from([edge & mask for edge in EDGES]) | st.integers(0, mask)


def packed(form: struct.Struct, *fields: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    """A structure of such fields."""
    return st.tuples(*fields).map(lambda values: form.pack(*values))


def questions(words: int) -> st.SearchStrategy[bytes]:
    """A structure of 32-bit fields whose first is argsz."""
    rest = [st.integers(0, 10) | number(32)] * (words - 1)
    return packed(struct.Struct(f"<{words}I"), st.sampled_from([4 * words, 4096]) | number(32), *rest)


REGIONS = st.sampled_from([0, 0, 0, 7, 7, 1, 8, 9]) | number(32)
ACCESS = packed(REGION, number(64), REGIONS, st.sampled_from([4, 8]) | number(32))
DATA = st.binary(max_size=16)
PAYLOADS: dict[int, st.SearchStrategy[bytes]] = {
    MAP: packed(
        DMA_MAP, st.just(32) | number(32), st.sampled_from([1, 2, 3]) | number(32), number(64), number(64), number(64),
    ),
    UNMAP: packed(DMA_UNMAP, st.just(24) | number(32), st.sampled_from([0, 0, 2]) | number(32), number(64), number(64)),
    GET_INFO: questions(4),
    REGION_INFO: questions(8),
    REGION_IO_FDS: questions(4),
    IRQ_INFO: questions(4),
    SET_IRQS: st.builds(
        bytes.__add__,
        packed(IRQ_SET, st.just(20) | number(32), st.integers(0, 63) | number(32), st.integers(0, 5) | number(32),
               number(32), st.integers(0, 4) | number(32)),
        DATA,
    ),
    REGION_READ: ACCESS,
    REGION_WRITE: st.builds(bytes.__add__, ACCESS, DATA) | st.builds(
        lambda offset, data: REGION.pack(offset, 0, len(data)) + data,
        st.sampled_from([0x14, 0x20, 0x24, 0x28, 0x30, 0x50, 0x1000, 0x1004, 0x1008]),
        st.binary(min_size=4, max_size=4),
    ),
    WRITE_MULTI: st.builds(bytes.__add__, packed(struct.Struct("<Q"), number(64)), st.binary(max_size=80)),
}  # fmt: skip

COMMANDS = st.sampled_from(sorted(PAYLOADS)) | st.integers(0, 20) | number(16)
# Mostly a command that wants an answer; and what a client has no reason to say.
FLAGS = st.sampled_from([0] * 8 + [0x10, 0x10, 1, 0x20, 0x21, 2, 0xF, 0xFFFFFFFF])
# By how much the header's size is wrong.
LIES = st.sampled_from([0] * 12 + [-1, 1, -16, 4096, -(1 << 20), (1 << 31) - 64])


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """One message, and the descriptors that come with it, by their kinds."""
    command = draw(COMMANDS)
    payload = draw(PAYLOADS.get(command, DATA) if draw(st.integers(0, 9)) else st.binary(max_size=48))
    size = max(0, HEADER.size + len(payload) + draw(LIES)) & 0xFFFFFFFF
    header = HEADER.pack(draw(number(16)), command, size, draw(FLAGS), draw(st.just(0) | number(32)))
    fds = draw(st.lists(st.sampled_from(["memory", "memory", "event", "pipe", "file"]), max_size=3))
    return header + payload, fds if draw(st.booleans()) else []


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A mock that serves one example after another."""
    stage = Stage(tmp_path_factory.mktemp("fuzz"), timeout=2.0, num_irqs=4)
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def kinds() -> Iterator[dict[str, int]]:
    """A descriptor of each kind."""
    reading, writing = os.pipe()
    memory, _ = shared_memory(16 * PAGE)
    file = os.open(__file__, os.O_RDONLY)
    yield {"memory": memory, "event": os.eventfd(0, os.EFD_NONBLOCK), "pipe": writing, "file": file}
    for fd in (reading, writing, memory, file):
        os.close(fd)


def assert_well(served: Stage) -> None:
    """The mock serves a client, as if nothing had been."""
    raw = served.raw()
    raw.enable()
    assert raw.identify(1)[1][24:36] == b"aionvme mock"
    raw.close()


def throw(
    served: Stage, client: Client, thrown: list[tuple[bytes, list[str]]], kinds: dict[str, int]
) -> None:
    """Sends them all, whatever is answered, and hangs up."""
    client.sock.settimeout(0.002)
    with contextlib.suppress(OSError):
        for data, fds in thrown:
            client.send_raw(data, [kinds[kind] for kind in fds])
    with contextlib.suppress(OSError):
        while client.sock.recv(1 << 16):
            pass
    client.close()
    served.forget(client)


@BOUNDED
@given(thrown=st.lists(messages(), min_size=1, max_size=12))
def test_messages(served: Stage, kinds: dict[str, int], thrown: list[tuple[bytes, list[str]]]) -> None:
    """Any messages after the version: no crash, no hang, and the next client is served."""
    client = served.negotiated()
    throw(served, client, thrown, kinds)
    assert_well(served)


@BOUNDED
@given(thrown=st.lists(messages(), min_size=1, max_size=8))
def test_messages_while_enabled(
    served: Stage, kinds: dict[str, int], thrown: list[tuple[bytes, list[str]]]
) -> None:
    """The same while a controller is at work in the client's memory."""
    raw = served.raw()
    raw.enable()
    queue = raw.create(1)
    for cid in range(8):
        queue.post(0x01, cid=cid, nsid=1, prp1=raw.page_iova, cdw12=7)
    queue.ring()
    throw(served, raw.function.client, thrown, kinds)
    assert_well(served)


@BOUNDED
@given(first=messages(), data=st.binary(max_size=64))
def test_first_messages(
    served: Stage, kinds: dict[str, int], first: tuple[bytes, list[str]], data: bytes
) -> None:
    """Anything in the place of the version, and bytes that are no message at all."""
    throw(served, served.client(), [first, (data, [])], kinds)
    assert_well(served)


def test_nothing_was_left(served: Stage, kinds: dict[str, int]) -> None:
    """After that, and some more of it, there are no more descriptors and threads than before."""
    assert_well(served)
    before = Census.take()

    @settings(BOUNDED, max_examples=40)
    @given(thrown=st.lists(messages(), min_size=1, max_size=12))
    def again(thrown: list[tuple[bytes, list[str]]]) -> None:
        throw(served, served.negotiated(), thrown, kinds)

    again()
    assert_well(served)
    served.settle()
    assert Census.take().more_than(before) == []


# -- queues --------------------------------------------------------------------------------------------------

ADDRESSES = st.sampled_from(
    [0, IOVA, IOVA + 8, IOVA + PAGE, IOVA + 6 * PAGE, IOVA + 8 * PAGE - 4, IOVA + 8 * PAGE, IOVA - PAGE,
     (1 << 64) - PAGE, 0x7000_0000]
) | number(64)  # fmt: skip
ENTRY = struct.Struct("<BBHIIIQQQIIIIII")
OPCODES = st.sampled_from([0, 1, 2, 4, 5, 8, 9, 0xC, 0xD, 0xE, 0x11, 0x15, 0x19]) | number(8)
WORDS = st.integers(0, 16) | number(32)
COMMAND = packed(
    ENTRY, OPCODES, st.sampled_from([0, 0, 0x40, 0x80, 1, 2]) | number(8), st.integers(0, 3),
    st.sampled_from([1, 1, 1, 2]) | number(32),
    WORDS, WORDS, ADDRESSES, ADDRESSES, ADDRESSES, WORDS, st.just(0) | number(32), WORDS, WORDS, WORDS, WORDS,
)  # fmt: skip
POINTERS = st.lists(ADDRESSES.flatmap(lambda a: st.sampled_from([a, a & ~0xFFF])), max_size=64)
GUARD = b"\x5a" * PAGE


@BOUNDED
@given(commands=st.lists(COMMAND, min_size=1, max_size=12), pointers=POINTERS, admin=st.booleans())
def test_commands(served: Stage, commands: list[bytes], pointers: list[int], admin: bool) -> None:
    """Any commands, with any lists: memory beside what is mapped stays as it is, and the mock goes on."""
    client = served.negotiated()
    fd, memory = shared_memory(32 * PAGE)
    # Eight pages for commands to name, between others of the same file that are not mapped; and the queues'.
    for page in (7, 16):
        memory[page * PAGE : (page + 1) * PAGE] = GUARD
    client.map(IOVA, 8 * PAGE, fd, 8 * PAGE)
    client.map(IOVA + (1 << 30), 14 * PAGE, fd, 17 * PAGE)
    os.close(fd)
    struct.pack_into(f"<{len(pointers)}Q", memory, 14 * PAGE, *pointers)

    pages = Pages(memory, IOVA + (1 << 30) - 17 * PAGE)
    pages.take(17)
    raw = RemoteRaw(served.mock, reached=(RemoteFunction(client), pages))
    raw.enable()
    queue = raw.admin if admin else raw.create(1)
    for entry in commands:
        at = queue.sq + 64 * queue.tail
        memory[at : at + 64] = entry
        queue.tail = (queue.tail + 1) % queue.entries
    queue.ring()
    # One that is well, behind them; and the controller may have come to its end before.
    deadline = 2000
    queue.post(0x06 if admin else 0, cid=99, nsid=0 if admin else 1, prp1=IOVA, cdw10=1)
    queue.ring()
    while deadline and not any(cqe.cid == 99 for cqe in queue.reap()):
        deadline -= 1
        if raw.function.read32(0x1C) & 2:
            break
    assert memory[7 * PAGE : 8 * PAGE] == memory[16 * PAGE : 17 * PAGE] == GUARD
    raw.close()
    served.forget(client)
    served.mock.power_cycle()  # Lockdown may have prohibited what the next client needs
    assert_well(served)
