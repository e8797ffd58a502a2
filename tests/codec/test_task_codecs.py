# SPDX-License-Identifier: GPL-3.0-or-later
"""Task codecs: power, the two SNRs, prefixes, codewords, and what is lost on the way."""

from dataclasses import replace

import pytest
import torch

from semcom.channel.symbols import awgn_channel
from semcom.codec import build
from semcom.codec.task.dtjscc import psk_transitions
from semcom.codec.task.latent import pair, peak_channel, unpair
from semcom.codec.task.vfe import THRESHOLD, Gate
from semcom.errors import ConfigError, ImageError, ModelError
from semcom.kinds import IMAGE, LABEL
from semcom.modulation.error_rate import ser

SMALL = {"classes": 4, "width": 8}
ARCHITECTURES = {
    "task-deepjscc": {"dimensions": 8},
    "vl-vfe": {"dimensions": 16},
    "dt-jscc": {"slots": 4, "codewords": 8},
}


def codec_of(name: str, **arguments):
    torch.manual_seed(0)
    codec = build(name, SMALL | ARCHITECTURES[name] | arguments)
    codec.train()
    for step in range(30):  # what the constant of the power is made of
        codec.send(torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(step)), 10.0)
    return codec.eval()


@pytest.mark.parametrize("dimensions", [7, 8])
def test_pairs_come_back_and_noise_is_that_of_the_peak_snr(dimensions):
    z = 2 * torch.rand(20_000, dimensions, generator=torch.Generator().manual_seed(0)) - 1
    assert pair(z).shape == (20_000, 4)
    assert torch.allclose(unpair(pair(z, 0.7), dimensions, 0.7), z, atol=1e-6)
    generator = torch.Generator().manual_seed(1)
    direct = (peak_channel(z, 10.0, generator)[0] - z).square().mean()
    # the same through symbols of mean power 1, at the Es/N0 that the peak SNR is
    mean_square = z.square().sum() / (len(z) * 8)
    scale = (2 * mean_square).rsqrt()
    received, noise = awgn_channel(pair(z, scale), float(10 + 10 * mean_square.log10()), generator)
    through = (unpair(received, dimensions, scale) - z).square().mean()
    for measured in (direct, through, noise.mean() / (2 * scale.square())):
        assert float(10 * (measured / 0.1).log10()) == pytest.approx(0, abs=0.05)


def test_slow_fading_has_one_gain_a_picture():
    z = torch.zeros(4_000, 8)
    z_hat, variance = peak_channel(z, 10.0, torch.Generator().manual_seed(0), fading=True)
    assert (variance == variance[:, :1]).all() and (variance[:, 0] != variance[0, 0]).any()
    # errors, each by its own deviation, are standard normal
    assert float((z_hat / variance.sqrt()).std()) == pytest.approx(1, abs=0.02)
    assert float((0.1 / variance[:, 0]).mean()) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.inference_mode()
def test_power_has_a_peak_and_no_item_its_own_gain(name):
    codec = codec_of(name)
    assert codec.source is IMAGE and codec.result is LABEL and codec.power == "peak"
    images = torch.rand(400, 3, 32, 32, generator=torch.Generator().manual_seed(99))
    sent = codec.send(images, 10.0)
    assert float(sent.values.abs().square().mean()) == pytest.approx(1, abs=0.1)
    assert float(sent.values.abs().square().max()) <= codec.peak_power * 1.001
    alone = codec.send(images[:1], 10.0).values
    assert torch.allclose(alone, sent.values[:1, : alone.shape[1]], atol=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.inference_mode()
def test_erasures_and_what_does_not_fit(name):
    codec = codec_of(name)
    sent = codec.send(torch.rand(3, 3, 50, 37), 10.0)
    lost = replace(sent, noise_var=torch.full(sent.values.shape, torch.inf))
    lost = replace(lost, values=torch.full_like(lost.values, torch.nan))
    logits = codec.receive(lost, -20.0, (4, 1))
    assert torch.isfinite(logits).all() and torch.allclose(logits[0], logits[1])
    assert codec.admits(codec.symbols, (4, 1)) and not codec.admits(codec.symbols, (5, 1))
    assert not codec.admits(codec.symbols + 1, (4, 1)) and not codec.admits(0, (4, 1))
    with pytest.raises(ImageError, match="no label of 4 classes"):
        codec.receive(sent.with_noise(10.0), 10.0, (5, 1))
    with pytest.raises(ConfigError, match="one bandwidth ratio"):
        codec.send(torch.rand(1, 3, 32, 32), 10.0, rho=0.5)
    with pytest.raises(ConfigError, match="at least 2 classes"):
        build(name, SMALL | {"classes": 1})


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.inference_mode()
def test_a_posterior_does_not_look_at_its_neighbours(name):
    codec = codec_of(name)
    generator = torch.Generator().manual_seed(4)
    sent = codec.send(torch.rand(6, 3, 32, 32), 10.0)
    noisy = torch.randn(sent.values.shape, dtype=torch.complex64, generator=generator)
    got = replace(sent, values=sent.values + 0.3 * noisy).with_noise(10.0)
    together = codec.receive(got, 10.0, (4, 1))
    row = replace(got, values=got.values[:1], noise_var=got.noise[:1])
    row = replace(row, count=None if got.count is None else got.count[:1])
    assert torch.allclose(codec.receive(row, 10.0, (4, 1)), together[:1], atol=1e-5)


@torch.inference_mode()
def test_without_noise_the_decoder_sees_what_was_encoded():
    codec = codec_of("task-deepjscc")
    images = torch.rand(5, 3, 32, 32)
    sent = codec.send(images, 10.0)
    z = codec.encode_features(codec.features(images), torch.full((5,), 10.0))
    received = codec.receive(sent.with_noise(300.0), 20.0, (4, 1))
    assert torch.allclose(received, codec.head(z), atol=1e-4)


def test_the_gate_opens_a_prefix_that_grows_with_the_noise():
    torch.manual_seed(0)
    gate = Gate(32)
    with torch.no_grad():
        mu = gate(torch.linspace(0.01, 3, 60))
        # so that it closes somewhere
        mu = mu / mu[30, 10] * THRESHOLD
    assert (mu[:, 1:] <= mu[:, :-1]).all()
    assert (mu[1:] >= mu[:-1]).all()
    lengths = (mu > THRESHOLD).sum(dim=1)
    assert lengths[0] < lengths[-1]


def _opened(codec):
    """A vl-vfe whose gate closes somewhere."""
    with torch.no_grad():
        codec.gate.weights[-1] *= 0.5 ** torch.arange(codec.dimensions)[:, None]
    return codec


@torch.inference_mode()
def test_fewer_symbols_go_on_the_air_and_the_header_alone_says_how_many():
    codec = _opened(codec_of("vl-vfe"))
    images = torch.rand(3, 3, 32, 32)
    short, long = codec.send(images, 25.0), codec.send(images, -5.0)
    assert 1 <= short.values.shape[1] < long.values.shape[1] <= codec.symbols
    assert all(codec.admits(sent.values.shape[1], (4, 1)) for sent in (short, long))
    # a receiver whose own SNR says another length decodes the same: it goes by what came
    got = replace(short.with_noise(25.0), count=None)
    assert torch.equal(codec.receive(got, 25.0, (4, 1)), codec.receive(got, -5.0, (4, 1)))
    # where each end derives the length from its own estimate they differ at once
    transmitter, receiver = (int(codec.active(torch.tensor([snr]))) for snr in (25.0, -5.0))
    assert transmitter != receiver
    # a batch sends the longest of its prefixes, and what a row does not need counts as lost
    mixed = codec.send(images[:2], torch.tensor([25.0, -5.0]))
    assert mixed.values.shape[1] == long.values.shape[1] and mixed.count[0] < mixed.count[1]
    assert torch.equal(mixed.count[0], short.count[0])


@torch.inference_mode()
def test_the_noise_of_each_dimension_reaches_the_decoder():
    codec = codec_of("vl-vfe")
    sent = codec.send(torch.rand(1, 3, 32, 32), 10.0)
    even = sent.with_noise(10.0)
    noise = even.noise.clone()
    noise[0, 0] *= 30
    uneven = replace(even, noise_var=noise)
    assert not torch.allclose(
        codec.receive(even, 10.0, (4, 1)), codec.receive(uneven, 10.0, (4, 1)), atol=1e-4
    )


def test_a_value_of_exactly_zero_has_a_logarithm():
    codec = codec_of("vl-vfe").train()
    with torch.no_grad():
        codec.squash.weight.zero_()
        codec.squash.bias.fill_(-200.0)
        codec.direction[:, -1] = 0.0
    z = codec.encode_features(torch.zeros(2, codec.backbone.features), torch.full((2,), 10.0))
    assert float(z.abs().min()) == pytest.approx(0.01) and torch.isfinite(z.abs().log()).all()


@pytest.mark.parametrize("order", [2, 4, 8, 16])
def test_psk_transitions_are_those_of_the_closed_form(order):
    snr_db = torch.tensor([0.0, 5.0, 10.0, 15.0])
    table = psk_transitions(order, snr_db)
    assert torch.allclose(table.sum(dim=-1), torch.ones(4, order, dtype=torch.float64))
    assert torch.allclose(table, table.transpose(-1, -2), atol=1e-9)
    error = 1 - table[:, 0, 0]
    if order <= 8:  # the modem's own 16 points are a square
        wanted = torch.stack([torch.as_tensor(ser(order, float(snr))) for snr in snr_db]).double()
        assert torch.allclose(error, wanted, rtol=1e-4, atol=1e-9)
    # between one of its two neighbours and the bound of both
    sine = torch.sin(torch.tensor(torch.pi / order, dtype=torch.float64))
    one = 0.5 * torch.erfc((10 ** (snr_db.double() / 10)).sqrt() * sine)
    assert (error >= one * (1 - 1e-6) - 1e-9).all() and (error <= 2 * one + 1e-9).all()


@torch.inference_mode()
def test_soft_reception_beats_the_nearest_codeword():
    codec = codec_of("dt-jscc", slots=16)
    images = torch.rand(200, 3, 32, 32)
    sent = codec.send(images, 5.0, in_memory=True)
    generator = torch.Generator().manual_seed(0)
    values, noise = awgn_channel(sent.values, 5.0, generator)
    got = replace(sent, values=values, noise_var=noise, shared=None)
    point, errors = codec.as_sent(sent), {}
    for codec.reception in ("soft", "hard"):
        errors[codec.reception] = float((codec.reals(got)[0] - point).square().mean())
    assert errors["soft"] < 0.9 * errors["hard"]
    with pytest.raises(ModelError, match="in_memory"):
        codec.as_sent(got)


def test_codewords_and_their_limits():
    with pytest.raises(ConfigError, match="codewords"):
        build("dt-jscc", {"codewords": 1})
    with pytest.raises(ConfigError, match="soft or hard"):
        build("dt-jscc", {"reception": "fuzzy"})
    codec = codec_of("dt-jscc")
    assert 1 <= codec.perplexity(torch.rand(50, codec.backbone.features)) <= 8
