"""Owns `Refused`: how a part of the mock says with which status a command ends."""

from __future__ import annotations

from aionvme.spec.status import Status, StatusCode

__all__ = ["Refused"]


class Refused(Exception):
    """The command is completed with this status.

    Attributes:
        field: The status field, 15 bits.
    """

    def __init__(self, code: StatusCode, *, dnr: bool = True) -> None:
        super().__init__(code)
        self.field = int(Status.of(code, dnr=dnr))

    @classmethod
    def by_field(cls, field: int) -> Refused:
        """With a status field that compiled code gave."""
        refused = cls(StatusCode.INTERNAL_ERROR)
        refused.field = field
        return refused
