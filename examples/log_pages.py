"""What a controller logs: `python log_pages.py [ADDRESS]`, by default "mock:?intel=1", a mock of an Intel device.

A page that is known comes typed and whole, however long it is; a vendor's too, once somebody has registered it.
"""

import io
import sys

import aionvme
from aionvme.spec.intel import INTEL_VID, IntelLogPageId
from aionvme.spec.opcodes import AdminOpcode, LogPageId, NvmOpcode


def name_of(lid: int) -> str:
    """What the specification, or Intel, calls a page."""
    for names in (LogPageId, IntelLogPageId):
        if lid in list(names):
            return names(lid).name.lower().replace("_", " ")
    return "another of the vendor's"


async def health(ctrlr: aionvme.Controller) -> None:
    """The pages that every controller has."""
    smart = await ctrlr.get_log_page(LogPageId.SMART)
    print(f"SMART: {smart.temperature_c} C, {smart.available_spare} % spare, {smart.percentage_used} % used,")
    print(
        f"  {smart.host_read_commands} reads, {smart.host_write_commands} writes, {smart.power_on_hours} hours"
    )
    warnings = [name for name, on in smart.warnings.to_dict().items() if on]
    print(f"  critical warnings: {', '.join(warnings) or 'none'}")
    log = await ctrlr.get_log_page(LogPageId.ERROR_INFORMATION)
    for error in log.errors[:3]:
        print(f"Error {error.error_count}: {error.status.text} (queue {error.sqid})")
    slots = await ctrlr.get_log_page(LogPageId.FIRMWARE_SLOT)
    print(f"Firmware: slot {slots.active_slot} of {slots.revisions} is active")


async def more(ctrlr: aionvme.Controller) -> None:
    """Some of the pages that a controller may have: it is asked before."""
    if ctrlr.is_log_page_supported(LogPageId.COMMAND_EFFECTS):
        effects = await ctrlr.get_log_page(LogPageId.COMMAND_EFFECTS)
        admin = [opcode.name for opcode in AdminOpcode if effects.supports_admin(opcode)]
        io_commands = [opcode.name for opcode in NvmOpcode if effects.supports_io(opcode)]
        print(f"Commands: {len(admin)} admin, and {', '.join(io_commands)}")
    if ctrlr.is_log_page_supported(LogPageId.PERSISTENT_EVENTS):
        events = (await ctrlr.get_persistent_events()).events
        print(f"Persistent events: {len(events)}, the latest of type {events[0].head.etype:#04x}")
    if ctrlr.is_log_page_supported(LogPageId.TELEMETRY_HOST):
        # A path does as well: `save_telemetry("telemetry.bin")`.
        file = io.BytesIO()
        saving = ctrlr.save_telemetry(file, area=1)
        async for progress in saving:
            print(f"Telemetry: {progress.fraction:.0%}")
        await saving
        print(f"Telemetry: {len(file.getvalue())} bytes of data area 1")
    if ctrlr.data.vid == INTEL_VID and ctrlr.is_log_page_supported(IntelLogPageId.MARKETING_NAME):
        page = await ctrlr.get_log_page(IntelLogPageId.MARKETING_NAME)
        print(f"Sold as: {page.name}")


async def main(address: str) -> None:
    """Lists the pages that there are, and prints some."""
    async with aionvme.connect(address) as ctrlr:
        for lid in range(256):
            if ctrlr.is_log_page_supported(lid):
                print(f"{lid:02x}h {name_of(lid)}")
        await health(ctrlr)
        await more(ctrlr)


aionvme.run(main(sys.argv[1] if len(sys.argv) > 1 else "mock:?intel=1"))
