"""Owns the host memory buffer (NVMe Base 2.0, 5.27.1.10 and 8.9): what a controller is lent of the host's memory.

It is lent when the controller is brought up, and again after each reset with what was in it. It is asked back before a
reset and a shutdown. The memory is let go only when the controller has said that it does not use it any more, or can't
reach it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import attrs

from aionvme.admin.sending import Callback, Sender
from aionvme.errors import ControllerResetError, NvmeError, StatusError, UsageError
from aionvme.qpair.poller import run_to_end
from aionvme.spec.features_data import HostMemoryBuffer, HostMemoryDescriptor
from aionvme.spec.opcodes import FeatureId

if TYPE_CHECKING:
    from aionvme.admin.core import Core
    from aionvme.admin.operation import Operation
    from aionvme.pci.dma import DmaBuffer, DmaSpace
    from aionvme.qpair.request import Completion
    from aionvme.spec.identify import IdentifyController

logger = logging.getLogger("aionvme")

# HMPRE, HMMIN and HMMINDS count in this unit (Base 2.0, 5.17.2.1).
_UNIT = 4096
# What a controller gets that says of no limit: more entries than this are of no use.
_ENTRIES = 256
# How long a reset or a shutdown waits for the memory; either makes the controller let go of it all the same.
_PATIENCE = 1.0


@attrs.frozen(eq=False)
class Loan:
    """Memory that is lent, and the list that describes it.

    Attributes:
        page: Bytes of a memory page (CC.MPS).
    """

    pieces: tuple[DmaBuffer, ...]
    descriptors: DmaBuffer
    page: int

    @property
    def nbytes(self) -> int:
        """Of all pieces."""
        return sum(len(piece) for piece in self.pieces)

    def feature(self, *, returned: bool) -> HostMemoryBuffer:
        """The value of the feature that lends it."""
        iova = self.descriptors.iova
        return HostMemoryBuffer(
            ehm=1,
            mr=int(returned),
            hsize=self.nbytes // self.page,
            hmdlal=iova & 0xFFFFFFFF,
            hmdlau=iova >> 32,
            hmdlec=len(self.pieces),
        )

    def give_back(self) -> None:
        """The controller does not use it: it may be used for something else."""
        for buffer in (*self.pieces, self.descriptors):
            buffer.close()


@attrs.define(eq=False)
class HostMemory:
    """What one controller was lent.

    Attributes:
        loan: The memory, None for none.
        enabled: The controller has it in use.
        kept: Memory of which it is not known whether the controller uses it: it stays until the controller is closed.
    """

    loan: Loan | None = None
    enabled: bool = False
    kept: list[Loan] = attrs.field(factory=list)
    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)

    @property
    def nbytes(self) -> int:
        """Bytes that are lent."""
        return self.loan.nbytes if self.loan is not None and self.enabled else 0


# -- memory ----------------------------------------------------------------------------------------------------------


def check_size(data: IdentifyController, nbytes: int | None) -> int:
    """How many bytes to lend; None for what the controller would like.

    Raises:
        UsageError: It takes no memory, or not so little.
    """
    if not data.hmpre:
        raise UsageError("the controller has no host memory buffer (HMPRE in Identify Controller is 0)")
    if nbytes is None:
        return data.hmpre * _UNIT
    least = max(data.hmmin * _UNIT, 1)
    if nbytes < least:
        raise UsageError(f"nbytes must be at least {least} (HMMIN), not {nbytes}")
    return nbytes


def allocate(dma: DmaSpace, data: IdentifyController, page: int, nbytes: int) -> Loan:
    """Memory in as few pieces as it can be had in, as much as there is between HMMIN and `nbytes`.

    Raises:
        MemoryError: There is less than HMMIN.
    """
    wanted = -(-nbytes // page) * page
    least = -(-max(data.hmminds * _UNIT, page) // page) * page
    pieces: list[DmaBuffer] = []
    size, have = wanted, 0
    while have < wanted and len(pieces) < (data.hmmaxd or _ENTRIES):
        try:
            pieces.append(dma.alloc(max(min(size, wanted - have), least), align=page))
            have += len(pieces[-1])
        except (MemoryError, OSError):
            size = size // 2 // page * page
            if size < least:
                break
    if not pieces or have < data.hmmin * _UNIT:
        for piece in pieces:
            piece.close()
        raise MemoryError(f"no memory for a host memory buffer of {data.hmmin * _UNIT} bytes (HMMIN)")
    listed = b"".join(
        HostMemoryDescriptor(badd=piece.iova, bsize=len(piece) // page).encode() for piece in pieces
    )
    descriptors = dma.alloc(len(listed), align=page)
    memoryview(descriptors)[: len(listed)] = listed
    return Loan(tuple(pieces), descriptors, page)


# -- lending ---------------------------------------------------------------------------------------------------------


async def set_up(core: Core) -> None:
    """At a bring-up: lends what the options ask for, or what was lent before the reset, with what is in it."""
    memory = core.host_memory
    memory.enabled = False
    assert core.data is not None
    if memory.loan is not None:
        if await _try(core, memory.loan, returned=True):
            return
        memory.loan.give_back()
        memory.loan = None
    asked = core.opts.host_memory_buffer
    core.opts.host_memory_buffer = 0
    if asked in ("off", 0):
        return
    try:
        nbytes = check_size(core.data, None if isinstance(asked, str) else asked)
        loan = allocate(core.dma, core.data, core.page_size, nbytes)
    except (UsageError, MemoryError) as error:
        logger.info("%s: is lent no memory: %s", core, error)
        return
    if await _try(core, loan, returned=False):
        memory.loan = loan
        core.opts.host_memory_buffer = loan.nbytes
    else:
        loan.give_back()


async def _try(core: Core, loan: Loan, *, returned: bool) -> bool:
    try:
        await core.urgent.set_feature(FeatureId.HOST_MEMORY_BUFFER, value=loan.feature(returned=returned))
    except StatusError as error:
        logger.info("%s: takes no host memory: %s", core, error)
        return False
    core.host_memory.enabled = True
    return True


async def take_back(core: Core) -> None:
    """Before a reset or a shutdown: asks for the memory, and waits a moment for it, not for ever.

    Where the answer does not come, the reset or the shutdown is what makes the controller let go of it.
    """
    if not core.host_memory.enabled:
        return
    gate = core.loop.create_future()

    def answered(_arg: object, cpl: Completion) -> None:
        core.host_memory.enabled = bool(cpl.status)
        _open(gate)

    with contextlib.suppress(NvmeError):
        core.urgent.submit_set_feature(
            FeatureId.HOST_MEMORY_BUFFER, answered, value=HostMemoryBuffer(), timeout=0
        )
        timer = core.loop.call_later(_PATIENCE, _open, gate)
        try:
            await gate
        finally:
            timer.cancel()
    if core.host_memory.enabled:
        logger.warning("%s: did not give its host memory back within %g s", core, _PATIENCE)


def _open(gate: asyncio.Future[None]) -> None:
    if not gate.done():
        gate.set_result(None)


async def _tell(core: Core, value: HostMemoryBuffer) -> None:
    """Sends the feature; again where a reset came between its completion and this."""
    epoch = None
    while epoch != core.epoch:
        epoch = core.epoch
        await core.commands.set_feature(FeatureId.HOST_MEMORY_BUFFER, value=value)


async def _lend(core: Core, nbytes: int | None) -> int:
    memory = core.host_memory
    assert core.data is not None
    async with memory.lock:
        if memory.enabled:
            raise UsageError(_enabled(memory))
        loan = allocate(core.dma, core.data, core.page_size, check_size(core.data, nbytes))
        try:
            await _tell(core, loan.feature(returned=False))
        except (StatusError, ControllerResetError):
            loan.give_back()
            raise
        except BaseException:
            memory.kept.append(loan)
            raise
        before, memory.loan, memory.enabled = memory.loan, loan, True
        if before is not None:
            before.give_back()
        core.opts.host_memory_buffer = loan.nbytes
        return loan.nbytes


async def _reclaim(core: Core) -> None:
    memory = core.host_memory
    async with memory.lock:
        if memory.loan is None:
            return
        await _tell(core, HostMemoryBuffer())
        loan, memory.loan, memory.enabled = memory.loan, None, False
        core.opts.host_memory_buffer = 0
        loan.give_back()


# Either runs to its end whatever is cancelled: who has the memory is known in every case.


async def lend(core: Core, nbytes: int | None) -> int:
    """Lends memory; how much."""
    return await run_to_end(_lend(core, nbytes))


async def reclaim(core: Core) -> None:
    """Takes the memory back for good."""
    await run_to_end(_reclaim(core))


def _enabled(memory: HostMemory) -> str:
    return f"the host memory buffer is enabled with {memory.nbytes} bytes: disable it first"


class HostMemoryCommands(Sender):
    """The host memory buffer, its memory managed here."""

    def enable_host_memory_buffer(self, nbytes: int | None = None) -> Operation[int]:
        """Lends the controller memory of the host (Base 2.0, 5.27.1.10): how many bytes it was lent.

        It has it until `disable_host_memory_buffer` or the close; after a reset it is given the same memory again.
        A cancellation is raised after the end.

        Args:
            nbytes: Bytes, rounded up to memory pages; None for what the controller would like (HMPRE). Where there is
                not so much memory it may be less, down to HMMIN.

        Raises:
            UsageError: The controller has no such feature, or takes no less than HMMIN; or it is enabled.
            MemoryError: There is no such memory.
            StatusError: The controller refused it.
        """
        return self.submit_enable_host_memory_buffer(nbytes=nbytes)

    def submit_enable_host_memory_buffer(
        self, cb_fn: Callback | None = None, cb_arg: Any = None, *, nbytes: int | None = None
    ) -> Operation[int]:
        """`enable_host_memory_buffer` with a callback."""
        core = self._core
        core.admin.check_open()
        if core.data is not None:
            check_size(core.data, nbytes)
        if core.host_memory.enabled:
            raise UsageError(_enabled(core.host_memory))
        return self._operation("enable host memory", lend(core, nbytes), cb_fn, cb_arg)

    def disable_host_memory_buffer(self) -> Operation[None]:
        """Takes the memory back from the controller (Base 2.0, 5.27.1.10). Without any lent it does nothing.

        A cancellation is raised after the end.

        Raises:
            StatusError: The controller refused; it keeps the memory.
        """
        return self.submit_disable_host_memory_buffer()

    def submit_disable_host_memory_buffer(
        self, cb_fn: Callback | None = None, cb_arg: Any = None
    ) -> Operation[None]:
        """`disable_host_memory_buffer` with a callback."""
        return self._operation("disable host memory", reclaim(self._core), cb_fn, cb_arg)
