# SPDX-License-Identifier: GPL-3.0-or-later
"""Keyed scrambling of payload symbols: order, and quarter turn or reflection of each, drawn from ChaCha20.

Exact in floating point: what comes out is bit by bit what went in. What it does not hide: how many symbols there are,
and the collection of their magnitudes {|I|, |Q|}.
"""

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20


def key_stream(stream_key: bytes, count: int) -> bytes:
    """``count`` bytes of an item's key stream. The nonce is zero: a stream key is for one item, once."""
    return Cipher(ChaCha20(stream_key, bytes(16)), mode=None).encryptor().update(bytes(count))


def scramble(symbols: torch.Tensor, stream_key: bytes) -> torch.Tensor:
    """``[k]`` symbols in the order of the key, each turned or reflected, complex64."""
    order, drawn = _drawn(stream_key, len(symbols))
    words = _words(symbols)[order.numpy()]
    words ^= _signs(drawn)
    return _symbols(_exchanged(words, drawn), symbols)


def unscramble(
    symbols: torch.Tensor, noise_var: torch.Tensor, stream_key: bytes
) -> tuple[torch.Tensor, torch.Tensor]:
    """The inverse of ``scramble``, of symbols and their noise variances ``[k]``."""
    order, drawn = _drawn(stream_key, len(symbols))
    words = _exchanged(_words(symbols), drawn)
    words ^= _signs(drawn)
    back = _symbols(words, symbols)
    order = order.to(symbols.device)
    return (
        torch.empty_like(back).index_copy_(0, order, back),
        torch.empty_like(noise_var).index_copy_(0, order, noise_var),
    )


def _drawn(stream_key: bytes, count: int) -> tuple[torch.Tensor, np.ndarray]:
    """Where each symbol comes from, and numbers ``[count]`` uint32 whose last 3 bits say what is done to it.

    The order is that of the numbers, of which the few that are equal keep theirs.
    """
    drawn = np.frombuffer(bytearray(key_stream(stream_key, 4 * count)), "<u4")
    return torch.argsort(torch.from_numpy(drawn.view(np.int32)), stable=True), drawn


def _words(symbols: torch.Tensor) -> np.ndarray:
    """I and Q of each symbol as the halves of a word."""
    return symbols.to("cpu", torch.complex64).contiguous().numpy().view(np.uint64)


def _symbols(words: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(words.view(np.complex64)).to(like.device)


def _signs(drawn: np.ndarray) -> np.ndarray:
    """The sign bits of I and Q as words, each where a bit was drawn."""
    signs = np.empty((len(drawn), 2), "<u4")
    np.left_shift(drawn, 31, out=signs[:, 0])
    np.left_shift(drawn, 30, out=signs[:, 1])
    signs &= np.uint32(1 << 31)
    return signs.view(np.uint64)[:, 0]


def _exchanged(words: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Words whose halves are exchanged where a bit was drawn, in a new array."""
    turned = words << np.uint64(32)
    turned |= words >> np.uint64(32)
    # one and the other differ by this; where no bit was drawn it is taken off again
    turned ^= words
    turned &= (drawn.view(np.int32) << 29 >> 31).astype(np.int64).view(np.uint64)
    turned ^= words
    return turned
