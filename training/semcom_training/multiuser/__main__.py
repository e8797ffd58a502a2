# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m semcom_training.multiuser run|table|forgetting|theory EXPERIMENT.yaml"""

import dataclasses
import functools
import inspect
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from semcom.errors import ConfigError
from semcom.terminal import Commands

if TYPE_CHECKING:  # they import torch, for which no help text should wait
    from semcom_training.multiuser.cells import Cells
    from semcom_training.multiuser.experiment import Experiment

DESCENT_STEPS = "0.001,0.01,0.03,0.1,0.3"

app = typer.Typer(
    cls=Commands,
    help="Anchor-aided training of several users beside its benchmarks. Each command trains what is missing.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="YAML file, or the name of a shipped one.")]
Data = Annotated[str, typer.Option(help="Folder of the data folders; else SEMCOM_DATA.")]
Out = Annotated[str, typer.Option(help="Folder of the trained cells.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or auto.")]
Figures = Annotated[str, typer.Option(help="Folder of the figures and tables.")]
FigureName = Annotated[str, typer.Option(help="Of the files written there.")]
Threads = Annotated[int, typer.Option(help="torch threads; 0 leaves them as they are.")]


@dataclass(frozen=True)
class Common:
    """The options that every command has."""

    experiment: Name
    data: Data = None
    out: Out = "runs/multiuser"
    device: Device = "auto"
    threads: Threads = 0

    def load(self) -> "Experiment":
        """Raises ConfigError as ``load_experiment``."""
        from semcom_training.multiuser.experiment import load_experiment

        return load_experiment(self.experiment)

    def cells(self) -> "Cells":
        """Raises ConfigError and OutputError as ``Cells``."""
        import torch

        from semcom_training.multiuser.cells import Cells

        if self.threads:
            torch.set_num_threads(self.threads)
        return Cells(self.load(), self.data, self.out, self.device, functools.partial(print, flush=True))

    def made_by(self, command: str, name: str, usual: str) -> str:
        """The command that makes the files called ``name``, to stand in them."""
        named = "" if name == usual else f" --name {name}"
        return f"python -m semcom_training.multiuser {command} {self.experiment}{named}"


def command(function: Callable) -> Callable:
    """Adds a command whose first argument, ``common``, is gathered from options of its own."""
    shared = list(inspect.signature(Common).parameters.values())
    own = list(inspect.signature(function).parameters.values())[1:]

    @functools.wraps(function)
    def gathered(**values):
        function(Common(**{one.name: values.pop(one.name) for one in shared}), **values)

    gathered.__signature__ = inspect.Signature(shared + own)
    gathered.__annotations__ = {one.name: one.annotation for one in shared + own}
    app.command()(gathered)
    return function


@command
def run(
    common: Common,
    scheme: Annotated[list[str], typer.Option(help="Only this scheme; may be repeated.")] = (),
    seed: Annotated[list[int], typer.Option(help="Only this seed; may be repeated.")] = (),
    dry_run: Annotated[bool, typer.Option(help="Only print the budget.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Cells trained at a time, of one thread each.")] = 1,
) -> None:
    """Train and measure every scheme with every seed; finished cells are kept, a killed one goes on.

    Cells are independent: several machines or GPUs can each take some (--scheme, --seed) into one folder.
    """
    if dry_run:
        from semcom_training.multiuser.tables import budget_table

        typer.echo(budget_table(common.load()))
        return
    cells = common.cells()
    _require_known(cells.experiment, "scheme", scheme, cells.experiment.schemes)
    cells.all(scheme, seed, workers)


@command
def table(
    common: Common,
    figures: Figures = "docs/figures",
    name: FigureName = "schemes",
    paper_name: Annotated[
        str, typer.Option(help="Of the table beside the paper's (Rayleigh only); '' for none.")
    ] = "rayleigh",
    seed: Annotated[list[int], typer.Option(help="Only this seed; may be repeated.")] = (),
) -> None:
    """PSNR by scheme, user and SNR over the seeds, and where the paper's ordering fails."""
    from semcom_training.multiuser.tables import write_paper_table, write_schemes

    cells = common.cells()
    made_by = common.made_by("table", name, "schemes")
    made_by += "" if paper_name == "rayleigh" else f" --paper-name {shlex.quote(paper_name)}"
    made_by += "".join(f" --seed {one}" for one in seed)
    found, asked = cells.all(seeds=seed), cells.experiment
    if seed:
        asked = dataclasses.replace(asked, seeds=list(seed))
    written = write_schemes(asked, found, figures, name, made_by)
    if paper_name and asked.channel == "rayleigh":
        written += write_paper_table(asked, found, figures, paper_name, made_by)
    _report(written)


@command
def forgetting(
    common: Common,
    figures: Figures = "docs/figures",
    name: FigureName = "forgetting",
    user: Annotated[str, typer.Option(help="Who forgets.")] = "attention",
    rival: Annotated[str, typer.Option(help="After whose epochs.")] = "vgg",
) -> None:
    """What an epoch for one user costs another, under iterative and under two-stage training (Fig. 5)."""
    from semcom_training.multiuser.forgetting import SCHEMES, write_forgetting

    cells = common.cells()
    _require_known(cells.experiment, "user", (user, rival), cells.experiment.users)
    made_by = common.made_by("forgetting", name, "forgetting")
    _report(write_forgetting(cells.experiment, cells.all(SCHEMES), figures, name, made_by, user, rival))


@command
def theory(
    common: Common,
    figures: Figures = "docs/figures",
    name: FigureName = "theory",
    steps: Annotated[int, typer.Option(min=2, help="Of stage 1, and of gradient descent after it.")] = 100,
    step_sizes: Annotated[
        str, typer.Option(help="Of gradient descent, separated by commas.")
    ] = DESCENT_STEPS,
) -> None:
    """Theorems 1 to 3, measured: gradients at the encoder, users behind a frozen one, descent."""
    from semcom_training.multiuser.theory_figures import write_theory

    try:
        sizes = [float(size) for size in step_sizes.split(",")]
    except ValueError:
        raise ConfigError(f"--step-sizes '{step_sizes}' must be numbers separated by commas.") from None
    cells = common.cells()
    _report(write_theory(cells, figures, name, common.made_by("theory", name, "theory"), steps, sizes))


def _require_known(experiment: "Experiment", what: str, wanted: Iterable[str], known: Iterable[str]) -> None:
    for one in wanted:
        if one not in known:
            raise ConfigError(
                f"experiment '{experiment.name}' has no {what} '{one}': there are {', '.join(known)}."
            )


def _report(written) -> None:
    for path in written:
        typer.echo(path)


if __name__ == "__main__":
    app(prog_name="python -m semcom_training.multiuser")
