"""Owns the sub-commands that show features, properties and registers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import attrs

from aionvme.cli import console
from aionvme.cli.nvme.frame import Call, Commands, status_text
from aionvme.cli.nvme.options import NamespaceId, byte_count, switch, value
from aionvme.errors import StatusError, UsageError
from aionvme.spec.registers import Reg

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["commands"]

commands = Commands("Features and registers")

_DEFAULT, _SUPPORTED = 1, 3
_HOST_IDENTIFIER = 0x81
# What a controller answers of a feature that it does not have, or not with this namespace.
_NOT_THERE = ("INVALID_FIELD", "INVALID_NAMESPACE_OR_FORMAT")


@attrs.frozen
class _Ask:
    """Get Features, but for the feature."""

    nsid: int | None
    select: int
    cdw11: int
    nbytes: int | None
    uuid_index: int

    async def read(self, call: Call, fid: int) -> tuple[int, bytes]:
        """Completion dword 0, and the data where the feature has some."""
        from aionvme.spec import entries

        sqe = entries.get_features(
            fid,
            cdw11=self._cdw11(fid),
            nsid=self._nsid(call, fid),
            select=self.select,
            uuid_index=self.uuid_index,
        )
        nbytes = self._bytes(fid)
        if not nbytes:
            cpl = await call.ctrlr.admin_raw(sqe)
            return cpl.dw0, b""
        with call.ctrlr.dma_alloc(nbytes) as buf:
            cpl = await call.ctrlr.admin_raw(sqe, data=buf)
            return cpl.dw0, bytes(buf)

    def _bytes(self, fid: int) -> int:
        from aionvme.spec.features import FEATURES

        if self.nbytes is not None or self.select == _SUPPORTED:
            return self.nbytes or 0
        known = FEATURES.get(fid)
        return known.get_bytes(self._cdw11(fid)) if known is not None else 0

    def _cdw11(self, fid: int) -> int:
        # The driver gives a controller 128 bits of host identifier, which then has no other form (Base 2.0, 5.27.1.25).
        return self.cdw11 or int(fid == _HOST_IDENTIFIER)

    def _nsid(self, call: Call, fid: int) -> int:
        """As told; of a feature that each namespace has, the only namespace if there is one."""
        from aionvme.spec.feature import Scope
        from aionvme.spec.features import FEATURES

        if self.nsid is not None:
            return self.nsid
        known, there = FEATURES.get(fid), call.ctrlr.namespaces
        if known is not None and known.SCOPE == Scope.NAMESPACE and len(there) == 1:
            return min(there)
        return 0


@commands.add("get-feature", example="get-feature mock: -f 7 -H")
async def get_feature(
    call: Call,
    feature_id: Annotated[
        int, value("--feature-id", "-f", help="Feature identifier; all that the controller has, if not given.")
    ] = 0,
    nsid: NamespaceId = None,
    sel: Annotated[
        int, value("--sel", "-s", help="0 the current value, 1 the default, 2 the saved one, 3 what can be done.")
    ] = 0,
    data_len: Annotated[
        int | None,
        value("--data-len", "-l", help="Bytes of data; as the feature has them, if not given.",
              parser=byte_count, metavar="SIZE"),
    ] = None,
    cdw11: Annotated[int, value("--cdw11", "-c", help="The feature's own argument.")] = 0,
    uuid_index: Annotated[int, value("--uuid-index", "-U", help="UUID index.")] = 0,
    changed: Annotated[bool, switch("--changed", "-C", help="Only what is not as by default.")] = False,
) -> None:  # fmt: skip
    """Show the value of a feature, and with -H what it means."""
    if sel > _SUPPORTED:
        raise UsageError("--sel: 0 current, 1 default, 2 saved, 3 supported capabilities")
    ask = _Ask(nsid=nsid, select=sel, cdw11=cdw11, nbytes=data_len, uuid_index=uuid_index)
    found: list[tuple[int, int, bytes]] = []
    for fid in (feature_id,) if feature_id else range(1, 256):
        try:
            dw0, data = await ask.read(call, fid)
            if changed and await attrs.evolve(ask, select=_DEFAULT).read(call, fid) == (dw0, data):
                continue
        except StatusError as error:
            if feature_id:
                raise
            if error.status.name not in _NOT_THERE:
                console.note(f"get-feature:{fid:#04x}: {status_text(error)}")
            continue
        found.append((fid, dw0, data))
    _show(call, sel, found)


def _show(call: Call, select: int, found: Iterable[tuple[int, int, bytes]]) -> None:
    from aionvme.cli.nvme.keys_features import feature

    if not call.human:
        document: dict[str, Any] = {}
        raw = b""
        for fid, dw0, data in found:
            document |= feature(fid, select, dw0, data)
            raw += data or dw0.to_bytes(4, "little")
        call.show(document, raw=raw)
        return
    for fid, dw0, data in found:
        _show_lines(call, select, fid, dw0, data)


def _show_lines(call: Call, select: int, fid: int, dw0: int, data: bytes) -> None:
    from aionvme.cli.nvme import words
    from aionvme.cli.nvme.keys_features import fields, selected, value_text
    from aionvme.cli.nvme.output import hex_dump

    console.result(
        f"get-feature:{fid:#04x} ({words.feature_name(fid)}), {words.SELECTIONS[select]} value:{value_text(dw0)}",
        "bold",
    )
    if select == _SUPPORTED:
        call.show({"Feature": ", ".join(selected(dw0)) or "none of saveable, per-namespace, changeable"})
    elif call.detail:
        call.show(fields(fid, dw0, data))
    elif data:
        console.result(hex_dump(data))


# -- registers -----------------------------------------------------------------------------------------------


_Offset = Annotated[
    int | None, value("--offset", "-O", help="CAP 0x0, VS 0x8, CC 0x14, CSTS 0x1c, NSSR 0x20, CRTO 0x68, ...")
]


def _values(call: Call) -> dict[Reg, int]:
    from aionvme.cli.nvme.keys_registers import REGISTERS

    return {reg: call.ctrlr.read_register(reg) for reg in REGISTERS}


@commands.add("show-regs", example="show-regs mock: -H")
async def show_regs(call: Call) -> None:
    """Show the controller's registers."""
    from aionvme.cli.nvme.keys_registers import document, told_document

    values = _values(call)
    call.show((told_document if call.detail and not call.human else document)(values), title="Registers")


def _at(offset: int | None) -> Reg:
    from aionvme.cli.nvme.keys_registers import REGISTERS

    for reg in REGISTERS:
        if reg == offset:
            return reg
    listed = ", ".join(f"{reg.name} {int(reg):#x}" for reg in REGISTERS)
    raise UsageError(f"--offset: say which register: {listed}")


@commands.add("get-property", example="get-property 0000:01:00.0 -O 0x14 -H")
async def get_property(call: Call, offset: _Offset = None) -> None:
    """Show one register."""
    from aionvme.cli.nvme.keys_registers import property_document

    call.show(property_document(_at(offset), _values(call), detail=call.detail))


@commands.add(
    "get-reg",
    example="get-reg mock: --cap --cc -v -o json",
    more={
        reg.name.lower(): switch(f"--{reg.name.lower()}", help=f"Show {reg.name}.")
        for reg in Reg
        if reg != Reg.DOORBELLS
    },
)
async def get_reg(call: Call, offset: _Offset = None, **chosen: bool) -> None:
    """Show registers by their offset, or by their names."""
    from aionvme.cli.nvme.keys_registers import REGISTERS, register_document

    regs = [reg for reg in REGISTERS if reg == offset or chosen.get(reg.name.lower())] or [_at(offset)]
    call.show(register_document(regs, _values(call), detail=call.detail))
