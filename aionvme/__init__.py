"""An NVMe driver for asyncio programs, in user space."""
