# SPDX-License-Identifier: GPL-3.0-or-later
"""Soft demapping against its definition, and what it must do with erasures and nonsense."""

import pytest
import torch

from semcom.errors import ConfigError
from semcom.modulation import ORDERS, constellation, map_bits, soft_demap, unpack_bits


def received(order, count=3000, noise_var=0.1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(0, 2, (count * constellation(order).bits,), generator=generator)
    noise = torch.randn(count, dtype=torch.complex64, generator=generator)
    return bits, map_bits(bits, order) + noise_var**0.5 * noise


def by_definition(symbols, noise_var, order, exact):
    points = constellation(order).points.to(torch.complex128)
    likelihood = -(symbols[:, None] - points).abs().square() / noise_var[:, None].double()
    bits = unpack_bits(torch.arange(order)[:, None], constellation(order).bits)
    columns = []
    for is_one in bits.bool().T:
        zero, one = likelihood[:, ~is_one], likelihood[:, is_one]
        columns.append(
            zero.logsumexp(1) - one.logsumexp(1) if exact else zero.max(1).values - one.max(1).values
        )
    return torch.stack(columns, -1).float()


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_ratios_are_what_the_definition_says(order, exact):
    _, symbols = received(order)
    symbols = 1.5 * symbols  # beyond the outermost points, too
    noise_var = 0.02 + torch.rand(len(symbols), generator=torch.Generator().manual_seed(1))
    ratios = soft_demap(symbols, noise_var, order, exact=exact)
    torch.testing.assert_close(ratios, by_definition(symbols, noise_var, order, exact), rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("order", ORDERS)
def test_signs_are_the_bits_where_noise_is_little(order):
    bits, symbols = received(order, noise_var=1e-5)
    assert torch.equal((soft_demap(symbols, 1e-5, order) < 0).long().flatten(), bits)


@pytest.mark.parametrize("exact", [False, True])
def test_an_erasure_says_nothing_and_no_noise_stays_finite(exact):
    symbols = torch.tensor([[0.3 + 0.1j, 0.3 + 0.1j, 0.0 + 0.0j]])
    noise_var = torch.tensor([[torch.inf, 0.0, 0.0]])
    for order in ORDERS:
        ratios = soft_demap(symbols, noise_var, order, exact=exact)
        assert ratios.shape == (1, 3, constellation(order).bits)
        assert (ratios[0, 0] == 0).all() and ratios.isfinite().all() and (ratios[0, 1].abs() > 1e3).any()


def test_chunks_join_without_a_seam(monkeypatch):
    _, symbols = received(64, 1000)
    whole = soft_demap(symbols, 0.1, 64)
    monkeypatch.setattr("semcom.modulation.demap._CHUNK_SYMBOLS", 64)
    assert torch.equal(soft_demap(symbols, 0.1, 64), whole)
    assert torch.equal(soft_demap(symbols.reshape(10, 100), 0.1, 64), whole.reshape(10, 100, 6))
    assert (
        soft_demap(symbols[:0], 0.1, 64).shape == (0, 6) == soft_demap(symbols[:0], 0.1, 64, exact=True).shape
    )


def test_the_exact_form_can_be_trained_through():
    symbols = received(16, 5)[1].requires_grad_()
    soft_demap(symbols, 0.1, 16, exact=True).square().sum().backward()
    assert symbols.grad.abs().min() > 0


def test_nonsense_is_refused_in_words():
    symbols = torch.zeros(4, dtype=torch.complex64)
    with pytest.raises(ConfigError, match="64, 256"):
        soft_demap(symbols, 0.1, 32)
    for wrong in (-0.1, float("nan")):
        with pytest.raises(ConfigError, match="negative or NaN"):
            soft_demap(symbols, wrong, 4)
    with pytest.raises(ConfigError, match=r"\[3\] do not fit symbols of shape \[4\]"):
        soft_demap(symbols, torch.ones(3), 4)
