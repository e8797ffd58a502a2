# SPDX-License-Identifier: GPL-3.0-or-later
import csv

import pytest
import torch

from semcom.errors import ConfigError
from semcom_training import train
from semcom_training.channels import channel
from semcom_training.digital import random_orders
from semcom_training.recipe import load_recipe, make_recipe


def test_gradients_pass_straight_through_every_order():
    for order in (0, 2, 4, 8, 16, 64, 256):
        latents = torch.randn(2, 96, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
        latents.requires_grad_(True)
        send = random_orders(channel("awgn"), [order])
        got = send(latents, torch.tensor([10.0, 20.0]), torch.Generator().manual_seed(2))
        got.latents.real.sum().backward()
        assert torch.allclose(latents.grad, torch.ones_like(latents))
        assert got.snr_db[1] > got.snr_db[0] - 0.5 and torch.isfinite(got.snr_db).all()


def test_all_orders_are_drawn():
    send = random_orders(channel("awgn"), [0, 4, 256])
    latents, generator = torch.ones(1, 32, dtype=torch.complex64), torch.Generator().manual_seed(0)
    reported_db = {round(float(send(latents, torch.tensor([10.0]), generator).snr_db), 0) for _ in range(30)}
    assert len(reported_db) >= 2


def test_orders_that_do_not_exist_are_refused():
    recipe = load_recipe("cifar-1-12-digital")
    assert set(recipe.orders) == {0, 2, 4, 8, 16, 64, 256}
    with pytest.raises(ConfigError, match="order 32 is unknown"):
        make_recipe({"name": "x", "architecture": "linres", "arguments": {}, "data": ["a"], "orders": [32]})


@pytest.mark.slow
def test_a_short_training_with_random_orders_reaches_its_loss(generated, tmp_path):
    recipe = make_recipe(
        {
            "name": "orders",
            "architecture": "linres",
            "arguments": {"channels": 8, "widths": [16], "encoder_blocks": [1], "decoder_blocks": [1]},
            "data": ["pictures"],
            "crop": 32,
            "held_out": 4,
            "batch": 8,
            "steps": 60,
            "warmup_steps": 5,
            "log_every": 20,
            "orders": [0, 4, 16, 64, 256],
        }
    )
    folder = train.run(recipe, generated, tmp_path, "cpu", progress=False, export=False)
    with (folder / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["psnr_10_db"]) > max(18.0, float(rows[0]["psnr_10_db"]) - 0.2)
