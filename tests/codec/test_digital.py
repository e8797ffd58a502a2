# SPDX-License-Identifier: GPL-3.0-or-later
import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from semcom.channel.awgn import awgn
from semcom.channel.symbols import symbol_channel
from semcom.errors import ConfigError, ModelError, PduError
from semcom.experiments.evaluate import evaluate, summarise
from semcom.kinds.pictures import Picture, samples
from semcom.link import LinkConfig, simulate
from semcom.modem.labels import BITS_PER_LATENT
from semcom.modulation import ORDERS, constellation
from semcom.payload import quantised as digital
from semcom.payload.quantised import DigitalMode, latents_of, mode_from, over, uniform
from semcom.system import zoo

K = 768


@pytest.fixture(scope="module")
def latents():
    drawn = torch.randn(3, K, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    return drawn / drawn.abs().square().mean(1, keepdim=True).sqrt()


def error_of(latents, received, noise_var):
    """Of the latents as a decoder weighs them, and what it is given of that."""
    weights = 1 / (1 + noise_var)
    return float((weights * received - latents).abs().square().mean()), float((1 - weights).mean())


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bits", BITS_PER_LATENT)
def test_symbols_have_power_one_and_bring_latents_back(latents, order, bits):
    mode, books = DigitalMode(order, bits), uniform()
    symbols = mode.send(latents, books)
    assert symbols.shape == (3, -(-K * bits // constellation(order).bits))
    assert (symbols.abs().square().mean(1) - 1).abs().max() < 1e-3
    received = awgn(symbols, 40.0, torch.Generator().manual_seed(1))
    noise_var = torch.full(symbols.shape, 1e-4)
    back = latents_of(
        received, noise_var, mode=mode.header_mode, model_hash=9, latent_count=K, books={9: books}
    )
    error, reported = error_of(latents, *back)
    # what quantising a Gaussian to so many bits leaves (Max 1960 has 0.637, 0.363, 0.118, 0.0345, 0.0095 a
    # dimension; these entries reach further out)
    assert error < {1: 0.72, 2: 0.4, 3: 0.29, 4: 0.15, 6: 0.055, 8: 0.02}[bits]
    assert error == pytest.approx(reported, rel=0.1)


@pytest.mark.parametrize("order", (4, 16, 64, 256))
@pytest.mark.parametrize("snr_db", (0.0, 10.0))
def test_the_decoder_is_given_how_far_off_noisy_latents_are(latents, order, snr_db):
    channel = over(symbol_channel("awgn"), DigitalMode(order), uniform())
    received, noise_var = channel(latents, snr_db, torch.Generator().manual_seed(2))
    error, reported = error_of(latents, received, noise_var)
    assert error == pytest.approx(reported, rel=0.1)


def test_many_points_come_close_to_analog_latents(latents):
    analog = 0.1 / 1.1  # MMSE error at 10 dB
    errors = []
    for order in (16, 64, 256):
        channel = over(symbol_channel("awgn"), DigitalMode(order), uniform())
        errors.append(error_of(latents, *channel(latents, 10.0, torch.Generator().manual_seed(2)))[0])
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1.25 * analog


def test_lost_symbols_are_lost_latents(latents):
    for mode in (DigitalMode(64), DigitalMode(4, 6)):
        symbols = mode.send(latents, uniform())
        lost = torch.rand(symbols.shape, generator=torch.Generator().manual_seed(3)) < 0.3
        noise_var = torch.where(lost, torch.inf, torch.tensor(0.01))
        symbols = symbols.masked_fill(lost, 0)
        received, noise_var = digital.receive(symbols, noise_var, K, mode.order, uniform().of(6))
        assert torch.isfinite(torch.view_as_real(received)).all()
        error, reported = error_of(latents, received, noise_var)
        assert error == pytest.approx(reported, rel=0.15)
    whole = digital.receive(0 * symbols, torch.full(symbols.shape, torch.inf), K, 4, uniform().of(6))
    assert torch.isinf(whole[1]).all()


def test_a_black_picture_stays_dark(latents):
    for order, radius in ((16, 0.6), (64, 0.4), (256, 0.25)):
        symbols = DigitalMode(order).send(torch.zeros(1, K, dtype=torch.complex64), uniform())
        received, noise_var = digital.receive(
            symbols, torch.full(symbols.shape, 1e-3), K, order, uniform().of(constellation(order).bits)
        )
        assert (received / (1 + noise_var)).abs().mean() < radius  # the entry nearest to nothing


def test_uniform_codebooks_are_the_constellations():
    for bits in BITS_PER_LATENT:
        entries, points = uniform().of(bits).entries, constellation(2**bits).points
        scale = entries.abs().max() / points.abs().max()
        torch.testing.assert_close(entries, scale * points)


@pytest.mark.parametrize(
    "values, words",
    [
        ({"order": 32}, "order 32 is unknown; choose one of 2, 4"),
        ({"order": 0}, "above 0"),
        ({"order": 16, "bits_per_latent": 5}, "5 bits a latent: choose 1, 2, 3, 4, 6, 8"),
        ({"order": 16, "codebook": "finest"}, "'finest' is unknown; choose best, uniform or learned"),
    ],
)
def test_modes_that_cannot_be_are_refused(values, words):
    with pytest.raises(ConfigError, match=words):
        DigitalMode(**values)
    with pytest.raises(ConfigError, match="above 0"):
        mode_from(0, 4)


def test_symbols_that_do_not_fit_are_refused():
    symbols, books = torch.zeros(1, 100, dtype=torch.complex64), {7: uniform()}
    with pytest.raises(PduError, match="codebooks that are not here"):
        latents_of(symbols, symbols.real, mode=5, model_hash=8, latent_count=100, books=books)
    with pytest.raises(PduError, match="100 symbols of order 64 do not carry 99 latents"):
        latents_of(symbols, symbols.real, mode=5, model_hash=7, latent_count=99, books=books)


def pictures(count):
    rng = np.random.default_rng(4)
    y, x = np.mgrid[0:48, 0:64] / 16
    out = []
    for n in range(count):
        a, b, c = rng.uniform(-2, 2, 3)
        pixels = np.stack([np.sin(a * x + b * y), np.cos(b * x + c), np.sin(c * x * y)], -1) * 70 + 128
        out.append(Picture(f"{n}.png", pixels.astype(np.uint8)))
    return out


@pytest.mark.parametrize("order, bits, within_db", [(256, 0, 1.0), (64, 0, 3.0), (4, 8, 1.0)])
def test_through_the_whole_link(order, bits, within_db):
    """At 10 dB: close to analog; 8 bits a latent in QPSK take four times the symbols."""
    given = pictures(3)
    analog = simulate(given, LinkConfig("cifar-1-12", 10.0))
    quantised = simulate(given, LinkConfig("cifar-1-12", 10.0, payload=DigitalMode(order, bits)))
    for a, b in zip(analog, quantised, strict=True):
        assert b.bursts_lost == 0 and b.psnr_db > a.psnr_db - within_db
        assert b.rho == pytest.approx(a.rho * (4 if bits else 1), rel=0.02)


def with_codebooks(folder, books):
    """cifar-1-12 with codebooks of its own."""
    card = zoo.card("cifar-1-12")
    shutil.copy(zoo.WEIGHTS / card.weights_file, folder)
    sha256 = digital.save(books, folder / "own.codebooks.safetensors")
    parts = card.parts | {"codebooks": {"file": "own.codebooks.safetensors", "sha256": sha256}}
    dataclasses.replace(card, parts=parts).write(folder / "own.json")
    return folder / "own.json"


def test_learned_codebooks_are_stored_checked_and_named_on_the_air(tmp_path):
    path = with_codebooks(tmp_path, {6: uniform().of(6)})
    model = zoo.load(path)
    assert model.model_hash == zoo.load("cifar-1-12").model_hash
    code, books = model.codebook_set("learned")
    assert code != model.codebook_set("uniform")[0] and sorted(model.digital_hashes) == sorted(
        model.card.digital_hashes
    )
    torch.testing.assert_close(books.of(6).values, uniform().of(6).values)
    with pytest.raises(ModelError, match="learned codebooks of 8 bits do not exist: take 6"):
        books.of(8)
    learned = simulate(pictures(1), LinkConfig(str(path), 10.0, payload=DigitalMode(64, codebook="learned")))
    same = simulate(pictures(1), LinkConfig(str(path), 10.0, payload=DigitalMode(64)))
    assert learned[0].psnr_db == pytest.approx(same[0].psnr_db, abs=0.1)


def test_codebooks_that_are_missing_altered_or_broken_are_refused(tmp_path):
    with pytest.raises(ModelError, match="has no learned codebooks: use uniform"):
        zoo.load("cifar-1-6").codebook_set("learned")
    path = with_codebooks(tmp_path, {6: uniform().of(6)})
    file = tmp_path / "own.codebooks.safetensors"
    blob = file.read_bytes()
    file.write_bytes(blob[:-1] + b"\0")
    with pytest.raises(ModelError, match="is not the file that its card names"):
        zoo.load(path)
    file.unlink()
    with pytest.raises(ModelError, match="codebooks .* are missing"):
        zoo.load(path)
    short = dataclasses.replace(uniform().of(6), values=uniform().of(6).values[:3])
    sha256 = digital.save({6: short}, file)
    card = json.loads(path.read_text())
    card["parts"]["codebooks"]["sha256"] = sha256
    path.write_text(json.dumps(card))
    with pytest.raises(ModelError, match="'6.values' should be a table"):
        zoo.load(path)
    card["parts"]["codebooks"].pop("sha256")
    path.write_text(json.dumps(card))
    with pytest.raises(ModelError, match="does not fit its schema"):
        zoo.load(path)


def psnr_at_10_db(model, bits, codebook):
    """Of a packaged picture, one latent a symbol."""
    pixels = [("sample", samples()[0].pixels[:128, :128])]
    channel = over(symbol_channel("awgn"), DigitalMode(2**bits, 0, codebook), model.codebooks[codebook])
    return summarise(evaluate(model, pixels, 10.0, channel=channel, with_ms_ssim=False))[0]["psnr_db"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, widths",
    [("cifar-1-12", (1, 2, 3)), ("cifar-1-12-digital", (1, 6, 8)), ("photo-1-12", BITS_PER_LATENT)],
)
def test_shipped_codebooks_beat_uniform_ones_on_a_packaged_picture(name, widths):
    """Those of cifar-1-12 from 4 bits on are the uniform ones: training them gained nothing."""
    model = zoo.load(name)
    for bits in widths:
        assert psnr_at_10_db(model, bits, "learned") > psnr_at_10_db(model, bits, "uniform")


@pytest.mark.parametrize("bits, gain_db", [(1, 2.5), (2, 4.0), (4, 1.5), (6, 0.5), (8, 0.3)])
@pytest.mark.slow
def test_one_codec_trained_for_all_orders_beats_one_trained_for_analog_latents(bits, gain_db):
    trained, analog = zoo.load("cifar-1-12-digital"), zoo.load("cifar-1-12")
    assert trained.card.recipe["orders"] and not analog.card.recipe.get("orders")
    assert psnr_at_10_db(trained, bits, "learned") > psnr_at_10_db(analog, bits, "learned") + gain_db
