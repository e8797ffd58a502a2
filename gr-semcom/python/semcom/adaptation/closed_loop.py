# SPDX-License-Identifier: GPL-3.0-or-later
"""What feedback is worth: the same pictures and the same noise, the encoder given the SNR in different ways.

One picture is one burst; burst n crosses the air at ``trace_db[n]`` behind a perfect equaliser. The decoder knows what
it received, as in flight; only what the encoder is given differs between the arms.
"""

import math
from collections.abc import Callable

import numpy as np
import torch

from semcom import keys
from semcom.adaptation.feedback import SnrTracker
from semcom.air.fading import GRID, FadingTaps
from semcom.air.script import Tap
from semcom.channel.awgn import awgn, noise_power
from semcom.equivalent_snr import equivalent_snr_db
from semcom.kinds import quality
from semcom.kinds.image import to_uint8
from semcom.system.zoo import LoadedModel
from semcom.wire.numbering import Numbering

_BATCH_PIXELS = 2**18

# the true SNR in dB of each burst, to what the encoder is given
Arm = Callable[[np.ndarray], np.ndarray]


def ramp_db(count: int, period: int = 128, high_db: float = 20.0, low_db: float = 0.0) -> np.ndarray:
    """SNR of ``count`` bursts: evenly from ``high_db`` down to ``low_db`` and up again within ``period`` bursts."""
    return low_db + (high_db - low_db) * np.abs(2 * (np.arange(count) % period) / period - 1)


def rayleigh_db(count: int, mean_db: float, doppler: float, seed: int) -> np.ndarray:
    """SNR of ``count`` bursts on one Rayleigh fading path with Jakes' spectrum.

    Args:
        doppler: largest Doppler shift, in cycles per burst.
    """
    taps = FadingTaps([Tap(0, 0.0)], np.random.default_rng(seed))
    gain = taps.process(np.ones(count * GRID, np.complex64), doppler / GRID)[::GRID]
    return mean_db + 20 * np.log10(np.maximum(np.abs(gain), 1e-3))


def genie() -> Arm:
    """The encoder knows the SNR that its burst will meet."""
    return lambda trace_db: trace_db.copy()


def open_loop(snr_db: float) -> Arm:
    """Nothing comes back: the encoder always assumes ``snr_db``."""
    return lambda trace_db: np.full(len(trace_db), float(snr_db))


def closed_loop(
    delay: int, *, start_db: float = 10.0, stderr_db: float = 0.4, burst_s: float = 0.02, seed: int = 0
) -> Arm:
    """The estimate of burst n, off by ``stderr_db``, comes before burst n + ``delay``, through ``SnrTracker``.

    Delay 0 is a limit that no link reaches: a report that is there before the burst it is about.

    Args:
        start_db: assumed before the first report. burst_s: seconds between bursts.
    """

    def given(trace_db: np.ndarray) -> np.ndarray:
        now_s, numbering, given_db = 0.0, Numbering(session=seed), []
        tracker = SnrTracker(clock=lambda: now_s)
        seen_db = trace_db + stderr_db * np.random.default_rng(seed).standard_normal(len(trace_db))
        for burst in range(len(trace_db)):
            now_s = burst * burst_s
            if burst >= delay:
                report = {keys.SNR_DB: float(seen_db[burst - delay]), keys.SNR_STDERR_DB: stderr_db}
                tracker.hear(report | numbering.next())
            belief = tracker.belief()
            given_db.append(start_db if belief is None else belief.snr_db)
        return np.array(given_db)

    return given


@torch.inference_mode()
def psnr_db(
    model: LoadedModel, pictures: np.ndarray, trace_db: np.ndarray, arm: Arm, seed: int
) -> np.ndarray:
    """PSNR in dB of each picture ``[N]``.

    Args:
        pictures: uint8 ``[N, H, W, 3]``, one a burst. trace_db: the SNR that each meets, ``[N]``.
        seed: of the noise: the same for all arms, so that their differences are not its.
    """
    given_db, size = arm(trace_db), pictures.shape[1:3]
    generator, out = torch.Generator().manual_seed(seed), []
    step = max(_BATCH_PIXELS // math.prod(size), 1)
    for start in range(0, len(pictures), step):
        some = slice(start, start + step)
        pixels = torch.from_numpy(pictures[some]).permute(0, 3, 1, 2)
        snr_db = torch.from_numpy(trace_db[some]).float()
        latents = model.codec.encode(pixels.float() / 255, torch.from_numpy(given_db[some]).float())
        received = awgn(latents, snr_db, generator)
        noise_var = noise_power(snr_db, like=latents)[:, None].expand_as(latents.real)
        decoded = model.codec.decode(received, equivalent_snr_db(noise_var), size, noise_var)
        out.append(quality.psnr(to_uint8(decoded), pixels).numpy())
    return np.concatenate(out)


def standard_error(values: np.ndarray, block: int = 16) -> float:
    """Of the mean of a series whose neighbours are alike, as in fading: from the means of its blocks."""
    block = max(min(block, len(values) // 4), 1)
    means = values[: len(values) // block * block].reshape(-1, block).mean(1)
    return float(means.std(ddof=1) / math.sqrt(len(means)))


def crops(pictures: list[np.ndarray], count: int, side: int, shrink: int, seed: int) -> np.ndarray:
    """Random squares, each pixel the mean of ``shrink`` by ``shrink``: uint8 ``[count, side, side, 3]``."""
    random, out = np.random.default_rng(seed), []
    for number in range(count):
        pixels = pictures[number % len(pictures)]
        wide = side * shrink
        row, column = (random.integers(0, length - wide + 1) for length in pixels.shape[:2])
        square = pixels[row : row + wide, column : column + wide].astype(np.float32)
        out.append(square.reshape(side, shrink, side, shrink, 3).mean((1, 3)).round().astype(np.uint8))
    return np.stack(out)
