"""Holds the journeys: what a user does with a controller, written once and run on every tier that has the feature.

A journey is a coroutine function that is given a `Device`, connects to it and leaves it closed. It asserts what every
controller must do; what only one tier has (faults of the mock, the kernel's refusals) is a test of that tier.
"""

from aionvme.tests.journeys import commands, data, faults, life, protection, queues, vectors
from aionvme.tests.journeys.device import Device, Journey, Layout

__all__ = ["OTHERS", "PLAIN_METADATA", "PROTECTED", "WRITING", "Device", "Journey", "Layout"]

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
)
# Those for namespaces with metadata and no protection information, and with it. All of them record.
PLAIN_METADATA: tuple[Journey, ...] = protection.PLAIN
PROTECTED: tuple[Journey, ...] = protection.PROTECTED
