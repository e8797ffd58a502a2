# SPDX-License-Identifier: GPL-3.0-or-later
"""What a capture says about the transmitter: what was sent is encoded again, and what came is explained by it."""

from collections.abc import Callable

import torch

from semcom.channel.awgn import noise_power
from semcom.codec.base import BaseCodec
from semcom.codec.image.adapted import PASSES, Canceller
from semcom.codec.image.distortion import Distortion, PayloadGrid, distortion_terms
from semcom.modem import ofdm
from semcom_training.finetune.captured import Example, latents_of

_RIDGE = 1e-7  # of the mean power of the terms
_LOOKED_AT = 12  # pictures that say together what the encoder was given
_STEPS_DB = (4.0, 2.0, 1.0)  # in which that is looked for
_CLEAR = 20.0  # log-likelihood by which a picture must disagree with the others to get an SNR of its own


@torch.no_grad()
def encode_again(
    codec: BaseCodec, examples: list[Example], snr_db: float | None = None
) -> list[torch.Tensor]:
    """The latents ``[k]`` that were sent, for each example.

    Of a content-adaptive codec, everything that decides them arrived with the picture. Of others headers do not say
    which SNR the encoder was given. It is taken to be the one whose latents are nearest to what came,
    for all pictures together; a picture that clearly disagrees (feedback was on) is looked at by itself.

    Args:
        snr_db: what the encoder was given, where that is known.
    """
    if hasattr(codec, "send_again"):
        # map, order and scale came with the picture, and they are what was sent
        return [_sent_again(codec, example) for example in examples]
    if snr_db is not None:
        return [_encode(codec, example, snr_db) for example in examples]
    some = examples[:: max(1, len(examples) // _LOOKED_AT)][:_LOOKED_AT]
    common = _search(codec.snr_range_db, lambda snr: sum(_misfit(codec, e, snr) for e in some))
    out = []
    for example in examples:
        costs = {snr: _misfit(codec, example, snr) for snr in (common, common - 4, common + 4)}
        given = common
        if costs[common] - min(costs.values()) > _CLEAR:
            given = _search(codec.snr_range_db, lambda snr, e=example: _misfit(codec, e, snr))
        out.append(_encode(codec, example, given))
    return out


@torch.no_grad()
def fit_distortion(distortion: Distortion, examples: list[Example], sent: list[torch.Tensor]) -> None:
    """Sets the coefficients to those which explain the received latents best: weighted least squares, in place."""
    distortion.limit.fill_(_peak(distortion.profile, sent))

    def columns(at: int) -> torch.Tensor:
        grid = PayloadGrid(distortion.profile, len(sent[at]), sent[at].device)
        terms = distortion_terms(grid.put(sent[at][None]), distortion.profile, distortion.limit)
        return torch.stack([grid.take(term)[0] for term in terms])

    weights = _least_squares(examples, columns, [example.received for example in examples])
    distortion.coefficients.copy_(weights)


@torch.no_grad()
def fit_canceller(
    canceller: Canceller, examples: list[Example], sent: list[torch.Tensor], stride: int | None
) -> None:
    """Sets the coefficients pass by pass to those after which least is left, and measures what that is, in place.

    Args:
        stride: of the codec, pixels per side of a cell of the latent grid; None: it has no grid.
    """
    canceller.limit.fill_(_peak(canceller.modem, sent))
    wrong = [example.received - known for example, known in zip(examples, sent, strict=True)]
    for turn in range(PASSES):

        def columns(at: int, turn=turn) -> torch.Tensor:
            return canceller.terms(*_clean(canceller, examples[at], stride, turn), examples[at].grid(stride))[
                :, 0
            ]

        canceller.coefficients[turn] = _least_squares(examples, columns, wrong)
        canceller.removed[turn] = _removed(canceller, examples, sent, stride, turn + 1)


def _least_squares(examples: list[Example], columns: Callable, targets: list[torch.Tensor]) -> torch.Tensor:
    """Coefficients ``[terms, 2]`` of ``columns(at)`` ``[terms, k]`` that explain ``targets[at]`` ``[k]``.

    Each latent counts by what its noise variance leaves of it (lost ones not at all).
    """
    gram = target = 0.0
    for at, example in enumerate(examples):
        terms = columns(at).to(torch.complex128)
        weighted = terms.conj() / (0.01 + example.noise_var.double())
        gram = gram + weighted @ terms.T
        target = target + weighted @ targets[at].to(torch.complex128)
    ridge = _RIDGE * gram.diagonal().real.mean() * torch.eye(len(gram)).to(gram)
    return torch.view_as_real(torch.linalg.solve(gram + ridge, target)).float()


def _removed(canceller: Canceller, examples, sent, stride: int | None, passes: int) -> float:
    """Noise variance that the receiver reports, but that is no longer there after so many passes."""
    gone = weight = 0.0
    for example, known in zip(examples, sent, strict=True):
        came = ~torch.isinf(example.noise_var)
        cleaned, _ = _clean(canceller, example, stride, passes)
        reported = example.noise_var[came]
        weights = (1 + reported / reported.median()) ** -2  # faded carriers say little about it
        error = (cleaned[0] - known)[came].abs().square()
        gone, weight = gone + float((weights * (reported - error)).sum()), weight + float(weights.sum())
    return max(0.0, gone / weight)


def _clean(canceller: Canceller, example: Example, stride: int | None, passes: int):
    return canceller(example.received[None], example.noise_var[None], example.grid(stride), passes)


def _peak(profile, sent: list[torch.Tensor]) -> float:
    """The largest power of a sample of all that was sent."""
    peak = 0.0
    for latents in sent:
        grid = PayloadGrid(profile, len(latents), latents.device)
        samples = ofdm.modulate(grid.put(latents[None]), profile.fft_size, 0)
        peak = max(peak, float(samples.abs().square().max()))
    return peak


def _sent_again(codec, example: Example) -> torch.Tensor:
    return codec.send_again(example.original[None].float() / 255, latents_of([example]), example.size)[0]


def _encode(codec: BaseCodec, example: Example, snr_db: float) -> torch.Tensor:
    return codec.send(example.original[None].float() / 255, snr_db).values[0]


def _misfit(codec: BaseCodec, example: Example, snr_db: float) -> float:
    """Minus log-likelihood of what came, had the encoder been given ``snr_db``; ``inf`` outside of what it knows."""
    low, high = codec.snr_range_db
    if not low <= snr_db <= high:
        return float("inf")
    # the encoder may be of another arithmetic than the sender's
    floor = noise_power(30.0, like=example.received)
    error = (example.received - _encode(codec, example, snr_db)).abs().square()
    return float((error / (floor + example.noise_var)).sum())


def _search(within: tuple[float, float], cost: Callable[[float], float]) -> float:
    """The value in a range, to 1 dB, where the cost is least."""
    low, high = within
    tried = {snr: cost(snr) for snr in [*torch.arange(low, high, _STEPS_DB[0]).tolist(), high]}
    for step in _STEPS_DB[1:]:
        best = min(tried, key=tried.__getitem__)
        tried |= {snr: cost(snr) for snr in (best - step, best + step) if snr not in tried}
    return min(tried, key=tried.__getitem__)
