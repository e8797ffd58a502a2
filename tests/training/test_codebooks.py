# SPDX-License-Identifier: GPL-3.0-or-later
import dataclasses
import re
import shutil

import pytest
import torch

from semcom.channel.symbols import symbol_channel
from semcom.errors import ConfigError
from semcom.payload import quantised as digital
from semcom.payload.quantised import DigitalMode, over
from semcom.system import zoo
from semcom_training import codebooks
from semcom_training.codebooks import LearnedCodebook, Options, start_from
from semcom_training.data import Pictures


@pytest.fixture(scope="module")
def model():
    return zoo.load("cifar-1-12")


@pytest.fixture(scope="module")
def pictures(generated):
    return Pictures(generated, ["pictures"], [], crop=32, held_out=4, seed=1)


@pytest.mark.slow
def test_training_lowers_the_loss_and_leaves_the_codec_alone(model, pictures):
    before = {key: value.clone() for key, value in model.codec.state_dict().items()}
    said = []
    options = Options(steps=40, batch=8, statistics=32)
    book = codebooks.train_codebook(model, pictures, 4, options, said.append)
    losses = [float(line.rsplit(" ", 1)[1]) for line in said if "loss" in line]
    assert losses[-1] < losses[0] and losses[-1] < -5.0  # log of the squared error: over 21.7 dB
    judged = {name: float(db) for name, db in re.findall(r"(\w+) ([\d.]+) dB", said[-1])}
    found = codebooks.held_out_psnr_db(model, book, pictures)
    assert set(judged) == {"statistics", "uniform", "trained"} and abs(found - max(judged.values())) < 0.006
    assert all(torch.equal(value, before[key]) for key, value in model.codec.state_dict().items())
    assert book.points.shape == (4, 1) and book.gain > 0


@pytest.mark.slow
def test_a_trained_codebook_beats_the_uniform_one_on_pictures_it_has_not_seen(model, pictures):
    options = Options(steps=60, batch=8, statistics=32)
    book = codebooks.train_codebook(model, pictures, 3, options, lambda line: None)
    images = torch.stack([image[:, :32, :32] for image in pictures.held_out]).float() / 255
    errors = []
    for books in (digital.uniform(), digital.CodebookSet("learned", "", {3: book})):
        channel = over(symbol_channel("awgn"), DigitalMode(8), books)
        with torch.inference_mode():
            generator = torch.Generator().manual_seed(0)
            received, noise_var = channel(model.codec.encode(images, 10.0), 10.0, generator)
            decoded = model.codec.decode(received, 10.0, (32, 32), noise_var)
        errors.append(float((decoded - images).square().mean()))
    assert errors[1] < 0.95 * errors[0]


def test_gradients_reach_everything_that_is_learned(model):
    latents = torch.randn(2, 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    learned = LearnedCodebook(start_from(latents.flatten(), 4), softness=0.5)
    received, noise_var = learned(latents, torch.full((2, 1), 0.1), torch.Generator().manual_seed(1))
    (received.abs().square().mean() + noise_var.mean()).backward()
    for name, parameter in learned.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_a_run_writes_a_card_that_the_zoo_loads(generated, tiny_model, tmp_path):
    options = Options(steps=2, batch=4, crop=32, statistics=8, held_out=4)
    with pytest.raises(ConfigError, match="no recipe with data folders"):
        codebooks.run(tiny_model, generated, tmp_path, options)
    card = zoo.card(tiny_model)
    (tmp_path / "started").mkdir()
    shutil.copy(tiny_model.with_name(card.weights_file), tmp_path / "started")
    started = tmp_path / "started" / "tiny.json"
    dataclasses.replace(card, recipe={"data": ["pictures"]}).write(started)
    path = codebooks.run(started, generated, tmp_path, options, bits=(2, 6), say=lambda line: None)
    model = zoo.load(path)
    assert sorted(model.codebooks["learned"].books) == [2, 6]
    assert model.card.digital["training"]["steps"] == 2
