# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a fine-tuning, range-checked once; it goes into the card of what comes out."""

from dataclasses import dataclass

from semcom import settings


@dataclass(frozen=True)
class Options:
    """Settings of a fine-tuning.

    Attributes:
        steps, batch: optimiser steps, and pictures in each. max_minutes: end after so long; 0: no limit.
        learning_rate: of Adam, falling to zero over the steps. Small: weights are near where they should be.
        ema: decay of the averaged weights, which are what is measured and kept.
        check_every: steps between looks at the pictures set apart for choosing; the best weights seen are kept.
        held_out: share of the pictures that decide at the end; chosen: share of the others that choose.
        margin_db: what must be gained on held-out pictures for a model to be written.
        encoder_snr_db: what the encoder was given; None: found from what came.
        seed: of the order of pictures, and of noise that is replayed.
    """

    steps: int = 200
    batch: int = 8
    max_minutes: float = 0.0
    learning_rate: float = 2e-5
    ema: float = 0.95
    check_every: int = 25
    held_out: float = 0.25
    chosen: float = 0.15
    margin_db: float = 0.02
    encoder_snr_db: float | None = None
    seed: int = 1

    def __post_init__(self):
        settings.require(
            "fine-tuning",
            steps=(self.steps, self.steps >= 0, "0 or more"),
            batch=(self.batch, self.batch >= 1, "1 or more"),
            max_minutes=(self.max_minutes, self.max_minutes >= 0, "0 or more"),
            learning_rate=(self.learning_rate, 0 < self.learning_rate <= 0.01, "above 0 and at most 0.01"),
            ema=(self.ema, 0 <= self.ema < 1, "0 or more and below 1"),
            check_every=(self.check_every, self.check_every >= 1, "1 or more"),
            held_out=(self.held_out, 0 < self.held_out < 1, "above 0 and below 1"),
            chosen=(self.chosen, 0 < self.chosen < 1, "above 0 and below 1"),
            margin_db=(self.margin_db, self.margin_db >= 0, "0 or more"),
        )
