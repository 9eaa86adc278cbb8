"""Owns Get Log Page, in its two spellings: one command, or several for a page that is longer than one takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

from aionvme.admin.operation import Operation, Reporter
from aionvme.admin.sending import Callback, Sender, check_range
from aionvme.errors import DecodeError, UsageError
from aionvme.spec import entries
from aionvme.spec.identify import Lpa
from aionvme.spec.logs import LOG_PAGES, LogPage
from aionvme.spec.opcodes import LogPageId
from aionvme.spec.vendors import VendorLogPage, decode_page

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from aionvme.qpair.request import Request

ALL_NAMESPACES = 0xFFFFFFFF
# Without extended data (LPA) the number of dwords has 12 bits (Base 1.2, 5.10).
_SHORT_BYTES = 4096 * 4
# A piece of a page that takes several commands: no more memory than this is asked for at once.
PIECE_BYTES = 1 << 20
# The first read of a page that tells its length: most are whole with that.
_FIRST_BYTES = 4096
# A page that says that it is longer is not read because it says so.
MOST_BYTES = 64 << 20
# How often a page that changes while it is read is begun again.
_ATTEMPTS = 8


@attrs.frozen(kw_only=True)
class Ask:
    """The arguments of Get Log Page that are the same for each of its commands."""

    lid: int
    nsid: int = ALL_NAMESPACES
    lsp: int = 0
    lsi: int = 0
    uuid_index: int = 0
    csi: int = 0
    retain_event: bool = False
    timeout: float | None = None

    def sqe(self, nbytes: int, offset: int, retain: bool) -> bytes:
        """One command."""
        return entries.get_log_page(
            self.lid, nbytes=nbytes, nsid=self.nsid, offset=offset, lsp=self.lsp, lsi=self.lsi,
            retain_event=retain, uuid_index=self.uuid_index, csi=self.csi,
        )  # fmt: skip


class LogPageCommands(Sender):
    """Get Log Page (Base 2.0, 5.16)."""

    def is_log_page_supported(self, lid: int) -> bool:
        """Whether the controller has a log page.

        It was asked when the controller was brought up or reset: by the page of supported pages (00h), where there is
        one; else Identify Controller says, and for a vendor's page the vendor's entry (`register_vendor`).

        Args:
            lid: Log page identifier, 0 to 255.
        """
        check_range("lid", lid, 0, 0xFF)
        return self._core.log_support.has(lid)

    def get_log_page(
        self,
        lid: int,
        *,
        nsid: int = ALL_NAMESPACES,
        nbytes: int | None = None,
        offset: int = 0,
        lsp: int = 0,
        lsi: int = 0,
        uuid_index: int = 0,
        csi: int = 0,
        retain_event: bool = False,
        payload: Buffer | None = None,
        timeout: float | None = None,
    ) -> Request[Any] | Operation[Any]:
        """Get Log Page (Base 2.0, 5.16): the typed page where it is known and was read whole, else bytes.

            smart = await ctrlr.get_log_page(LogPageId.SMART)
            print(smart.temperature_c)

        A page that is longer than one command takes (MDTS) is read in several; then this is an `Operation`, with its
        progress, else a `Request`. A page that tells its length is read until it is whole, and again where it changed
        meanwhile.

        Args:
            lid: Log page identifier.
            nsid: Namespace, or FFFFFFFFh for the controller's own page.
            nbytes: How many bytes, a multiple of 4; None for all of the page, which has to be one that is known.
            offset: Byte offset into the page, a multiple of 4. The controller has to have offsets (LPA bit 2).
            lsp, lsi: Log specific field, 7 bits, and identifier, 16 bits: an endurance group, an NVM set.
            uuid_index: Which vendor's meaning a vendor's page has, 7 bits; 0 for none.
            csi: I/O command set, of pages that have one each.
            retain_event: Does not clear the asynchronous event that belongs to the page (RAE). Of several commands all
                but the last retain it in any case.
            payload: Memory to fill with the raw bytes, any writable buffer; it is the result. None: memory of ours.
            timeout: Seconds for each command; 0 for none, None for the controller's `admin_timeout`.

        Raises:
            UsageError: A size, offset or field that cannot be, or that the controller does not take.
            StatusError: The controller refused; INVALID_LOG_PAGE where it has no such page.
            DecodeError: It gave what is not such a page.
        """
        return self.submit_get_log_page(
            lid, nsid=nsid, nbytes=nbytes, offset=offset, lsp=lsp, lsi=lsi, uuid_index=uuid_index, csi=csi,
            retain_event=retain_event, payload=payload, timeout=timeout,
        )  # fmt: skip

    def submit_get_log_page(
        self,
        lid: int,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        nsid: int = ALL_NAMESPACES,
        nbytes: int | None = None,
        offset: int = 0,
        lsp: int = 0,
        lsi: int = 0,
        uuid_index: int = 0,
        csi: int = 0,
        retain_event: bool = False,
        payload: Buffer | None = None,
        timeout: float | None = None,
    ) -> Request[Any] | Operation[Any]:
        """`get_log_page` with a callback, called once at the end."""
        for name, value, most in (
            ("lid", lid, 0xFF), ("nsid", nsid, ALL_NAMESPACES), ("lsp", lsp, 0x7F), ("lsi", lsi, 0xFFFF),
            ("uuid_index", uuid_index, 0x7F), ("csi", csi, 0xFF),
        ):  # fmt: skip
            check_range(name, value, 0, most)
        self._admin.check_open()
        ask = Ask(
            lid=lid, nsid=nsid, lsp=lsp, lsi=lsi, uuid_index=uuid_index, csi=csi, retain_event=retain_event,
            timeout=timeout,
        )  # fmt: skip
        page = self._known_page(ask)
        view = _writable(payload)
        if nbytes is None and view is not None:
            nbytes = view.nbytes
        if nbytes is None and page is not None and page.length is not None and not offset:
            if lid == LogPageId.PERSISTENT_EVENTS:
                return self._submit_events(ask, cb_fn, cb_arg)
            return self._submit_told(ask, page, cb_fn, cb_arg)
        nbytes = self._bytes_wanted(ask, page, nbytes, offset)
        if view is not None and view.nbytes < nbytes:
            raise UsageError(f"payload has {view.nbytes} bytes, and nbytes is {nbytes}")

        def finish(data: bytes) -> Any:
            if view is not None:
                view[:nbytes] = data
                return payload
            whole = page is not None and not offset and page.whole(data)
            return page.decode(data) if whole and page is not None else data

        if nbytes <= self._largest():
            sqe = ask.sqe(nbytes, offset, retain_event)
            return self._send(
                sqe, cb_fn, cb_arg, timeout=timeout, nbytes=nbytes, decode=lambda _cpl, data: finish(data)
            )
        reporter = Reporter()

        async def read() -> Any:
            return finish(await self._read_range(ask, offset, nbytes, reporter))

        return self._operation("log page", read(), cb_fn, cb_arg, reporter)

    def _submit_events(self, ask: Ask, cb_fn: Callback | None, cb_arg: Any) -> Operation[Any]:
        """The persistent event log, which is read in a reporting context."""
        raise NotImplementedError

    # -- sizes ---------------------------------------------------------------------------------------------------------

    def _has_offsets(self) -> bool:
        data = self._core.data
        return data is not None and bool(Lpa(data.lpa).extended_data)

    def _largest(self) -> int:
        """Bytes that one command may transfer."""
        most = self._core.max_transfer or PIECE_BYTES
        return most if self._has_offsets() else min(most, _SHORT_BYTES)

    def _known_page(self, ask: Ask) -> LogPage | None:
        """What is known of a page, by the specification or a vendor."""
        known = LOG_PAGES.get(ask.lid)
        of_vendor = self._core.extensions.log_pages.get(ask.lid)
        if known is not None or of_vendor is None or not of_vendor.size or ask.uuid_index:
            # With a UUID the page may be another one's.
            return known
        return _vendor_page(of_vendor)

    def _bytes_wanted(self, ask: Ask, page: LogPage | None, nbytes: int | None, offset: int) -> int:
        if offset < 0 or offset % 4 or offset >= 1 << 64:
            raise UsageError(f"offset must be a multiple of 4, not {offset}")
        if nbytes is None:
            nbytes = self._own_size(ask, page) - offset
        if nbytes <= 0 or nbytes % 4:
            raise UsageError(f"nbytes must be a multiple of 4 and more than 0, not {nbytes}")
        if nbytes > 1 << 34:
            raise UsageError(f"nbytes must be at most 16 GiB (NUMD has 32 bits), not {nbytes}")
        if self._has_offsets():
            return nbytes
        if offset:
            raise UsageError(
                f"offset {offset}: the controller has no offsets into log pages (LPA bit 2 is 0)"
            )
        if nbytes > self._largest():
            raise UsageError(
                f"nbytes {nbytes}: the controller gives {self._largest()} bytes in one command, and has no offsets "
                "into log pages (LPA bit 2 is 0)"
            )
        return nbytes

    def _own_size(self, ask: Ask, page: LogPage | None) -> int:
        data = self._core.data
        if page is not None and page.size_by is not None and data is not None:
            return page.size_by(data)
        if page is None or page.length is not None:
            raise UsageError(f"nbytes: say how many bytes of log page {ask.lid:#04x}; its size is not known")
        return page.size

    # -- several commands ----------------------------------------------------------------------------------------------

    async def _read_one(self, ask: Ask, offset: int, nbytes: int, retain: bool) -> bytes:
        sqe = ask.sqe(nbytes, offset, retain)
        data: bytes = await self._send(
            sqe, None, None, timeout=ask.timeout, nbytes=nbytes, decode=lambda _cpl, data: data
        )
        return data

    async def _read_range(self, ask: Ask, offset: int, nbytes: int, reporter: Reporter) -> bytes:
        """A part of a page, in as many commands as it takes; the event stays until the last."""
        data = bytearray()
        for at, size in pieces(nbytes, self._largest()):
            last = at + size == nbytes
            data += await self._read_one(ask, offset + at, size, ask.retain_event or not last)
            reporter(len(data), nbytes)
        return bytes(data)

    def _submit_told(self, ask: Ask, page: LogPage, cb_fn: Callback | None, cb_arg: Any) -> Operation[Any]:
        reporter = Reporter()

        async def read() -> Any:
            return page.decode(await self._read_told(ask, page, reporter))

        return self._operation("log page", read(), cb_fn, cb_arg, reporter)

    async def _read_told(self, ask: Ask, page: LogPage, reporter: Reporter) -> bytes:
        """A page that tells its length, whole."""
        for _ in range(_ATTEMPTS):
            data, commands = await self._read_growing(ask, page, reporter)
            told_of = page.event and not ask.retain_event
            checked = commands > 1 and page.generation is not None
            if told_of or checked:
                head = await self._read_one(ask, 0, page.size, ask.retain_event)
                if checked and page.changed(data, head):
                    continue
            return data
        raise DecodeError(f"log page {ask.lid:#04x} changed whenever it was read, {_ATTEMPTS} times")

    async def _read_growing(self, ask: Ask, page: LogPage, reporter: Reporter) -> tuple[bytes, int]:
        """Such a page as it is now, and how many commands that took. Its event stays."""
        assert page.length is not None
        data = bytearray()
        need = max(page.size, _FIRST_BYTES)
        commands = 0
        while len(data) < need:
            if data and not self._has_offsets():
                raise UsageError(
                    f"log page {ask.lid:#04x} has {need} bytes, of which the controller gives {self._largest()}: it "
                    "has no offsets into log pages (LPA bit 2 is 0)"
                )
            size = min(max(need - len(data), _FIRST_BYTES), self._largest(), PIECE_BYTES)
            data += await self._read_one(ask, len(data), size, True)
            commands += 1
            if len(data) < page.size:
                continue
            told = page.length(bytes(data))
            if told > MOST_BYTES:
                raise DecodeError(
                    f"log page {ask.lid:#04x} says that it has {told} bytes, of which {MOST_BYTES} would be read: "
                    "say how many with nbytes"
                )
            need = -(-told // 4) * 4
            reporter(min(len(data), need), need)
        return bytes(data), commands


def pieces(nbytes: int, most: int) -> Iterator[tuple[int, int]]:
    """Offset and size of each piece, of which none has more than `most` bytes, a multiple of 4."""
    step = min(most, PIECE_BYTES)
    for at in range(0, nbytes, step):
        yield at, min(step, nbytes - at)


def _vendor_page(page: VendorLogPage) -> LogPage:
    return LogPage(decode=lambda data: decode_page(page, data), size=page.size)


def _writable(payload: Buffer | None) -> memoryview | None:
    if payload is None:
        return None
    view = memoryview(payload)
    if view.readonly or not view.c_contiguous:
        raise UsageError("payload must be memory that can be written, in one piece")
    return view.cast("B")
