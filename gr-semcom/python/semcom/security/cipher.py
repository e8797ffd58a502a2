# SPDX-License-Identifier: GPL-3.0-or-later
"""Keyed scrambling of payload symbols: order and quarter turn or reflection of each, drawn from ChaCha20.

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
    """``[k]`` complex symbols in the order of the key, each turned or reflected."""
    order, turns = _drawn(stream_key, len(symbols))
    return _turned(symbols.cpu()[order], turns).to(symbols.device)


def unscramble(
    symbols: torch.Tensor, noise_var: torch.Tensor, stream_key: bytes
) -> tuple[torch.Tensor, torch.Tensor]:
    """The inverse of ``scramble``, of symbols and their noise variances ``[k]``."""
    order, turns = _drawn(stream_key, len(symbols))
    back = _turned_back(symbols.cpu(), turns)
    return (
        torch.empty_like(back).index_copy(0, order, back).to(symbols.device),
        torch.empty_like(noise_var).index_copy(0, order.to(noise_var.device), noise_var),
    )


def _drawn(stream_key: bytes, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each symbol comes from, and what is done to it: 1 negates I, 2 negates Q, 4 exchanges them."""
    stream = key_stream(stream_key, 9 * count)
    order = np.argsort(np.frombuffer(stream, "<u8", count), kind="stable")
    return torch.from_numpy(order), torch.from_numpy(np.frombuffer(stream, np.uint8, offset=8 * count) & 7)


def _turned(symbols: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    parts = torch.view_as_real(symbols)
    parts = torch.where((turns & 4).bool()[:, None], parts.flip(1), parts)
    return torch.view_as_complex((parts * _signs(turns, parts)).contiguous())


def _turned_back(symbols: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    parts = torch.view_as_real(symbols)
    parts = parts * _signs(turns, parts)
    return torch.view_as_complex(torch.where((turns & 4).bool()[:, None], parts.flip(1), parts).contiguous())


def _signs(turns: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return 1 - 2 * torch.stack([turns & 1, (turns >> 1) & 1], dim=1).to(like.dtype)
