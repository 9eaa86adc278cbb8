"""Holds the journeys: what a user does with a controller, written once and run on every tier that has the feature.

A journey is a coroutine function that is given a `Device`, connects to it and leaves it closed. It asserts what every
controller must do; what only one tier has (faults of the mock, the kernel's refusals) is a test of that tier.
"""

from aionvme.tests.journeys import data, faults, life, queues
from aionvme.tests.journeys.device import Device, Journey

__all__ = ["OTHERS", "WRITING", "Device", "Journey"]

# Of these the device keeps what they told `Device.record`, to be looked for where no part of ours has been.
WRITING: tuple[Journey, ...] = (*data.WRITING, *queues.WRITING, *faults.WRITING, *life.WRITING)
OTHERS: tuple[Journey, ...] = (*data.OTHERS, *queues.OTHERS, *faults.OTHERS, *life.OTHERS)
