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
    monkeypatch.setattr(attackers, "_labelled", lambda data, split, count: (pictures, labels))
    monkeypatch.setattr(attackers, "SEARCH_STEPS", 3)
    settings = {"pairs": 96, "steps": 15}
    cells = [Cell(("cifar-1-12", cipher)) for cipher in ("none", "ring")]
    found = [(cell, attackers.measure(cell, data="", model="cifar-1-12", **settings)) for cell in cells]
    rows = attackers.rows(found)
    trained = [row for row in rows if (row["attacker"], row["snr_db"]) == (attackers.TRAINED, 20.0)]
    opened, sealed = (row["psnr_db"] for row in trained)
    assert opened > sealed + 1 and sealed < trained[1]["colour_db"] + 0.1
    text = attackers.text(rows, attackers.Experiment("a", attackers.measure, [], settings), "a command")
    assert "96 pairs" in text and "15 steps" in text and "minutes of CPU" in text and "nan" not in text
