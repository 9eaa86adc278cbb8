"""Owns the keys of Intel's log pages: those of nvme-cli's intel-nvme.c, and ours where it has no JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionvme.cli.nvme.document import Document, Key, Keys
from aionvme.cli.nvme.keys_identify import CONTROLLER
from aionvme.spec.intel import IntelController, IntelLatency, IntelSmart, IntelSmartCode, IntelTemperature

if TYPE_CHECKING:
    from aionvme.spec.structure import Buffer

__all__ = ["TEMPERATURE", "controller", "latency", "smart"]

_VENDOR_PART = 3072
_CONTROLLER = Keys(
    IntelController,
    "ss",
    Key("health", lambda own, _raw: own.health.rstrip() or "healthy"),
    "cls nlw scap sstat bl",
    Key("ww", lambda own, _raw: f"{own.ww:016X}"),
    "mic_bl mic_fw",
)


def controller(raw: bytes) -> Document:
    """Identify Controller, and the vendor's part of it."""
    document = CONTROLLER.document(raw)
    own = _CONTROLLER.document(raw[_VENDOR_PART : _VENDOR_PART + IntelController.SIZE])
    document.update(own)
    document.notes.update(own.notes)
    return document


# Where nvme-cli calls an attribute otherwise.
_NAMES = {
    IntelSmartCode.WEAR_LEVELING_COUNT: "wear_leveling",
    IntelSmartCode.END_TO_END_ERROR_COUNT: "end_to_end_error_detection_count",
    IntelSmartCode.MEDIA_WEAR: "timed_workload_media_wear",
    IntelSmartCode.HOST_READ_PERCENTAGE: "timed_workload_host_reads",
    IntelSmartCode.WORKLOAD_TIMER: "timed_workload_timer",
    IntelSmartCode.RETRY_BUFFER_OVERFLOWS: "retry_buffer_overflow_count",
}


def _raw(code: int, value: int) -> Any:
    """An attribute's number; three or two of them where it is made of several."""
    if code == IntelSmartCode.WEAR_LEVELING_COUNT:
        return {"min": value & 0xFFFF, "max": value >> 16 & 0xFFFF, "avg": value >> 32}
    if code == IntelSmartCode.THERMAL_THROTTLE_STATUS:
        return {"pct": value & 0xFF, "cnt": value >> 8 & 0xFFFFFFFF}
    if code == IntelSmartCode.MEDIA_WEAR:
        # In 1024ths of a percent.
        return value / 1024
    return value


def smart(raw: Buffer, name: str) -> Document:
    """The additional SMART attributes of the controller that is called `name`, those that it has."""
    page = IntelSmart.decode(raw)
    stats = {}
    for code in IntelSmartCode:
        attribute = page.attribute(code)
        if attribute is not None:
            stats[_NAMES.get(code, code.name.lower())] = {
                "normalized": attribute.normalized,
                "raw": _raw(code, attribute.raw),
            }
    return Document({"Intel Smart log": name, "Device stats": stats})


_MICROSECONDS = 1_000_000


def _time(us: int) -> str:
    for unit, size in (("s", _MICROSECONDS), ("ms", 1000)):
        if us > size:
            return f"{us / size:.2f}{unit}"
    return f"{us:.2f}us"


def latency(raw: Buffer, *, write: bool) -> Document:
    """Latency statistics of revision 3: buckets of 32 us, of 1 ms, of 32 ms, each from where it says to where it says.

    nvme-cli gives all buckets one key, of which JSON then has the last; here they are a list.
    """
    page = IntelLatency.decode(raw)
    steps = ((32, 0, page.buckets_32us), (1024, 1, page.buckets_1ms), (32768, 1, page.buckets_32ms))
    buckets: list[dict[str, Any]] = []
    for step, first, counts in steps:
        for number, count in enumerate(counts, first):
            buckets.append(
                {
                    "id": len(buckets),
                    "start": _time(step * number),
                    "end": _time(step * (number + 1)),
                    "value": count,
                }
            )
    return Document(latstats={"type": "write" if write else "read", "values": {"bucket": buckets}})


TEMPERATURE = Keys(
    IntelTemperature,
    "current overtemp_shutdown_last overtemp_shutdown_life highest lowest maximum_operating minimum_operating "
    "estimated_offset",
)
