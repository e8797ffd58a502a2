# SPDX-License-Identifier: GPL-3.0-or-later
"""Where measured tables go: docs/figures unless told otherwise, each with the command that makes it."""

from pathlib import Path

FIGURES = Path(__file__).resolve().parent.parent / "docs" / "figures"


def write_table(
    name: str,
    title: str,
    command: str,
    header: list[str],
    rows: list[list],
    note: str = "",
    folder: Path = FIGURES,
) -> None:
    """A markdown table with the command that makes it, to ``folder`` and to the screen."""
    cells = [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    lines = [
        f"# {title}",
        "",
        f"Made by `.venv/bin/python {command}`.",
        "",
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in cells),
        "",
    ]
    if note:
        lines += [note, ""]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text("\n".join(lines))
    print("\n".join(lines))
