# SPDX-License-Identifier: GPL-3.0-or-later
"""Latents to payload symbols and back: quantised, labelled, mapped; demapped to their posterior."""

import numpy as np
import torch

from semcom.cached import cached_tensors
from semcom.errors import PduError
from semcom.modem.labels import symbol_count
from semcom.modulation import constellation, map_bits, unpack_bits
from semcom.payload.quantised import quantiser
from semcom.payload.quantised.codebook import Codebook, alphabet
from semcom.security import ring

_SEED_WHITENING = 15
_GAIN_RANGE = (0.9, 1.1)  # of the last correction of power: what a receiver need not know of


def send(latents: torch.Tensor, order: int, book: Codebook) -> torch.Tensor:
    """Latents ``[B, k]`` of mean power 1 a row to symbols ``[B, S]`` of mean power 1, S = ceil(k q / log2 order).

    Where a label is one symbol, codebook and constellation keep each other's neighbours, and latents near each other
    go out as symbols near each other. Otherwise labels go out as bits, whitened by a fixed sequence, so that all points
    of the constellation are equally likely.
    """
    points, scale = send_points(latents, order, book)
    return points * scale


def send_points(latents: torch.Tensor, order: int, book: Codebook) -> tuple[torch.Tensor, torch.Tensor]:
    """As :func:`send`, apart: points of the constellation ``[B, S]``, and what a row is multiplied with, ``[B, 1]``."""
    gain = 1.0
    if order == 2**book.bits:
        labels = quantiser.quantise_to_power(latents, book)
        gain = book.gain
        symbols = quantiser.join(alphabet(book.bits).to(latents.real)[labels])
    else:
        bits = unpack_bits(quantiser.quantise(latents, book), book.element_bits)
        wanted = symbol_count(latents.shape[1], book.bits, order) * constellation(order).bits
        bits = torch.nn.functional.pad(bits, (0, wanted - bits.shape[1]))
        symbols = map_bits(bits ^ _whitening(wanted).to(bits), order)
    power = (gain * symbols).abs().square().mean(dim=1, keepdim=True)
    return symbols, gain * power.rsqrt().clamp(*_GAIN_RANGE)


def receive(
    symbols: torch.Tensor,
    noise_var: torch.Tensor,
    latent_count: int,
    order: int,
    book: Codebook,
    steps: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Received symbols ``[B, S]`` and their noise variances (inf: lost) to latents and noise variances ``[B, k]``.

    Args:
        steps: ``[B, S, 2]`` of a key stream that was added (``security.ring``); None: none was.

    Raises:
        PduError: so many symbols do not carry so many latents.
    """
    if symbols.shape[1] != symbol_count(latent_count, book.bits, order):
        raise PduError(
            f"{symbols.shape[1]} symbols of order {order} do not carry {latent_count} latents of {book.bits} bits"
        )
    if order == 2**book.bits:

        def likelihood(first, last):
            some = symbols[:, first:last], noise_var[:, first:last]
            if steps is None:
                return quantiser.symbol_likelihood(*some, book)
            return ring.likelihood(*some, steps[:, first:last], order)

    else:
        ratios = ring.soft_demap(symbols, noise_var, steps, order).flatten(1)
        ratios = ratios * (1 - 2 * _whitening(ratios.shape[1]).to(ratios))
        ratios = ratios[:, : latent_count * book.bits].unflatten(1, (latent_count, -1, book.element_bits))

        def likelihood(first, last):
            return quantiser.bit_likelihood(ratios[:, first:last].flatten(1, 2), book)

    return quantiser.chunked_posterior(likelihood, latent_count, book)


@cached_tensors(8)
def _whitening(count: int) -> torch.Tensor:
    """Bits that both ends add, from a stream that numpy has frozen. ``[count]`` int64."""
    return torch.from_numpy(np.random.RandomState(_SEED_WHITENING).randint(0, 2, count))
