"""How a controller is to be brought up, and afterwards how it was."""

from __future__ import annotations

import uuid
from enum import IntEnum
from typing import Any

import attrs

from aionvme.errors import UsageError
from aionvme.spec.events import EventMask


class ArbMechanism(IntEnum):
    """Arbitration mechanism, as in CC.AMS (Base 2.0, 3.1.3.5)."""

    ROUND_ROBIN = 0
    WEIGHTED_ROUND_ROBIN = 1
    VENDOR = 7


class QPrio(IntEnum):
    """Priority class of a submission queue under weighted round robin (Base 2.0, 5.5, QPRIO)."""

    URGENT = 0
    HIGH = 1
    MEDIUM = 2
    LOW = 3


def _mechanism(value: int) -> ArbMechanism:
    try:
        return ArbMechanism(value)
    except ValueError:
        names = ", ".join(mechanism.name for mechanism in ArbMechanism)
        raise UsageError(f"arb_mechanism is one of ArbMechanism's {names}, not {value!r}") from None


def _within(low: int, high: int) -> Any:
    def check(_instance: Any, attribute: attrs.Attribute[int], value: Any) -> None:
        if not hasattr(value, "__index__"):
            raise TypeError(f"{attribute.name} must be a whole number, not {value!r}")
        if not low <= value <= high:
            raise UsageError(f"{attribute.name} must be from {low} to {high}, not {value}")

    return check


def _seconds(_instance: Any, attribute: attrs.Attribute[float], value: Any) -> None:
    if not hasattr(value, "__float__"):
        raise TypeError(f"{attribute.name} must be a number of seconds, 0 for none, not {value!r}")
    if not 0 <= value < 1_000_000:
        raise UsageError(f"{attribute.name} must be a number of seconds, 0 for none, not {value}")


def _host_id(_instance: Any, _attribute: attrs.Attribute[bytes | None], value: bytes | None) -> None:
    if value is not None and (len(value) != 16 or not any(value)):
        raise UsageError("host_id must be 16 bytes, not all zero")


def _memory(_instance: Any, _attribute: attrs.Attribute[Any], value: str | int) -> None:
    if value not in ("off", "preferred") and (isinstance(value, str) or value < 0):
        raise UsageError(f'host_memory_buffer must be "off", "preferred" or a number of bytes, not {value!r}')


_THIS_PROCESS = uuid.uuid4().bytes


def process_host_id() -> bytes:
    """The host identifier of controllers that were not given one: random, the same for all of this process."""
    return _THIS_PROCESS


@attrs.define(kw_only=True)
class ControllerOptions:
    """Options of a controller; `Controller.opts` holds them as finally used.

    Attributes:
        num_io_queues: I/O queue pairs to ask the controller for; it may grant fewer.
        io_queue_depth: Depth of an I/O queue pair that is allocated without one, at most what CAP.MQES allows.
        admin_queue_depth: Commands outstanding on the admin queue pair at once.
        arb_mechanism: Arbitration between submission queues; weighted round robin only where CAP.AMS has it.
        arbitration_burst: Commands taken from a queue at once, as a power of two; 7 for no limit.
        low_priority_weight, medium_priority_weight, high_priority_weight: Commands of that class in one round, from 1.
        command_set: CC.CSS, or None for the NVM command set where the controller has it.
        host_id: 16 bytes, or None for one that is random for this process. A controller without 128-bit host
            identifiers is given the first 8 bytes.
        admin_timeout, io_timeout: Seconds until a command is aborted; 0 for none.
        abort_timeout: Seconds that an aborted command has to end, before the controller is reset; 0 for at once.
        loop_timeout: Seconds that the event loop of another thread may take to answer, before what is asked of it ends
            with an error: of the controller's loop for queue pairs in other loops, and of theirs for the controller.
        removal_timeout: Seconds that outstanding commands have to complete when the system wants the function back;
            the others then end with `ControllerLostError`.
        shadow_doorbells: Use shadow doorbells, where the controller has them: for controllers in software, to which
            every doorbell costs a trap.
        use_cmb_sqs: Put submission queues into the controller memory buffer, where it takes them and has room.
        hostnqn: NVMe qualified name of the host. It is kept for programs that have one: only fabrics send it.
        events: Which asynchronous events the controller is to report, of those that it has; None for all but
            `EventMask.TELEMETRY`, as other notices wait until someone has read that log. `EventMask(0)`: none, and no
            requests for events are sent.
        host_memory_buffer: Memory to lend the controller: "off", "preferred" for what it would like, or bytes.
            Afterwards the bytes that it was lent, 0 for none. See `Controller.enable_host_memory_buffer`.
        shutdown_timeout: Seconds that `close` waits for commands; what has not ended then is aborted. 0: no limit but
            the commands' own.
        keep_alive_timeout: Seconds after which a controller that has not heard of its host is to stop, and within which
            it has to answer; 0 for no keep alive. A controller that has none refuses to be connected to with it. As
            used, it is rounded up to what the controller has (KAS).
        no_shn_notification: Close by disabling the controller, without the shutdown notification.
    """

    num_io_queues: int = attrs.field(default=64, validator=_within(1, 65535))
    io_queue_depth: int = attrs.field(default=256, validator=_within(1, 65535))
    admin_queue_depth: int = attrs.field(default=31, validator=_within(2, 4095))
    arb_mechanism: ArbMechanism = attrs.field(default=ArbMechanism.ROUND_ROBIN, converter=_mechanism)
    arbitration_burst: int = attrs.field(default=0, validator=_within(0, 7))
    low_priority_weight: int = attrs.field(default=1, validator=_within(1, 256))
    medium_priority_weight: int = attrs.field(default=1, validator=_within(1, 256))
    high_priority_weight: int = attrs.field(default=1, validator=_within(1, 256))
    command_set: int | None = None
    host_id: bytes | None = attrs.field(default=None, validator=_host_id)
    admin_timeout: float = attrs.field(default=60.0, validator=_seconds)
    io_timeout: float = attrs.field(default=30.0, validator=_seconds)
    abort_timeout: float = attrs.field(default=5.0, validator=_seconds)
    loop_timeout: float = attrs.field(default=5.0, validator=(_seconds, attrs.validators.gt(0)))
    removal_timeout: float = attrs.field(default=2.0, validator=_seconds)
    shadow_doorbells: bool = False
    use_cmb_sqs: bool = False
    host_memory_buffer: str | int = attrs.field(default=0, validator=_memory)
    shutdown_timeout: float = attrs.field(default=60.0, validator=_seconds)
    hostnqn: str = ""
    keep_alive_timeout: float = attrs.field(default=0.0, validator=_seconds)
    no_shn_notification: bool = False
    events: EventMask | None = attrs.field(default=None, converter=attrs.converters.optional(EventMask))
