# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom train``: a recipe to a trained model."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from semcom import parsing
from semcom.channel.named import CHANNELS
from semcom.cli import options
from semcom.cli.console import say
from semcom.errors import ConfigError
from semcom.files import writable_folder


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's .yaml file, or the name of one that ships.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder that holds the recipe's data. [default: $SEMCOM_DATA]")
    ] = None,
    out_folder: Annotated[
        Path, typer.Option("--out", help="Checkpoint, log and model go to OUT/NAME.")
    ] = Path("runs"),
    device: options.Device = options.Where.auto,
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="CPU threads. [default: torch's own]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Go on from a checkpoint.")] = True,
    max_minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help="End after this many minutes of training, all sessions together."),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(
            help=f"Another channel than the recipe's: {', '.join(CHANNELS.built_in)}, a plugin's, or modem, which by "
            "itself only adds what its receiver estimates; with impairments as YAML: "
            "'{name: modem, backoff_db: 6, delay_samples: 16, fading: true, carrier_offset: 1e-4, clock_ppm: 5}'."
        ),
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="GPUs, or processes on CPUs.")] = 1,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write a TensorBoard log too.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would cost: nothing is trained or written.")
    ] = False,
) -> None:
    """Train a codec, or one user's decoder, by a recipe; a training that was stopped goes on where it was."""
    if data is not None and not data.is_dir():
        raise ConfigError(f"the data folder {data} does not exist.")
    from semcom_training.machine import choose_device
    from semcom_training.recipe import load_recipe
    from semcom_training.train import run

    choose_device(device.value)
    chosen = load_recipe(recipe)
    if max_minutes is not None:
        chosen = dataclasses.replace(chosen, max_minutes=max_minutes)
    if channel is not None:
        chosen = dataclasses.replace(chosen, channel=_channel(channel))
        chosen.make_channel()
    if dry_run:
        from semcom_training.budget import budget

        for what, words in budget(chosen, data, device.value, threads).items():
            say(f"{what:10} {words}")
        return
    writable_folder(out_folder)
    folder = run(
        chosen,
        data=data,
        out=out_folder,
        device=device.value,
        threads=threads,
        resume=resume,
        devices=devices,
        tensorboard=tensorboard,
    )
    say(f"Trained: {folder}")


def _channel(text: str) -> str | dict:
    """A channel's name, or a YAML mapping of its name and options."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        return parsing.parse_yaml(text)
    except parsing.ParseError as error:
        raise ConfigError(
            f"--channel {parsing.shown(text)} {error}: write it as "
            "'{name: modem, backoff_db: 6}', in quotes and with a space after each colon."
        ) from error
