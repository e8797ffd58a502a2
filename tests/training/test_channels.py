# SPDX-License-Identifier: GPL-3.0-or-later
"""Channels of training: what they report is what they do, gradients pass, the modem costs what it costs in flight."""

import pytest
import torch

from semcom.errors import ConfigError
from semcom.kinds.quality import psnr
from semcom.system import zoo
from semcom_training.channels import channel, names

MODEM = {"delay_samples": 8, "fading": True, "carrier_offset": 2e-4, "clock_ppm": 5.0, "backoff_db": 4.0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def latents(rows=3, count=768, seed=0):
    draw = torch.randn(rows, count, dtype=torch.complex64, generator=generator(seed))
    return draw / draw.abs().square().mean(1, keepdim=True).sqrt()


@pytest.mark.parametrize("name", [name for name in names() if name != "modulo"])
def test_noise_is_what_the_channel_says(name):
    sent, snr = latents(24), torch.linspace(0, 18, 24)
    got = channel(name)(sent, snr, generator())
    assert got.latents.shape == got.noise_var.shape == sent.shape and got.snr_db.shape == (24,)
    reported = ((got.latents - sent).abs().square() / got.noise_var).mean()
    assert reported == pytest.approx(0 if name == "ideal" else 1, abs=0.1)
    if name in ("awgn", "modem"):
        assert (got.snr_db - snr).abs().max() < 1.5


def test_the_same_seed_gives_the_same_noise():
    once, twice = (channel("modem", **MODEM)(latents(), torch.full((3,), 10.0), generator(4)) for _ in "ab")
    other = channel("modem", **MODEM)(latents(), torch.full((3,), 10.0), generator(5))
    assert torch.equal(once.latents, twice.latents) and not torch.equal(once.latents, other.latents)


@pytest.mark.parametrize("options", [{}, MODEM], ids=["awgn", "all impairments"])
def test_gradients_reach_the_encoder_through_the_modem(options):
    codec = zoo.load("cifar-1-12").codec.requires_grad_(True).train()
    images = torch.rand(2, 3, 32, 32, generator=generator())
    sent = codec.encode(images, 10.0)
    got = channel("modem", **options)(sent, torch.tensor([4.0, 12.0]), generator())
    decoded = codec.decode(got.latents, got.snr_db, images.shape[-2:], got.noise_var)
    (decoded - images).square().mean().backward()
    gradient = codec.encoder_in.weight.grad
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


def test_the_gradient_is_right_along_a_direction():
    """The slope of a smooth figure of what is received, against finite differences through OFDM and multipath."""
    sent, direction = latents(1), latents(1, seed=1)
    send = channel("modem", delay_samples=8)

    def figure(x):
        got = send(x, torch.tensor([25.0]), generator(3))
        return (got.latents.real - 0.3).square().mean() + got.latents.imag.mean()

    x = sent.clone().requires_grad_()
    figure(x).backward()
    slope = (x.grad.conj() * direction).real.sum()
    step = 1e-2
    finite = (figure(sent + step * direction) - figure(sent - step * direction)) / (2 * step)
    assert float(slope) == pytest.approx(float(finite), rel=0.03, abs=1e-4)


@torch.no_grad()
def test_through_the_modem_a_codec_loses_less_than_a_third_of_a_decibel():
    codec = zoo.load("photo-1-12").codec
    smooth = torch.rand(6, 3, 12, 12, generator=generator(2))
    images = torch.nn.functional.interpolate(smooth, 128, mode="bicubic").clamp(0, 1)
    snr, found = torch.full((6,), 10.0), {}
    for name in ("awgn", "modem"):
        got = channel(name)(codec.encode(images, snr), snr, generator())
        decoded = codec.decode(got.latents, got.snr_db, (128, 128), got.noise_var)
        found[name] = float(psnr(decoded, images).mean())
    assert found["modem"] > found["awgn"] - 0.3, found


def test_an_amplifier_near_saturation_costs_signal():
    sent, snr = latents(8), torch.full((8,), 30.0)
    clean, clipped = (
        channel("modem", backoff_db=b)(sent, snr, generator()).snr_db.mean() for b in (None, 3.0)
    )
    assert clipped < clean - 3


def test_uneven_noise_fades_and_erases_some_images():
    sent, snr = latents(200), torch.full((200,), 10.0)
    got = channel("awgn", uneven_fraction=0.5)(sent, snr, generator())
    erased = got.noise_var.isinf().any(1)
    faded = ~erased & (got.noise_var.std(1) > 1e-3)
    assert 0.15 < erased.float().mean() < 0.35 and 0.15 < faded.float().mean() < 0.35
    assert torch.isfinite(got.latents.real).all()
    seen = ~got.noise_var.isinf()
    assert ((got.latents - sent).abs().square() / got.noise_var)[seen].mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("modme", {}, "modme.*modem"),
        ("awgn", {"backoff_db": 3}, "no options.*backoff_db"),
        ("modem", {"backof": 3}, "backof.*backoff_db"),
        ("modem", {"delay_samples": 40}, "delay_samples.*32"),
        ("modem", {"backoff_db": -300}, "backoff_db.*-20..60"),
        ("modem", {"fading": "yes"}, "'fading'.*type bool"),
    ],
)
def test_a_channel_that_cannot_be_is_named(name, options, words):
    with pytest.raises(ConfigError, match=words):
        channel(name, **options)
