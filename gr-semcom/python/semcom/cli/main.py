# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``semcom`` command."""

import io
import sys

import typer

import semcom
from semcom.cli.air import air
from semcom.cli.bench import bench
from semcom.cli.calibrate import calibrate
from semcom.cli.capture import capture
from semcom.cli.compare import compare
from semcom.cli.dashboard import dashboard
from semcom.cli.data import data
from semcom.cli.demo import demo
from semcom.cli.doctor import doctor
from semcom.cli.evaluate import evaluate
from semcom.cli.finetune import finetune
from semcom.cli.grc import grc
from semcom.cli.inspect import inspect
from semcom.cli.keys import keys
from semcom.cli.loopback import loopback
from semcom.cli.models import models
from semcom.cli.replay import replay
from semcom.cli.rx import rx
from semcom.cli.tolerance import tolerance
from semcom.cli.train import train
from semcom.cli.tx import tx
from semcom.terminal import Commands

app = typer.Typer(
    cls=Commands,
    help="Pictures on the air: DeepJSCC codecs, an OFDM modem and GNU Radio.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    demo,
    loopback,
    tx,
    rx,
    capture,
    replay,
    inspect,
    dashboard,
    evaluate,
    compare,
    train,
    finetune,
    models,
    tolerance,
    bench,
    calibrate,
    grc,
    air,
    keys,
    doctor,
):
    app.command()(command)
app.add_typer(data, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"semcom {semcom.__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    # a path that is not UTF-8 is shown with its bytes written out: no result is lost over it
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
