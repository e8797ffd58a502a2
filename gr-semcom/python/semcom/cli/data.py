# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom data``: the public picture sets."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from semcom.cli.console import out, say
from semcom.terminal import err

data = typer.Typer(
    help="Fetch the public picture sets, and weights, that trainings and tables use.", no_args_is_help=True
)


@data.command("list")
def list_sets() -> None:
    """Name the picture sets and what they are."""
    from semcom_training.download import DOWNLOADS

    for name, download in DOWNLOADS.items():
        out().print(f"{name:12} {download.what}", highlight=False)


@data.command("get")
def get(
    name: Annotated[str, typer.Argument(help="One of `semcom data list`.")],
    to: Annotated[Path, typer.Option(help="Folder of data; the set becomes a folder in it.")],
) -> None:
    """Fetch a picture set; an attempt that was cut off is gone on with."""
    from semcom_training import download

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err()) as progress:
        task = progress.add_task(name, total=None)
        folder = download.get(
            name,
            to,
            lambda file, have, total: progress.update(task, description=file, completed=have, total=total),
        )
    say(f"Fetched: {folder}")
