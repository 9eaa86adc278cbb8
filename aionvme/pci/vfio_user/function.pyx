# cython: language_level=3, boundscheck=False, wraparound=False
"""Owns `VfioUserFunction`: a controller that another process serves by vfio-user, behind the seam.

Registers go by message, each a round trip to the server. A doorbell is a store where the server shares its page, else a
message that is not waited for. When the connection has ended, registers and configuration space read as all ones,
writes go nowhere, and what else is asked for raises `ControllerLostError`.
"""

import errno
import os
import struct
import warnings
from functools import partial

import attrs

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from aionvme.errors import AddressError, ControllerLostError, UsageError
from aionvme.pci import abi
from aionvme.pci.backing import PAGE, DoorbellFile
from aionvme.pci.function cimport Function
from aionvme.pci.memory cimport fork_count
from aionvme.pci.mmio cimport aio_mmio_read32, aio_mmio_write32
from aionvme.pci.vfio_user.link cimport Link

__all__ = ["VfioUserFunction"]

cdef enum:
    BAR0 = 0
    # The registers come before, whose writes have effects (NVMe over PCIe 1.0, 3.1.2; Base 2.0, 3.1.3).
    DOORBELLS = 0x1000

# Memory for DMA is mapped in few large pieces, as each costs the server a mapping; but not so large that the loop waits
# for long while the kernel clears one.
_ARENA = 8 << 20

# What is left of 48 bits where the MSI window is (Intel SDM 3A, 11.11.1): a server that models the bus of a PC takes a
# write there for an interrupt.
_IOVA_RANGES = [(0, 0xFEDFFFFF), (0xFEF00000, (1 << 48) - 1)]

# PCI 3.0, 6.1 and 6.7 (linux/pci_regs.h).
_COMMAND, _COMMAND_MEMORY, _COMMAND_MASTER = 0x04, 0x2, 0x4
_STATUS, _STATUS_CAPABILITIES, _FIRST_CAPABILITY = 0x06, 0x10, 0x34
_MSI, _MSI_ENABLE = 0x05, 0x1
_MSIX, _MSIX_ENABLE, _MSIX_MASK_ALL = 0x11, 0x8000, 0x4000


cdef class VfioUserFunction(Function):
    """The function of a vfio-user server. Made by `open_vfio_user`.

    Args:
        pci_dev: Which one it is, as far as that is known before it is opened.
        client: The connection, which is closed when this raises.

    Raises:
        AddressError: The server has no NVMe controller.
        ControllerLostError: The connection ended.
        OSError: The server refused.
    """

    cdef Link _link
    cdef object _client
    cdef uint64_t _bar_bytes
    cdef object _config_bytes
    cdef dict _mapped
    cdef bint _can_reset
    cdef object _irq_index
    cdef object _num_irqs
    cdef bint _irqs_at_once
    cdef object _msi                # where the capability of the interrupts is, and its bits
    cdef bint _irqs_on
    cdef list _kinds                # indexes of the interrupts that there are notices of
    cdef long _forks
    cdef object __weakref__

    def __init__(self, pci_dev, client):
        super().__init__(pci_dev)
        self._client, self._link = client, client.link
        self._forks = fork_count()
        self._mapped, self._kinds = {}, []
        self._num_irqs = self._config_bytes = 0
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def __del__(self):
        if not self._closed and self._link is not None:
            if self._forks == fork_count():
                warnings.warn(f"{self!r} was not closed", ResourceWarning, stacklevel=2, source=self)
            self.close()

    def _start(self):
        info = self._client.device_info()
        if not info.flags & abi.VFIO_DEVICE_FLAGS_PCI or info.num_regions <= abi.VFIO_PCI_CONFIG_REGION_INDEX:
            raise AddressError(f"{self.pci_dev}: the server has no PCI function: serve an NVMe controller there")
        self._can_reset = bool(info.flags & abi.VFIO_DEVICE_FLAGS_RESET)
        with self._client.region(abi.VFIO_PCI_CONFIG_REGION_INDEX) as config:
            self._config_bytes = config.size
        self._identify()
        with self._client.region(BAR0) as bar:
            self._take_registers(bar)
        self._find_irqs(info.num_irqs)
        # As after VFIO: registers answer, and what was there before reaches no memory.
        command = int.from_bytes(self.config_read(_COMMAND, 2), "little")
        self._write_command(command & ~_COMMAND_MASTER | _COMMAND_MEMORY)
        if self._link.ended():
            raise self._link.lost()

    def _identify(self):
        if self._config_bytes < 64:
            raise AddressError(f"{self.pci_dev}: the server has {self._config_bytes} bytes of configuration space")
        head = self.config_read(0, 64)
        if self._link.ended():
            raise self._link.lost()
        vendor, device, class_and_revision, subvendor, subdevice = struct.unpack_from("<HH4xI32xHH", head)
        self.pci_dev = attrs.evolve(
            self.pci_dev, vendor_id=vendor, device_id=device, revision=class_and_revision & 0xFF,
            class_code=class_and_revision >> 8, subvendor_id=subvendor, subdevice_id=subdevice)
        if not self.pci_dev.is_nvme:
            raise AddressError(
                f"{self.pci_dev}: the server has no NVMe controller but a device of class "
                f"{self.pci_dev.class_code:06x}")

    def _take_registers(self, bar):
        both = abi.VFIO_REGION_INFO_FLAG_READ | abi.VFIO_REGION_INFO_FLAG_WRITE
        if bar.size <= DOORBELLS or bar.flags & both != both:
            raise AddressError(f"{self.pci_dev}: the server's BAR 0 ({bar.size} bytes) has no registers to be used")
        self._bar_bytes = bar.size
        for area in bar.areas:
            if area.start + area.size > DOORBELLS:
                self._map_more(area.fd, area.offset, area.size, area.start, DOORBELLS)

    # -- registers -----------------------------------------------------------------------------------------------------

    @property
    def loss(self):
        """Why the connection ended, None while it has not."""
        return self._link.loss

    @property
    def bar_bytes(self):
        """Bytes of BAR 0."""
        return self._bar_bytes

    @property
    def doorbells_mapped(self):
        """Whether the first doorbells are memory that the server shares."""
        return self.doorbell(DOORBELLS) != NULL

    def doorbell_files(self):
        """Files by which another process maps the doorbells, as far as the server shares them."""
        self._check_open()
        with self._client.region(BAR0) as bar:
            return [DoorbellFile(os.dup(area.fd), area.offset, area.start, area.size)
                    for area in bar.areas if area.start + area.size > DOORBELLS]

    cdef int _check(self, size_t offset, size_t width) except -1:
        self._check_open()
        if offset % width or offset > self._bar_bytes or width > self._bar_bytes - offset:
            raise UsageError(
                f"register offset {offset:#x} of {width} bytes is outside BAR 0 ({self._bar_bytes:#x} bytes), "
                "or not aligned")
        return 0

    cpdef uint32_t read32(self, size_t offset) except? 0xFFFFFFFF:
        """Reads a 32-bit register; all ones once the connection has ended.

        Raises:
            OSError: The server refused.
        """
        cdef uint32_t value = 0
        cdef volatile uint8_t *mapped
        self._check(offset, 4)
        mapped = self.doorbell(offset)
        if mapped != NULL:
            return aio_mmio_read32(mapped)
        return value if self._link.access(False, BAR0, offset, 4, &value) else 0xFFFFFFFF

    cpdef uint64_t read64(self, size_t offset) except? 0xFFFFFFFF:
        """Reads a 64-bit register in one message; all ones once the connection has ended.

        Raises:
            OSError: The server refused.
        """
        cdef uint64_t value = 0
        self._check(offset, 8)
        return value if self._link.access(False, BAR0, offset, 8, &value) else 0xFFFFFFFFFFFFFFFF

    cpdef int write32(self, size_t offset, uint32_t value) except -1:
        """Writes a 32-bit register. The server has acted on it when this returns, unless it is a doorbell.

        Raises:
            OSError: The server refused. A doorbell that it refuses ends the connection.
        """
        cdef volatile uint8_t *mapped
        self._check(offset, 4)
        if offset < DOORBELLS:
            self._link.access(True, BAR0, offset, 4, &value)
            return 0
        mapped = self.doorbell(offset)
        if mapped != NULL:
            aio_mmio_write32(mapped, value)
            return 0
        return self._link.post32(BAR0, offset, value)

    cpdef int write64(self, size_t offset, uint64_t value) except -1:
        """Writes a 64-bit register in one message.

        Raises:
            OSError: The server refused.
        """
        self._check(offset, 8)
        self._link.access(True, BAR0, offset, 8, &value)
        return 0

    def map_bar(self, index, size_t offset, size_t nbytes):
        """A part of a BAR as memory: its address. It stays mapped until the function is closed.

        Raises:
            UsageError: There is no such part, or the server does not share it.
            OSError: The kernel refused.
            ControllerLostError: The connection has ended.
        """
        self._check_open()
        if 0 <= index <= 5:
            with self._client.region(abi.VFIO_PCI_BAR0_REGION_INDEX + index) as bar:
                for area in bar.areas:
                    if area.start <= offset and offset + nbytes <= area.start + area.size:
                        return self._map_more(area.fd, area.offset, area.size) + (offset - area.start)
        raise UsageError(f"{nbytes:#x} bytes at {offset:#x} of BAR {index} of {self.pci_dev} are not shared")

    # -- configuration space -------------------------------------------------------------------------------------------

    def config_read(self, offset: int, nbytes: int) -> bytes:
        """Reads PCI configuration space; all ones once the connection has ended.

        Raises:
            UsageError: Closed, or not within the space.
            OSError: The server refused.
        """
        self._check_config(offset, nbytes)
        data = self._link.read_region(abi.VFIO_PCI_CONFIG_REGION_INDEX, offset, nbytes) if nbytes else b""
        return b"\xff" * nbytes if data is None else data

    def config_write(self, offset: int, data: bytes) -> None:
        """Writes PCI configuration space.

        Raises:
            UsageError: Closed, or not within the space.
            OSError: The server refused.
        """
        self._check_config(offset, len(data))
        if data:
            self._link.write_region(abi.VFIO_PCI_CONFIG_REGION_INDEX, offset, data)

    def _check_config(self, offset, nbytes):
        self._check_open()
        if offset < 0 or nbytes < 0 or offset + nbytes > min(self._config_bytes, 4096):
            raise UsageError(
                f"{nbytes} bytes at {offset:#x} are not within {self._config_bytes} of configuration space")

    def _write_command(self, command):
        self.config_write(_COMMAND, command.to_bytes(2, "little"))

    def _find_capability(self, wanted):
        # Where a capability of configuration space is; None for none. A chain may be a circle.
        if not int.from_bytes(self.config_read(_STATUS, 2), "little") & _STATUS_CAPABILITIES:
            return None
        at, seen = self.config_read(_FIRST_CAPABILITY, 1)[0] & ~3, set()
        while 0x40 <= at <= 0xFC and at not in seen:
            seen.add(at)
            identifier, following = self.config_read(at, 2)
            if identifier == wanted:
                return at
            at = following & ~3
        return None

    cdef int _check_open(self) except -1:
        if self._closed:
            raise UsageError(f"the function of {self.pci_dev} is closed")
        return self._link.check_here()

    # -- memory --------------------------------------------------------------------------------------------------------

    @property
    def arena_size(self):
        """Bytes of memory that are mapped at a time."""
        return _ARENA

    def iova_ranges(self) -> list:
        """48 bits, less the window of message signalled interrupts."""
        return list(_IOVA_RANGES)

    def map_dma(self, address: int, nbytes: int, iova: int, *, fd: int = -1, offset: int = 0) -> None:
        """Lets the server read and write this memory at `iova`: by its file, or where there is none by message.

        Args:
            address: Page-aligned address in this process.
            nbytes: Whole pages.
            iova: Page-aligned, within `iova_ranges()`.
            fd, offset: The file that backs the memory, and where in it that begins.

        Raises:
            AddressError: The server takes no more mappings.
            UsageError: Closed, or the server does not map such pages.
            OSError: The server refused.
            ControllerLostError: The connection has ended.
        """
        self._check_open()
        server = self._client.server
        unit = server.pgsizes & -server.pgsizes
        if nbytes <= 0 or (nbytes | iova | offset) % max(unit, PAGE) or address % PAGE:
            raise UsageError(
                f"{self.pci_dev}: the server maps pages of {max(unit, PAGE)} bytes, and {nbytes:#x} bytes at iova "
                f"{iova:#x} are not such")
        if not any(first <= iova and iova + nbytes - 1 <= last for first, last in _IOVA_RANGES):
            raise UsageError(f"iova {iova:#x} with {nbytes:#x} bytes is not within iova_ranges()")
        if len(self._mapped) >= server.max_dma_maps:
            raise AddressError(
                f"{self.pci_dev}: the server takes {server.max_dma_maps} mappings of memory and no more: use fewer, "
                "larger buffers")
        self._link.windows.open(iova, nbytes, address)
        try:
            self._client.map_dma(iova, nbytes, fd, offset)
        except BaseException:
            self._link.windows.close(iova)
            raise
        self._mapped[iova] = nbytes

    def unmap_dma(self, iova: int, nbytes: int) -> None:
        """Takes back what one `map_dma` gave. When it returns the server has let go of the memory.

        Once the connection has ended nobody is asked. A server that lives on may then have the memory's file mapped
        still; it is that of arenas alone, which are not handed out again, and go when their last buffer does.

        Raises:
            UsageError: Closed, or not what one `map_dma` gave.
            OSError: The server refused.
        """
        self._check_open()
        if self._mapped.get(iova) != nbytes:
            raise UsageError(f"{nbytes} bytes at I/O address {iova:#x} are not what was mapped there")
        try:
            if not self._link.ended():
                self._client.unmap_dma(iova, nbytes)
        except ControllerLostError:
            pass
        self._link.windows.close(iova)
        del self._mapped[iova]

    # -- interrupts ----------------------------------------------------------------------------------------------------

    def _find_irqs(self, kinds):
        # MSI only where there is no MSI-X, as for VFIO.
        for index, identifier, on, off in (
            (abi.VFIO_PCI_MSIX_IRQ_INDEX, _MSIX, _MSIX_ENABLE, _MSIX_ENABLE | _MSIX_MASK_ALL),
            (abi.VFIO_PCI_MSI_IRQ_INDEX, _MSI, _MSI_ENABLE, _MSI_ENABLE),
        ):
            self._num_irqs, self._irqs_at_once = self._client.irqs(index) if index < kinds else (0, False)
            if self._num_irqs:
                at = self._find_capability(identifier)
                self._irq_index, self._msi = index, None if at is None else (at + 2, on, off)
                break
        self._kinds = [
            index for index in (abi.VFIO_PCI_ERR_IRQ_INDEX, abi.VFIO_PCI_REQ_IRQ_INDEX)
            if index < kinds and self._client.irqs(index)[0]
        ]

    @property
    def num_irqs(self) -> int:
        """How many MSI-X vectors there are (MSI, if it has no MSI-X); 0 for none."""
        return self._num_irqs

    def set_irqs(self, fds: list) -> None:
        """Has vector i signal the eventfd `fds[i]`; -1 leaves one out, an empty list switches all off.

        Raises:
            UsageError: Closed, or there are fewer vectors.
            OSError: The server refused; then all are off.
            ControllerLostError: The connection has ended.
        """
        self._check_open()
        if len(fds) > self._num_irqs:
            raise UsageError(f"{len(fds)} interrupts were asked for, {self.pci_dev} has {self._num_irqs}")
        if self._irqs_at_once and len(fds) > self._client.server.max_msg_fds:
            raise OSError(
                errno.ENOSPC, f"only {self._client.server.max_msg_fds} interrupt vectors can be set up at once")
        if self._irqs_on:
            self._enable_msi(False)
            self._client.irqs_off(self._irq_index)
            self._irqs_on = False
        if not fds:
            return
        try:
            self._client.irqs_on(self._irq_index, fds)
        except OSError:
            self._client.irqs_off(self._irq_index)
            raise
        self._irqs_on = True
        self._enable_msi(True)

    def _enable_msi(self, on):
        # With VFIO the kernel does this; here nobody else is there to do it.
        if self._msi is None:
            return
        at, set_on, clear = self._msi
        control = int.from_bytes(self.config_read(at, 2), "little") & ~clear
        self.config_write(at, (control | set_on if on else control).to_bytes(2, "little"))

    def set_removal_eventfd(self, fd: int | None) -> None:
        """Has this eventfd signalled when the server wants the function back.

        Raises:
            UsageError: Closed.
            OSError: The server has no such notice (EINVAL), or refused.
            ControllerLostError: The connection has ended.
        """
        self._check_open()
        if abi.VFIO_PCI_REQ_IRQ_INDEX not in self._kinds:
            raise OSError(errno.EINVAL, f"{self.pci_dev}: the server gives no notice of a removal")
        self._set_notice(abi.VFIO_PCI_REQ_IRQ_INDEX, fd)

    def set_error_eventfd(self, fd: int | None) -> None:
        """Has this eventfd signalled when the connection ends, or the server tells of an error of the function.

        Raises:
            UsageError: Closed.
            OSError: The server refused.
            ControllerLostError: The connection has ended.
        """
        self._check_open()
        self._link.set_notice(-1 if fd is None else fd)
        if abi.VFIO_PCI_ERR_IRQ_INDEX in self._kinds and not self._link.ended():
            self._set_notice(abi.VFIO_PCI_ERR_IRQ_INDEX, fd)

    def _set_notice(self, index, fd):
        if fd is None:
            self._client.irqs_off(index)
        else:
            self._client.irqs_on(index, [fd])

    # -- reset and close -----------------------------------------------------------------------------------------------

    @property
    def can_reset(self) -> bool:
        """Whether the server can reset the device (VFIO_DEVICE_FLAGS_RESET)."""
        return bool(self._can_reset)

    def reset(self) -> None:
        """Resets the function. Mappings and interrupts stay; bus mastering and memory space are as before.

        Raises:
            UsageError: Closed.
            OSError: EOPNOTSUPP if the function has no reset of its own; else the server refused.
            ControllerLostError: The connection has ended.
        """
        self._check_open()
        if not self._can_reset:
            raise OSError(errno.EOPNOTSUPP, f"{self.pci_dev} has no reset of its own")
        command = self.config_read(_COMMAND, 2)
        self._client.reset()
        self.config_write(_COMMAND, command)
        if self._irqs_on:
            self._enable_msi(True)

    def close(self) -> None:
        """Gives the function back, without interrupts, bus mastering and mappings, and ends the connection.

        May be called twice, and in a forked child, where it only closes.
        """
        if self._closed:
            return
        if self._forks == fork_count():
            self._quiesce()
        Function.close(self)
        self._link.close()
        self._mapped.clear()

    def _quiesce(self):
        # Each step is tried: a server may refuse some, or go in the middle.
        self._link.set_notice(-1)
        steps = [partial(self._client.irqs_off, index) for index in self._kinds]
        if self._num_irqs:
            steps.append(partial(self.set_irqs, []))
        if self._config_bytes:
            steps.append(partial(self.set_bus_master, False))
        steps += [partial(self.unmap_dma, iova, nbytes) for iova, nbytes in self._mapped.items()]
        for step in steps:
            if self._link.ended():
                return
            try:
                step()
            except (OSError, ControllerLostError, UsageError):
                continue
