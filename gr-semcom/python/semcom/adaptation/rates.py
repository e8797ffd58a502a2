# SPDX-License-Identifier: GPL-3.0-or-later
"""How well quality can be predicted, and what margin keeps the promise of a target (``semcom.system.rates``)."""

import hashlib
import math
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from semcom.adaptation.tolerance import least_pictures, upper_limit
from semcom.errors import ConfigError, ModelError
from semcom.system.card import ModelCard
from semcom.system.rates import CLOSED, EXACT, RateTable, decoded_psnr_db, exact_psnr_db, image_of, over_awgn
from semcom.system.zoo import LoadedModel

#: how much the correction's weights, of features of deviation 1, are held down: of these what predicts best
_RIDGES = [10**power for power in np.arange(-1, 4, 0.5)]
_FOLDS = 5
_LEAST_SIGMA_DB = 0.05
_QUANTILES = [step / 10 for step in range(61)]


@dataclass(frozen=True)
class RateTrial:
    """Pictures sent at every ratio, each at one SNR.

    Attributes:
        rhos: ``[R]``. snr_db: ``[N]``. true_db: PSNR ``[N, R]``; NaN: not sent at that ratio.
        expected_db: before the correction ``[N, R]``. given: features ``[N, R, F]``, the first of them 1; F is 0 of the
            exact method.
    """

    rhos: list[float]
    snr_db: np.ndarray
    true_db: np.ndarray
    expected_db: np.ndarray
    given: np.ndarray


def ratios_at(model: LoadedModel, size: tuple[int, int]) -> list[float]:
    """Ratios at which a picture (height, width) can be sent. Raises ModelError: there is nothing to choose."""
    codec = model.codec
    rhos = [rho for rho in codec.ratios() if codec.admits(codec.latent_count(*size, rho), size)]
    if len(rhos) < 2:
        raise ModelError(f"model '{model.card.name}' has one rate at this size: there is nothing to choose.")
    return rhos


def seed_of(pixels: np.ndarray) -> int:
    """A number that a picture always has."""
    return int(hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:8], 16)


def sent_db(
    model: LoadedModel,
    pixels: np.ndarray,
    snr_db: float,
    rhos: list[float],
    draw: int = 0,
    wanted: list[bool] | None = None,
) -> list[float | None]:
    """PSNR in dB of a picture, uint8 ``[H, W, 3]``, sent at each ratio.

    Args:
        draw: of the noise. wanted: ``[R]``, at which ratios; the others are None.
    """
    first = seed_of(pixels) + 1000 * draw
    return [
        exact_psnr_db(model, pixels, snr_db, rho, first + number)
        if wanted is None or wanted[number]
        else None
        for number, rho in enumerate(rhos)
    ]


def trial_of(
    model: LoadedModel,
    pictures: list[np.ndarray],
    snr_db: np.ndarray,
    true_db: np.ndarray,
    rhos: list[float],
    again_db: np.ndarray | None = None,
) -> RateTrial:
    """What is predicted of pictures beside what was measured of them (``sent_db``).

    Args:
        again_db: of another draw of the noise ``[N, R]``: what a codec without a closed form predicts.
    """
    expected, given = [], []
    for number, (pixels, snr) in enumerate(zip(pictures, snr_db)):
        forecast = model.codec.forecast(pixels, float(snr), rhos)
        if forecast is not None:
            expected.append(forecast.psnr_db)
            given.append(forecast.features)
        else:
            assert again_db is not None
            expected.append(again_db[number])
            given.append(np.zeros((len(rhos), 0)))
    return RateTrial(rhos, *map(np.array, (snr_db, true_db, expected, given)))


def measure(
    trial: RateTrial,
    data: str,
    fit: RateTrial | None = None,
    fitted: str = "",
    groups: np.ndarray | None = None,
    share: float = 0.05,
    confidence: float = 0.95,
) -> RateTable:
    """Fits the correction to one set of pictures, and chooses by another how strongly.

    The promise is calibrated by that other set, and by those of the first as fits without them predict them.

    Args:
        trial: of the pictures that choose, ``data`` in words. fit: of those that are fitted to, ``fitted`` in words;
            None: there is nothing to correct.
        groups: ``[N]`` which of several sets each of those is of: sets are then left out as a whole, so that the margin
            holds for photographs of another kind, too. None: every fifth picture is.

    Raises:
        ConfigError: too few pictures to show anything, or none to fit to. ModelError: no margin keeps the promise.
    """
    count = len(trial.true_db) + (len(fit.true_db) if fit else 0)
    if count < least_pictures(share, confidence):
        raise ConfigError(
            f"{count} pictures cannot show with a confidence of {confidence:g} that at most {share:.0%} are below their "
            f"target: give {least_pictures(share, confidence)} or more."
        )
    closed = trial.given.shape[2] > 0
    weights = np.zeros(0)
    if closed:
        if fit is None:
            raise ConfigError(
                "the closed form's correction is fitted to photographs other than those that choose how strongly: "
                "give some (--fit FOLDER)."
            )
        found = [(ridge, _fitted(fit, ridge)) for ridge in _RIDGES]
        ridge, weights = min(
            found, key=lambda some: np.nanmean(np.abs(trial.true_db - corrected(trial, some[1])))
        )
        true, expected = (
            np.concatenate(both)
            for both in (
                (trial.true_db, fit.true_db),
                (corrected(trial, weights), _left_out(fit, ridge, groups)),
            )
        )
    else:
        true, expected = trial.true_db, corrected(trial, weights)
    error = true - expected
    sigma = np.maximum(np.sqrt(np.nanmean(error**2, axis=0)), _LEAST_SIGMA_DB)
    there = np.isfinite(error)
    for quantile in _QUANTILES:
        # of the worst targets, those that a ratio is just expected to reach; between two ratios more is sent than needed
        below = ((error < -quantile * sigma) & there).sum(axis=1) / there.sum(axis=1)
        # the ratios of a picture are not as many pictures: their mean, rounded up, counts
        if upper_limit(math.ceil(below.sum()), count, confidence) <= share:
            break
    else:
        raise ModelError(
            "no margin keeps the promise: the predictions are too far off, or the pictures too few."
        )
    return RateTable(
        method=CLOSED if closed else EXACT,
        rhos=list(trial.rhos),
        correction=[float(f"{weight:.6g}") for weight in weights],
        sigma_db=[round(float(s), 4) for s in sigma],
        quantile=quantile,
        mean_error_db=round(float(np.nanmean(np.abs(error))), 4),
        share=share,
        confidence=confidence,
        snr_range_db=[round(float(trial.snr_db.min()), 1), round(float(trial.snr_db.max()), 1)],
        pictures=count,
        data=data,
        fitted=fitted if closed else "",
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
    for target in _within_reach(trial.true_db, draws):
        late, at = missed(trial.true_db, expected - table.margin_db, target)
        below.append(late.mean())
        sent.append(rhos[at].mean())
        needed.append(rhos[missed(trial.true_db, trial.true_db, target)[1]].mean())
    error_db = np.abs(trial.true_db - expected).mean(axis=0)
    means = (float(np.mean(some)) for some in (below, sent, needed))
    return RateCheck(error_db, trial.true_db.mean(axis=0), *means)


def _within_reach(true_db: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Draws ``[..., N]`` of 0..1 to targets in dB between what the lowest and what the highest ratio reach, where there
    is something to choose."""
    low, high = np.nanmin(true_db, axis=1), np.nanmax(true_db, axis=1)
    return low + (high - low) * draws


def corrected(trial: RateTrial, weights: np.ndarray) -> np.ndarray:
    """Predictions ``[N, R]``, never falling with the rate."""
    return np.maximum.accumulate(trial.expected_db + trial.given @ weights, axis=1)


def missed(true_db: np.ndarray, limit_db: np.ndarray, target_db: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures that end up below a target that was said to be reached ``[N]`` bool, and which ratio each had ``[N]``.

    Args:
        true_db, limit_db: PSNR and its lower limit ``[N, R]``; NaN: not to be chosen. target_db: ``[N]``.
    """
    inside = (limit_db >= target_db[:, None]) & np.isfinite(true_db)
    at = np.where(inside.any(axis=1), inside.argmax(axis=1), inside.shape[1] - 1)
    got = np.take_along_axis(true_db, at[:, None], axis=1)[:, 0]
    return inside.any(axis=1) & (got < target_db), at


def _left_out(trial: RateTrial, ridge: float, groups: np.ndarray | None = None) -> np.ndarray:
    """Predictions of pictures ``[N, R]``, each by a fit to others."""
    expected = trial.expected_db.copy()
    if groups is None or len(set(groups.tolist())) < 2:
        groups = np.arange(len(expected)) % _FOLDS
    for group in set(groups.tolist()):
        out = groups == group
        rest = replace(
            trial, true_db=trial.true_db[~out], expected_db=trial.expected_db[~out], given=trial.given[~out]
        )
        expected[out] = corrected(trial, _fitted(rest, ridge))[out]
    return expected


def _fitted(trial: RateTrial, ridge: float) -> np.ndarray:
    """Weights of the features, the first of which is 1."""
    wanted, given = (trial.true_db - trial.expected_db).ravel(), trial.given.reshape(-1, trial.given.shape[2])
    there = np.isfinite(wanted)
    wanted, given = wanted[there], given[there, 1:]
    centre, width = given.mean(axis=0), given.std(axis=0) + 1e-9
    scaled = (given - centre) / width
    normal = scaled.T @ scaled + ridge * np.eye(given.shape[1])
    weights = np.linalg.solve(normal, scaled.T @ (wanted - wanted.mean())) / width
    return np.concatenate([[wanted.mean() - weights @ centre], weights])


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
