# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``tx`` and ``rx`` share: their configuration, a line that says how it goes, and the summary at the end."""

import dataclasses
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from semcom.cli.console import mention
from semcom.cli.output import give_json
from semcom.terminal import complain, err


def config_of(
    link,
    radio,
    hardware,
    gain_db,
    frequency_hz,
    keys=None,
    log=None,
    target_psnr_db=None,
    refine_rho=None,
    **others,
):
    """The command line's options as a ``StationConfig``; the log's place is tried before anything is sent.

    Args:
        target_psnr_db, refine_rho: what a receiver asks for; None: nothing. others: fields of it as they are.

    Raises:
        ConfigError: a target, and no feedback to ask for it with. OutputError: the log cannot be written.
    """
    from semcom.errors import ConfigError
    from semcom.files import writable_file

    if target_psnr_db is not None and not others.get("feedback"):
        raise ConfigError("--target-psnr-db is asked for over the feedback socket: add --feedback ADDRESS.")
    if refine_rho is not None and not others.get("feedback"):
        raise ConfigError("--refine-rho is asked for over the feedback socket: add --feedback ADDRESS.")

    with no_collection():
        from semcom.blocks.stations import StationConfig

    if log is not None:
        # a full disk is reported at the end: no picture stays behind over a log
        writable_file(log, room_bytes=0)
    return StationConfig(
        profile=_text(link),
        radio=radio,
        hardware=hardware,
        gain_db=gain_db,
        centre_frequency_hz=frequency_hz,
        keys=_text(keys),
        log=_text(log),
        target_psnr_db=target_psnr_db or 0.0,
        refine_rho=refine_rho or 0.0,
        **others,
    )


@contextmanager
def no_collection() -> Iterator[None]:
    """No garbage collection while torch is imported: what imports make stays, and looking through it over and over is
    a sixth of their time. Nor is it looked through later, in the middle of a picture."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def status_line(verb: str) -> Iterator[Callable]:
    """A function to be called with the summary so far; the line disappears at the end."""
    with err().status("waiting for the radio ...") as status:
        yield lambda summary: status.update(
            f"{summary.pictures} pictures {verb}, {summary.bursts} bursts, {summary.seconds:.0f} s (Ctrl-C ends)"
        )


def give_summary(json: Path | None, summary, verb: str) -> None:
    """A table of what every block counted, in words, or JSON; and what to check where nothing was received.

    Raises:
        Exit: something that was asked for was not done, with the summary's status; after all of that is shown.
    """
    give_json(json, dataclasses.asdict(summary), counters_table(summary, verb))
    if summary.advice:
        mention(summary.advice)
    end_with(summary)


def end_with(summary) -> None:
    """Says what failed. Raises Exit with the summary's status: 1, not all was sent; 2, not all was written."""
    if summary.faults:
        complain("\n".join(summary.faults))
        raise typer.Exit(summary.exit_status)


def counters_table(summary, verb: str) -> Table:
    """What every block of a station counted, in words."""
    written = "" if summary.written is None else f", {summary.written} of them written,"
    table = Table(
        title=f"{summary.pictures} pictures {verb}{written} in {summary.seconds:.1f} s, {escape(summary.link)}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("block")
    table.add_column("what", overflow="fold")
    table.add_column("times", justify="right")
    for name, counters in summary.counters.items():
        for place, (what, times) in enumerate(sorted(counters.items())):
            table.add_row("" if place else name, escape(what), str(times))
    return table


def _text(path: Path | None) -> str:
    return "" if path is None else str(path)
