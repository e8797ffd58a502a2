# SPDX-License-Identifier: GPL-3.0-or-later
"""What every command of the project has in common, `semcom` and the others: errors in words, and the exit status."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from semcom import plugins, stopping
from semcom.errors import ConfigError, SemcomError
from semcom.parsing import shown


def err() -> Console:
    """The console for progress and complaints."""
    return Console(stderr=True)


def complain(error: Exception | str) -> None:
    """Prints an error's sentences in red, without a traceback."""
    err().print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)


def say_stopped() -> None:
    """Says that a signal ended the command, and what was kept."""
    words = stopping.sentences()
    if words is not None:
        err().print(" ".join(["[bold]Stopped.[/]", *map(escape, words)]), highlight=False, soft_wrap=True)


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, Ctrl-C and SIGTERM end the process with what was kept in words (``stopping.at_stop``), status 130 or 143.

    All that is to be undone is undone by then; what Python and torch would still tidy up can take seconds.
    """
    with stopping.watch():
        try:
            yield
        except stopping.Stopped as stop:
            say_stopped()
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # nobody reads it any more
                    stream.flush()
            stopping.leave(stop.exit_status)


class Commands(TyperGroup):
    """Prints what a user can cure in words, with the error's exit status; anything else keeps its traceback. Ctrl-C and
    SIGTERM end a command with what was kept in words, and 130 or 143."""

    def invoke(self, ctx):
        try:
            with stoppable():
                return super().invoke(ctx)
        except SemcomError as error:
            complain(error)
            raise typer.Exit(error.exit_status) from error
        except Exception as error:
            # wherever a path is looked at first
            if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
                complain(
                    ConfigError(f"no file can have the name {shown(str(error.filename))}: it is too long.")
                )
                raise typer.Exit(2) from error
            own = plugins.fault(error)
            if own is None:
                raise
            complain(own)
            raise typer.Exit(own.exit_status) from error
