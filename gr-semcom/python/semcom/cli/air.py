# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom air``: the virtual air between transmitters and receivers that are programs."""

import math
import os
import signal
import threading
from contextlib import contextmanager, nullcontext
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from semcom.cli import options
from semcom.shipped import shipped_air_script


class Pace(str, Enum):
    """What moves the air's clock."""

    real_time = "real-time"
    free = "free"


_CHANNEL = "Without a script"
_NICENESS = -10


def _positive_or_none(value: float | None) -> float | None:
    if value is not None and not 0 < value < math.inf:
        raise typer.BadParameter(f"{value} is not above 0.")
    return value


def air(
    script: Annotated[
        Path | None,
        typer.Argument(
            metavar="[SCRIPT]",
            help="What the air does: a YAML file, or the name of one of ours, such as fading or classroom (a wrong one "
            "lists them).",
        ),
    ] = None,
    pace: Annotated[
        Pace | None,
        typer.Option("--pace", help="As time goes, or as fast as samples come. [default: real-time]"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=2**31 - 1, help="Same seed, same noise. [default: 0]")
    ] = None,
    sample_rate: Annotated[
        float | None, typer.Option("--sample-rate", help="Sample rate in Hz. [default: 1e6]")
    ] = None,
    tx: Annotated[
        str | None,
        typer.Option(
            "--tx", metavar="ADDRESS", rich_help_panel=_CHANNEL, help="That the transmitter has bound."
        ),
    ] = None,
    rx: Annotated[
        str | None,
        typer.Option("--rx", metavar="ADDRESS", rich_help_panel=_CHANNEL, help="To bind for the receiver."),
    ] = None,
    snr_db: Annotated[
        float | None,
        typer.Option("--snr-db", rich_help_panel=_CHANNEL, help="Es/N0 in dB. [default: no noise]"),
    ] = None,
    cfo_hz: Annotated[
        float | None,
        typer.Option("--cfo-hz", rich_help_panel=_CHANNEL, help="Carrier frequency offset in Hz."),
    ] = None,
    sro_ppm: Annotated[
        float | None,
        typer.Option("--sro-ppm", rich_help_panel=_CHANNEL, help="Sample clock offset in parts per million."),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(
            "--channel",
            metavar="NAME",
            callback=options.known_channel,
            rich_help_panel=_CHANNEL,
            help="One with a name, as of `semcom loopback`, in place of the two that follow.",
        ),
    ] = None,
    multipath: Annotated[
        int | None,
        typer.Option(
            "--multipath",
            metavar="SAMPLES",
            rich_help_panel=_CHANNEL,
            help="Delay spread of a multipath channel; the modem's prefix is 32.",
        ),
    ] = None,
    doppler_hz: Annotated[
        float | None,
        typer.Option("--doppler-hz", rich_help_panel=_CHANNEL, help="Let the paths fade (Rayleigh)."),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", callback=_positive_or_none, help="Stop after so much time on the air."),
    ] = None,
    status_every: Annotated[
        float, typer.Option("--status-every", help="Seconds between lines on how it goes; 0: none.")
    ] = 10.0,
    keys: options.Keys = None,
    insecure: options.Insecure = False,
    json: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Write the final counters as JSON; - for standard output."
        ),
    ] = None,
) -> None:
    """Play the air between transmitters and receivers until Ctrl-C: noise, offsets, echoes, all by script."""
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        # small products: a second thread would only spin beside the stations
        os.environ.setdefault(variable, "1")
    from semcom.cli.output import check_json, give_json

    check_json(json)
    channel = (
        {"snr_db": snr_db, "sro_ppm": sro_ppm},
        {
            "cfo_hz": cfo_hz,
            "channel": channel,
            "delay_spread_samples": multipath,
            "doppler_hz": doppler_hz,
        },
    )
    common = {"pace": pace.value if pace else None, "seed": seed, "sample_rate_hz": sample_rate}
    plan = _plan(script, common, {"tx": tx, "rx": rx}, *channel)
    report = _play(plan, str(keys or ""), insecure, seconds, status_every)
    give_json(json, report, _table(report))


def _plan(script: Path | None, common: dict[str, Any], addresses: dict, receiver: dict, route: dict):
    """The script's file, or the script that the options make."""
    from semcom.air import load_script, make_script
    from semcom.air.script import DEFAULT_RX, DEFAULT_TX
    from semcom.errors import ConfigError

    receiver, route = _given(receiver), _given(route)
    if script is not None:
        script = options.file_or_name(script, shipped_air_script)
        alone = [*receiver, *route, *_given(addresses)]
        if alone:
            raise ConfigError(
                f"{', '.join(alone)}: with a script, write what the channel does into {script}; only --pace, --seed and "
                "--sample-rate overrule it."
            )
        return load_script(script, **common)
    values = {
        "transmitters": {"tx": addresses["tx"] or DEFAULT_TX},
        "receivers": {"rx": {"address": addresses["rx"] or DEFAULT_RX} | receiver},
        "links": [{"from": "tx", "to": "rx"} | route],
    }
    return make_script(values, **common)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _play(plan, keys: str, insecure: bool, seconds: float | None, status_every: float) -> dict[str, Any]:
    from rich.markup import escape

    from semcom.air.process import VirtualAir
    from semcom.terminal import err

    console, stop = err(), threading.Event()

    def say(report: dict[str, Any]) -> None:
        console.print(_line(report), highlight=False, soft_wrap=True)

    with _ended_by_signals(stop), VirtualAir(plan, keys=keys, insecure=insecure) as radio:
        for name, port in radio.receivers.items():
            console.print(f"receiver {escape(name)}: connect it to {port.address}", highlight=False)
        for name, one in plan.transmitters.items():
            console.print(f"transmitter {escape(name)}: awaited at {one.address}", highlight=False)
        with _first_in_line() if plan.pace == Pace.real_time.value else nullcontext():
            radio.run(stop, seconds, say if status_every > 0 else None, max(status_every, 0.1))
        return radio.report()


@contextmanager
def _first_in_line():
    """What stands for physics does not wait for the stations' processors, where the system allows it."""
    former = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, min(former, _NICENESS))
    except OSError:  # not root: in line with everybody else
        yield
        return
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, former)


@contextmanager
def _ended_by_signals(stop: threading.Event):
    """Ctrl-C and SIGTERM set ``stop`` and nothing else, so that the counters are still shown."""
    numbers = signal.SIGINT, signal.SIGTERM
    former = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, former, strict=True):
            signal.signal(number, handler)


def _line(report: dict[str, Any]) -> str:
    """One line on how it goes."""
    from rich.markup import escape

    parts = [f"{report['time_on_air_s']:.0f} s on the air", f"load {100 * report['load']:.0f} %"]
    if report["pace"] == Pace.real_time.value:
        parts.append(f"real-time factor {report['real_time_factor']:.3f}")
    for kind, done in (("transmitters", "samples played"), ("receivers", "samples sent")):
        for name, counts in report[kind].items():
            absent = "not received" if kind == "transmitters" else "not connected"
            here = "here" if counts["connected"] else absent
            parts.append(f"{escape(name)} {here}, {counts.get(done, 0) / 1e6:.2f} Msamples")
    return " | ".join(parts)


def _table(report: dict[str, Any]):
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table("station", "what", header_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("count", justify="right")
    table.add_row("air", "seconds on the air", f"{report['time_on_air_s']:.3f}")
    if report["pace"] == Pace.real_time.value:
        table.add_row("", "real-time factor", f"{report['real_time_factor']:.3f}")
        table.add_row("", "times it fell behind", str(report["times_behind"]))
    else:
        table.add_row("", "flushes with silence", str(report["flushes"]))
    table.add_row("", "share of the time it computed", f"{report['load']:.3f}")
    for kind in ("transmitters", "receivers"):
        for name, counts in report[kind].items():
            for what, count in counts.items():
                if count or what == "connected":
                    table.add_row(escape(name) if what == "connected" else "", what, str(count))
    return table
