# SPDX-License-Identifier: GPL-3.0-or-later
"""The course of a training: a CSV file, and what a person sees while it runs."""

import csv
import io
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from semcom import files

HELD_OUT_SNR_DB = (1, 10, 20)


def held_out_column(figure: str, snr_db: int) -> str:
    """Where the figure of the held-out images at an SNR stands: ``psnr_10_db``, ``correct_10_db``."""
    return f"{figure.removesuffix('_db')}_{snr_db}_db"


def held_out_snrs(snr_range_db) -> tuple[int, ...]:
    """The SNRs in dB at which held-out images are measured: 1, 10 and 20, or ends and middle of a range without two of
    those."""
    low, high = snr_range_db
    usual = tuple(snr for snr in HELD_OUT_SNR_DB if low - 1 <= snr <= high + 1)
    return (
        usual
        if len(usual) >= 2
        else tuple(dict.fromkeys(round(snr) for snr in (low, (low + high) / 2, high)))
    )


def fields_of(figure: str, snrs_db: tuple[int, ...] = HELD_OUT_SNR_DB) -> list[str]:
    """The columns of the log of a training that counts ``figure``."""
    fields = ["step", "minutes", "images_per_s", "learning_rate", "train_loss", f"train_{figure}"]
    return fields + [held_out_column(figure, snr) for snr in snrs_db]


class Log:
    """A CSV file of the training's course, of whole rows only; on resuming, rows after the checkpoint are dropped.

    Raises:
        OutputError: the file cannot be written; the one that was there is as it was.
    """

    def __init__(
        self, path: Path, step: int, figure: str = "psnr_db", snrs_db: tuple[int, ...] = HELD_OUT_SNR_DB
    ):
        self.path, self._fields = path, fields_of(figure, snrs_db)
        self._waiting: list[dict] = []  # rows that the disk had no room for
        rows = []
        if step and path.exists():
            with open(path, newline="") as file:
                rows = [
                    row
                    for row in csv.DictReader(file)
                    if _is_whole(row, self._fields) and int(row["step"]) <= step
                ]
        files.write_text(path, ",".join(self._fields) + "\r\n" + _lines(rows, self._fields))

    def write(self, row: dict) -> None:
        """Adds a line; keys are those of :func:`fields_of`.

        Raises:
            OutputError: the disk is full or cannot be written. The file is as it was; the row comes with the next.
        """
        self._waiting.append(
            {
                key: value
                if isinstance(value, int)
                else f"{value:.4g}"
                if key == "learning_rate"
                else f"{value:.4f}"
                for key, value in row.items()
            }
        )
        files.append_bytes(self.path, _lines(self._waiting, self._fields).encode())
        self._waiting.clear()


def _lines(rows: list[dict], fields: list[str]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, fields, extrasaction="ignore").writerows(rows)
    return text.getvalue()


def _is_whole(row: dict, fields: list[str]) -> bool:
    return all(row.get(key) for key in fields) and row["step"].isdecimal()


class Bar:
    """Progress on a terminal (Rich); a plain line at each row of the log where there is none."""

    def __init__(self, name: str, enabled: bool):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.console = Console()
        self.plain = enabled and not self.console.is_terminal
        columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}")]
        self.progress = Progress(*columns, console=self.console, disable=not enabled or self.plain)
        self.task = self.progress.add_task(name, total=1.0, text="")
        self.found = ""
        self.progress.start()

    def step(self, step: int, done: float, images_per_s: float, seconds: float) -> None:
        """After each step: how far, how fast, how long still; ``done`` 0..1 after ``seconds``."""
        left = seconds * max(1 - done, 0.0) / max(done, 1e-9)
        self.progress.update(
            self.task,
            completed=done,
            text=f"step {step}  {images_per_s:.0f} images/s  {duration(left)} left  {self.found}",
        )

    def row(self, done: float, seconds: float, row: dict) -> None:
        """At each row of the log: how good."""
        figure = next(
            key.removeprefix("train_") for key in row if key.startswith("train_") and key != "train_loss"
        )
        decibels, digits = (" dB", 2) if figure.endswith("_db") else (" " + figure, 4)
        column = re.compile(rf"{figure.removesuffix('_db')}_(-?\d+)_db")
        found = {match[1]: row[key] for key in row if (match := column.fullmatch(key))}
        held_out = " / ".join(f"{value:.{digits}f}" for value in found.values())
        train = f"train {row['train_' + figure]:.{digits}f}{decibels}"
        self.found = f"{train}  held out {held_out}{decibels} at {' / '.join(found)} dB"
        self.step(row["step"], done, row["images_per_s"], seconds)
        if self.plain:
            print(self.progress.tasks[0].fields["text"], flush=True)

    def say(self, words: str) -> None:
        """A line above the bar, also when progress is not shown: it is about something that went wrong."""
        self.console.print(words, highlight=False, soft_wrap=True, markup=False)

    def close(self) -> None:
        self.progress.stop()


@contextmanager
def measuring_bar(enabled: bool) -> Iterator[Callable[[int, int], None]]:
    """A function to be called with how much is measured, and of how much: a bar on a terminal, else a line a tenth."""
    bar = Bar("measuring", enabled)
    began = time.monotonic()

    def show(through: int, total: int) -> None:
        seconds = time.monotonic() - began
        left = duration(seconds * (total - through) / through)
        text = f"{through} of {total} pictures measured  {left} left"
        bar.progress.update(bar.task, completed=through / total, text=text)
        if bar.plain and (10 * through // total) > (10 * (through - 1) // total):
            print(text, flush=True)

    try:
        yield show
    finally:
        bar.close()


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.4 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
