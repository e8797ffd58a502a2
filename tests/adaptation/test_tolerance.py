# SPDX-License-Identifier: GPL-3.0-or-later
"""How many wrong bits a model bears: the statistics, the measurement, the table in the card."""

import dataclasses
import math

import numpy as np
import pytest

from semcom.adaptation import tolerance as room
from semcom.adaptation.closed_loop import crops
from semcom.errors import ConfigError, ModelError
from semcom.kinds.pictures import samples
from semcom.modulation import ORDERS, snr_for_ber
from semcom.system import zoo

TABLE = room.Tolerance(
    bits_per_latent=4,
    codebook="uniform",
    encoder_snr_db=8.0,
    loss_db=1.0,
    share=0.05,
    confidence=0.95,
    pictures=300,
    data="none",
    max_ber={2: 0.01, 16: 0.005},
)


class Steps:
    """Stands in for a trial: picture n loses 3 dB below an SNR of its own, above that nothing."""

    def __init__(self, edges_db):
        self.edges_db, self.clean_db, self.asked = np.array(edges_db), np.full(len(edges_db), 30.0), []
        self.bits_per_latent, self.codebook, self.encoder_snr_db = 4, "uniform", 8.0

    def psnr_db(self, order, snr_db, seed=0):
        self.asked.append((order, snr_db))
        return self.clean_db - 3.0 * (snr_db < self.edges_db)


@pytest.fixture(scope="module")
def trial():
    pictures = crops([picture.pixels for picture in samples()], 8, 32, 2, seed=0)
    return room.DigitalTrial(zoo.load("cifar-1-12"), pictures, 4)


def test_the_upper_limit_is_clopper_pearsons():
    assert room.upper_limit(0, 59, 0.95) == pytest.approx(1 - 0.05 ** (1 / 59), abs=1e-6)
    assert room.upper_limit(5, 100, 0.95) == pytest.approx(0.1023, abs=1e-4)  # from tables
    assert room.upper_limit(7, 7, 0.95) == 1.0
    assert room.least_pictures(0.05, 0.95) == 59
    assert room.upper_limit(0, 59, 0.95) <= 0.05 < room.upper_limit(0, 58, 0.95)


def test_the_rate_found_is_the_one_that_most_pictures_bear(tiny_model):
    # of 200 pictures 4 may lose too much: the fifth largest edge decides
    edges_db = np.linspace(0.0, 10.0, 200)
    table = room.measure(Steps(edges_db), zoo.card(tiny_model), "none")
    wanted_db = np.sort(edges_db)[-5]
    assert room.upper_limit(4, 200, 0.95) <= 0.05 < room.upper_limit(5, 200, 0.95)
    for order in (4, 8, 16):  # whose error rates are of interest at this SNR
        assert wanted_db <= snr_for_ber(order, table.max_ber[order]) <= wanted_db + 0.26
    assert table.pictures == 200 and table.encoder_snr_db == 8.0


def test_an_order_that_bears_nothing_is_left_out(tiny_model):
    with pytest.raises(ModelError, match="bears no order at a loss of 1 dB"):
        room.measure(Steps(np.full(100, 60.0)), zoo.card(tiny_model), "none")
    table = room.measure(Steps(np.full(100, snr_for_ber(16, 1e-5))), zoo.card(tiny_model), "none")
    assert 16 in table.max_ber and 2 not in table.max_ber


def test_too_few_pictures_and_no_loss_are_refused_in_words(tiny_model):
    with pytest.raises(ConfigError, match="give 59 or more"):
        room.measure(Steps(np.zeros(58)), zoo.card(tiny_model), "none")
    for loss_db in (0.0, -1.0, math.nan):
        with pytest.raises(ConfigError, match="above 0 dB"):
            room.measure(Steps(np.zeros(59)), zoo.card(tiny_model), "none", loss_db=loss_db)


@pytest.mark.parametrize("order", ORDERS)
def test_few_errors_cost_little_and_many_cost_much(trial, order):
    few_db = trial.clean_db - trial.psnr_db(order, snr_for_ber(order, 1e-4))
    many_db = trial.clean_db - trial.psnr_db(order, snr_for_ber(order, 0.1))
    assert np.median(few_db) < 0.7 and np.median(many_db) > np.median(few_db) + 0.5


def test_a_trial_takes_an_snr_for_each_picture(trial):
    rows, snr_db = np.array([3, 1, 5]), np.array([40.0, -5.0, 40.0])
    psnr_db = trial.psnr_db(4, snr_db, rows=rows)
    assert np.allclose(psnr_db[[0, 2]], trial.clean_db[[3, 5]], atol=0.1)
    assert psnr_db[1] < trial.clean_db[1] - 2
    assert np.array_equal(trial.psnr_db(4, 5.0, seed=1), trial.psnr_db(4, 5.0, seed=1))


def test_the_encoder_is_given_what_quantising_leaves(trial):
    assert 7 < trial.encoder_snr_db < 10  # 16 points of a Gaussian: an error of about -9 dB


def test_the_table_goes_through_the_card(tiny_model, tmp_path):
    card = room.store(zoo.card(tiny_model), TABLE)
    card = room.store(card, dataclasses.replace(TABLE, loss_db=2.0, max_ber={2: 0.02}))
    card = room.store(card, dataclasses.replace(TABLE, pictures=400))  # replaces the first
    card.write(tmp_path / "tiny.json")
    read = zoo.card(tmp_path / "tiny.json")
    assert room.tolerance_of(read, 4).loss_db == 2.0
    assert room.tolerance_of(read, 4, loss_db=1.0) == dataclasses.replace(TABLE, pictures=400)
    assert len(read.digital["tolerance"]) == 2


def test_a_missing_or_broken_table_names_the_cure(tiny_model):
    card = zoo.card(tiny_model)
    cure = (
        "none at all. Measure it with: semcom tolerance my/tiny.json --data FOLDER --bits-per-latent 4 "
        "--codebook learned --loss-db 2 --out CARD.json, and name CARD.json as the model"
    )
    with pytest.raises(ModelError, match=cure):
        room.tolerance_of(card, 4, "learned", 2.0, "my/tiny.json")
    card = room.store(card, TABLE)
    with pytest.raises(ModelError, match=r"at 6 bits per latent .* it has 4 bits \(uniform\) and 1 dB"):
        room.tolerance_of(card, 6)
    for broken in (
        {},
        {"max_ber": {}},
        TABLE.to_dict() | {"max_ber": {"3": 0.1}},
        TABLE.to_dict() | {"more": 1},
        TABLE.to_dict() | {"loss_db": "little"},
        *(TABLE.to_dict() | {"max_ber": {"4": rate}} for rate in (0.9, 0.5, 0.0, -1.0, math.nan, "much")),
    ):
        bad = dataclasses.replace(card, digital={"tolerance": [broken]})
        with pytest.raises(
            ModelError, match="'tiny'.* is broken.* semcom tolerance tiny .*--bits-per-latent 4"
        ):
            room.tolerance_of(bad, 4)
        assert room.broken_tables(bad) == 1
        assert room.store(bad, TABLE).digital == {"tolerance": [TABLE.to_dict()]}


def test_the_rates_of_shipped_cards_are_of_some_use():
    cards = [zoo.card(name) for name in zoo.names()]
    tables = [(card, entry) for card in cards for entry in (card.digital or {}).get("tolerance", [])]
    assert tables, "no shipped card has a table"
    for card, entry in tables:
        table = room.tolerance_of(card, entry["bits_per_latent"], entry["codebook"], entry["loss_db"])
        assert all(1e-5 < rate < 0.2 for rate in table.max_ber.values())
