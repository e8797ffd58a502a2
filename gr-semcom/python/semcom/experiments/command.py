# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line that every figure has: measure the cells that are missing, then write table, page and picture."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from semcom import files
from semcom.errors import ConfigError, SemcomError
from semcom.experiments import table
from semcom.experiments.runner import Cell, Experiment, Report, results, run
from semcom.experiments.style import write_figure
from semcom.stopping import at_stop
from semcom.terminal import complain, stoppable

Out = Annotated[
    Path | None, typer.Option(help="Folder of the measured cells. [default: runs/NAME]", show_default=False)
]
Folder = Annotated[Path, typer.Option(help="Where table, page and picture go.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that measure at a time, of one thread each.")]
Cluster = Annotated[str, typer.Option(help="slurm, or local to try: cells as jobs, --workers at a time.")]
Redraw = Annotated[
    bool, typer.Option("--redraw", help="Only draw, from the table in the folder; measure nothing.")
]
ClusterOption = Annotated[list[str], typer.Option(metavar="KEY=VALUE", help="Of submitit; may be repeated.")]

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Figure:
    """A figure of the documentation.

    Args:
        name: of its files. made_by: the command, to stand in the page.
        plan: the experiment, from the options of this figure alone. rows: of the CSV, from cells and results.
        page: Markdown, from rows, experiment and ``made_by``. draw: a matplotlib figure, from rows and experiment; None:
            there is none. number: how floats are written to the CSV.
    """

    name: str
    made_by: str
    plan: Callable[..., Experiment]
    rows: Callable[[Sequence[tuple[Cell, Any]]], Rows]
    page: Callable[[Rows, Experiment, str], str]
    draw: Callable[[Rows, Experiment], Any] | None = None
    number: table.Number = repr

    def write(self, found: Sequence[tuple[Cell, Any]], experiment: Experiment, folder: Path) -> list[Path]:
        """``NAME.csv``, ``NAME.md`` and ``NAME.png``. Raises OutputError where one cannot be written."""
        rows = self.rows(found)
        text = self.page(rows, experiment, self.made_by)
        drawn = (
            []
            if self.draw is None
            else [write_figure(folder / f"{self.name}.png", self.draw(rows, experiment))]
        )
        return [
            table.write_csv(folder / f"{self.name}.csv", rows, self.number),
            *drawn,
            files.write_text(folder / f"{self.name}.md", text),
        ]

    def redraw(self, experiment: Experiment, folder: Path) -> Path:
        """The picture, from the table that is there.

        Raises:
            ConfigError: there is no table, or this figure has no picture.
        """
        if self.draw is None:
            raise ConfigError(f"'{self.name}' is a table without a picture: there is nothing to draw.")
        rows = table.read_csv(folder / f"{self.name}.csv")
        return write_figure(folder / f"{self.name}.png", self.draw(rows, experiment))


def measure(
    experiment: Experiment, out: Path, workers: int = 1, cluster: str = "", cluster_option: Sequence[str] = ()
) -> list[tuple[Cell, Any]]:
    """Cells with their results, each printed as it comes.

    Raises:
        CellsFailed: a cell failed; all others were measured.
        typer.Exit: with status 130 on Ctrl-C, 143 on SIGTERM.
        ConfigError, OutputError: as ``runner.run``.
    """
    total = len(experiment.cells)

    def show(done: int, report: Report) -> None:
        took = "kept" if report.kept else report.problem or f"{report.seconds:.1f} s"
        print(f"[{done}/{total}] {report.cell}: {took}", flush=True)

    options = options_of(cluster_option)
    with stoppable():
        at_stop(lambda: f"What was measured is kept in {out}: the same command goes on.")
        return results(run(experiment, out, workers, progress=show, cluster=cluster, cluster_options=options))


def options_of(words: Sequence[str]) -> Mapping[str, Any]:
    """KEY=VALUE words as a dictionary, whole numbers as such.

    Raises:
        ConfigError: a word without "=".
    """
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise ConfigError(f"--cluster-option takes KEY=VALUE, such as timeout_min=60, not '{word}'.")
        found[key] = int(value) if value.isdecimal() else value
    return found


def command_of(figure: Figure, folder: Path) -> Callable[..., None]:
    """A figure's command, for ``typer.Typer.command``: its options are those of ``figure.plan`` and the runner's.

    Args:
        folder: where the figure goes by default.
    """

    def shared(
        out: Out = None,
        folder: Folder = folder,
        workers: Workers = 1,
        cluster: Cluster = "",
        cluster_option: ClusterOption = [],  # noqa: B006
        redraw: Redraw = False,
    ) -> None: ...

    own, common = (inspect.signature(one).parameters for one in (figure.plan, shared))

    def made(**values):
        mine = {name: values.pop(name) for name in own}
        folder, out = values.pop("folder"), values.pop("out") or Path("runs") / figure.name
        redraw = values.pop("redraw")
        try:
            files.writable_folder(folder)
            experiment = figure.plan(**mine)
            if redraw:
                typer.echo(figure.redraw(experiment, folder))
                return
            for path in figure.write(measure(experiment, out, **values), experiment, folder):
                typer.echo(path)
        except SemcomError as error:
            complain(error)
            raise typer.Exit(error.exit_status) from error

    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in [*own.values(), *common.values()]]
    made.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    made.__annotations__ = {p.name: p.annotation for p in parameters}
    made.__doc__ = figure.plan.__doc__
    return made


def main(figure: Figure, folder: Path) -> None:
    """Runs the command line of a figure, as ``command_of``."""
    app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
    app.command()(command_of(figure, folder))
    app()
