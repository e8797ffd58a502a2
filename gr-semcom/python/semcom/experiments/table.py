# SPDX-License-Identifier: GPL-3.0-or-later
"""Results as tables: CSV for programs, Markdown for people."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from semcom import files
from semcom.errors import ConfigError
from semcom.parsing import shown

Number = Callable[[float], object] | Mapping[str, Callable[[float], object]]


def rounded(digits: int) -> Callable[[float], object]:
    """Numbers with at most so many digits after the point."""
    return lambda value: round(value, digits)


def fixed(digits: int) -> Callable[[float], object]:
    """Numbers with so many digits after the point."""
    return lambda value: f"{value:.{digits}f}"


def write_csv(
    path: str | Path, rows: Sequence[Mapping], number: Number = repr, columns: Sequence[str] = ()
) -> Path:
    """Rows as a file, as ``csv_text``. Raises OutputError if it cannot be written; an old one is kept."""
    return files.write_text(path, csv_text(rows, number, columns))


def csv_text(rows: Sequence[Mapping], number: Number = repr, columns: Sequence[str] = ()) -> str:
    """Rows of the same keys as CSV; None is an empty cell.

    Args:
        number: how floats are written (``rounded``, ``fixed``), of all columns or by column; exactly by default.
        columns: which keys, in which order; all of the first row by default.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns or rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _written(row[key], number, key) for key in writer.fieldnames})
    return text.getvalue()


def _written(value, number: Number, column: str):
    if not isinstance(value, float):
        return value
    how = number if callable(number) else number.get(column, repr)
    return how(value)


def read_csv(path: str | Path) -> list[dict]:
    """Rows of a CSV, numbers as such and empty cells as None.

    Raises:
        ConfigError: there is no such file, or it cannot be read.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [{key: _value(cell) for key, cell in row.items()} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"the table {shown(str(path))} cannot be read: {error}") from error


def _value(cell: str):
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            pass
    return cell or None


def markdown_table(head: Sequence[str], rows: Iterable[Sequence]) -> str:
    """Rows of cells as a Markdown table; floats with two digits after the point."""
    cells = (
        [f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in line] for line in (head, *rows)
    )
    first, *others = ("| " + " | ".join(line) + " |" for line in cells)
    return "\n".join([first, "|" + "---|" * len(head), *others])


def page(title: str, *paragraphs: str, made_by: str = "") -> str:
    """A page of Markdown that names the command that makes it; empty paragraphs are left out."""
    source = f"Made by `{made_by}`." if made_by else ""
    return "\n\n".join(part for part in (f"# {title}", source, *paragraphs) if part) + "\n"
