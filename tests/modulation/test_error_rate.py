# SPDX-License-Identifier: GPL-3.0-or-later
"""Closed-form error rates against simulation, and their inverse."""

import math

import pytest
import torch

from semcom.channel.awgn import complex_normal
from semcom.errors import ConfigError
from semcom.modulation import (
    ORDERS,
    ber,
    constellation,
    map_labels,
    ser,
    snr_for_ber,
    soft_demap,
    unpack_bits,
)

COUNT = 60_000


def simulate(order, snr_db, channel, seed):
    """Shares of wrong bits and wrong symbols, nearest point decided by a search over all points."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, order, (COUNT,), generator=generator)
    sent, noise_var = map_labels(labels, order), torch.full((COUNT,), 10 ** (-snr_db / 10))
    if channel == "rayleigh":
        gain = complex_normal((COUNT,), like=sent, generator=generator).abs()
        noise_var = noise_var / gain**2
    received = sent + noise_var.sqrt() * complex_normal((COUNT,), like=sent, generator=generator)
    decided = torch.cat(
        [(part[:, None] - constellation(order).points).abs().argmin(1) for part in received.split(20_000)]
    )
    wrong = unpack_bits(labels ^ decided, constellation(order).bits)
    by_sign = (soft_demap(received, noise_var, order) < 0).long().flatten()
    assert (by_sign != unpack_bits(decided, constellation(order).bits)).float().mean() < 1e-5
    return wrong.double().mean().item(), (labels != decided).double().mean().item()


@pytest.mark.parametrize("channel", ["awgn", "rayleigh"])
@pytest.mark.parametrize("order", [o if o < 64 else pytest.param(o, marks=pytest.mark.slow) for o in ORDERS])
def test_simulation_agrees(order, channel):
    for snr_db in (snr_for_ber(order, 0.1), snr_for_ber(order, 0.01)):
        bits, symbols = simulate(order, snr_db, channel, seed=order)
        # bits of a symbol err together, so that their number is no better than the symbols'
        for measured, theory in (
            (bits, ber(order, snr_db, channel).item()),
            (symbols, ser(order, snr_db, channel).item()),
        ):
            assert measured == pytest.approx(theory, abs=5 * math.sqrt(theory / COUNT))


@pytest.mark.parametrize("channel", ["awgn", "rayleigh"])
@pytest.mark.parametrize("order", ORDERS)
def test_the_inverse_and_the_limits(order, channel):
    for rate in (0.3, 1e-2, 1e-6):
        assert ber(order, snr_for_ber(order, rate, channel), channel).item() == pytest.approx(rate, rel=1e-6)
    snr_db = torch.linspace(-20, 60, 200)
    rates = ber(order, snr_db, channel)
    assert rates.shape == (200,) and (rates[1:] <= rates[:-1] + 1e-15).all()
    assert ber(order, -200.0, channel).item() == pytest.approx(0.5, abs=1e-6)
    assert ser(order, -200.0, channel).item() == pytest.approx(1 - 1 / order, abs=1e-6)


def test_known_values():
    assert ber(2, 9.5879).item() == pytest.approx(1e-5, rel=1e-3)  # every textbook's BPSK
    assert snr_for_ber(4, 1e-5) - snr_for_ber(2, 1e-5) == pytest.approx(10 * math.log10(2), abs=1e-6)
    snr = 10.0  # Q-function of fading BPSK: (1 - sqrt(snr / (1 + snr))) / 2
    assert ber(2, 10.0, "rayleigh").item() == pytest.approx((1 - math.sqrt(snr / (1 + snr))) / 2, rel=1e-9)


def test_nonsense_is_refused_in_words():
    with pytest.raises(ConfigError, match="awgn, rayleigh"):
        ber(4, 10, "rician")
    with pytest.raises(ConfigError, match="64, 256"):
        ser(32, 10)
    for rate in (0, 0.5, float("nan")):
        with pytest.raises(ConfigError, match="between 0 and 0.5"):
            snr_for_ber(4, rate)
