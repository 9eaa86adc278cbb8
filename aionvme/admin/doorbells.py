"""Owns where doorbells and submission queues may lie besides BAR 0 and host memory: shadow doorbells, and the CMB.

Both are asked for by an option, set up at every bring-up, and used by the I/O queue pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from aionvme.admin.core import logger
from aionvme.errors import ControllerFailedError, StatusError, UsageError
from aionvme.pci.extents import Extents
from aionvme.spec import entries
from aionvme.spec.registers import Cmbloc, Cmbmsc, Cmbsts, Cmbsz, Reg

if TYPE_CHECKING:
    from aionvme.admin.core import Core
    from aionvme.pci.dma import DmaBuffer
    from aionvme.pci.function import Function

# OACS bit 8: Doorbell Buffer Config (Base 2.0, 5.17.2.1).
_OACS_DOORBELL_BUFFER = 8
_PAGE = 4096


@attrs.define(eq=False)
class Shadows:
    """The two pages that stand for the doorbells of I/O queues (Base 2.0, 5.8)."""

    doorbells: DmaBuffer
    events: DmaBuffer


async def set_up_shadows(core: Core) -> None:
    """Tells the controller of the two pages, where it has that and the options ask for it; after every reset again."""
    if not core.opts.shadow_doorbells:
        return
    assert core.data is not None
    if not core.data.oacs >> _OACS_DOORBELL_BUFFER & 1:
        core.opts.shadow_doorbells = False
        logger.info("%s: has no shadow doorbells (OACS bit 8 is 0)", core)
        return
    if core.shadows is None:
        pages = [core.dma.alloc(core.page_size, align=core.page_size) for _ in range(2)]
        core.shadows = Shadows(*pages)
    for page in (core.shadows.doorbells, core.shadows.events):
        memoryview(page)[:] = bytes(len(page))
    try:
        await core.urgent.admin_raw(
            entries.doorbell_buffer_config(
                shadow_iova=core.shadows.doorbells.iova, event_iova=core.shadows.events.iova
            )
        )
    except StatusError as error:
        core.opts.shadow_doorbells = False
        # After a reset there are queue pairs that wrote to these pages, which go now.
        for qp in core.queues.values():
            qp.leave_shadows()
        core.shadows = None
        logger.info("%s: takes no shadow doorbells: %s", core, error)


@attrs.frozen
class CmbPart:
    """A submission queue's place in the controller memory buffer.

    Attributes:
        address: In this process.
        iova: For the controller.
        nbytes: Whole pages.
    """

    address: int
    iova: int
    nbytes: int


@attrs.define(eq=False)
class Cmb:
    """The controller memory buffer (Base 2.0, 8.5): mapped here, and placed among the controller's addresses."""

    address: int
    iova: int
    nbytes: int
    _free: Extents = attrs.field(factory=Extents)

    def __attrs_post_init__(self) -> None:
        self._free.give(0, self.nbytes)

    def alloc(self, nbytes: int) -> CmbPart | None:
        """Whole pages of it, None where there are no more."""
        nbytes = -(-nbytes // _PAGE) * _PAGE
        start = self._free.take(nbytes, _PAGE)
        if start is None:
            return None
        return CmbPart(self.address + start, self.iova + start, nbytes)

    def give(self, part: CmbPart) -> None:
        """Takes a part back."""
        self._free.give(part.iova - self.iova, part.nbytes)

    @staticmethod
    def switch_off(function: Function) -> None:
        """Takes it off the controller's addresses.

        It would outlive a controller reset there (Base 2.0, 3.1.3.16), and whoever has the function next has memory of
        their own at such addresses.
        """
        function.write64(Reg.CMBMSC, 0)


def set_up_cmb(core: Core) -> None:
    """Switches the controller memory buffer on, where there is one for submission queues and the options ask for it.

    What it holds is lost with every reset; where it lies is not (Base 2.0, 3.1.3.16).
    """
    if not core.opts.use_cmb_sqs:
        return
    if core.cmb is None:
        core.cmb = _find_cmb(core)
    if core.cmb is None:
        core.opts.use_cmb_sqs = False
        return
    # One store: where the address is taken in halves, the buffer would lie at half an address for a moment.
    core.function.write64(Reg.CMBMSC, core.cmb.iova | Cmbmsc(cre=1, cmse=1).to_int())
    if Cmbsts.from_int(core.function.read32(Reg.CMBSTS)).cbai:
        if core.queues:
            raise ControllerFailedError(
                f"{core} refuses the address of its memory buffer, which it took before (CMBSTS.CBAI)"
            )
        core.opts.use_cmb_sqs = False
        core.cmb = None
        logger.warning("%s: refuses the address of its memory buffer (CMBSTS.CBAI); not used", core)


def _find_cmb(core: Core) -> Cmb | None:
    function = core.function
    if not core.registers.cap.cmbs:
        logger.info("%s: has no controller memory buffer (CAP.CMBS is 0)", core)
        return None
    # Where it lies and how large it is can be read only when this is set.
    function.write64(Reg.CMBMSC, Cmbmsc(cre=1).to_int())
    place = Cmbloc.from_int(function.read32(Reg.CMBLOC))
    size = Cmbsz.from_int(function.read32(Reg.CMBSZ))
    nbytes = size.sz * size.unit
    if not size.sqs or not nbytes:
        logger.info("%s: its memory buffer takes no submission queues (CMBSZ is %#x)", core, size.to_int())
        return None
    try:
        address = function.map_bar(place.bir, place.ofst * size.unit, nbytes)
    except (OSError, UsageError) as error:
        logger.info("%s: its memory buffer cannot be mapped: %s", core, error)
        return None
    return Cmb(address, core.dma.reserve_iova(nbytes), nbytes)
