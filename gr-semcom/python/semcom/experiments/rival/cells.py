# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison as cells, a scheme at an SNR each: kept, resumed, in parallel processes."""

import base64
import functools
import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from semcom.experiments.rival.compare import Arm, Score, Trouble, arms, compare
from semcom.experiments.runner import Cell, Experiment, sources
from semcom.kinds.pictures import Picture, png_bytes
from semcom.link import LinkConfig
from semcom.system import zoo

#: what sends and receives: no result is kept beyond a change of it
CODE = (
    "semcom.modem",
    "semcom.channel",
    "semcom.link",
    "semcom.payload",
    "semcom.system",
    "semcom.codec.image.source",
    "semcom.codec.image.residual",
)
Read = Callable[[], Iterable[tuple[str, np.ndarray]]]


@dataclass(frozen=True)
class Schemes:
    """What is compared: the arguments of ``arms``, and what of the link decides results."""

    model: str
    channel: str
    seed: int
    source: str
    fixed: tuple[str, ...]
    orders: tuple[int, ...]
    digital_model: str | None = None
    hybrids: tuple[str, ...] = ()
    hybrid_model: str | None = None
    bare_only: bool = False
    with_bound: bool = True
    troubles: tuple[Trouble, ...] = ()

    def arms(self) -> list[Arm]:
        """Raises ConfigError as ``compare.arms``."""
        link = LinkConfig(model=self.model, snr_db=0.0, channel=self.channel, seed=self.seed)
        return arms(
            link,
            self.source,
            self.fixed,
            self.orders,
            self.bare_only,
            self.digital_model,
            self.hybrids,
            self.hybrid_model,
            self.with_bound,
            self.troubles,
        )

    @classmethod
    def of(cls, plain: dict) -> "Schemes":
        """The inverse of ``asdict``."""
        lists = {name: tuple(plain[name]) for name in ("fixed", "orders", "hybrids")}
        return cls(**plain | lists | {"troubles": tuple(Trouble(**each) for each in plain["troubles"])})


def plan(read: Read, wanted: Schemes, snr_db: Sequence[float], shown: int, lpips: bool) -> Experiment:
    """Every scheme at every SNR.

    Args:
        read: gives the pictures, (name, uint8 ``[H, W, 3]``), again in every process.
        shown: number of the picture that is kept as received.

    Raises:
        ConfigError: as ``compare.arms``.
    """
    others = [name for name in (wanted.digital_model, wanted.hybrid_model) if name]
    models = [zoo.load(name) for name in dict.fromkeys([wanted.model, *others])]
    weights = [model.sha256 for model in models]
    weights.append(sources(*CODE))
    weights += [books.sha256 for model in models for books in model.codebooks.values()]
    seen = hashlib.sha256()
    for _, pixels in read():
        seen.update(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes())
    # names of models stand for weights, which may change under one name
    cells = [
        Cell((arm.scheme, arm.accounting), float(snr), weights=(*weights, seen.hexdigest()))
        for snr in snr_db
        for arm in wanted.arms()
    ]
    settings = {"schemes": asdict(wanted), "shown": shown, "lpips": lpips}
    return Experiment("compare", functools.partial(measure, read=read), cells, settings)


def measure(cell: Cell, schemes: dict, shown: int, lpips: bool, read: Read) -> dict:
    """A ``Score`` as JSON has it, its one picture as PNG."""
    wanted = Schemes.of(schemes)
    (arm,) = (arm for arm in _arms(wanted) if (arm.scheme, arm.accounting) == cell.arm)
    (score,) = compare(_pictures(read), [cell.point], [arm], shown + 1, lpips=lpips)
    return asdict(score) | {"shown": base64.b64encode(png_bytes(score.shown[shown])).decode()}


_arms = functools.lru_cache(1)(Schemes.arms)


@functools.lru_cache(1)
def _pictures(read: Read) -> list[Picture]:
    return [Picture(name, pixels) for name, pixels in read()]


def score_of(result: dict) -> Score:
    """What ``measure`` said, with its one picture as the first of those shown."""
    png = base64.b64decode(result["shown"])
    return Score(**result | {"shown": (np.asarray(Image.open(io.BytesIO(png))),)})
