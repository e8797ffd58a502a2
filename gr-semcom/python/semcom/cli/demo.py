# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom demo``: the first thing to run."""

import os
import platform
import sys
from pathlib import Path
from typing import Annotated

import typer

from semcom.cli import options


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the report.")] = Path("demo"),
    model: options.Model = None,
    snr_db: options.SnrDb = [0.0, 5.0, 10.0, 15.0, 20.0],  # noqa: B006
    channel: options.ChannelName = "awgn",
    drop: options.Drop = 0.0,
    seed: options.Seed = 0,
    json: options.Json = None,
    resume: options.Resume = False,
    no_radio: options.NoRadio = False,
    show: Annotated[
        bool | None,
        typer.Option("--open/--no-open", help="Open the report. [default: if there is a desktop]"),
    ] = None,
) -> None:
    """Send the four packaged photographs over a simulated air and write a report to look at."""
    from semcom.cli.console import mention, results_table, say
    from semcom.cli.output import as_rows, check_json, give_json
    from semcom.cli.send import picture_model, sender
    from semcom.cli.transmission import Transmission
    from semcom.errors import MissingError
    from semcom.files import writable_folder

    writable_folder(out)
    check_json(json)
    try:
        run = sender(radio=not no_radio)
    except MissingError as error:
        mention(f"{error} This demo goes on without it: the same modem, no flowgraph.")
        no_radio, run = True, sender(radio=False)

    from semcom.experiments.report import write_report
    from semcom.kinds.pictures import samples
    from semcom.link import LinkConfig
    from semcom.system import zoo

    model = picture_model(model)
    card = zoo.card(model)
    pictures = samples()
    configs = [
        LinkConfig(model=model, snr_db=snr, channel=channel, drop=drop, seed=seed)
        for snr in dict.fromkeys(snr_db)
    ]
    sent = Transmission(
        pictures,
        configs,
        table=lambda rows: results_table(rows, by_snr=True),
        out=out / "received",
        json=json,
        resume=resume,
    )
    results = sent.run(run)
    settings = {
        "model": f"{model}, rho = {card.rho:.4f}",
        "channel": channel + (f", {100 * drop:g} % of bursts dropped" if drop else ""),
        "way": "modem without GNU Radio" if no_radio else f"GNU Radio {_gnuradio_version()} flowgraph",
        "computer": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    report = write_report(out, pictures, results, settings)
    give_json(json, as_rows(results), results_table(results, by_snr=True))
    sent.finish()
    sent.discard()  # all is in the report
    if str(json) != "-":
        say(f"Report: {report}\n        {report.with_suffix('.png')}")
    if show or (show is None and _has_desktop()):
        typer.launch(str(report.resolve()))


def _gnuradio_version() -> str:
    from gnuradio import gr

    return gr.version()


def _has_desktop() -> bool:
    desktop = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin"
    return bool(desktop) and sys.stdout.isatty()
