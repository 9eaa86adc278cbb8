"""Owns what a mock controller can be told to be: its options, as keywords and as text in an address."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from aionvme.errors import AddressError, UsageError
from aionvme.mock.commands import CommandOptions, Commands
from aionvme.mock.fault_plan import FaultPlan
from aionvme.mock.media_options import MediaKeywords, MediaOptions
from aionvme.pci.address import MalformedAddressError, parse_size

__all__ = ["DRIVES", "MockOptions", "MoreOptions", "NamespaceConfig", "option_examples"]

MiB = 1 << 20
#: Command effects, extended data, telemetry with data area 4, persistent events, supported log pages.
LPA = 0x7E
PAGE = 4096
#: A thread of its own; by `MockController.step`; in callbacks of the event loop that opens it.
DRIVES = ("thread", "step", "loop")


def _within(low: float, high: float) -> Any:
    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not low <= value <= high:
            raise UsageError(f"{attribute.name} must be from {low} to {high}, not {value}")

    return check


def _blocks(_instance: Any, _attribute: Any, value: int) -> None:
    # Last blocks of data areas 1 to 3 have 16 bits.
    if not 0 <= value <= 65535 * 512 or value % 512:
        raise UsageError(f"telemetry must be a multiple of 512 up to {65535 * 512}, not {value}")


def _lba(_instance: Any, _attribute: Any, value: int) -> None:
    if not 512 <= value <= 65536 or value & (value - 1):
        raise UsageError(f"lba must be a power of two from 512 to 65536, not {value}")


def _one_of_drives(_instance: Any, _attribute: Any, value: str) -> None:
    if value not in DRIVES:
        raise UsageError(f"drive must be one of {', '.join(DRIVES)}, not {value!r}")


def _ascii(most: int) -> Any:
    def check(_instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
        if not value.isascii() or not value.isprintable() or len(value) > most:
            raise UsageError(
                f"{attribute.name} must be at most {most} printable ASCII characters, not {value!r}"
            )

    return check


@attrs.frozen(kw_only=True)
class NamespaceConfig:
    """One namespace.

    Attributes:
        size: Bytes, a multiple of `lba`.
        lba: Bytes of a block, a power of two from 512 to 65536.
        noiob: Namespace optimal I/O boundary in blocks, 0 for none.
        active: Whether it is attached to the controller; its identifier is taken in either case.
        metadata: Bytes of metadata of each block.
        extended: Metadata follows its block in the host's memory; else it is where MPTR points.
        pi: Type of protection information, 1 to 3; 0 for none.
        pi_first: It is the first bytes of the metadata, not the last.
        guard: Bits of its guard: 16 (8 bytes of metadata) or 64 (16 bytes).
        sts: Bits of its storage tag, at most 32, or 48 with a guard of 64.
    """

    size: int = 64 * MiB
    lba: int = attrs.field(default=512, validator=_lba)
    noiob: int = attrs.field(default=0, validator=_within(0, 65535))
    active: bool = True
    metadata: int = attrs.field(default=0, validator=_within(0, 4096))
    extended: bool = False
    pi: int = attrs.field(default=0, validator=_within(0, 3))
    pi_first: bool = False
    guard: int = 16
    sts: int = attrs.field(default=0, validator=_within(0, 48))

    def __attrs_post_init__(self) -> None:
        self._check_protection()
        if self.size < self.lba or self.size % self.lba:
            raise UsageError(
                f"size must be a multiple of the block size {self.lba} and not 0, not {self.size}"
            )

    def _check_protection(self) -> None:
        if self.guard not in (16, 64):
            raise UsageError(f"guard must be 16 or 64, not {self.guard}")
        if self.pi and self.metadata < self.pi_bytes:
            raise UsageError(f"pi={self.pi} takes {self.pi_bytes} bytes of metadata, not {self.metadata}")
        if self.extended and not self.metadata:
            raise UsageError("extended=True is for namespaces with metadata")
        if self.sts and (not self.pi or self.sts > self.tag_bits):
            raise UsageError(f"sts is at most {self.tag_bits}, with protection information, not {self.sts}")

    @property
    def nblocks(self) -> int:
        """Blocks of the namespace."""
        return self.size // self.lba

    @property
    def pi_bytes(self) -> int:
        """Bytes of protection information, where there is any."""
        return 8 if self.guard == 16 else 16

    @property
    def pi_offset(self) -> int:
        """Where it is in the metadata."""
        return 0 if self.pi_first else max(self.metadata - self.pi_bytes, 0)

    @property
    def tag_bits(self) -> int:
        """Bits of storage tag and reference tag together."""
        return 32 if self.guard == 16 else 48

    @property
    def stored(self) -> int:
        """Bytes of blocks and metadata."""
        return self.size + self.nblocks * self.metadata


def _mdts(value: int) -> int:
    """As a power of two of 4096 bytes: small numbers are that already, others are bytes."""
    if value < PAGE:
        return value
    power = (value // PAGE).bit_length() - 1
    if value != PAGE << power:
        raise UsageError(
            f"mdts must be a power of two in bytes, 4096 or more, or the power itself, not {value}"
        )
    return power


def _whole_pages(nbytes: int) -> int:
    return -(-nbytes // PAGE) * PAGE


class MoreOptions(CommandOptions, MediaKeywords, total=False):
    """Keywords of `MockController` that are kept together."""


def _those(kind: type, keywords: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in keywords.items() if name in kind.__annotations__}


@attrs.define(kw_only=True, eq=False)
class MockOptions:
    """How a mock controller is made, and what `MockController.change` made of it. All parts have this object."""

    namespaces: Sequence[NamespaceConfig]
    storage: str | os.PathLike[str] | None = None
    serial: str = attrs.field(default="AIONVME0", validator=_ascii(20))
    model: str = attrs.field(default="aionvme mock", validator=_ascii(40))
    firmware: str = attrs.field(default="1.0", validator=_ascii(8))
    queue_entries: int = attrs.field(default=1024, validator=_within(2, 65536))
    num_io_queues: int = attrs.field(default=64, validator=_within(1, 65534))
    mdts: int = attrs.field(default=5, converter=_mdts, validator=_within(0, 15))
    wrr: bool = False
    timeout: float = attrs.field(default=5.0, validator=_within(0.5, 127.5))
    ready_delay: float = attrs.field(default=0.0, validator=_within(0, 127.5))
    shutdown_delay: float = attrs.field(default=0.0, validator=_within(0, 3600))
    dstrd: int = attrs.field(default=0, validator=_within(0, 10))
    mpsmax: int = attrs.field(default=4, validator=_within(0, 4))
    num_irqs: int = attrs.field(default=65, validator=_within(0, 2048))
    abort_limit: int = attrs.field(default=4, validator=_within(1, 256))
    event_limit: int = attrs.field(default=4, validator=_within(1, 256))
    drive: str = attrs.field(default="thread", validator=_one_of_drives)
    cmb: int = attrs.field(default=0, converter=_whole_pages, validator=_within(0, 1 << 30))
    shadow_doorbells: bool = True
    intel: bool = False
    lpa: int = attrs.field(default=LPA, validator=_within(0, LPA))
    telemetry: int = attrs.field(default=64 << 10, validator=_blocks)
    ana: bool = False
    fdp: int = attrs.field(default=0, validator=_within(0, 128))
    commands: Commands = attrs.field(factory=Commands)
    media: MediaOptions = attrs.field(factory=MediaOptions)

    @classmethod
    def make(
        cls,
        namespaces: int | Sequence[NamespaceConfig],
        alike: Mapping[str, Any],
        more: MoreOptions,
        **others: Any,
    ) -> MockOptions:
        """From a number of namespaces that are alike, or from their sequence."""
        if isinstance(namespaces, int):
            if not 1 <= namespaces <= 1024:
                raise UsageError(f"namespaces must be from 1 to 1024, not {namespaces}")
            namespaces = [NamespaceConfig(**alike)] * namespaces
        commands, media = _those(CommandOptions, more), _those(MediaKeywords, more)
        unknown = more.keys() - commands.keys() - media.keys()
        if unknown:
            raise TypeError(f"a mock controller has no option {', '.join(sorted(unknown))}")
        if media.get("no_data") and (others["storage"] or any(config.metadata for config in namespaces)):
            raise UsageError(
                "no_data is for namespaces in memory, without metadata: leave out storage, metadata, pi"
            )
        return cls(
            namespaces=tuple(namespaces), commands=Commands(**commands), media=MediaOptions(**media), **others
        )

    @property
    def timeout_units(self) -> int:
        """CAP.TO: units of 500 ms, and no less than the controller takes."""
        return min(-int(-max(self.timeout, self.ready_delay) * 2 // 1), 255)

    @property
    def max_transfer(self) -> int:
        """Bytes of one command. Without a limit it is what NLB can say."""
        if self.mdts:
            return PAGE << self.mdts
        return max(65536 * (config.lba + config.metadata) for config in self.namespaces)

    @property
    def doorbell_stride(self) -> int:
        """Bytes from one doorbell to the next."""
        return 4 << self.dstrd


def _switch(text: str) -> bool:
    words = {
        "1": True,
        "yes": True,
        "true": True,
        "on": True,
        "0": False,
        "no": False,
        "false": False,
        "off": False,
    }
    return words[text.lower()]


def _drive(text: str) -> str:
    # Whoever has only an address has nothing to step it by.
    if text not in DRIVES or text == "step":
        raise ValueError(text)
    return text


def _number(text: str) -> int:
    return int(text, 0)


_COMMANDS = {name: str(getattr(Commands(), name)) for name in CommandOptions.__annotations__}

# What an address can say, how it is read, and what it looks like.
_TEXTS: dict[str, tuple[Callable[[str], Any], str]] = {
    "size": (parse_size, "64MiB"),
    "lba": (parse_size, "512"),
    "namespaces": (int, "1"),
    "noiob": (int, "0"),
    "storage": (str, "/path/of/a/file"),
    "serial": (str, "AIONVME0"),
    "model": (str, "name"),
    "firmware": (str, "1.0"),
    "queue_entries": (int, "1024"),
    "num_io_queues": (int, "64"),
    "mdts": (parse_size, "128KiB"),
    "wrr": (_switch, "0|1"),
    "timeout": (float, "5"),
    "ready_delay": (float, "0"),
    "shutdown_delay": (float, "0"),
    "dstrd": (int, "0"),
    "mpsmax": (int, "4"),
    "num_irqs": (int, "65"),
    "drive": (_drive, "thread|loop"),
    "metadata": (int, "8"),
    "extended": (_switch, "0|1"),
    "pi": (int, "1"),
    "pi_first": (_switch, "0|1"),
    "guard": (int, "16|64"),
    "sts": (int, "0"),
    "cmb": (parse_size, "64KiB"),
    "shadow_doorbells": (_switch, "0|1"),
    "intel": (_switch, "0|1"),
    "lpa": (_number, "0x7E"),
    "telemetry": (parse_size, "64KiB"),
    "ana": (_switch, "0|1"),
    "fdp": (int, "0"),
    "max_namespaces": (int, "16"),
    "capacity": (parse_size, "1GiB"),
    "format_time": (float, "0"),
    "sanitize_time": (float, "0"),
    "sanitize_fails": (_switch, "0|1"),
    "self_test_time": (float, "0"),
    "self_test_result": (int, "0"),
    "no_data": (_switch, "0|1"),
    "latency": (float, "0.00008"),
    "faults": (FaultPlan.load, "/path/of/a/plan.json"),
    **{name: (_number, example) for name, example in _COMMANDS.items()},
}


_LISTED = "`aionvme mock options` lists what there is"


def option_examples() -> dict[str, str]:
    """What an address may have, each with a value as it is written."""
    return {key: example for key, (_, example) in _TEXTS.items()}


def _unknown(key: str) -> MalformedAddressError:
    found = difflib.get_close_matches(key, _TEXTS, n=1)
    meant = f" Did you mean {found[0]}?" if found else ""
    return MalformedAddressError(f"the mock has no option {key!r}.{meant} {_LISTED}")


def parse_options(options: Mapping[str, str]) -> dict[str, Any]:
    """The keywords of `MockController` for the options of an address.

    Raises:
        MalformedAddressError: An option that there is not, or a value that it can't have.
    """
    keywords: dict[str, Any] = {}
    for key, text in options.items():
        if key not in _TEXTS:
            raise _unknown(key)
        read, example = _TEXTS[key]
        try:
            keywords[key] = read(text)
        except UsageError as error:
            raise MalformedAddressError(f"the mock's option {key}: {error}") from None
        except (ValueError, KeyError, AddressError):
            raise MalformedAddressError(
                f"the mock's option {key} is written like {key}={example}, not {text!r}. {_LISTED}"
            ) from None
    return keywords
