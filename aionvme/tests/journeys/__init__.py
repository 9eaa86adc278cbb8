"""Holds the journeys: what a user does with a controller, written once and run on every tier that has the feature.

A journey is a coroutine function that is given a `Device`, connects to it and leaves it closed. It asserts what every
controller must do; what only one tier has (faults of the mock, the kernel's refusals) is a test of that tier.
"""

from aionvme.tests.journeys import (
    beside,
    commands,
    copies,
    data,
    events,
    faults,
    features,
    life,
    log_pages,
    places,
    protection,
    queues,
    vectors,
)
from aionvme.tests.journeys.device import Device, Journey, Layout

__all__ = ["EVENTS", "OTHERS", "PLACES", "WRITING", "Device", "Journey", "Layout", "with_metadata"]

# Of these the device keeps what they told `Device.record`, to be looked for where no part of ours has been.
WRITING: tuple[Journey, ...] = (
    *data.WRITING,
    *queues.WRITING,
    *faults.WRITING,
    *life.WRITING,
    *commands.WRITING,
    *vectors.WRITING,
)
OTHERS: tuple[Journey, ...] = (
    *data.OTHERS,
    *queues.OTHERS,
    *faults.OTHERS,
    *life.OTHERS,
    *commands.OTHERS,
    *vectors.OTHERS,
    *features.OTHERS,
    *log_pages.OTHERS,
)
# Those for a controller of which one can warn from outside.
EVENTS: tuple[Journey, ...] = events.EVENTS
# Those for a controller with a memory buffer and shadow doorbells. All of them record.
PLACES: tuple[Journey, ...] = places.PLACES


def with_metadata(layout: Layout) -> tuple[Journey, ...]:
    """Those for namespaces with metadata of this kind. All of them record."""
    protected = (*protection.PROTECTED, *copies.PROTECTED) if layout.pi else protection.PLAIN
    return protected if layout.extended else (*protected, *beside.BESIDE)
