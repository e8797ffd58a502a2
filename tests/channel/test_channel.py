# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
import torch

from semcom.channel import fading, frontend
from semcom.channel.awgn import awgn
from semcom.channel.named import CHANNELS
from semcom.channel.symbols import symbol_channel
from semcom.errors import ConfigError


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("snr_db", [-5.0, 10.0])
def test_awgn_gives_the_snr_asked(batch, snr_db):
    x = torch.ones(batch, 400_000, dtype=torch.complex64)
    y = awgn(x, torch.full((batch,), snr_db), torch.Generator().manual_seed(0))
    measured = -10 * torch.log10((y - x).abs().square().mean(1))
    assert (measured - snr_db).abs().max() < 0.05


# modulo adds no noise of its own: what it reports is the posterior's, for latents as they are distributed in codecs
@pytest.mark.parametrize("name", [name for name in CHANNELS if name != "modulo"])
def test_symbol_channels_report_the_noise_they_add(name):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(200, 2000, dtype=torch.complex64, generator=g)
    y, noise_var = symbol_channel(name)(x, torch.full((200,), 10.0), g)
    assert y.shape == noise_var.shape == x.shape
    reported = ((y - x).abs().square() / noise_var).mean()
    assert reported == pytest.approx(0.0 if name == "ideal" else 1.0, abs=0.02)


def test_unknown_channel_names_the_known_ones():
    with pytest.raises(ConfigError, match="awgn, rayleigh"):
        symbol_channel("rice")


def test_exponential_profile():
    profile = fading.exponential_profile(16)
    assert profile.sum() == pytest.approx(1) and len(profile) == 17
    assert 10 * torch.log10(profile[0] / profile[-1]) == pytest.approx(20)
    with pytest.raises(ConfigError):
        fading.exponential_profile(-1)


def test_multipath_is_a_convolution():
    x = torch.randn(2, 50, dtype=torch.complex64)
    taps = torch.randn(2, 5, dtype=torch.complex64)
    y = fading.multipath(x, taps)
    assert torch.allclose(y[0, 10], sum(taps[0, d] * x[0, 10 - d] for d in range(5)), atol=1e-4)


def test_rayleigh_taps_have_the_profile_asked():
    profile = fading.exponential_profile(8)
    taps = fading.rayleigh_taps(profile, 50_000, torch.Generator().manual_seed(0))
    assert torch.allclose(taps.abs().square().mean(0).double(), profile, atol=0.01)


def test_sample_clock_offset_moves_a_tone_by_its_ppm():
    n = torch.arange(20_000, dtype=torch.float64)
    tone = torch.polar(torch.ones_like(n), 2 * torch.pi * 0.37 * n)
    out = frontend.sample_clock_offset(tone, 100.0)
    expected = torch.polar(torch.ones_like(n), 2 * torch.pi * 0.37 * n * (1 + 100e-6))
    assert (out - expected)[100:-100].abs().max() < 1e-3


def test_power_amplifier_saturates_and_keeps_phase():
    x = torch.tensor([0.01 + 0j, 10j])
    y = frontend.power_amplifier(x, 0.0)
    assert y[0] == pytest.approx(0.01, rel=1e-3) and abs(y[1]) == pytest.approx(1, abs=0.01)
    assert torch.allclose(torch.angle(x), torch.angle(y))


def test_phase_noise_walks_as_asked():
    x = torch.ones(400, 1000, dtype=torch.complex64)
    y = frontend.phase_noise(x, 1e-5, torch.Generator().manual_seed(0))
    assert torch.angle(y[:, -1]).var() == pytest.approx(2 * torch.pi * 1e-5 * 1000, rel=0.3)


@pytest.mark.parametrize(
    "impair",
    [
        lambda x: frontend.power_amplifier(x, 1.0),
        lambda x: frontend.sample_clock_offset(x, 50.0),
        lambda x: frontend.carrier_offset(x, 0.01),
        lambda x: fading.multipath(x, torch.tensor([1, 0.5j])),
    ],
)
def test_impairments_pass_gradients(impair):
    x = torch.randn(1, 12, dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: torch.view_as_real(impair(x)), (x,))
