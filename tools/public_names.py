"""Owns the list of public names: what other people's programs may use, and what docs/api-policy.md makes a promise of.

    python -m tools.public_names           # the list, as the package has it
    python -m tools.public_names --write   # into tools/public_names.txt, which a test compares with it

A line is a name, with its parameters if it is a function: `*` before those that are named, `=` behind those that may be
left out. Of a class its members follow, as far as they are ours and not Python's.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".txt")
#: Their `__all__` is what is public. Of SPDK's names the members are SPDK's.
MODULES = (
    *(
        "aionvme",
        "aionvme.metrics",
        "aionvme.mock",
        "aionvme.mock.strategies",
        "aionvme.pi",
        "aionvme.replay",
    ),
    *("aionvme.spdk", "aionvme.testing", "aionvme.trace"),
)
_STARS: Mapping[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
#: What one layer calls of another: no program does, and the reference does not have it.
OF_THE_LAYERS: Mapping[str, frozenset[str]] = {
    "aionvme.BorrowedController": frozenset({"abort", "close_io_qpair", "escalate"}),
    "aionvme.Controller": frozenset({"attach"}),
    "aionvme.EventStream": frozenset({"end", "put"}),
    "aionvme.Hotplug": frozenset({"tell"}),
    "aionvme.IoQueuePair": frozenset(
        {
            *("abandon", "begin_finish", "broken_by_device", "check_open", "cq_iova", "dispose", "disposed"),
            "completes",
            *("drop_unposted", "end_outstanding", "entries", "finish_by", "finishing_for_loop", "give_back"),
            *("has_news", "has_outstanding", "hold_poller", "home", "leave_shadows", "limit_transfer", "limits"),
            *("look", "overdue", "refuse", "release_poller", "renew", "renew_max_transfer", "reset_rings", "resume"),
            *("set_host", "set_tap", "sq_iova", "standing_requests", "suspend", "use_interrupt", "wait_idle"),
        }
    ),
    "aionvme.Lender": frozenset({"finish", "namespaces_changed", "stopped"}),
    "aionvme.Namespace": frozenset({"gone", "nvm", "retire"}),
}  # fmt: skip


def lines() -> list[str]:
    """The list."""
    return [line for module in MODULES for line in _of_module(module)]


def _of_module(name: str) -> Iterator[str]:
    module = importlib.import_module(name)
    for each in sorted(module.__all__):
        it = getattr(module, each)
        path = f"{name}.{each}"
        if inspect.isclass(it):
            yield path
            if name != "aionvme.spdk":
                yield from _of_class(path, it)
        else:
            yield path + _parameters(it)


def _of_class(path: str, it: type) -> Iterator[str]:
    hidden = OF_THE_LAYERS.get(path, frozenset())
    for name in sorted(dir(it)):
        owner = next((base for base in it.__mro__ if name in vars(base)), object)
        if not name.startswith("_") and owner.__module__.startswith("aionvme") and name not in hidden:
            member = inspect.getattr_static(it, name)
            yield f"{path}.{name}" + _parameters(getattr(it, name) if _is_bound(member) else member)


def _is_bound(member: Any) -> bool:
    return isinstance(member, classmethod | staticmethod)


def _parameters(it: Any) -> str:
    if not callable(it) or inspect.isclass(it):
        return ""
    try:
        found = inspect.signature(it).parameters.values()
    except ValueError:
        return "(...)"
    words: list[str] = []
    for parameter in found:
        if parameter.kind is parameter.KEYWORD_ONLY and not any(word.startswith("*") for word in words):
            words.append("*")
        star = _STARS.get(parameter.kind, "")
        words.append(f"{star}{parameter.name}{'' if parameter.default is parameter.empty else '='}")
    return f"({', '.join(words)})"


def main() -> None:
    """Print the list, or write it."""
    text = "".join(f"{line}\n" for line in lines())
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
