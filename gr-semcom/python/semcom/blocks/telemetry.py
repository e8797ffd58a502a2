# SPDX-License-Identifier: GPL-3.0-or-later
"""What passes through a station, reported to whoever watches it (``semcom dashboard``)."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pmt
from gnuradio import gr

from semcom import keys
from semcom.blocks import pdu as bridge
from semcom.blocks.base import (
    Guarded,
    Stage,
    begin_anew,
    check,
    is_count,
    is_heartbeat,
    is_number,
    meta_of,
    reason_of,
)
from semcom.blocks.pdu import Pdu, Pmt
from semcom.blocks.results import picture_of
from semcom.dashboard.digest import Burst, Digest
from semcom.radio import load_link
from semcom.wire.telemetry import Publisher

_LINGER_S = 1.0  # after the blocks upstream are done, for what is said last


class Watcher(Guarded, gr.basic_block):
    """Base of blocks that look at messages at leisure: handlers hand over, a thread of its own calls ``tick``.

    A block has a method ``on_<port>`` for each of its ports (GNU Radio finds handlers by their names).

    Args:
        name: of the block. ports: names of its message ports. rate_hz: calls of ``tick`` a second.
    """

    def __init__(self, name: str, ports: tuple[str, ...], rate_hz: float):
        gr.basic_block.__init__(self, name=name, in_sig=None, out_sig=None)
        self.init_guard(name)
        self._period_s = 1 / rate_hz
        self._stopping, self._thread = threading.Event(), None
        self._done: tuple[Pmt, float] | None = None
        for port in ports:
            self.message_port_register_in(pmt.intern(port))
            self.set_msg_handler(pmt.intern(port), getattr(self, f"on_{port}"))
        self.set_msg_handler(pmt.intern(keys.PORT_SYSTEM), self.on_system)

    def tick(self) -> None:
        raise NotImplementedError

    def hand(self, message: Pmt, to: Callable[[Pmt, Digest], None], digest: Digest) -> None:
        """Gives a message to one of the ``hand_...`` functions; a bad one is counted."""
        try:
            to(message, digest)
        except Exception as error:
            self.fail(reason_of(error), error)

    def on_system(self, message: Pmt) -> None:
        """One upstream block is done. GNU Radio would end this one on the spot; the last picture is still to come."""
        self._done = (message, time.monotonic())

    def watched(self) -> Iterable[Any]:
        """The blocks whose counters are shown: while one of them works there is something to see."""
        return ()

    def _is_over(self) -> bool:
        """Whether all that is looked at has ended, and a moment has passed."""
        stages = [*Stage.before(self, any_port=True), *(b for b in self.watched() if isinstance(b, Stage))]
        if any(not (stage.is_ending or stage.stage_over.is_set()) for stage in stages):
            self._done = (self._done[0], time.monotonic())
        return time.monotonic() - self._done[1] > _LINGER_S

    def start(self) -> bool:
        begin_anew(self)
        self._done = None
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name=f"semcom {self.name()}", daemon=True)
        self._thread.start()
        return True

    def stop(self) -> bool:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
        return True

    def _run(self) -> None:
        while not self._stopping.wait(self._period_s):
            try:
                self.tick()
            except Exception as error:
                self.fail(reason_of(error), error)
            if self._done is not None and self._is_over():
                message, self._done = self._done[0], None
                self.gateway.system_handler(message)


class telemetry(Watcher):
    """Publishes what passes through a station for ``semcom dashboard``: pictures, SNR, constellation, channel, counters.

    The stream is never held up: of many bursts only the latest is looked into, ``max_rate_hz`` times a second, and
    nothing at all while nobody has subscribed.

    Ports: ``pictures`` PDUs of pictures as sent (station "tx") or decoded ("rx"); ``bursts`` PDUs of the
    pilot_snr_estimator; ``snr`` dictionaries with snr_db (at a transmitter: the feedback). A message with papr_db on
    ``bursts`` adds to the distribution of peak powers.

    Args:
        address: where to bind, tcp://HOST:PORT. station: "rx" or "tx".
        keys: folder of CurveZMQ certificates. insecure: allow other machines without keys.
        profile: path of the link profile; "": none.
        max_rate_hz: messages of state a second, and pictures. max_pixels: of a larger picture every n-th pixel is sent.
    """

    def __init__(
        self,
        address: str = "tcp://127.0.0.1:5580",
        station: str = "rx",
        keys: str = "",
        insecure: bool = False,
        profile: str = "",
        max_rate_hz: float = 25.0,
        max_pixels: int = 2**19,
    ):
        check(
            "telemetry",
            max_rate_hz=(
                max_rate_hz,
                is_number(max_rate_hz) and 1 <= max_rate_hz <= 100,
                "1 to 100 a second",
            ),
            max_pixels=(
                max_pixels,
                is_count(max_pixels) and max_pixels <= 2**22,
                "a whole number, 1 to 4194304",
            ),
        )
        self.digest = Digest(station, load_link(profile), float(max_rate_hz), int(max_pixels))
        self._open = partial(Publisher, keys=keys, insecure=insecure)
        # opened here, so that a port in use is reported before anything runs
        self._publisher: Publisher | None = self._open(address)
        self.address = self._publisher.address
        self._is_heard = False
        super().__init__("telemetry", ("pictures", "bursts", "snr"), float(max_rate_hz))

    def on_pictures(self, message: Pmt) -> None:
        if self._is_heard:
            self.hand(message, hand_picture, self.digest)

    def on_bursts(self, message: Pmt) -> None:
        if self._is_heard:
            self.hand(message, hand_burst, self.digest)

    def on_snr(self, message: Pmt) -> None:
        if self._is_heard:
            self.hand(message, hand_snr, self.digest)

    def watch(self, name: str, block: Any) -> None:
        """Publishes also the counters of ``block`` (or of a dictionary), under ``name``."""
        self.digest.watch(name, block)

    def watched(self) -> Iterable[Any]:
        return self.digest.watched()

    def on_sent(self, meta: Mapping[str, Any]) -> None:
        """For burst_modulator(on_sent=...): the peak power of each picture's bursts."""
        if is_number(meta.get(keys.PAPR_DB)):
            self.digest.add_papr(float(meta[keys.PAPR_DB]))

    def tick(self) -> None:
        self._is_heard = self._publisher.is_heard
        self.set_counts(self._publisher.problems)
        if not self._is_heard:
            return
        for message in self.digest.messages():
            self._publisher.send(message)
            self.count("messages published")

    def start(self) -> bool:
        if self._publisher is None:
            self._publisher = self._open(self.address)
        return super().start()

    def stop(self) -> bool:
        super().stop()
        if self._publisher is not None:
            self._publisher.close()
            self._publisher = None
        return True


def hand_picture(message: Pmt, digest: Digest) -> None:
    """A picture's PDU to a digest.

    Raises:
        PduError: no picture, or one without a number.
    """
    pdu = bridge.from_message(message)
    if pdu.is_end:
        return
    pdu.integer(keys.IMAGE_ID)
    digest.add_picture(dict(pdu.meta.items()), picture_of(pdu))


def hand_burst(message: Pmt, digest: Digest) -> None:
    """A burst's PDU (its vectors are read only if it is reported), or a message with papr_db, to a digest.

    Raises:
        PduError: neither.
    """
    if not pmt.is_uniform_vector(pmt.cdr(message) if pmt.is_pair(message) else message):
        digest.add_papr(Pdu(meta_of(message), None).number(keys.PAPR_DB))
        return
    pdu = bridge.from_message(message)
    if pdu.is_end:
        return
    has_papr = keys.PAPR_DB in pdu.meta
    if has_papr:
        digest.add_papr(pdu.number(keys.PAPR_DB))
    if has_papr and keys.SNR_DB not in pdu.meta:
        return  # as sent, not as received
    snr_db, stderr_db, cfo = (
        pdu.number(keys.SNR_DB),
        pdu.number(keys.SNR_STDERR_DB, 0.0),
        pdu.number(keys.CFO, 0.0),
    )
    digest.add_burst(Burst(snr_db, stderr_db, cfo, time.monotonic(), partial(_vectors, pdu)))


def _vectors(pdu: Pdu) -> tuple[np.ndarray, ...]:
    return (
        pdu.vector(np.complex64),
        pdu.vector(np.float32, keys.NOISE_VAR),
        pdu.vector(np.complex64, keys.PILOTS_RX),
        pdu.vector(np.complex64, keys.PILOTS_REF),
    )


def hand_snr(message: Pmt, digest: Digest) -> None:
    """A dictionary with snr_db to a digest.

    Raises:
        PduError: none, or one without snr_db.
    """
    if is_heartbeat(message):
        return
    report = Pdu(meta_of(message), None)
    digest.add_snr(report.number(keys.SNR_DB), report.number(keys.SNR_STDERR_DB, 0.0))
