# SPDX-License-Identifier: GPL-3.0-or-later
"""The two halves of a link as flowgraphs of their own: pictures to a radio, and a radio to pictures.

    image_source -> (rate_controller) -> deepjscc_encoder -> burst_modulator ~> radio_sink
                            ^- feedback_receiver -^
    radio_source ~> receiver -> deepjscc_decoder -> image_sink
                       |- capture_recorder
                       '- feedback_sender

``transmit`` and ``receive`` are what the command line calls. Neither station needs the other to be there.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semcom import blocks, keys
from semcom.adaptation.refining import Requests
from semcom.blocks.base import PduWorker
from semcom.blocks.burst_demodulator import BURSTS_READ
from semcom.blocks.flowgraph import Flowgraph
from semcom.blocks.image_source import IDS, LEFT_OUT
from semcom.blocks.latent_mapper import mapper_of, payload_of_codec
from semcom.blocks.radio_end import RadioEnd
from semcom.blocks.result_sink import sink_of
from semcom.errors import ConfigError
from semcom.kinds import IMAGE
from semcom.kinds.pictures import Picture, pixels_sha256
from semcom.line_log import LineLog
from semcom.payload.base import ANALOG, Analog
from semcom.radio import LinkProfile, load_link, parse_medium
from semcom.radio.device import load_device
from semcom.radio.hearing import findings
from semcom.radio.ledger import AirLedger
from semcom.radio.reports import ON_AIR, UNANSWERED
from semcom.security.guard import REFUSALS
from semcom.stopping import stopped_by_signals
from semcom.system.hybrid import Hybrid
from semcom.system.make import Payload

_TICK_S = 0.1
_GIVE_UP_S = 120.0  # a radio that starts anew, from its own disk, is back by then
_DRAIN_S = 3.0  # for an encoder and the bursts that wait; without a listener nothing goes out ever
_AHEAD = 2  # pictures between source and modulator
_BURSTS_AHEAD = 8  # made before the air takes them: enough to bridge an encoder's pause, and soon gone


@dataclass(frozen=True)
class StationConfig:
    """What both stations are given.

    Attributes:
        profile: path of the link profile; "": the defaults, and no profile named in the headers.
        radio: MEDIUM[:ADDRESS], see ``radio.medium``. hardware: radio profile, name or path; "": none.
        gain_db, centre_frequency_hz: instead of the profile's. A gain that calibration has put into the radio profile
            comes before the link profile's.
        feedback, telemetry: ZMQ addresses; "": none. A transmitter's feedback may be several with commas between, a
            receiver each: pictures are sent so that all of them are served. keys: folder of CurveZMQ certificates for
            them, and for samples on ZMQ. insecure: allows those addresses beyond this machine without keys.
        invert_spectrum: a receiver conjugates what it receives, as a radio profile may say too. cfo_search: it finds
            carrier offsets up to 10 % of the sample rate.
        log: file for JSON lines, one a picture; "": none.
        sample_type, channel: of a file that is received, as in ``radio_source``.
        target_psnr_db: what a receiver asks for with its feedback; 0: nothing.
        refine_rho: bandwidth ratio up to which it asks for more of each picture that has come, and for bursts that were
            lost; 0: it does not.
        sender: number of a transmitter, 0..15: different ones where one receiver receives several.
        device, threads: for torch.
    """

    profile: str = ""
    radio: str = "zmq"
    hardware: str = ""
    gain_db: float | None = None
    centre_frequency_hz: float | None = None
    feedback: str = ""
    telemetry: str = ""
    keys: str = ""
    insecure: bool = False
    log: str = ""
    target_psnr_db: float = 0.0
    refine_rho: float = 0.0
    sample_type: str = ""
    channel: int = -1
    device: str = "cpu"
    threads: int = 1
    invert_spectrum: bool = False
    cfo_search: bool = False
    sender: int = 0

    @property
    def spectrum_inverted(self) -> bool:
        return self.invert_spectrum or bool(self.hardware and load_device(self.hardware).invert_spectrum)

    def radio_options(self, link: LinkProfile, transmit: bool) -> dict:
        """Arguments of ``radio_sink`` and ``radio_source``."""
        frequency, side = self.centre_frequency_hz, "tx_gain_db" if transmit else "rx_gain_db"
        measured = getattr(load_device(self.hardware).calibration, side) if self.hardware else None
        gains = self.gain_db, measured, getattr(link, side)
        file = {} if transmit else {"sample_type": self.sample_type, "channel": self.channel}
        return {
            "radio": self.radio,
            "sample_rate_hz": link.sample_rate_hz,
            "centre_frequency_hz": link.centre_frequency_hz if frequency is None else frequency,
            "gain_db": next(gain for gain in gains if gain is not None),
            "device": self.hardware,
            **self.socket_options,
            **file,
        }

    @property
    def socket_options(self) -> dict:
        return {"keys": self.keys, "insecure": self.insecure}


@dataclass
class Summary:
    """What a station did: pictures through it, seconds, and the counters of its blocks by name, in words.

    link: the profile it loaded, to be compared with the other station's. advice: what to check where nothing came.
    recording_stopped: why a recorder gave up before the end; "": it did not, or there was none.
    written: received pictures that are in files; None: none were to be. faults: what was asked for and not done, a
    sentence each: the run has failed in part. exit_status: of a command that ends so: 0 without faults; 1, not all was
    sent, or answered for by a radio; 2, nothing was sent, or something could not be written. Pictures that went to a
    radio which answers for bursts count when all of theirs were on the air.
    """

    link: str = ""
    pictures: int = 0
    bursts: int = 0
    seconds: float = 0.0
    airtime_s: float = 0.0
    counters: dict[str, dict[str, int]] = field(default_factory=dict)
    advice: str = ""
    recording_stopped: str = ""
    written: int | None = None
    faults: list[str] = field(default_factory=list)
    exit_status: int = 0


class Station(Flowgraph):
    """What the two halves share: running until something ends it, and the counters of ``self.chain``."""

    def __init__(self, name: str, config: StationConfig):
        super().__init__(f"semcom {name}", catch_exceptions=True)
        self.config = config
        self.link = load_link(config.profile)
        profile = f"link profile {self.link.name!r} ({self.link.hash:#05x})"
        self.summary = Summary(profile if config.profile else "no link profile")
        self.log = LineLog(config.log) if config.log else None
        self.chain = []
        self._window = None
        self._is_gone = False  # at the end of the run

    def modulator_for(self, medium, **options) -> blocks.burst_modulator:
        """The modulator that a medium wants (``parse_medium``), by this station's link; one picture at a time."""
        return blocks.burst_modulator(
            profile=self.config.profile,
            gap_samples=self.link.gap_samples,
            idle=medium.kind.idle,
            amplitude=self.link.amplitude,
            tx_tags=medium.kind.tx_tags,
            device=self.config.device,
            threads=self.config.threads,
            batch=1,
            sender=self.config.sender,
            **options,
        )

    @property
    def radios(self) -> list:
        """The ends of radios among the blocks."""
        return [block for block in self.chain if isinstance(block, RadioEnd)]

    def gone_s(self) -> float:
        """For how long a radio has been away; 0: none is."""
        return max((radio.gone_s() for radio in self.radios), default=0.0)

    def finished(self) -> bool:
        raise NotImplementedError

    def missed(self) -> list[str]:
        """What was not sent, or not received because the radio was away, a sentence each."""
        return [f"the radio at {self.config.radio} no longer answers"] if self._is_gone else []

    def unwritten(self) -> list[str]:
        """What could not be written, a sentence each."""
        return [fault for fault in [self.log.fault() if self.log else ""] if fault]

    def drain(self) -> None:
        """Called before a run ends, whatever ended it."""

    def pause(self, stop: threading.Event) -> None:
        """Waits for a moment, less if the run is to end."""
        if self._window is None:
            stop.wait(_TICK_S)
        elif not self._window.wait(_TICK_S):
            stop.set()

    def open_window(self, title: str, **options):
        """A window with pictures, which ends the run when it is closed. options: of ``image_view``."""
        # Qt, which a station without a window does not load
        from semcom.dashboard.first_window import LiveWindow, application

        application()
        view = blocks.image_view(**options)
        self._window = LiveWindow(view.widget, title)
        self.chain.append(view)
        return view

    def run_until(self, stop: threading.Event, seconds: float | None, on_tick: Callable | None) -> Summary:
        """Runs until finished, stopped or out of time; ``on_tick(summary)`` is called about ten times a second."""
        began = time.monotonic()
        self.start()
        try:
            while not (stop.is_set() or self.finished()):
                if seconds is not None and time.monotonic() - began >= seconds:
                    break
                if self.gone_s() > _GIVE_UP_S:
                    break
                self.pause(stop)
                if on_tick:
                    on_tick(self._report(began))
            self.drain()
            self._is_gone = self.gone_s() > 0
        finally:
            self.stop()
            self.wait()
            if self.log:
                self.log.close()
        missed, unwritten = self.missed(), self.unwritten()
        self.summary.faults = missed + unwritten
        self.summary.exit_status = 2 if unwritten else 1 if missed else 0
        return self._report(began)

    def _report(self, began: float) -> Summary:
        self.summary.seconds = time.monotonic() - began
        counted = [*self.chain, self.log] if self.log else self.chain
        self.summary.counters = {name: dict(block.counters) for name, block in by_name(counted).items()}
        return self.summary


class TransmitStation(Station):
    """Pictures to a radio.

    Args:
        linger_s: stay so long after the last picture, for receivers that ask for more of it.
        pictures: what to send, in order. repeat: for ever. rate: pictures a second; 0: as fast as the air takes them.
        snr_db: Es/N0 to encode for while there is no fresh feedback. payload: how what the model makes becomes symbols.
        show: what is sent, in a window; closing it ends the run.

    Raises:
        ConfigError: a hybrid, which receiving stations do not read.
    """

    def __init__(
        self,
        config: StationConfig,
        pictures: Iterable[Picture],
        repeat: bool = False,
        rate: float = 0.0,
        snr_db: float = 10.0,
        payload: Payload = ANALOG,
        linger_s: float = 0.0,
        show: bool = False,
    ):
        if isinstance(payload, Hybrid):
            raise ConfigError(
                "receiving stations do not read hybrids yet: send latents, or coded bits, instead."
            )
        super().__init__("transmitter", config)
        link, medium = self.link, parse_medium(config.radio, transmit=True)
        self._ledger = AirLedger() if medium.kind.answers else None
        self.feedback: list[blocks.feedback_receiver] = []
        self._read: dict[int, tuple[Picture, float]] = {}  # by number: picture, when it was read
        self.source = blocks.image_source(
            pictures_in=pictures,
            linger_s=linger_s,
            repeat=repeat,
            rate=rate,
            max_in_flight=_AHEAD,
            first_id=secrets.randbelow(IDS),
            on_sent=self._note,
        )
        self.encoder = blocks.deepjscc_encoder(
            link.model,
            snr_db=snr_db,
            device=config.device,
            threads=config.threads,
            batch=1,
            payload=payload_of_codec(payload),
        )
        mapping = mapper_of(link.model, payload, device=config.device, threads=config.threads, batch=1)
        control = self._control(payload, snr_db)
        self.modulator = self.modulator_for(medium, max_waiting=_BURSTS_AHEAD, on_sent=self._sent)
        answers = {"on_answer": self._ledger.answer} if self._ledger else {}
        self.radio = blocks.radio_sink(**config.radio_options(link, transmit=True), **answers)
        self.chain = [self.source, *control, self.encoder, *mapping, self.modulator, self.radio]
        self.connect(self.modulator, self.radio)
        self.connect_pdus(self.source, *control, self.encoder, *mapping, self.modulator)
        making = [*control, self.encoder, *mapping, self.modulator]
        self.source.follow(making, lambda image_id, error: self._read.pop(image_id, None))
        if show:
            view = self.open_window("semcom tx", received_title="")
            self.msg_connect((self.source, keys.PORT_OUT), (view, keys.PORT_SENT))
        if config.feedback:
            for address in config.feedback.split(","):
                feedback = blocks.feedback_receiver(address.strip(), **config.socket_options)
                for block in (*control, self.encoder):
                    self.msg_connect((feedback, keys.PORT_SNR), (block, keys.PORT_SNR))
                self.feedback.append(feedback)
            self.chain += self.feedback
        if config.telemetry:
            self.telemetry = blocks.telemetry(
                config.telemetry, station="tx", profile=config.profile, **config.socket_options
            )
            self.msg_connect((self.source, keys.PORT_OUT), (self.telemetry, keys.PORT_PICTURES))
            for feedback in self.feedback:
                self.msg_connect((feedback, keys.PORT_SNR), (self.telemetry, keys.PORT_SNR))
            _watch(self.telemetry, self.chain)

    def _control(self, payload: Payload, snr_db: float) -> list:
        """The rate controller, where pictures may have a target: this station's, or one that comes with feedback."""
        analog = isinstance(payload, Analog) and payload.rate == 1
        model = self.encoder.model
        if not (analog and (payload.target_psnr_db or self.config.feedback)) or model.card.rates is None:
            return []
        return [blocks.rate_controller(model, payload.target_psnr_db, snr_db, threads=self.config.threads)]

    def _note(self, image_id: int, picture: Picture) -> None:
        self._read[image_id] = picture, time.monotonic()

    def _sent(self, meta: dict) -> None:
        """A picture's bursts are made and wait for the air: room for the next."""
        picture, read_s = self._read.pop(meta[keys.IMAGE_ID], (None, 0.0))
        if self._ledger:
            self._ledger.made(meta[keys.BURST_COUNT], is_picture=picture is not None)
        else:
            self.summary.pictures += picture is not None
            self.summary.bursts += meta[keys.BURST_COUNT]
        self.summary.airtime_s += meta[keys.AIRTIME_SAMPLES] / self.link.sample_rate_hz
        if self.config.telemetry:
            self.telemetry.on_sent(meta)
        if picture is None:
            # more of one that is out, for a receiver that has asked
            return
        self.source.acknowledge(meta[keys.IMAGE_ID])
        if self.log:
            height, width = picture.pixels.shape[:2]
            entry = {
                keys.IMAGE_ID: meta[keys.IMAGE_ID],
                "image": picture.name,
                "path": str(Path(picture.path).resolve()) if picture.path else "",
                "sha256": pixels_sha256(picture.pixels),
                "true_label": picture.label,
                keys.HEIGHT: height,
                keys.WIDTH: width,
                "read_s": read_s,
                "sent_s": time.monotonic(),
                "sent_utc": datetime.now(timezone.utc).isoformat(),
                keys.SENDER: self.config.sender,
                keys.MODEL: self.link.model,
                keys.LINK_HASH: self.link.hash if self.config.profile else 0,
                # with these and the map among the symbols a receiver allocates as the sender did
                keys.LATENT_COUNT: meta[keys.LATENT_COUNT],
                keys.SIDE: meta[keys.SIDE],
                keys.BURST_COUNT: meta[keys.BURST_COUNT],
                keys.PAPR_DB: meta[keys.PAPR_DB],
                **{key: meta[key] for key in keys.CHOSEN if key in meta},
            }
            self.log.add(entry)

    def _report(self, began: float) -> Summary:
        if self._ledger:
            self.summary.pictures, self.summary.bursts = self._ledger.pictures, self._ledger.answers[ON_AIR]
        return super()._report(began)

    def drain(self) -> None:
        """Pictures that were begun still go out, where the air takes them."""
        self.source.finish()
        until = time.monotonic() + _DRAIN_S
        while not (self.finished() or self.gone_s()) and time.monotonic() < until:
            time.sleep(_TICK_S / 5)

    def finished(self) -> bool:
        """The last picture has left the radio, and so has the silence after it: on a socket nothing else follows."""
        return (self.radio.sent_all() and self.modulator.quiet) or bool(self.radio.gave_up())

    def missed(self) -> list[str]:
        words = super().missed() + left_out(self.source) + self._unheard()
        if self._ledger and self._ledger.answers[UNANSWERED]:
            on_air, made = self._ledger.answers[ON_AIR], self._ledger.bursts_made
            words.append(f"{on_air} of {made} bursts were acknowledged by the radio")
        return words

    def _unheard(self) -> list[str]:
        """Where a socket carries samples: whether anybody took one."""
        if (
            self.radio.medium.name != "zmq"
            or self.radio.counters["samples sent"]
            or not self.summary.pictures
        ):
            return []
        self.summary.pictures = self.summary.bursts = 0
        self.summary.airtime_s = 0.0
        return [f"nobody listened at {self.radio.medium.address}: nothing was sent"]

    def run_until(self, stop: threading.Event, seconds: float | None, on_tick: Callable | None) -> Summary:
        summary = super().run_until(stop, seconds, on_tick)
        if summary.faults and not summary.pictures and not self._is_gone:
            summary.exit_status = 2
        return summary

    def unwritten(self) -> list[str]:
        return [word for word in [self.radio.gave_up()] if word] + super().unwritten()


class ReceiveStation(Station):
    """A radio to pictures.

    Args:
        out: folder for the received pictures; "": none. pictures: finish after so many; None: never.
        capture_folder: record every burst there; "": no. capture_options: of ``capture_recorder``.
        sent_log: the transmitter's log, by which received pictures are called; "": that of ``capture_options``.
        video: file for the received pictures as a video; "": none. show: in a window, the newest with its latency;
            closing it ends the run.
    """

    def __init__(
        self,
        config: StationConfig,
        out: str = "",
        pictures: int | None = None,
        capture_folder: str = "",
        capture_options: dict | None = None,
        sent_log: str = "",
        on_picture: Callable[[dict, np.ndarray], None] | None = None,
        video: str = "",
        show: bool = False,
    ):
        super().__init__("receiver", config)
        self._asking = threading.Lock()
        link, self._wanted, self._on_picture = self.link, pictures, on_picture
        radio = config.radio_options(link, transmit=False)
        self.radio = blocks.radio_source(**radio)
        self.receiver = blocks.receiver(
            profile=config.profile,
            invert_spectrum=config.spectrum_inverted,
            cfo_search=config.cfo_search,
            constellation_rate=0.0,
            device=config.device,
            threads=config.threads,
        )
        self.decoder = blocks.deepjscc_decoder(
            link.model, profile=config.profile, device=config.device, threads=config.threads
        )
        place = sent_log or (capture_options or {}).get("sent_log", "")
        self._sent_log = None
        if place:
            # the recorder's packages, which a station without one does not load
            from semcom.capture.sent_log import SentLog

            self._sent_log = SentLog(place)
        named = {"name_of": self._name_of} if self._sent_log and self.decoder.system.result is IMAGE else {}
        self.sink = sink_of(self.decoder.system, folder=out, keep=1, callback=self._received, **named)
        self._out = out
        self.chain = [self.radio, self.receiver, self.decoder, self.sink]
        self.connect(self.radio, self.receiver)
        self.connect_pdus(*self.chain[1:])
        self.video = None
        if (video or show) and self.decoder.system.result is not IMAGE:
            raise ConfigError(f"model '{link.model}' gives no pictures: leave out --video and --show.")
        if video:
            self.video = blocks.video_sink(video, keep=0)
            self.msg_connect((self.decoder, keys.PORT_OUT), (self.video, keys.PORT_IN))
            self.chain.append(self.video)
        if show:
            view = self.open_window("semcom rx", sent_title="")
            self.msg_connect((self.decoder, keys.PORT_OUT), (view, keys.PORT_IN))
        self.requests = None
        if config.refine_rho:
            codec = self.decoder.model.codec
            if not codec.refines:
                raise ConfigError(
                    f"model '{link.model}' sends a picture at once, nothing more of it can be asked for: leave "
                    f"the ratio out, "
                    "or take a model such as photo-adaptive."
                )
            if not config.feedback:
                raise ConfigError(
                    "what more of a picture is wanted is asked for with feedback: give its address."
                )
            # refuses a rate that the model does not have
            codec.latent_count(*codec.source.warm_up(), config.refine_rho)
            self.requests = Requests(config.refine_rho)
        self.recorder = None
        if capture_folder:
            self.recorder = blocks.capture_recorder(
                capture_folder,
                sample_rate_hz=link.sample_rate_hz,
                centre_frequency_hz=radio["centre_frequency_hz"],
                link=config.profile,
                **(capture_options or {}),
            )
            self.msg_connect((self.receiver, keys.PORT_BURSTS), (self.recorder, keys.PORT_BURSTS))
            self.msg_connect((self.receiver, keys.PORT_OUT), (self.recorder, keys.PORT_IN))
            self.msg_connect((self.receiver, keys.PORT_FAILED), (self.recorder, keys.PORT_FAILED))
            self.chain.append(self.recorder)
        if config.feedback:
            self.feedback = blocks.feedback_sender(
                config.feedback, target_psnr_db=config.target_psnr_db, **config.socket_options
            )
            self.msg_connect((self.receiver, keys.PORT_SNR), (self.feedback, keys.PORT_SNR))
            self.chain.append(self.feedback)
        if config.telemetry:
            self.telemetry = blocks.telemetry(
                config.telemetry, station="rx", profile=config.profile, **config.socket_options
            )
            self.msg_connect((self.decoder, keys.PORT_OUT), (self.telemetry, keys.PORT_PICTURES))
            self.msg_connect((self.receiver, keys.PORT_OUT), (self.telemetry, keys.PORT_BURSTS))
            _watch(self.telemetry, self.chain)

    def _received(self, meta: dict, value: np.ndarray) -> None:
        self.summary.pictures += 1
        self.summary.bursts += meta[keys.BURSTS_RECEIVED]
        if self._on_picture:
            self._on_picture(meta, value)
        if self.requests and keys.HAVE in meta:
            size = meta[keys.HEIGHT], meta[keys.WIDTH]
            symbols = self.decoder.model.codec.latent_count(*size, self.requests.rho)
            with self._asking:
                self.requests.heard(meta[keys.IMAGE_ID], meta[keys.HAVE], meta[keys.MISSING], symbols)
        if self.log:
            file = getattr(self.sink, "latest", None)
            entry = {**meta, "received_s": time.monotonic(), "sha256": pixels_sha256(value)}
            self.log.add(entry | ({"file": str(file)} if file else {}))

    def _name_of(self, meta: dict) -> str:
        assert self._sent_log is not None
        sent = self._sent_log.find(
            meta[keys.IMAGE_ID], meta.get(keys.MODEL_HASH), time.time(), meta.get(keys.SENDER, 0)
        )
        return sent.name if sent else ""

    def finished(self) -> bool:
        return self.sink.ended.is_set() or (
            self._wanted is not None and self.summary.pictures >= self._wanted
        )

    def pause(self, stop: threading.Event) -> None:
        if self.requests:
            with self._asking:
                due = self.requests.due()
            for wanted in due:
                self.feedback.ask(wanted)
        super().pause(stop)

    def drain(self) -> None:
        """What is on its way is written, unless enough has come."""
        if self._wanted is not None and self.summary.pictures >= self._wanted:
            for block in self.chain:
                if isinstance(block, PduWorker):
                    block.drop_rest()

    def run_until(self, stop: threading.Event, seconds: float | None, on_tick: Callable | None) -> Summary:
        summary = super().run_until(stop, seconds, on_tick)
        summary.advice = self._advice()
        summary.written = self.sink.counters[self.sink.written] if self._out else None
        summary.recording_stopped = (self.recorder and self.recorder.writer.stopped) or ""
        return summary

    def _report(self, began: float) -> Summary:
        super()._report(began)
        if self.requests:
            self.summary.counters["requests"] = dict(self.requests.counters)
        return self.summary

    def unwritten(self) -> list[str]:
        words = []
        for sink in filter(None, (self.sink, self.video)):
            lost = {what: times for what, times in sink.counters.items() if what.startswith(sink.not_written)}
            if lost:
                words.append(f"{sum(lost.values())} received {', '.join(lost)}. Make room.")
        stopped = self.recorder and self.recorder.writer.stopped
        return words + ([f"recording stopped: {stopped}"] if stopped else []) + super().unwritten()

    def _advice(self) -> str:
        """What to check where no burst was read; "" where one was."""
        counters = self.receiver.counters
        if counters[BURSTS_READ] or self._is_gone:
            return ""
        searched, found = (counters[what] for what in ("samples searched", "bursts found"))
        if not searched:
            return f"no samples came from {self.config.radio}: is what sends them running, and is that its address?"
        if refused := [f"{counters[what]} {what}" for what in REFUSALS if counters.get(what)]:
            # headers were read, so level and frequency are not what is wrong
            return (
                f"every burst was refused: {'; '.join(refused)}. Check that both stations have the same key file "
                f"(key {self.link.key!r} here; copy it, or `semcom agree` at both), and that their clocks agree."
            )
        what = f"bursts found: {found}, none of them readable," if found else "no burst was found"
        settings, oddities = findings(
            self.receiver.loudest,
            self.receiver.modem,
            self.link.sample_rate_hz,
            self.receiver.invert_spectrum,
            self.receiver.cfo_search,
        )
        return " ".join(
            [
                f"{what} in {searched} samples.",
                *(settings if not found else ()),
                *oddities,
                "Check the level (gain, cable, antenna) and the frequency, and that both stations loaded the same link "
                f"profile; loaded here is {self.summary.link}.",
            ]
        )

    def start(self) -> None:
        """Warms the decoder up first: what was sent while it does is in the radio's buffers."""
        with torch.inference_mode():
            self.decoder.warm_up()
        super().start()


def left_out(source: blocks.image_source) -> list[str]:
    """What a source could not send and why, in a sentence or none."""
    count, reasons = source.counters[LEFT_OUT], list(source.reasons)
    many = f" ({len(reasons) - 1} other reasons)" if len(reasons) > 1 else ""
    return [f"{count} pictures could not be sent: {reasons[0].rstrip('.')}{many}."] if count else []


def transmit(
    config: StationConfig, pictures: Iterable[Picture], *, seconds=None, on_tick=None, **options
) -> Summary:
    """Sends pictures until they are out, ``seconds`` are over, or SIGINT or SIGTERM comes.

    Args:
        options: of ``TransmitStation``. on_tick: called with the ``Summary`` so far, ten times a second.

    Raises:
        SemcomError: a profile, model, radio or address that cannot be; before anything is sent.
    """
    station = TransmitStation(config, pictures, **options)
    with stopped_by_signals() as stop:
        return station.run_until(stop, seconds, on_tick)


def receive(config: StationConfig, *, seconds=None, on_tick=None, **options) -> Summary:
    """Receives until the stream ends, enough pictures came, ``seconds`` are over, or SIGINT or SIGTERM comes.

    Args:
        options: of ``ReceiveStation``. on_tick: called with the ``Summary`` so far, ten times a second.

    Raises:
        SemcomError: as in ``transmit``.
    """
    station = ReceiveStation(config, **options)
    with stopped_by_signals() as stop:
        return station.run_until(stop, seconds, on_tick)


def by_name(blocks_in: list) -> dict[str, Any]:
    """Blocks by their names, of which those that are there again are numbered."""
    named: dict[str, Any] = {}
    for block in blocks_in:
        name, number = block.name(), 1
        while name in named:
            number += 1
            name = f"{block.name()} {number}"
        named[name] = block
    return named


def _watch(telemetry, chain: list) -> None:
    for name, block in by_name(chain).items():
        telemetry.watch(name, block)
