"""The table of wrong arguments on the mock: nothing of any reaches it, and the queue pair goes on working."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import aionvme
from aionvme.mock import MockController, NamespaceConfig
from aionvme.tests.flow.io.spoken import spelled
from aionvme.tests.flow.support import rig
from aionvme.tests.unit.qpair.wrong import CASES, NBLOCKS, Named

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]


@spelled
async def test_wrong_arguments(spelling: str) -> None:
    """Each call of the table raises what it should; the mock sees none, and then reads as before."""
    namespaces = [NamespaceConfig(size=512 * NBLOCKS), NamespaceConfig(size=4096 * NBLOCKS, lba=4096)]
    async with (
        rig(MockController(timeout=0.5, namespaces=namespaces, mdts=4)) as r,
        rig(MockController(timeout=0.5, size=512 * NBLOCKS)) as elsewhere,
    ):
        closed = r.ctrlr.dma_alloc(512)
        closed.close()
        buf, large = r.ctrlr.dma_alloc(1024), r.ctrlr.dma_alloc(1 << 17)
        named: dict[str, Any] = {
            "ns": r.ns,
            "other": elsewhere.ns,
            "strange": r.ctrlr.namespaces[2],
            "buf": buf,
            "odd": memoryview(large)[1:1025],
            "unmapped": bytearray(1024),
            "large": large,
            "readonly": memoryview(buf).toreadonly(),
            "closed": closed,
            "holes": large.array(np.uint8)[::2],
        }

        def put(value: Any) -> Any:
            if isinstance(value, Named):
                return named[value.name]
            return [put(each) for each in value] if isinstance(value, list) else value

        before = (r.mock.queue(1).fetched, r.mock.queue(1).doorbells)
        for case in CASES:
            name = case.name if spelling == "await" else f"submit_{case.name}"
            keywords = {key: put(value) for key, value in case.keywords.items()}
            with pytest.raises(case.error, match=case.text):
                getattr(r.qp, name)(*map(put, case.args), **keywords)
        assert r.qp.outstanding == 0
        assert (r.mock.queue(1).fetched, r.mock.queue(1).doorbells) == before
        await r.works()
        # Nothing of the caller's memory is held: it can be closed, and the same is had again.
        named.clear()
        large.close()
        again = r.ctrlr.dma_alloc(1 << 17)
        assert isinstance(again, aionvme.DmaBuffer)
        assert again.iova == large.iova
