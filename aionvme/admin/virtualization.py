"""Owns Virtualization Management, in its two spellings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionvme.admin.sending import Callback, Sender, check_choice, check_range
from aionvme.spec.virtualization import VirtualizationAction, VirtualResource, virtualization_management

if TYPE_CHECKING:
    from aionvme.qpair.request import Request


class VirtualizationCommands(Sender):
    """Virtualization Management (Base 2.0, 5.28)."""

    def virtualization_management(
        self,
        action: VirtualizationAction,
        cntlid: int,
        *,
        resource: VirtualResource = VirtualResource.QUEUES,
        count: int = 0,
        timeout: float | None = None,
    ) -> Request[int]:
        """Virtualization Management: how many resources were changed (NRM).

        Args:
            action: What is done.
            cntlid: Controller identifier: this primary controller's, or a secondary's.
            resource: Which kind is assigned.
            count: How many.
        """
        return self.submit_virtualization_management(
            action, cntlid, resource=resource, count=count, timeout=timeout
        )

    def submit_virtualization_management(
        self,
        action: VirtualizationAction,
        cntlid: int,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        resource: VirtualResource = VirtualResource.QUEUES,
        count: int = 0,
        timeout: float | None = None,
    ) -> Request[int]:
        """`virtualization_management` with a callback."""
        self._require("virtualization", "Virtualization Management")
        check_choice("action", action, VirtualizationAction)
        check_choice("resource", resource, VirtualResource)
        check_range("cntlid", cntlid, 0, 0xFFFF)
        check_range("count", count, 0, 0xFFFF)
        sqe = virtualization_management(action=action, cntlid=cntlid, resource=resource, count=count)
        return self._send(sqe, cb_fn, cb_arg, timeout=timeout, decode=lambda cpl, _data: cpl.dw0 & 0xFFFF)
