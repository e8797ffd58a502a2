# SPDX-License-Identifier: GPL-3.0-or-later
"""A printed mean says of how many pictures it is, wherever some were lost."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from semcom.cli.console import mean_of, results_table, users_table
from semcom.cli.main import app
from semcom.experiments.report import draw_curve, render_html
from semcom.experiments.rival.compare import Score
from semcom.experiments.rival.report import _page
from semcom.kinds.pictures import Picture, write_png
from semcom.link import Row

PIXELS = np.zeros((8, 8, 3), np.uint8)


def result(name, psnr_db, snr_db=5.0, ms_ssim=None):
    came = psnr_db is not None
    estimate = snr_db if came else None
    return Row(
        name,
        snr_db,
        snr_est_db=estimate,
        scores={"psnr_db": psnr_db, "ms_ssim": ms_ssim, "lpips": None},
        bursts_sent=4,
        bursts_found=4 * came,
        papr_db=9.0,
        real_time_factor=1.0,
        value=PIXELS if came else None,
    )


LOSSY = [result(f"{n}", psnr) for n, psnr in enumerate((20.0, 30.0, 40.0, None))]
WHOLE = [result(f"{n}", psnr, 10.0) for n, psnr in enumerate((21.0, 31.0, 41.0, 31.0))]


def shown(table, width=80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("values", "text"),
    [([1.0, 2.0], "1.5 dB"), ([1.0, None, 2.0], "1.5 dB of 2"), ([None], "-"), ([], "-")],
)
def test_a_mean_says_of_how_many(values, text):
    assert mean_of(iter(values), 1, " dB") == text


def test_tables_of_links_and_users_count_the_loss():
    users = [replace(one, user="conv") for one in LOSSY + WHOLE]
    for table in (results_table(LOSSY + WHOLE, by_snr=True), users_table(users)):
        text = shown(table)
        row, below = text.splitlines()[4:6]
        assert "3 of 4" in row and "30.00" in row and below.strip() == "of 3"
        assert "1 of 8 pictures lost; PSNR and MS-SSIM are means of those received." in " ".join(text.split())
        assert "31.00" in text and sum(line.strip().startswith("of ") for line in text.splitlines()) == 1
    whole = shown(results_table(WHOLE, by_snr=True))
    assert "lost;" not in whole and "of 4" in whole


def test_tables_fit_80_columns_and_say_what_real_time_is():
    users = [replace(one, user="a-user-with-a-rather-long-name") for one in LOSSY + WHOLE]
    for table in (results_table(LOSSY + WHOLE, by_snr=True), results_table(WHOLE, False), users_table(users)):
        lines = shown(table).splitlines()
        assert max(map(len, lines)) <= 80
        assert "x real time: airtime over computing time; above 1 the computer keeps up." in " ".join(
            " ".join(lines).split()
        )


def test_the_report_of_the_demo_counts_the_loss():
    pictures = [Picture(f"{n}", PIXELS) for n in range(4)]
    svg = draw_curve(pictures, LOSSY + WHOLE)
    assert "of 3 received, 1 lost" in svg and "mean of those received" in svg
    assert "received" not in draw_curve(pictures, WHOLE).replace("PSNR of the received picture", "")
    assert "7 of 8 pictures arrived" in render_html(pictures, LOSSY + WHOLE, {})


def test_a_comparison_says_how_many_came_also_where_nearly_all_did():
    def score(decoded):
        return Score("DeepJSCC", "", 5.0, 500, 29.5, 0.1, None, decoded, "", (PIXELS,))

    assert "| 29.50 (499 of 500) |" in _page("name", [score(499 / 500)], "title", "model")
    assert "| 29.50 |" in _page("name", [score(1.0)], "title", "model")


def test_evaluate_says_of_how_many_pictures_a_mean_is(tmp_path, tiny_model):
    """Small pictures have no MS-SSIM and no LPIPS."""
    noise = np.random.default_rng(0).integers(0, 255, (180, 180, 3), dtype=np.uint8)
    for name, side in (("a", 180), ("b", 16), ("c", 16)):
        write_png(tmp_path / f"{name}.png", noise[:side, :side])
    done = CliRunner().invoke(app, ["evaluate", "--model", str(tiny_model), "--data", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (row,) = [line for line in done.stdout.splitlines() if " dB " in line and "10 dB" in line]
    assert row.count(" of 1") == 2


def test_tables_show_rate_and_target_where_there_was_one():
    def asked(one, reached):
        return replace(one, detail={"target_reached": reached}, symbols=400, source_values=9600)

    some = [asked(WHOLE[0], True), asked(WHOLE[1], False), *(asked(one, True) for one in LOSSY[:2])]
    single, means = shown(results_table(some, by_snr=False)), shown(results_table(some, by_snr=True))
    assert single.count("0.0417") == 4 and single.count(" no ") == 1 and single.count(" yes ") == 3
    assert "0.0417" in means and "1 of 2" in means
    for text in (single, means):
        assert "No rate is expected to meet the target of 1 of 4" in " ".join(text.split())
        # names keep their column
        assert max(map(len, text.splitlines())) <= 80 and (
            "picture" in text.splitlines()[2] or "received" in text
        )
    assert "rho" not in shown(results_table(WHOLE, by_snr=True))
