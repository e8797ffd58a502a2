# SPDX-License-Identifier: GPL-3.0-or-later
"""Rate on request: the smallest bandwidth ratio at which a picture is expected to reach a PSNR.

The decision of adaptive semantic transmission (Zhang et al., "Predictive and Adaptive Deep Coding for Wireless Image
Transmission in Semantic Communication", IEEE Trans. Wireless Commun. 2023), whose predictor is a network. Here a codec
with a closed form predicts from it, with a linear correction for what its networks add; one without decodes its own
latents with noise of the SNR expected, and so is done for what the correction was not made for. How far below the
prediction a picture may end up is measured beforehand
(``semcom.adaptation.rates``), so that at most a stated share of pictures is below its target; that is in the card.
"""

import math
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from semcom.channel.symbols import awgn_channel
from semcom.codec.base import Latents
from semcom.equivalent_snr import equivalent_snr_db
from semcom.errors import ConfigError, ModelError
from semcom.kinds import quality
from semcom.kinds.image import to_uint8
from semcom.payload.base import checked_target
from semcom.system.card import ModelCard
from semcom.system.zoo import LoadedModel

CLOSED, EXACT = "closed form", "exact"
#: pixels a side; of smaller pictures the closed form is off (0.67 dB at 64, and too high), and decoding takes little
LEAST_SIDE = 96


@dataclass(frozen=True)
class RateTable:
    """What was measured of a model's predicted quality, as its card has it under ``rates``.

    Attributes:
        method: "closed form" or "exact". rhos: bandwidth ratios to choose from, rising.
        correction: weights of the features of ``BaseCodec.forecast``; empty: none.
        sigma_db: standard deviation of the prediction's error at each ratio.
        quantile: standard deviations that the prediction must be above a target.
        mean_error_db: mean absolute error of the prediction, of pictures that were not fitted to.
        share: of pictures that may end up below a target said to be reached. confidence: that they are no more.
        snr_range_db: where it was measured. pictures, data: on how many, and what they were.
        fitted: what the correction was fitted to; "": there is none.
    """

    method: str
    rhos: list[float]
    correction: list[float]
    sigma_db: list[float]
    quantile: float
    mean_error_db: float
    share: float
    confidence: float
    snr_range_db: list[float]
    pictures: int
    data: str
    fitted: str = ""

    @property
    def margin_db(self) -> np.ndarray:
        return self.quantile * np.array(self.sigma_db)


def table_of(card: ModelCard) -> RateTable:
    """What a model's card says of its predicted quality.

    Raises:
        ModelError: nothing, or nothing that can be used; it says how to measure it.
    """
    cure = f"Measure it: `python -m semcom_training.rates {card.name} --data FOLDER`."
    if card.rates is None:
        raise ModelError(
            f"model '{card.name}': its card does not say how well its quality can be predicted, so no target can be "
            f"promised. {cure}"
        )
    try:
        known = {field.name for field in fields(RateTable)}
        table = RateTable(**{name: value for name, value in card.rates.items() if name in known})
        numbers = [*table.rhos, *table.correction, *table.sigma_db, table.quantile]
        good = len(table.rhos) == len(table.sigma_db) > 1 and all(map(math.isfinite, numbers))
        good = good and table.rhos == sorted(table.rhos) and table.method in (CLOSED, EXACT)
    except (KeyError, TypeError, ValueError):
        good = False
    if not good:
        raise ModelError(f"model '{card.name}': 'rates' in its card is broken. {cure}")
    return table


# --- predictions ------------------------------------------------------------------------------------------------


@torch.inference_mode()
def exact_psnr_db(
    model: LoadedModel,
    pixels: np.ndarray,
    snr_db: float,
    rho: float,
    seed: int = 0,
    allocated_db: float | None = None,
) -> float:
    """PSNR in dB of a picture that is sent, given noise and decoded: the reference of every prediction.

    Args:
        allocated_db: SNR in dB that the sender expects; None: ``snr_db``.
    """
    snr = torch.tensor([snr_db], dtype=torch.float32)
    told = snr if allocated_db is None else torch.tensor([allocated_db], dtype=torch.float32)
    sent = model.codec.send(image_of(pixels), told, rho=rho)
    return decoded_psnr_db(model, pixels, over_awgn(sent, snr, torch.Generator().manual_seed(seed)))


def over_awgn(sent: Latents, snr_db: torch.Tensor, generator: torch.Generator) -> Latents:
    """Latents as they come over white noise of ``snr_db`` ``[B]``."""
    values, noise_var = awgn_channel(sent.values, snr_db, generator)
    return replace(sent, values=values, noise_var=noise_var)


def decoded_psnr_db(model: LoadedModel, pixels: np.ndarray, got: Latents) -> float:
    """PSNR in dB of what is decoded of ``got``, beside the picture that was sent."""
    decoded = model.codec.receive(got, equivalent_snr_db(got.noise), (pixels.shape[0], pixels.shape[1]))
    psnr = quality.psnr(to_uint8(decoded), torch.from_numpy(pixels).permute(2, 0, 1)[None])
    return float(torch.as_tensor(psnr).flatten()[0])


def image_of(pixels: np.ndarray) -> torch.Tensor:
    """A picture, uint8 ``[H, W, 3]``, as a codec takes it, ``[1, 3, H, W]`` in 0..1."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


# --- decision ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RateChoice:
    """rho: what to send at. psnr_db: expected there. reached: whether that keeps the promise, else rho is highest."""

    rho: float
    psnr_db: float
    reached: bool


class RateChooser:
    """Chooses the bandwidth ratio of each picture.

    Args:
        model: whose card has a table. method: "exact": decode in every case; None: the table's.

    Raises:
        ModelError: the model has one rate, or its card no table, or one of another prediction.
    """

    def __init__(self, model: LoadedModel, method: str | None = None):
        if len(model.codec.ratios()) < 2:
            raise ModelError(
                f"model '{model.card.name}' has one rate, rho = {model.codec.rho:.4f}, and nothing to choose: leave the "
                "target out, or take a model of several, such as photo-adaptive."
            )
        self.model, self.table = model, table_of(model.card)
        self.method = method or self.table.method
        if self.method == CLOSED:
            known = model.codec.forecast(np.zeros((64, 64, 3), np.uint8), 10.0, self.table.rhos)
            if known is None or known.features.shape[1] != len(self.table.correction):
                raise ModelError(
                    f"model '{model.card.name}': 'rates' in its card is of another prediction than this "
                    f"version's. Measure "
                    f"it: `python -m semcom_training.rates {model.card.name} --data FOLDER`."
                )

    def choose(
        self,
        pixels: np.ndarray,
        snr_db: float,
        target_psnr_db: float,
        allocated_db: float | None = None,
        at_least: float = 0.0,
    ) -> RateChoice:
        """The smallest ratio whose lower limit reaches the target.

        Args:
            pixels: uint8 ``[H, W, 3]``. snr_db: Es/N0 that the picture will meet at the least.
            allocated_db: what it is sent for, where others receive it too; None: ``snr_db``.
            at_least: no ratio below.

        Raises:
            ConfigError: a target or an SNR that is none.
        """
        needed = checked_target(target_psnr_db) + self.table.margin_db
        if not math.isfinite(snr_db):
            raise ConfigError(f"a rate is chosen for an SNR in dB, not {snr_db!r}")
        codec, size = self.model.codec, (pixels.shape[0], pixels.shape[1])
        rhos = [
            rho >= at_least and codec.admits(codec.latent_count(*size, rho), size) for rho in self.table.rhos
        ]
        first = rhos.index(True) if True in rhos else len(rhos) - 1
        low_db, high_db = self.table.snr_range_db
        # it is no worse where there is less noise than it was measured at
        snr_db = min(snr_db, max(high_db, low_db))
        if self.method == CLOSED and min(size) >= LEAST_SIDE and snr_db >= low_db - 1:
            expected = self.expected_db(pixels, snr_db, allocated_db)
            inside = [at for at in range(first, len(rhos)) if expected[at] >= needed[at]]
            at = inside[0] if inside else len(rhos) - 1
            return RateChoice(self.table.rhos[at], float(expected[at]), bool(inside))
        return self._search(pixels, snr_db, needed, first, allocated_db)

    def expected_db(self, pixels: np.ndarray, snr_db: float, allocated_db: float | None = None) -> np.ndarray:
        """PSNR in dB expected at each ratio of the table by the closed form, ``[R]``, never falling."""
        forecast = self.model.codec.forecast(pixels, snr_db, self.table.rhos, allocated_db)
        return np.maximum.accumulate(forecast.psnr_db + forecast.features @ np.array(self.table.correction))

    def _search(
        self, pixels, snr_db: float, needed: np.ndarray, first: int, allocated_db: float | None
    ) -> RateChoice:
        """By bisection: what is decoded of more symbols is better."""
        low, high, found = first - 1, len(needed) - 1, None
        while high - low > 1 or found is None:
            middle = high if found is None else (low + high) // 2
            rho = self.table.rhos[middle]
            psnr_db = exact_psnr_db(self.model, pixels, snr_db, rho, allocated_db=allocated_db)
            if psnr_db < needed[middle]:
                if found is None:
                    return RateChoice(self.table.rhos[-1], psnr_db, False)
                low = middle
            else:
                high, found = middle, psnr_db
        return RateChoice(self.table.rhos[high], found, True)
