# SPDX-License-Identifier: GPL-3.0-or-later
"""What a watcher knows: messages of the stations in, everything that the window shows out. No Qt, bounded memory.

``versions`` counts the changes of each topic, so that the window draws only what changed.
"""

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field

import numpy as np

from semcom import keys
from semcom.dashboard import digest
from semcom.errors import PduError
from semcom.kinds import quality
from semcom.wire.telemetry import PICTURE, STATE, Counters, Message, Values

HISTORY_S = 60.0  # of the time plots
SILENT_S = 2.0  # without a word: a station reports something four times a second
_PAIR_S = 30.0  # a picture that comes back later than this is another one of the same number
# sent ones that wait for their reception, which may be seconds behind
_KEPT_PICTURES, _KEPT_PICTURE_BYTES = (512, 2**26)
_KEPT_PAPRS = 4000
_MAX_PROBLEMS = 32
_RATE_S = 2.0
_MIN_RATE_S = 0.5
TOPICS = ("pictures", "snr", "burst", "papr", "counters")


class Ring:
    """The latest rows of numbers, ``[capacity, columns]``, without growing."""

    def __init__(self, capacity: int, columns: int):
        self._rows, self._count = np.empty((capacity, columns)), 0

    def __len__(self) -> int:
        return min(self._count, len(self._rows))

    def add(self, *row: float) -> None:
        self._rows[self._count % len(self._rows)] = row
        self._count += 1

    def rows(self) -> np.ndarray:
        """``[n, columns]``, oldest first."""
        at = self._count % len(self._rows)
        if self._count <= len(self._rows):
            return self._rows[: self._count]
        return np.concatenate([self._rows[at:], self._rows[:at]])

    def clear(self) -> None:
        self._count = 0


@dataclass
class Station:
    """What is known of one station. Times are the watcher's own seconds."""

    heard_s: float | None = None
    session: int | None = None
    sequence: int = -1
    missed: int = 0  # messages, by their numbers
    restarts: int = 0
    values: Values = field(default_factory=dict)
    counters: Counters = field(default_factory=dict)
    marks: deque = field(default_factory=lambda: deque(maxlen=256))  # (when, bursts, pictures)

    def rate(self, what: str, now_s: float) -> float | None:
        """Bursts or pictures a second over the last two seconds; None: not known."""
        column = (digest.BURSTS, digest.PICTURES).index(what) + 1
        recent = [mark for mark in self.marks if now_s - mark[0] <= _RATE_S]
        if len(recent) < 2 or recent[-1][0] - recent[0][0] < _MIN_RATE_S:
            return None
        return (recent[-1][column] - recent[0][column]) / (recent[-1][0] - recent[0][0])


@dataclass
class Shown:
    """A picture: pixels uint8 ``[H, W, 3]`` (every ``step``-th of ``size``), its number, and what came with it."""

    image_id: int
    pixels: np.ndarray
    size: tuple[int, int]
    arrived_s: float
    values: Values

    def fits(self, other: "Shown") -> bool:
        """Whether the two can be the sent and the received of one picture."""
        return (
            self.image_id == other.image_id
            and self.size == other.size
            and self.pixels.shape == other.pixels.shape
            and abs(self.arrived_s - other.arrived_s) <= _PAIR_S
        )


class DashboardState:
    """Takes messages of both stations, in any order, with gaps, over restarts.

    Attributes:
        stations: "rx" and "tx". sent, received: the pictures to show, or None; they belong together if ``psnr_db`` is
            not None. psnr: Ring of (when, PSNR in dB). snr: a Ring for each station of (when, SNR in dB, standard error
            in dB): what the receiver estimates, and what the transmitter was given. latents, pilots: ``[n]`` complex of
            the latest burst. gain_db, carrier_snr_db: ``[carriers]``. spacing_hz: of the carriers. paprs_db: the latest,
            of bursts as sent. problems: what was refused, in words.
    """

    def __init__(self):
        self.stations = {"rx": Station(), "tx": Station()}
        self.versions = Counter(dict.fromkeys(TOPICS, 0))
        self.problems: Counter[str] = Counter()
        self.sent: Shown | None = None
        self.received: Shown | None = None
        self.psnr_db: float | None = None
        self.psnr = Ring(600, 2)
        self.snr = {"rx": Ring(2400, 3), "tx": Ring(2400, 3)}
        self.paprs_db: deque[float] = deque(maxlen=_KEPT_PAPRS)
        self.latents = self.pilots = np.empty(0, np.complex64)
        self.gain_db = self.carrier_snr_db = np.empty(0, np.float32)
        self.spacing_hz: float | None = None
        self._sent: OrderedDict[int, Shown] = OrderedDict()

    def take(self, message: Message, now_s: float) -> None:
        """Takes one message in at the time ``now_s``; one whose contents make no sense is counted in ``problems``."""
        station = self.stations[message.station]
        self._follow(station, message, now_s)
        try:
            if message.kind == PICTURE:
                self._take_picture(message, now_s)
            elif message.kind == STATE:
                self._take_state(station, message, now_s)
        except PduError as error:
            self.problem(str(error))

    def problem(self, words: str, number: int = 1) -> None:
        """Counts something that the watcher should see."""
        if words not in self.problems and len(self.problems) >= _MAX_PROBLEMS:
            words = "other troubles"
        self.problems[words] += number
        self.versions["counters"] += 1

    def is_silent(self, name: str, now_s: float) -> bool:
        """Whether a station has said nothing for ``SILENT_S``, or never."""
        latest_s = self.stations[name].heard_s
        return latest_s is None or now_s - latest_s > SILENT_S

    def _follow(self, station: Station, message: Message, now_s: float) -> None:
        if station.session != message.session:
            if station.session is not None:
                station.restarts += 1
                self._forget(message.station)
            station.session, station.sequence = message.session, message.sequence
        elif message.sequence > station.sequence:
            if missed := message.sequence - station.sequence - 1:
                station.missed += missed
                self.versions["counters"] += 1
            station.sequence = message.sequence
        station.heard_s = now_s

    def _forget(self, name: str) -> None:
        """A station began anew: its counts start at nothing, and its picture numbers too."""
        station = self.stations[name]
        station.values, station.counters = {}, {}
        station.marks.clear()
        if name == "tx":
            self._sent.clear()
            self.paprs_db.clear()
            self.versions["papr"] += 1
        self.versions["counters"] += 1

    # -- pictures -------------------------------------------------------------------------------------

    def _take_picture(self, message: Message, now_s: float) -> None:
        picture = _picture(message, now_s)
        if message.station == "tx":
            self._sent[picture.image_id] = picture
            self._sent.move_to_end(picture.image_id)
            self._forget_oldest()
            is_pair = self.psnr_db is None and self.received is not None and picture.fits(self.received)
            if is_pair or self.received is None or self.is_silent("rx", now_s):
                self._show(picture, self.received, is_pair, now_s)
            return
        partner = self._sent.get(picture.image_id)
        is_pair = partner is not None and partner.fits(picture)
        if is_pair:
            del self._sent[picture.image_id]
        self._show(partner if is_pair else self._latest_sent(), picture, is_pair, now_s)

    def _forget_oldest(self) -> None:
        while len(self._sent) > 1 and (
            len(self._sent) > _KEPT_PICTURES
            or sum(picture.pixels.nbytes for picture in self._sent.values()) > _KEPT_PICTURE_BYTES
        ):
            self._sent.popitem(last=False)

    def _show(self, sent: Shown | None, received: Shown | None, is_pair: bool, now_s: float) -> None:
        self.sent, self.received, self.psnr_db = sent, received, None
        if is_pair:
            # infinite where they are equal
            self.psnr_db = min(float(quality.psnr(received.pixels, sent.pixels)), 99.0)
            self.psnr.add(now_s, self.psnr_db)
        self.versions["pictures"] += 1

    def _latest_sent(self) -> Shown | None:
        return next(reversed(self._sent.values()), self.sent)

    # -- everything else ------------------------------------------------------------------------------

    def _take_state(self, station: Station, message: Message, now_s: float) -> None:
        values, arrays = message.values, message.arrays
        station.values = {**station.values, **values}
        station.marks.append((now_s, _number(values, digest.BURSTS, 0), _number(values, digest.PICTURES, 0)))
        if message.counters and message.counters != station.counters:
            station.counters = message.counters
            self.versions["counters"] += 1
        if isinstance(words := values.get("trouble"), str):
            self.problem(words)
        snr_db = _number(values, keys.SNR_DB, None)
        if snr_db is not None:
            age_s = min(max(_number(values, digest.AGE_S, 0.0), 0.0), HISTORY_S)
            self.snr[message.station].add(
                now_s - age_s, snr_db, max(_number(values, keys.SNR_STDERR_DB, 0.0), 0.0)
            )
            self.versions["snr"] += 1
        if digest.LATENTS in arrays:
            self._take_burst(values, arrays)
        if digest.PAPRS_DB in arrays:
            paprs = _array(arrays, digest.PAPRS_DB, "float32")
            self.paprs_db.extend(paprs[np.isfinite(paprs)].tolist())
            self.versions["papr"] += 1

    def _take_burst(self, values: Values, arrays: dict[str, np.ndarray]) -> None:
        self.latents = _array(arrays, digest.LATENTS, "complex64")
        self.pilots = (
            _array(arrays, digest.PILOTS, "complex64") if digest.PILOTS in arrays else self.pilots[:0]
        )
        if digest.GAIN_DB in arrays:
            gain_db = _array(arrays, digest.GAIN_DB, "float32")
            carrier_snr_db = _array(arrays, digest.CARRIER_SNR_DB, "float32")
            if len(gain_db) != len(carrier_snr_db):
                raise PduError("telemetry whose channel and SNR differ in carriers")
            self.gain_db, self.carrier_snr_db = gain_db, carrier_snr_db
            self.spacing_hz = _number(values, digest.SPACING_HZ, None)
        self.versions["burst"] += 1


def _picture(message: Message, now_s: float) -> Shown:
    pixels, values = message.arrays.get(digest.PIXELS), message.values
    if (
        pixels is None
        or pixels.dtype != np.uint8
        or pixels.ndim != 3
        or pixels.shape[2] != 3
        or not pixels.size
    ):
        raise PduError("telemetry of a picture that is none")
    image_id, height, width = (_number(values, key, None) for key in (keys.IMAGE_ID, keys.HEIGHT, keys.WIDTH))
    if image_id is None or height is None or width is None:
        raise PduError("telemetry of a picture without number or size")
    return Shown(int(image_id), pixels.copy(), (int(height), int(width)), now_s, values)


def _number(values: Values, key: str, default):
    value = values.get(key)
    return default if value is None or isinstance(value, bool | str) else value


def _array(arrays: dict[str, np.ndarray], name: str, dtype: str) -> np.ndarray:
    array = arrays.get(name)
    if array is None or array.ndim != 1 or array.dtype != np.dtype(dtype):
        raise PduError(f"telemetry whose '{name}' is not a row of {dtype}")
    return array


def ccdf(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each value that occurs in ``[n]``, sorted, and the share of the values that are above or equal to it."""
    ordered = np.sort(values)
    return ordered, 1 - np.arange(len(ordered)) / max(len(ordered), 1)


def last_heard(station: Station, now_s: float) -> str:
    """The connection in words."""
    if station.heard_s is None:
        return "nothing received yet"
    age_s = now_s - station.heard_s
    words = f"last received {age_s:.1f} s ago" if age_s <= SILENT_S else f"silent for {age_s:.0f} s"
    return words + (f", restarted {station.restarts} x" if station.restarts else "")
