# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may read, who may speak: shared keys, signed bursts, sealed payloads (docs/security.md)."""

from semcom.security.guard import Eavesdropper, Guard, guard_of
from semcom.security.keyfile import KeyRing, make_key, renew_key
from semcom.security.sessions import Seal, Signer, signer_of

__all__ = [
    "Eavesdropper",
    "Guard",
    "KeyRing",
    "Seal",
    "Signer",
    "guard_of",
    "make_key",
    "renew_key",
    "signer_of",
]
