"""What is one command or a pair, and never more or less of it: compares, bounced transfers, fused compare and write."""

from __future__ import annotations

import random
import struct

import pytest

from aionvme.errors import QueueFullError, UsageError
from aionvme.pci.backing import PAGE
from aionvme.tests.unit.pci.recording import address_of
from aionvme.tests.unit.qpair.device import device


def test_a_compare_is_not_split_by_its_segments() -> None:
    """Segments that take two commands are refused, or with bounce=True copied; a read of them is split."""
    with device(sgls=0) as dev:
        buf = dev.alloc(8 * PAGE)
        view = memoryview(buf)
        ns, iov = dev.namespace(), [view[512:1024], view[4096:4608]]
        assert len(dev.all_commands(dev.qp.submit_readv, ns, iov, 0, 2)) == 2
        with pytest.raises(UsageError, match="iov, at byte 512"):
            dev.qp.submit_comparev(ns, iov, 0, 2)
        assert dev.commands() == []
        assert len(dev.all_commands(dev.qp.submit_comparev, ns, iov, 0, 2, bounce=True)) == 1


def test_bounce_of_addresses_and_buckets() -> None:
    """Segments that nothing has to be held for are bounced like others: what is read goes where it was wanted."""
    with device(sgls=0) as dev:
        buf = dev.alloc(PAGE)
        iov = [(address_of(buf) + 3, 100), (None, 12), (address_of(buf) + 2000, 400)]
        dev.qp.submit_readv(dev.namespace(), iov, 0, 1, bounce=True)
        [sqe] = dev.commands()
        data = random.Random(1).randbytes(512)
        dev.iommu.store(struct.unpack_from("<Q", sqe, 24)[0], data)
        dev.complete(sqe)
        dev.qp.process_completions()
        assert bytes(buf)[3:103] == data[:100]
        assert bytes(buf)[2000:2400] == data[112:]
        assert bytes(buf).count(0) >= PAGE - 500 - 20


def test_half_a_fused_pair_is_never_posted() -> None:
    """With one slot free the pair waits, with when_full="error" it is refused; with two free both are posted."""
    with device(depth=3) as dev:
        ns, buf = dev.namespace(), dev.alloc(PAGE)
        for _ in range(2):
            dev.qp.submit_read(ns, buf, 0, 1)
        with pytest.raises(QueueFullError, match="slots"):
            dev.qp.submit_compare_and_write(ns, buf, buf, 0, 1, when_full="error")
        pair = dev.qp.submit_compare_and_write(ns, buf, buf, 0, 1)
        after = dev.qp.submit_read(ns, buf, 5, 1)
        first, second = dev.commands()
        assert pair.cid is None
        dev.complete(second)
        compare, write = dev.commands()
        assert (compare[0], compare[1], write[0], write[1]) == (5, 1, 1, 2)
        assert after.cid is None
        for sqe in (first, compare, write):
            dev.complete(sqe)
        [last] = dev.commands()
        dev.complete(last)
        dev.qp.process_completions()
        assert pair.done()
        assert after.done()


def test_a_cancelled_pair_that_waited_is_not_posted() -> None:
    """Taken out of the queue, neither half reaches the ring, and what waited behind it does."""
    with device(depth=2) as dev:
        ns, buf = dev.namespace(), dev.alloc(PAGE)
        dev.qp.submit_read(ns, buf, 0, 1)
        pair = dev.qp.submit_compare_and_write(ns, buf, buf, 0, 1)
        after = dev.qp.submit_read(ns, buf, 5, 1)
        [first] = dev.commands()
        assert pair.cancel()
        assert pair.cancelled()
        dev.complete(first)
        [sqe] = dev.commands()
        assert sqe[0] == 2
        dev.complete(sqe)
        dev.qp.process_completions()
        assert after.done()


def test_a_fused_pair_takes_the_bytes_of_any_memory() -> None:
    """Memory of wide items is taken by its bytes: the write's data is not the compare's."""
    with device() as dev:
        ns = dev.namespace()
        compare, write = dev.alloc(8 * PAGE), dev.alloc(8 * PAGE)
        first, second = dev.all_commands(
            dev.qp.submit_compare_and_write,
            ns,
            memoryview(compare).cast("Q"),
            memoryview(write).cast("Q"),
            0,
            2,
        )
        assert struct.unpack_from("<Q", first, 24) == (compare.iova,)
        assert struct.unpack_from("<Q", second, 24) == (write.iova,)
