"""Owns Get Features and Set Features, in their two spellings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from aionvme.admin.sending import Callback, Sender
from aionvme.spec import entries

if TYPE_CHECKING:
    from aionvme.qpair.request import Request


@attrs.frozen
class FeatureValue:
    """What Get Features gave.

    Attributes:
        dw0: Completion dword 0, where most features have their value.
        data: The bytes of the data buffer, empty for a feature without one.
        value: The decoded feature where it is known, else None.
    """

    dw0: int
    data: bytes = b""
    value: Any = None


class FeatureCommands(Sender):
    """Get Features and Set Features (Base 2.0, 5.15 and 5.27)."""

    def get_feature(
        self,
        fid: int,
        *,
        cdw11: int = 0,
        nsid: int = 0,
        select: int = 0,
        nbytes: int = 0,
        timeout: float | None = None,
    ) -> Request:
        """Get Features (Base 2.0, 5.15): a `FeatureValue`.

        Args:
            fid: Feature identifier.
            cdw11: The feature's own argument.
            nsid: Namespace of a namespace specific feature.
            select: 0 current, 1 default, 2 saved, 3 supported capabilities.
            nbytes: Size of the feature's data, 0 for one that has none.
        """
        return self.submit_get_feature(
            fid, cdw11=cdw11, nsid=nsid, select=select, nbytes=nbytes, timeout=timeout
        )

    def submit_get_feature(
        self,
        fid: int,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        cdw11: int = 0,
        nsid: int = 0,
        select: int = 0,
        nbytes: int = 0,
        timeout: float | None = None,
    ) -> Request:
        """`get_feature` with a callback."""
        sqe = entries.get_features(fid, cdw11=cdw11, nsid=nsid, select=select)
        return self._send(
            sqe,
            cb_fn,
            cb_arg,
            timeout=timeout,
            nbytes=nbytes,
            decode=lambda cpl, data: FeatureValue(cpl.dw0, data),
        )

    def set_feature(
        self,
        fid: int,
        *,
        cdw11: int = 0,
        cdw12: int = 0,
        nsid: int = 0,
        data: bytes | None = None,
        save: bool = False,
        timeout: float | None = None,
    ) -> Request:
        """Set Features (Base 2.0, 5.27): completion dword 0.

        Args:
            fid: Feature identifier.
            cdw11, cdw12: The feature's value.
            nsid: Namespace of a namespace specific feature.
            data: The feature's data where it has some; copied at the call.
            save: The value outlives a reset and power cycle.
        """
        return self.submit_set_feature(
            fid, cdw11=cdw11, cdw12=cdw12, nsid=nsid, data=data, save=save, timeout=timeout
        )

    def submit_set_feature(
        self,
        fid: int,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        cdw11: int = 0,
        cdw12: int = 0,
        nsid: int = 0,
        data: bytes | None = None,
        save: bool = False,
        timeout: float | None = None,
    ) -> Request:
        """`set_feature` with a callback."""
        sqe = entries.set_features(fid, cdw11=cdw11, cdw12=cdw12, nsid=nsid, save=save)
        return self._send(
            sqe, cb_fn, cb_arg, timeout=timeout, payload=data, decode=lambda cpl, _data: cpl.dw0
        )
