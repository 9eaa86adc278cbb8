"""Owns what every sub-command in nvme-cli's language shares: its common options, its controller, its end.

    commands = Commands("Log pages")

    @commands.add("smart-log", example="smart-log mock: -o json")
    async def smart_log(call: Call, nsid: NamespaceId = None) -> None:
        \"\"\"Show the SMART log.\"\"\"
        ...
        call.show(document, raw=raw, title="SMART log")

`add` puts ADDRESS, -o, -b, -H, -v and -t in front of the function's own options. A parameter may be an attrs class: its
fields are options, so that sub-commands that have many in common declare them once. An asynchronous function is called
with the controller connected (`call.ctrlr`), any other one before that, and has `call.run` to connect.
Exit statuses are nvme-cli's, 0 and 1 whatever the controller's status was, but that wrong usage is told apart: 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import re
import time
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import attrs
import typer

import aionvme
from aionvme.cli import console
from aionvme.cli.nvme import options, output
from aionvme.cli.nvme.advice import Asked, advice
from aionvme.cli.nvme.options import Output
from aionvme.errors import NvmeError, StatusError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aionvme.qpair.namespace import Namespace

__all__ = ["Call", "Commands", "SubCommand", "status_text"]

T = TypeVar("T")
Function = TypeVar("Function", bound="Callable[..., Any]")

# Seconds that nothing has to be shown for.
_PATIENCE = 1.0


class NamespaceNotThereError(NvmeError):
    """The controller has no such active namespace: as if it had said so itself, and so no wrong usage."""


@attrs.define
class Call:
    """One call of a sub-command: what its common options say, and its controller.

    Attributes:
        address: Which controller.
        output: What to print.
        detail: Whether a person is told of each bit (-H, -v).
        timeout: Seconds that a command may take; None for the driver's own.
        command: The sub-command.
        told_nsid: The namespace that -n names, whether there is one or not.
    """

    address: str
    output: Output = Output.NORMAL
    detail: bool = False
    timeout: float | None = None
    command: str = ""
    told_nsid: int | None = None
    _ctrlr: aionvme.Controller | None = None

    @property
    def ctrlr(self) -> aionvme.Controller:
        """The controller, connected."""
        assert self._ctrlr is not None, "there is a controller in an asynchronous sub-command, and in `run`"
        return self._ctrlr

    @property
    def name(self) -> str:
        """What the controller is called in documents that name it, where nvme-cli has nvme0."""
        return console.named(self.address)

    @property
    def human(self) -> bool:
        """Whether it is for a person, not for a program."""
        return self.output == Output.NORMAL

    def namespace(self, nsid: int | None) -> Namespace:
        """The active namespace that -n names, or the only one that there is.

        Raises:
            UsageError: There is none, or there are several, and none was named.
            NamespaceNotThereError: That which was named is none of them.
        """
        there = self.ctrlr.namespaces
        if nsid is None and len(there) == 1:
            return next(iter(there.values()))
        listed = ", ".join(str(each) for each in sorted(there)) or "none"
        if nsid is None:
            raise UsageError(f"{self.name}: say which namespace with -n; there is {listed}")
        if nsid not in there:
            raise NamespaceNotThereError(f"no active namespace {nsid}; there is {listed}: choose one with -n")
        return there[nsid]

    def nsid(self, nsid: int | None) -> int:
        """The namespace identifier that -n names, whatever it is, or that of the only namespace."""
        return self.namespace(None).nsid if nsid is None else nsid

    def show(self, document: Any, *, raw: bytes | None = None, title: str = "") -> None:
        """Prints the result. See `output.print_document`."""
        output.print_document(document, self.output, raw=raw, title=self._titled(title), detail=self.detail)

    def _titled(self, title: str) -> str:
        return f"{title} of {self.name}" if title else ""

    def say(self, text: str) -> None:
        """One line for a person: what was done. A program that asked for JSON has it as `result`."""
        if self.output == Output.JSON:
            output.print_json({"result": text})
        else:
            console.result(text)

    async def follow(self, operation: aionvme.Operation[T], label: str) -> T:
        """Waits for an operation, with a progress bar where that takes more than a second; gives its result.

        Ctrl-C ends it: the operation is told, has its end in bounded time, and the controller is shut down as ever.
        """
        begun = time.monotonic()
        show: Callable[[float], None] | None = None
        with contextlib.ExitStack() as stack:
            try:
                async for progress in operation:
                    if show is None and time.monotonic() - begun > _PATIENCE:
                        show = stack.enter_context(console.progress(label))
                    if show is not None:
                        show(progress.fraction)
            except BaseException:
                operation.cancel()
                # What it has outstanding is aborted, which takes a controller that is still there.
                await asyncio.wait([operation])
                raise
            return await operation

    def run(self, act: Callable[[Call], Awaitable[T]]) -> T:
        """Connects, and gives what `act` gives; the controller is shut down whatever happens.

        Raises:
            UsageError: The address is none, or something of the call can't be.
            typer.Exit: It failed, and that was said.
        """
        try:
            return aionvme.run(self._run(act))
        except UsageError:
            raise
        except NvmeError as error:
            self._failed(error)
            raise typer.Exit(console.ERROR) from error

    async def _run(self, act: Callable[[Call], Awaitable[T]]) -> T:
        # Without events: a page that a command shows is not to have been read by the driver.
        opts = aionvme.ControllerOptions(events=aionvme.EventMask(0))
        if self.timeout is not None:
            opts.admin_timeout = opts.io_timeout = self.timeout
        async with aionvme.connect(self.address, opts=opts) as self._ctrlr:
            return await act(self)

    def _failed(self, error: NvmeError) -> None:
        if isinstance(error, StatusError):
            there = None if self._ctrlr is None else self._ctrlr.namespaces
            found = advice(error, Asked(self.address, self.command, self.told_nsid, there))
            text = f"{self.name}: {status_text(error)}"
            console.error(text if found is None else f"{text}. {found}")
        else:
            console.error(console.about(self.address, str(error)))
        # Last: where standard output can't be written that is an error of its own.
        if self.output == Output.JSON:
            output.print_json(_as_json(error))


def status_text(error: StatusError) -> str:
    """A status as nvme-cli has it: its text, and the status field without the phase in parentheses."""
    field = error.sct << 8 | error.sc | error.crd << 11 | error.more << 13 | error.dnr << 14
    return f"NVMe status: {error.status.text} ({error.status.name}, {field:#06x})"


def _as_json(error: NvmeError) -> dict[str, Any]:
    if isinstance(error, StatusError):
        return {"error": error.status.text, "type": "nvme", "value": error.sct << 8 | error.sc}
    return {"error": str(error)}


@attrs.frozen
class SubCommand:
    """A sub-command, which is built when it is asked for: building all takes longer than most of them run.

    Attributes:
        name: What it is called.
        function: What it does.
        panel: Heading of its panel in --help.
        example: What to type, without the program's name.
        hidden: Another name of one that --help lists.
        more: Switches that the function takes as its other keywords.
    """

    name: str
    function: Callable[..., Any]
    panel: str
    example: str
    hidden: bool
    more: Mapping[str, Any] = attrs.field(factory=dict)

    def add_to(self, app: typer.Typer, cls: type[Any]) -> None:
        """Makes it one of a program's."""
        app.command(
            self.name,
            cls=cls,
            rich_help_panel=self.panel,
            hidden=self.hidden,
            epilog=f"Example: aionvme {self.example}",
        )(_with_common_options(self.name, self.function, self.more))

    def build(self, cls: type[Any]) -> Any:
        """It by itself, as Typer has commands."""
        alone = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)
        self.add_to(alone, cls)
        return typer.main.get_command(alone)


class Commands:
    """Sub-commands that stand in one panel of --help.

    Args:
        panel: Its heading.
    """

    def __init__(self, panel: str) -> None:
        self.panel = panel
        self.entries: list[SubCommand] = []

    def add(
        self, *names: str, example: str, panel: str | None = None, more: Mapping[str, Any] | None = None
    ) -> Callable[[Function], Function]:
        """Makes a function a sub-command.

        Args:
            names: Its name, and others that it goes by, which --help does not list.
            example: What to type, without the program's name.
            panel: Heading of another panel.
            more: Switches by name, for a function with `**chosen: bool`.
        """

        def register(function: Function) -> Function:
            for at, name in enumerate(names):
                self.entries.append(
                    SubCommand(name, function, panel or self.panel, example, at > 0, more or {})
                )
            return function

        return register


def _common(
    address: options.Address,
    output_format: options.FormatOption = Output.NORMAL,
    raw_binary: options.RawBinary = False,
    human_readable: options.Human = False,
    verbose: options.Verbose = False,
    timeout: options.Timeout = None,
    no_retries: options.NoRetries = False,
    output_format_version: options.FormatVersion = 1,
) -> Call:
    if raw_binary:
        output_format = Output.BINARY
    return Call(
        address=address,
        output=output_format,
        detail=human_readable or verbose,
        timeout=None if timeout is None else timeout / 1000,
    )


def _own_options(
    function: Callable[..., Any], more: Mapping[str, Any]
) -> tuple[list[inspect.Parameter], dict[str, type[Any]]]:
    """The options of a sub-command itself, and by the name of a parameter the class that has several of them."""
    first, *declared = inspect.signature(function, eval_str=True).parameters.values()
    assert first.name == "call"
    own: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for parameter in declared:
        kind = parameter.annotation
        if parameter.kind == inspect.Parameter.VAR_KEYWORD:
            own += (_option(name, Annotated[bool, option], False) for name, option in more.items())
        elif attrs.has(kind):
            groups[parameter.name] = kind
            hints = get_type_hints(kind, include_extras=True)
            own += (_option(field.name, hints[field.name], field.default) for field in attrs.fields(kind))
        else:
            own.append(_option(parameter.name, kind, parameter.default))
    return own, groups


def _too_large(name: str, error: Exception) -> Exception:
    """Of a number that an option took, and no field of the command has room for; any other is a mistake of ours."""
    if " fit " not in str(error) and not isinstance(error, MemoryError):
        return error
    # Without the structure of the field, which is the driver's.
    text = re.sub(r"^\w+\.", "", str(error))
    return UsageError(f"{name}: {text}: give a smaller number. See `aionvme {name} --help`")


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _with_common_options(
    name: str, function: Callable[..., Any], more: Mapping[str, Any]
) -> Callable[..., Any]:
    own, groups = _own_options(function, more)
    taken = {option.name for option in own}
    # A sub-command that has a letter of these for something else declares its own.
    shared = [
        _option(each.name, each.annotation, each.default)
        for each in inspect.signature(_common, eval_str=True).parameters.values()
        if each.name not in taken
    ]

    @functools.wraps(function)
    def wrapper(**given: Any) -> None:
        call = _common(**{each.name: given.pop(each.name) for each in shared})
        call.command, call.told_nsid = name, given.get("nsid")
        for group, kind in groups.items():
            given[group] = kind(**{field.name: given.pop(field.name) for field in attrs.fields(kind)})
        try:
            if inspect.iscoroutinefunction(function):
                call.run(functools.partial(function, **given))
            else:
                function(call, **given)
        except UsageError:
            raise
        except (ValueError, OverflowError, MemoryError) as error:
            raise _too_large(name, error) from error

    parameters = [*shared, *own]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {each.name: each.annotation for each in parameters}
    del wrapper.__wrapped__
    return wrapper
