"""End-to-end data protection on the host: the protection information of each block, made and checked in memory.

Belongs here: what the NVM command set defines of protection information (NVM Command Set 1.0, 5.2), on buffers that
the caller holds. Does not: a command, a queue, a device.

    fmt = pi.Format.of(ns.data)
    pi.generate(fmt, data, metadata, ref_tag=lba)
    await qp.write(ns, data, lba, nblocks, metadata=metadata, ref_tag=fmt.initial_ref_tag(lba))
    ...
    pi.verify(fmt, data, metadata, ref_tag=lba)
"""

from aionvme.pi.format import Format, Guard
from aionvme.pi.protect import Check, ProtectionError, errors, generate, verify

__all__ = ["Check", "Format", "Guard", "ProtectionError", "errors", "generate", "verify"]
