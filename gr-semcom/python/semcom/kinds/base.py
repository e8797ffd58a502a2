# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kind of source or result must be able to do, so that systems, links and commands need not know which it is."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch


class Kind(Protocol):
    """A kind of thing that goes into a system or comes out of it.

    Attributes:
        name: as cards and commands write it. code: its number in burst headers, 0..7.
    """

    name: str
    code: int

    def check(self, value: np.ndarray) -> None:
        """Raises SemcomError: the value is none of this kind."""

    def size(self, value: np.ndarray) -> tuple[int, int]:
        """The two numbers that say how large a value is."""

    def batch(self, values: Sequence[np.ndarray], device) -> torch.Tensor:
        """Values of one size as codecs take them, float32, the first dimension counts them."""

    def values(self, batch: torch.Tensor) -> list[np.ndarray]:
        """What a decoder gave, one result a row, each as it leaves the system."""

    def score(self, wanted, got: np.ndarray | None) -> dict[str, float | None]:
        """How good a result is against what was wanted; of a lost one (None) what can be said of it."""

    def warm_up(self) -> tuple[int, int]:
        """A small size, to run a codec once with."""
