# SPDX-License-Identifier: GPL-3.0-or-later
"""SNR estimates of the receiving station, to whoever transmits to it."""

import threading
import time
from collections import deque
from functools import partial

import pmt
import zmq
from gnuradio import gr

from semcom.adaptation import report_of
from semcom.adaptation.feedback import Wanted, wanted_of
from semcom.adaptation.wire import HEARTBEAT
from semcom.blocks import pdu as bridge
from semcom.blocks.base import check, check_target, is_number, reason_of
from semcom.blocks.pdu import Pmt
from semcom.blocks.socket_thread import SocketThread
from semcom.errors import PduError
from semcom.keys import PORT_REQUEST, PORT_SNR, TARGET_PSNR_DB, TIMESTAMP_S, WANT_ITEM
from semcom.wire import sockets
from semcom.wire.numbering import Numbering
from semcom.wire.redial import BEAT_S

_MAX_BYTES = 4096  # a subscription, the only thing that comes in, is far shorter
_MOST_ASKED = 64  # requests that wait for an estimate
_HIGH_WATER = 16  # reports that wait for a slow transmitter: old ones are worth nothing


class feedback_sender(SocketThread, gr.basic_block):
    """Numbers SNR estimates and publishes the newest over ZMQ, as GNU Radio's own ZMQ message blocks would.

    Ports: ``snr`` takes dictionaries of ``pilot_snr_estimator:snr``; ``request`` such as ask for more of a picture
    (``semcom.adaptation.feedback.Wanted``), which go with the next estimate: numbered as it is, none counts twice. On
    the wire (PUB) goes a serialised dictionary:
    snr_db, snr_stderr_db, session, sequence, timestamp_s, and target_psnr_db where there is one; an empty one every
    second without estimates, so that whoever listens knows that the line is whole. A transmitter may come and go; it is
    not waited for.

    Args:
        address: ZMQ endpoint. keys: folder of CurveZMQ certificates.
        insecure: allows an address beyond this machine without keys.
        bind: whether this side binds (the transmitter then connects).
        rate_hz: reports a second at most; of estimates that come faster, the newest goes.
        target_psnr_db: the PSNR in dB that pictures should reach, said with every report; 0: none.
    """

    def __init__(
        self,
        address: str = "tcp://127.0.0.1:5570",
        keys: str = "",
        insecure: bool = False,
        bind: bool = True,
        rate_hz: float = 50.0,
        target_psnr_db: float = 0.0,
    ):
        check(
            "feedback_sender",
            rate_hz=(rate_hz, is_number(rate_hz) and rate_hz > 0, "above 0 reports a second"),
        )
        check_target("feedback_sender", target_psnr_db)
        gr.basic_block.__init__(self, name="feedback_sender", in_sig=None, out_sig=None)
        limits = {"max_bytes": _MAX_BYTES, "high_water": _HIGH_WATER}
        access = {"bind": bind, "keys": keys, "insecure": insecure}
        self.init_socket(
            "feedback_sender", partial(sockets.open_socket, zmq.PUB, address, **access, **limits), binds=bind
        )
        self._interval_s = 1 / float(rate_hz)
        self.target_psnr_db = float(target_psnr_db)
        self._numbering = Numbering()
        self._newest: dict | None = None
        self._asked: deque[dict] = deque(maxlen=_MOST_ASKED)
        self._arrived = threading.Condition()
        self.message_port_register_in(pmt.intern(PORT_SNR))
        self.set_msg_handler(pmt.intern(PORT_SNR), self.on_snr)
        self.message_port_register_in(pmt.intern(PORT_REQUEST))
        self.set_msg_handler(pmt.intern(PORT_REQUEST), self.on_request)

    def set_target_psnr_db(self, psnr_db: float) -> None:
        """The target, live."""
        check_target("feedback_sender", psnr_db)
        self.target_psnr_db = float(psnr_db)

    def on_snr(self, message: Pmt) -> None:
        """An estimate; it replaces one that waits."""
        try:
            report = report_of(bridge.from_dict(message))
        except Exception as error:
            self.fail(reason_of(error), error)
            return
        with self._arrived:
            replaced, self._newest = self._newest is not None, report
            self._arrived.notify_all()
        if replaced:
            self.count("SNR estimates replaced by newer ones before they were sent")

    def on_request(self, message: Pmt) -> None:
        """What more of a picture is asked for; it goes with the next report."""
        try:
            wanted = wanted_of(bridge.from_dict(message))
            if wanted is None:
                raise PduError(f"request without '{WANT_ITEM}'")
        except Exception as error:
            self.fail(reason_of(error), error)
            return
        self.ask(wanted)

    def ask(self, wanted: Wanted) -> None:
        """Asks for more of a picture."""
        with self._arrived:
            self._asked.append(wanted.fields())

    def reset(self) -> None:
        self._newest = None
        self._asked.clear()

    def wake(self) -> None:
        with self._arrived:
            self._arrived.notify_all()

    def serve(self, socket: zmq.Socket) -> None:
        with self._arrived:
            self._arrived.wait_for(lambda: self._newest is not None or self.stopping.is_set(), timeout=BEAT_S)
            report, self._newest = self._newest, None
            asked = self._asked.popleft() if self._asked and report is not None else {}
            # the rest goes with the same estimate
            if self._asked and report is not None:
                self._newest = report
        if report is None:
            socket.send(HEARTBEAT, zmq.NOBLOCK)
            return
        stamped = report | asked | self._numbering.next() | {TIMESTAMP_S: time.monotonic()}
        if self.target_psnr_db:
            stamped[TARGET_PSNR_DB] = self.target_psnr_db
        socket.send(pmt.serialize_str(bridge.to_dict(stamped)), zmq.NOBLOCK)
        self.count("SNR reports sent")
        if asked:
            self.count("requests sent")
        self.stopping.wait(self._interval_s)
