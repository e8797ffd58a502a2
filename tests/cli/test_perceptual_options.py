# SPDX-License-Identifier: GPL-3.0-or-later
"""LPIPS in what the commands say: measured by default, left out when asked, and missing weights named first."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.errors import ModelError
from semcom.experiments.rival import plot, report
from semcom.experiments.rival.compare import ANALOG, Arm, Outcome, compare
from semcom.kinds import quality
from semcom.kinds.pictures import Picture, read_picture, samples, write_png
from semcom.system import zoo
from semcom.system.card import check_card
from semcom_training.export import measure_tables


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    """A picture of 64 pixels a side and one too small for LPIPS."""
    pixels = samples()[0].pixels
    write_png(tmp_path / "in" / "a.png", np.ascontiguousarray(pixels[:64, :64]))
    write_png(tmp_path / "in" / "b.png", np.ascontiguousarray(pixels[:32, :32]))
    return tmp_path / "in"


def rows_of(done):
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "way", [["--no-radio"], pytest.param([], marks=pytest.mark.radio)], ids=["library", "flowgraph"]
)
def test_loopback_measures_what_it_writes(folder, tmp_path, tiny_model, way):
    arguments = ["loopback", folder, "--model", tiny_model, "--json", "-", *way]
    large, small = rows_of(run(*arguments, "--out", tmp_path / "out"))
    received = read_picture(tmp_path / "out" / "a_10dB.png").pixels
    assert large["lpips"] == pytest.approx(quality.lpips(received, read_picture(folder / "a.png").pixels))
    assert small["lpips"] is None and small["psnr_db"] is not None
    assert [row["lpips"] for row in rows_of(run(*arguments, "--no-lpips"))] == [None, None]


def test_evaluate_measures_it_and_names_what_it_lacks_first(folder, tmp_path, tiny_model, monkeypatch):
    arguments = ["evaluate", "--data", folder, "--model", tiny_model, "--json", "-"]
    large, small = rows_of(run(*arguments))
    assert 0 < large["lpips"] < 2 and small["lpips"] is None
    assert rows_of(run(*arguments, "--no-lpips"))[0]["lpips"] is None
    monkeypatch.setenv("SEMCOM_DATA", str(tmp_path))
    for names, words in (
        ("lpips-vgg,dists", "semcom data get lpips-vgg"),
        ("ssim", "--also takes lpips-vgg, dists"),
    ):
        done = run(*arguments, "--also", names)
        assert done.exit_code == 2 and words in " ".join(done.output.split())


def test_compare_has_it_in_page_csv_and_curves_where_asked_for(tmp_path):
    original = np.ascontiguousarray(samples()[0].pixels[:64, :64])
    received = (original // 32 * 32).astype(np.uint8)
    arm = Arm(ANALOG, "", lambda pictures, snr_db: [Outcome(received, True, "", 25.0, None)])
    picture = Picture("a", original)
    for asked in (True, False):
        scores = compare([picture], [10.0], [arm], lpips=asked)
        page = report.write(tmp_path, "here", scores, original, 0, "cifar-1-12", "jpeg")
        with (tmp_path / "here.csv").open() as file:
            (row,) = csv.DictReader(file)
        expected = f"{quality.lpips(received, original):.4f}" if asked else ""
        assert row["lpips"] == expected and (f"| {ANALOG} | {expected} |" in page) == asked
        labels = [axes.get_ylabel() for axes in plot.curves(scores, "").axes]
        assert any("LPIPS" in label for label in labels) == asked


def test_cards_hold_it_where_the_pictures_are_large_enough(tiny_model):
    model = zoo.load(tiny_model)
    for side in (64, 32):
        tables = measure_tables(
            model, "set", [("a", np.ascontiguousarray(samples()[0].pixels[:side, :side]))]
        )
        found = {table["metric"]: len(table["values"]) for table in tables}
        assert found == ({"psnr_db": 8, "lpips": 8} if side == 64 else {"psnr_db": 8})
        card = {**json.loads(tiny_model.read_text()), "measured": tables}
        check_card(card, "card")
    with pytest.raises(ModelError, match="'measured.0.values'"):
        check_card(card | {"measured": [tables[0] | {"values": "low"}]}, "card")
