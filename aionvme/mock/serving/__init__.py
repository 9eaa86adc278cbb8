"""The server of vfio-user: what a client on a socket sees of a mock's function. How it works inside is the mock's.

`listener` has the socket, `connection` one client, `requests` what each message does, `device` the function as VFIO
describes it, `irqs` the eventfds of its interrupts.
"""
