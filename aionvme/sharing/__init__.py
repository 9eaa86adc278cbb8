"""A controller that several processes drive: `lend` in the one that has it, `borrow` in the others.

The owner's process has the device and its admin queue. A borrower has queue pairs in memory of its own, which the owner
has the device reach, and rings their doorbells itself. The two speak over a socket while it sets up and gives back;
no command passes through it. The end of either process is the end of the socket, and so the other's to notice.
"""
