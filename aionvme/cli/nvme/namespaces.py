"""Owns the sub-commands that create, delete, attach and detach namespaces."""

from __future__ import annotations

import re
import shlex
from typing import Annotated

import typer

import aionvme
from aionvme.cli.nvme import acting
from aionvme.cli.nvme.acting import check_can_ask, may_destroy
from aionvme.cli.nvme.frame import Call, Commands
from aionvme.cli.nvme.options import byte_count, switch, value
from aionvme.errors import UsageError

__all__ = ["commands"]

commands = Commands("Namespaces")

_ALL = 0xFFFFFFFF
_SI = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "p": 10**15}
_ALIGNED = 1 << 20

_Nsid = Annotated[int | None, value("--namespace-id", "-n", help="Namespace identifier.")]
_Controllers = Annotated[
    str | None, typer.Option("--controllers", "-c", help="Controller identifiers; this one if not given.")
]


def _required(call: Call, nsid: int | None) -> int:
    if not nsid:
        place = shlex.quote(call.address)
        raise UsageError(
            f"{call.command}: say which namespace with -n; `aionvme list-ns {place} -a` lists those that there are"
        )
    return nsid


def _one(call: Call, nsid: int | None) -> int:
    if nsid == _ALL:
        raise UsageError(f"{call.command}: name one namespace with -n, not all of them")
    return _required(call, nsid)


def _si(option: str, text: str, block_size: int) -> int:
    """Blocks of a size with an SI suffix, rounded down to 1 MiB; without one it is a number of blocks already."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgtp]?)", text.lower())
    if match is None:
        raise UsageError(
            f"{option}: {text!r} is no size: write it as 100G or 6.14T, or as a number of blocks"
        )
    if not match[2]:
        return int(float(match[1]))
    nbytes = int(float(match[1]) * _SI[match[2]])
    return nbytes // _ALIGNED * _ALIGNED // block_size


async def _format_of(call: Call, flbas: int | None, block_size: int | None) -> tuple[int, int]:
    """FLBAS, and bytes of a block: as told, or the first format with blocks of that size and no metadata."""
    from aionvme.spec.opcodes import Cns

    common = await call.ctrlr.identify(Cns.NAMESPACE, nsid=_ALL)
    if block_size is None:
        index = (flbas or 0) & 0xF | ((flbas or 0) >> 5 & 3) << 4
        if index >= len(common.lba_formats):
            raise UsageError(
                f"--flbas: format {index} is none of the {len(common.lba_formats)} that there are"
            )
        return flbas or 0, common.lba_formats[index].block_size
    for index, form in enumerate(common.lba_formats):
        if form.lbads and form.block_size == block_size and form.ms == 0:
            return index & 0xF | index >> 4 << 5, block_size
    raise UsageError(
        f"--block-size: no format has blocks of {block_size} bytes without metadata: use --flbas"
    )


@commands.add("create-ns", example="create-ns mock:?capacity=1GiB -s 1000 -c 1000 -f 0")
def create_ns(
    call: Call,
    nsze: Annotated[int, value("--nsze", "-s", help="Size in blocks.", parser=byte_count)] = 0,
    ncap: Annotated[int, value("--ncap", "-c", help="Capacity in blocks.", parser=byte_count)] = 0,
    flbas: Annotated[int | None, value("--flbas", "-f", help="Format (FLBAS).")] = None,
    dps: Annotated[int, value("--dps", "-d", help="Protection settings (DPS).")] = 0,
    nmic: Annotated[int, value("--nmic", "-m", help="1: several controllers may have it.")] = 0,
    anagrp_id: Annotated[int, value("--anagrp-id", "-a", help="ANA group.")] = 0,
    nvmset_id: Annotated[int, value("--nvmset-id", "-i", help="NVM set.")] = 0,
    endg_id: Annotated[int, value("--endg-id", "-e", help="Endurance group.")] = 0,
    block_size: Annotated[
        int | None, value("--block-size", "-b", help="Bytes of a block, instead of -f.", parser=byte_count)
    ] = None,
    csi: Annotated[int, value("--csi", "-y", help="I/O command set.")] = 0,
    lbstm: Annotated[int, value("--lbstm", "-l", help="Storage tag mask.", parser=byte_count)] = 0,
    nphndls: Annotated[int, value("--nphndls", "-n", help="Number of placement handles.")] = 0,
    nsze_si: Annotated[
        str | None, typer.Option("--nsze-si", "-S", help="Size as 100G or 6.14T, instead of -s.")
    ] = None,
    ncap_si: Annotated[
        str | None, typer.Option("--ncap-si", "-C", help="Capacity as 100G or 6.14T, instead of -c.")
    ] = None,
    azr: Annotated[bool, switch("--azr", "-z", help="Zoned: allocate random write areas.")] = False,
    rar: Annotated[int, value("--rar", "-r", help="Zoned: active resources.")] = 0,
    ror: Annotated[int, value("--ror", "-O", help="Zoned: open resources.")] = 0,
    rnumzrwa: Annotated[int, value("--rnumzrwa", "-u", help="Zoned: random write areas.")] = 0,
    phndls: Annotated[
        str | None, typer.Option("--phndls", "-p", help="Reclaim unit handle of each placement handle.")
    ] = None,
    raw_binary: acting.OwnB = False,
) -> None:
    """Create a namespace. It is attached to no controller: `attach-ns` does that."""
    if flbas is not None and block_size is not None:
        raise UsageError("give one of --flbas and --block-size")
    handles = acting.numbers(phndls)

    async def act(connected: Call) -> int:
        form, unit = await _format_of(connected, flbas, block_size)
        size = _si("--nsze-si", nsze_si, unit) if nsze_si else nsze
        capacity = _si("--ncap-si", ncap_si, unit) if ncap_si else ncap
        if not size or not capacity:
            raise UsageError("give a size and a capacity: --nsze and --ncap, or --nsze-si and --ncap-si")
        spec = aionvme.NamespaceSpec(
            nsze=size, ncap=capacity, flbas=form, dps=dps, nmic=nmic, anagrpid=anagrp_id, nvmsetid=nvmset_id,
            endgid=endg_id, lbstm=lbstm, nphndls=nphndls, znsco=int(azr), rar=rar, ror=ror, rnumzrwa=rnumzrwa,
            phndl=tuple((handles + [0] * 128)[:128]),
        )  # fmt: skip
        return await connected.ctrlr.create_ns(spec, csi=csi)

    call.say(f"create-ns: Success, created nsid:{call.run(act)}")


@commands.add("delete-ns", example="delete-ns 0000:01:00.0 -n 2")
def delete_ns(call: Call, nsid: _Nsid = None, force: acting.Confirmed = False) -> None:
    """Delete a namespace and all that is in it; FFFFFFFFh deletes all of the subsystem."""
    wanted = _required(call, nsid)
    check_can_ask(call, force)

    async def act(connected: Call) -> None:
        which = "ALL namespaces" if wanted == _ALL else f"namespace {wanted}"
        await may_destroy(connected, f"delete {which}", force)
        await connected.ctrlr.delete_ns(wanted, all_namespaces=wanted == _ALL)

    call.run(act)
    call.say(f"delete-ns: Success, deleted nsid:{wanted}")


@commands.add("attach-ns", example="attach-ns 0000:01:00.0 -n 2 -c 0x21")
async def attach_ns(call: Call, nsid: _Nsid = None, controllers: _Controllers = None) -> None:
    """Attach a namespace to controllers."""
    wanted = _one(call, nsid)
    await call.ctrlr.attach_ns(wanted, acting.numbers(controllers) or None)
    call.say(f"attach-ns: Success, nsid:{wanted}")


@commands.add("detach-ns", example="detach-ns 0000:01:00.0 -n 2")
async def detach_ns(call: Call, nsid: _Nsid = None, controllers: _Controllers = None) -> None:
    """Detach a namespace from controllers; it and its data stay."""
    wanted = _one(call, nsid)
    await call.ctrlr.detach_ns(wanted, acting.numbers(controllers) or None)
    call.say(f"detach-ns: Success, nsid:{wanted}")
