# SPDX-License-Identifier: GPL-3.0-or-later
"""Who attacks DeepJESCC: pairs are all that it takes."""

import pytest
import torch

from semcom.codec import build
from semcom.experiments.runner import Cell
from semcom_training.figures import jescc
from semcom_training.figures.attackers import mean_colours, psnr

INNER = {"channels": 16, "widths": [16], "encoder_blocks": [1], "decoder_blocks": [1]}


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    return build("protected", {"arguments": INNER, "width": 8}).eval()


def smooth(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.interpolate(
        torch.rand(count, 3, 5, 5, generator=generator), 32, mode="bilinear"
    )


@pytest.mark.parametrize("delivered, gain_db", [(False, 10), (True, 3)])
def test_who_has_pairs_has_the_pictures(codec, delivered, gain_db):
    """Of pictures that he has not seen, and without a step of training: it is no cipher."""
    unseen = smooth(20, 1)
    with torch.inference_mode():
        net = jescc.attacker(codec, smooth(300, 0), 0, delivered)
        heard = jescc.seen(codec, unseen, 20.0, delivered)
        found = psnr(net(heard), unseen)
    assert found > psnr(mean_colours(unseen), unseen) + gain_db > psnr(heard, unseen) + gain_db


@pytest.mark.slow
def test_steps_of_an_attacker_help_it(codec):
    pictures = smooth(64, 0)
    with torch.inference_mode():
        heard = jescc.seen(codec, pictures, 10.0, True)
    before, after = (
        psnr(jescc.attacker(codec, pictures, steps, True)(heard).detach(), pictures) for steps in (0, 15)
    )
    assert after > before


@pytest.mark.slow
def test_the_page_has_every_arm_and_says_that_it_is_no_cipher(monkeypatch):
    pictures = smooth(8, 2)
    monkeypatch.setattr(jescc, "cifar", lambda data, split, count: pictures)
    torch.manual_seed(0)
    made = {
        jescc.PLAIN: build("linres", INNER).eval(),
        "mine": build("protected", {"arguments": INNER, "width": 8}).eval(),
    }
    monkeypatch.setattr(jescc.zoo, "load", lambda name: type("Model", (), {"codec": made[name]}))
    settings = {"pictures": 8, "pairs": 8, "steps": 1}
    found = [(Cell(arm), jescc.measure(Cell(arm), **settings, data="", model="mine")) for arm in jescc.ARMS]
    rows = jescc.rows(found)
    assert len(rows) == len(jescc.ARMS) * len(jescc.SNR_DB)
    experiment = jescc.Experiment("jescc", jescc.measure, [], settings)
    text = jescc.text(rows, experiment, "a command")
    assert "no cipher" in text and all(words in text for words in jescc.ARMS.values()) and "nan" not in text
