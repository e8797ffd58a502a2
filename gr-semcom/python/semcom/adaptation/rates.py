# SPDX-License-Identifier: GPL-3.0-or-later
"""How well quality can be predicted, and what margin keeps the promise of a target (``semcom.system.rates``)."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from semcom.adaptation.tolerance import least_pictures, upper_limit
from semcom.errors import ConfigError, ModelError
from semcom.system.card import ModelCard
from semcom.system.rates import (
    CLOSED,
    EXACT,
    RateTable,
    closed_psnr_db,
    decoded_psnr_db,
    exact_psnr_db,
    image_of,
    over_awgn,
)
from semcom.system.zoo import LoadedModel

# strong: with less of it the fit to 100 photographs does not hold for others
_RIDGE = 50.0
_FOLDS = 5
_LEAST_SIGMA_DB = 0.05
_QUANTILES = [step / 10 for step in range(61)]


@dataclass(frozen=True)
class RateTrial:
    """Pictures sent at every ratio, each at one SNR.

    Attributes:
        rhos: ``[R]``. snr_db: ``[N]``. true_db: PSNR ``[N, R]``.
        expected_db: before the correction ``[N, R]``. given: features ``[N, R, F]``; F is 0 of the exact method.
    """

    rhos: list[float]
    snr_db: np.ndarray
    true_db: np.ndarray
    expected_db: np.ndarray
    given: np.ndarray


def try_out(
    model: LoadedModel,
    pictures: np.ndarray,
    snr_range_db=(0.0, 20.0),
    seed: int = 0,
    progress: Callable[[], None] | None = None,
) -> RateTrial:
    """Sends ``pictures`` (uint8 ``[N, H, W, 3]``) at every ratio of a codec, each at an SNR drawn from the range."""
    codec, size = model.codec, pictures.shape[1:3]
    rhos = [rho for rho in codec.ratios() if codec.admits(codec.latent_count(*size, rho), size)]
    if len(rhos) < 2:
        raise ModelError(f"model '{model.card.name}' has one rate at this size: there is nothing to choose.")
    snr_db = np.random.default_rng(seed).uniform(*snr_range_db, len(pictures))
    true, expected, given = [], [], []
    for number, (pixels, snr) in enumerate(zip(pictures, snr_db)):
        true.append([exact_psnr_db(model, pixels, snr, rho, seed + 2 * number) for rho in rhos])
        if codec.expected_errors(image_of(pixels), snr, rhos[-1:]) is None:
            expected.append([exact_psnr_db(model, pixels, snr, rho, seed + 2 * number + 1) for rho in rhos])
            given.append(np.zeros((len(rhos), 0)))
        else:
            plain, columns = closed_psnr_db(model, pixels, snr, rhos)
            expected.append(plain)
            given.append(columns)
        if progress:
            progress()
    return RateTrial(rhos, snr_db, *map(np.array, (true, expected, given)))


def measure(
    trial: RateTrial, data: str, share: float = 0.05, confidence: float = 0.95, seed: int = 0
) -> RateTable:
    """Fits the correction, and calibrates the promise by predictions of pictures that were left out of the fit.

    Raises:
        ConfigError: too few pictures to show anything. ModelError: no margin keeps the promise.
    """
    count = len(trial.true_db)
    if count < least_pictures(share, confidence):
        raise ConfigError(
            f"{count} pictures cannot show with a confidence of {confidence:g} that at most {share:.0%} are below their "
            f"target: give {least_pictures(share, confidence)} or more."
        )
    apart = trial.expected_db.copy()
    for fold in range(_FOLDS):
        out = np.arange(count) % _FOLDS == fold
        apart[out] = corrected(trial, _fitted(trial, ~out))[out]
    error = trial.true_db - apart
    sigma = np.maximum(np.sqrt((error**2).mean(axis=0)), _LEAST_SIGMA_DB)
    random = np.random.default_rng(seed)
    targets = _within_reach(trial, random.uniform(0, 1, (16, count)))
    for quantile in _QUANTILES:
        below = [missed(trial.true_db, apart - quantile * sigma, target)[0] for target in targets]
        # 16 targets a picture are not 16 pictures: their mean, rounded up, counts
        if upper_limit(math.ceil(np.mean([b.sum() for b in below])), count, confidence) <= share:
            break
    else:
        raise ModelError(
            "no margin keeps the promise: the predictions are too far off, or the pictures too few."
        )
    closed = trial.given.shape[2] > 0
    return RateTable(
        method=CLOSED if closed else EXACT,
        rhos=list(trial.rhos),
        correction=[round(float(w), 6) for w in _fitted(trial, np.ones(count, bool))],
        sigma_db=[round(float(s), 4) for s in sigma],
        quantile=quantile,
        mean_error_db=round(float(np.abs(error).mean()), 4),
        share=share,
        confidence=confidence,
        snr_range_db=[round(float(trial.snr_db.min()), 1), round(float(trial.snr_db.max()), 1)],
        pictures=count,
        data=data,
    )


@dataclass(frozen=True)
class RateCheck:
    """What a table does for pictures that it was not made from.

    Attributes:
        error_db: mean absolute error of the prediction ``[R]``. true_db: mean PSNR ``[R]``.
        below: share of pictures below a target said to be reached. rho, oracle_rho: mean ratio chosen, and that of a
            choice that knows every PSNR and needs no margin.
    """

    error_db: np.ndarray
    true_db: np.ndarray
    below: float
    rho: float
    oracle_rho: float


def check(trial: RateTrial, table: RateTable, targets: int = 32, seed: int = 0) -> RateCheck:
    """Holds a table against other pictures, each with so many ``targets``."""
    expected, rhos = corrected(trial, np.array(table.correction)), np.array(trial.rhos)
    draws = np.random.default_rng(seed).uniform(0, 1, (len(expected), targets)).T
    below, sent, needed = [], [], []
    for target in _within_reach(trial, draws):
        late, at = missed(trial.true_db, expected - table.margin_db, target)
        below.append(late.mean())
        sent.append(rhos[at].mean())
        needed.append(rhos[missed(trial.true_db, trial.true_db, target)[1]].mean())
    error_db = np.abs(trial.true_db - expected).mean(axis=0)
    means = (float(np.mean(some)) for some in (below, sent, needed))
    return RateCheck(error_db, trial.true_db.mean(axis=0), *means)


def _within_reach(trial: RateTrial, draws: np.ndarray) -> np.ndarray:
    """Draws ``[..., N]`` of 0..1 to targets in dB between what the lowest and what the highest ratio reach, where there
    is something to choose."""
    low, high = trial.true_db[:, 0], trial.true_db[:, -1]
    return low + (high - low) * draws


def corrected(trial: RateTrial, weights: np.ndarray) -> np.ndarray:
    """Predictions ``[N, R]``, never falling with the rate."""
    return np.maximum.accumulate(trial.expected_db + trial.given @ weights, axis=1)


def missed(true_db: np.ndarray, limit_db: np.ndarray, target_db: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures that end up below a target that was said to be reached ``[N]`` bool, and which ratio each had ``[N]``.

    Args:
        true_db, limit_db: PSNR and its lower limit ``[N, R]``. target_db: ``[N]``.
    """
    inside = limit_db >= target_db[:, None]
    at = np.where(inside.any(axis=1), inside.argmax(axis=1), inside.shape[1] - 1)
    got = np.take_along_axis(true_db, at[:, None], axis=1)[:, 0]
    return inside.any(axis=1) & (got < target_db), at


def _fitted(trial: RateTrial, rows: np.ndarray) -> np.ndarray:
    given = np.concatenate(trial.given[rows])
    wanted = (trial.true_db - trial.expected_db)[rows].ravel()
    return np.linalg.solve(given.T @ given + _RIDGE * np.eye(given.shape[1]), given.T @ wanted)


@torch.inference_mode()
def refined_psnr_db(
    model: LoadedModel, pixels: np.ndarray, snr_db: float, first: float, whole: float, seed: int = 0
) -> tuple[float, float, float]:
    """PSNR in dB of a picture at the ratio ``first``, refined to ``whole``, and sent at ``whole`` once."""
    image, codec = image_of(pixels), model.codec
    size, generator = (pixels.shape[0], pixels.shape[1]), torch.Generator().manual_seed(seed)
    snr = torch.tensor([snr_db], dtype=torch.float32)

    sent = codec.send(image, snr, rho=first)
    got = over_awgn(sent, snr, generator)
    part = codec.refine(image, sent, codec.latent_count(*size, whole) - sent.values.shape[1])
    refined = replace(got, later=(over_awgn(part, snr, generator),))
    once = over_awgn(codec.send(image, snr, rho=whole), snr, generator)
    alone_db, refined_db, once_db = (decoded_psnr_db(model, pixels, each) for each in (got, refined, once))
    return alone_db, refined_db, once_db


def store(card: ModelCard, table: RateTable) -> ModelCard:
    """The card with this table in place of its own."""
    return replace(card, rates=asdict(table))
