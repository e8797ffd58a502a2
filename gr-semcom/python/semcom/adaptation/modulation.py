# SPDX-License-Identifier: GPL-3.0-or-later
"""Which constellation to send on: the highest order whose bit errors the model is known to bear.

Robustness-verified adaptation (Gao et al., 2024; Park et al., 2025): what a model bears was measured beforehand
(``semcom.adaptation.tolerance``). At run time an order may be used when its bit error rate, in closed form, at the lower
confidence limit of the estimated SNR is inside that. As error rates fall with the SNR, that is a threshold an order.

The limit falls as a report ages and is lifted by the next one: a saw tooth, whose upper end is no reason to rise, as its
lower end would take the order away again. So an order rises only by what will still be true when the next report is due.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from semcom.adaptation.feedback import Belief, SnrTracker
from semcom.errors import ConfigError
from semcom.modulation import ORDERS, snr_for_ber
from semcom.modulation.error_rate import CHANNELS

FALLBACKS = ("lowest", "hold")
_REPORTS_TO_RISE = 3  # in a row: one may be off, and the interval between them is not known earlier
_INTERVALS = 64  # between reports, that are remembered,
_SHARE_OF_TIME = 0.9  # and how much of their time must be in intervals up to the usual one
_BELOW = "SNR too low for every order: the lowest is used, and the loss is larger than stated"


@dataclass(frozen=True)
class Choice:
    """What to send on.

    Attributes:
        order: points of the constellation.
        inside: whether the stated loss holds: False when not even the lowest order bears the SNR, or the SNR is unknown.
        lower_db: lower confidence limit of the SNR in dB; None when nothing fresh is known.
    """

    order: int
    inside: bool
    lower_db: float | None


class OrderChooser:
    """Takes in SNR reports, as ``SnrTracker`` does and with its counters, and says which order to use; for one thread.

    Down it goes at once. Up it goes when the limit exceeds the threshold by ``hysteresis_db`` after each of the latest
    three reports, and would still do so after the usual interval between reports; and no sooner than ``dwell_s`` after
    the last change. Where not even the lowest order bears the SNR, the lowest is used, ``Choice.inside`` is False
    and the counters say so: a picture with a larger loss is worth more than none.

    Args:
        max_ber: the largest bit error rate that the model bears, for each order that may be used.
        channel: "awgn" or "rayleigh", whose error rate is meant.
        confidence: of the lower limit of the SNR, one-sided. The limit falls as a report ages, by ``wander_db``.
        margin_db: taken off the limit on top.
        max_age_s: how long after its arrival the latest report holds.
        wander_db: how far the SNR wanders in a second. At infinity the latest report counts alone and no limit falls.
        fallback: when no fresh report is there: "lowest" order, or "hold" the one in use.
        clock: seconds that never go back.

    Raises:
        ConfigError: an argument out of its range; an order that does not exist.
    """

    def __init__(
        self,
        max_ber: Mapping[int, float],
        *,
        channel: str = "awgn",
        confidence: float = 0.95,
        margin_db: float = 0.0,
        hysteresis_db: float = 1.0,
        dwell_s: float = 0.5,
        max_age_s: float = 2.0,
        wander_db: float = 3.0,
        fallback: str = "lowest",
        clock: Callable[[], float] = time.monotonic,
    ):
        _check(max_ber, channel, confidence, margin_db, hysteresis_db, dwell_s, fallback)
        self.thresholds_db = {order: snr_for_ber(order, max_ber[order], channel) for order in sorted(max_ber)}
        self._tracker = SnrTracker(max_age_s, wander_db, clock)
        self._quantile = NormalDist().inv_cdf(confidence)
        self._margin_db, self._hysteresis_db, self._dwell_s = margin_db, hysteresis_db, dwell_s
        self._wander_db = 0.0 if math.isinf(wander_db) else wander_db
        self._fallback, self._clock = fallback, clock
        self._order, self._changed_s = min(self.thresholds_db), -math.inf
        self._max_age_s, self._heard_s = max_age_s, None
        self._intervals_s: deque[float] = deque(maxlen=_INTERVALS)
        self._lasting_db: deque[float] = deque(maxlen=_REPORTS_TO_RISE)  # limits when the next report is due
        self._was_inside = True
        self._counters: Counter[str] = Counter()

    @property
    def counters(self) -> Counter[str]:
        """What came, what was wrong with it, and what was chosen, in words."""
        return self._tracker.counters + self._counters

    def hear(self, message: Mapping[str, Any]) -> Choice:
        """The choice after a report; one that is absurd, repeated or out of order is counted and changes nothing."""
        belief = self._tracker.hear(message)
        if belief is not None:
            self._remember(belief)
        return self.choice()

    def choice(self) -> Choice:
        """The choice now."""
        now_s, belief = self._clock(), self._tracker.belief()
        if belief is None:
            if self._fallback == "lowest":
                self._change(min(self.thresholds_db), now_s)
            return Choice(self._order, False, None)
        lower_db = self._lower_limit(belief, now_s - belief.heard_s)
        self._step(lower_db, now_s)
        inside = lower_db >= self.thresholds_db[self._order]
        if self._was_inside and not inside:
            self._counters[_BELOW] += 1
        self._was_inside = inside
        return Choice(self._order, inside, lower_db)

    def _remember(self, belief: Belief) -> None:
        """The limit that there will be when the next report is due; after a silence the count begins anew."""
        before_s, self._heard_s = self._heard_s, belief.heard_s
        if before_s is None or belief.heard_s - before_s > self._max_age_s:
            self._lasting_db.clear()
        else:
            self._intervals_s.append(belief.heard_s - before_s)
        self._lasting_db.append(self._lower_limit(belief, _usual(self._intervals_s)))

    def _lower_limit(self, belief: Belief, age_s: float) -> float:
        return belief.lower_limit_db(self._quantile, self._wander_db, age_s) - self._margin_db

    def _step(self, lower_db: float, now_s: float) -> None:
        borne = self._highest(lower_db)
        if borne < self._order:
            self._change(borne, now_s)
        elif len(self._lasting_db) == _REPORTS_TO_RISE and now_s - self._changed_s >= self._dwell_s:
            lasting_db = min(lower_db, *self._lasting_db)
            self._change(max(self._highest(lasting_db - self._hysteresis_db), self._order), now_s)

    def _highest(self, snr_db: float) -> int:
        borne = [order for order, threshold_db in self.thresholds_db.items() if snr_db >= threshold_db]
        return max(borne, default=min(self.thresholds_db))

    def _change(self, order: int, now_s: float) -> None:
        if order != self._order:
            self._counters["orders stepped up" if order > self._order else "orders stepped down"] += 1
            self._order, self._changed_s = order, now_s


def _usual(intervals_s: Collection[float]) -> float:
    """The length in s that intervals do not exceed for most of the time: rare pauses do not count, regular ones do."""
    left_s = _SHARE_OF_TIME * sum(intervals_s)
    for interval_s in sorted(intervals_s):
        left_s -= interval_s
        if left_s <= 0:
            return interval_s
    return 0.0


def _check(max_ber, channel, confidence, margin_db, hysteresis_db, dwell_s, fallback) -> None:
    unknown = [order for order in max_ber if order not in ORDERS]
    for good, complaint in (
        (bool(max_ber), "no order may be used: give the bit error rate of one at least"),
        (not unknown, f"unknown orders {unknown}: there are {', '.join(map(str, ORDERS))}"),
        (channel in CHANNELS, f"channel must be one of {', '.join(CHANNELS)}, not {channel!r}"),
        (0.5 <= confidence < 1, f"confidence must be at least 0.5 and below 1, not {confidence!r}"),
        (0 <= margin_db < math.inf, f"margin_db must be 0 dB or more, not {margin_db!r}"),
        (0 <= hysteresis_db < math.inf, f"hysteresis_db must be 0 dB or more, not {hysteresis_db!r}"),
        (0 <= dwell_s < math.inf, f"dwell_s must be 0 s or more, not {dwell_s!r}"),
        (fallback in FALLBACKS, f"fallback must be one of {', '.join(FALLBACKS)}, not {fallback!r}"),
    ):
        if not good:
            raise ConfigError(f"choice of order: {complaint}.")
