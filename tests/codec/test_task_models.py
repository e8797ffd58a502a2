# SPDX-License-Identifier: GPL-3.0-or-later
"""The task models that ship are what their cards say, and fly."""

import numpy as np
import pytest
import torch

from semcom.kinds import LABEL
from semcom.kinds.pictures import samples
from semcom.link import LinkConfig
from semcom.link.simulate import Air, receive, transmit
from semcom.modem import Modem
from semcom.system import zoo
from semcom.system.latents import LatentSystem

TWINS = ("cifar-deepjscc-8", "cifar-vl-vfe", "cifar-dt-jscc")
MODELS = ("cifar-task-backbone", *TWINS, *(f"{name}-fisher" for name in TWINS))


@pytest.mark.parametrize("name", MODELS)
def test_a_task_model_is_what_its_card_says(name):
    model = zoo.load(name)
    card, codec = model.card, model.codec
    assert (card.source, card.result, card.power) == ("image", "label", "peak") and codec.result is LABEL
    assert sum(p.numel() for p in codec.parameters()) == card.parameters
    (table,) = card.tables("correct")
    assert table["set"] == "CIFAR-10 test" and table["items"] == 10_000
    assert len(table["values"]) == len(table["snr_db"]) and min(table["values"]) > 0.4
    # the test split did not choose: 5,000 training pictures are held out
    assert card.recipe["held_out"] == 5000
    if name != "cifar-task-backbone":
        assert card.backbone["file"] == "cifar-task-backbone.safetensors"
        assert card.recipe["frozen"] == ["backbone"]


def test_models_that_share_a_backbone_have_names_of_their_own_on_the_air():
    assert len({zoo.load(name).model_hash for name in MODELS}) == len(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_task_model_flies(name):
    system, modem = LatentSystem(zoo.load(name)), Modem()
    pixels = np.ascontiguousarray(samples()[0].pixels[:64, :64])
    sent, bursts = transmit(5, pixels, 15.0, system, modem)
    image, received = receive(Air(LinkConfig(name, 15.0)).carry(bursts), system, modem)
    assert sent.kind == LABEL.code and len(image.latents) == sent.symbols.shape[1]
    assert received.value.shape == (10,) and received.value.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["cifar-vl-vfe", "cifar-vl-vfe-fisher"])
@torch.inference_mode()
def test_less_noise_asks_for_fewer_dimensions(name):
    codec = zoo.load(name).codec
    low, high = codec.snr_range_db
    active = codec.active(torch.linspace(low, high, 12)).tolist()
    assert active == sorted(active, reverse=True) and 2 <= active[-1] < active[0] < 64


@pytest.mark.parametrize("name", ["cifar-dt-jscc", "cifar-dt-jscc-fisher"])
@torch.inference_mode()
def test_the_codebook_is_in_use(name):
    codec = zoo.load(name).codec
    pixels = torch.from_numpy(samples()[0].pixels.transpose(2, 0, 1).copy()).float() / 255
    tiles = pixels.unfold(1, 32, 32).unfold(2, 32, 32).flatten(1, 2).transpose(0, 1)
    assert codec.perplexity(codec.features(tiles)) > 2.5
