# SPDX-License-Identifier: GPL-3.0-or-later
"""One name is one channel: over symbols, samples, GNU Radio's blocks, in training and on the virtual air."""

import numpy as np
import pytest
import torch
import typer

from semcom.air import make_script
from semcom.air.fading import static_kernel
from semcom.channel import fading
from semcom.channel.named import CHANNELS, NamedChannel, channel_of, named_channel
from semcom.channel.symbols import CARRIERS, FFT_SIZE, symbol_channel
from semcom.cli import options
from semcom.errors import ConfigError
from semcom.experiments.evaluate import evaluate
from semcom.kinds.pictures import Picture
from semcom.link import LinkConfig, simulate
from semcom.link.simulate import GAP_SAMPLES, Air
from semcom.modulation import error_rate
from semcom.system import zoo
from semcom_training import channels as training

SEED = 5


def link_taps() -> torch.Tensor:
    """The impulse response of the link's multipath, its noise far below."""
    impulse = torch.zeros(1, 64, dtype=torch.complex64)
    impulse[0, 0] = 1e6
    line = Air(LinkConfig("any", 60.0, "multipath", seed=SEED)).carry(impulse) / 1e6
    return line[GAP_SAMPLES:][:17]


def power_gains(name: str, seed: int | None, rows: int = 40) -> torch.Tensor:
    """|H|^2 that each symbol of each row met, from the noise variance that its receiver is given."""
    x = torch.ones(rows, 3000, dtype=torch.complex64)
    _, noise_var = symbol_channel(name, seed)(x, 10.0, torch.Generator().manual_seed(1))
    return 0.1 / noise_var


def test_symbols_meet_the_multipath_that_samples_meet():
    taps = fading.still_taps(16, SEED)
    torch.testing.assert_close(link_taps(), taps, atol=1e-4, rtol=0)
    carriers = torch.arange(CARRIERS) - CARRIERS // 2
    response = torch.fft.fft(taps, FFT_SIZE)[carriers % FFT_SIZE].abs().square()
    gains = power_gains("multipath", SEED)
    assert all(torch.isclose(row.unique()[:, None], response[None], rtol=1e-3).any(1).all() for row in gains)


@pytest.mark.slow
def test_multipath_takes_and_adds_no_power_while_rayleigh_fades():
    """Of every picture in training, each a run of its own."""
    own = power_gains("multipath", None).mean(1)
    # of the energy a little falls beside the carriers
    assert own.unique().numel() == len(own) and (own - 1).abs().mean() < 0.1
    faded = power_gains("rayleigh", None, 4000)[:, 0]
    assert faded.mean() == pytest.approx(1, abs=0.06) and faded.std() == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_evaluation_and_link_agree_over_multipath():
    """Within what the receiver's own estimates cost: the same run of the channel, not another one."""
    ramp = np.mgrid[0:32, 0:32] * 5
    pictures = [
        Picture(f"{n}", np.stack([np.roll(ramp[0], 4 * n, 0), ramp[1], ramp[0] // 2], -1).astype(np.uint8))
        for n in range(6)
    ]
    model, gaps = zoo.load("cifar-1-12"), []
    # one run of noise is half a dB up or down
    for seed in range(4):
        rows = evaluate(model, [(p.name, p.pixels) for p in pictures], 10, "multipath", seed, False)
        flown = simulate(pictures, LinkConfig("cifar-1-12", 10.0, "multipath", seed=seed))
        gaps.append(np.mean([row["psnr_db"] for row in rows]) - np.mean([row.psnr_db for row in flown]))
    assert abs(np.mean(gaps)) < 0.6


@pytest.mark.parametrize("name", [name for name in CHANNELS if isinstance(channel_of(name), NamedChannel)])
def test_the_virtual_air_knows_the_names(name):
    channel = named_channel(name)
    script = make_script({"links": [{"from": "tx", "to": "rx", "channel": name}], "sample_rate_hz": 2e6})
    route = script.links[0].route
    assert (route.delay_spread_samples, route.doppler_hz) == (channel.delay_samples, channel.doppler * 2e6)
    power = np.array([10 ** (tap.power_db / 10) for tap in route.profile])
    wanted = fading.exponential_profile(channel.delay_samples).numpy()
    np.testing.assert_allclose(power / power.sum(), wanted, atol=1e-6)
    kernel = static_kernel(route.profile, channel.delay_samples > 0, np.random.default_rng(1))
    assert np.linalg.norm(kernel) == pytest.approx(1)


def test_a_channel_on_the_virtual_air_goes_alone_and_exists():
    link = {"from": "tx", "to": "rx", "channel": "multipath"}
    with pytest.raises(ConfigError, match="delay_spread_samples: left out beside a channel"):
        make_script({"links": [link | {"delay_spread_samples": 3}]})
    with pytest.raises(ConfigError, match=r"links\[0\]: channel 'rice' is unknown"):
        make_script({"links": [link | {"channel": "rice"}]})


def test_all_doors_have_the_same_names():
    assert [options.known_channel(name) for name in CHANNELS] == list(CHANNELS)
    with pytest.raises(typer.BadParameter, match="'rice' is not one of 'ideal', 'awgn'"):
        options.known_channel("rice")
    assert training.names() == (*CHANNELS, "modem")
    assert set(error_rate.CHANNELS) < set(CHANNELS)
    for name in ("rice", None, ["awgn"]):
        with pytest.raises(ConfigError, match="ideal, awgn, rayleigh, multipath"):
            symbol_channel(name)
        with pytest.raises(ConfigError, match="ideal, awgn, rayleigh, multipath"):
            LinkConfig("any", 10.0, name)


@pytest.mark.radio
def test_gnuradio_has_the_taps_of_the_link():
    from semcom.blocks.loopback import make_channel

    (block,) = make_channel(LinkConfig("any", 10.0, "multipath", seed=SEED))
    np.testing.assert_allclose(block.taps(), link_taps().numpy(), atol=1e-4)
