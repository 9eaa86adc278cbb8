"""Messages cross a socket whole, however they are cut on the way, and their descriptors with them."""

from __future__ import annotations

import array
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aionvme.pci.vfio_user import wire
from aionvme.pci.vfio_user.channel import Channel, ChannelClosed
from aionvme.tests.quick import examples

Pair = tuple[Channel, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A channel, and the other end of its socket."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours, send_timeout=0.2, max_fds=4)
    yield channel, theirs
    channel.close()
    theirs.close()


def raw(number: int, payload: bytes, size: int | None = None) -> bytes:
    """A message as bytes."""
    return struct.pack("<HHIII", number, 9, 16 + len(payload) if size is None else size, 0, 0) + payload


@given(
    payloads=st.lists(st.binary(max_size=300), min_size=1, max_size=5),
    cuts=st.lists(st.integers(1, 60), min_size=1),
)
@settings(
    deadline=None, max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_pieces(pair: Pair, payloads: list[bytes], cuts: list[int]) -> None:
    """Messages that come in any pieces are received one by one."""
    channel, peer = pair
    data = b"".join(raw(number, payload) for number, payload in enumerate(payloads))

    def send() -> None:
        at, turn = 0, 0
        while at < len(data):
            size = cuts[turn % len(cuts)]
            peer.send(data[at : at + size])
            at, turn = at + size, turn + 1

    thread = threading.Thread(target=send)
    thread.start()
    for number, payload in enumerate(payloads):
        with channel.receive(time.monotonic() + 5) as message:
            assert (message.header.id, message.header.command, message.header.size) == (
                number,
                9,
                16 + len(payload),
            )
            assert (message.payload, message.fds) == (payload, [])
    thread.join()


def test_sent_as_they_are(pair: Pair) -> None:
    """What is sent is the header with its size, the payload, and the descriptors."""
    channel, peer = pair
    read, write = os.pipe()
    channel.send(wire.Header(id=1, command=2, flags=0x10, error=5), b"payload", [read, write])
    data, control, _, _ = peer.recvmsg(100, 100)
    assert data == struct.pack("<HHIII", 1, 2, 23, 0x10, 5) + b"payload"
    fds = array.array("i", control[0][2])
    assert [os.fstat(fd).st_ino for fd in fds] == [os.fstat(fd).st_ino for fd in (read, write)]
    for fd in (*fds, read, write):
        os.close(fd)


def test_descriptors_are_close_on_exec_and_closed(pair: Pair) -> None:
    """Descriptors belong to the message, which closes those that nobody took."""
    channel, peer = pair
    read, write = os.pipe()
    socket.send_fds(peer, [raw(1, b"x")], [read, write])
    with channel.receive() as message:
        fds = list(message.fds)
        assert not any(os.get_inheritable(fd) for fd in fds)
    for fd in fds:
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)
    socket.send_fds(peer, [raw(1, b"x")], [read])
    with channel.receive() as message:
        (kept,) = message.take_fds()
    for fd in (kept, read, write):
        os.close(fd)


def test_long_messages(pair: Pair) -> None:
    """A message that is longer than a socket's buffer is sent while the peer takes it, and is received whole."""
    channel, peer = pair
    other = Channel(peer)
    payload = bytes(range(256)) * 4096
    thread = threading.Thread(target=channel.send, args=[wire.Header(id=1, command=2), payload])
    thread.start()
    with other.receive(time.monotonic() + 5) as message:
        assert message.payload == payload
    thread.join()
    other.close()


def test_peer_that_takes_nothing(pair: Pair) -> None:
    """A peer that takes nothing off the socket is given up in the time that was set, and so is the connection."""
    channel, _ = pair
    begun = time.monotonic()
    with pytest.raises(ChannelClosed, match="timed out"):
        channel.send(wire.Header(id=1, command=2), bytes(1 << 20))
    assert 0.1 < time.monotonic() - begun < 3
    with pytest.raises(ChannelClosed):
        channel.send(wire.Header(id=1, command=2))


@pytest.mark.parametrize("data", [b"", b"short", raw(1, b"payload")[:-1]])
def test_end_in_the_middle(pair: Pair, data: bytes) -> None:
    """A connection that ends before a message does is said to have ended."""
    channel, peer = pair
    socket.send_fds(peer, [data], [0] if data else [])
    peer.shutdown(socket.SHUT_WR)
    with pytest.raises(ChannelClosed, match="the peer closed"):
        channel.receive()


@pytest.mark.parametrize("size", [0, 15, wire.MAX_MESSAGE + 1, 2**32 - 1])
def test_sizes_that_are_none(pair: Pair, size: int) -> None:
    """A header with an impossible size is no message."""
    channel, peer = pair
    peer.send(raw(1, b"", size))
    with pytest.raises(wire.MessageError, match=f"says that it has {size} bytes"):
        channel.receive()


@pytest.mark.parametrize("counts", [[5], [3, 2], [253]])
def test_too_many_descriptors(pair: Pair, counts: list[int]) -> None:
    """More descriptors than may come are no message, in one piece or in several; they are closed."""
    channel, peer = pair
    data = raw(1, b"x" * len(counts))
    for index, count in enumerate(counts):
        piece = data[: len(data) - len(counts) + 1] if index == 0 else b"x"
        socket.send_fds(peer, [piece], [0] * count)
    with pytest.raises(wire.MessageError, match="more descriptors"):
        channel.receive()


def test_deadline(pair: Pair) -> None:
    """A message that does not come in time is not waited for."""
    channel, peer = pair
    peer.send(b"part")
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        channel.receive(begun + 0.05)
    assert 0.04 < time.monotonic() - begun < 2


def test_shut_down_wakes(pair: Pair) -> None:
    """The thread that receives is woken by `shut_down` in another."""
    channel, _ = pair
    ended: list[Exception] = []

    def receive() -> None:
        try:
            channel.receive()
        except ChannelClosed as error:
            ended.append(error)

    thread = threading.Thread(target=receive)
    thread.start()
    channel.shut_down()
    thread.join(5)
    assert len(ended) == 1
    channel.close()
    assert channel.fileno() == -1
    channel.close()


def test_signals_are_seen_to(pair: Pair) -> None:
    """A signal's handler runs while a message is waited for, and what it raises is raised."""
    channel, _ = pair

    def handler(*_: object) -> None:
        raise InterruptedError("by the handler")

    before = signal.signal(signal.SIGUSR1, handler)
    timer = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGUSR1])
    timer.start()
    try:
        with pytest.raises(InterruptedError, match="by the handler"):
            channel.receive(time.monotonic() + 5)
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
