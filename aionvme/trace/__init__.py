"""Recordings of what a controller was told and what it answered: the file, how it is read, and how it is shown.

Belongs here: the format (docs/testing.md), a writer and a reader of it, where the data of a command lies, and commands
as text, JSON and Chrome trace. Does not: a controller. `Controller.record` writes recordings, `aionvme.replay` executes
them again.
"""

from aionvme.trace.entries import Command
from aionvme.trace.reading import Trace, read_trace
from aionvme.trace.showing import chrome, line, lines

__all__ = ["Command", "Trace", "chrome", "line", "lines", "read_trace"]
