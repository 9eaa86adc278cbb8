"""Owns the command's shape: its subcommands, its own options, and what an exception becomes."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import aionvme
from aionvme.cli import binding, console, ending, hello, listing, mocking, top, tracing
from aionvme.cli.manage import manage
from aionvme.cli.nvme import (
    features,
    identify,
    intel,
    logs,
    namespaces,
    passthru,
    ranges,
    settings,
    status,
    upkeep,
)
from aionvme.cli.perf import perf
from aionvme.errors import NvmeError, UsageError

__all__ = ["app"]


#: The sub-commands in nvme-cli's language, by name; each family has a panel of its own in --help.
FAMILIES = tuple(
    module.commands
    for module in (identify, logs, features, status, ranges, namespaces, upkeep, settings, passthru)
)
_IN_ITS_LANGUAGE = {entry.name: entry for family in FAMILIES for entry in family.entries}


class _Commands(TyperGroup):
    """Makes a message and an exit status of what a subcommand raises; tracebacks are for our own mistakes."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *_IN_ITS_LANGUAGE]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        known = super().get_command(ctx, cmd_name)
        if known is None and cmd_name in _IN_ITS_LANGUAGE:
            known = self.commands[cmd_name] = _IN_ITS_LANGUAGE[cmd_name].build(_Command)
        return known

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            console.interrupted()
            raise typer.Exit(console.INTERRUPTED) from None
        except UsageError as error:
            console.error(str(error))
            raise typer.Exit(console.USAGE) from error
        except NvmeError as error:
            console.error(str(error))
            raise typer.Exit(console.ERROR) from error
        except OSError as error:
            console.error(str(error))
            raise typer.Exit(console.ERROR) from error


class _Helped:
    """What has a --help that is a switch, and shown as one."""

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.metavar = ""
        return option


class _Command(_Helped, TyperCommand):
    """A subcommand."""

    def invoke(self, ctx: Any) -> Any:
        ending.end_in_order()
        return super().invoke(ctx)


class _Group(_Helped, TyperGroup):
    """Subcommands that belong together."""


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    # Of the modes this is the one that joins the lines of a paragraph.
    rich_markup_mode="markdown",
    # Of a mistake of ours the plain traceback is what we want to be sent.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="NVMe from user space: try a controller, take it from the kernel, look at it in nvme-cli's words.",
    epilog="A first try that needs no hardware and no rights: aionvme hello",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.result(f"aionvme {aionvme.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_print_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    pass


#: Headings of `aionvme --help`.
_TRY = "Try it"
_MACHINE = "This machine"

app.command("hello", cls=_Command, rich_help_panel=_TRY)(hello.hello)
app.command("perf", cls=_Command, rich_help_panel=_TRY)(perf)
app.command("top", cls=_Command, rich_help_panel=_MACHINE)(top.top)
app.command("trace", cls=_Command, rich_help_panel=_TRY)(tracing.trace)
app.command("replay", cls=_Command, rich_help_panel=_TRY)(tracing.replay)
app.command("list", cls=_Command, rich_help_panel=_MACHINE)(listing.list_)
app.command("list-subsys", cls=_Command, rich_help_panel=_MACHINE)(listing.list_subsys)
app.command("bind", cls=_Command, rich_help_panel=_MACHINE)(binding.bind)
app.command("unbind", cls=_Command, rich_help_panel=_MACHINE)(binding.unbind)
app.command("manage", cls=_Command, rich_help_panel=_MACHINE)(manage)

mock = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Lend a controller in software to drivers in other processes.",
)
mock.command("serve", cls=_Command)(mocking.serve)
app.add_typer(mock, name="mock", rich_help_panel=_TRY)

vendor = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Show the log pages that Intel's controllers have besides.",
)
for each in intel.commands.entries:
    each.add_to(vendor, _Command)
app.add_typer(vendor, name="intel", rich_help_panel="Vendors")
