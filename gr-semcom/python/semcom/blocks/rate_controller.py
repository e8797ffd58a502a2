# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures to pictures with the bandwidth ratio that each is to be sent at."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pmt

from semcom import keys
from semcom.adaptation.feedback import SNR_RANGE_DB, SnrTracker, report_of, target_of
from semcom.blocks.base import (
    PduBlock,
    check,
    check_snr,
    check_target,
    is_heartbeat,
    is_number,
    meta_of,
    reason_of,
)
from semcom.blocks.deepjscc_encoder import MOST_RECEIVERS, NOT_REACHED
from semcom.blocks.pdu import Pdu, Pmt
from semcom.blocks.results import picture_to_send
from semcom.errors import SemcomError
from semcom.system import zoo
from semcom.system.rates import RateChooser


@dataclass
class _Receiver:
    """What is known of a receiver: its SNR, and the PSNR in dB that it asks for; None: it does not."""

    tracker: SnrTracker
    target_psnr_db: float | None = None


class rate_controller(PduBlock):
    """Chooses for each picture the smallest bandwidth ratio at which it is expected to reach a PSNR, as the model's card
    promises (``semcom.system.rates``), at the lower confidence limit of the SNR.

    Ports: ``in`` and ``out`` PDUs of pictures; what goes out has rho, snr_db and target_reached, for the
    ``deepjscc_encoder``, and is otherwise as it came; without a target nothing is added. ``snr`` takes reports as
    ``feedback_receiver`` and ``pilot_snr_estimator`` send them. One with target_psnr_db asks for that PSNR; receivers
    are distinguished by session, and with several a picture goes at the rate that serves all of them. ``target`` takes
    dictionaries with target_psnr_db, or with metric ("psnr_db") and value: the target where no receiver asks for one.

    Args:
        model: name in the zoo, or a model that ``zoo.load`` gave; its card has the table of ``semcom_training.rates``.
        target_psnr_db: 10 to 60 dB, where no receiver asks for one; 0: none.
        snr_db: Es/N0 in dB without fresh reports.
        confidence: of the lower limit of the SNR, one-sided.
        max_age_s: how long a receiver's latest report holds. wander_db: how far the SNR wanders in a second.
        threads, batch, max_queue: as in every block.
    """

    def __init__(
        self,
        model="photo-adaptive",
        target_psnr_db: float = 0.0,
        snr_db: float = 10.0,
        confidence: float = 0.95,
        max_age_s: float = 2.0,
        wander_db: float = 3.0,
        threads: int = 1,
        batch: int = 1,
        max_queue: int = 256,
    ):
        is_share = is_number(confidence) and 0.5 <= confidence < 1
        check(
            "rate_controller",
            confidence=(confidence, is_share, "at least 0.5 and below 1"),
            max_age_s=(max_age_s, is_number(max_age_s) and max_age_s > 0, "above 0 s"),
            wander_db=(wander_db, is_number(wander_db) and wander_db >= 0, "0 dB or more"),
        )
        check_snr("rate_controller", snr_db)
        check_target("rate_controller", target_psnr_db)
        loaded = model if isinstance(model, zoo.LoadedModel) else zoo.load(model)
        self._chooser = RateChooser(loaded)
        super().__init__("rate_controller", threads=threads, batch=batch, max_queue=max_queue)
        self.target_psnr_db, self.snr_db = float(target_psnr_db), float(snr_db)
        self._quantile = NormalDist().inv_cdf(confidence)
        self._max_age_s, self._wander_db = float(max_age_s), float(wander_db)
        self._receivers: OrderedDict[int | None, _Receiver] = OrderedDict()
        self._lock = threading.Lock()
        for port, handler in ((keys.PORT_SNR, self.on_snr), (keys.PORT_TARGET, self.on_target)):
            self.message_port_register_in(pmt.intern(port))
            self.set_msg_handler(pmt.intern(port), handler)

    def set_target_psnr_db(self, psnr_db: float) -> None:
        """The target where no receiver asks for one, live."""
        check_target("rate_controller", psnr_db)
        self.target_psnr_db = float(psnr_db)

    def set_snr_db(self, snr_db: float) -> None:
        """The SNR without fresh reports, live."""
        check_snr("rate_controller", snr_db)
        self.snr_db = float(snr_db)

    def on_snr(self, message: Pmt) -> None:
        """A report from a receiver."""
        if is_heartbeat(message):
            return
        try:
            said = meta_of(message)
            report = report_of(said)
        except SemcomError as error:
            self.fail(reason_of(error), error)
            return
        # without a number it comes from a feedback_receiver, which has looked at it, or from an estimator
        numbers = {
            key: said[key] for key in (keys.SESSION, keys.SEQUENCE) if keys.SEQUENCE in said and key in said
        }
        session = said.get(keys.SESSION)
        with self._lock:
            known = self._receivers.get(session) or _Receiver(SnrTracker(self._max_age_s, self._wander_db))
            # a repeated or an older report must not bring back what its receiver no longer asks for
            if known.tracker.hear(report | numbers) is not None:
                known.target_psnr_db = report.get(keys.TARGET_PSNR_DB)
                self._receivers[session] = known
                self._receivers.move_to_end(session)
            while len(self._receivers) > MOST_RECEIVERS:
                self._receivers.popitem(last=False)
            counted = dict(known.tracker.counters)
            known.tracker.counters.clear()
        # what a feedback_receiver has looked at has no number any more
        counted.pop("SNR reports without session and sequence", None)
        for what, times in counted.items():
            self.count(what, times)

    def on_target(self, message: Pmt) -> None:
        """A target of this station's own."""
        try:
            self.target_psnr_db = target_of(meta_of(message))
        except SemcomError as error:
            self.fail(reason_of(error), error)
            return
        self.count("targets accepted")

    def reset(self) -> None:
        with self._lock:
            self._receivers.clear()

    def wanted(self) -> list[tuple[float, float]]:
        """(SNR in dB at its lower limit, target PSNR in dB) of each receiver that asks; else this station's target."""
        now_s, found, snr_db = time.monotonic(), [], []
        with self._lock:
            for known in self._receivers.values():
                belief = known.tracker.belief()
                if belief is None:
                    continue
                lower_db = belief.lower_limit_db(self._quantile, self._wander_db, now_s - belief.heard_s)
                snr_db.append(max(lower_db, SNR_RANGE_DB[0]))
                if known.target_psnr_db:
                    found.append((snr_db[-1], known.target_psnr_db))
        if not found and self.target_psnr_db:
            found.append((min(snr_db, default=self.snr_db), self.target_psnr_db))
        return found

    def prepare(self, pdu: Pdu) -> list:
        return [(pdu, picture_to_send(pdu))]

    def process(self, items: list) -> list[tuple[str, Pdu]]:
        return [(keys.PORT_OUT, self._chosen(pdu, pixels)) for pdu, pixels in items]

    def _chosen(self, pdu: Pdu, pixels: np.ndarray) -> Pdu:
        wanted = self.wanted()
        if not wanted:
            return pdu
        # what the weakest receiver cannot use helps nobody: it is sent for that one
        sent_for_db = min(snr_db for snr_db, _ in wanted)
        rho, reached, expected_db = 0.0, True, 0.0
        for snr_db, target_db in wanted:
            choice = self._chooser.choose(pixels, snr_db, target_db, sent_for_db, at_least=rho)
            if choice.rho > rho or not expected_db:
                expected_db = choice.psnr_db
            rho, reached = choice.rho, reached and choice.reached
        self.count("pictures with a target")
        if not reached:
            self.count(NOT_REACHED)
        chosen = {keys.TARGET_REACHED: reached, keys.EXPECTED_PSNR_DB: expected_db}
        return pdu.with_meta(**{keys.RHO: rho, keys.SNR_DB: sent_for_db}, **chosen)
