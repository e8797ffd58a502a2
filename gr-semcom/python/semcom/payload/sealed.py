# SPDX-License-Identifier: GPL-3.0-or-later
"""A payload that only holders of a key can read, or make: any other payload, and the key of the link."""

from dataclasses import dataclass, field
from typing import Any

from semcom.errors import ConfigError
from semcom.modem.header import ADDED, SCRAMBLED, SIGNED
from semcom.parsing import shown
from semcom.payload.base import ANALOG

#: what is done to a link's bursts with its key, by the name that profiles and ``--set`` have for it
CIPHERS = {"none": SIGNED, "scramble": SCRAMBLED, "ring": ADDED}


def check_cipher(cipher: str, source: str) -> int:
    """The number that headers carry. Raises ConfigError: no such cipher; ``source`` begins the message."""
    if not isinstance(cipher, str) or cipher not in CIPHERS:
        raise ConfigError(f"{source}: cipher {shown(cipher)} is unknown; choose one of {', '.join(CIPHERS)}.")
    return CIPHERS[cipher]


@dataclass(frozen=True)
class Sealed:
    """Signed bursts, and symbols that the key hides.

    Attributes:
        key: name or path of a key file (``semcom.security.keyfile``). inner: how latents become symbols.
        cipher: "scramble": order and turns; "ring": a key stream added, which hides magnitudes too; "none": bursts are
            signed, and everybody can read them.

    Raises:
        ConfigError: no key, or no such cipher.
    """

    key: str
    cipher: str = "scramble"
    inner: Any = field(default=ANALOG)

    def __post_init__(self):
        if not isinstance(self.key, str) or not self.key:
            raise ConfigError(
                "a sealed payload needs the name of a key, such as alice, or the path of its file."
            )
        check_cipher(self.cipher, f"key {shown(self.key)}")

    @property
    def label(self) -> str:
        """In words, for tables and rows."""
        return self.inner.label


def opened(payload):
    """What a payload is without a key."""
    return payload.inner if isinstance(payload, Sealed) else payload
