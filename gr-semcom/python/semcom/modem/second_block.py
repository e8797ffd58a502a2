# SPDX-License-Identifier: GPL-3.0-or-later
"""The second header block of signed bursts: who began which session, in clear, and the tag.

Epoch and session (64 bits) are 8 words of the header's code. The tag is pseudo-random chips, found by correlation, so
that it needs no code of its own and is distinguished from any other at an SNR at which no code of that length could be
read.
"""

from functools import lru_cache

import numpy as np

from semcom.modem import sequences
from semcom.modem.header import rm_encode, rm_list
from semcom.modem.profile import ModemProfile
from semcom.security.sessions import EPOCH_BITS, SESSION_BITS, TAG_CHIPS

SESSION_CHIPS = 1024  # 8 words of 128
MOST_NUMBERS = 3  # that a burst is tried with: each costs some 0.05 ms
_SEED = 140


def encode(session: int, tag: bytes, profile: ModemProfile) -> np.ndarray:
    """Epoch and session, and the tag, to unit-power QPSK symbols ``[auth_symbols * data_per_symbol]`` complex128."""
    of_tag, of_session = _places(_chips(profile))
    chips = np.empty(_chips(profile))
    chips[of_tag] = 1.0 - 2 * np.unpackbits(np.frombuffer(tag, np.uint8))
    bits = session >> np.arange(SESSION_BITS + EPOCH_BITS - 1, -1, -1, dtype=np.uint64).astype(object) & 1
    chips[of_session] = rm_encode(bits.astype(np.int64)[None], len(of_session))[0]
    return (chips[0::2] + 1j * chips[1::2]) / np.sqrt(2)


def soft_tags(soft: np.ndarray, profile: ModemProfile) -> np.ndarray:
    """The tags' soft chips ``[B, TAG_CHIPS]`` in matched-filter outputs ``[B, symbols]`` complex."""
    return _soft_chips(soft)[:, _places(_chips(profile))[0]]


def numbers(soft: np.ndarray, profile: ModemProfile) -> list[list[int]]:
    """Epochs and sessions, 64 bits each, in matched-filter outputs ``[B, symbols]`` complex: the likeliest a row, and
    those that it may be if one word is wrong. The tag says which."""
    chips = _soft_chips(soft)[:, _places(_chips(profile))[1]]
    return [
        [int.from_bytes(one, "big") for one in row] for row in rm_list(chips, SESSION_CHIPS, MOST_NUMBERS)
    ]


def _soft_chips(soft: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(soft, np.complex64).view(np.float32)


def messages(bits: np.ndarray, longest: int) -> list[bytes]:
    """What tags sign: all bits ``[B, n]`` of a header, and the longest burst of the profile."""
    packed = np.packbits(bits.astype(np.uint8), axis=1)
    return [row.tobytes() + longest.to_bytes(2, "big") for row in packed]


def _chips(profile: ModemProfile) -> int:
    return 2 * profile.auth_symbols * profile.data_per_symbol


@lru_cache(maxsize=8)
def _places(chips: int) -> tuple[np.ndarray, np.ndarray]:
    """Which chips are the tag's, and which the session's: spread over carriers and symbols."""
    order = sequences.permutation(chips, _SEED)
    return order[:TAG_CHIPS], order[TAG_CHIPS:]
