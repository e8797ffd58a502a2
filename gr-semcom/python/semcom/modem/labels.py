# SPDX-License-Identifier: GPL-3.0-or-later
"""How many payload symbols the labels of quantised latents take, and back."""

from semcom.modem.header import MAX_BITS_PER_LATENT

BITS_PER_LATENT = (1, 2, 3, 4, 6, MAX_BITS_PER_LATENT)


def symbol_count(latents: int, bits: int, order: int) -> int:
    """Symbols of ``order`` points for ``latents`` labels of ``bits`` bits: ``ceil(latents bits / log2 order)``."""
    return -(-latents * bits // (order.bit_length() - 1))


def bits_per_latent(symbols: int, latents: int, order: int) -> int | None:
    """Bits a label that make ``latents`` labels fill ``symbols`` symbols; None: no such number exists.

    The header has no field for it: the receiver knows ``latents`` from the model and the picture's size.
    """
    bits = symbols * (order.bit_length() - 1) // latents
    return bits if bits in BITS_PER_LATENT and symbol_count(latents, bits, order) == symbols else None
