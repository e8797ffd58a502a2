# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts and what was made of them to SigMF recordings."""

import dataclasses
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pmt

from semcom import keys
from semcom.blocks import pdu as bridge
from semcom.blocks.base import PduBlock, check, is_count, is_number, reason_of
from semcom.blocks.pdu import Pdu, Pmt
from semcom.capture import BurstNote, CaptureWriter, Joiner, RecordingInfo, SentLog
from semcom.capture.replaying import engine, latents_sha256
from semcom.modem.header import MODE_LATENTS, VERSION
from semcom.radio import load_link

_TICK_S = 0.25
_COUNTED = (keys.IMAGE_ID, keys.BURST_INDEX, keys.BURST_COUNT, keys.HEIGHT, keys.WIDTH, keys.LATENT_COUNT)


@dataclass(frozen=True)
class _Arrived:
    """A PDU with the port that it came by; None: nothing came for a while."""

    port: str = ""
    pdu: Pdu | None = None

    @property
    def is_end(self) -> bool:
        return self.pdu is not None and self.pdu.is_end


class capture_recorder(PduBlock):
    """Writes each burst's samples to SigMF recordings, with its header, SNR, offsets and the hash of its latents.

    Ports: ``bursts`` PDUs of samples (``burst_detector:out``); ``in`` PDUs of latents with snr_db
    (``pilot_snr_estimator:out``); ``failed`` dictionaries of bursts that could not be read
    (``burst_demodulator:failed``, optional). They are joined by sample_offset; a burst of which nothing more comes
    within ``wait_s`` is written as it is, with an error in words; what is read later takes the error's place.

    Args:
        folder: for the recordings; made when missing; "" records nothing.
        sample_rate_hz, centre_frequency_hz: of the stream.
        link: path of the link profile, which goes into the recording; "": none.
        hardware: the receiver, in words. sent_log: path of the transmitter's log, for the names of pictures; "": none.
        max_file_bytes: of samples in one recording; then the next begins.
        max_total_bytes: of all recordings in the folder: the oldest of this run goes; never one of an earlier run.
        min_free_bytes: left on the disk: recording stops before.
        wait_s: how long a burst waits for its estimate. max_queue: as in every block.
    """

    drains = True

    def __init__(
        self,
        folder: str = "",
        sample_rate_hz: float = 1e6,
        centre_frequency_hz: float = 0.0,
        link: str = "",
        hardware: str = "",
        sent_log: str = "",
        max_file_bytes: int = 2**28,
        max_total_bytes: int = 2**34,
        min_free_bytes: int = 2**26,
        wait_s: float = 2.0,
        max_queue: int = 256,
    ):
        check(
            "capture_recorder",
            sample_rate_hz=(sample_rate_hz, is_number(sample_rate_hz) and sample_rate_hz > 0, "above 0 Hz"),
            centre_frequency_hz=(centre_frequency_hz, is_number(centre_frequency_hz), "a frequency in Hz"),
            max_file_bytes=(max_file_bytes, is_count(max_file_bytes, 2**16), "65536 bytes or more"),
            max_total_bytes=(max_total_bytes, is_count(max_total_bytes), "a whole number of bytes"),
            min_free_bytes=(
                min_free_bytes,
                is_count(min_free_bytes, 0),
                "a whole number of bytes, 0 or more",
            ),
            wait_s=(wait_s, is_number(wait_s) and wait_s > 0, "above 0 s"),
        )
        super().__init__("capture_recorder", outputs=(), max_queue=max_queue)
        profile = load_link(link)
        info = RecordingInfo(
            sample_rate_hz=float(sample_rate_hz),
            centre_frequency_hz=float(centre_frequency_hz),
            hardware=str(hardware),
            link=dataclasses.asdict(profile) if link else None,
            link_hash=profile.hash if link else 0,
            engine=engine(),
        )
        log = SentLog(sent_log) if str(sent_log) else None
        limits = (int(max_file_bytes), int(max_total_bytes), int(min_free_bytes))
        self.writer = CaptureWriter(folder, info, *limits, sent_log=log) if str(folder) else None
        self._joiner = Joiner(self._write, self._amend, float(wait_s))
        self._wait_s, self._done, self._last = float(wait_s), [], time.monotonic()
        self._ended = self._told = False
        for port in (keys.PORT_BURSTS, keys.PORT_FAILED):
            self.message_port_register_in(pmt.intern(port))
            self.set_msg_handler(pmt.intern(port), self.inboxes[port])

    # -- arrival, in the block's own thread --------------------------------------------------------------

    @property
    def inboxes(self) -> dict[str, Callable[[Pmt], None]]:
        return super().inboxes | {keys.PORT_BURSTS: self.on_burst, keys.PORT_FAILED: self.on_failed}

    def on_message(self, message: Pmt) -> None:
        self._accept(keys.PORT_IN, bridge.from_message, message)

    def on_burst(self, message: Pmt) -> None:
        self._accept(keys.PORT_BURSTS, bridge.from_message, message)

    def on_failed(self, message: Pmt) -> None:
        self._accept(keys.PORT_FAILED, lambda plain: Pdu(bridge.from_dict(plain), None), message)

    def _accept(self, port: str, convert: Callable[[Pmt], Pdu], message: Pmt) -> None:
        try:
            pdu = convert(message)
        except Exception as error:
            self.fail(reason_of(error), error)
            return
        self.enqueue(_Arrived(port, pdu))

    # -- the worker ---------------------------------------------------------------------------------------

    def reset(self) -> None:
        self._done, self._ended = [], False

    def start(self) -> bool:
        super().start()
        self._ticker = threading.Thread(target=self._tick, name="semcom capture tick", daemon=True)
        self._ticker.start()
        return True

    def _tick(self) -> None:
        while not self._stopping.wait(_TICK_S):
            if not self._queue:
                self.enqueue(_Arrived())

    def prepare(self, pdu: _Arrived) -> list:
        now = time.monotonic()
        try:
            if pdu.port == keys.PORT_BURSTS:
                samples = pdu.pdu.vector(np.complex64)
                self._joiner.add_burst(samples, _found(pdu.pdu), _utc(pdu.pdu, now), now)
            elif pdu.port:
                self._joiner.add_reading(
                    _read(pdu.pdu) if pdu.port == keys.PORT_IN else _failed(pdu.pdu), now
                )
            self._last = now if pdu.port else self._last
            self._joiner.advance(now)
            if self.writer is not None:
                self.writer.tick()
        finally:
            self._report()
        self._pass_done_on(now)
        return []

    def on_end(self, end: _Arrived) -> None:
        """The stream has ended, as the estimator knows: nothing that waits will be read any more."""
        if end.port == keys.PORT_IN:
            self._joiner.flush("no header or estimate came before the stream ended")
            self._ended = True
            self._report()

    def upstream_done(self, message: Pmt) -> None:
        """The detector is done long before the last estimate is: this block is, when the estimates are."""
        self._done.append(message)

    def _pass_done_on(self, now: float) -> None:
        if self._done and (self._ended or now - self._last > self._wait_s):
            super().upstream_done(self._done.pop())

    def stop(self) -> bool:
        super().stop()
        self._joiner.flush()
        if self.writer is not None:
            self.writer.close()
        self._report()
        return True

    def _write(self, samples: np.ndarray, note: BurstNote, received_s: float) -> None:
        if self.writer is None:
            self.count("bursts not recorded: no folder is given")
        else:
            self.writer.write(samples, note, received_s)

    def _amend(self, note: BurstNote) -> None:
        if self.writer is not None:
            self.writer.amend(note)

    def _report(self) -> None:
        for counters in [self._joiner.counters] + ([self.writer.counters] if self.writer is not None else []):
            # a count may go back to 0: of bursts that were read late
            self.set_counts({reason: n for reason, n in counters.items() if n or reason in self.counters})
        if self.writer is None:
            return
        if self.writer.stopped and not self._told:
            self._told = True
            self._log.error(f"recording stopped: {self.writer.stopped}")


def _found(pdu: Pdu) -> BurstNote:
    return BurstNote(
        pdu.integer(keys.SAMPLE_OFFSET), pdu.number(keys.CFO), sync_quality=pdu.number(keys.SYNC_QUALITY, 0.0)
    )


def _read(pdu: Pdu) -> BurstNote:
    batch = pdu.vector(np.int32, keys.BATCH).tolist() if keys.BATCH in pdu.meta else None
    return BurstNote(
        sample_offset=pdu.integer(keys.SAMPLE_OFFSET),
        cfo=0.0,  # the detector's counts, see Joiner
        cfo_refined=pdu.number(keys.CFO),
        version=VERSION,
        mode=pdu.integer(keys.MODE, MODE_LATENTS),
        **{key: pdu.integer(key) for key in _COUNTED},
        model_hash=pdu.integer(keys.MODEL_HASH),
        link_hash=pdu.integer(keys.LINK_HASH, 0),
        **{key: pdu.integer(key, 0) for key in (keys.KIND, keys.SENDER, keys.SIDE)},
        snr_db=pdu.number(keys.SNR_DB),
        snr_stderr_db=pdu.number(keys.SNR_STDERR_DB, 0.0),
        latents_sha256=latents_sha256(pdu.vector(np.complex64)),
        batch_start=pdu.integer(keys.BATCH_START) if batch else None,
        batch=tuple(batch) if batch else None,
    )


def _failed(pdu: Pdu) -> BurstNote:
    return BurstNote(pdu.integer(keys.SAMPLE_OFFSET), 0.0, error=pdu.text(keys.ERROR))


def _utc(pdu: Pdu, now: float) -> float:
    """When the burst left the detector, UTC in seconds since 1970."""
    return time.time() - max(0.0, now - pdu.number(keys.DETECTED_S, now))
