# SPDX-License-Identifier: GPL-3.0-or-later
"""``make torture``: all areas at full size, to docs/figures/torture.md.

.venv/bin/python scripts/torture                                # everything; hours
.venv/bin/python scripts/torture strangers --scale 0.02         # one area, small; writes no figure
.venv/bin/python scripts/torture --resume                       # areas that ended before are not run again
"""

import importlib
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import typer

HERE = Path(__file__).resolve().parent
KEPT = HERE.parent.parent / "runs" / "torture"
sys.path.insert(0, str(HERE.parent))  # `torture` and what the other scripts share

from tables import FIGURES, write_table  # noqa: E402

from torture import KEYS, row  # noqa: E402

_AREA_LIMIT_S = 4 * 3600


def main(
    areas: list[str] = typer.Argument(None, help="Areas; none: all."),
    scale: float = typer.Option(1.0, min=0.001, max=1.0, help="1: full size, 0.02: a smoke test."),
    seed: int = typer.Option(0, help="Of everything that is drawn."),
    out: Path = typer.Option(
        None, help="Folder of torture.md; unless given, only a full run of all writes it."
    ),
    jobs: int = typer.Option(1, min=1, help="Areas at a time; times within a call are the clock's."),
    resume: bool = typer.Option(
        False, "--resume", help="Take the rows of areas that ended, of the same size and seed."
    ),
    rows_to: Path = typer.Option(None, hidden=True),
) -> None:
    """What radios, air, disks and untrusted input do to a receiver: inputs tried, crashes, hangs, worst memory, losses.

    The exit status is 1 where a row misses its target.
    """
    there = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
    if unknown := set(areas or ()) - set(there):
        raise typer.BadParameter(f"no area {', '.join(sorted(unknown))}; there are {', '.join(there)}")
    if rows_to is not None:  # the process of one area
        rows = importlib.import_module(f"torture.{areas[0]}").run(scale, seed)
        rows_to.write_text(json.dumps(rows, default=lambda value: value.item()))  # numpy's numbers
        return
    is_all = not areas and scale == 1.0
    rows = []
    with ThreadPoolExecutor(jobs) as pool:
        seconds = 0.0
        for kept in pool.map(lambda area: _kept(area, scale, seed, resume), areas or there):
            rows += kept["rows"]
            seconds += kept["seconds"]
            for each in kept["rows"]:
                print(_line(each), flush=True)
    if out is not None or is_all:
        _write(rows, scale, seed, areas or [], seconds, out or FIGURES)
    if missed := [each for each in rows if not each["ok"]]:
        print(f"{len(missed)} of {len(rows)} rows miss their target.", file=sys.stderr)
        raise typer.Exit(1)


def _kept(area: str, scale: float, seed: int, resume: bool) -> dict:
    """The rows of one area and the seconds that they took, kept below runs/torture as soon as it ends."""
    path = KEPT / f"{area}-{scale:g}-{seed}.json"
    if resume and path.is_file():
        return json.loads(path.read_text())
    begun = time.monotonic()
    kept = {"rows": _run(area, scale, seed), "seconds": time.monotonic() - begun}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept))
    return kept


def _run(area: str, scale: float, seed: int) -> list[dict]:
    """The rows of one area, of a process of its own; its end before its time is a row."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.json"
        command = [sys.executable, str(HERE), area, "--scale", str(scale), "--seed", str(seed)]
        try:
            code = subprocess.run([*command, "--rows-to", str(rows)], timeout=_AREA_LIMIT_S).returncode
        except subprocess.TimeoutExpired:
            return [_whole(area, f"did not end within {_AREA_LIMIT_S // 3600} h", hangs=1)]
        if code or not rows.is_file():
            return [_whole(area, f"ended with status {code} before its time", crashes=1)]
        found = json.loads(rows.read_text())
    wrong = [each for each in found if set(each) != set(KEYS)]
    return [_whole(area, f"{len(wrong)} rows of another form", crashes=1)] if wrong else found


def _whole(area: str, result: str, **counts: int) -> dict:
    return row(area, "the whole area", inputs=0, result=result, target="ends by itself", ok=False, **counts)


def _write(rows: list[dict], scale: float, seed: int, areas: list[str], seconds: float, folder: Path) -> None:
    given = f"--scale {scale:g}" if scale != 1.0 else ""
    command = " ".join(filter(None, ("scripts/torture", *areas, given, f"--seed {seed}" if seed else "")))
    totals = {key: sum(each[key] for each in rows) for key in ("inputs", "crashes", "hangs")}
    worst = max((each["worst_memory_mib"] or 0.0 for each in rows), default=0.0)
    ok = sum(each["ok"] for each in rows)
    write_table(
        "torture",
        "What radios, air, disks and untrusted input do to a receiver",
        command,
        ["area", "case", "inputs", "crashes", "hangs", "worst memory, MiB", "result", "target", "held"],
        [[_cell(key, each[key]) for key in KEYS] for each in rows],
        f"Inputs {totals['inputs']:,}, crashes {totals['crashes']}, hangs {totals['hangs']}, most memory {worst:.0f} "
        f"MiB above what was held before; {ok} of {len(rows)} rows hold; {seconds / 60:.0f} minutes. `make torture` is "
        "the same command. A crash is an error that is not of the project's own family (`semcom.errors`); a hang is a "
        "call beyond its time, stated in the module of the area in `scripts/torture`.",
        folder,
    )


def _cell(key: str, value) -> str:
    if key == "ok":
        return "yes" if value else "**no**"
    if key == "worst_memory_mib":
        return "" if value is None else f"{value:.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|").replace("\n", " ")


def _line(each: dict) -> str:
    counts = f"{each['inputs']:,} inputs, {each['crashes']} crashes, {each['hangs']} hangs"
    held = "held" if each["ok"] else "MISSED"
    return f"{held:6} {each['area']}: {each['case']}: {counts}; {each['result']} (target {each['target']})"


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
