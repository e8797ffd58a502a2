# SPDX-License-Identifier: GPL-3.0-or-later
"""What a station reports of bursts and pictures, at a bounded rate: of a thousand bursts the latest, and all counts."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from semcom import keys
from semcom.errors import ConfigError, PduError
from semcom.modem import ModemProfile, sequences
from semcom.modem.frame import BurstLayout
from semcom.radio import LinkProfile
from semcom.wire.numbering import Numbering
from semcom.wire.telemetry import PICTURE, STATE, STATIONS, Counters, Message

MAX_RATE_HZ = 25.0  # of messages: a little more than the 20 frames a second that a watcher should see
MAX_LATENTS, MAX_PILOTS = 1024, 512  # points of a constellation
_MAX_PAPRS = 256  # of one message
_COUNTERS_EVERY_S, _HEARTBEAT_S = 0.5, 0.25
_RATE_WINDOW = 32  # arrivals from which a rate is read

# names in a message
LATENTS, PILOTS, GAIN_DB, CARRIER_SNR_DB, PAPRS_DB, PIXELS = (
    "latents",
    "pilots",
    "gain_db",
    "carrier_snr_db",
    "paprs_db",
    "pixels",
)
CFO_HZ, BANDWIDTH_HZ, SPACING_HZ, BURSTS, PICTURES, AGE_S, LATENCY_S, STEP, FEEDBACK = (
    "cfo_hz",
    "bandwidth_hz",
    "spacing_hz",
    "bursts",
    "pictures",
    "age_s",
    "latency_s",
    "step",
    "feedback",
)


@dataclass(frozen=True)
class Response:
    """A burst as seen on its subcarriers.

    gain_db: ``[active]`` channel gain, in dB over its mean power. snr_db: ``[active]`` SNR of the latents on it, NaN
    where none lay. pilots: ``[p]`` complex, equalised pilots and training symbols; without noise they are QPSK.
    """

    gain_db: np.ndarray
    snr_db: np.ndarray
    pilots: np.ndarray


class CarrierView:
    """Puts the flat vectors of a burst's PDU back onto the subcarriers they came from.

    Args:
        profile: sizes of the modem that demodulated.
    """

    def __init__(self, profile: ModemProfile | None = None):
        self.profile = profile or ModemProfile()
        self._layouts: dict[int, tuple[np.ndarray, ...]] = {}
        self._training = sequences.long_training(self.profile.active_carriers)

    def response(self, pilots_rx: np.ndarray, pilots_ref: np.ndarray, noise_var: np.ndarray) -> Response:
        """What the demodulator reported of a burst, carrier by carrier.

        Args:
            pilots_rx, pilots_ref: ``[p]``: long training, header, then the pilots of the payload, as the equaliser lays
                them out; of a burst in trouble the latter alone. noise_var: ``[m]`` of the latents, in burst order.

        Raises:
            PduError: lengths that no burst of this modem has.
        """
        p = self.profile
        full = (p.lts_repeats + p.header_symbols) * p.active_carriers
        trained = len(pilots_ref) > full
        full = full if trained else 0
        symbols, left = divmod(len(pilots_ref) - full, p.pilots_per_symbol)
        latent_rows = symbols - p.auth_symbols
        fits = (latent_rows - 1) * p.data_per_symbol < len(noise_var) <= latent_rows * p.data_per_symbol
        if (
            left
            or not 1 <= latent_rows <= p.max_payload_symbols
            or len(pilots_rx) != len(pilots_ref)
            or not fits
        ):
            raise PduError("burst whose pilots and latents are not of this link profile")
        carriers, known, comb = self._layout(symbols)
        training = np.tile(self._training, p.lts_repeats if trained else 0)
        sent = np.concatenate([training, known])
        at = np.r_[0 : len(training), full : len(pilots_ref)]
        with np.errstate(divide="ignore", invalid="ignore"):
            pilots = pilots_rx[at] / pilots_ref[at] * sent
            where = np.arange(p.active_carriers) if trained else comb
            power = np.abs(pilots_ref[: len(where)]) ** 2
            visits = np.bincount(where, minlength=p.active_carriers)
            gain = np.bincount(where, power, minlength=p.active_carriers) / visits
            gain_db = 10 * np.log10(gain / np.nanmean(gain))
            snr_db = np.full(p.active_carriers, np.nan)
            known = np.isfinite(noise_var)
            snr_db[carriers[: len(noise_var)][known]] = -10 * np.log10(noise_var[known])
        return Response(
            gain_db.astype(np.float32),
            snr_db.astype(np.float32),
            _thin(pilots[np.isfinite(pilots)], MAX_PILOTS),
        )

    def _layout(self, symbols: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Carriers of a burst's latents in order, its payload pilots as sent, and their carriers."""
        if symbols not in self._layouts:
            import torch

            layout = BurstLayout(self.profile, symbols, "cpu", torch.complex64)
            head = self.profile.header_symbols
            self._layouts[symbols] = (
                layout.data_carriers[head + self.profile.auth_symbols :].flatten().numpy(),
                layout.pilots[head:].flatten().numpy(),
                layout.pilot_carriers[head:].flatten().numpy(),
            )
        return self._layouts[symbols]


class Thinner:
    """Lets every n-th picture number pass, n a power of two that keeps to a rate.

    Two stations that see the same pictures so choose the same ones (or one a part of the other's) without a word between
    them: sent and received can be compared.
    """

    def __init__(self, max_rate_hz: float):
        self._max_rate_hz = max_rate_hz
        self._times: deque[float] = deque(maxlen=_RATE_WINDOW)

    def passes(self, number: int, now_s: float) -> bool:
        self._times.append(now_s)
        if len(self._times) < 8:  # too few to read a rate from
            return True
        rate = (len(self._times) - 1) / max(now_s - self._times[0], 1e-6)
        every = 2 ** max(0, math.ceil(math.log2(rate / self._max_rate_hz)))
        return number % every == 0


class Digest:
    """Takes all that a station sees, from any thread, and hands out messages at no more than a given rate.

    Taking costs next to nothing: only the latest burst is looked into, once a message.

    Args:
        station: "rx" or "tx". link: sizes and sample rate. max_rate_hz: of messages of state, and of pictures.
        max_pixels: of a picture; of a larger one every n-th pixel is sent. clock: seconds, monotonic.

    Raises:
        ConfigError: an unknown station.
    """

    def __init__(
        self,
        station: str,
        link: LinkProfile | None = None,
        max_rate_hz: float = MAX_RATE_HZ,
        max_pixels: int = 2**19,
        clock: Callable[[], float] = time.monotonic,
    ):
        if station not in STATIONS:
            raise ConfigError(f"telemetry: station must be one of {', '.join(STATIONS)}, not {station!r}")
        self._station, self._numbering = station, Numbering()
        self._link, self._clock = link or LinkProfile(), clock
        self._view = CarrierView(self._link.modem)
        self._max_pixels, self._thinner = max_pixels, Thinner(max_rate_hz)
        self._lock = threading.Lock()
        self._burst: Burst | None = None
        self._snr: tuple[float, float | None, float] | None = None  # dB, standard error in dB, when
        self._paprs: deque[float] = deque(maxlen=_MAX_PAPRS)
        self._pictures: deque[tuple[Mapping, np.ndarray]] = deque(maxlen=8)
        self._counts = {BURSTS: 0, PICTURES: 0}
        self._watched: dict[str, object] = {}
        self._counters_reported = self._state_reported = -math.inf

    # -- what is seen ---------------------------------------------------------------------------------

    def watch(self, name: str, block) -> None:
        """Reports also the ``counters`` (reason in words to how often) of ``block``, a block or a dictionary."""
        with self._lock:
            self._watched[name] = block

    def watched(self) -> list[object]:
        """What is reported so."""
        with self._lock:
            return list(self._watched.values())

    def add_burst(self, burst: "Burst") -> None:
        with self._lock:
            self._burst = burst
            self._counts[BURSTS] += 1

    def add_snr(self, snr_db: float, stderr_db: float | None = None) -> None:
        """An estimate that came by itself: at a transmitter, what the receiver sent back."""
        with self._lock:
            self._snr = (snr_db, stderr_db, self._clock())

    def add_papr(self, papr_db: float) -> None:
        with self._lock:
            self._paprs.append(papr_db)

    def add_picture(self, meta: Mapping, pixels: np.ndarray) -> None:
        """``pixels`` uint8 ``[H, W, 3]`` with at least ``keys.IMAGE_ID`` in ``meta``."""
        with self._lock:
            self._counts[PICTURES] += 1
            if self._thinner.passes(int(meta[keys.IMAGE_ID]), self._clock()):
                self._pictures.append((meta, pixels))

    # -- what is reported -----------------------------------------------------------------------------

    def messages(self) -> list[Message]:
        """All that is new since the last call, and now and then a sign of life."""
        now = self._clock()
        with self._lock:
            burst, self._burst = self._burst, None
            snr, self._snr = self._snr, None
            paprs, pictures = list(self._paprs), list(self._pictures)
            self._paprs.clear(), self._pictures.clear()
            counts, watched = dict(self._counts), dict(self._watched)
        values, arrays = {**counts, BANDWIDTH_HZ: self._link.sample_rate_hz}, {}
        if burst is not None:
            self._tell_burst(burst, now, values, arrays)
        elif snr is not None:
            snr_db, stderr_db, when = snr
            values |= {keys.SNR_DB: snr_db, keys.SNR_STDERR_DB: stderr_db, AGE_S: now - when, FEEDBACK: True}
        if paprs:
            arrays[PAPRS_DB] = np.array(paprs, np.float32)
        counters: Counters = {}
        if now - self._counters_reported >= _COUNTERS_EVERY_S:
            self._counters_reported, counters = now, _counters(watched)
        out = [self._picture(meta, pixels) for meta, pixels in pictures]
        if arrays or counters or keys.SNR_DB in values or now - self._state_reported >= _HEARTBEAT_S:
            self._state_reported = now
            out.append(self._message(STATE, values, arrays, counters))
        return out

    def _tell_burst(self, burst: "Burst", now: float, values: dict, arrays: dict) -> None:
        values |= {
            keys.SNR_DB: burst.snr_db,
            keys.SNR_STDERR_DB: burst.stderr_db,
            AGE_S: now - burst.when_s,
            CFO_HZ: burst.cfo * self._link.sample_rate_hz,
            SPACING_HZ: self._link.sample_rate_hz / self._link.modem.fft_size,
        }
        latents, noise_var, pilots_rx, pilots_ref = burst.vectors()
        arrays[LATENTS] = _thin(latents, MAX_LATENTS)
        try:
            response = self._view.response(pilots_rx, pilots_ref, noise_var)
        except PduError as error:
            values["trouble"] = str(error)
            return
        arrays |= {PILOTS: response.pilots, GAIN_DB: response.gain_db, CARRIER_SNR_DB: response.snr_db}

    def _picture(self, meta: Mapping, pixels: np.ndarray) -> Message:
        height, width = pixels.shape[:2]
        step = max(1, math.ceil(math.sqrt(height * width / self._max_pixels)))
        values = {keys.HEIGHT: height, keys.WIDTH: width, STEP: step}
        for key in (
            keys.IMAGE_ID,
            keys.IMAGE_NAME,
            keys.SNR_DB,
            keys.BURSTS_RECEIVED,
            keys.BURST_COUNT,
            keys.MODEL,
        ):
            if meta.get(key) is not None:
                values[key] = meta[key]
        if meta.get(keys.DETECTED_S) is not None and meta.get(keys.DECODED_S) is not None:
            values[LATENCY_S] = meta[keys.DECODED_S] - meta[keys.DETECTED_S]
        return self._message(PICTURE, values, {PIXELS: pixels[::step, ::step]})

    def _message(self, kind: str, values: dict, arrays: dict, counters: Counters | None = None) -> Message:
        numbers = self._numbering.next()
        return Message(kind, self._station, **numbers, values=values, counters=counters or {}, arrays=arrays)


@dataclass(frozen=True)
class Burst:
    """A burst as the receiver knows it.

    vectors: gives latents ``[m]``, their noise_var ``[m]``, pilots_rx and pilots_ref ``[p]``; called only for a burst
        that is reported, as turning vectors over is what costs. cfo: cycles per sample. when_s: monotonic, of arrival.
    """

    snr_db: float
    stderr_db: float | None
    cfo: float
    when_s: float
    vectors: Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]


def _counters(watched: dict[str, object]) -> Counters:
    out = {}
    for name, block in watched.items():
        counts = getattr(block, "counters", block)
        out[name] = {str(reason): int(number) for reason, number in dict(counts).items()}
    return out


def _thin(values: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of ``[n]`` complex values, evenly taken."""
    return np.ascontiguousarray(values[:: max(1, -(-len(values) // most))], np.complex64)
