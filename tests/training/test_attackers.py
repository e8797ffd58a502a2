# SPDX-License-Identifier: GPL-3.0-or-later
"""Attackers who learn: without a cipher they do, and the page says how long they tried."""

import torch

from semcom.experiments.runner import Cell
from semcom_training.figures import attackers


def test_attackers_learn_of_what_is_sent_in_the_open_alone(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    pictures = torch.nn.functional.interpolate(
        torch.rand(96, 3, 2, 2, generator=generator), 32, mode="bilinear"
    )
    labels = torch.arange(96) % attackers.CLASSES
    monkeypatch.setattr(attackers, "labelled", lambda data, split, count: (pictures, labels))
    monkeypatch.setattr(attackers, "_SEARCH_STEPS", 3)
    settings = {"model": "cifar-1-12", "pairs": 96, "steps": 15}
    found = [
        (Cell(arm), attackers.measure(Cell(arm), data="", **settings)) for arm in ("none", "ring", "means")
    ]
    rows = attackers.rows(found)
    got = {
        (row["cipher"], row["snr_db"]): row["psnr_db"] for row in rows if row["attacker"] == attackers.TRAINED
    }
    means = {row["attacker"]: row["psnr_db"] for row in rows if row["cipher"] == "any"}
    assert got["none", 20.0] > got["ring", 20.0] + 1
    assert got["ring", 20.0] < means[attackers.MEAN_COLOUR] + 0.1
    experiment = attackers.Experiment("security_attackers", attackers.measure, [], settings)
    text = attackers.text(rows, experiment, "a command")
    assert "96 pairs" in text and "15 steps" in text and "minutes of CPU" in text and "nan" not in text
