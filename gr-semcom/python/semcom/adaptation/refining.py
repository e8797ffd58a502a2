# SPDX-License-Identifier: GPL-3.0-or-later
"""What a receiver asks for, picture by picture: bursts that were lost, and more symbols up to a bandwidth ratio."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from semcom.adaptation.feedback import Wanted

_MOST_BURSTS = 64
_MOST_PICTURES = 16  # a transmitter keeps no more


@dataclass
class _Known:
    """A picture: symbols that were sent of it, what is missing, and how often and when that was asked for."""

    have: int
    missing: list[tuple[int, tuple[int, ...]]]
    wanted: int
    asked: int = 0
    asked_s: float = float("-inf")


class Requests:
    """Which requests are due. One thread at a time.

    A request that is not answered (it may be lost, as reports may) comes again after ``patience_s``, ``tries`` times in
    all; then the picture stays as it is.

    Args:
        rho: bandwidth ratio that every picture should have in all.
        clock: seconds that never go back.

    Attributes:
        counters: in words.
    """

    def __init__(
        self, rho: float, patience_s: float = 2.0, tries: int = 3, clock: Callable[[], float] = time.monotonic
    ):
        self.rho, self._patience_s, self._tries, self._clock = rho, patience_s, tries, clock
        self.counters: Counter[str] = Counter()
        self._known: OrderedDict[int, _Known] = OrderedDict()

    def heard(self, image_id: int, have: int, missing: str, wanted: int) -> None:
        """A picture has come, or more of it.

        Args:
            have, missing: as ``deepjscc_decoder`` says. wanted: symbols that it has at ``rho``.
        """
        lost = []
        for part in filter(None, missing.split(";")):
            side, _, bursts = part.partition(":")
            lost.append((int(side), tuple(map(int, bursts.split(",")))[:_MOST_BURSTS]))
        known = self._known.pop(image_id, None)
        if not lost and have >= wanted:
            self.counters["pictures with all that was asked for"] += 1
            return
        if known is None or (known.have, known.missing) != (have, lost):
            # something has come: from here on it is another request
            known = _Known(have, lost, wanted)
        self._known[image_id] = known
        while len(self._known) > _MOST_PICTURES:
            self._known.popitem(last=False)

    def due(self) -> list[Wanted]:
        """What is to be asked for now."""
        now_s, out = self._clock(), []
        for image_id, known in list(self._known.items()):
            if now_s - known.asked_s < self._patience_s:
                continue
            if known.asked == self._tries:
                del self._known[image_id]
                self.counters["pictures given up: requests were not answered"] += 1
                continue
            known.asked, known.asked_s = known.asked + 1, now_s
            if known.missing:
                out += [Wanted(image_id, side=side, bursts=bursts) for side, bursts in known.missing]
            else:
                out.append(Wanted(image_id, self.rho, known.have))
        return out
