# SPDX-License-Identifier: GPL-3.0-or-later
"""Models fine-tuned on captures, through the modem that flew. See docs/finetuning.md."""

from semcom_training.finetune.captured import Capture, Example, read_capture, split
from semcom_training.finetune.fresh import fresh_examples
from semcom_training.finetune.options import Options
from semcom_training.finetune.run import Outcome, finetune_pair, finetune_user

__all__ = [
    "Capture",
    "Example",
    "Options",
    "Outcome",
    "finetune_pair",
    "finetune_user",
    "fresh_examples",
    "read_capture",
    "split",
]
