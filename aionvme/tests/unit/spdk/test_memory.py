"""Memory that is of no controller: its size, place and end."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aionvme import UsageError, spdk
from aionvme.spdk.memory import REGISTRY, place_of

ALLOCATE: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
    (spdk.spdk_zmalloc, spdk.spdk_free),
    (spdk.spdk_malloc, spdk.spdk_free),
    (spdk.spdk_dma_zmalloc, spdk.spdk_dma_free),
    (spdk.spdk_dma_malloc, spdk.spdk_dma_free),
]


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Any:
    """A test frees what it allocates."""
    before = list(REGISTRY._addresses)
    yield
    assert REGISTRY._addresses == before


@pytest.mark.parametrize(("allocate", "free"), ALLOCATE)
@pytest.mark.parametrize("align", [0, 64, 4096, 1 << 16])
def test_memory(allocate: Callable[..., Any], free: Callable[..., Any], align: int) -> None:
    """It is zero, writable, as long as was asked for, and begins where it has to."""
    buf = allocate(5000, align, None)
    assert bytes(buf) == bytes(5000)
    buf[-3:] = b"end"
    assert np.frombuffer(buf, np.uint8).ctypes.data % (align or 1) == 0
    free(buf)


@pytest.mark.parametrize(("size", "align"), [(0, 0), (-1, 0), (512, 3), (512, -4), (1 << 62, 0)])
def test_memory_that_cannot_be(size: int, align: int) -> None:
    """It is None, as in C."""
    assert spdk.spdk_zmalloc(size, align, None, spdk.SPDK_ENV_NUMA_ID_ANY, spdk.SPDK_MALLOC_DMA) is None


def test_free() -> None:
    """None is nothing; a part, a second time, and other memory are errors that free nothing."""
    spdk.spdk_free(None)
    buf = spdk.spdk_zmalloc(8192, 0)
    assert buf is not None
    for wrong in (buf[1:], memoryview(bytearray(8))):
        with pytest.raises(UsageError, match="spdk_free"):
            spdk.spdk_free(wrong)
    spdk.spdk_free(buf)
    with pytest.raises(UsageError, match="freed before"):
        spdk.spdk_free(buf)
    buf[:3] = b"abc"  # a view of it stays what it was


def test_memory_of_the_callers() -> None:
    """It is registered once, and unregistered as it was registered."""
    mine = bytearray(8192)
    assert spdk.spdk_mem_register(mine, 8193) == -errno.EINVAL
    assert spdk.spdk_mem_register(mine, 0) == -errno.EINVAL
    assert spdk.spdk_mem_register(mine, 4096) == 0
    assert spdk.spdk_mem_register(memoryview(mine)[1024:], 1024) == -errno.EINVAL
    assert spdk.spdk_mem_register(mine, 8192) == -errno.EINVAL
    assert spdk.spdk_mem_unregister(mine, 8192) == -errno.EINVAL
    assert spdk.spdk_mem_unregister(memoryview(mine)[1:], 4096) == -errno.EINVAL
    assert spdk.spdk_mem_unregister(mine, 4096) == 0
    assert spdk.spdk_mem_unregister(mine, 4096) == -errno.EINVAL
    mine += b"grows again"  # nothing holds it any more


def test_place() -> None:
    """A buffer and an address with a length have a place; a bit bucket and an empty buffer have none."""
    array = np.zeros(16, np.uint32)
    assert place_of(array) == (array.ctypes.data, 64)
    assert place_of((0x1000, 5)) == (0x1000, 5)
    assert place_of((None, 5)) is None
    assert place_of(b"") is None


def test_lookup() -> None:
    """Memory is found by any address in it, and by none beside it."""
    buf = spdk.spdk_zmalloc(4096, 0)
    other = spdk.spdk_zmalloc(4096, 0)
    assert buf is not None and other is not None
    address = np.frombuffer(buf, np.uint8).ctypes.data
    for offset in (0, 1, 4095):
        memory = REGISTRY._find(address + offset)
        assert memory is not None and memory.address == address
    spdk.spdk_free(buf)
    assert REGISTRY._find(address + 1) is None
    spdk.spdk_free(other)
