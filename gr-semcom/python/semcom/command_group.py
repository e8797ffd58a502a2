# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs with commands share, ours and those of the training package: faults in words, and an exit status."""

import errno

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from semcom.errors import ConfigError, PluginError, SemcomError
from semcom.parsing import shown


def complain(error: Exception | str) -> None:
    """Prints an error's sentences on the standard error, without a traceback."""
    text = f"[bold red]Error:[/] {escape(str(error))}"
    Console(stderr=True).print(text, highlight=False, soft_wrap=True)


class Commands(TyperGroup):
    """Prints what a user can cure in words, with exit status 2 (1: a plugin's own fault); anything else keeps its
    traceback."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except SemcomError as error:
            complain(error)
            raise typer.Exit(1 if isinstance(error, PluginError) else 2) from error
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # wherever a path is looked at first
                raise
            complain(ConfigError(f"no file can have the name {shown(str(error.filename))}: it is too long."))
            raise typer.Exit(2) from error
