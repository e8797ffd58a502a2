# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m semcom_training.multiuser run|table|forgetting|theory EXPERIMENT.yaml"""

from typing import Annotated

import typer

from semcom.cli.main import Commands
from semcom.errors import ConfigError

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


def _cells(name, data, out, device, threads):
    import torch

    from semcom_training.multiuser.cells import Cells
    from semcom_training.multiuser.experiment import load_experiment

    if threads:
        torch.set_num_threads(threads)
    return Cells(load_experiment(name), data, out, device, lambda text: print(text, flush=True))


@app.command()
def run(
    experiment: Name,
    data: Data = None,
    out: Out = "runs/multiuser",
    device: Device = "auto",
    threads: Threads = 0,
    scheme: Annotated[list[str], typer.Option(help="Only this scheme; may be repeated.")] = (),
    seed: Annotated[list[int], typer.Option(help="Only this seed; may be repeated.")] = (),
    dry_run: Annotated[bool, typer.Option(help="Only print the budget.")] = False,
) -> None:
    """Train and measure every scheme with every seed; finished cells are kept, a killed one goes on.

    Cells are independent: several machines or GPUs can each take some (--scheme, --seed) into one folder.
    """
    if dry_run:
        from semcom_training.multiuser.experiment import load_experiment
        from semcom_training.multiuser.tables import budget_table

        typer.echo(budget_table(load_experiment(experiment)))
        return
    cells = _cells(experiment, data, out, device, threads)
    for one in scheme:
        if one not in cells.experiment.schemes:
            known = ", ".join(cells.experiment.schemes)
            raise ConfigError(
                f"experiment '{cells.experiment.name}' has no scheme '{one}': there are {known}."
            )
    cells.all(scheme, seed)


@app.command()
def table(
    experiment: Name,
    data: Data = None,
    out: Out = "runs/multiuser",
    device: Device = "auto",
    threads: Threads = 0,
    figures: Figures = "docs/figures",
    name: FigureName = "schemes",
    paper_name: Annotated[
        str, typer.Option(help="Of the table beside the paper's (Rayleigh only).")
    ] = "rayleigh",
) -> None:
    """PSNR by scheme, user and SNR over the seeds, and where the paper's ordering fails."""
    from semcom_training.multiuser.tables import write_paper_table, write_schemes

    cells = _cells(experiment, data, out, device, threads)
    made_by = _made_by("table", experiment, name, "schemes")
    written = write_schemes(cells.experiment, cells.all(), figures, name, made_by)
    if cells.experiment.channel == "rayleigh":
        written += write_paper_table(cells.experiment, cells.all(), figures, paper_name, made_by)
    _tell(written)


@app.command()
def forgetting(
    experiment: Name,
    data: Data = None,
    out: Out = "runs/multiuser",
    device: Device = "auto",
    threads: Threads = 0,
    figures: Figures = "docs/figures",
    name: FigureName = "forgetting",
    user: Annotated[str, typer.Option(help="Who forgets.")] = "attention",
    rival: Annotated[str, typer.Option(help="After whose epochs.")] = "vgg",
) -> None:
    """What an epoch for one user costs another, under iterative and under two-stage training (Fig. 5)."""
    from semcom_training.multiuser.forgetting import SCHEMES, write_forgetting

    cells = _cells(experiment, data, out, device, threads)
    for one in (user, rival):
        if one not in cells.experiment.users:
            known = ", ".join(cells.experiment.users)
            raise ConfigError(f"experiment '{cells.experiment.name}' has no user '{one}': there are {known}.")
    made_by = _made_by("forgetting", experiment, name, "forgetting")
    _tell(write_forgetting(cells.experiment, cells.all(SCHEMES), figures, name, made_by, user, rival))


@app.command()
def theory(
    experiment: Name,
    data: Data = None,
    out: Out = "runs/multiuser",
    device: Device = "auto",
    threads: Threads = 0,
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
    cells = _cells(experiment, data, out, device, threads)
    _tell(write_theory(cells, figures, name, _made_by("theory", experiment, name, "theory"), steps, sizes))


def _made_by(command: str, experiment: str, name: str, usual: str) -> str:
    named = "" if name == usual else f" --name {name}"
    return f"python -m semcom_training.multiuser {command} {experiment}{named}"


def _tell(written) -> None:
    for path in written:
        typer.echo(path)


if __name__ == "__main__":
    app(prog_name="python -m semcom_training.multiuser")
