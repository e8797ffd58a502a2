# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of a link: one row an item and user, whatever the kind; and the same as flat dictionaries for JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from semcom.kinds.image import IMAGE
from semcom.kinds.pictures import Picture, mean_colour
from semcom.link.config import LinkConfig
from semcom.system.base import Received, System


@dataclass(frozen=True)
class Row:
    """One item at one user and SNR.

    Attributes:
        item: its name. user: who received it, "" where there is one receiver only. system: model and payload in words.
        kind: name of the result's.
        snr_db: Es/N0 of the user's channel. snr_est_db: mean of the receiver's estimates; None: nothing came.
        scores: by metric, as the kind of the result has them; None where nothing can be said.
        bursts_sent, bursts_found: the item's. symbols: payload symbols. airtime_samples: of all its bursts.
        source_values: numbers in the source, to which the bandwidth ratio refers.
        papr_db: peak over mean power of the bursts. real_time_factor: airtime over processing time.
        detail: what some systems say more: mcs, decoded; ``keys.NOT_SENT``: why nothing was sent.
        value: what came out; None: no burst arrived.
    """

    item: str
    snr_db: float
    user: str = ""
    system: str = ""
    kind: str = IMAGE.name
    snr_est_db: float | None = None
    scores: dict = field(default_factory=dict)
    bursts_sent: int = 0
    bursts_found: int = 0
    symbols: int = 0
    airtime_samples: int = 0
    source_values: int = 0
    papr_db: float | None = None
    real_time_factor: float | None = None
    detail: dict = field(default_factory=dict)
    value: np.ndarray | None = None

    @property
    def psnr_db(self) -> float | None:
        """Of a picture, in dB; None if nothing was received, or nothing that has one."""
        return self.scores.get("psnr_db")

    @property
    def bursts_lost(self) -> int:
        return self.bursts_sent - self.bursts_found

    @property
    def decoded(self) -> bool:
        """False where nothing came, or a code failed and a stand-in is what came out."""
        return self.value is not None and self.detail.get("decoded", True)

    @property
    def rho(self) -> float:
        """Bandwidth ratio: complex symbols a source value."""
        return self.symbols / self.source_values if self.source_values else 0.0

    @property
    def overhead(self) -> float:
        """Share of the airtime that carries no payload symbol."""
        return 1 - self.symbols / self.airtime_samples if self.airtime_samples else 0.0

    def flat(self) -> dict:
        """As JSON has it, without the value: scores and details beside the rest, rho and overhead worked out."""
        return {
            "image": self.item,
            "snr_db": self.snr_db,
            "snr_est_db": self.snr_est_db,
            **self.scores,
            "bursts_sent": self.bursts_sent,
            "bursts_found": self.bursts_found,
            "bursts_lost": self.bursts_lost,
            "rho": self.rho,
            "overhead": self.overhead,
            "papr_db": self.papr_db,
            "real_time_factor": self.real_time_factor,
            "system": self.system,
            **({"user": self.user} if self.user else {}),
            **self.detail,
        }

    def to_dict(self) -> dict[str, Any]:
        """For a file: everything but a picture's pixels, as JSON has it; ``restored`` makes a row of it again."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        is_label = self.value is not None and self.kind != IMAGE.name
        return plain | {
            "arrived": self.value is not None,
            "label": self.value.tolist() if self.value is not None and is_label else None,
        }


_PLAIN = tuple(field.name for field in fields(Row) if field.name != "value")
#: in place of a picture whose pixels were not kept: that one arrived is all that is known
NOT_KEPT = np.empty((0, 0, 3), np.uint8)


def restored(entry: dict[str, Any], pixels: np.ndarray | None = None) -> Row:
    """The row that ``Row.to_dict`` wrote.

    Args:
        pixels: of the picture that arrived, uint8 ``[H, W, 3]``; None: ``NOT_KEPT`` stands for them.

    Raises:
        KeyError: it is none.
    """
    value = None
    if entry["arrived"]:
        label: Sequence[float] | None = entry["label"]
        value = np.asarray(label, np.float32) if label is not None else NOT_KEPT if pixels is None else pixels
    return Row(**{name: entry[name] for name in _PLAIN}, value=value)


def row_of(
    item: Picture,
    config: LinkConfig,
    system: System,
    received: Received | None,
    *,
    user: str = "",
    **measured,
) -> Row:
    """Scores one item.

    Args:
        received: what the system made of it; None: no burst of it was found. A picture whose code failed counts as its
            mean colour.
        measured: fields of ``Row``, and those of ``detail`` by name.
    """
    value, detail = (None, {}) if received is None else (received.value, dict(received.detail))
    if received is not None and value is None:
        value = mean_colour(item.pixels)
    if system.result is IMAGE:
        scores = IMAGE.score(item.pixels, value, lpips=config.lpips)
    else:
        scores = system.result.score(item.label, value)
    fields = {key: measured.pop(key) for key in list(measured) if key in Row.__dataclass_fields__}
    return Row(
        item=item.name,
        snr_db=config.snr_db,
        user=user,
        system=system.name,
        kind=system.result.name,
        scores=scores,
        source_values=item.pixels.size,
        detail=detail | measured,
        value=value,
        **fields,
    )
