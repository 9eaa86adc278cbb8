"""Every wrong argument of every command is refused by the call, by name, in both spellings, and leaves no trace."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from aionvme.errors import QueueFullError, UsageError
from aionvme.tests.unit.qpair.device import Device, device
from aionvme.tests.unit.qpair.wrong import CASES, NBLOCKS, Named, Wrong

PROTECTED = {"metadata_size": 8, "pi_size": 8}


class Copies:
    """The limits of Copy in Identify Namespace."""

    mssrl, mcl, msrc = 512, 4096, 127


@pytest.fixture(scope="module")
def dev() -> Iterator[Device]:
    """One queue pair for all: after each refusal it goes on working."""
    with device(max_transfer=64 << 10, sgls=1 | 1 << 16) as made:
        yield made


@pytest.fixture(scope="module")
def named(dev: Device) -> Iterator[dict[str, Any]]:
    """What the table names."""
    with device() as elsewhere:
        closed = dev.alloc(512)
        closed.close()
        buf = dev.alloc(1024)
        large = dev.alloc(1 << 17)
        yield {
            "ns": dev.namespace(nblocks=NBLOCKS, data=Copies()),
            "other": elsewhere.namespace(nblocks=NBLOCKS, data=Copies()),
            "strange": dev.namespace(nblocks=NBLOCKS, block_size=4096, data=Copies()),
            "buf": buf,
            "odd": memoryview(large)[1:1025],
            "unmapped": bytearray(1024),
            "large": large,
            "readonly": memoryview(buf).toreadonly(),
            "closed": closed,
            "holes": large.array(np.uint8)[::2],
        }


def put(value: Any, named: dict[str, Any]) -> Any:
    """The value, with what is named in its place."""
    if isinstance(value, Named):
        return named[value.name]
    return [put(each, named) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", CASES, ids=str)
def test_wrong_arguments(dev: Device, named: dict[str, Any], case: Wrong) -> None:
    """The exception names the parameter and its limit; nothing is posted, and the next command is as good as ever."""
    args = [put(arg, named) for arg in case.args]
    keywords = {key: put(arg, named) for key, arg in case.keywords.items()}
    for name in (case.name, f"submit_{case.name}"):
        with pytest.raises(case.error, match=case.text):
            getattr(dev.qp, name)(*args, **keywords)
    assert dev.commands() == []
    assert dev.qp.outstanding == 0
    assert dev.command(dev.qp.submit_read, named["ns"], named["buf"], 1, 2)[0] == 2


@pytest.mark.parametrize(
    "name", sorted({case.name for case in CASES} - {"io_raw"}), ids=str)  # fmt: skip
def test_when_full_is_a_word(dev: Device, named: dict[str, Any], name: str) -> None:
    """Anything but None and "error" is refused, and the memory of the call let go."""
    args = {
        "read": ("buf", 0, 1), "write": ("buf", 0, 1), "compare": ("buf", 0, 1),
        "readv": (["buf"], 0, 1), "writev": (["buf"], 0, 1), "comparev": (["buf"], 0, 1),
        "dataset_management": ([(0, 1)],), "copy": ([(0, 1)], 500), "compare_and_write": ("buf", "buf", 0, 1),
        "reservation_register": (0,), "reservation_acquire": (0, 1), "reservation_release": (0, 1),
    }.get(name, (0, 1) if name in ("verify", "write_zeroes", "write_uncorrectable") else ())  # fmt: skip
    buf = dev.alloc(1024)
    given = [buf if arg == "buf" else [buf] if arg == ["buf"] else arg for arg in args]
    with pytest.raises(UsageError, match="when_full must be None or \"error\", not 'wait'"):
        getattr(dev.qp, f"submit_{name}")(named["ns"], *given, when_full="wait")
    buf.close()
    assert dev.commands() == []
    # Nothing holds it any more: the next one is in the same place.
    with dev.alloc(1024) as again:
        assert again.iova == buf.iova


def test_every_command_is_in_the_table(dev: Device) -> None:
    """A new command needs its wrong arguments here."""
    commands = {name.removeprefix("submit_") for name in dir(dev.qp) if name.startswith("submit_")}
    assert commands == {case.name for case in CASES}


# Switches take anything that is true or false; what a callback is given is its own.
WITHOUT_WRONG = {
    "deallocate",
    "integral_read",
    "integral_write",
    "ignore_key",
    "extended",
    "bounce",
    "write",
    "cb_arg",
}


@pytest.mark.parametrize("name", sorted({case.name for case in CASES}))
def test_every_argument_is_in_the_table(dev: Device, name: str) -> None:
    """Each parameter of a command has a wrong value here, under its own name in the message or as a keyword."""
    parameters = set(inspect.signature(getattr(dev.qp, f"submit_{name}")).parameters)
    wanted = parameters - WITHOUT_WRONG - {"cb_fn", "when_full"}  # below, for all commands
    cases = [case for case in CASES if case.name == name]
    covered = {key for case in cases for key in case.keywords}
    covered |= {word for case in cases for word in wanted if re.search(rf"\b{word}\b", case.text)}
    assert wanted - covered == set()


def test_a_callback_can_be_called(dev: Device, named: dict[str, Any]) -> None:
    """What is no function is refused by the call, and not when the command has ended."""
    wrong: list[Any] = [5, "x", []]
    for cb_fn in wrong:
        text = re.escape(f"cb_fn must be callable or None, not {cb_fn!r}")
        with pytest.raises(TypeError, match=text):
            dev.qp.submit_read(named["ns"], named["buf"], 0, 1, cb_fn)
        with pytest.raises(TypeError, match=text):
            dev.qp.submit_io_raw(bytes(64), cb_fn)
        with pytest.raises(TypeError, match=text):
            dev.qp.submit_copy(named["ns"], [(0, 1)], 500, cb_fn)
    assert dev.commands() == []


PROTECTION: list[tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = [
    ({"pi_type": 1}, {"ref_tag": 1 << 32}, UsageError, "ref_tag must be from 0 to 4294967295"),
    (
        {"pi_type": 1},
        {"ref_tag": 5, "io_flags": 1 << 26},
        UsageError,
        "ref_tag 5: .*lowest 32 bits of the LBA",
    ),
    ({"pi_type": 2}, {"io_flags": 1 << 26}, UsageError, "ref_tag: give the initial reference tag"),
    ({"pi_type": 2}, {"io_flags": 1 << 29}, UsageError, "ref_tag: give the initial reference tag"),
    ({"pi_type": 1}, {"app_tag": 1 << 16}, UsageError, "app_tag must be from 0 to 65535"),
    ({"pi_type": 1}, {"app_mask": -1}, UsageError, "app_mask must be from 0 to 65535"),
    ({"pi_type": 1}, {"app_tag": "x"}, TypeError, "app_tag must be a whole number"),
    ({"pi_type": 1}, {"ref_tag": 0.5}, TypeError, "ref_tag must be a whole number"),
    ({"pi_type": 1}, {"storage_tag": 1}, UsageError, "storage_tag: .* has none"),
    (
        {"pi_type": 1, "storage_tag_bits": 8},
        {"storage_tag": 256},
        UsageError,
        "storage_tag must be from 0 to 255",
    ),
    (
        {"pi_type": 2, "storage_tag_bits": 8},
        {"ref_tag": 1 << 24},
        UsageError,
        "ref_tag must be from 0 to 16777215",
    ),
    (
        {"pi_type": 2, "pi_size": 16, "metadata_size": 16},
        {"ref_tag": 1 << 48},
        UsageError,
        "ref_tag must be from 0",
    ),
]


@pytest.mark.parametrize("case", PROTECTION, ids=str)
def test_wrong_tags(dev: Device, case: Any) -> None:
    """Tags are as wide as the format has them."""
    fields, keywords, error, text = case
    ns = dev.namespace(**PROTECTED | fields)
    buf, metadata = dev.alloc(512), dev.alloc(512)
    for method in (dev.qp.read, dev.qp.submit_write, dev.qp.compare):
        with pytest.raises(error, match=text):
            method(ns, buf, 9, 1, metadata=metadata, **keywords)
    for ranged in (dev.qp.verify, dev.qp.submit_write_zeroes):
        with pytest.raises(error, match=text):
            ranged(ns, 9, 1, **keywords)
    buf.close()
    metadata.close()
    assert dev.commands() == []


def test_wrong_metadata(dev: Device) -> None:
    """Metadata is there where it has to be, long enough, mapped, aligned and writable."""
    ns, buf, large = dev.namespace(metadata_size=8), dev.alloc(1024), dev.alloc(4096)
    cases: list[tuple[Any, type[Exception], str]] = [
        (None, UsageError, "metadata: .* has 8 bytes of separate metadata per block"),
        (memoryview(large)[:15], UsageError, "metadata has 15 bytes; 2 blocks of 8 need 16"),
        (bytearray(16), UsageError, "metadata: byte 0 of 16 is not mapped"),
        (memoryview(large)[2:], UsageError, "metadata must begin at a multiple of 4"),
        (memoryview(large).toreadonly(), UsageError, "metadata must be .* writable"),
        (5, TypeError, "metadata must be memory"),
    ]
    for metadata, error, text in cases:
        with pytest.raises(error, match=text):
            dev.qp.read(ns, buf, 0, 2, metadata=metadata)
    buf.close()
    large.close()
    assert dev.commands() == []
    with pytest.raises(UsageError, match="no separate metadata"):
        dev.qp.read(
            dev.namespace(metadata_size=8, extended=True), dev.alloc(1040), 0, 2, metadata=dev.alloc(16)
        )


def test_a_full_queue_refuses_where_that_is_asked_for() -> None:
    """No slot is free: `when_full="error"` raises for every command, and holds nothing."""
    with device(depth=2) as dev:
        ns, buf = dev.namespace(data=Copies()), dev.alloc(512)
        for _ in range(2):
            dev.qp.submit_flush(ns)
        spare = dev.alloc(512)
        for call in (
            lambda: dev.qp.submit_read(ns, spare, 0, 1, when_full="error"),
            lambda: dev.qp.submit_writev(ns, [spare], 0, 1, when_full="error"),
            lambda: dev.qp.submit_compare_and_write(ns, spare, spare, 0, 1, when_full="error"),
            lambda: dev.qp.submit_verify(ns, 0, 1, when_full="error"),
            lambda: dev.qp.submit_copy(ns, [(0, 1)], 9, when_full="error"),
            lambda: dev.qp.submit_reservation_report(ns, when_full="error"),
            lambda: dev.qp.submit_io_raw(bytes(64), data=spare, when_full="error"),
        ):
            with pytest.raises(QueueFullError):
                call()
        spare.close()
        for sqe in dev.commands():
            dev.complete(sqe)
        assert dev.command(dev.qp.submit_read, ns, buf, 0, 1)[0] == 2
