# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole link as one GNU Radio flowgraph, from pictures to pictures, over GNU Radio's own channel blocks.

    image_source -> deepjscc_encoder -> burst_modulator ~> channel ~> burst_detector -> burst_demodulator
        ^                                                                                     |
        '-- done -- image_sink <- deepjscc_decoder <- pilot_snr_estimator <-------------------'

A ``SeparationConfig`` puts the digital rival's encoder and decoder in their places.
Where the configuration names a modulation order, a ``latent_mapper`` stands before the modulator. ``run`` is what the
command line calls; ``semcom.link.simulate`` is the same without GNU Radio.
"""

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from gnuradio import channels
from gnuradio import filter as gr_filter
from gnuradio.filter import firdes

from semcom import blocks, keys
from semcom.blocks.flowgraph import Flowgraph
from semcom.channel import fading
from semcom.channel.named import named_channel
from semcom.kinds.pictures import Picture
from semcom.link import LinkConfig, LinkResult, result_of
from semcom.payload.quantised import DigitalMode
from semcom.separation.link import SeparationConfig, SeparationResult, mean_colour, scheme_for

STALL_S = 60.0
_MAX_IN_FLIGHT = 8
_RESAMPLER_PHASES = 32


class LoopbackFlowgraph(Flowgraph):
    """The blocks of a link and a channel between modulator and detector.

    Channels: ``ideal`` nothing at all; ``awgn`` noise of power N0 = 10^(-SNR/10) a sample; ``rayleigh`` flat
    fading of mean power 1, slow against a burst (GNU Radio's fading_model), then noise; ``multipath`` the
    FIR taps of ``semcom.channel.fading.still_taps``, then noise. Carrier and clock offsets apply to all of them.

    Args:
        pictures: what to send; read one by one.
        config: model, SNR, channel, offsets, drops, seed.
        on_sent, on_picture, on_modulated: the callbacks of image source, image sink and modulator.
    """

    def __init__(
        self,
        pictures: Iterable[Picture],
        config: LinkConfig,
        *,
        on_sent=None,
        on_picture=None,
        on_modulated=None,
        device: str = "cpu",
        threads: int = 1,
        keep: int = 0,
    ):
        super().__init__("semcom loopback", catch_exceptions=True)
        on_sent, self.encoder, self.decoder = _codec_of(config, on_sent, device, threads)
        self.source = blocks.image_source(pictures_in=pictures, max_in_flight=_MAX_IN_FLIGHT, on_sent=on_sent)
        mapping = mapper_of(config.model, config.digital, device=device, threads=threads)
        self.modulator = blocks.burst_modulator(
            drop=config.drop, seed=config.seed, device=device, threads=threads, on_sent=on_modulated
        )
        self.detector = blocks.burst_detector(threads=threads)
        self.demodulator = blocks.burst_demodulator(constellation_rate=0.0, device=device, threads=threads)
        self.estimator = blocks.pilot_snr_estimator(threads=threads)
        self.sink = blocks.image_sink(keep=keep, callback=on_picture)
        self.chain = [
            self.source,
            self.encoder,
            *mapping,
            self.modulator,
            self.detector,
            self.demodulator,
            self.estimator,
            self.decoder,
            self.sink,
        ]

        self.air = make_channel(config)
        self.connect(self.modulator, *self.air, self.detector)
        self.connect_pdus(self.source, self.encoder, *mapping, self.modulator)
        self.connect_pdus(self.detector, self.demodulator, self.estimator, self.decoder, self.sink)
        self.msg_connect((self.sink, keys.PORT_DONE), (self.source, keys.PORT_DONE))

    def run_to_end(self, stall_s: float = STALL_S, on_tick: Callable[[], None] | None = None) -> float:
        """Starts, waits until the end of the stream has come through, stops. Returns the seconds it took.

        Raises:
            SemcomError: nothing moved anywhere for ``stall_s``; the message names the block that starved.
        """
        with torch.inference_mode():  # so that the time measured is that of pictures
            self.encoder.warm_up()
            self.decoder.warm_up()
        return self.watch_to_end(lambda: self.sink.ended.wait(0.1), self.starved, stall_s, on_tick)

    def starved(self, stall_s: float) -> str:
        """In words: where the flow ended, and all counters."""
        silent = next((block for block in self.chain if not block.counters), self.chain[-1])
        lines = "; ".join(f"{block.name()}: {dict(block.counters) or 'nothing'}" for block in self.chain)
        return (
            f"the flowgraph has not moved for {stall_s:g} s; '{silent.name()}' is the first block that waits "
            f"for input in vain. Counters: {lines}"
        )


def _codec_of(config: LinkConfig, on_sent, device: str, threads: int) -> tuple:
    """The source's callback, the encoder and the decoder of a link: DeepJSCC's, or those of its digital rival."""
    options = {"device": device, "threads": threads}
    if not isinstance(config, SeparationConfig):
        encoder = blocks.deepjscc_encoder(config.model, snr_db=config.snr_db, batch=_MAX_IN_FLIGHT, **options)
        return on_sent, encoder, blocks.deepjscc_decoder(config.model, **options)
    colours: dict[int, tuple[int, int, int]] = {}

    def note_colour(image_id: int, picture: Picture) -> None:
        colours[image_id] = tuple(mean_colour(picture.pixels)[0, 0].tolist())
        if on_sent:
            on_sent(image_id, picture)

    encoder = blocks.separation_encoder(
        config.model,
        config.mcs,
        config.source,
        config.header_bytes,
        snr_db=config.snr_db,
        batch=_MAX_IN_FLIGHT,
        **options,
    )
    return (
        note_colour,
        encoder,
        blocks.separation_decoder(config.model, colour_of=colours.__getitem__, **options),
    )


def mapper_of(model: str, digital: DigitalMode | None, **options) -> list:
    """What stands between encoder and modulator: a latent mapper for a digital mode, nothing for analog latents.

    Args:
        options: of ``latent_mapper``.
    """
    if digital is None:
        return []
    return [blocks.latent_mapper(model, digital.order, digital.bits_per_latent, digital.codebook, **options)]


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
    pictures: Iterable[Picture],
    config: LinkConfig,
    progress: Callable[[], None] | None = None,
    device: str = "cpu",
) -> list[LinkResult]:
    """Sends pictures through the flowgraph, all in one run.

    Args:
        pictures: what to send. config: model, SNR and channel. progress: called once a picture, from this
            thread.

    Returns:
        One result a picture, in order; one of which no burst arrived has no picture and no PSNR.

    Raises:
        SemcomError: an unknown model, or a flowgraph that stands still (which block starved, and all
            counters).
    """
    ledger = Ledger(pictures, config)
    flowgraph = LoopbackFlowgraph(
        ledger.feed(),
        config,
        on_sent=ledger.sent,
        on_picture=ledger.received,
        on_modulated=ledger.modulated,
        device=device,
    )
    ledger.forget = flowgraph.source.acknowledge
    reported = 0

    def tick():
        nonlocal reported
        while progress and reported < ledger.arrived:
            reported += 1
            progress()

    seconds = flowgraph.run_to_end(on_tick=tick)
    ledger.arrived = len(ledger.entries)
    tick()
    return ledger.results(seconds)


def delay_taps(delay_samples: int, seed: int = 1) -> list[complex]:
    """Taps of unit energy with an exponential profile over ``delay_samples``; 0: no multipath."""
    return fading.still_taps(delay_samples, seed).tolist()


class Ledger:
    """What was sent and what came back, by picture number."""

    def __init__(self, pictures: Iterable[Picture], config: LinkConfig):
        self._pictures, self._config = pictures, config
        self.entries: list[dict] = []
        self._open: dict[int, dict] = {}  # by the 16-bit number on the air
        self.arrived = 0
        self.forget: Callable[[int], None] = lambda image_id: None

    def feed(self) -> Iterator[Picture]:
        yield from self._pictures

    def sent(self, image_id: int, picture: Picture) -> None:
        self._open[image_id] = {"picture": picture}
        self.entries.append(self._open[image_id])

    def modulated(self, meta: dict) -> None:
        self._open[meta[keys.IMAGE_ID]].update(meta)
        if meta["bursts_dropped"] == meta[keys.BURST_COUNT]:  # no receiver will ever acknowledge it
            self.forget(meta[keys.IMAGE_ID])

    def received(self, meta: dict, pixels: np.ndarray) -> None:
        entry = self._open.get(meta.get(keys.IMAGE_ID))
        if entry is not None:
            entry.update(received=pixels, found=meta[keys.BURSTS_RECEIVED], snr_est_db=meta[keys.SNR_DB])
            entry["decoded"] = meta.get(keys.DECODED, True)
            self.arrived += 1

    def results(self, seconds: float) -> list[LinkResult]:
        """Scores everything, after the run so that it does not slow it down."""
        airtime_s = (
            sum(entry.get(keys.AIRTIME_SAMPLES, 0) for entry in self.entries) / self._config.sample_rate_hz
        )
        return [self._result(entry, airtime_s / max(seconds, 1e-9)) for entry in self.entries]

    def _result(self, entry: dict, real_time_factor: float) -> LinkResult:
        result = result_of(
            entry["picture"],
            self._config,
            received=entry.get("received"),
            snr_est_db=entry.get("snr_est_db"),
            bursts_sent=entry.get(keys.BURST_COUNT, 0),
            bursts_found=entry.get("found", 0),
            latent_count=entry.get(keys.LATENT_COUNT, 0),
            airtime_samples=entry.get(keys.AIRTIME_SAMPLES, 0),
            papr_db=entry.get(keys.PAPR_DB, 0.0),
            real_time_factor=real_time_factor,
        )
        if not isinstance(self._config, SeparationConfig):
            return result
        symbols = entry.get(keys.LATENT_COUNT)
        mcs = scheme_for(self._config, symbols, self._config.snr_db).name if symbols else ""
        return SeparationResult(**vars(result), mcs=mcs, decoded=entry.get("decoded", False))
