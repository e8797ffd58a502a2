# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest

from semcom import blocks
from semcom.blocks.loopback import run
from semcom.errors import ConfigError, SemcomError
from semcom.kinds.pictures import Picture, samples
from semcom.link import LinkConfig, simulate
from semcom.payload.base import Analog
from semcom.system.coded import Coded
from semcom.system.hybrid import Hybrid


@pytest.fixture(scope="module")
def picture():
    return Picture("part", np.ascontiguousarray(samples()[1].pixels[::2, ::2][:96, :96]))


def test_flowgraph_delivers_what_the_library_delivers(picture):
    config = LinkConfig("cifar-1-12", 18.0, payload=Coded("16-3/4", "jpeg"))
    (flown,), (computed,) = run([picture], config), simulate([picture], config)
    assert computed.decoded and np.array_equal(flown.value, computed.value)
    assert flown.rho == computed.rho and flown.overhead == pytest.approx(computed.overhead)


def test_below_the_cliff_both_show_the_mean_colour(picture):
    config = LinkConfig("cifar-1-12", 5.0, payload=Coded("64-3/4", "jpeg"))
    (flown,), (computed,) = run([picture], config), simulate([picture], config)
    assert not computed.decoded and np.array_equal(flown.value, computed.value)


@pytest.mark.slow
def test_rows_of_the_flowgraph_say_what_was_chosen(picture):
    configs = [
        LinkConfig("cifar-1-12", 18.0, payload=Coded(source="jpeg"), lpips=False),
        LinkConfig("photo-adaptive", 22.0, payload=Hybrid(0.25, "64-5/6", "jpeg"), lpips=False),
        LinkConfig("photo-adaptive", 10.0, payload=Hybrid(source="jpeg"), lpips=False),
        LinkConfig("photo-adaptive", 10.0, payload=Analog(target_psnr_db=25.0), lpips=False),
    ]
    said = []
    for config in configs:
        (flown,), (computed,) = run([picture], config), simulate([picture], config)
        assert flown.detail == computed.detail
        said.append(flown.detail)
    assert "mcs" in said[0] and said[1] == {"mcs": "64-5/6", "share": 0.3125, "decoded": True}
    assert "share" in said[2] and set(said[3]) == {"target_reached", "expected_psnr_db"}


@pytest.mark.parametrize(
    "options", [{"mcs": "16-7/8"}, {"source": "bpg"}, {"header_bytes": -1}, {"header_bytes": 1.5}]
)
def test_impossible_parameters_are_refused(options):
    with pytest.raises((ConfigError, SemcomError)):
        blocks.separation_encoder("cifar-1-12", **options)
