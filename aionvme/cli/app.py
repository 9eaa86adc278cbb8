"""Owns the command's shape: its subcommands, its own options, and what an exception becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import aionvme
from aionvme.cli import binding, console, ending, hello, listing, mistakes, mocking, top, tracing
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

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["app"]


#: The sub-commands in nvme-cli's language, by name; each family has a panel of its own in --help.
FAMILIES = tuple(
    module.commands
    for module in (identify, logs, features, status, ranges, namespaces, upkeep, settings, passthru)
)
_IN_ITS_LANGUAGE = {entry.name: entry for family in FAMILIES for entry in family.entries}


class _Helped:
    """What has a --help that is a switch, and shown as one, and what says of a wrong call that it was its own."""

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.metavar = ""
        return option

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().parse_args(ctx, args)  # type: ignore[misc]
        except mistakes.ClickException as error:
            # Of an option without its value Click does not say whose it is.
            if getattr(error, "ctx", None) is None:
                error.ctx = ctx
            raise


class _Command(_Helped, TyperCommand):
    """A subcommand."""

    def invoke(self, ctx: Any) -> Any:
        ending.end_in_order()
        return super().invoke(ctx)


class _Group(_Helped, TyperGroup):
    """Subcommands that belong together."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # Typer knows nothing of those that are built when they are asked for.
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            raise UsageError(mistakes.unknown_command(args[0], self.list_commands(ctx), ctx.command_path))
        return super().resolve_command(ctx, args)


class _Commands(_Group):
    """Makes a message and an exit status of what a subcommand raises; tracebacks are for our own mistakes."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *_IN_ITS_LANGUAGE]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        known = super().get_command(ctx, cmd_name)
        if known is None and cmd_name in _IN_ITS_LANGUAGE:
            known = self.commands[cmd_name] = _IN_ITS_LANGUAGE[cmd_name].build(_Command)
        return known

    def make_context(self, *args: Any, **extra: Any) -> Any:
        # The command's own options are read here, those of a subcommand in `invoke`.
        try:
            return super().make_context(*args, **extra)
        except mistakes.ClickException as error:
            raise mistakes.shown(error) from error

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except mistakes.ClickException as error:
            raise mistakes.shown(error) from error
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
            console.error(mistakes.reason(error))
            raise typer.Exit(console.ERROR) from error


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


def _add(to: typer.Typer, name: str, function: Callable[..., Any], example: str, panel: str = "") -> None:
    shown: dict[str, Any] = {"rich_help_panel": panel} if panel else {}
    to.command(name, cls=_Command, epilog=f"Example: aionvme {example}", **shown)(function)


_add(app, "hello", hello.hello, "hello mock:", _TRY)
_add(app, "perf", perf, "perf mock: -w randread -q 32 -t 5", _TRY)
_add(app, "top", top.top, "top", _MACHINE)
_add(app, "trace", tracing.trace, "trace FILE --format chrome > trace.json", _TRY)
_add(app, "replay", tracing.replay, "replay FILE mock:", _TRY)
_add(app, "list", listing.list_, "list mock: -o json", _MACHINE)
_add(app, "list-subsys", listing.list_subsys, "list-subsys mock: -o json", _MACHINE)
_add(app, "bind", binding.bind, "bind 0000:01:00.0", _MACHINE)
_add(app, "unbind", binding.unbind, "unbind 0000:01:00.0", _MACHINE)
_add(app, "manage", manage, "manage mock:", _MACHINE)

mock = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Lend a controller in software to drivers in other processes.",
    epilog="Example: aionvme mock serve --socket /run/ctrl",
)
_add(mock, "serve", mocking.serve, "mock serve --socket /run/ctrl --size 1GiB")
_add(mock, "options", mocking.options, "mock options")
app.add_typer(mock, name="mock", rich_help_panel=_TRY)

vendor = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Show the log pages that Intel's controllers have besides.",
    epilog='Example: aionvme intel smart-log-add "mock:?intel=1"',
)
for each in intel.commands.entries:
    each.add_to(vendor, _Command)
app.add_typer(vendor, name="intel", rich_help_panel="Vendors")
