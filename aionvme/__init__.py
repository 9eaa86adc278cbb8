"""An NVMe driver for asyncio programs, in user space. The public names; no logic."""

import lazy_loader

__version__ = "0.1.0.dev0"

# Which names there are, and where, is in __init__.pyi, for type checkers and for this. A module is imported when one of
# its names is first asked for: a program that only prints its help does not wait for the driver.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
