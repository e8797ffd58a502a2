# SPDX-License-Identifier: GPL-3.0-or-later
"""What carries items of a kind over bursts: values to payload symbols and header fields, and back."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from semcom.errors import ImageError
from semcom.kinds import IMAGE, Kind
from semcom.modem import AssembledImage, BurstHeader
from semcom.modem.header import MAX_LATENTS, describe

#: in the detail of a result whose coded side information did not come through
SIDE_LOST = "side_information_lost"


@dataclass(frozen=True)
class Sent:
    """Items of one size as the modem takes them, and what their bursts' headers say.

    Attributes:
        symbols: ``[B, S]`` complex payload symbols of mean power 1 an item.
        mode: what they are, one of ``modem.header.MODES``. model_hash: 22 bits that name codec, codebooks or code.
        size: the header's two numbers, of a picture (height, width).
        kind: code of the kind that comes out. side: ``B`` numbers of 20 bits that only the codec understands.
        detail: what the transmitter chose, for rows and counters, by names of ``keys.CHOSEN``.
        ring_scale: ``B`` numbers, what symbols are multiplied with before a key stream is added (``security.ring.add``);
            none given: 1.
    """

    symbols: torch.Tensor
    mode: int
    model_hash: int
    size: tuple[int, int]
    kind: int = 0
    side: tuple[int, ...] = ()
    detail: dict = field(default_factory=dict)
    ring_scale: tuple[float, ...] = ()

    def __post_init__(self):
        if not self.ring_scale:
            object.__setattr__(self, "ring_scale", (1.0,) * len(self.symbols))

    @property
    def header_fields(self) -> dict:
        """What ``Modem.modulate`` takes beside the symbols and the items' numbers."""
        return {
            "size": self.size,
            "model_hash": self.model_hash,
            "mode": self.mode,
            "kind": self.kind,
            "side": self.side or 0,
        }


@dataclass(frozen=True)
class Received:
    """One result. value: of the system's ``result`` kind; None: all its bursts' worth cannot be decoded."""

    value: np.ndarray | None
    detail: dict = field(default_factory=dict)


class System(ABC):
    """One way of sending: what ``link``, the blocks and replay call, whatever is inside.

    Attributes:
        source, result: the kinds that go in and come out.
        name: in words, for rows and tables. modes: payload modes that its receiver reads.
        one_by_one: items are sent in calls of their own, as their headers may differ.
    """

    source: Kind = IMAGE
    result: Kind = IMAGE
    name: str
    modes: tuple[int, ...]
    one_by_one = False
    #: header -> where the part of an item begins that its burst is of; None: no item comes in parts
    first_place: Callable[[BurstHeader], int] | None = None

    @abstractmethod
    def symbol_count(self, size: tuple[int, int]) -> int:
        """Payload symbols that an item of that size takes."""

    def check_size(self, size: tuple[int, int], symbols: int) -> None:
        """Refuses what no header can count, before it is encoded: that takes minutes and gigabytes.

        Raises:
            ImageError: more symbols.
        """
        if symbols > MAX_LATENTS:
            raise ImageError(
                f"a {self.source.name} of {size[0]}x{size[1]} takes {symbols:,} payload symbols, and headers count "
                f"{MAX_LATENTS:,}: scale it down, or send it at a lower rate (--set rate=0.5), if the model has one.",
                f"{self.source.name}s of more payload symbols than headers count",
            )

    @abstractmethod
    def send(self, values: Sequence[np.ndarray], snr_db: Sequence[float], rho: float | None = None) -> Sent:
        """Values of one size to payload symbols.

        Args:
            snr_db: Es/N0 in dB that the transmitter expects, one an item.
            rho: a bandwidth ratio instead of the system's own, where it has a choice.

        Raises:
            ConfigError: another ratio than it has.
            ImageError: more symbols than a header counts.
        """

    def admits(self, header: BurstHeader) -> str | None:
        """Why bursts with this header cannot be read here, in the words of a counter; None: they can.

        Called before anything is allocated.
        """
        if header.kind != self.result.code:
            return f"bursts of another kind than {self.result.name}"
        if header.mode not in self.modes:
            return f"bursts of {describe(header.mode)}, not read here"
        return self.mismatch(header)

    @abstractmethod
    def mismatch(self, header: BurstHeader) -> str | None:
        """As ``admits``, of a header whose kind and payload mode are read here: model and size."""

    @abstractmethod
    def receive(self, items: Sequence[AssembledImage]) -> list[Received]:
        """What came of items that ``together`` gives one key for, decoded in one call."""

    def together(self, item: AssembledImage) -> Hashable:
        """What items must share to be received in one call."""
        return item.mode, item.model_hash, item.size, len(item.latents), item.steps is None

    def warm_up(self, transmit: bool) -> None:  # noqa: B027
        """Runs one end once, so that the first item is not the slow one."""
