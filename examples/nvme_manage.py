r"""Manages controllers from a menu, as SPDK's tool of this name: `python nvme_manage.py [ADDRESS]...`.

By default on a mock. Answers may be piped in, one a line: `printf '1\n0\n' | python nvme_manage.py`. What the
entries do is in aionvme/cli/manage/actions.py; the same tool is `aionvme manage`.
"""

import sys

import aionvme
from aionvme.cli.manage.tool import run

try:
    sys.exit(run(sys.argv[1:] or ["mock:?size=1GiB"]))
except aionvme.NvmeError as error:
    sys.exit(f"error: {error}")
