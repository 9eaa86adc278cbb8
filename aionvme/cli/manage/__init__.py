"""`aionvme manage`, and `examples/nvme_manage.py`: an interactive tool over a controller's admin commands.

Belongs here: where answers come from, the menu, and what each entry asks, does and shows. Does not: any command that
the public names do not have.
"""

from aionvme.cli.manage.tool import manage

__all__ = ["manage"]
