# SPDX-License-Identifier: GPL-3.0-or-later
"""One choice of order, bits and codebook; and what a receiver makes of a picture whose header names it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from semcom.errors import ConfigError, PduError
from semcom.modem.header import mode_of, order_of
from semcom.modem.labels import BITS_PER_LATENT, bits_per_latent
from semcom.payload.quantised import payload
from semcom.payload.quantised.codebook import BEST, LEARNED, UNIFORM, CodebookSet


@dataclass(frozen=True)
class DigitalMode:
    """How quantised latents are sent.

    Attributes:
        order: points of the constellation. bits_per_latent: of a label; 0: as many as a symbol has, so that the
            bandwidth is the analog one. codebook: "uniform", "learned", or "best": learned where the model has it.

    Raises:
        ConfigError: a value that cannot be, naming those that can.
    """

    order: int
    bits_per_latent: int = 0
    codebook: str = BEST
    fails_whole: ClassVar[bool] = False

    def __post_init__(self):
        if mode_of(self.order) == 0:
            raise ConfigError("a digital mode needs a modulation order above 0; 0 is analog")
        if not self.bits_per_latent:
            object.__setattr__(self, "bits_per_latent", self.order.bit_length() - 1)
        if self.bits_per_latent not in BITS_PER_LATENT:
            raise ConfigError(
                f"{self.bits_per_latent} bits a latent: choose {', '.join(map(str, BITS_PER_LATENT))}, or 0 for as "
                "many as a symbol has"
            )
        if self.codebook not in (BEST, UNIFORM, LEARNED):
            raise ConfigError(f"codebook {self.codebook!r} is unknown; choose best, uniform or learned")

    @property
    def header_mode(self) -> int:
        """The number that burst headers carry."""
        return mode_of(self.order)

    @property
    def label(self) -> str:
        """In words, for tables and rows."""
        return f"quantised, order {self.order}"

    def send(self, latents: torch.Tensor, books: CodebookSet) -> torch.Tensor:
        """Latents ``[B, k]`` to symbols ``[B, S]``; see :func:`semcom.payload.quantised.payload.send`."""
        return payload.send(latents, self.order, books.of(self.bits_per_latent).to(latents.device))

    def send_points(self, latents: torch.Tensor, books: CodebookSet) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``send``, points and scale apart; see :func:`semcom.payload.quantised.payload.send_points`."""
        return payload.send_points(latents, self.order, books.of(self.bits_per_latent).to(latents.device))


def mode_from(order: int, bits_per_latent: int = 0, codebook: str = BEST) -> DigitalMode | None:
    """The mode of an order, or None for 0, analog.

    Raises:
        ConfigError: a value that cannot be, or bits and codebooks without an order.
    """
    if order:
        return DigitalMode(order, bits_per_latent, codebook)
    if bits_per_latent or codebook != BEST:
        raise ConfigError("bits a latent and codebooks are for a modulation order above 0: name one")
    return None


def over(channel, mode: DigitalMode, books: CodebookSet):
    """A symbol channel seen through a digital mode, for ``codec.evaluate`` and training.

    Args:
        channel: ``(symbols [B, S], snr_db, generator) -> (received, noise_var)``, see ``semcom.channel.symbols``.

    Returns:
        ``(latents [B, k], snr_db, generator) -> (latents, noise_var)`` as a decoder takes them.
    """

    def carry(latents, snr_db, generator=None):
        received, noise_var = channel(mode.send(latents, books), snr_db, generator)
        book = books.of(mode.bits_per_latent).to(latents.device)
        return payload.receive(received, noise_var, latents.shape[1], mode.order, book)

    return carry


def latents_of(
    symbols: torch.Tensor,
    noise_var: torch.Tensor,
    *,
    mode: int,
    model_hash: int,
    latent_count: int,
    books: Mapping[int, CodebookSet],
    steps: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What came of pictures ``[B, S]`` to latents and noise variances ``[B, k]``; analog ones as they are.

    Args:
        mode, model_hash: of their headers. latent_count: k of the codec. books: codebooks by such a hash.
        steps: as :func:`semcom.payload.quantised.payload.receive` takes them, of digital ones.

    Raises:
        PduError: the hash names none of them, or the symbols do not carry so many latents.
    """
    order = order_of(mode)
    if not order:
        return symbols, noise_var
    if model_hash not in books:
        raise PduError("digital latents of codebooks that are not here")
    bits = bits_per_latent(symbols.shape[1], latent_count, order)
    if bits is None:
        raise PduError(f"{symbols.shape[1]} symbols of order {order} do not carry {latent_count} latents")
    book = books[model_hash].of(bits).to(symbols.device)
    return payload.receive(symbols, noise_var, latent_count, order, book, steps)
