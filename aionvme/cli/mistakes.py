"""Owns what is said, in a line, of a call that can't be understood, and of a file that can't be used."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from aionvme.cli import console
from aionvme.errors import NvmeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "ClickException",
    "FileError",
    "alike",
    "cannot_be_read",
    "reason",
    "shown",
    "unknown_command",
    "writing",
]

#: What Click raises for wrong usage. It is taken from Typer, whose newer versions have a Click of their own.
ClickException: Any = next(each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException")

# What else to try after an error of the kernel at a file.
_ADVICE = {
    errno.ENOENT: "name one that is there",
    errno.ENOTDIR: "name a file in a folder",
    errno.EISDIR: "name a file",
    errno.EACCES: "name a file that you may use, or run the command as its owner",
    errno.EPERM: "name a file that you may use, or run the command as its owner",
    errno.EROFS: "name a file elsewhere",
    errno.ENOSPC: "free some space, or name a file elsewhere",
    errno.EDQUOT: "free some space, or name a file elsewhere",
    errno.EFBIG: "name a file in a filesystem that takes one of this size",
}

# How like a name is to one that there is, of 1, before it is taken for it.
_LIKE = 0.7


class FileError(NvmeError):
    """A file that the user named can't be used."""


def alike(name: str, known: Iterable[str]) -> str:
    """A question that names what was probably meant, with a space in front; nothing where nothing is like it."""
    # The hyphens of options are alike in all of them.
    names = {each.lstrip("-"): each for each in known}
    found = difflib.get_close_matches(name.lstrip("-"), names, n=2, cutoff=_LIKE)
    return f" Did you mean {' or '.join(names[each] for each in found)}?" if found else ""


def unknown_command(name: str, known: Iterable[str], program: str) -> str:
    """Of a subcommand that there is not.

    Args:
        name: What was typed.
        known: Those that there are.
        program: What has them: "aionvme", "aionvme mock".
    """
    return f"{program} has no sub-command {name!r}.{alike(name, known)} See `{program} --help`"


def shown(error: Any) -> typer.Exit:
    """Shows wrong usage that Click found, and gives what ends the command.

    Args:
        error: A `ClickException`. One that is the help of a command that was called without anything stays that.
    """
    ctx = getattr(error, "ctx", None)
    program = ctx.command_path if ctx is not None else "aionvme"
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        text = f"{_subject(program)}{_sentence(error, ctx)} See `{program} --help`"
        console.error(" ".join(text.split()))
    return typer.Exit(console.USAGE)


def _subject(program: str) -> str:
    _, _, command = program.partition(" ")
    return f"{command}: " if command else ""


def _sentence(error: Any, ctx: Any) -> str:
    unknown = getattr(error, "option_name", None)
    if unknown is not None and type(error).__name__ == "NoSuchOption":
        known = [] if ctx is None else [name for each in ctx.command.params for name in each.opts]
        return f"there is no option {unknown}.{alike(unknown, known)}"
    text: str = error.format_message().strip()
    # Words of the library by which newer versions of Typer read values.
    text = text.replace("Value error, ", "").replace("Input should be", "it has to be")
    return (text[:1].lower() + text[1:]).rstrip(".") + "."


def _plain(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def reason(error: OSError) -> str:
    """An error of the kernel without its number, with the file that it is about, and what to do where that is known."""
    if error.filename is None:
        return _plain(error)
    advice = _ADVICE.get(error.errno or 0)
    text = f"{os.fsdecode(error.filename)}: {_plain(error)}"
    return f"{text}: {advice}" if advice else text


def cannot_be_read(path: Path | str, error: OSError) -> str:
    """Of a file whose data are wanted."""
    advice = _ADVICE.get(error.errno or 0, "name another file")
    return f"{path} can't be read: {_plain(error)}: {advice}"


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Says of which file it is that it can't be written, whatever its descriptor or a file beside it was called.

    Raises:
        FileError: It can't be.
    """
    try:
        yield
    except OSError as error:
        missing = error.errno == errno.ENOENT
        advice = _ADVICE.get(error.errno or 0, "name another file")
        advice = "name a file in a folder that is there" if missing else advice
        raise FileError(f"{path} can't be written: {_plain(error)}: {advice}") from error
