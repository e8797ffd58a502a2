# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom replay``: recorded bursts to pictures or labels, as in flight."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from semcom.cli import options


def replay(
    path: options.Recording,
    model: options.Model = None,
    link: options.Link = None,
    sample_type: options.SampleType = "",
    channel: options.FileChannel = -1,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the pictures (PNG), or for labels.csv.")
    ] = None,
    originals: Annotated[
        Path | None,
        typer.Option(
            "--originals",
            metavar="FOLDER",
            help="The pictures that were sent, for the PSNR; found by their names, see --sent-log. A folder of "
            "CIFAR-10 says which labels are right.",
        ),
    ] = None,
    sent_log: Annotated[
        Path | None,
        typer.Option(
            "--sent-log",
            metavar="FILE",
            help="The transmitter's log, which names them, if `semcom capture` was not given it.",
        ),
    ] = None,
    json: options.Json = None,
) -> None:
    """Demodulate and decode a recording again, through the same modem and codec.

    In recordings of other tools, and raw files of samples, bursts are searched for as a receiver does: name the link."""
    from semcom.cli.console import mention
    from semcom.cli.output import check_json, give_json
    from semcom.errors import OutputError
    from semcom.files import FreeNames, writable_folder
    from semcom.kinds import LABEL

    check_json(json)
    if out is not None:
        writable_folder(out)

    from semcom.capture.originals import Originals
    from semcom.capture.recording import ForeignRecording
    from semcom.capture.replaying import Replay

    run = Replay(
        path,
        model,
        originals=Originals(originals, sent_log),
        link=link or "",
        type_name=sample_type,
        channel=None if channel < 0 else channel,
    )
    for problem in run.problems:
        mention(problem)
    for recording in run.recordings:
        if isinstance(recording, ForeignRecording):
            mention(recording.description)
    rows, names, lost = [], FreeNames(), Counter()
    labels: list[dict] = []
    for number, picture in enumerate(run):
        row = _row(number, picture)
        if picture.kind is LABEL:
            labels.append(row | _label_of(picture))
            continue
        rows.append(row)
        if out is not None and picture.pixels is not None:
            try:
                rows[-1]["file"] = _write(out, picture, names)
            except OutputError as error:
                lost[f"pictures {error.kind}"] += 1
    if out is not None and labels:
        try:
            _write_labels(names.path(out, "labels", ".csv"), labels)
        except OutputError as error:
            lost[f"labels {error.kind}"] += len(labels)
    value = {
        "pictures": rows,
        "labels": labels,
        **_errors(labels),
        "bursts": run.bursts,
        "latents_compared": run.latents_known,
        "latents_equal": run.latents_equal,
        "same_engine": run.same_engine,
        "recorded_with": sorted(run.engines),
        "counters": dict(run.counters),
        "problems": run.problems,
    }
    give_json(json, value, _tables(rows, labels, run))
    for what, times in run.counters.items():
        if what not in ("bursts used", "pictures"):
            mention(f"{what}: {times}")
    if (originals or sent_log) is not None:
        for words in (*_why_no_psnr(rows), *_why_not_judged(labels)):
            mention(words)
    if run.latents_equal < run.latents_known and not run.same_engine:
        mention(
            f"recorded with {', '.join(sorted(run.engines)) or 'an unknown engine'}, which may round the last bits of "
            "latents otherwise than this computer does."
        )
    if lost:
        why = ", ".join(f"{times} {what}" for what, times in lost.items())
        raise OutputError(f"{out}: {why}. Make room.")


def _row(number: int, picture) -> dict:
    header = picture.header
    return {
        "picture": number,
        "image_id": header.image_id,
        "image": picture.name,
        "height": header.height,
        "width": header.width,
        "bursts_received": picture.bursts_received,
        "burst_count": picture.burst_count,
        "snr_db": picture.snr_db,
        "psnr_db": picture.psnr_db,
        "latents_compared": picture.latents_known,
        "latents_equal": picture.latents_equal,
        "received_s": picture.received_s,
        "file": None,
    }


def _label_of(item) -> dict:
    """What a row of a label has beside the rest, of a picture's size and PSNR nothing."""
    verdict = item.verdict
    return {
        "height": None,
        "width": None,
        "label": item.label,
        "confidence": verdict["confidence"],
        "true_label": item.sent.label,
        "correct": None if verdict["correct"] is None else bool(verdict["correct"]),
    }


def _errors(labels: list[dict]) -> dict:
    """How many labels could be held against the truth, and the share of them that is wrong; None without any."""
    judged = [row["correct"] for row in labels if row["correct"] is not None]
    return {
        "labels_judged": len(judged),
        "error_rate": judged.count(False) / len(judged) if judged else None,
    }


def _write_labels(path: Path, labels: list[dict]) -> None:
    from semcom.experiments.table import fixed, write_csv

    columns = ("image", "image_id", "snr_db", "label", "confidence", "true_label", "correct")
    write_csv(path, labels, fixed(4), columns)


def _why_not_judged(labels: list[dict]) -> Iterator[str]:
    """For labels whose truth is not known: what would say it."""
    unknown = sum(row["true_label"] is None for row in labels)
    if unknown:
        yield (
            f"{unknown} of {len(labels)} labels cannot be judged: which class was sent is not known. "
            "`semcom tx --log FILE` notes it of CIFAR-10's test images: give that log as --sent-log FILE, and their "
            "folder as --originals where the log is older."
        )


def _why_no_psnr(rows: list[dict]) -> Iterator[str]:
    """For pictures without an original: whether their names are missing, or the files."""
    alone = [row for row in rows if row["psnr_db"] is None]
    unnamed = sum(row["image"] is None for row in alone)
    if unnamed:
        yield (
            f"{unnamed} of {len(rows)} pictures have no name, so no PSNR: the recording holds numbers only. The "
            "transmitter's log has the names (`semcom tx --log FILE`): give it here or to `semcom capture`, as "
            "--sent-log FILE."
        )
    if len(alone) > unnamed:
        yield (
            f"{len(alone) - unnamed} of {len(rows)} pictures have a name and no PSNR: nothing of that name, size and "
            "content is in --originals or where --sent-log says, or their model is not here."
        )


def _write(folder: Path, picture, names) -> str:
    """Writes it under the name that the recording knows, else its number; nothing is overwritten."""
    from semcom.kinds.pictures import stem_of, write_png

    stem = stem_of(picture.name or "") or f"{picture.header.image_id:05d}"
    return str(write_png(names.path(folder, stem), picture.pixels))


def _tables(rows: list[dict], labels: list[dict], run):
    """Of pictures, of labels, or both: a recording may hold what several models sent."""
    from rich.console import Group

    tables = [_table(rows, run)] if rows or not labels else []
    return Group(*tables, *([_table_of_labels(labels, run)] if labels else []))


def _table(rows: list[dict], run):
    from semcom.cli.console import number

    table = _empty(
        _title(f"{len(rows)} pictures", run), "size", "bursts", "SNR dB", "PSNR dB", "latents equal"
    )
    for row in rows:
        table.add_row(
            _name(row),
            f"{row['width']}x{row['height']}",
            f"{row['bursts_received']}/{row['burst_count']}",
            number(row["snr_db"], 1),
            number(row["psnr_db"], 2),
            f"{row['latents_equal']} of {row['latents_compared']}",
        )
    return table


def _table_of_labels(rows: list[dict], run):
    from semcom.cli.console import number

    errors, judged = _errors(rows), ""
    if errors["labels_judged"]:
        judged = f", {100 * errors['error_rate']:.1f} % of {errors['labels_judged']} wrong"
    title = _title(f"{len(rows)} labels{judged}", run)
    table = _empty(title, "bursts", "SNR dB", "label", "confidence", "true", "latents equal")
    for row in rows:
        table.add_row(
            _name(row),
            f"{row['bursts_received']}/{row['burst_count']}",
            number(row["snr_db"], 1),
            "-" if row["label"] is None else str(row["label"]),
            number(row["confidence"], 2),
            "-" if row["true_label"] is None else str(row["true_label"]),
            f"{row['latents_equal']} of {row['latents_compared']}",
        )
    return table


def _empty(title: str, *heads: str):
    from rich import box
    from rich.table import Table

    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column("picture", overflow="fold", min_width=7)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    return table


def _name(row: dict) -> str:
    from rich.markup import escape

    return escape(row["image"] or f"{row['image_id']:05d}")


def _title(what: str, run) -> str:
    if not run.latents_known:  # a raw file holds none to compare with
        return what
    equal = f"{run.latents_equal} of {run.latents_known}"
    return f"{what}; latents as recorded, bit for bit: {equal} bursts"
