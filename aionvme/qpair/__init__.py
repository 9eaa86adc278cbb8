"""A submission and a completion queue: rings, requests, PRP lists, splitting, poller, the I/O commands.

Does not belong here: how a controller is enabled, reset or asked (that is `admin`).
"""
