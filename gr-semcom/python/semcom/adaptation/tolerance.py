# SPDX-License-Identifier: GPL-3.0-or-later
"""How many wrong bits a model bears: the largest bit error rate of each order at which pictures stay as good as stated.

The loss of a picture is its PSNR behind an error-free link, less its PSNR with wrong bits, at the same bits per latent
and with the same receiver (soft demapping). An order bears a bit error rate if, by the calibration pictures, no more
than ``share`` of all pictures lose more than ``loss_db``: the Clopper-Pearson upper limit of that share, at
``confidence``, must stay below. The largest such rate is stored in the model's card.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from semcom.channel.awgn import awgn, noise_power
from semcom.equivalent_snr import equivalent_snr_db
from semcom.errors import ConfigError, ModelError
from semcom.kinds import quality
from semcom.kinds.image import to_uint8
from semcom.modulation import ORDERS, ber, snr_for_ber
from semcom.payload.quantised import UNIFORM, Codebook, DigitalMode, payload
from semcom.system.card import ModelCard
from semcom.system.zoo import LoadedModel

_STEP_DB = 0.25  # the SNR is searched on this grid,
_RATES = (0.3, 1e-6)  # between these bit error rates
_BATCH_PIXELS = 2**17
_NOISELESS_DB = 60.0


@dataclass(frozen=True)
class Tolerance:
    """What one model bears at one number of bits per latent.

    Attributes:
        bits_per_latent: q. codebook: "uniform" or "learned".
        encoder_snr_db: what the encoder was given throughout.
        loss_db: PSNR that a picture may lose. share: of pictures that may lose more. confidence: that they are no more.
        pictures: how many it was measured on. data: what they were.
        max_ber: bit error rate borne, of each order that bears any.
    """

    bits_per_latent: int
    codebook: str
    encoder_snr_db: float
    loss_db: float
    share: float
    confidence: float
    pictures: int
    data: str
    max_ber: dict[int, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a model card; its keys are strings, as in JSON."""
        return asdict(self) | {"max_ber": {str(order): rate for order, rate in self.max_ber.items()}}


_FIELDS = tuple(field.name for field in fields(Tolerance))
_NUMBERS = ("bits_per_latent", "encoder_snr_db", "loss_db", "share", "confidence", "pictures")


def tolerance_of(
    card: ModelCard,
    bits_per_latent: int,
    codebook: str = UNIFORM,
    loss_db: float | None = None,
    model: str | None = None,
) -> Tolerance:
    """What a model's card says that it bears.

    Args:
        codebook: "uniform" or "learned" (``zoo.codebook_name`` knows which of them "best" stands for).
        loss_db: the stated loss; None: that of the first table that fits.
        model: what commands call it; None: its name.

    Raises:
        ModelError: no table for these bits per latent, this codebook and this loss, or a broken one; it says how to
            measure one.
    """
    asked = "" if loss_db is None else f" --loss-db {loss_db:g}"
    cure = (
        f"semcom tolerance {model or card.name} --data FOLDER --bits-per-latent {bits_per_latent} "
        f"--codebook {codebook}{asked} --out CARD.json, and name CARD.json as the model"
    )
    tables = []
    for entry in _entries(card):
        table = _read(entry)
        if table is None:
            raise ModelError(
                f"model '{card.name}': a table under 'digital.tolerance' in its card is broken: it must have "
                f"{', '.join(_FIELDS)}, and bit error rates above 0 and below 0.5 of some of the orders "
                f"{', '.join(map(str, ORDERS))}. Measure it again with: {cure}."
            )
        tables.append(table)
    for table in tables:
        same = (table.bits_per_latent, table.codebook) == (bits_per_latent, codebook)
        if same and (loss_db is None or math.isclose(loss_db, table.loss_db)):
            return table
    there = [f"{t.bits_per_latent} bits ({t.codebook}) and {t.loss_db:g} dB" for t in tables]
    loss = "" if loss_db is None else f" and a loss of {loss_db:g} dB"
    raise ModelError(
        f"model '{card.name}': its card has no table of the errors that it tolerates at {bits_per_latent} bits per "
        f"latent ({codebook} codebook){loss}; it has {'; '.join(there) or 'none at all'}. Measure it with: {cure}."
    )


def broken_tables(card: ModelCard) -> int:
    """How many tables in a card cannot be used; ``store`` leaves them out."""
    return sum(_read(entry) is None for entry in _entries(card))


def _entries(card: ModelCard) -> list:
    return (card.digital or {}).get("tolerance", [])


def _read(entry: Any) -> Tolerance | None:
    """A table of a card; None: it is broken."""
    try:
        rates = {int(order): float(rate) for order, rate in entry["max_ber"].items()}
        table = Tolerance(**{**entry, "max_ber": rates})
        good = all(math.isfinite(getattr(table, name)) for name in _NUMBERS)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    borne = rates and all(order in ORDERS and 0 < rate < 0.5 for order, rate in rates.items())
    return table if good and borne else None


def upper_limit(bad: int, count: int, confidence: float) -> float:
    """Clopper-Pearson upper confidence limit, one-sided, of a share of which ``bad`` of ``count`` were seen."""
    if bad >= count:
        return 1.0
    low, high = bad / count, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(bad, count, middle) > 1 - confidence else (low, middle)
    return high


def least_pictures(share: float, confidence: float) -> int:
    """With fewer pictures, not even none beyond the loss shows that a share is kept."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - share))


class DigitalTrial:
    """Pictures of one size, encoded once, to be sent digitally over AWGN behind a perfect modem as often as wanted.

    Args:
        pictures: uint8 ``[N, H, W, 3]``.
        encoder_snr_db: what the encoder is given; None: the SNR of analog latents as uncertain as the quantised.

    Attributes:
        clean_db: PSNR in dB of each picture without errors, labels sent as bits, ``[N]``.
    """

    def __init__(
        self,
        model: LoadedModel,
        pictures: np.ndarray,
        bits_per_latent: int,
        codebook: str = UNIFORM,
        encoder_snr_db: float | None = None,
    ):
        self._model, self.bits_per_latent = model, bits_per_latent
        self._books = model.codebook_set(codebook)[1]
        self.codebook = self._books.name
        book = self._books.of(bits_per_latent)
        self.encoder_snr_db = quantiser_snr_db(book) if encoder_snr_db is None else float(encoder_snr_db)
        self._pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        self._step = max(_BATCH_PIXELS // math.prod(pictures.shape[1:3]), 1)
        with torch.inference_mode():
            parts = self._pixels.split(self._step)
            self._latents = torch.cat(
                [model.codec.encode(part.float() / 255, self.encoder_snr_db) for part in parts]
            )
        bitwise = next(order for order in ORDERS if order != 2**bits_per_latent)
        self.clean_db = self.psnr_db(bitwise, _NOISELESS_DB)

    @torch.inference_mode()
    def psnr_db(
        self, order: int, snr_db: float | np.ndarray, seed: int = 0, rows: np.ndarray | None = None
    ) -> np.ndarray:
        """PSNR in dB of each picture ``[n]``.

        Args:
            snr_db: Es/N0, a number or ``[n]``. rows: which pictures, ``[n]``; None: all.
        """
        chosen = torch.arange(len(self._pixels)) if rows is None else torch.as_tensor(rows)
        snr_db = torch.as_tensor(snr_db, dtype=torch.float32).expand(len(chosen))
        generator, out = torch.Generator().manual_seed(seed), []
        for some, given_db in zip(chosen.split(self._step), snr_db.split(self._step), strict=True):
            out.append(self._carry(self._latents[some], self._pixels[some], order, given_db, generator))
        return torch.cat(out).numpy() if out else np.empty(0)

    def _carry(self, latents, pixels, order, snr_db, generator) -> torch.Tensor:
        mode, size = DigitalMode(order, self.bits_per_latent, self.codebook), tuple(pixels.shape[-2:])
        symbols = mode.send(latents, self._books)
        noise_var = noise_power(snr_db, like=symbols)[:, None].expand(symbols.shape)
        received = payload.receive(
            awgn(symbols, snr_db, generator),
            noise_var,
            latents.shape[1],
            order,
            self._books.of(self.bits_per_latent),
        )
        decoded = self._model.codec.decode(received[0], equivalent_snr_db(received[1]), size, received[1])
        return quality.psnr(to_uint8(decoded), pixels)


def quantiser_snr_db(book: Codebook) -> float:
    """The SNR of analog latents that leaves as much uncertain as quantising does."""
    dimensions = 2 // book.points.shape[1]
    error = float((book.log_prior.exp() * book.spread).sum()) * dimensions
    return 10 * math.log10((1 - error) / error)


def measure(
    trial: DigitalTrial,
    card: ModelCard,
    data: str,
    loss_db: float = 1.0,
    share: float = 0.05,
    confidence: float = 0.95,
    progress: Callable[[int, float | None], None] | None = None,
    known: Mapping[int, float | None] = MappingProxyType({}),
) -> Tolerance:
    """What a model bears, by the pictures of ``trial``: calibration pictures, on which nothing is evaluated later.

    Args:
        data: what the pictures are, in words. progress: called after each order, with the bit error
            rate that it bears (None: none). known: orders with their rates, which are not measured again.

    Raises:
        ConfigError: too few pictures to show anything at that share and confidence; a loss that is not above 0.
        ModelError: no order bears so little loss.
    """
    least = least_pictures(share, confidence)
    if len(trial.clean_db) < least:
        raise ConfigError(
            f"{len(trial.clean_db)} pictures cannot show with a confidence of {confidence:g} that at most {share:.0%} "
            f"lose too much: give {least} or more."
        )
    if not 0 < loss_db < math.inf:
        raise ConfigError(f"the loss must be above 0 dB, not {loss_db!r}.")
    rates = {}
    for order in ORDERS:
        if order in known:
            rate = known[order]
        else:
            rate = _largest_rate(trial, order, loss_db, share, confidence)
            if progress:
                progress(order, rate)
        if rate is not None:
            rates[order] = rate
    if not rates:
        raise ModelError(
            f"model '{card.name}' bears no order at a loss of {loss_db:g} dB: allow more loss, or more bits per latent."
        )
    return Tolerance(
        bits_per_latent=trial.bits_per_latent,
        codebook=trial.codebook,
        encoder_snr_db=round(trial.encoder_snr_db, 2),
        loss_db=loss_db,
        share=share,
        confidence=confidence,
        pictures=len(trial.clean_db),
        data=data,
        max_ber=rates,
    )


def _largest_rate(
    trial: DigitalTrial, order: int, loss_db: float, share: float, confidence: float
) -> float | None:
    """By bisection of the SNR, as losses fall while it rises; None: the order bears no errors at all."""
    low_db, high_db = (snr_for_ber(order, rate) for rate in _RATES)

    def is_borne(step: int) -> bool:
        lost_db = trial.clean_db - trial.psnr_db(order, low_db + step * _STEP_DB, seed=order)
        return upper_limit(int((lost_db > loss_db).sum()), len(lost_db), confidence) <= share

    low, high = -1, math.ceil((high_db - low_db) / _STEP_DB)
    if not is_borne(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_borne(middle) else (middle, high)
    return float(ber(order, low_db + high * _STEP_DB))


def store(card: ModelCard, table: Tolerance) -> ModelCard:
    """The card with this table, which replaces one for the same bits per latent, codebook and loss, and broken ones."""

    def stays(old: Tolerance | None) -> bool:
        wanted = (table.bits_per_latent, table.codebook, table.loss_db)
        return old is not None and (old.bits_per_latent, old.codebook, old.loss_db) != wanted

    kept = [entry for entry in _entries(card) if stays(_read(entry))]
    return replace(card, digital=dict(card.digital or {}) | {"tolerance": [*kept, table.to_dict()]})


def _at_most(bad: int, count: int, share: float) -> float:
    """Probability of at most ``bad`` of ``count`` at a share between 0 and 1."""
    logs = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        + k * math.log(share) + (count - k) * math.log1p(-share)
        for k in range(bad + 1)
    ]  # fmt: skip
    return math.fsum(map(math.exp, logs))
