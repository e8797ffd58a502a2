# SPDX-License-Identifier: GPL-3.0-or-later
import csv
from dataclasses import replace

import numpy as np
import pytest

from semcom.errors import ConfigError
from semcom.experiments.rival import plot, report
from semcom.experiments.rival.compare import (
    ADAPTIVE,
    ANALOG,
    BARE,
    FILE,
    Outcome,
    Score,
    Trouble,
    arms,
    compare,
    lost_at,
)
from semcom.kinds.pictures import Picture, samples
from semcom.link import LinkConfig, simulate
from semcom.payload.coded.transport import choose


def score(scheme, accounting, snr_db, psnr_db):
    return Score(scheme, accounting, snr_db, 2, psnr_db, 0.1, None, 1.0, "", ())


def test_the_crossing_lies_where_the_lines_meet():
    scores = [score(ANALOG, "", snr, 20 + snr / 10) for snr in (0, 10, 20)]
    scores += [score("separation, adaptive", BARE, snr, 18 + snr / 4) for snr in (0, 10, 20)]
    assert lost_at(scores, BARE) == pytest.approx(20 / 1.5)
    assert lost_at(scores, FILE) is None


def test_never_lost_and_lost_from_the_start():
    ours = [score(ANALOG, "", snr, 25.0) for snr in (0, 10)]
    assert (
        lost_at([*ours, *(score("separation, adaptive", BARE, snr, 24.0) for snr in (0, 10))], BARE) is None
    )
    assert lost_at([*ours, *(score("separation, adaptive", BARE, snr, 26.0) for snr in (0, 10))], BARE) == 0


@pytest.fixture(scope="module")
def scores():
    pictures = [
        Picture(f"{n}", np.ascontiguousarray(samples()[n].pixels[::4, ::4][:48, :48])) for n in range(2)
    ]
    chosen = arms(LinkConfig("cifar-1-12", 0.0), "jpeg", ["64-3/4"], bare_only=True)
    return pictures, compare(pictures, [8.0, 24.0], chosen)


def test_the_cliff_and_its_absence(scores):
    by_key = {(s.scheme, s.snr_db): s for s in scores[1]}
    assert by_key["separation, 64-3/4", 8.0].decoded == 0
    assert by_key[ANALOG, 8.0].psnr_db > by_key["separation, 64-3/4", 8.0].psnr_db + 3
    assert by_key[ANALOG, 24.0].decoded == 1 and by_key[ANALOG, 24.0].psnr_db > by_key[ANALOG, 8.0].psnr_db
    bound = by_key["separation, at capacity", 24.0]
    assert bound.psnr_db >= by_key["separation, adaptive", 24.0].psnr_db


@pytest.mark.parametrize("lost_db, taken", [(0.0, "64-3/4"), (9.0, "64-2/3")])
def test_a_faster_scheme_is_taken_before_its_threshold_where_that_pays(monkeypatch, lost_db, taken):
    picture, tried = Picture("0", samples()[0].pixels[:96, :96]), []
    threshold_db = next(snr for snr in np.arange(12, 18, 0.25) if choose(snr, 96 * 96 // 4).name == "64-3/4")

    def separation(config):  # the faster scheme loses some pictures, which costs so much on average
        mcs = config.payload.scheme(96 * 96 // 4, threshold_db - 0.25).name
        tried.append(mcs)
        psnr_db = 25.0 - lost_db if mcs == "64-3/4" else 24.0
        return lambda pictures, snr_db: [Outcome(pictures[0].pixels, True, mcs, psnr_db, None)]

    monkeypatch.setattr("semcom.experiments.rival.compare._separation", separation)
    chosen = arms(LinkConfig("cifar-1-12", 0.0), "jpeg", [], bare_only=True)
    (outcome,) = next(arm for arm in chosen if arm.scheme == ADAPTIVE).run([picture], threshold_db - 0.25)
    assert outcome.detail == taken and sorted(tried) == ["64-2/3", "64-3/4"]


def test_the_digital_mode_may_have_a_codec_of_its_own_of_one_ratio():
    config = LinkConfig("cifar-1-12", 0.0)
    with pytest.raises(ConfigError, match="one ratio"):
        arms(config, "jpeg", [], [4], digital_model="cifar-1-6")
    assert len(arms(config, "jpeg", [], [4], digital_model="cifar-1-12")) == 6


def test_hybrids_and_troubles_are_curves_of_their_own():
    config = LinkConfig("photo-adaptive", 0.0)
    troubles = [Trouble(snr_error_db=3.0), Trouble(drop=0.1)]
    given = {"hybrids": ["chosen", "64-5/6@1/2"], "with_bound": False, "troubles": troubles}
    found = arms(config, "jpeg", [], bare_only=True, **given)
    plain = [ANALOG, ADAPTIVE, "hybrid, chosen", "hybrid, 64-5/6@1/2"]
    assert [arm.scheme for arm in found] == plain + [
        f"{name}, {label}" for label in ("told +3 dB", "10 % of bursts lost") for name in plain
    ]
    picture = Picture("0", np.ascontiguousarray(samples()[1].pixels[::2, ::2][:96, :96]))
    by_name = {arm.scheme: arm for arm in found}
    for name in ("hybrid, 64-5/6@1/2", "hybrid, 64-5/6@1/2, 10 % of bursts lost"):
        (outcome,) = by_name[name].run([picture], 24.0)
        assert outcome.detail.startswith("64-5/6 on 0.5")


def test_a_wrong_snr_is_what_the_transmitter_goes_by(monkeypatch):
    told = []

    def simulated(pictures, config):
        told.append((config.snr_db, config.told_snr_db))
        return simulate(pictures, config)

    monkeypatch.setattr("semcom.experiments.rival.compare.simulate", simulated)
    picture = Picture("0", np.ascontiguousarray(samples()[1].pixels[::2, ::2][:96, :96]))
    config = LinkConfig("cifar-1-12", 0.0)
    found = arms(config, "jpeg", [], bare_only=True, with_bound=False, troubles=[Trouble(snr_error_db=6.0)])
    outcomes = {arm.scheme: arm.run([picture], 18.0)[0] for arm in found}
    assert (18.0, 24.0) in told and (18.0, 18.0) in told
    # it takes a scheme for 24 dB, and the margins that it could have kept are too small
    assert outcomes[ADAPTIVE].decoded and not outcomes[f"{ADAPTIVE}, told +6 dB"].decoded


@pytest.mark.slow
def test_the_report_holds_every_score_and_says_where_it_is_lost(scores, tmp_path):
    pictures, rows = scores
    page = report.write(tmp_path, "here", rows, pictures[0].pixels, 0, "cifar-1-12", "jpeg")
    with (tmp_path / "here.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(line["psnr_db"]) for line in table] == pytest.approx([s.psnr_db for s in rows], abs=1e-4)
    assert "Where DeepJSCC is lost to" in page and (tmp_path / "here.md").read_text() == page
    assert "separation, at capacity: " in page
    without = [replace(row, ms_ssim=0.9) for row in rows if row.scheme != "separation, at capacity"]
    page = report.write(tmp_path, "here", without, pictures[0].pixels, 0, "cifar-1-12", "jpeg")
    assert "at capacity" not in page and "MS-SSIM, mean" in page and "0.9000" in page
    assert (tmp_path / "here.png").stat().st_size > 10_000
    assert (tmp_path / "here_strip.jpg").stat().st_size > 5_000


def test_a_strip_of_many_snrs_shows_some_of_them():
    grey = np.full((8, 8, 3), 99, np.uint8)
    many = [replace(score(ANALOG, "", float(snr), 20.0), shown=(grey,)) for snr in range(20)]
    titles = [axes.get_title() for axes in plot.strip(many, grey).axes]
    assert titles[0] == "original" and titles[1] == "0 dB" and titles[-1] == "19 dB" and len(titles) == 9
