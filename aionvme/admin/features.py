"""Owns Get Features and Set Features, in their two spellings, and which features there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from aionvme.admin.sending import Callback, Sender
from aionvme.errors import UsageError
from aionvme.spec import entries
from aionvme.spec.feature import Feature, FeatureCapabilities, FeatureSelect
from aionvme.spec.features import FEATURES
from aionvme.spec.identify import Oncs
from aionvme.spec.vendors import VendorFeature, decode_feature

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from aionvme.qpair.request import Completion, Request

_WORD = (1 << 32) - 1


@attrs.frozen
class FeatureValue:
    """What Get Features gave.

    Attributes:
        dw0: Completion dword 0, where most features have their value.
        data: The bytes of the data buffer, empty for a feature without one.
        value: The decoded feature where it is known (`aionvme.spec.features`), else None; with
            `FeatureSelect.SUPPORTED` the `FeatureCapabilities`.
    """

    dw0: int
    data: bytes = b""
    value: Any = None


class FeatureCommands(Sender):
    """Get Features and Set Features (Base 2.0, 5.15 and 5.27)."""

    def is_feature_supported(self, fid: int) -> bool:
        """Whether the controller has a feature, as of the last bring-up; no command is sent.

        Its own list of features says so (Feature Identifiers Supported and Effects, log page 12h); without that
        Identify Controller and the vendor's entry (`register_vendor`). Identify does not tell of some optional ones.

        Raises:
            UsageError: `fid` is not from 0 to 255.
        """
        _check("fid", fid, 0xFF)
        return self._core.feature_support.has(fid)

    def get_feature(
        self,
        fid: int,
        *,
        cdw11: int = 0,
        nsid: int = 0,
        select: int = FeatureSelect.CURRENT,
        nbytes: int | None = None,
        timeout: float | None = None,
    ) -> Request:
        """Get Features (Base 2.0, 5.15): a `FeatureValue`.

        Args:
            fid: Feature identifier.
            cdw11: The feature's own argument: which of its values is meant (`Feature.argument`).
            nsid: Namespace of a namespace specific feature.
            select: A `FeatureSelect`; others than `CURRENT` take a controller that has them.
            nbytes: Size of the feature's data, 0 for one that has none; None for what is known of the feature.

        Raises:
            UsageError: An argument that can't be, or the controller has no `select` (ONCS bit 4).
            StatusError: Invalid Field: the controller has no such feature.
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
        select: int = FeatureSelect.CURRENT,
        nbytes: int | None = None,
        timeout: float | None = None,
    ) -> Request:
        """`get_feature` with a callback."""
        _check("fid", fid, 0xFF)
        _check("cdw11", cdw11, _WORD)
        _check("nsid", nsid, _WORD)
        _check("select", select, FeatureSelect.SUPPORTED)
        if select != FeatureSelect.CURRENT:
            self._require_select("select", "no values but the current one")
        vendor = self._core.extensions.features.get(fid)
        if vendor is not None and not vendor.readable:
            raise UsageError(f"fid {fid:#04x}: {vendor.name} can't be read")
        known = _data_bytes(fid, cdw11, vendor)
        if nbytes is None:
            nbytes = known
        elif nbytes < 0:
            raise UsageError(f"nbytes must be 0 or more, not {nbytes}")

        def decode(cpl: Completion, data: bytes) -> FeatureValue:
            if select == FeatureSelect.SUPPORTED:
                capabilities = FeatureCapabilities(cpl.dw0)
                self._core.feature_support.capabilities[fid] = capabilities
                return FeatureValue(cpl.dw0, data, FeatureCapabilities(cpl.dw0))
            value = _decoded(fid, cpl.dw0, data, cdw11, vendor) if len(data) >= known else None
            return FeatureValue(cpl.dw0, data, value)

        sqe = entries.get_features(fid, cdw11=cdw11, nsid=nsid, select=select)
        return self._send(sqe, cb_fn, cb_arg, timeout=timeout, nbytes=nbytes, decode=decode)

    def set_feature(
        self,
        fid: int,
        *,
        value: Any = None,
        cdw11: int = 0,
        cdw12: int = 0,
        nsid: int = 0,
        data: Buffer | None = None,
        save: bool = False,
        timeout: float | None = None,
    ) -> Request:
        """Set Features (Base 2.0, 5.27): completion dword 0.

        Args:
            fid: Feature identifier.
            value: The feature's value, a `Feature` of that identifier (`aionvme.spec.features`), or what a vendor's
                entry takes; instead of `cdw11`, `cdw12` and `data`.
            cdw11, cdw12: The feature's value, as dwords.
            nsid: Namespace of a namespace specific feature, FFFFFFFFh for all.
            data: The feature's data where it has some; copied at the call.
            save: The value outlives a reset and power cycle.

        Raises:
            UsageError: An argument that can't be; the controller can't save (ONCS bit 4), or said of this feature that
                it can't be saved or changed (`get_feature` with `FeatureSelect.SUPPORTED`).
            StatusError: Feature Not Saveable, Not Changeable, Not Namespace Specific; Invalid Field: the controller
                has no such feature, or not this value.
        """
        return self.submit_set_feature(
            fid,
            value=value,
            cdw11=cdw11,
            cdw12=cdw12,
            nsid=nsid,
            data=data,
            save=save,
            timeout=timeout,
        )

    def submit_set_feature(
        self,
        fid: int,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        value: Any = None,
        cdw11: int = 0,
        cdw12: int = 0,
        nsid: int = 0,
        data: Buffer | None = None,
        save: bool = False,
        timeout: float | None = None,
    ) -> Request:
        """`set_feature` with a callback."""
        _check("fid", fid, 0xFF)
        _check("nsid", nsid, _WORD)
        words, payload = {11: cdw11, 12: cdw12}, None if data is None else bytes(data)
        vendor = self._core.extensions.features.get(fid)
        if vendor is not None and not vendor.writable:
            raise UsageError(f"fid {fid:#04x}: {vendor.name} can't be set")
        if value is not None:
            if cdw11 or cdw12 or data is not None:
                raise UsageError("value says it all: cdw11, cdw12 and data are not given beside it")
            words, payload = _encoded(fid, value, vendor)
        if payload == b"":
            raise UsageError("data must not be empty; None for a feature that has none")
        for number, word in words.items():
            _check(f"cdw{number}", word, _WORD)
        self._check_capabilities(fid, save)
        sqe = entries.set_features(
            fid, nsid=nsid, save=save, **{f"cdw{number}": word for number, word in words.items()}
        )
        return self._send(
            sqe, cb_fn, cb_arg, timeout=timeout, payload=payload, decode=lambda cpl, _data: cpl.dw0
        )

    def _check_capabilities(self, fid: int, save: bool) -> None:
        if save:
            self._require_select("save", "no saved values")
        known = self._core.feature_support.capabilities.get(fid)
        if known is None:
            return
        if not known.changeable:
            raise UsageError(f"fid {fid:#04x}: the controller said that this feature can't be changed")
        if save and not known.saveable:
            raise UsageError(f"save: the controller said that feature {fid:#04x} can't be saved")

    def _require_select(self, argument: str, what: str) -> None:
        data = self._core.data
        if data is not None and not Oncs(data.oncs).save:
            raise UsageError(f"{argument}: the controller has {what} (ONCS bit 4 is 0)")


def _check(name: str, value: int, most: int) -> None:
    if not 0 <= value <= most:
        raise UsageError(f"{name} must be from 0 to {most:#x}, not {value}")


def _data_bytes(fid: int, cdw11: int, vendor: VendorFeature | None) -> int:
    if vendor is not None:
        return vendor.nbytes
    kind = FEATURES.get(fid)
    return kind.get_bytes(cdw11) if kind is not None else 0


def _decoded(fid: int, dw0: int, data: bytes, cdw11: int, vendor: VendorFeature | None) -> Any:
    if vendor is not None:
        return decode_feature(vendor, dw0, data)
    kind = FEATURES.get(fid)
    return kind.from_get(dw0, data, cdw11=cdw11) if kind is not None else None


def _encoded(fid: int, value: Any, vendor: VendorFeature | None) -> tuple[dict[int, int], bytes | None]:
    """The dwords and the data that a value is set by."""
    try:
        if isinstance(value, Feature):
            if fid != value.FID:
                raise UsageError(f"value is of feature {value.FID:#04x}, and fid is {fid:#04x}")
            return value.words(), value.payload()
        if vendor is not None and vendor.encode is not None:
            word, payload = vendor.encode(value)
            return {11: word}, payload
    except ValueError as error:
        raise UsageError(f"value: {error}") from error
    raise TypeError(f"value must be a Feature, or what a vendor's entry takes, not {type(value).__name__}")
