"""Owns `aionvme manage`: its options, its controllers, its menu."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import aionvme
from aionvme.cli import console
from aionvme.cli.manage.actions import ACTIONS
from aionvme.cli.manage.answers import Answers, EndOfAnswers, WrongAnswer
from aionvme.cli.manage.session import Session
from aionvme.errors import AddressError, NvmeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

__all__ = ["manage", "run"]


def manage(
    addresses: Annotated[
        list[str] | None,
        typer.Argument(help='Which controllers, such as "mock:"; by default all that are bound to vfio-pci.'),
    ] = None,
    script: Annotated[
        Path | None, typer.Option(help="Take the answers from a file, one a line, instead of asking.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", metavar="", help="Do not ask before data is destroyed.")
    ] = False,
) -> None:
    """Manage controllers and namespaces from a menu: create, attach, format, update firmware, sanitize.

    Answers may also be piped in: one a line, an empty one for what stands in brackets. There the first thing that goes
    wrong ends the tool, with exit status 1.
    """
    if script is None:
        raise typer.Exit(run(addresses or [], yes=yes))
    # Bytes that are no text are no answer; as on standard input they are told apart by whoever looks at the line.
    with script.open(errors="surrogateescape") as file:
        raise typer.Exit(run(addresses or [], file=file, yes=yes))


def run(addresses: Sequence[str], *, file: TextIO | None = None, yes: bool = False) -> int:
    """Connects, and shows the menu until it is left; gives an exit status."""
    if not addresses:
        addresses = [device.bdf for device in aionvme.discover() if device.bound_to_vfio]
    if not addresses:
        raise UsageError(
            "no NVMe function is bound to vfio-pci: `aionvme list` shows what there is, `aionvme bind` takes one, and "
            "`aionvme manage mock:` needs none"
        )
    return aionvme.run(_run(addresses, Answers(file), yes))


async def _run(addresses: Sequence[str], answers: Answers, yes: bool) -> int:
    async with AsyncExitStack() as stack:
        session = Session(answers, yes=yes)
        await _connect(session, stack, addresses)
        try:
            return await _menu(session)
        except EndOfAnswers:
            return 0
        except WrongAnswer as error:
            console.error(str(error))
            return console.ERROR


async def _connect(session: Session, stack: AsyncExitStack, addresses: Sequence[str]) -> None:
    """All at once; one that can't be had is said, and the others are used."""
    ended = await asyncio.gather(*(_open(address) for address in addresses), return_exceptions=True)
    failed: list[BaseException] = []
    for address, result in zip(addresses, ended, strict=True):
        if isinstance(result, BaseException):
            failed.append(result)
            if len(addresses) > 1:
                console.error(f"{address}: {result}")
        else:
            session.add(address, result)
            stack.push_async_callback(result.close)
    for error in failed:
        if not isinstance(error, NvmeError | OSError) or not session.controllers:
            raise error


async def _open(address: str) -> aionvme.Controller:
    try:
        return await aionvme.connect(address)
    except AddressError as error:
        raise UsageError(str(error)) from None


async def _menu(session: Session) -> int:
    answers = session.answers
    while True:
        if not answers.scripted:
            console.note("")
            console.facts(
                [(key, action.title) for key, action in ACTIONS.items()] + [("0", "quit")], aside=True
            )
        word = (await answers.ask("command")).lower()
        if word in ("0", "q", "quit", "exit"):
            return 0
        action = ACTIONS.get(word) or next((each for each in ACTIONS.values() if each.word == word), None)
        if action is None:
            words = ", ".join(f"{key} or {each.word}" for key, each in ACTIONS.items())
            problem = f"there is no command {word!r}: {words}, 0 or quit"
        else:
            problem = await _perform(session, action.perform)
        if not problem:
            continue
        if answers.scripted:
            raise WrongAnswer(f"line {answers.line}: {problem}")
        console.error(problem)


async def _perform(session: Session, perform: object) -> str:
    """Runs an entry; gives what went wrong, in a sentence."""
    assert callable(perform)
    try:
        await perform(session)
    except NvmeError as error:
        return str(error)
    except OSError as error:
        return str(error)
    return ""
