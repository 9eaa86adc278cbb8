"""Owns how the namespaces of a controller are found by their identifiers."""

from __future__ import annotations

from typing import NoReturn

from aionvme.qpair.namespace import Namespace


class Namespaces(dict[int, Namespace]):
    """The active namespaces of one controller. What is not among them is a `KeyError` that says which are."""

    def __missing__(self, nsid: object) -> NoReturn:
        if not isinstance(nsid, int):
            raise KeyError(f"{nsid!r} is no namespace identifier, which is a number, as 1")
        there = f"active are {', '.join(map(str, sorted(self)))}" if self else "none is active"
        raise KeyError(f"no namespace {nsid} is active on this controller: {there}")
