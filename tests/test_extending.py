# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/extending.md shows, as it stands there: its files are written, its commands are run."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.system import zoo

PAGE = (Path(__file__).parents[1] / "docs/extending.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.S | re.M))
CODEC = "Your codec"


def pieces(section: str) -> list[tuple[str, str]]:
    """(language, text) of a section's examples, in their order."""
    return re.findall(r"^```(\w+)\n(.*?)^```", SECTIONS[section], re.S | re.M)


def write_files(section: str, folder: Path) -> list[Path]:
    """Writes a section's files, each called as its first line says; trainings are cut short."""
    written = []
    for language, text in pieces(section):
        if language in ("python", "yaml"):
            written.append(folder / text.split("\n", 1)[0].removeprefix("# "))
            written[-1].write_text(text.replace("steps: 2000", "steps: 100"))
    return written


@pytest.fixture
def place(tmp_path, monkeypatch, fresh_plugins):
    """A folder with a few pictures, in which the commands are given."""
    (tmp_path / "data/pictures").mkdir(parents=True)
    y, x = np.mgrid[0:40, 0:48]
    for n in range(8):
        pixels = np.stack([5 * x + 9 * n, 6 * y, (x + y) * (n + 1)], -1).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"data/pictures/{n}.png")
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    return tmp_path


def run_commands(section: str, radio: bool) -> int:
    """Runs those that need a radio, or those that do not. Returns how many."""
    ran = 0
    for language, text in pieces(section):
        for line in text.splitlines() if language == "sh" else ():
            program, command, *options = shlex.split(line)
            assert program == "semcom"
            if ("--radio" in options) != radio:
                continue
            done = CliRunner().invoke(app, [command, *options])
            assert done.exit_code == 0, f"{line}: {done.output}"
            ran += 1
    return ran


def test_each_is_below_40_lines():
    for section in (CODEC, "Your channel", "Your loss", "Your task"):
        for language, text in pieces(section):
            assert language == "sh" or len(text.splitlines()) < 40
    code = next(text for language, text in pieces(CODEC) if language == "python")
    assert len(code.splitlines()) <= 20


@pytest.mark.parametrize("section", ["Your channel", "Your loss", "Your task"])
@pytest.mark.slow
def test_an_example_of_the_page_runs(section, place):
    write_files(CODEC, place)  # which the task's recipe trains
    write_files(section, place)
    assert run_commands(section, radio=False) >= 1


@pytest.mark.slow
def test_the_codec_of_the_page_trains_and_flies(place):
    write_files(CODEC, place)
    assert run_commands(CODEC, radio=False) == 3
    log = (place / "runs/mine/log.csv").read_text().splitlines()
    losses = [float(dict(zip(log[0].split(","), row.split(",")))["psnr_10_db"]) for row in log[1:]]
    assert losses and losses[-1] > 10, "a flat grey picture has 8 dB"
    assert zoo.card("runs/mine/mine.json").architecture == "mine"


@pytest.mark.slow
@pytest.mark.radio
@pytest.mark.timeout(120)
def test_the_codec_of_the_page_goes_from_station_to_station(place):
    write_files(CODEC, place)
    train = next(line for language, text in pieces(CODEC) if language == "sh" for line in text.splitlines())
    assert CliRunner().invoke(app, shlex.split(train)[1:]).exit_code == 0
    assert run_commands(CODEC, radio=True) == 2
    assert len(list((place / "received").glob("*.png"))) == 8
