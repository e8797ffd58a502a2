# SPDX-License-Identifier: GPL-3.0-or-later
"""What is computed in float32 whatever a training's autocast says."""

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(like: torch.Tensor) -> AbstractContextManager:
    """A context without autocast on the device of a tensor; meta tensors know none."""
    return nullcontext() if like.is_meta else torch.autocast(like.device.type, enabled=False)
