# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace

import numpy as np
import pytest
import torch

from semcom.codec import build
from semcom.codec.task.classifier import Classifier
from semcom.errors import ConfigError, ImageError
from semcom.kinds import IMAGE, LABEL
from semcom.system import zoo

SMALL = {"classes": 4, "symbols": 8, "width": 8}


def squares(count, seed=0):
    """Pictures of four classes: which quarter is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=generator)
    images = 0.3 * torch.rand(count, 3, 32, 32, generator=generator)
    for image, label in zip(images, labels.tolist()):
        row, column = divmod(label, 2)
        image[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] += 0.6
    return images, labels


@pytest.mark.slow
def test_a_short_training_over_noise_learns_what_was_sent():
    torch.manual_seed(0)
    codec = build("classifier", SMALL).train()
    optimiser = torch.optim.Adam(codec.parameters(), 3e-3)
    for step in range(60):
        images, labels = squares(32, step)
        sent = codec.send(images, 10.0)
        noisy = sent.values + 0.2 * torch.randn_like(sent.values)
        got = replace(sent, values=noisy, noise_var=torch.full_like(noisy.real, 0.08))
        loss = torch.nn.functional.cross_entropy(codec.receive(got, 10.0, (4, 1)), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    codec.eval()
    with torch.inference_mode():
        images, labels = squares(200, 999)
        sent = codec.send(images, 10.0)
        # one constant for all: mean power 1 over many pictures, and no more than the peak in any symbol
        assert float(sent.values.abs().square().mean()) == pytest.approx(1, abs=0.1)
        assert float(sent.values.abs().square().max()) <= codec.peak_power * 1.001
        values = LABEL.values(codec.receive(sent.with_noise(10.0), 10.0, (4, 1)))
        scores = [LABEL.score(int(label), value)["correct"] for label, value in zip(labels, values)]
    assert np.mean(scores) > 0.95


@torch.inference_mode()
def test_sizes_and_erasures():
    codec = build("classifier", SMALL).eval()
    assert codec.source is IMAGE and codec.result is LABEL
    sent = codec.send(torch.rand(2, 3, 50, 37), 10.0)
    assert sent.values.shape == (2, 8) and codec.result_size((50, 37)) == (4, 1)
    assert codec.admits(8, (4, 1)) and not codec.admits(8, (5, 1)) and not codec.admits(9, (4, 1))
    lost = replace(sent, noise_var=torch.full((2, 8), torch.inf))
    logits = codec.receive(lost, 10.0, (4, 1))
    assert torch.isfinite(logits).all() and torch.equal(logits[0], logits[1])
    with pytest.raises(ImageError, match="no label of 4 classes"):
        codec.receive(sent.with_noise(10.0), 10.0, (5, 1))
    with pytest.raises(ConfigError, match="one bandwidth ratio"):
        codec.send(torch.rand(1, 3, 32, 32), 10.0, rho=0.5)
    with pytest.raises(ConfigError, match="at least 2 classes"):
        build("classifier", SMALL | {"classes": 1})


def test_a_label_says_what_it_knows():
    assert LABEL.score(None, np.array([0.2, 0.8]))["correct"] is None
    assert LABEL.score(1, None)["correct"] == 0.0
    with pytest.raises(ConfigError, match="probabilities"):
        LABEL.check(np.array([0.9, 0.9]))


def test_the_shipped_classifier_is_what_its_card_says():
    model = zoo.load("cifar-classifier")
    card = model.card
    assert (card.source, card.result, card.power) == ("image", "label", "peak")
    assert isinstance(model.codec, Classifier) and model.codec.result is LABEL
    (table,) = card.tables("correct")
    assert table["items"] == 10_000 and len(table["values"]) == len(table["snr_db"])
    # far above the one in ten of guessing, at the lowest SNR too
    assert min(table["values"]) > 0.5
