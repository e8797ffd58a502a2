# SPDX-License-Identifier: GPL-3.0-or-later
"""SNR reports of the receiving station, for the encoder."""

from functools import partial

import pmt
import zmq
from gnuradio import gr

from semcom.adaptation import Belief, SnrTracker, read_dictionary
from semcom.adaptation.feedback import wanted_of
from semcom.adaptation.wire import HEARTBEAT
from semcom.blocks import pdu as bridge
from semcom.blocks.base import check, is_number
from semcom.blocks.socket_thread import SocketThread
from semcom.errors import PduError
from semcom.keys import PORT_SNR, SESSION, SNR_DB, SNR_STDERR_DB, TARGET_PSNR_DB, TIMESTAMP_S
from semcom.wire import sockets
from semcom.wire.redial import Redial

_MAX_BYTES = 65536  # who sends more is cut off; what is shorter and still too long is counted
_HIGH_WATER = 64  # reports in the queue
_POLL_MS = 50


class feedback_receiver(SocketThread, gr.basic_block):
    """Receives SNR reports over ZMQ, accepts those that are new and plausible, and passes on the joint estimate.

    Port: ``snr``, for ``deepjscc_encoder:snr`` and ``rate_controller:snr``: after each report accepted a dictionary with
    snr_db, snr_stderr_db and timestamp_s (time.monotonic() here), and where its receiver said so session and
    target_psnr_db, and what it asks for of a picture that it has. What is lost, repeated, out of order, stale, absurd
    or malformed is counted in words, and so are a
    receiver that starts anew and a connection that is lost. GNU Radio's own ``zeromq.pub_msg_sink`` may be at the other
    end.

    Args:
        address: ZMQ endpoint. keys: folder of CurveZMQ certificates.
        insecure: allows an address beyond this machine without keys.
        bind: whether this side binds (the receiver then connects).
        max_age_s: silence after which the reports before it are forgotten.
        wander_db: how far the SNR wanders in a second: small averages more, large follows faster.
    """

    def __init__(
        self,
        address: str = "tcp://127.0.0.1:5570",
        keys: str = "",
        insecure: bool = False,
        bind: bool = False,
        max_age_s: float = 2.0,
        wander_db: float = 10.0,
    ):
        check(
            "feedback_receiver",
            max_age_s=(max_age_s, is_number(max_age_s) and max_age_s > 0, "above 0 s"),
            wander_db=(wander_db, is_number(wander_db) and wander_db >= 0, "0 dB or more"),
        )
        gr.basic_block.__init__(self, name="feedback_receiver", in_sig=None, out_sig=None)
        limits = {"max_bytes": _MAX_BYTES, "high_water": _HIGH_WATER}
        access = {"bind": bind, "keys": keys, "insecure": insecure}
        self.init_socket(
            "feedback_receiver",
            partial(sockets.open_socket, zmq.SUB, address, **access, **limits),
            binds=bind,
        )
        self._new_tracker = partial(SnrTracker, float(max_age_s), float(wander_db))
        self._tracker = self._new_tracker()
        self._address = None if bind else address
        self._redial: Redial | None = None
        self._has_beaten = False
        self.message_port_register_out(pmt.intern(PORT_SNR))

    def reset(self) -> None:
        self.keep_counts()
        self._tracker = self._new_tracker()

    def serve(self, socket: zmq.Socket) -> None:
        if self._address:
            self._call_again(socket, self._address)
        if socket.poll(_POLL_MS):
            self._take(socket.recv_multipart(zmq.NOBLOCK))
        self._tracker.belief()  # notices that reports have become stale
        self.set_counts(self._tracker.counters)

    def _call_again(self, socket: zmq.Socket, address: str) -> None:
        if self._redial is None or self._redial.socket is not socket:
            self._redial, self._has_beaten = Redial(socket, address, self.count), False
        if not self._redial.connected:
            self._has_beaten = False
        self._redial.watch()
        self._redial.tend()

    def _take(self, frames: list[bytes]) -> None:
        if self._redial is not None and (frames == [HEARTBEAT] or self._has_beaten):
            self._has_beaten = True  # GNU Radio's own sender does not, and may be silent as long as it likes
            self._redial.heard()
        if frames == [HEARTBEAT]:
            return
        if len(frames) != 1:
            raise PduError("message of several parts")
        said = read_dictionary(frames[0])
        belief = self._tracker.hear(said)
        if belief is None:
            return
        wanted = wanted_of(said)
        if wanted is not None:
            self.count("requests received")
        asked = wanted.fields() if wanted else {}
        self.message_port_pub(pmt.intern(PORT_SNR), bridge.to_dict(_as_report(belief) | asked))


def _as_report(belief: Belief) -> dict[str, float]:
    report = {SNR_DB: belief.snr_db, SNR_STDERR_DB: belief.stderr_db, TIMESTAMP_S: belief.heard_s}
    said = {TARGET_PSNR_DB: belief.target_psnr_db, SESSION: belief.session}
    return report | {key: value for key, value in said.items() if value is not None}
