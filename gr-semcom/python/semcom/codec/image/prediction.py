# SPDX-License-Identifier: GPL-3.0-or-later
"""What quality the content-adaptive codec will reach at many rates: no map is chosen, nothing is sent, no network runs.

The energies of a picture's blocks are counted by variance once (as ``outline`` does, for one picture and fast: 1 ms for
256 x 256 pixels on a core); a rate more is a row more of sums over these counts. That is the closed form. What it leaves
out, the map, its classes and the networks, a linear correction learns from ``Forecast.features``.
"""

from dataclasses import dataclass

import numpy as np
import torch

from semcom.codec.image import allocation as closed
from semcom.codec.image import outline
from semcom.codec.image.content_plan import PlannedCodec, allocation_snr_db

#: pixels a side of blocks whose energies tell; how the smaller ones differ says how the picture is made
LARGE, SMALL = 32, 16
#: a float32 without so many of its bits is a variance in steps of 1/4 octave
_DROPPED_BITS = 21
_LOWEST, _HIGHEST = (int(np.float32(2.0**octave).view(np.int32)) >> _DROPPED_BITS for octave in (-20, 12))
_STEPS = _HIGHEST - _LOWEST + 1
#: places in the middle of every step, highest first
_VARIANCES = (
    ((np.arange(_HIGHEST, _LOWEST - 1, -1) << _DROPPED_BITS) + (1 << _DROPPED_BITS - 1))
    .astype(np.int32)
    .view(np.float32)
    .astype(np.float64)
)
#: a PSNR is of values rounded to eight bits
_ROUNDING = 1 / (12 * 255**2)
#: log2 of the ratios at which the expected PSNR describes the picture
_DESCRIBED = (-6.5, -4.0, -2.0)


@dataclass(frozen=True)
class Forecast:
    """psnr_db: by the closed form at each rate, ``[R]``. features: what a correction is linear in, ``[R, F]``."""

    psnr_db: np.ndarray
    features: np.ndarray


@torch.inference_mode()
def forecast(
    codec: PlannedCodec, pixels: np.ndarray, snr_db: float, rhos, allocated_db: float | None = None
) -> Forecast:
    """What a picture is expected to reach at each bandwidth ratio.

    Args:
        pixels: uint8 ``[H, W, 3]``. snr_db: Es/N0 in dB that it meets. rhos: ``[R]``, rising.
        allocated_db: what the sender expects, for a receiver that is not the one it sends for; None: ``snr_db``.
    """
    expected_db = snr_db if allocated_db is None else allocated_db
    code = closed.snr_code(allocation_snr_db(codec._clamped(torch.tensor([expected_db]))))
    noise = float(closed.code_noise(code)), 10 ** (-snr_db / 10)
    luma, colours = _planes(pixels)
    rows, columns = luma.shape
    rhos, count = np.asarray(rhos, np.float64), 3 * luma.numel()
    dimensions = np.array([2 * codec.latent_count(rows, columns, rho) for rho in rhos], np.float64)

    whole = _Zones.of(luma[None], colours, LARGE)
    # of the smaller blocks every other band is enough, beside the larger ones of the same
    luma, colours = (
        planes.unflatten(-2, (-1, LARGE))[..., ::2, :, :].flatten(-3, -2) for planes in (luma[None], colours)
    )
    share = 3 * luma.numel() / count
    counts = np.stack(
        [
            whole.counts(),
            whole.bands(rows // LARGE).counts() / share,
            _Zones.of(luma, colours, SMALL).counts() / share,
        ]
    )
    errors, unsent = _errors(counts, noise, dimensions)
    every, coarse, fine = -10 * np.log10(errors / count + _ROUNDING)
    picture = np.concatenate([whole.spectrum(), np.interp(_DESCRIBED, np.log2(rhos), every)])
    return Forecast(every, _features(every, coarse - fine, unsent[0], picture, snr_db, np.log2(rhos)))


def _planes(pixels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture's luminance ``[H, W]`` and colour differences ``[2, H, W]``, unscaled, at sides of whole large blocks;
    what is added mirrors the picture."""
    height, width = pixels.shape[:2]
    if height % LARGE or width % LARGE:
        pixels = np.pad(pixels, ((0, -height % LARGE), (0, -width % LARGE), (0, 0)), mode="symmetric")
    red, green, blue = torch.from_numpy(pixels).float().unbind(2)
    both, colours = red + blue, torch.empty(2, *red.shape)
    torch.sub(red, blue, out=colours[0])
    torch.sub(2 * green, both, out=colours[1])
    # mid-grey is no luminance
    return both.add_(green).sub_(3 * 127.5), colours


@dataclass(frozen=True)
class _Zones:
    """Mean energies of a coefficient in zones of octaves of both frequencies, float32.

    Attributes:
        luma: ``[blocks, zones, zones]``. colours: ``[2 * blocks, zones - 1, zones - 1]``, without the highest octave.
        rest: ``[2 * blocks]``, of all that is in it.
    """

    luma: np.ndarray
    colours: np.ndarray
    rest: np.ndarray

    @classmethod
    def of(cls, luma: torch.Tensor, colours: torch.Tensor, block: int) -> "_Zones":
        """Of planes ``[1, H, W]`` and ``[2, H, W]`` of pixels of 0..255."""
        half = block // 2
        whole = colours.square().view(-1, block, colours.shape[2]).sum(dim=1).view(-1, block).sum(dim=1)
        low = _energies(colours, block, half)
        rest = (whole - (low * _SIZES[half]).sum((1, 2))) / (block**2 - half**2)
        # of rounding
        rest = rest.clamp_min_(0)
        return cls(
            (_energies(luma, block, block) * _LUMA).numpy(),
            (low.view(2, -1) * _COLOURS).view(low.shape).numpy(),
            (rest.view(2, -1) * _COLOURS).flatten().numpy(),
        )

    def bands(self, rows: int) -> "_Zones":
        """Those of every other row of blocks."""

        def some(values: np.ndarray) -> np.ndarray:
            planes = 1 if values is self.luma else 2
            return values.reshape(planes, rows, -1, *values.shape[1:])[:, ::2].reshape(-1, *values.shape[1:])

        return _Zones(some(self.luma), some(self.colours), some(self.rest))

    def counts(self) -> np.ndarray:
        """How many coefficients have the variance of each step, ``[STEPS]``, highest first."""
        block = 1 << self.luma.shape[-1] - 1
        half = block // 2
        found = _histogram(self.luma, _SIZES[block]) + _histogram(self.colours, _SIZES[half])
        return found + _histogram(self.rest[:, None, None], np.full((1, 1), block**2 - half**2, np.float32))

    def spectrum(self) -> np.ndarray:
        """How the energy of luminance falls by octaves, and that of the colours, in logarithms."""
        luma, colours = self.luma.mean(axis=0), self.colours.mean(axis=0)
        octave = _OCTAVES[: len(luma), : len(luma)]
        found = [luma[octave == number].mean() for number in range(1, len(luma))]
        found += [colours[1:3, 1:3].mean(), colours[3:, 3:].mean(), self.rest.mean()]
        return np.log2(np.array(found) + 1e-9) / 4 + 3


#: 1 over the squared lengths of the rows that make luminance and colour differences, for pixels of 0..255
_LUMA = 1 / 3 / 255**2
_COLOURS = torch.tensor([[1 / 2], [1 / 6]]) / 255**2
_SIZES = {block: outline._sizes(block).numpy() for block in (SMALL // 2, SMALL, LARGE)}
_OCTAVES = np.maximum.outer(np.arange(8), np.arange(8))


def _energies(planes: torch.Tensor, block: int, kept: int) -> torch.Tensor:
    """Mean energy of a coefficient in each zone of the ``kept`` lowest frequencies of each block of ``[C, H, W]``,
    ``[C * blocks, zones, zones]``."""
    matrix, zones = closed.dct_matrix(block)[:kept], outline._zones(kept)
    width = planes.shape[2]
    energies = ((matrix @ planes.reshape(-1, block, width)).view(-1, block) @ matrix.T).square_()
    sums = (zones @ energies.view(-1, kept, width // block * kept)).view(-1, kept) @ zones.T
    # [rows, zones, columns, zones]
    sums = sums.view(-1, len(zones), width // block, len(zones)) / outline._sizes(kept)[:, None]
    return sums.transpose(1, 2).reshape(-1, len(zones), len(zones))


def _histogram(variances: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Counts of coefficients by their variance: float32 ``[blocks, zones, zones]``, each of so many."""
    steps = _HIGHEST - (
        np.ascontiguousarray(variances).view(np.int32).reshape(len(variances), -1) >> _DROPPED_BITS
    )
    np.clip(steps, 0, _STEPS - 1, out=steps)
    zones = steps.shape[1]
    # counted by zone first, so that the counts are whole numbers of one pass
    steps += np.arange(zones, dtype=np.int32) * _STEPS
    found = np.bincount(steps.ravel(), minlength=zones * _STEPS).reshape(zones, _STEPS)
    return sizes.ravel() @ found


def _errors(
    counts: np.ndarray, noise: tuple[float, float], dimensions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of squared errors, and the share of each that is of coefficients not sent, ``[W, R]`` each.

    Args:
        counts: ``[W, STEPS]``. noise: variance a dimension that is allocated for, and that is met.
        dimensions: ``[R]`` to send.
    """
    there = counts.any(axis=0)
    counts, variance = counts[:, None, there], _VARIANCES[there]
    allocated, met = noise
    dimensions = dimensions[:, None]
    sent = (dimensions - (counts.cumsum(axis=2) - counts)).clip(0, counts)
    root = np.sqrt(variance * allocated)
    slope = (dimensions + allocated * sent.cumsum(axis=2)) / (root * sent).cumsum(axis=2).clip(1e-30)
    # the lowest that still has power of its own decides
    last = np.where((root * slope > allocated) & (sent > 0), np.arange(len(root)), 0).max(axis=2)
    powers = (root * np.take_along_axis(slope, last[..., None], 2) - allocated).clip(0)
    unsent = (counts - sent) @ variance
    errors = unsent + (sent * met / (powers + met)) @ variance
    return errors, unsent / errors.clip(1e-30)


_MONOMIALS = np.array([(i, j, k) for i in range(4) for j in range(i, 4) for k in range(j, 4)]).T


def _features(psnr_db, apart_db, unsent, picture, snr_db: float, log_rho) -> np.ndarray:
    """Cubic in PSNR expected, rate and SNR; what describes the picture, times rate and SNR; and how the ways of
    expecting
    it differ, times all three."""
    level = (psnr_db - 28) / 6
    known = np.stack(
        [np.ones_like(level), log_rho / 4 + 1, np.full_like(level, snr_db / 10 - 1), level], axis=1
    )
    first, second, third = _MONOMIALS
    cubic = known[:, first] * known[:, second] * known[:, third]
    described = (picture[:, None] * known[:, None, :3]).reshape(len(level), -1)
    differing = np.stack([apart_db, unsent, unsent**2], axis=1)[:, :, None] * known[:, None, :]
    return np.concatenate([cubic, described, differing.reshape(len(level), -1)], axis=1)
