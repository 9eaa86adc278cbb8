"""Owns nvme-cli's keys of registers: the short names of show-regs and get-reg, the long ones of get-property."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionvme.cli.nvme.document import Document, Note, hex_text
from aionvme.cli.nvme.keys_registers_told import told
from aionvme.spec import registers
from aionvme.spec.registers import Reg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aionvme.spec.bits import Bits

__all__ = ["REGISTERS", "document", "property_document", "register_document", "told_document"]

# In nvme-cli's order: what each is called, and the table of its bits.
_TABLE: dict[Reg, tuple[str, type[Bits] | None]] = {
    Reg.CAP: ("Controller Capabilities", registers.Cap),
    Reg.VS: ("Version", registers.Vs),
    Reg.INTMS: ("Interrupt Vector Mask Set", None),
    Reg.INTMC: ("Interrupt Vector Mask Clear", None),
    Reg.CC: ("Controller Configuration", registers.Cc),
    Reg.CSTS: ("Controller Status", registers.Csts),
    Reg.NSSR: ("NVM Subsystem Reset", None),
    Reg.AQA: ("Admin Queue Attributes", registers.Aqa),
    Reg.ASQ: ("Admin Submission Queue Base Address", None),
    Reg.ACQ: ("Admin Completion Queue Base Address", None),
    Reg.CMBLOC: ("Controller Memory Buffer Location", registers.Cmbloc),
    Reg.CMBSZ: ("Controller Memory Buffer Size", registers.Cmbsz),
    Reg.BPINFO: ("Boot Partition Information", registers.Bpinfo),
    Reg.BPRSEL: ("Boot Partition Read Select", registers.Bprsel),
    Reg.BPMBL: ("Boot Partition Memory Buffer Location", None),
    Reg.CMBMSC: ("Controller Memory Buffer Memory Space Control", registers.Cmbmsc),
    Reg.CMBSTS: ("Controller Memory Buffer Status", registers.Cmbsts),
    Reg.CMBEBS: ("Controller Memory Buffer Elasticity Buffer Size", registers.Cmbebs),
    Reg.CMBSWTP: ("Controller Memory Buffer Sustained Write Throughput", registers.Cmbswtp),
    Reg.NSSD: ("NVM Subsystem Shutdown", None),
    Reg.CRTO: ("Controller Ready Timeouts", registers.Crto),
    Reg.PMRCAP: ("Persistent Memory Region Capabilities", registers.Pmrcap),
    Reg.PMRCTL: ("Persistent Memory Region Control", registers.Pmrctl),
    Reg.PMRSTS: ("Persistent Memory Region Status", registers.Pmrsts),
    Reg.PMREBS: ("Persistent Memory Region Elasticity Buffer Size", registers.Pmrebs),
    Reg.PMRSWTP: ("Persistent Memory Region Sustained Write Throughput", registers.Pmrswtp),
    Reg.PMRMSCL: ("Persistent Memory Region Memory Space Control Lower", registers.Pmrmscl),
    Reg.PMRMSCU: ("Persistent Memory Region Memory Space Control Upper", None),
}

#: The registers that are shown.
REGISTERS = tuple(_TABLE)


def document(values: Mapping[Reg, int]) -> Document:
    """All registers by their short names."""
    found = Document()
    for reg, value in values.items():
        name = reg.name.lower()
        meaning, bits = _TABLE[reg]
        found[name] = value
        found.notes[name] = Note(meaning, hexadecimal=True, bits=bits)
    return found


def told_document(values: Mapping[Reg, int]) -> Document:
    """All registers, and what each bit of them means, as nvme-cli has it with -v."""
    return Document({reg.name.lower(): [told(reg, values)] for reg in values})


def property_document(reg: Reg, values: Mapping[Reg, int], *, detail: bool = False) -> Document:
    """One register as a property: its value is hexadecimal digits, or with `detail` what it means."""
    if detail:
        return Document(told(reg, values))
    return Document(property=f"{int(reg):#04x}", name=_TABLE[reg][0], value=f"{values[reg]:x}")


def register_document(regs: Sequence[Reg], values: Mapping[Reg, int], *, detail: bool = False) -> Document:
    """Some registers, each under its offset; with `detail` what each means."""
    found = Document()
    for reg in regs:
        short = reg.name.lower()
        body: dict[str, Any] = {"name": "version" if reg == Reg.VS else short, "value": values[reg]}
        if detail:
            body = {_TABLE[reg][0]: values[reg], short: [told(reg, values)]}
        found[f"register: {hex_text(int(reg), 4)}"] = [body]
    return found
