# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of flowgraphs share: where things lie, an environment without a screen, and programs run in it."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from semcom.kinds import pictures, quality

ROOT = Path(__file__).resolve().parents[2]
GRC = ROOT / "gr-semcom" / "grc"
FLOWGRAPHS = sorted((ROOT / "flowgraphs").rglob("*.grc"))
GRCC = Path("/usr/bin/grcc")
RUNNER = Path(__file__).with_name("station_runner.py")
LIMIT_S = 90


def environment(home: Path) -> dict[str, str]:
    """No screen, no settings of the user's, our blocks."""
    clean = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return clean | {"GRC_BLOCKS_PATH": str(GRC), "QT_QPA_PLATFORM": "offscreen", "HOME": str(home)}


@contextmanager
def running(*command: str, home: Path):
    """A process that is gone afterwards, whatever happens."""
    with subprocess.Popen(
        [sys.executable, *command],
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def station(program: Path, wish: dict, *arguments: str, home: Path):
    """A compiled flowgraph that runs until its wish (``station_runner``) is fulfilled."""
    with running(str(RUNNER), str(program), json.dumps(wish), *arguments, home=home) as process:
        yield process


def figures_of(process: subprocess.Popen) -> dict:
    """What a ``station`` has counted, once it has ended."""
    output, _ = process.communicate(timeout=LIMIT_S)
    line = next((line for line in output.splitlines() if line.startswith("FIGURES ")), None)
    assert line and process.returncode == 0, output
    figures = json.loads(line.removeprefix("FIGURES "))
    print(figures)
    return figures


def best_psnr_db(received: Path) -> float:
    """Of a received picture against the photograph that it is most like."""
    pixels = pictures.read_picture(received).pixels
    same = [sample.pixels for sample in pictures.samples() if sample.pixels.shape == pixels.shape]
    return max(float(quality.psnr(sample, pixels)) for sample in same)
