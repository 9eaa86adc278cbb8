"""What the NVMe documents say: registers, entries, opcodes, status codes, structures. Tables; no I/O."""
