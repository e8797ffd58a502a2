# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures that were never sent, for a channel that is replayed."""

from pathlib import Path

import torch

from semcom.errors import ConfigError
from semcom.kinds.pictures import pixels_sha256
from semcom_training.data import Pictures
from semcom_training.finetune.captured import Capture, Example

CROPS = 4096


def fresh_examples(folder: str | Path, capture: Capture, seed: int = 1, count: int = CROPS) -> list[Example]:
    """Random crops of a folder's pictures, as large as the smallest captured side, as examples that nothing came of.

    What was captured is left out as far as it is there whole, so that held-out pictures stay unseen.

    Args:
        folder: of pictures, or of CIFAR-10 (``semcom_training.data``). capture: whose sizes and pictures count.

    Raises:
        ConfigError: no such folder, or no picture in it that is large enough and was not captured.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(f"there is no folder of pictures {folder} to fine-tune on.")
    side = min(min(example.size) for example in capture.examples)
    pictures = Pictures(folder.resolve().parent, [folder.resolve().name], crop=side, held_out=0, seed=seed)
    known = {example.key for example in capture.examples}
    pictures.images = [image for image in pictures.images if _key(image) not in known]
    if not pictures.images:
        raise ConfigError(f"{folder} holds only pictures that were captured: fine-tuning wants others.")
    nothing = torch.zeros(0)
    crops = pictures.batch(count, torch.Generator().manual_seed(seed))
    return [Example("", f"fresh-{n}", crop, nothing, nothing, capture.snr_db) for n, crop in enumerate(crops)]


def _key(image: torch.Tensor) -> str:
    return pixels_sha256(image.permute(1, 2, 0).contiguous().numpy())
