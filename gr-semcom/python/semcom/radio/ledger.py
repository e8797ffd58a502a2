# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures on the air, counted by what the radio says of their bursts."""

import threading
from collections import Counter, deque
from dataclasses import dataclass

from semcom.radio.reports import ON_AIR


@dataclass
class _Picture:
    end: int  # bursts up to its last
    open: int
    whole: bool = True
    counts: bool = True


class AirLedger:
    """What was made and what became of it.

    Attributes:
        pictures: of which every burst was on the air. bursts_made: handed towards the radio.
        answers: bursts by what became of them, in the words of ``radio.reports``.
    """

    def __init__(self):
        self.pictures = self.bursts_made = 0
        self.answers: Counter[str] = Counter()
        self._waiting: deque[_Picture] = deque()
        self._lock = threading.Lock()

    def made(self, bursts: int, is_picture: bool = True) -> None:
        """A picture's bursts go towards the radio, after all those before; or some more of one that was counted."""
        with self._lock:
            self.bursts_made += bursts
            self._waiting.append(_Picture(self.bursts_made, bursts, counts=is_picture))

    def answer(self, index: int, answer: str) -> None:
        """What became of burst ``index`` of all, counted from 0; what belongs to no picture is left out."""
        with self._lock:
            if index >= self.bursts_made:
                return
            self.answers[answer] += 1
            picture = next((one for one in self._waiting if index < one.end), None)
            if picture is None:
                return
            picture.open -= 1
            picture.whole = picture.whole and answer == ON_AIR
            if not picture.open:
                self.pictures += picture.whole and picture.counts
                self._waiting.remove(picture)
