# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``semcom`` command."""

import functools
import inspect
import io
import sys
from collections.abc import Callable
from typing import Annotated

import typer

import semcom
from semcom import plugins
from semcom.cli.agree import agree, key_pair, trust
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
from semcom.cli.export import export
from semcom.cli.finetune import finetune
from semcom.cli.grc import grc
from semcom.cli.inspect import inspect as inspect_capture
from semcom.cli.keys import keys
from semcom.cli.link_key import link_key
from semcom.cli.loopback import loopback
from semcom.cli.models import models
from semcom.cli.replay import replay
from semcom.cli.rx import rx
from semcom.cli.tolerance import tolerance
from semcom.cli.train import train
from semcom.cli.tx import tx
from semcom.terminal import Commands

Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        is_eager=True,  # the other options may name what is in it
        callback=lambda files: plugins.use(files or ()),
        help="Python file of your own that registers codecs, channels or losses; give it several times for several.",
    ),
]


def with_plugins(command: Callable) -> Callable:
    """The command with ``--plugin FILE`` among its options: of those that look up models, channels or losses."""

    @functools.wraps(command)
    def run(*args, plugin=None, **options):
        plugins.read_pending()  # what the environment names counts also where no name is looked up
        return command(*args, **options)

    parameter = inspect.Parameter("plugin", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Plugins)
    signature = inspect.signature(command)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), parameter])
    run.__annotations__ = command.__annotations__ | {"plugin": Plugins}
    return run


app = typer.Typer(
    cls=Commands,
    help="Pictures on the air: DeepJSCC codecs, an OFDM modem and GNU Radio.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    with_plugins(demo),
    with_plugins(loopback),
    with_plugins(tx),
    with_plugins(rx),
    with_plugins(capture),
    with_plugins(replay),
    with_plugins(inspect_capture),
    dashboard,
    with_plugins(evaluate),
    with_plugins(compare),
    with_plugins(train),
    with_plugins(finetune),
    with_plugins(models),
    with_plugins(export),
    with_plugins(tolerance),
    bench,
    calibrate,
    with_plugins(grc),
    with_plugins(air),
    keys,
    link_key,
    key_pair,
    trust,
    agree,
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
