# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest

from semcom.errors import ConfigError
from semcom.experiments.rival.bound import at_capacity, capacity_bytes
from semcom.kinds.pictures import Picture, samples
from semcom.link import LinkConfig, simulate
from semcom.payload.coded import mcs as schemes
from semcom.system.coded import Coded

SIDE = 96  # what fits JPEG at rho 1/12


@pytest.fixture(scope="module")
def picture():
    return Picture("half", np.ascontiguousarray(samples()[1].pixels[::2, ::2][:SIDE, :SIDE]))


def over(picture, snr_db, channel="awgn", drop=0.0, **fields):
    payload = Coded(source="jpeg", **fields)
    return simulate([picture], LinkConfig("cifar-1-12", snr_db, channel, drop=drop, payload=payload))[0]


def test_above_the_threshold_the_picture_arrives_with_the_symbols_of_the_model(picture):
    result = over(picture, 20.0, mcs="64-3/4")
    assert result.decoded and result.psnr_db > 22 and result.detail["mcs"] == "64-3/4"
    assert result.rho == pytest.approx(1 / 12, rel=1e-3)
    assert abs(result.snr_est_db - 20.0) < 1.0


def test_below_it_the_mean_colour(picture):
    result = over(picture, 8.0, mcs="64-3/4")
    assert not result.decoded
    assert np.array_equal(result.value[0, 0], picture.pixels.mean((0, 1)).round())
    assert (result.value == result.value[0, 0]).all()


def test_adaptive_takes_what_works(picture):
    low, high = over(picture, 13.0), over(picture, 25.0)
    assert low.decoded and high.decoded and high.psnr_db > low.psnr_db + 1
    assert schemes.named(low.detail["mcs"]).efficiency < schemes.named(high.detail["mcs"]).efficiency


def test_a_margin_takes_the_safer_scheme(picture):
    plain, careful = over(picture, 20.0), over(picture, 20.0, margin_db=3.0)
    assert schemes.named(careful.detail["mcs"]).efficiency < schemes.named(plain.detail["mcs"]).efficiency


def test_a_header_costs_quality(picture):
    assert over(picture, 20.0, header_bytes=200).psnr_db < over(picture, 20.0).psnr_db


def test_no_burst_at_all(picture):
    result = over(picture, 20.0, drop=1.0)
    assert not result.decoded and result.bursts_found == 0


def test_through_multipath(picture):
    assert over(picture, 20.0, mcs="4-1/2", channel="multipath").bursts_found > 0


def test_capacity_bounds_the_adaptive_link(picture):
    for snr_db in (15.0, 22.0):
        bound, fits = at_capacity(picture.pixels, 2304, snr_db, "jpeg")
        error = np.mean((bound.astype(float) - picture.pixels) ** 2)
        assert fits and 10 * np.log10(255**2 / error) > over(picture, snr_db).psnr_db
    assert capacity_bytes(256, 0.0) == 32


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"mcs": "16"}, "'16'"),
        ({"source": "png"}, "'png'"),
        ({"header_bytes": -1}, "not -1"),
        ({"margin_db": float("nan")}, "not nan"),
    ],
)
def test_what_cannot_be_is_refused_in_words(fields, words):
    with pytest.raises(ConfigError, match=words):
        Coded(**fields)
