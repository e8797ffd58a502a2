# SPDX-License-Identifier: GPL-3.0-or-later
"""The map as bits and as symbols."""

import numpy as np
import pytest
import torch
from test_allocation import random_map, random_tables

from semcom.channel.awgn import awgn
from semcom.codec.image import allocation as closed
from semcom.codec.image import sideinfo

CODE = 36  # 10 dB


@pytest.fixture(scope="module")
def coder():
    tables = random_tables(5)
    generator = torch.Generator().manual_seed(1)
    usage = [
        torch.randint(0, 50, (sideinfo.BANDS, 6), generator=generator, dtype=torch.int32) for _ in tables
    ]
    contexts = [
        torch.randint(0, 50, (sideinfo.CONTEXTS, 6), generator=generator, dtype=torch.int32) for _ in tables
    ]
    return sideinfo.MapCoder(tables, usage, contexts)


@pytest.mark.parametrize("cells", [(1, 1), (8, 8), (3, 17), (20, 9)])
def test_a_map_comes_back(coder, cells):
    blocks = random_map(*cells, 5, seed=3)
    bits = coder.encode(blocks, CODE)
    back = coder.decode(np.pad(bits, (0, 64)), *cells, CODE)
    assert torch.equal(back.size, blocks.size) and torch.equal(back.kind, blocks.kind)


def test_bits_of_another_band_make_another_map_and_no_error(coder):
    blocks = random_map(20, 9, 5, seed=3)
    back = coder.decode(coder.encode(blocks, CODE), 20, 9, 5)
    assert back.size.shape == blocks.size.shape and not torch.equal(back.kind, blocks.kind)


def test_counts_make_the_code_shorter():
    """A map coded with its own counts takes fewer bits than with equal ones."""
    tables, blocks = random_tables(5), random_map(32, 48, 5, seed=4)
    flat = [torch.ones(sideinfo.BANDS, 6, dtype=torch.int32) for _ in tables]
    empty = [torch.zeros(sideinfo.CONTEXTS, 6, dtype=torch.int32) for _ in tables]
    plain = sideinfo.MapCoder(tables, flat, empty)
    counted = [c.clone() for c in empty]
    plain.count(blocks, counted)
    usage = [c.sum(dim=0, keepdim=True).repeat(sideinfo.BANDS, 1).int() for c in counted]
    adapted = sideinfo.MapCoder(tables, usage, counted)
    assert len(adapted.encode(blocks, CODE)) < 0.95 * len(plain.encode(blocks, CODE))


def test_activity_rises_with_the_variance():
    tables = [torch.arange(-1500, 1000, 100, dtype=torch.int16)[:, None].repeat(1, 192)] * 4
    values = sideinfo.activities(tables)[3]
    assert (np.diff(values) >= 0).all() and values[0] == 0 and values[-1] == sideinfo.ACTIVITIES - 2


def test_the_default_map_covers_any_size():
    for rows, columns in ((1, 1), (5, 9), (8, 8)):
        blocks = sideinfo.default_map(rows, columns)
        planes = torch.randn(1, 3, 8 * rows, 8 * columns)
        back = closed.adaptive_idct(closed.adaptive_dct(planes, blocks), blocks)
        torch.testing.assert_close(back, planes, atol=1e-4, rtol=0)


def test_efficiency_rises_with_the_snr_and_falls_with_the_margins():
    plain = sideinfo.efficiencies(0.0, 0.0)
    assert (plain.diff() >= 0).all() and plain[-1] > 5
    assert (sideinfo.efficiencies(6.0, 0.0) < plain).all()
    torch.testing.assert_close(sideinfo.efficiencies(6.0, 0.1), 0.9 * sideinfo.efficiencies(6.0, 0.0))
    # six dB lower is twelve codes lower
    torch.testing.assert_close(sideinfo.efficiencies(6.0, 0.0)[12:], plain[:-12])


@pytest.mark.parametrize("bits", [1, 200, 3000, 9000])
def test_units_are_the_fewest_that_hold_the_bits(bits):
    total = 98_304
    units = sideinfo.units_for(bits, total, CODE, 6.0, 0.1)
    assert sideinfo.side_layout(units, total, CODE, 6.0, 0.1).capacity >= bits
    if units > 1:
        assert sideinfo.side_layout(units - 1, total, CODE, 6.0, 0.1).capacity < bits


def test_what_does_not_fit_is_said():
    assert sideinfo.units_for(50_000, 98_304, CODE, 6.0, 0.1) is None
    assert sideinfo.units_for(1, 100, 0, 6.0, 0.1) is None


@pytest.mark.parametrize("code", [4, 16, 36, 56, 63])
@pytest.mark.parametrize("count", [40, 700, 6000])
def test_bits_arrive_at_the_back_off(code, count):
    """Six dB below the allocation SNR, with one symbol in ten lost."""
    total = 98_304
    units = sideinfo.units_for(count, total, code, 6.0, 0.1)
    if units is None:
        assert count >= 700 and code < 30
        return
    layout = sideinfo.side_layout(units, total, code, 6.0, 0.1)
    bits = np.random.default_rng(count).integers(0, 2, count).astype(np.uint8)
    symbols = sideinfo.send_bits(bits, layout, key=7)
    assert symbols.shape == (layout.symbols,)
    assert float(symbols.abs().square().mean()) == pytest.approx(1, abs=0.15)
    snr_db = float(closed.code_snr_db(code)) - 6.0
    generator = torch.Generator().manual_seed(code)
    noise_var = torch.full((layout.symbols,), 10 ** (-snr_db / 10))
    lost = torch.randperm(layout.symbols, generator=generator)[: layout.symbols // 10]
    noise_var[lost] = torch.inf
    received = awgn(symbols[None], snr_db, generator)[0]
    got = sideinfo.receive_bits(received, noise_var, layout, key=7)
    assert got is not None and (got[:count] == bits).all()
    assert sideinfo.receive_bits(received, noise_var, layout, key=8) is None


def test_noise_alone_is_no_map():
    layout = sideinfo.side_layout(20, 98_304, CODE, 6.0, 0.1)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(layout.symbols, dtype=torch.complex64, generator=generator)
    assert sideinfo.receive_bits(noise, torch.ones(layout.symbols), layout, key=7) is None
