"""Owns the sub-commands that show log pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from aionvme.cli.mistakes import writing
from aionvme.cli.nvme.frame import Call, Commands
from aionvme.cli.nvme.options import byte_count, switch, value
from aionvme.errors import UsageError
from aionvme.spec import entries
from aionvme.spec.logs import LOG_PAGES, ErrorInformation
from aionvme.spec.logs.events import EventAction, PersistentEventsHeader
from aionvme.spec.opcodes import CommandSet, LogPageId

__all__ = ["commands"]

commands = Commands("Log pages")

_ALL = 0xFFFFFFFF
# As many entries of the error log as nvme-cli asks for, where there are as many.
_ERROR_ENTRIES = 64

RetainEvent = Annotated[
    bool, switch("--rae", "-r", help="Keep the asynchronous event that belongs to the page.")
]


async def read(call: Call, lid: int, nbytes: int | None = None, **options: Any) -> bytes:
    """Bytes of a log page, as they came; all of a page that is known, if it is not said how many."""
    payload = bytearray(_known_bytes(call, lid) if nbytes is None else nbytes)
    return bytes(await call.ctrlr.get_log_page(lid, payload=payload, **options))


def _known_bytes(call: Call, lid: int) -> int:
    page = LOG_PAGES.get(lid)
    if page is None:
        raise UsageError(
            f"say how many bytes of log page {lid:#04x}: --log-len SIZE; it is none that is known"
        )
    return page.size if page.size_by is None else page.size_by(call.ctrlr.data)


@commands.add("smart-log", example="smart-log mock: -o json")
async def smart_log(
    call: Call,
    nsid: Annotated[
        int, value("--namespace-id", "-n", help="Of one namespace, where the controller has that.")
    ] = _ALL,
) -> None:
    """Show SMART and health information: temperature, spare, wear, what was read and written."""
    from aionvme.cli.nvme.keys_logs import smart

    raw = await read(call, LogPageId.SMART, nsid=nsid)
    # -H has a person see the bits below the number; a program gets them with -v, as from nvme-cli.
    document = smart(raw, detail=call.detail and not call.human)
    if call.human:
        _add_celsius(document)
    call.show(document, raw=raw, title="SMART log")


def _add_celsius(document: dict[str, Any]) -> None:
    from aionvme.spec.logs.health import ZERO_CELSIUS

    for name in document:
        if name.startswith("temperature") and document[name]:
            document[name] = f"{document[name] - ZERO_CELSIUS} °C ({document[name]} K)"


@commands.add("error-log", example="error-log 0000:01:00.0 -e 4")
async def error_log(
    call: Call,
    entries: Annotated[
        int, value("--log-entries", "-e", help="How many entries, of those that there are.")
    ] = _ERROR_ENTRIES,
) -> None:
    """Show the error information log: the latest errors, the latest first."""
    from aionvme.cli.nvme.keys_logs import errors

    if entries < 1:
        raise UsageError("--log-entries: ask for 1 or more")
    count = min(entries, call.ctrlr.data.elpe + 1)
    raw = await read(call, LogPageId.ERROR_INFORMATION, count * ErrorInformation.SIZE)
    call.show(errors(raw), raw=raw, title="Error log")


@commands.add("fw-log", example="fw-log mock: -o json")
async def fw_log(call: Call) -> None:
    """Show the firmware slots: what is in them, which runs, and which is next."""
    from aionvme.cli.nvme.keys_logs import firmware

    raw = await read(call, LogPageId.FIRMWARE_SLOT)
    call.show(firmware(raw, call.name), raw=raw, title="Firmware log")


@commands.add("changed-ns-list-log", example="changed-ns-list-log mock:")
async def changed_ns_list_log(call: Call, rae: RetainEvent = False) -> None:
    """Show which namespaces have changed since this page was read last."""
    from aionvme.cli.nvme.keys_logs import changed_namespaces

    raw = await read(call, LogPageId.CHANGED_NAMESPACES, retain_event=rae)
    call.show(changed_namespaces(raw, call.name), raw=raw, title="Changed namespaces")


@commands.add("effects-log", example="effects-log mock: -o json")
async def effects_log(
    call: Call,
    csi: Annotated[
        int, value("--csi", "-c", help="I/O command set: 0 NVM, as without it; 2 zoned.")
    ] = CommandSet.NVM,
) -> None:
    """Show which commands the controller has, and what each may change."""
    from aionvme.cli.nvme.keys_logs import effects

    raw = await read(call, LogPageId.COMMAND_EFFECTS, csi=csi)
    call.show([effects(raw, csi)], raw=raw, title="Commands supported and effects")


@commands.add("self-test-log", example="self-test-log mock: -e 1")
async def self_test_log(
    call: Call,
    entries: Annotated[int, value("--dst-entries", "-e", help="How many results.")] = 20,
) -> None:
    """Show the device self-tests: what runs now, and the latest results."""
    from aionvme.cli.nvme.keys_logs import self_test

    raw = await read(call, LogPageId.DEVICE_SELF_TEST)
    call.show(self_test(raw, min(entries, 20)), raw=raw, title="Self-test log")


@commands.add("sanitize-log", example="sanitize-log mock: -o json")
async def sanitize_log(call: Call, rae: RetainEvent = False) -> None:
    """Show how a sanitize operation gets on, or how the last one ended."""
    from aionvme.cli.nvme.keys_logs import sanitize

    raw = await read(call, LogPageId.SANITIZE_STATUS, retain_event=rae)
    call.show(sanitize(raw, call.name), raw=raw, title="Sanitize log")


@commands.add("endurance-log", example="endurance-log 0000:01:00.0 -g 1")
async def endurance_log(
    call: Call,
    group: Annotated[int, value("--group-id", "-g", help="Endurance group identifier.")] = 0,
) -> None:
    """Show the wear of an endurance group."""
    from aionvme.cli.nvme.keys_logs import ENDURANCE

    raw = await read(call, LogPageId.ENDURANCE_GROUP, lsi=group)
    call.show(ENDURANCE.document(raw), raw=raw, title=f"Endurance group {group}")


@commands.add("ana-log", example="ana-log vfio-user:/run/ctrl")
async def ana_log(
    call: Call,
    groups: Annotated[bool, switch("--groups", "-g", help="Without the namespaces of each.")] = False,
) -> None:
    """Show by which state of asymmetric access each group of namespaces is reached."""
    from aionvme.cli.nvme.keys_logs import ana

    page = await call.ctrlr.get_log_page(LogPageId.ANA, lsp=int(groups))
    raw = page.encode()
    call.show(ana(raw, call.name), raw=raw, title="Asymmetric namespace access")


@commands.add("supported-log-pages", example="supported-log-pages mock:")
async def supported_log_pages(call: Call) -> None:
    """List the log pages that the controller has."""
    from aionvme.cli.nvme.keys_logs import supported_pages

    raw = await read(call, LogPageId.SUPPORTED_LOG_PAGES)
    document: Any = supported_pages(raw)
    if call.human:
        document = _named_pages(document)
    call.show(document, raw=raw, title="Supported log pages")


def _named_pages(document: dict[str, Any]) -> dict[str, str]:

    found = {}
    for page in document["supported_logs"]:
        for key in page:
            lid = int(key.removeprefix("lid_"), 16)
            known = lid in LogPageId._value2member_map_
            name = LogPageId(lid).name.replace("_", " ").lower() if known else "vendor specific or later"
            found[f"{lid:#04x}"] = name
    return found


# -- pages that take longer ----------------------------------------------------------------------------------


@commands.add("persistent-event-log", example="persistent-event-log mock: -o json")
async def persistent_event_log(
    call: Call,
    action: Annotated[
        int | None,
        value(
            "--action", "-a",
            help="0 read, 1 establish a context and read, 2 release it. If not given: all three, one after the other.",
        ),
    ] = None,
    log_len: Annotated[
        int | None,
        value("--log_len", "-l", help="Bytes, with -a; all if not given.", parser=byte_count, metavar="SIZE"),
    ] = None,
) -> None:  # fmt: skip
    """Show the persistent event log: what has happened to the subsystem, over resets and power cycles."""
    from aionvme.cli.nvme.keys_events import persistent_events

    raw = await _persistent_events(call, action, log_len)
    if not raw:
        call.say("the reporting context was released")
        return
    call.show(persistent_events(raw), raw=raw, title="Persistent event log")


async def _persistent_events(call: Call, action: int | None, log_len: int | None) -> bytes:
    lid, size = LogPageId.PERSISTENT_EVENTS, PersistentEventsHeader.SIZE
    if action is None:
        log = await call.follow(call.ctrlr.get_persistent_events(), "persistent events")
        return log.encode()
    if action > EventAction.RELEASE:
        raise UsageError("--action: 0 reads, 1 establishes a context and reads, 2 releases it")
    head = await read(call, lid, size, lsp=action)
    if action == EventAction.RELEASE:
        return b""
    total = PersistentEventsHeader.decode(head).tll
    nbytes = max(size, min(log_len or total, total))
    return await read(call, lid, -(-nbytes // 4) * 4, lsp=EventAction.READ)


@commands.add("telemetry-log", example="telemetry-log mock: -O telemetry.bin")
async def telemetry_log(
    call: Call,
    output_file: Annotated[
        Path | None, typer.Option("--output-file", "-O", help="Where the log goes, with its header.")
    ] = None,
    host_generate: Annotated[
        int, value("--host-generate", "-g", help="1: have the controller capture its state anew.")
    ] = 1,
    controller_init: Annotated[
        bool, switch("--controller-init", "-c", help="The log that the controller began by itself.")
    ] = False,
    data_area: Annotated[int, value("--data-area", "-d", help="The last data area, 1 to 4.")] = 3,
    rae: RetainEvent = False,
    mcda: Annotated[
        int | None,
        value("--mcda", "-m", help="Capture anew, up to this data area; 0 as many as the controller has."),
    ] = None,
) -> None:
    """Save the telemetry log, which the vendor can read, to a file."""
    if output_file is None:
        raise UsageError("say where the telemetry log is to go: --output-file FILE")
    saving = call.ctrlr.save_telemetry(
        output_file,
        controller=controller_init,
        area=data_area,
        create=bool(host_generate) or mcda is not None,
        created_area=mcda or 0,
        retain_event=rae,
    )
    # The driver writes to a file beside it first, whose name means nothing to who reads the message.
    with writing(output_file):
        header = await call.follow(saving, "telemetry")
    nbytes = 512 * (1 + header.last_block(data_area))
    call.say(f"{nbytes} bytes of telemetry were written to {output_file}")


# -- any page ------------------------------------------------------------------------------------------------


@commands.add("get-log", example="get-log mock: --log-id 2 --log-len 512 -b > smart.bin")
async def get_log(
    call: Call,
    log_id: Annotated[int | None, value("--log-id", "-i", help="Log page identifier.")] = None,
    log_len: Annotated[
        int | None,
        value("--log-len", "-l", help="Bytes; all of a page that is known, if not given.", parser=byte_count,
              metavar="SIZE"),
    ] = None,
    nsid: Annotated[int, value("--namespace-id", "-n", help="Namespace.")] = _ALL,
    lpo: Annotated[
        int, value("--lpo", "-L", help="Offset into the page.", parser=byte_count, metavar="SIZE")
    ] = 0,
    lsp: Annotated[int, value("--lsp", "-s", help="Log specific parameter.")] = 0,
    lsi: Annotated[int, value("--lsi", "-S", help="Log specific identifier.")] = 0,
    rae: RetainEvent = False,
    uuid_index: Annotated[int, value("--uuid-index", "-U", help="UUID index.")] = 0,
    csi: Annotated[int, value("--csi", "-y", help="I/O command set.")] = 0,
    aen: Annotated[
        int | None, value("--aen", "-a", help="What an asynchronous event gave, which has the log page in it.")
    ] = None,
    ot: Annotated[bool, switch("--ot", "-O", help="The offset is an index of the page's own.")] = False,
    xfer_len: Annotated[
        int | None,
        value("--xfer-len", "-x", help="Bytes of each command; as many as fit, if not given.", parser=byte_count,
              metavar="SIZE"),
    ] = None,
) -> None:  # fmt: skip
    """Read any log page, in hexadecimal digits or as it is."""
    if aen is not None:
        log_id = aen >> 16 & 0xFF
    if log_id is None:
        raise UsageError("say which log page: --log-id NUM; `aionvme supported-log-pages` lists them")
    if xfer_len is not None and (not xfer_len or xfer_len % 4):
        raise UsageError(f"--xfer-len is a number of bytes in dwords, not {xfer_len}")
    options: dict[str, Any] = {"nsid": nsid, "lsp": lsp, "lsi": lsi, "uuid_index": uuid_index, "csi": csi}
    nbytes = log_len or _known_bytes(call, log_id)
    if ot:
        raw = await _read_indexed(call, log_id, nbytes, offset=lpo, retain_event=rae, **options)
    else:
        raw = b""
        piece = xfer_len or nbytes
        for at in range(0, nbytes, piece):
            # The last of them is the one that may let go of the event.
            last = at + piece >= nbytes
            raw += await read(
                call,
                log_id,
                min(piece, nbytes - at),
                offset=lpo + at,
                retain_event=rae or not last,
                **options,
            )
    if call.human:
        from aionvme.cli import console
        from aionvme.cli.nvme.output import hex_dump

        console.result(f"Device:{call.name} log-id:{log_id} namespace-id:{nsid:#x}", "bold")
        console.result(hex_dump(raw))
        return
    call.show({"log-id": log_id, "namespace-id": nsid, "data": raw.hex()}, raw=raw)


async def _read_indexed(call: Call, lid: int, nbytes: int, **options: Any) -> bytes:
    """By one command whose offset is an index (OT, bit 23 of dword 14; Base 2.0, 5.16)."""
    sqe = entries.Sqe.decode(entries.get_log_page(lid, nbytes=nbytes, **options))
    with call.ctrlr.dma_alloc(nbytes) as buf:
        await call.ctrlr.admin_raw(sqe.replace(cdw14=sqe.cdw14 | 1 << 23).encode(), data=buf)
        return bytes(buf)
