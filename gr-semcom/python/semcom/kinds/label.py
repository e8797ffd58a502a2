# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels as a kind: the result of a classifier, a probability a class."""

from collections.abc import Sequence

import numpy as np
import torch

from semcom.errors import ConfigError


class Label:
    """``semcom.kinds.base.Kind`` of labels: float32 probabilities ``[classes]``. Codecs give logits ``[B, classes]``."""

    name, code, figure = "label", 3, "correct"
    columns: tuple[tuple[str, str, str, int], ...] = (
        ("correct", "correct", "", 4),
        ("confidence", "confidence", "", 2),
    )

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

    def finish(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits ``[B, classes]`` to probabilities."""
        return batch.float().softmax(dim=1)

    def figures(self, decoded: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """1 for each row ``[B]`` of logits or probabilities whose largest is the class ``wanted`` ``[B]``, else 0."""
        return (decoded.argmax(dim=1) == wanted).float()

    def values(self, batch: torch.Tensor) -> list[np.ndarray]:
        """Logits ``[B, classes]`` to probabilities."""
        return list(self.finish(batch).cpu().numpy())

    def score(self, wanted: int | None, got: np.ndarray | None) -> dict:
        """``correct``: 1 if the likeliest class is the true one, 0 if not or lost; None where the truth is not known.

        ``confidence``: its probability."""
        confidence = None if got is None else float(got.max())
        if wanted is None:
            return {"correct": None, "confidence": confidence}
        return {"correct": float(got is not None and int(got.argmax()) == wanted), "confidence": confidence}

    def warm_up(self) -> tuple[int, int]:
        return 10, 1


LABEL = Label()
