# SPDX-License-Identifier: GPL-3.0-or-later
"""Where measured tables go: docs/figures by default, each with the command that makes it."""

from pathlib import Path

from semcom import files
from semcom.experiments.table import markdown_table, page

FIGURES = Path(__file__).resolve().parent.parent / "docs" / "figures"


def write_table(
    name: str, title: str, command: str, header, rows: list, note: str = "", folder: Path = FIGURES
) -> None:
    """A Markdown table with the command that makes it, to ``folder`` and to the screen."""
    text = page(title, markdown_table(header, rows), note, made_by=f".venv/bin/python {command}")
    print(text)
    files.write_text(folder / f"{name}.md", text)
