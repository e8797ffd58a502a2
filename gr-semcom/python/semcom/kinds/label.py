# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels as a kind: the result of a classifier, a probability a class."""

from collections.abc import Sequence

import numpy as np
import torch

from semcom.errors import ConfigError


class Label:
    """``semcom.kinds.base.Kind`` of labels: float32 probabilities ``[classes]``. Codecs give logits ``[B, classes]``."""

    name, code = "label", 3

    def check(self, value: np.ndarray) -> None:
        """Raises ConfigError: not probabilities of two classes or more."""
        if value.ndim != 1 or len(value) < 2 or not np.isclose(value.sum(), 1, atol=1e-3):
            raise ConfigError(f"a label is probabilities of two or more classes, not {list(value.shape)}.")

    def size(self, value: np.ndarray) -> tuple[int, int]:
        """Number of classes, and 1."""
        return len(value), 1

    def batch(self, values: Sequence[np.ndarray], device="cpu") -> torch.Tensor:
        """Probabilities ``[B, classes]``."""
        return torch.as_tensor(np.stack(values), dtype=torch.float32, device=device)

    def values(self, batch: torch.Tensor) -> list[np.ndarray]:
        """Logits ``[B, classes]`` to probabilities."""
        return list(batch.float().softmax(dim=1).cpu().numpy())

    def score(self, wanted: int | None, got: np.ndarray | None) -> dict:
        """``correct``: 1 if the likeliest class is the true one, 0 if not or lost; None where the truth is not known."""
        if wanted is None:
            return {"correct": None}
        return {"correct": float(got is not None and int(got.argmax()) == wanted)}

    def warm_up(self) -> tuple[int, int]:
        return 10, 1


LABEL = Label()
