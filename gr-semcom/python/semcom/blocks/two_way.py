# SPDX-License-Identifier: GPL-3.0-or-later
"""One radio that transmits and receives: a station that receives itself, in one flowgraph.

    image_source -> deepjscc_encoder -> burst_modulator ~> radio_sink   )
      ^                 ^- snr ------------.                             > one device
      '- done - image_sink <- deepjscc_decoder <- receiver <~ radio_source )

A device belongs to one program at a time, so ``semcom tx`` and ``semcom rx`` cannot share one. What is between its two
sockets is the user's: a cable with an attenuator, or two antennas. ``run`` is what ``semcom loopback --radio`` calls.
"""

import dataclasses
import time
from collections.abc import Callable

import torch

from semcom import blocks, keys
from semcom.blocks.latent_mapper import mapper_of, payload_of_codec
from semcom.blocks.loopback import Ledger
from semcom.blocks.stations import Station, StationConfig, Summary, left_out, stopped_by_signals
from semcom.errors import ConfigError
from semcom.kinds.pictures import Picture
from semcom.link.config import LinkConfig
from semcom.link.rows import Row
from semcom.link.users import THE_ONE
from semcom.radio.medium import parse_medium

_IN_FLIGHT = 4  # pictures
_LOST_S = 5.0  # a picture that has not come back so long after all was sent
_TIMEOUT_S = 15.0  # ... or, while others wait behind it, after it was sent


class TwoWayStation(Station):
    """Pictures out and in again, and each burst's SNR to the encoder.

    Args:
        config: as of the two stations; its gain is the transmitter's. pictures: what to send, in order.
        rx_gain_db: instead of the profile's. link_config: what is sent, and the SNR given to the encoder until one is
            measured.
        on_sent, on_modulated, on_picture: the callbacks of image source, modulator and image sink.

    Raises:
        SemcomError: as ``TransmitStation`` and ``ReceiveStation``.
        ConfigError: a medium that nothing comes back from.
    """

    def __init__(
        self,
        config: StationConfig,
        pictures: list[Picture],
        link_config: LinkConfig,
        rx_gain_db: float | None = None,
        *,
        on_sent: Callable,
        on_modulated: Callable,
        on_picture: Callable,
    ):
        super().__init__("two-way station", config)
        link, medium = self.link, _two_way(config.radio)
        options = {"device": config.device, "threads": config.threads}
        self.source = blocks.image_source(
            pictures_in=pictures, max_in_flight=_IN_FLIGHT, timeout_s=_TIMEOUT_S, on_sent=on_sent
        )
        self.encoder = blocks.deepjscc_encoder(
            link.model,
            snr_db=link_config.snr_db,
            batch=1,
            payload=payload_of_codec(link_config.payload),
            **options,
        )
        mapping = mapper_of(link.model, link_config.payload, batch=1, **options)
        self.modulator = self.modulator_for(medium, on_sent=on_modulated)
        receiving = dataclasses.replace(config, gain_db=rx_gain_db)
        self.sink_radio = blocks.radio_sink(**config.radio_options(link, transmit=True))
        self.source_radio = blocks.radio_source(**receiving.radio_options(link, transmit=False))
        self.receiver = blocks.receiver(
            profile=config.profile,
            invert_spectrum=config.spectrum_inverted,
            constellation_rate=0.0,
            **options,
        )
        self.decoder = blocks.deepjscc_decoder(link.model, profile=config.profile, **options)
        self.sink = blocks.image_sink(keep=0, callback=self._received)
        self._on_picture, self._last_s = on_picture, time.monotonic()
        transmitting = [self.source, self.encoder, *mapping, self.modulator]
        receiving = [self.receiver, self.decoder, self.sink]
        self.chain = [*transmitting, self.sink_radio, self.source_radio, *receiving]
        self.connect(self.modulator, self.sink_radio)
        self.connect(self.source_radio, self.receiver)
        self.connect_pdus(*transmitting)
        self.connect_pdus(*receiving)
        self.msg_connect((self.receiver, keys.PORT_SNR), (self.encoder, keys.PORT_SNR))
        self.msg_connect((self.sink, keys.PORT_DONE), (self.source, keys.PORT_DONE))
        self._count = len(pictures)

    def _received(self, meta: dict, pixels) -> None:
        self.summary.pictures += 1
        self.summary.bursts += meta[keys.BURSTS_RECEIVED]
        self._last_s = time.monotonic()
        self._on_picture(meta, pixels)

    def start(self) -> None:
        """Warms both codecs up first."""
        with torch.inference_mode():
            self.encoder.warm_up()
            self.decoder.warm_up()
        super().start()

    def missed(self) -> list[str]:
        return super().missed() + left_out(self.source)

    def finished(self) -> bool:
        """All is sent, and all is back or will not come."""
        if not (self.sink_radio.sent_all() and self.modulator.quiet):
            self._last_s = time.monotonic()
            return False
        return self.summary.pictures >= self._count or time.monotonic() - self._last_s > _LOST_S


def run(
    pictures: list[Picture],
    link_config: LinkConfig,
    station: StationConfig,
    rx_gain_db: float | None = None,
    progress: Callable[[], None] = lambda: None,
    on_rows: Callable[[Picture, list[Row]], None] | None = None,
) -> tuple[list[Row], Summary]:
    """Sends pictures over a radio to itself; a result for each, and what the blocks counted. Those that are back are
    given to ``on_rows`` as they come.

    SIGINT and SIGTERM end it; pictures that were not sent by then have no result.

    Raises:
        SemcomError: as ``TwoWayStation``.
    """
    ledger = Ledger(link_config, [THE_ONE])
    graph = TwoWayStation(
        station,
        pictures,
        link_config,
        rx_gain_db,
        on_sent=ledger.sent,
        on_modulated=ledger.modulated,
        on_picture=lambda meta, pixels: ledger.received(THE_ONE, meta, pixels),
    )
    reported = 0

    def tick(summary: Summary) -> None:
        nonlocal reported
        while reported < ledger.complete:
            reported += 1
            progress()
        if on_rows:
            ledger.score([graph.decoder.model], on_rows, only_complete=True)

    began = time.monotonic()
    with stopped_by_signals() as stop:
        summary = graph.run_until(stop, None, tick)
    tick(summary)
    if on_rows:
        ledger.score([graph.decoder.model], on_rows)
    return ledger.results(time.monotonic() - began, [graph.decoder.model]), summary


def _two_way(radio: str):
    """The medium, if what is sent there can come back.

    Raises:
        ConfigError: it cannot.
    """
    medium = parse_medium(radio, transmit=True)
    if medium.name == "file" or (medium.name == "zmq" and radio != "zmq"):
        raise ConfigError(
            f"radio '{radio}' does not give back what is sent there: name a device (usrp:..., soapy:...), or zmq, with "
            "`semcom air` running between its two addresses."
        )
    return medium
