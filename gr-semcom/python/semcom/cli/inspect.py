# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom inspect``: what is in a recording."""

import datetime
from pathlib import Path
from typing import Annotated

import typer

from semcom.cli import options


def inspect(
    path: options.Recording,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", help="Draw a spectrogram and the SNR.")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=0, help="Bursts in the table, the first; 0: all.")] = 40,
    repair: Annotated[
        bool, typer.Option("--repair", help="First complete recordings whose recorder was killed.")
    ] = False,
    link: options.Link = None,
    sample_type: options.SampleType = "",
    channel: options.FileChannel = -1,
    json: options.Json = None,
) -> None:
    """Show the bursts of a recording: time, picture, SNR, carrier offset, what went wrong."""
    import dataclasses

    from semcom import capture
    from semcom.capture import inspection
    from semcom.capture.recording import ForeignRecording
    from semcom.cli.console import mention, out, say
    from semcom.cli.output import check_json, give_json
    from semcom.files import writable_file

    check_json(json)
    if png is not None:
        writable_file(png)
    if repair:
        _repair(path)
    recordings, problems = capture.read_recordings(path, sample_type, None if channel < 0 else channel)
    for problem in problems:
        mention(problem)
    for recording in recordings:
        if isinstance(recording, ForeignRecording):
            mention(recording.description)
            recording.bursts = _found(recording, link)
    found = [row for recording in recordings for row in inspection.rows(recording)]
    summaries = [inspection.summary(recording) for recording in recordings]
    value = {"recordings": [dataclasses.asdict(s) for s in summaries], "bursts": found, "problems": problems}
    give_json(json, value, _burst_table(found[: rows or None]))
    if str(json) != "-":
        if rows and len(found) > rows:
            out().print(f"... and {len(found) - rows} bursts more (--rows 0 shows all)")
        out().print(_summary_table(summaries))
    for item in summaries:
        for what, times in item.skipped.items():
            mention(f"{item.name}: {what}: {times}")
        if item.intact is False:
            mention(f"{item.name}: the samples are not those that were recorded: the SHA512 differs.")
    if png is not None:
        inspection.draw(recordings, png)
        if str(json) != "-":
            say(f"Spectrogram: {png}")


def _found(recording, link: Path | None) -> list:
    """The bursts of another tool's recording, searched for as a receiver does."""
    from semcom.capture.finding import read_bursts
    from semcom.radio import load_link

    return read_bursts(recording, load_link(link or "", recorded=True))


def _repair(path: Path) -> None:
    from semcom import capture
    from semcom.capture.errors import CaptureError
    from semcom.cli.console import mention

    cut_off = sorted(path.glob("*.sigmf-journal")) if path.is_dir() else [path]
    for journal in cut_off:
        try:
            mention(capture.repair(journal))
        except CaptureError as error:
            mention(str(error))


def _burst_table(found: list[dict]):
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from semcom.cli.console import number

    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("time (UTC)", no_wrap=True)
    table.add_column("picture", overflow="fold", min_width=7)
    for head in ("burst", "SNR dB", "+-", "CFO Hz", "quality"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("latents, or why not", overflow="fold", min_width=12)
    for row in found:
        there = row["image_id"] is not None
        table.add_row(
            _time(row["received_s"]),
            escape(row["image"] or (f"{row['image_id']:05d}" if there else "-")),
            f"{row['burst_index'] + 1}/{row['burst_count']}" if there else "-",
            number(row["snr_db"], 1),
            number(row["snr_stderr_db"], 2),
            number(row["cfo_hz"], 1),
            number(row["sync_quality"], 2),
            escape(row["error"] or (row["latents_sha256"] or "-")[:8]),
        )
    return table


def _summary_table(summaries):
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from semcom.capture.inspection import bytes_text
    from semcom.cli.console import number

    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("recording", overflow="fold")
    table.add_column("state", no_wrap=True)
    for head in ("bursts", "read", "pictures", "span", "SNR dB", "samples"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("SHA512")
    for item in summaries:
        table.add_row(
            escape(item.name),
            item.state,
            str(item.bursts),
            str(item.bursts_read),
            str(item.pictures),
            number(item.seconds, 1, " s"),
            number(item.snr_db_mean, 1),
            bytes_text(item.data_bytes),
            {True: "fits", False: "differs", None: "-"}[item.intact],
        )
    return table


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return f"{moment:%m-%d %H:%M:%S.%f}"[:-3]
