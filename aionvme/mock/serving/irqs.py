"""Owns the eventfds by which a client learns of interrupts: those of MSI-X, and the notices of VFIO."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aionvme.pci import abi

if TYPE_CHECKING:
    from aionvme.mock.function import MockFunction
    from aionvme.mock.machine import Machine

__all__ = ["Irqs"]

#: Kinds of interrupts that VFIO has for a PCI function (linux/vfio.h, VFIO_PCI_NUM_IRQS).
NUM_KINDS = 5


class Irqs:
    """What each kind has: 0 of INTx and MSI, the vectors of MSI-X, one notice each of an error and of removal.

    All descriptors that are given become its own.
    """

    def __init__(self, function: MockFunction, machine: Machine) -> None:
        self._function = function
        self._machine = machine
        self._fds = {kind: [-1] * self.count(kind) for kind in range(NUM_KINDS)}

    def count(self, kind: int) -> int:
        """How many interrupts there are of a kind."""
        if kind == abi.VFIO_PCI_MSIX_IRQ_INDEX:
            return self._function.num_irqs
        return int(kind in (abi.VFIO_PCI_ERR_IRQ_INDEX, abi.VFIO_PCI_REQ_IRQ_INDEX))

    def set(self, kind: int, start: int, fds: Sequence[int]) -> None:
        """Has interrupts `start` and on of a kind signal these eventfds; -1 for none.

        Raises:
            OSError: EINVAL: one is no eventfd. None of them is closed then.
        """
        for fd in fds:
            if fd >= 0 and not _is_eventfd(fd):
                raise OSError(errno.EINVAL, "an interrupt's descriptor is no eventfd")
        mine = self._fds[kind]
        before, mine[start : start + len(fds)] = mine[start : start + len(fds)], fds
        if kind == abi.VFIO_PCI_MSIX_IRQ_INDEX:
            with self._machine:
                self._machine.set_irqs(mine)
        elif kind == abi.VFIO_PCI_REQ_IRQ_INDEX:
            self._function.set_removal_eventfd(mine[0] if mine[0] >= 0 else None)
        else:
            self._function.set_error_eventfd(mine[0] if mine[0] >= 0 else None)
        _close(before)

    def trigger(self, kind: int, which: Sequence[int]) -> None:
        """Signals interrupts of a kind, where they have an eventfd."""
        for index in which:
            fd = self._fds[kind][index]
            if fd >= 0 and _takes(fd):
                os.eventfd_write(fd, 1)

    def unblock(self) -> None:
        """A client may have filled its eventfds so that whoever signals one waits: nobody does afterwards.

        What is in others is the client's to read: it may signal itself by the same eventfd that its connection ended.
        """
        for fds in self._fds.values():
            for fd in fds:
                if fd >= 0 and not _takes(fd):
                    _drain(fd)

    def clear(self) -> None:
        """Takes all of them back."""
        for kind, fds in self._fds.items():
            if any(fd >= 0 for fd in fds):
                self.set(kind, 0, [-1] * len(fds))


def _is_eventfd(fd: int) -> bool:
    return os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[eventfd]"


def _takes(fd: int) -> bool:
    """Whether a write to an eventfd would not wait; one that holds all it can is in error (POLLERR)."""
    poller = select.poll()
    poller.register(fd, select.POLLOUT)
    return any(events & select.POLLOUT for _, events in poller.poll(0))


def _drain(fd: int) -> None:
    """Empties an eventfd, whose flags are the client's as well, without waiting."""
    try:
        os.preadv(fd, [bytearray(8)], -1, os.RWF_NOWAIT)
    except OSError:
        # The client was quicker.
        return


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        if fd >= 0:
            os.close(fd)
