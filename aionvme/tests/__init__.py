"""The tests, by tier: unit, flow, vm."""
