# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers on messages that may get lost or overtaken: whoever receives them sees gaps, and that a sender began anew."""

import secrets

from semcom import keys


class Numbering:
    """Numbers the messages of one run of a sender.

    Args:
        session: drawn at random if None, so that no two runs share it.
    """

    def __init__(self, session: int | None = None):
        self.session = secrets.randbits(31) if session is None else session
        self._next = 0

    def next(self) -> dict[str, int]:
        """``keys.SESSION`` and ``keys.SEQUENCE`` (0, 1, 2, ...) of the next message."""
        numbers = {keys.SESSION: self.session, keys.SEQUENCE: self._next}
        self._next += 1
        return numbers
