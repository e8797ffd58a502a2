# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom dashboard``: what the stations do, live."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from semcom.cli import options


def dashboard(
    rx: Annotated[
        str, typer.Option("--rx", metavar="ADDRESS", help="Telemetry of the receiver; '' for none.")
    ] = "tcp://127.0.0.1:5580",
    tx: Annotated[
        str, typer.Option("--tx", metavar="ADDRESS", help="Telemetry of the transmitter; '' for none.")
    ] = "tcp://127.0.0.1:5581",
    keys: options.Keys = None,
    insecure: options.Insecure = False,
    seconds: options.Seconds = None,
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
        if seconds is None:
            raise ConfigError("--screenshot is taken at the end: say when with --seconds.")

    from semcom.wire.telemetry import Subscriber

    with ExitStack() as stack:
        subscribers = [Subscriber(address, str(keys or ""), insecure) for address in (rx, tx) if address]
        for subscriber in subscribers:
            stack.callback(subscriber.close)

        from semcom.dashboard.app import run

        report = run(subscribers, seconds, screenshot)
    if fps_report:
        out().print(report.in_words())
