"""The seam's own part: registers in a mapped BAR 0, and what a closed function says."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.errors import UsageError
from aionvme.pci.device import PciDevice
from aionvme.pci.function import Function

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 8192
NAME = "aionvme-test-bar"


class MemoryFunction(Function):
    """A function whose BAR 0 is a file in memory."""

    def __init__(self, nbytes: int = SIZE) -> None:
        super().__init__(PciDevice("mock:0"))
        self.fd = os.memfd_create(NAME)
        os.ftruncate(self.fd, nbytes)
        self._map_bar(self.fd, 0, nbytes)
        self.config = bytearray(64)

    def config_read(self, offset: int, nbytes: int) -> bytes:
        return bytes(self.config[offset : offset + nbytes])

    def config_write(self, offset: int, data: bytes) -> None:
        self.config[offset : offset + len(data)] = data


@pytest.fixture
def function() -> Iterator[MemoryFunction]:
    """A function with a BAR of two pages; its file is closed afterwards."""
    function = MemoryFunction()
    yield function
    function.close()
    os.close(function.fd)


def mappings() -> int:
    """How many times a BAR of these tests is mapped in this process."""
    return Path("/proc/self/maps").read_text().count(NAME)


@given(st.integers(0, SIZE // 8 - 1), st.integers(0, 2**64 - 1))
def test_registers_are_little_endian_memory(index: int, value: int) -> None:
    """A value that is written is in the BAR at its offset, and reads back in one piece and in halves."""
    function = MemoryFunction()
    try:
        function.write64(index * 8, value)
        assert os.pread(function.fd, 8, index * 8) == value.to_bytes(8, "little")
        assert function.read64(index * 8) == value
        halves = function.read32(index * 8), function.read32(index * 8 + 4)
        assert halves == (value & 0xFFFFFFFF, value >> 32)
        function.write32(index * 8 + 4, 0xA5A5A5A5)
        assert function.read64(index * 8) == value & 0xFFFFFFFF | 0xA5A5A5A5 << 32
    finally:
        function.close()
        os.close(function.fd)


def test_all_ones_are_a_value(function: MemoryFunction) -> None:
    """What an unplugged device reads as is read, and is no error by itself."""
    function.write64(0, 2**64 - 1)
    assert function.read64(0) == 2**64 - 1
    assert function.read32(4) == 2**32 - 1


@pytest.mark.parametrize("offset", [1, 2, 3, SIZE - 3, SIZE, SIZE + 4, 1 << 40])
def test_bad_offsets_of_32_bits(function: MemoryFunction, offset: int) -> None:
    """An offset that is not aligned, or not in the BAR, never becomes an access."""
    with pytest.raises(UsageError, match="outside BAR 0"):
        function.read32(offset)
    with pytest.raises(UsageError, match="outside BAR 0"):
        function.write32(offset, 0)


@pytest.mark.parametrize("offset", [4, SIZE - 4, SIZE])
def test_bad_offsets_of_64_bits(function: MemoryFunction, offset: int) -> None:
    """Eight bytes want eight bytes of alignment and room."""
    with pytest.raises(UsageError, match="outside BAR 0"):
        function.read64(offset)
    with pytest.raises(UsageError, match="outside BAR 0"):
        function.write64(offset, 0)


def test_values_that_do_not_fit(function: MemoryFunction) -> None:
    """A register takes unsigned numbers of its width, and the offset is no negative number."""
    for value in (-1, 2**32):
        with pytest.raises(OverflowError):
            function.write32(0, value)
    with pytest.raises(OverflowError):
        function.write64(0, 2**64)
    with pytest.raises(OverflowError):
        function.read32(-4)


def test_close_unmaps_once() -> None:
    """After the first close the BAR is not mapped and no register can be touched; a second does no harm."""
    before = mappings()
    function = MemoryFunction()
    assert mappings() == before + 1
    assert not function.closed
    function.close()
    function.close()
    os.close(function.fd)
    assert (function.closed, mappings()) == (True, before)
    with pytest.raises(UsageError, match="the function of mock:0 is closed"):
        function.read32(0)
    with pytest.raises(UsageError, match="is closed"):
        function.write64(0, 1)


def test_a_forgotten_function_is_unmapped() -> None:
    """The BAR goes with the object."""
    before = mappings()
    function = MemoryFunction()
    os.close(function.fd)
    del function
    assert mappings() == before


def test_a_bar_that_cannot_be_mapped_is_the_kernels_error() -> None:
    """A bad descriptor, or no length, is an OSError, and nothing is mapped."""
    function = Function(PciDevice("mock:0"))
    with pytest.raises(OSError) as error:
        function._map_bar(-1, 0, SIZE)
    assert error.value.errno == errno.EBADF
    with pytest.raises(UsageError):
        function.read32(0)


def test_bus_mastering_is_one_bit(function: MemoryFunction) -> None:
    """Bit 2 of the command register; memory space (bit 1) comes with it and stays."""
    function.config[4:6] = b"\x01\x04"
    function.set_bus_master(True)
    assert function.config[4:6] == b"\x07\x04"
    function.set_bus_master(False)
    assert function.config[4:6] == b"\x03\x04"


def test_the_rest_of_the_seam_is_the_subclasses() -> None:
    """The base class has no device: what a subclass leaves out says so."""
    function = Function(PciDevice("mock:0"))
    for call in (
        lambda: function.config_read(0, 4),
        lambda: function.config_write(4, b"ab"),
        function.iova_ranges,
        lambda: function.map_dma(0, 4096, 4096),
        lambda: function.unmap_dma(4096, 4096),
        lambda: function.num_irqs,
        lambda: function.set_irqs([]),
        function.reset,
    ):
        with pytest.raises(NotImplementedError):
            call()
