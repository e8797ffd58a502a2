# SPDX-License-Identifier: GPL-3.0-or-later
import dataclasses
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from semcom.adaptation.tolerance import tolerance_of
from semcom.cli.main import app
from semcom.kinds.pictures import samples, write_png
from semcom.system import zoo
from semcom.system.card import read_card

run = CliRunner().invoke


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """64 squares of the packaged photographs."""
    place = tmp_path_factory.mktemp("squares")
    for number in range(64):
        pixels, at = samples()[number % 4].pixels, 12 * (number // 4)
        write_png(place / f"{number:02d}.png", np.ascontiguousarray(pixels[at : at + 32, at : at + 32]))
    return place


FEW = ("--bits-per-latent", "2", "--pictures", "64", "--loss-db", "3", "--codebook", "best")


def measure(folder, *options, model="cifar-1-12"):
    return run(app, ["tolerance", str(model), "--data", str(folder), "--side", "32", *options])


@pytest.fixture(scope="module")
def measured(folder, tmp_path_factory):
    """The card that the command wrote into a folder of its own."""
    card = tmp_path_factory.mktemp("cards") / "mine" / "mine.json"
    result = measure(folder, *FEW, "--out", str(card))
    assert result.exit_code == 0, result.output
    return card


@pytest.mark.slow
@pytest.mark.radio
def test_the_card_is_a_model_at_once(measured, folder):
    from semcom.blocks import latent_mapper, modulation_adapter

    latent_mapper(str(measured), order=4, bits_per_latent=2)
    adapter = modulation_adapter(str(measured), bits_per_latent=2, codebook="best", loss_db=3.0)
    assert adapter.tolerance.codebook == "learned" == zoo.codebook_name(measured, "best")
    sent = ["loopback", str(folder / "00.png"), "--model", str(measured), "--no-radio", "--order", "4"]
    result = run(app, [*sent, "--bits-per-latent", "2"])
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_another_file_of_the_same_name_is_not_overwritten(folder, tmp_path):
    there = tmp_path / zoo.card("cifar-1-12").weights_file
    there.write_bytes(b"another training")
    result = measure(folder, *FEW, "--out", str(tmp_path / "mine.json"))
    assert result.exit_code != 0 and "choose a new folder" in " ".join(result.output.split())
    assert there.read_bytes() == b"another training" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_a_broken_table_is_left_out_and_said(measured, folder, tmp_path):
    shutil.copytree(measured.parent, tmp_path / "own")
    card = tmp_path / "own" / "mine.json"
    section = read_card(card).digital
    dataclasses.replace(read_card(card), digital=section | {"tolerance": [{"pictures": 3}]}).write(card)
    result = measure(folder, *FEW, "--out", str(card), model=card)
    assert result.exit_code == 0 and "1 broken tables of the card were left out" in result.output
    assert len(read_card(card).digital["tolerance"]) == 1
    assert tolerance_of(read_card(card), 2, "learned").pictures == 64


@pytest.mark.slow
def test_the_table_goes_into_a_card_and_comes_out_again(measured):
    table = tolerance_of(read_card(measured), 2, "learned", 3.0)
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
