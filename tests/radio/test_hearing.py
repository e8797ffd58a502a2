# SPDX-License-Identifier: GPL-3.0-or-later
"""What the end of a run that received nothing says, by what is in the samples."""

import math

import pytest
import torch

from semcom.channel import frontend
from semcom.channel.awgn import awgn
from semcom.modem import Modem
from semcom.radio.hearing import findings, resampled

RATE_HZ = 1e6


def bursts(snr_db: float = 15.0, cfo: float = 0.0, amplitude: float = 0.1) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    sent = Modem().modulate(
        torch.randn(6, 4000, dtype=torch.complex64, generator=g),
        image_id=range(6),
        size=(64, 64),
        model_hash=1,
    )[:, 0]
    line = torch.nn.functional.pad(sent, (900, 900)).flatten()[None]
    return amplitude * awgn(frontend.carrier_offset(line, cfo), snr_db, g)[0]


def noise(count: int = 131_072, power: float = 0.01) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return math.sqrt(power) * torch.randn(count, dtype=torch.complex64, generator=g)


def advice(samples: torch.Tensor, **options) -> tuple[list[str], list[str]]:
    return findings(samples, Modem(), RATE_HZ, **options)


def test_noise_has_nothing_odd():
    assert advice(noise()) == ([], [])


def test_an_inverted_spectrum():
    mirrored = bursts().conj().resolve_conj()
    assert "start again with --invert-spectrum" in " ".join(advice(mirrored)[0])
    assert "start again without --invert-spectrum" in " ".join(advice(bursts(), inverted=True)[0])


def test_an_offset_beyond_what_is_searched():
    settings, _ = advice(bursts(cfo=0.07))
    assert len(settings) == 1 and "--cfo-search" in settings[0]
    assert float(settings[0].split("there ")[1].split(" Hz")[0].replace(",", "")) == pytest.approx(
        7e4, rel=1e-2
    )


@pytest.mark.parametrize("factor", [2, 0.5, 4, 0.25, 1.25])
@pytest.mark.slow
def test_a_sample_rate_that_is_another(factor):
    """Received at RATE_HZ what was sent at ``factor`` times that."""
    settings, _ = advice(resampled(bursts(), 1 / factor)[:131_072])
    assert len(settings) == 1 and f"sample rate is {RATE_HZ * factor:g} Hz" in settings[0]


@pytest.mark.parametrize(
    "samples, words",
    [
        (torch.zeros(100_000, dtype=torch.complex64), "All samples are zero"),
        (torch.full((100_000,), 0.3 + 0.1j), "the radio's converter stands still"),
        (noise() + 0.5, "96 % of the power is DC"),
        ((noise(power=2.0).real.clamp(-1, 1) + 0j), "full scale: lower the gain"),
        (noise(power=1e-9), "raise the gain"),
        (noise() + torch.polar(torch.ones(131_072), 0.2 * math.pi * torch.arange(131_072)), "+99,"),
    ],
)
@pytest.mark.slow
def test_what_is_odd_about_the_samples(samples, words):
    settings, oddities = advice(samples)
    assert not settings and words in " ".join(oddities)


def test_too_few_samples_say_nothing():
    assert advice(noise(100)) == ([], [])
