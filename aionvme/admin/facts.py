"""Owns what a controller says of itself, and the memory that it reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionvme.admin.core import State
from aionvme.errors import UsageError
from aionvme.spec.registers import REGISTERS_64, Reg

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from aionvme.admin.core import Core
    from aionvme.admin.options import ControllerOptions
    from aionvme.pci.device import PciDevice
    from aionvme.pci.dma import DmaBuffer, DmaRegistration, DmaSpace
    from aionvme.qpair.namespace import Namespace
    from aionvme.spec.identify import IdentifyController


class Facts:
    """The part of `Controller` that sends no command."""

    _core: Core
    _dma: DmaSpace

    @property
    def data(self) -> IdentifyController:
        """Identify Controller, as of the last bring-up."""
        assert self._core.data is not None
        return self._core.data

    def _identified(self) -> IdentifyController | None:
        return self._core.data

    @property
    def namespaces(self) -> Mapping[int, Namespace]:
        """The active namespaces by identifier."""
        return self._core.namespaces

    @property
    def opts(self) -> ControllerOptions:
        """The options as finally used."""
        return self._core.opts

    @property
    def pci_dev(self) -> PciDevice:
        """Which function it is."""
        return self._core.function.pci_dev

    @property
    def version(self) -> tuple[int, int, int]:
        """Major, minor and tertiary version of the specification that it follows (VS)."""
        return self._core.registers.version()

    def read_register(self, offset: int) -> int:
        """A controller register as it is now (Base 2.0, 3.1.3).

        Args:
            offset: Of the register, a `Reg`; those of 64 bits are read as one.

        Raises:
            UsageError: There is no register there, or the controller was closed.
        """
        self._check_open()
        if offset not in Reg._value2member_map_ or offset == Reg.DOORBELLS:
            raise UsageError(
                f"offset {offset:#x}: no register begins there; `aionvme.spec.registers.Reg` lists them"
            )
        function = self._core.function
        return function.read64(offset) if offset in REGISTERS_64 else function.read32(offset)

    @property
    def max_transfer(self) -> int:
        """Most bytes of data in one command (MDTS); 0 for no limit. Longer reads and writes are split."""
        return self._core.max_transfer

    @property
    def closed(self) -> bool:
        """Whether `close` was called, or the controller was lost or failed."""
        return self._core.state in (State.CLOSING, State.CLOSED, State.ENDED)

    def __repr__(self) -> str:
        return f"<Controller {self._core} {self._core.state.value}>"

    def dma_alloc(self, nbytes: int, *, align: int = 4096, zero: bool = True) -> DmaBuffer:
        """Memory for reads and writes, which this controller reaches. See `DmaSpace.alloc`."""
        self._check_open()
        buf = self._dma.alloc(nbytes, align=align, zero=zero)
        self._core.given.add(buf)
        return buf

    def dma_register(self, obj: Buffer | NDArray[Any], *, exact: bool = False) -> DmaRegistration:
        """Lets this controller reach memory that the caller owns, for zero copy. See `DmaSpace.register`."""
        self._check_open()
        registration = self._dma.register(obj, exact=exact)
        self._core.given.add(registration)
        return registration

    def dma_in_use(self) -> list[DmaBuffer | DmaRegistration]:
        """What `dma_alloc` and `dma_register` gave, and was neither closed nor dropped since: to look for leaks by."""
        return [given for given in self._core.given if not given.closed]

    def _check_open(self) -> None:
        error = self._core.error
        if error is not None:
            raise type(error)(*error.args)
        if self._core.state in (State.CLOSING, State.CLOSED):
            raise self._core.closed_error()
