# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
from typer.testing import CliRunner

from semcom.adaptation.tolerance import tolerance_of
from semcom.cli.main import app
from semcom.codec.card import read_card
from semcom.pictures import samples, write_png

run = CliRunner().invoke


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """64 squares of the packaged photographs."""
    place = tmp_path_factory.mktemp("squares")
    for number in range(64):
        pixels, at = samples()[number % 4].pixels, 12 * (number // 4)
        write_png(place / f"{number:02d}.png", np.ascontiguousarray(pixels[at : at + 32, at : at + 32]))
    return place


def measure(folder, *options):
    return run(app, ["tolerance", "cifar-1-12", "--data", str(folder), "--side", "32", *options])


def test_the_table_goes_into_a_card_and_comes_out_again(folder, tmp_path):
    card = tmp_path / "mine.json"
    few = ("--bits-per-latent", "2", "--pictures", "64", "--loss-db", "3", "--codebook", "best")
    result = measure(folder, *few, "--out", str(card))
    assert result.exit_code == 0, result.output
    table = tolerance_of(read_card(card), 2, "learned", 3.0)
    assert table.pictures == 64 and table.codebook == "learned"
    assert all(0 < rate < 0.5 for rate in table.max_ber.values()) and {2, 4} <= set(table.max_ber)


@pytest.mark.parametrize(
    "options, words",
    [
        (("--pictures", "20"), "59"),  # of fewer no share of 5 % can be shown
        (("--bits-per-latent", "5"), "5 bits do not exist"),
        (("--codebook", "finest"), "no finest codebooks"),
        (("--side", "64"), "smaller --side"),
    ],
)
def test_what_cannot_be_measured_is_said(folder, tmp_path, options, words):
    card = tmp_path / "card.json"
    result = measure(folder, "--bits-per-latent", "2", *options, "--out", str(card))
    assert result.exit_code != 0 and words in " ".join(result.output.split() + [str(result.exception)])
    assert not card.exists()
