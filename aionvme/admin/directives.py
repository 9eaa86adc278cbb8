"""Owns Directive Send and Receive, in their two spellings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionvme.admin.sending import Callback, Sender, check_range
from aionvme.errors import UsageError
from aionvme.spec import directives
from aionvme.spec.directives import (
    IDENTIFY_RETURN_PARAMETERS,
    STREAMS_GET_STATUS,
    STREAMS_RETURN_PARAMETERS,
    DirectiveType,
    IdentifyDirectives,
    StreamsParameters,
    decode_stream_status,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from aionvme.qpair.request import Request

_RECEIVED: dict[tuple[int, int], tuple[int, Callable[[bytes], Any]]] = {
    (DirectiveType.IDENTIFY, IDENTIFY_RETURN_PARAMETERS): (
        IdentifyDirectives.SIZE,
        IdentifyDirectives.decode,
    ),
    (DirectiveType.STREAMS, STREAMS_RETURN_PARAMETERS): (StreamsParameters.SIZE, StreamsParameters.decode),
    # A count, and as many identifiers as there can be.
    (DirectiveType.STREAMS, STREAMS_GET_STATUS): (4096, decode_stream_status),
}


class DirectiveCommands(Sender):
    """Directive Send and Receive (Base 2.0, 5.11 and 5.10)."""

    def directive_send(
        self,
        dtype: int,
        doper: int,
        *,
        dspec: int = 0,
        nsid: int = 0,
        data: Buffer | None = None,
        cdw12: int = 0,
        cdw13: int = 0,
        timeout: float | None = None,
    ) -> Request[int]:
        """Directive Send: completion dword 0.

        Args:
            dtype: A `DirectiveType`.
            doper: The directive's operation.
            dspec: Directive specific, such as a stream's identifier.
            nsid: Namespace.
            data: What the operation sends, a multiple of 4 bytes; copied at the call.
            cdw12, cdw13: Dwords of the operation.
        """
        return self.submit_directive_send(
            dtype, doper, dspec=dspec, nsid=nsid, data=data, cdw12=cdw12, cdw13=cdw13, timeout=timeout
        )

    def submit_directive_send(
        self,
        dtype: int,
        doper: int,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        dspec: int = 0,
        nsid: int = 0,
        data: Buffer | None = None,
        cdw12: int = 0,
        cdw13: int = 0,
        timeout: float | None = None,
    ) -> Request[int]:
        """`directive_send` with a callback."""
        self._require("directives", "Directive Send")
        payload = None if data is None else bytes(data)
        self._check_directive(dtype, doper, dspec, "data", len(payload or b""))
        sqe = directives.directive_send(
            dtype=dtype,
            doper=doper,
            dspec=dspec,
            nsid=nsid,
            nbytes=len(payload or b""),
            cdw12=cdw12,
            cdw13=cdw13,
        )
        return self._send(
            sqe, cb_fn, cb_arg, timeout=timeout, payload=payload or None, decode=lambda cpl, _data: cpl.dw0
        )

    def enable_directive(
        self, dtype: int, *, nsid: int, enable: bool = True, timeout: float | None = None
    ) -> Request[int]:
        """Directive Send, Identify directive, Enable Directive (8.7.2.2.1)."""
        return self.submit_enable_directive(dtype, nsid=nsid, enable=enable, timeout=timeout)

    def submit_enable_directive(
        self,
        dtype: int,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        nsid: int,
        enable: bool = True,
        timeout: float | None = None,
    ) -> Request[int]:
        """`enable_directive` with a callback."""
        check_range("dtype", dtype, 0, 0xFF)
        return self.submit_directive_send(
            DirectiveType.IDENTIFY,
            directives.IDENTIFY_ENABLE,
            cb_fn,
            cb_arg,
            nsid=nsid,
            cdw12=directives.EnableCdw12(endir=int(enable), dtype=dtype).value,
            timeout=timeout,
        )

    def directive_receive(
        self,
        dtype: int,
        doper: int,
        *,
        dspec: int = 0,
        nsid: int = 0,
        nbytes: int | None = None,
        cdw12: int = 0,
        cdw13: int = 0,
        timeout: float | None = None,
    ) -> Request[Any]:
        """Directive Receive: the decoded structure where it is known; else its bytes, or dword 0 where it has none.

        Known are `IdentifyDirectives`, `StreamsParameters` and the identifiers of the open streams.

        Args:
            nbytes: How many bytes, a multiple of 4; None for the structure's size, 0 for none. With
                a number the bytes come as they are.

        The other args are those of `directive_send`.
        """
        return self.submit_directive_receive(
            dtype, doper, dspec=dspec, nsid=nsid, nbytes=nbytes, cdw12=cdw12, cdw13=cdw13, timeout=timeout
        )

    def submit_directive_receive(
        self,
        dtype: int,
        doper: int,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        dspec: int = 0,
        nsid: int = 0,
        nbytes: int | None = None,
        cdw12: int = 0,
        cdw13: int = 0,
        timeout: float | None = None,
    ) -> Request[Any]:
        """`directive_receive` with a callback."""
        self._require("directives", "Directive Receive")
        size, decoder = _RECEIVED.get((dtype, doper), (0, bytes)) if nbytes is None else (nbytes, bytes)
        self._check_directive(dtype, doper, dspec, "nbytes", size)
        sqe = directives.directive_receive(
            dtype=dtype, doper=doper, dspec=dspec, nsid=nsid, nbytes=size, cdw12=cdw12, cdw13=cdw13
        )
        return self._send(
            sqe,
            cb_fn,
            cb_arg,
            timeout=timeout,
            nbytes=size,
            decode=lambda cpl, data: decoder(data) if size else cpl.dw0,
        )

    def _check_directive(self, dtype: int, doper: int, dspec: int, what: str, nbytes: int) -> None:
        check_range("dtype", dtype, 0, 0xFF)
        check_range("doper", doper, 0, 0xFF)
        check_range("dspec", dspec, 0, 0xFFFF)
        most = self._admin.max_transfer_bytes
        if nbytes < 0 or nbytes % 4 or nbytes > most:
            raise UsageError(f"{what} must be a multiple of 4 bytes, at most {most} (MDTS), not {nbytes}")
