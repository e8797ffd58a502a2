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
        figure: the one number that says how good a result is, a key of ``score``.
        columns: (key of ``score``, heading, unit, digits) of what tables show.
    """

    name: str
    code: int
    figure: str
    columns: tuple[tuple[str, str, str, int], ...]

    def check(self, value: np.ndarray) -> None:
        """Raises SemcomError: the value is none of this kind."""

    def size(self, value: np.ndarray) -> tuple[int, int]:
        """The two numbers that say how large a value is."""

    def batch(self, values: Sequence[np.ndarray], device) -> torch.Tensor:
        """Values of one size as codecs take them, float32, the first dimension counts them."""

    def finish(self, batch: torch.Tensor) -> torch.Tensor:
        """What a decoder gave, as it leaves the system: rounded pixels, probabilities."""

    def figures(self, decoded: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """The ``figure`` of each row ``[B]`` of what a decoder gave, finished or not."""

    def values(self, batch: torch.Tensor) -> list[np.ndarray]:
        """What a decoder gave, one result a row, each as it leaves the system."""

    def score(self, wanted, got: np.ndarray | None) -> dict[str, float | None]:
        """How good a result is against what was wanted; of a lost one (None) what can be said of it."""

    def warm_up(self) -> tuple[int, int]:
        """A small size, to run a codec once with."""
