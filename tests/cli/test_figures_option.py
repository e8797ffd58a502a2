# SPDX-License-Identifier: GPL-3.0-or-later
"""``--csv``, ``--plot`` and ``--html`` of ``loopback`` and ``evaluate``."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.experiments import report, spread
from semcom.kinds.pictures import Picture, write_png
from semcom.link.rows import Row


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for number in range(3):
        write_png(tmp_path / "in" / f"p{number}.png", generator.integers(0, 256, (40, 48, 3), np.uint8))
    return tmp_path / "in"


@pytest.mark.parametrize("command", ["loopback", "evaluate"])
def test_table_figure_and_page(tmp_path, folder, tiny_model, command):
    words = ["--data", folder] if command == "evaluate" else [folder, "--no-radio"]
    files = {f"--{kind}": tmp_path / "r" / f"x.{kind}" for kind in ("json", "csv", "html")}
    files["--plot"] = tmp_path / "r" / "x.svg"
    arguments = [word for pair in files.items() for word in pair]
    done = run(
        command, *words, "--model", tiny_model, "--snr-db", 0, "--snr-db", 10, "--no-lpips", *arguments
    )
    assert done.exit_code == 0, done.output
    rows = json.loads(files["--json"].read_text())
    with files["--csv"].open() as file:
        table = list(csv.DictReader(file))
    assert [(row["image"], float(row["snr_db"])) for row in table] == [
        (r["image"], r["snr_db"]) for r in rows
    ]
    assert [float(row["psnr_db"]) for row in table] == [row["psnr_db"] for row in rows]
    assert "<svg" in files["--plot"].read_text()
    page = files["--html"].read_text()
    assert page.count("<svg") == 1 and page.split("All figures")[1].count("<tr><th>") == 1 + 6
    assert page.count("data:image/png") == (9 if command == "loopback" else 0)
    assert page.count("received at") == (2 if command == "loopback" else 0)


def test_an_ending_that_no_figure_has(tmp_path, folder, tiny_model):
    done = run("loopback", folder, "--model", tiny_model, "--no-radio", "--plot", tmp_path / "x.doc")
    assert done.exit_code == 2 and ".svg" in done.output


def rows_of(pictures, users=("",), snrs=(0.0, 10.0)):
    return [
        Row(item.name, snr, user=user, scores={"psnr_db": 20 + snr + place}, value=item.pixels)
        for snr in snrs
        for place, item in enumerate(pictures)
        for user in users
    ]


def test_the_figure_has_means_and_percentiles():
    pictures = [Picture(f"p{n}", np.full((4, 4, 3), n, np.uint8)) for n in range(11)]
    axes = spread.draw([row.flat() for row in rows_of(pictures)], "x").axes[0]
    mean = next(line for line in axes.lines if line.get_label() == "mean")
    assert list(mean.get_ydata()) == [25, 35]
    (band,) = axes.collections
    low, high = band.get_paths()[0].vertices[:, 1].min(), band.get_paths()[0].vertices[:, 1].max()
    assert (low, high) == pytest.approx((21, 39))


def test_a_page_of_many_pictures_and_users_is_bounded(tmp_path):
    pictures = [Picture(f"p{n}", np.full((4, 4, 3), n, np.uint8)) for n in range(40)]
    rows = rows_of(pictures, users=("near", "far"), snrs=np.arange(30.0))
    page = report.write_page(tmp_path / "x.html", pictures, rows, {}).read_text()
    assert page.count("received by near at") == page.count("received by far at") == 30
    assert page.count("data:image/png") == 24 * 61
    assert page.split("All figures")[1].count("<tr><th>") == 1 + 2000 and "400 more are not listed" in page
