"""Owns `aionvme intel`: Intel's own part of Identify and log pages, as nvme-cli's plug-in of that name shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from aionvme.cli.nvme import identify
from aionvme.cli.nvme.frame import Call, Commands
from aionvme.cli.nvme.identify import VendorSpecific
from aionvme.cli.nvme.options import Output, switch, value
from aionvme.spec.opcodes import Cns

if TYPE_CHECKING:
    from aionvme.spec.structure import Structure

__all__ = ["commands"]

commands = Commands("Log pages of Intel")

_ALL = 0xFFFFFFFF
_Json = Annotated[bool, switch("--json", "-j", help="Print JSON: as -o json.")]


async def _read(call: Call, lid: int, kind: type[Structure], nsid: int = _ALL) -> bytes:
    return bytes(await call.ctrlr.get_log_page(lid, payload=bytearray(kind.SIZE), nsid=nsid))


def _wants_json(call: Call, as_json: bool) -> None:
    if as_json:
        call.output = Output.JSON


@commands.add("id-ctrl", example="intel id-ctrl mock:?intel=1 -o json")
async def id_ctrl(call: Call, vendor_specific: VendorSpecific = False) -> None:
    """Show Identify Controller with the vendor's part: health, link, versions of the boot loader."""
    from aionvme.cli.nvme.keys_intel import controller

    raw = await identify.read(call, Cns.CONTROLLER)
    call.show(controller(raw), raw=raw, title="Identify Controller")
    identify.vendor_part(call, raw[3072:], vendor_specific)


@commands.add("smart-log-add", example="intel smart-log-add mock:?intel=1 -j")
async def smart_log_add(
    call: Call,
    nsid: Annotated[int, value("--namespace-id", "-n", help="Of one namespace.")] = _ALL,
    as_json: _Json = False,
) -> None:
    """Show the additional SMART attributes: wear, errors, what was written to the media."""
    from aionvme.cli.nvme.keys_intel import smart
    from aionvme.spec.intel import IntelLogPageId, IntelSmart

    _wants_json(call, as_json)
    raw = await _read(call, IntelLogPageId.SMART, IntelSmart, nsid)
    call.show(smart(raw, call.name), raw=raw)


@commands.add("lat-stats", example="intel lat-stats mock:?intel=1 -w")
async def lat_stats(
    call: Call,
    write: Annotated[bool, switch("--write", "-w", help="Of writes; else of reads.")] = False,
    as_json: _Json = False,
) -> None:
    """Show how many commands took how long."""
    from aionvme.cli.nvme.keys_intel import latency
    from aionvme.spec.intel import IntelLatency, IntelLogPageId

    _wants_json(call, as_json)
    lid = IntelLogPageId.WRITE_LATENCY if write else IntelLogPageId.READ_LATENCY
    raw = await _read(call, lid, IntelLatency)
    call.show(latency(raw, write=write), raw=raw)


@commands.add("temp-stats", example="intel temp-stats mock:?intel=1")
async def temp_stats(call: Call) -> None:
    """Show temperatures: now, highest and lowest ever, and what is allowed."""
    from aionvme.cli.nvme.keys_intel import TEMPERATURE
    from aionvme.spec.intel import IntelLogPageId, IntelTemperature

    raw = await _read(call, IntelLogPageId.TEMPERATURE, IntelTemperature)
    call.show(TEMPERATURE.document(raw), raw=raw, title="Temperature statistics")


@commands.add("market-name", example="intel market-name mock:?intel=1")
async def market_name(call: Call) -> None:
    """Show what the product is sold as."""
    from aionvme.spec.intel import IntelLogPageId, IntelMarketingName

    raw = await _read(call, IntelLogPageId.MARKETING_NAME, IntelMarketingName)
    call.show({"Intel Marketing Name": IntelMarketingName.decode(raw).name}, raw=raw)
