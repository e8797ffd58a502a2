# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom dashboard``: what the stations do, live."""

from pathlib import Path
from typing import Annotated

import typer


def dashboard(
    rx: Annotated[
        str, typer.Option("--rx", metavar="ADDRESS", help="Telemetry of the receiver; '' for none.")
    ] = "tcp://127.0.0.1:5580",
    tx: Annotated[
        str, typer.Option("--tx", metavar="ADDRESS", help="Telemetry of the transmitter; '' for none.")
    ] = "tcp://127.0.0.1:5581",
    keys: Annotated[
        str, typer.Option("--keys", metavar="FOLDER", help="CurveZMQ certificates, for stations elsewhere.")
    ] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen to other machines without keys.")
    ] = False,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.0, help="Close the window after this long; 0: never.")
    ] = 0.0,
    screenshot: Annotated[
        Path | None,
        typer.Option("--screenshot", metavar="FILE", help="Write a PNG of the window at the end."),
    ] = None,
    fps_report: Annotated[
        bool,
        typer.Option(
            "--fps-report", help="Say at the end how many frames a second there were, and what they cost."
        ),
    ] = False,
) -> None:
    """Watch a link: pictures, SNR, constellation, subcarriers, counters."""
    from semcom.cli.console import out
    from semcom.errors import ConfigError
    from semcom.files import writable_file

    if screenshot is not None:
        writable_file(screenshot)
        if not seconds:
            raise ConfigError("--screenshot is taken at the end: say when with --seconds.")

    from semcom.dashboard.app import run
    from semcom.telemetry import Subscriber

    subscribers = [Subscriber(address, keys, insecure) for address in (rx, tx) if address]
    try:
        report = run(subscribers, seconds=seconds or None, screenshot=screenshot)
    finally:
        for subscriber in subscribers:
            subscriber.close()
    if fps_report:
        out().print(report.in_words())
