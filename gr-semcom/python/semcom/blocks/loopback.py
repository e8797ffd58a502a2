# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole link as one GNU Radio flowgraph, from items to results, over GNU Radio's own channel blocks.

    image_source -> deepjscc_encoder -> burst_modulator ~+~> losses ~> channel ~> burst_detector -> burst_demodulator
        ^                                                |  -> pilot_snr_estimator -> deepjscc_decoder -> sink
        |                                                +~> losses ~> channel ~> ... -> sink
        '-- done, when every user has it                 '~> ...

One receiver is a list of one user. Where the payload is quantised latents, a ``latent_mapper`` stands before the
modulator. ``run`` is what the command line calls; ``semcom.link.simulate`` is the same without GNU Radio.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from gnuradio import channels
from gnuradio import filter as gr_filter
from gnuradio.filter import firdes

from semcom import blocks, keys
from semcom.blocks.flowgraph import Flowgraph
from semcom.blocks.latent_mapper import mapper_of, payload_of_codec
from semcom.blocks.result_sink import sink_of
from semcom.channel import fading
from semcom.channel.named import named_channel
from semcom.kinds.pictures import Picture, mean_colour
from semcom.link.config import LinkConfig
from semcom.link.rows import NOT_KEPT, Row, row_of
from semcom.link.users import THE_ONE, User
from semcom.payload.sealed import Sealed, opened
from semcom.system.base import Received, System
from semcom.system.make import make
from semcom.system.zoo import LoadedModel

STALL_S = 60.0
_MAX_IN_FLIGHT = 8
_LIVE_IN_FLIGHT = 2  # where the newest counts
_LET_GO_S = 1.0  # for what is on its way when a run is ended
_LATEST = 64  # pictures that may still come
_PATIENCE_S = 1.0  # an item that others have and a user has not after so long will not come to it
_RESAMPLER_PHASES = 32


class Reception:
    """The blocks of one user, from its losses and its channel to its results."""

    def __init__(
        self,
        user: User,
        config: LinkConfig,
        on_result,
        on_burst,
        colour_of,
        keep: int,
        device: str,
        threads: int,
    ):
        self.user = user
        link = user.config(config)
        lossy = (
            [blocks.burst_eraser(link.drop, link.seed, lambda lost: on_burst(user, lost))]
            if link.drop
            else []
        )
        self.air = lossy + make_channel(link)
        key = link.payload.key if isinstance(link.payload, Sealed) else ""
        self.detector = blocks.burst_detector(threads=threads, key=key)
        self.demodulator = blocks.burst_demodulator(
            constellation_rate=0.0, device=device, threads=threads, key=key
        )
        self.estimator = blocks.pilot_snr_estimator(threads=threads)
        self.decoder = blocks.deepjscc_decoder(
            link.model,
            device=device,
            threads=threads,
            payload=payload_of_codec(link.payload),
            colour_of=colour_of,
            key=key,
        )
        self.sink = sink_of(
            self.decoder.system, keep=keep, callback=lambda meta, value: on_result(user, meta, value)
        )
        self.chain = [self.detector, self.demodulator, self.estimator, self.decoder, self.sink]


class LoopbackFlowgraph(Flowgraph):
    """A transmitter, and a channel and a receiver for each user.

    Channels: ``ideal`` nothing at all; ``awgn`` noise of power N0 = 10^(-SNR/10) a sample; ``rayleigh`` flat
    fading of mean power 1, slow against a burst (GNU Radio's fading_model), then noise; ``multipath`` the
    FIR taps of ``semcom.channel.fading.still_taps``, then noise. Carrier and clock offsets apply to all of them.

    Args:
        items: what to send; read one by one.
        config: model, payload, SNR given to the encoder, channel, offsets, drops, seed. users: who receives.
        on_sent, on_modulated: the callbacks of image source and modulator.
        on_result: called with (User, meta, value) for each result that a user received.
        on_burst: called with (User, lost) for each burst on its way to a user, in order, if ``config.drop`` is not 0.
        on_left_out: as in ``image_source.follow``.
        keep: results that each sink keeps. max_in_flight: items on their way at once.
    """

    def __init__(
        self,
        items: Iterable[Picture],
        config: LinkConfig,
        users: Sequence[User] = (THE_ONE,),
        *,
        on_sent=None,
        on_modulated=None,
        on_result=lambda user, meta, value: None,
        on_burst=lambda user, lost: None,
        on_left_out=lambda image_id, error: None,
        device: str = "cpu",
        threads: int = 1,
        keep: int = 0,
        max_in_flight: int = _MAX_IN_FLIGHT,
    ):
        super().__init__("semcom loopback", catch_exceptions=True)
        #: monotonic time at which the run ends whatever is on its way; 0: it ends with its items
        self.ends_s = 0.0
        options = {"device": device, "threads": threads}
        colours: dict[int, tuple[int, int, int]] = {}

        def note_colour(image_id: int, item: Picture) -> None:
            colours[image_id] = tuple(mean_colour(item.pixels)[0, 0].tolist())
            if on_sent:
                on_sent(image_id, item)

        # no code of latents fails
        has_code = opened(config.payload).fails_whole

        self.encoder = blocks.deepjscc_encoder(
            config.model,
            snr_db=config.told_snr_db,
            batch=_MAX_IN_FLIGHT,
            payload=payload_of_codec(config.payload),
            **options,
        )
        self.source = blocks.image_source(
            pictures_in=items,
            max_in_flight=max_in_flight,
            on_sent=note_colour if has_code else on_sent,
        )
        mapping = mapper_of(config.model, config.payload, **options)
        sealed = config.payload if isinstance(config.payload, Sealed) else None
        self.modulator = blocks.burst_modulator(
            tx_tags=bool(config.drop),
            on_sent=on_modulated,
            key=sealed.key if sealed else "",
            cipher=sealed.cipher if sealed else "",
            **options,
        )
        self.receptions = [
            Reception(user, config, on_result, on_burst, colours.__getitem__, keep, device, threads)
            for user in users
        ]
        self.transmission = [self.source, self.encoder, *mapping, self.modulator]
        self.connect_pdus(*self.transmission)
        self.source.follow(self.transmission[1:], on_left_out)
        for reception in self.receptions:
            self.connect(self.modulator, *reception.air, reception.detector)
            self.connect_pdus(*reception.chain)
        if len(self.receptions) == 1:
            # with several, who has an item is the ledger's to say
            self.msg_connect((self.receptions[0].sink, keys.PORT_DONE), (self.source, keys.PORT_DONE))

    @property
    def chain(self) -> list:
        """Every block with counters, transmitter first."""
        return self.transmission + [block for reception in self.receptions for block in reception.chain]

    def run_to_end(self, stall_s: float = STALL_S, on_tick: Callable[[], None] | None = None) -> float:
        """Starts, waits until the end of the stream has come to every user, stops. Returns the seconds it took.

        Raises:
            SemcomError: nothing moved anywhere for ``stall_s``; the message names the block that starved.
        """
        with torch.inference_mode():  # so that the time measured is that of pictures
            for block in (self.encoder, *(reception.decoder for reception in self.receptions)):
                block.warm_up()
        return self.watch_to_end(self._all_ended, self.starved, stall_s, on_tick)

    def _all_ended(self) -> bool:
        if self.ends_s and time.monotonic() > self.ends_s:
            return True
        return all(r.sink.ended.wait(0.1 / len(self.receptions)) for r in self.receptions)

    def starved(self, stall_s: float) -> str:
        """In words: where the flow ended, who waits, and all counters."""
        waiting = [r for r in self.receptions if not r.sink.ended.is_set()] or self.receptions[-1:]
        way = self.transmission + waiting[0].chain
        silent = next((block for block in way if not block.counters), way[-1])
        names = ", ".join(r.user.name for r in waiting if r.user.name)
        lines = "; ".join(f"{block.name()}: {dict(block.counters) or 'nothing'}" for block in self.chain)
        return (
            f"the flowgraph has not moved for {stall_s:g} s; '{silent.name()}' is the first block that waits "
            f"for input in vain{f' (users that wait: {names})' if names else ''}. Counters: {lines}"
        )


def make_channel(config: LinkConfig) -> list:
    """The GNU Radio blocks of a channel, to be connected in a row.

    Clock offset is a polyphase resampler made for this signal: the 8-tap interpolator inside
    ``channel_model`` bends the outer subcarriers of a signal that fills 94 % of the band.
    """
    out: list = []
    channel = named_channel(config.channel)
    if channel.doppler:
        out.append(channels.fading_model(8, channel.doppler, False, 0.0, config.seed))
    if config.sro_ppm:
        taps = firdes.low_pass(_RESAMPLER_PHASES, _RESAMPLER_PHASES, 0.5, 0.05)
        out.append(gr_filter.pfb_arb_resampler_ccf(1 / (1 + config.sro_ppm * 1e-6), taps, _RESAMPLER_PHASES))
    taps = delay_taps(channel.delay_samples, config.seed) if channel.delay_samples else [1.0 + 0.0j]
    noise_voltage = math.sqrt(10 ** (-config.snr_db / 10)) if channel.noisy else 0.0
    if noise_voltage or channel.delay_samples or config.cfo_hz:
        # GNU Radio takes seed 0 for "from the clock"
        out.append(
            channels.channel_model(
                noise_voltage, config.cfo_hz / config.sample_rate_hz, 1.0, taps, config.seed + 1
            )
        )
    return out


def run(
    items: Iterable[Picture],
    config: LinkConfig,
    users: Sequence[User] = (THE_ONE,),
    progress: Callable[[], None] | None = None,
    device: str = "cpu",
    on_rows: Callable[[Picture, list[Row]], None] | None = None,
    go_on: Callable[[], bool] = lambda: True,
    keep: bool = True,
) -> list[Row]:
    """Sends items through the flowgraph, all in one run; arguments and rows as of ``semcom.link.simulate``.

    Items are scored while others are on their way where ``on_rows`` wants them: those rows have the real-time factor as
    far as the run is, and come again in the unlikely case that a user has an item after all.

    Raises:
        SemcomError: an unknown model, items that break off, after what came of those before, or a flowgraph that stands
            still (which block starved, and all counters).
    """
    ledger = Ledger(config, users, keep)
    flowgraph = LoopbackFlowgraph(
        items,
        config,
        users,
        on_sent=ledger.sent,
        on_modulated=ledger.modulated,
        on_result=ledger.received,
        on_burst=ledger.passed,
        on_left_out=ledger.left_out,
        device=device,
        max_in_flight=_MAX_IN_FLIGHT if keep else _LIVE_IN_FLIGHT,
    )
    ledger.acknowledge = flowgraph.source.acknowledge
    reported = 0

    def tick(total: int | None = None):
        nonlocal reported
        if not (go_on() or flowgraph.ends_s):
            flowgraph.ends_s = time.monotonic() + _LET_GO_S
            flowgraph.source.finish()
        ledger.give_up(time.monotonic() - _PATIENCE_S)
        while progress and reported < (ledger.complete if total is None else total):
            reported += 1
            progress()
        if on_rows and total is None:
            ledger.score(models(), on_rows, only_complete=True)

    def models():
        return [reception.decoder.model for reception in flowgraph.receptions]

    seconds = flowgraph.run_to_end(on_tick=tick)
    if flowgraph.ends_s:
        ledger.drop_unfinished()
    tick(len(ledger.entries))
    if on_rows:
        ledger.score(models(), on_rows)
    if flowgraph.source.broken:
        raise flowgraph.source.broken
    return ledger.results(seconds, models())


def delay_taps(delay_samples: int, seed: int = 1) -> list[complex]:
    """Taps of unit energy with an exponential profile over ``delay_samples``; 0: no multipath."""
    return fading.still_taps(delay_samples, seed).tolist()


class Ledger:
    """What was sent, and what came to each user, by picture number.

    Args:
        keep: pictures and results until the end; False: until they are scored, and of those that nobody had only the
            latest.
    """

    def __init__(self, config: LinkConfig, users: Sequence[User], keep: bool = True):
        self._config, self._users, self._keep = config, users, keep
        self.entries: list[dict] = []
        self._modulated: list[dict] = []  # entries in the order of their bursts
        self._passing = {user.name: [0, 0, 0] for user in users}  # entry, its bursts so far, those lost
        self._open: dict[int, dict] = {}  # by the 16-bit number on the air
        self._waiting: dict[int, float] = {}  # pictures that some user lacks, and when the first had them
        # users that missed a picture and have had none since: nobody waits for them
        self._absent: set[str] = set()
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._scored: dict[int, tuple[set[str], list[Row]]] = {}  # by place: rows, and who had the item then
        self._systems: list[System] = []
        self.complete = 0  # pictures that came to every user who receives anything
        self.acknowledge: Callable[[int], None] = lambda image_id: None

    def sent(self, image_id: int, picture: Picture) -> None:
        flags = {"through": False, "dropped": False}
        self._open[image_id] = {"picture": picture, "received": {}, "lost": set(), **flags}
        self.entries.append(self._open[image_id])

    def modulated(self, meta: dict) -> None:
        self._open[meta[keys.IMAGE_ID]].update(meta)
        self._modulated.append(self._open[meta[keys.IMAGE_ID]])

    def left_out(self, image_id: int, error: Exception) -> None:
        """Nothing can be sent of a picture."""
        entry = self._open[image_id]
        entry[keys.NOT_SENT], entry["through"] = str(error), True
        self.complete += 1

    def drop_unfinished(self) -> None:
        """What is on its way at the end of a run that was ended is not lost: it has no rows."""
        for entry in self.entries:
            entry["dropped"] = not (entry["through"] or entry["received"])

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

    def received(self, user: User, meta: dict, value: np.ndarray) -> None:
        """Called from the threads of the users' sinks."""
        entry = self._open.get(meta.get(keys.IMAGE_ID))
        if entry is None:
            return
        with self._lock:
            entry["received"][user.name] = (_received(meta, value), meta)
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

    def score(
        self,
        models: Sequence[LoadedModel],
        on_rows: Callable[[Picture, list[Row]], None],
        only_complete: bool = False,
    ) -> None:
        """Scores what was not yet, and gives it to ``on_rows``.

        Args:
            models: of the users' decoders. only_complete: one item that is through, if there is one; else all.
        """
        factor = self._factor(time.monotonic() - self._began)
        for place, entry in enumerate(self.entries):
            if entry["dropped"]:
                continue
            due = entry["through"] or not self._keep and place < len(self.entries) - _LATEST
            if only_complete and not due or self._is_scored(place):
                continue
            on_rows(entry["picture"], self._rows(place, models, factor))
            if not self._keep:
                self._forget(place)
            if only_complete:
                return

    def _forget(self, place: int) -> None:
        """What was scored needs no pictures any more."""
        had, rows = self._scored[place]
        self._scored[place] = (
            had,
            [replace(row, value=None if row.value is None else NOT_KEPT) for row in rows],
        )
        entry = self.entries[place]
        entry["picture"], entry["received"] = None, dict.fromkeys(entry["received"])

    def results(self, seconds: float, models: Sequence[LoadedModel]) -> list[Row]:
        """Every row, in order. What was not scored yet is: after the run, so that it does not slow it down.

        Args:
            models: of the users' decoders.
        """
        factor = self._factor(seconds)
        rows = []
        for place, entry in enumerate(self.entries):
            if entry["dropped"]:
                continue
            some = self._scored[place][1] if self._is_scored(place) else self._rows(place, models, factor)
            rows += [replace(row, real_time_factor=factor) for row in some]
        return rows

    def _factor(self, seconds: float) -> float:
        airtime = sum(entry.get(keys.AIRTIME_SAMPLES, 0) for entry in self.entries)
        return airtime / self._config.sample_rate_hz / max(seconds, 1e-9)

    def _is_scored(self, place: int) -> bool:
        entry = self.entries[place]
        return place in self._scored and (
            entry["picture"] is None or self._scored[place][0] == entry["received"].keys()
        )

    def _rows(self, place: int, models: Sequence[LoadedModel], factor: float) -> list[Row]:
        links = [user.config(self._config) for user in self._users]
        if not self._systems:
            self._systems = [make(model, link.payload) for model, link in zip(models, links, strict=True)]
        entry = self.entries[place]
        had = set(entry["received"])
        receivers = zip(self._users, links, self._systems, strict=True)
        rows = [self._row(entry, *receiver, factor) for receiver in receivers]
        self._scored[place] = had, rows
        return rows

    def _row(self, entry: dict, user: User, link: LinkConfig, system: System, real_time_factor: float) -> Row:
        received, meta = entry["received"].get(user.name, (None, {}))
        return row_of(
            entry["picture"],
            link,
            system,
            received,
            user=user.name,
            snr_est_db=meta.get(keys.SNR_DB),
            bursts_sent=entry.get(keys.BURST_COUNT, 0),
            bursts_found=meta.get(keys.BURSTS_RECEIVED, 0),
            symbols=entry.get(keys.LATENT_COUNT, 0),
            airtime_samples=entry.get(keys.AIRTIME_SAMPLES, 0),
            papr_db=entry.get(keys.PAPR_DB, 0.0),
            real_time_factor=real_time_factor,
            **{key: entry[key] for key in keys.CHOSEN if key in entry},
            **({keys.NOT_SENT: entry[keys.NOT_SENT]} if keys.NOT_SENT in entry else {}),
        )


def _received(meta: dict, value: np.ndarray) -> Received:
    """What a sink had, as a system gives it. A picture of one colour in place of what failed stays as it came."""
    return Received(value, {keys.DECODED: meta[keys.DECODED]} if keys.DECODED in meta else {})
