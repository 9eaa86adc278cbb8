"""Owns the newest nvme-cli that Debian has, beside the system: what `aionvme` is compared with in the guest."""

from __future__ import annotations

from tools.vm import aside
from tools.vm.layout import CACHE, Unavailable, VmError, cached, command, locked, remove, say

TREE = CACHE / "nvme-cli"
SUITE = "sid"


def set_up(*, refresh: bool = False) -> None:
    """Download and unpack it, or find it done. Where it can't be had that is said, and its test is skipped.

    Args:
        refresh: take what Debian has today.
    """
    with locked("nvme-cli"):
        if refresh:
            remove(TREE)
        try:
            cached(TREE, lambda into: aside.unpack(into, (SUITE,), ("nvme-cli",)))
            told = command(run("version")).partition("\n")[0]
        except Unavailable as error:
            say(f"no nvme-cli to compare with, and its test is skipped: {error}")
        except VmError as error:
            say(f"Debian's nvme-cli of {SUITE} does not run here, and its test is skipped: {error}")
            remove(TREE)
        else:
            say(f"{told}, beside the system")


def run(*arguments: str) -> list[str]:
    """The command line that runs it, on the host or in the guest."""
    return aside.run(TREE, "usr/sbin/nvme", *arguments, folders=("systemd",))
