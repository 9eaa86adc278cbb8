"""One PCI function: address, discovery, binding, VFIO, registers, DMA memory, interrupts.

Belongs here: whatever is true of any PCI function. Does not: anything that knows a queue or an opcode.
"""
