"""Owns `ActiveNamespaces`: what `Controller.namespaces` is, which says what there is when asked for what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from aionvme.qpair.namespace import Namespace


class ActiveNamespaces(dict[int, "Namespace"]):
    """The active namespaces of one controller by identifier; `KeyError` for another names those that there are."""

    def __missing__(self, nsid: object) -> NoReturn:
        there = ", ".join(map(str, sorted(self))) or "none"
        raise KeyError(f"no active namespace {nsid!r}: the controller has {there} (Controller.namespaces)")
