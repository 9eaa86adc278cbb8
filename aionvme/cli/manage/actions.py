"""Owns the menu's entries: what each asks, does and shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

import aionvme
from aionvme.cli import console
from aionvme.cli.manage.session import Session
from aionvme.errors import UsageError
from aionvme.spec.identify import Oacs
from aionvme.spec.opcodes import Cns

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ACTIONS", "Action"]


@attrs.frozen
class Action:
    """An entry of the menu.

    Attributes:
        word: What may be typed instead of its number.
        title: What it is called in the menu.
        perform: Asks, does, shows.
    """

    word: str
    title: str
    perform: Callable[[Session], Awaitable[None]]


# -- looking -------------------------------------------------------------------------------------------------


async def list_controllers(session: Session) -> None:
    """Each controller in a line, with its namespaces."""
    rows = []
    for address, ctrlr in session.controllers.items():
        data = ctrlr.data
        namespaces = ", ".join(
            f"{ns.nsid} ({console.size(ns.nblocks * ns.block_size)}, {ns.block_size} B)"
            for ns in ctrlr.namespaces.values()
        )
        rows.append(
            (
                address,
                data.mn.strip(),
                data.sn.strip(),
                data.fr.strip(),
                str(data.cntlid),
                namespaces or "none",
            )
        )
    console.table(("ADDRESS", "MODEL", "SERIAL", "FIRMWARE", "CNTLID", "NAMESPACES"), rows)


async def identify(session: Session) -> None:
    """What a controller can do, its capacity, and the formats of its namespaces."""
    ctrlr = await session.controller()
    data = ctrlr.data
    can = [name.replace("_", " ") for name in _names(Oacs) if getattr(Oacs(data.oacs), name)]
    console.facts(
        [
            ("model", data.mn.strip()),
            ("serial", data.sn.strip()),
            ("firmware", data.fr.strip()),
            ("NVMe", ".".join(map(str, ctrlr.version))),
            ("controller id", str(data.cntlid)),
            ("optional commands", ", ".join(can) or "none"),
            ("capacity", console.size(data.tnvmcap)),
            ("not allocated", console.size(data.unvmcap)),
            ("namespaces allocated", _numbers(await _allocated(ctrlr))),
            ("namespaces attached", _numbers(ctrlr.namespaces)),
        ]
    )
    for ns in ctrlr.namespaces.values():
        console.result(
            f"namespace {ns.nsid}: {ns.nblocks} blocks, {console.size(ns.nblocks * ns.block_size)}", "bold"
        )
        console.table(
            ("FORMAT", "BLOCK", "METADATA", "PERFORMANCE", ""),
            [
                (str(number), f"{block} B", f"{metadata} B", rank, "in use" if used else "")
                for number, block, metadata, rank, used in _formats(ns.data)
            ],
        )


def _names(bits: Any) -> Iterable[str]:
    return (name for name, value in vars(bits).items() if not name.startswith("_") and hasattr(value, "low"))


def _numbers(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers))) or "none"


def _formats(data: aionvme.IdentifyNamespace) -> Iterable[tuple[int, int, int, str, bool]]:
    ranks = ("best", "better", "good", "degraded")
    for number, form in enumerate(data.lbaf[: data.nlbaf + 1]):
        if form.lbads:
            yield number, form.block_size, form.ms, ranks[form.rp & 3], number == data.lba_format_index


async def _allocated(ctrlr: aionvme.Controller) -> tuple[int, ...]:
    if not Oacs(ctrlr.data.oacs).namespace_management:
        return tuple(ctrlr.namespaces)
    nsids: tuple[int, ...] = await ctrlr.identify(Cns.ALLOCATED_NAMESPACES)
    return nsids


# -- namespaces ----------------------------------------------------------------------------------------------


async def create(session: Session) -> None:
    """Creates a namespace of so many bytes in one of the controller's formats."""
    ctrlr = await session.controller()
    # Identify of FFFFFFFFh: what all namespaces have in common, the formats among it (Base 2.0, 5.17.2.1).
    common = await ctrlr.identify(Cns.NAMESPACE, nsid=0xFFFFFFFF)
    formats = {
        str(number): f"{block} bytes, {metadata} of metadata"
        for number, block, metadata, _rank, _used in _formats(common)
    }
    form = int(await session.answers.choice("format", formats, "0"))
    block = common.lbaf[form].block_size
    free = ctrlr.data.unvmcap
    console.note(f"{console.size(free)} are not allocated")
    nblocks = await session.answers.number("size in blocks", max(free // block, 1), low=1)
    shared = await session.answers.choice("shared", {"0": "for one controller", "1": "for several"}, "0")
    spec = aionvme.NamespaceSpec(
        nsze=nblocks, ncap=nblocks, flbas=form & 0xF | form >> 4 << 5, nmic=int(shared)
    )
    nsid = await ctrlr.create_ns(spec)
    console.result(f"Namespace {nsid} was created. Attach it to a controller to use it.")


async def delete(session: Session) -> None:
    """Deletes a namespace, with all that is on it."""
    ctrlr = await session.controller()
    nsid = await session.nsid(await _allocated(ctrlr), "allocated")
    if await session.may_destroy(ctrlr, f"Deleting namespace {nsid}"):
        await ctrlr.delete_ns(nsid)
        console.result(f"Namespace {nsid} was deleted.")


async def attach(session: Session) -> None:
    """Attaches a namespace to a controller of the subsystem."""
    ctrlr = await session.controller()
    nsid = await session.nsid(await _allocated(ctrlr), "allocated")
    cntlid = await _cntlid(session, ctrlr)
    await ctrlr.attach_ns(nsid, [cntlid])
    console.result(f"Namespace {nsid} was attached to controller {cntlid}.")


async def detach(session: Session) -> None:
    """Detaches a namespace from a controller of the subsystem."""
    ctrlr = await session.controller()
    nsid = await session.nsid(await _allocated(ctrlr), "allocated")
    cntlid = await _cntlid(session, ctrlr)
    await ctrlr.detach_ns(nsid, [cntlid])
    console.result(f"Namespace {nsid} was detached from controller {cntlid}.")


async def _cntlid(session: Session, ctrlr: aionvme.Controller) -> int:
    cntlids = await ctrlr.identify(Cns.CONTROLLERS)
    console.note(f"controllers of the subsystem: {_numbers(cntlids)}")
    return await session.answers.number("controller identifier", ctrlr.data.cntlid, high=0xFFFF)


# -- media and firmware --------------------------------------------------------------------------------------


async def format_namespace(session: Session) -> None:
    """Formats a namespace."""
    ctrlr = await session.controller()
    nsid = await session.nsid(tuple(ctrlr.namespaces), "attached")
    data = ctrlr.namespaces[nsid].data
    formats = {
        str(number): f"{block} bytes, {metadata} of metadata" + (", in use" if used else "")
        for number, block, metadata, _rank, used in _formats(data)
    }
    form = int(await session.answers.choice("format", formats, str(data.lba_format_index)))
    erase = await session.answers.choice(
        "secure erase", {"0": "none", "1": "user data", "2": "cryptographic"}, "0"
    )
    if not await session.may_destroy(ctrlr, f"Formatting namespace {nsid}"):
        return
    await session.follow(ctrlr.format_nvm(nsid, lbaf=form, ses=int(erase)), "formatting")
    ns = ctrlr.namespaces[nsid]
    console.result(f"Namespace {nsid} was formatted: {ns.nblocks} blocks of {ns.block_size} bytes.")


async def update_firmware(session: Session) -> None:
    """Downloads an image from a file, commits it to a slot, and resets the controller where that activates it."""
    ctrlr = await session.controller()
    path = await session.answers.ask("file of the image")
    if not path:
        raise UsageError("an image is the name of a file")
    image = _read(path)
    slot = await session.answers.number("slot, 0 for the controller's choice", 0, high=7)
    answer = await session.answers.ask(
        f"update the firmware of {ctrlr.data.sn.strip()}, now {ctrlr.data.fr.strip()}? yes or no", "no"
    )
    if answer.lower() not in ("y", "yes"):
        console.note("Nothing was done.")
        return
    await session.follow(ctrlr.firmware_download(image), "downloading")
    committed = await ctrlr.firmware_commit(slot, aionvme.CommitAction.REPLACE_AND_ACTIVATE)
    if committed.reset > aionvme.ResetNeeded.CONTROLLER:
        console.result(f"Committed. It is activated by a {committed.reset.name.lower()} reset.")
        return
    await ctrlr.reset()
    console.result(f"Committed, and activated by a controller reset: firmware {ctrlr.data.fr.strip()}.")


def _read(path: str) -> bytes:
    return Path(path).expanduser().read_bytes()


async def sanitize(session: Session) -> None:
    """Sanitizes the whole subsystem."""
    ctrlr = await session.controller()
    actions = {
        str(int(action)): action.name.lower().replace("_", " ")
        for action in (
            aionvme.SanitizeAction.BLOCK_ERASE,
            aionvme.SanitizeAction.OVERWRITE,
            aionvme.SanitizeAction.CRYPTO_ERASE,
        )
    }
    action = int(await session.answers.choice("action", actions, "2"))
    if await session.may_destroy(ctrlr, "Sanitizing ALL namespaces of the subsystem"):
        await session.follow(ctrlr.sanitize(aionvme.SanitizeAction(action)), "sanitizing")
        console.result("Sanitized.")


# The numbers are those of SPDK's tool, as far as it has them.
ACTIONS = {
    "1": Action("list", "list controllers", list_controllers),
    "2": Action("create", "create a namespace", create),
    "3": Action("delete", "delete a namespace", delete),
    "4": Action("attach", "attach a namespace to a controller", attach),
    "5": Action("detach", "detach a namespace from a controller", detach),
    "6": Action("format", "format a namespace", format_namespace),
    "7": Action("firmware", "update the firmware", update_firmware),
    "8": Action("sanitize", "sanitize the subsystem", sanitize),
    "9": Action("identify", "identify a controller and its namespaces", identify),
}
