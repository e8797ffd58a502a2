# SPDX-License-Identifier: GPL-3.0-or-later
"""One transmitter and several users as one GNU Radio flowgraph, each user with a channel and a decoder of its own.

    image_source -> deepjscc_encoder -> burst_modulator ~+~> losses ~> channel ~> burst_detector -> ... -> image_sink
                                                         +~> losses ~> channel ~> burst_detector -> ... -> image_sink
                                                         '~> ...

``run`` is what ``semcom loopback --users`` calls; ``semcom.users.simulate`` is the same without GNU Radio.
"""

import threading
import time
from collections.abc import Callable, Iterable

import torch

from semcom import blocks, keys
from semcom.blocks.flowgraph import Flowgraph
from semcom.blocks.loopback import STALL_S, make_channel
from semcom.kinds.pictures import Picture
from semcom.link import LinkConfig, result_of
from semcom.users import User, UserResult, user_result

_MAX_IN_FLIGHT = 8
_PATIENCE_S = 1.0  # a picture that others have and a user has not after so long will not come to it


class Reception:
    """The blocks of one user, from its losses and its channel to its pictures."""

    def __init__(self, user: User, config: LinkConfig, on_picture, on_burst, device: str, threads: int):
        self.user = user
        link = user.config(config)
        lossy = [blocks.burst_eraser(link.drop, user.seed, lambda lost: on_burst(user, lost))]
        self.air = (lossy if link.drop else []) + make_channel(link)
        self.detector = blocks.burst_detector(threads=threads)
        self.demodulator = blocks.burst_demodulator(constellation_rate=0.0, device=device, threads=threads)
        self.estimator = blocks.pilot_snr_estimator(threads=threads)
        self.decoder = blocks.deepjscc_decoder(user.model, device=device, threads=threads)
        self.sink = blocks.image_sink(keep=0, callback=lambda meta, pixels: on_picture(user, meta, pixels))
        self.chain = [self.detector, self.demodulator, self.estimator, self.decoder, self.sink]


class MultiuserFlowgraph(Flowgraph):
    """A transmitter and its users.

    Args:
        pictures: what to send; read one by one.
        config: what the transmitter has: model, SNR told to the encoder; and the kind of channel, with its losses.
        users: who listens.
        on_sent, on_modulated: the callbacks of image source and modulator.
        on_picture: called with (User, meta, pixels) for each picture that a user received.
        on_burst: called with (User, lost) for each burst on its way to a user, in order, if ``config.drop`` is not 0.
    """

    def __init__(
        self,
        pictures: Iterable[Picture],
        config: LinkConfig,
        users: list[User],
        *,
        on_sent=None,
        on_modulated=None,
        on_picture=lambda user, meta, pixels: None,
        on_burst=lambda user, lost: None,
        device: str = "cpu",
        threads: int = 1,
    ):
        super().__init__("semcom multiuser", catch_exceptions=True)
        self.source = blocks.image_source(pictures_in=pictures, max_in_flight=_MAX_IN_FLIGHT, on_sent=on_sent)
        self.encoder = blocks.deepjscc_encoder(
            config.model, snr_db=config.snr_db, device=device, threads=threads, batch=_MAX_IN_FLIGHT
        )
        self.modulator = blocks.burst_modulator(
            tx_tags=bool(config.drop), device=device, threads=threads, on_sent=on_modulated
        )
        self.receptions = [Reception(user, config, on_picture, on_burst, device, threads) for user in users]
        self.connect_pdus(self.source, self.encoder, self.modulator)
        for reception in self.receptions:
            self.connect(self.modulator, *reception.air, reception.detector)
            self.connect_pdus(*reception.chain)

    @property
    def chain(self) -> list:
        """Every block with counters, transmitter first."""
        return [self.source, self.encoder, self.modulator] + [b for r in self.receptions for b in r.chain]

    def run_to_end(self, stall_s: float = STALL_S, on_tick: Callable[[], None] | None = None) -> float:
        """Starts, waits until the end of the stream has come to every user, stops. Returns the seconds it took.

        Raises:
            SemcomError: nothing moved anywhere for ``stall_s``; the message names who waits.
        """
        with torch.inference_mode():  # so that the time measured is that of pictures
            for block in (self.encoder, *(r.decoder for r in self.receptions)):
                block.warm_up()
        return self.watch_to_end(self._all_ended, self._starved, stall_s, on_tick)

    def _all_ended(self) -> bool:
        return all(r.sink.ended.wait(0.1 / len(self.receptions)) for r in self.receptions)

    def _starved(self, stall_s: float) -> str:
        waiting = [r.user.name for r in self.receptions if not r.sink.ended.is_set()]
        lines = "; ".join(f"{block.name()}: {dict(block.counters) or 'nothing'}" for block in self.chain)
        return (
            f"nothing has moved for {stall_s:g} s; users that wait: {', '.join(waiting)}. Counters: {lines}"
        )


def run(
    pictures: Iterable[Picture],
    config: LinkConfig,
    users: list[User],
    progress: Callable[[], None] | None = None,
    device: str = "cpu",
) -> list[UserResult]:
    """Sends pictures through the flowgraph, all in one run; as :func:`semcom.users.simulate`.

    Raises:
        SemcomError: an unknown model, or a flowgraph that stands still.
    """
    ledger = _Ledger(config, users)
    flowgraph = MultiuserFlowgraph(
        pictures,
        config,
        users,
        on_sent=ledger.sent,
        on_modulated=ledger.modulated,
        on_picture=ledger.received,
        on_burst=ledger.passed,
        device=device,
    )
    ledger.acknowledge = flowgraph.source.acknowledge
    reported = 0

    def tick(total: int | None = None):
        nonlocal reported
        ledger.give_up(time.monotonic() - _PATIENCE_S)
        while progress and reported < (ledger.complete if total is None else total):
            reported += 1
            progress()

    seconds = flowgraph.run_to_end(on_tick=tick)
    tick(len(ledger.entries))
    return ledger.results(seconds)


class _Ledger:
    """What was sent, and what came to each user, by picture number."""

    def __init__(self, config: LinkConfig, users: list[User]):
        self._config, self._users = config, users
        self.entries: list[dict] = []
        self._modulated: list[dict] = []  # entries in the order of their bursts
        self._passing = {user.name: [0, 0, 0] for user in users}  # entry, its bursts so far, those lost
        self._open: dict[int, dict] = {}  # by the 16-bit number on the air
        self._waiting: dict[int, float] = {}  # pictures that some user lacks, and when the first had them
        self._absent: set[str] = (
            set()
        )  # users that missed a picture and have had none since: nobody waits for them
        self._lock = threading.Lock()
        self.complete = 0  # pictures that came to every user who hears anything
        self.acknowledge: Callable[[int], None] = lambda image_id: None

    def sent(self, image_id: int, picture: Picture) -> None:
        self._open[image_id] = {"picture": picture, "received": {}, "lost": set(), "through": False}
        self.entries.append(self._open[image_id])

    def modulated(self, meta: dict) -> None:
        self._open[meta[keys.IMAGE_ID]].update(meta)
        self._modulated.append(self._open[meta[keys.IMAGE_ID]])

    def passed(self, user: User, lost: bool) -> None:
        """A burst went to a user, or was lost on the way; called in their order, from the schedulers' threads."""
        at = self._passing[user.name]
        if at[0] == len(self._modulated):
            return  # what follows the last picture is tagged as a burst, too
        entry = self._modulated[at[0]]
        at[1], at[2] = at[1] + 1, at[2] + lost
        if at[1] < entry[keys.BURST_COUNT]:
            return
        nothing = at[2] == at[1]
        self._passing[user.name] = [at[0] + 1, 0, 0]
        if not nothing:
            return
        with self._lock:
            entry["lost"].add(user.name)
            if len(entry["lost"]) == len(self._users):  # no user will ever have it
                self._waiting.setdefault(entry[keys.IMAGE_ID], time.monotonic())
        self._settle(entry[keys.IMAGE_ID])

    def received(self, user: User, meta: dict, pixels) -> None:
        """Called from the threads of the users' sinks."""
        entry = self._open.get(meta.get(keys.IMAGE_ID))
        if entry is None:
            return
        with self._lock:
            entry["received"][user.name] = (pixels, meta[keys.BURSTS_RECEIVED], meta[keys.SNR_DB])
            self._absent.discard(user.name)
            if not entry["through"]:
                self._waiting.setdefault(meta[keys.IMAGE_ID], time.monotonic())
        self._settle(meta[keys.IMAGE_ID])

    def give_up(self, before_s: float) -> None:
        """Waits no more for users that lack what others had before ``before_s`` (of ``time.monotonic``)."""
        with self._lock:
            overdue = [image_id for image_id, first_s in self._waiting.items() if first_s < before_s]
            for image_id in overdue:
                self._absent |= self._lacking(image_id)
        for image_id in overdue:
            self._settle(image_id)

    def _settle(self, image_id: int) -> None:
        """Acknowledges a picture, once, that every user has of whom it can be expected."""
        with self._lock:
            through = image_id in self._waiting and self._lacking(image_id) <= self._absent
            if through:
                del self._waiting[image_id]
                self._open[image_id]["through"] = True
                self.complete += 1
        if through:
            self.acknowledge(image_id)

    def _lacking(self, image_id: int) -> set[str]:
        entry = self._open[image_id]
        return {user.name for user in self._users} - entry["received"].keys() - entry["lost"]

    def results(self, seconds: float) -> list[UserResult]:
        """Scores everything, after the run so that it does not slow it down."""
        airtime = sum(entry.get(keys.AIRTIME_SAMPLES, 0) for entry in self.entries)
        factor = airtime / self._config.sample_rate_hz / max(seconds, 1e-9)
        return [self._result(entry, user, factor) for entry in self.entries for user in self._users]

    def _result(self, entry: dict, user: User, real_time_factor: float) -> UserResult:
        pixels, found, snr_est_db = entry["received"].get(user.name, (None, 0, None))
        result = result_of(
            entry["picture"],
            user.config(self._config),
            received=pixels,
            snr_est_db=snr_est_db,
            bursts_sent=entry.get(keys.BURST_COUNT, 0),
            bursts_found=found,
            latent_count=entry.get(keys.LATENT_COUNT, 0),
            airtime_samples=entry.get(keys.AIRTIME_SAMPLES, 0),
            papr_db=entry.get(keys.PAPR_DB, 0.0),
            real_time_factor=real_time_factor,
        )
        return user_result(user, result)
