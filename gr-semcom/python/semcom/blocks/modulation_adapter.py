# SPDX-License-Identifier: GPL-3.0-or-later
"""SNR reports to the constellation to send on."""

import threading
from collections import deque
from functools import partial

import numpy as np
import pmt
from gnuradio import gr

from semcom import keys
from semcom.adaptation.modulation import FALLBACKS, Choice, OrderChooser
from semcom.adaptation.tolerance import tolerance_of
from semcom.blocks import pdu as bridge
from semcom.blocks.base import (
    Guarded,
    begin_anew,
    check,
    is_count,
    is_heartbeat,
    is_number,
    meta_of,
    reason_of,
)
from semcom.blocks.pdu import Pmt
from semcom.errors import SemcomError
from semcom.modem.header import MAX_BITS_PER_LATENT
from semcom.modulation import constellation
from semcom.modulation.error_rate import CHANNELS
from semcom.system import zoo

_LOOK_S = 0.05  # how often the age of the latest report is looked at
_HISTORY = 200


class modulation_adapter(Guarded, gr.basic_block):
    """Chooses the highest order whose bit errors the model bears at the SNR that is reported, as its card says.

    Ports: ``snr`` takes reports as ``pilot_snr_estimator`` and ``feedback_receiver`` send them: NaN, infinite,
    repeated and reordered ones are counted by reason and change nothing; a late one that is in sequence is accepted,
    as reports carry no time that could be trusted. ``order``, for ``latent_mapper:order``: a
    dictionary with order when the graph starts and whenever it changes, and with snr_db, the lower confidence limit it
    was chosen for (absent without a fresh report). ``history``: the latest orders, one a report, in bits per symbol, as
    an f32vector for a time plot.

    Args:
        model: name in the zoo; its card has the table of ``semcom tolerance``.
        bits_per_latent, codebook: as of the ``latent_mapper``; "best" stands for the same codebooks there and here.
        loss_db: the loss of PSNR that the table is for; 0: that of the card's first table.
        channel: "awgn" or "rayleigh", whose bit error rate is expected.
        confidence: of the lower limit of the SNR. margin_db: taken off it on top.
        hysteresis_db: by how much the lower limit, aged by the usual interval between reports, must exceed a threshold
            at three reports in a row before the order rises. dwell_s: least time between a change and a rise.
        max_age_s: silence after which the fallback holds. wander_db: how far the SNR wanders in a second.
        fallback: without fresh reports the "lowest" order, or "hold" the one in use.
    """

    def __init__(
        self,
        model: str = "photo-1-12",
        bits_per_latent: int = 2,
        codebook: str = "uniform",
        loss_db: float = 0.0,
        channel: str = "awgn",
        confidence: float = 0.95,
        margin_db: float = 0.0,
        hysteresis_db: float = 1.0,
        dwell_s: float = 0.5,
        max_age_s: float = 2.0,
        wander_db: float = 3.0,
        fallback: str = "lowest",
    ):
        not_negative = {"loss_db": loss_db, "margin_db": margin_db, "hysteresis_db": hysteresis_db}
        is_width = is_count(bits_per_latent) and bits_per_latent <= MAX_BITS_PER_LATENT
        is_share = is_number(confidence) and 0.5 <= confidence < 1
        check(
            "modulation_adapter",
            bits_per_latent=(bits_per_latent, is_width, f"a whole number, 1 to {MAX_BITS_PER_LATENT}"),
            channel=(channel, channel in CHANNELS, f"one of {', '.join(CHANNELS)}"),
            confidence=(confidence, is_share, "at least 0.5 and below 1"),
            dwell_s=(dwell_s, is_number(dwell_s) and dwell_s >= 0, "0 s or more"),
            max_age_s=(max_age_s, is_number(max_age_s) and max_age_s > 0, "above 0 s"),
            wander_db=(wander_db, is_number(wander_db) and wander_db >= 0, "0 dB or more"),
            fallback=(fallback, fallback in FALLBACKS, f"one of {', '.join(FALLBACKS)}"),
            **{name: (at, is_number(at) and at >= 0, "0 dB or more") for name, at in not_negative.items()},
        )
        gr.basic_block.__init__(self, name="modulation_adapter", in_sig=None, out_sig=None)
        self.init_guard("modulation_adapter")
        codebook = zoo.codebook_name(model, codebook)
        self.tolerance = tolerance_of(zoo.card(model), bits_per_latent, codebook, loss_db or None, model)
        self._new_chooser = partial(
            OrderChooser,
            self.tolerance.max_ber,
            channel=channel,
            confidence=float(confidence),
            margin_db=float(margin_db),
            hysteresis_db=float(hysteresis_db),
            dwell_s=float(dwell_s),
            max_age_s=float(max_age_s),
            wander_db=float(wander_db),
            fallback=fallback,
        )
        self._chooser = self._new_chooser()
        self._lock = threading.Lock()  # handler and watch share the chooser
        self._told: int | None = None
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None
        self.message_port_register_in(pmt.intern(keys.PORT_SNR))
        self.set_msg_handler(pmt.intern(keys.PORT_SNR), self.on_snr)
        self._history: deque[float] = deque(maxlen=_HISTORY)
        for port in (keys.PORT_ORDER, keys.PORT_HISTORY):
            self.message_port_register_out(pmt.intern(port))

    def on_snr(self, message: Pmt) -> None:
        """A report from the receiver."""
        if is_heartbeat(message):
            return
        try:
            report = meta_of(message)
            with self._lock:
                choice = self._chooser.hear(report)
                self._publish(choice)
                self._history.append(float(constellation(choice.order).bits))
                history = pmt.cons(pmt.PMT_NIL, bridge.to_vector(np.array(self._history, dtype=np.float32)))
                self.message_port_pub(pmt.intern(keys.PORT_HISTORY), history)
        except SemcomError as error:
            self.fail(reason_of(error), error)

    def start(self) -> bool:
        begin_anew(self)
        self._stopping.clear()
        with self._lock:
            self.keep_counts()
            self._chooser, self._told = self._new_chooser(), None
        self._watcher = threading.Thread(target=self._watch, name="semcom modulation_adapter", daemon=True)
        self._watcher.start()
        return True

    def stop(self) -> bool:
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join(timeout=5)
        return True

    def _watch(self) -> None:
        """Nobody reports that reports have stopped."""
        while True:
            try:
                with self._lock:
                    self._publish(self._chooser.choice())
            except Exception as error:  # nothing may end this thread
                self.fail(reason_of(error), error)
            if self._stopping.wait(_LOOK_S):
                return

    def _publish(self, choice: Choice) -> None:
        self.set_counts(self._chooser.counters)
        if choice.order == self._told:
            return
        self._told = choice.order
        message = {keys.ORDER: choice.order}
        if choice.lower_db is not None:
            message[keys.SNR_DB] = choice.lower_db
        self.message_port_pub(pmt.intern(keys.PORT_ORDER), bridge.to_dict(message))
