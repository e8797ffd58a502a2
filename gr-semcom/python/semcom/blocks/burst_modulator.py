# SPDX-License-Identifier: GPL-3.0-or-later
"""Latents to a stream of bursts."""

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pmt
import torch
from gnuradio import gr

from semcom import keys
from semcom.adaptation.feedback import numbers_of
from semcom.blocks.base import PduWorker, Stage, check, check_device, is_count, is_number, reason_of, runs
from semcom.blocks.pdu import Pdu
from semcom.errors import PduError
from semcom.modem import Modem
from semcom.modem.header import ADDED, KIND_IMAGE, MAX_SIDE, MODE_LATENTS, MODES, OPEN, SENDERS
from semcom.modem.tensors import papr_db
from semcom.payload.sealed import CIPHERS
from semcom.radio import load_link
from semcom.security import Seal, ring, signer_of
from semcom.system.coded import ring_order
from semcom.wire.samples import SEARCH_SAMPLES

_TAIL_SAMPLES = 8192  # silence after the end tag: pushes it through filters and resamplers
_PATIENCE_S = 0.002
_LOOK_AGAIN_MS = 1


class burst_modulator(PduWorker, gr.sync_block):
    """Latents of a picture to one or more bursts of complex samples, mean power about 1 within a burst.

    When there is nothing to send: ``idle="wait"`` (simulation) sends silence until the receiver has surely
    got the last burst and then nothing, so that simulated time stands still; ``idle="zeros"`` (a radio, a
    throttled graph) sends silence. When the blocks before it are done, it is done behind that silence.

    Ports: ``in`` PDUs of latents or of other payload symbols (c32vector; image_id, height, width, model_hash; mode,
    kind, side: 0 where absent; sender: this block's where absent); stream out.

    Args:
        profile: path of the link profile; "": none. It decides the modem's sizes and is named in every header.
        gap_samples: silence after each burst.
        idle: "wait" or "zeros".
        amplitude: scale of the samples; a radio wants its peaks below 1.
        tx_tags: tag each burst with tx_sob and tx_eob (UHD), the gap included.
        max_waiting: bursts made ahead of the air; fewer is sooner.
        drop: probability that a burst is replaced by silence, to try what loss does. seed: of those draws.
        device: where the modem computes. threads, batch, max_queue: as in every block.
        sender: number of this transmitter in every header, 0..15. Transmitters that share a receiver need different
            ones, as number and sender together name an item.
        on_sent: called with a dictionary a picture: image_id, latent_count, side, burst_count, papr_db,
            airtime_samples, bursts_dropped, and target_reached and expected_psnr_db where there was a target.
        key, cipher: instead of the link profile's; "": as it has them.
    """

    def __init__(
        self,
        profile: str = "",
        gap_samples: int = 600,
        idle: str = "wait",
        amplitude: float = 1.0,
        tx_tags: bool = False,
        max_waiting: int = 256,
        drop: float = 0.0,
        seed: int = 0,
        device: str = "cpu",
        threads: int = 1,
        batch: int = 16,
        max_queue: int = 256,
        sender: int = 0,
        on_sent: Callable[[dict[str, Any]], None] | None = None,
        key: str = "",
        cipher: str = "",
    ):
        check(
            "burst_modulator",
            gap_samples=(gap_samples, is_count(gap_samples, 0), "a whole number of samples, 0 or more"),
            max_waiting=(max_waiting, is_count(max_waiting), "a whole number of bursts, 1 or more"),
            idle=(idle, idle in ("wait", "zeros"), "'wait' or 'zeros'"),
            drop=(drop, is_number(drop) and 0 <= drop <= 1, "a probability, 0 to 1"),
            seed=(seed, is_count(seed, 0), "a whole number, 0 or more"),
            sender=(sender, is_count(sender, 0) and sender < SENDERS, f"a whole number, 0 to {SENDERS - 1}"),
        )
        self._check_amplitude(amplitude)
        gr.sync_block.__init__(self, name="burst_modulator", in_sig=None, out_sig=[np.complex64])
        # GNU Radio leaves a source that had nothing alone for 250 ms otherwise
        self.set_blkd_input_timer_value(_LOOK_AGAIN_MS)
        self.init_pdus("burst_modulator", outputs=(), max_queue=max_queue, batch=batch, threads=threads)
        self.gap_samples, self.idle, self.amplitude, self.tx_tags = (
            int(gap_samples),
            idle,
            float(amplitude),
            bool(tx_tags),
        )
        self._max_waiting = int(max_waiting)
        self.drop, self._random = float(drop), np.random.default_rng(seed)
        self._sender = int(sender)
        link = load_link(profile, key=key, cipher=cipher)
        self._signer, self._cipher = (signer_of(link.key), CIPHERS[link.cipher]) if link.key else (None, OPEN)
        self._link_hash = link.hash if profile else 0
        self._limits = link.limits
        self._modem = Modem(link.modem, device=check_device("burst_modulator", device))
        self._on_sent = on_sent
        self._room = threading.Condition()
        self.reset()
        self._flush_samples = (
            self._modem.profile.max_burst_samples + self._modem.detector.lookahead + SEARCH_SAMPLES
        )
        self.bursts_sent = self.bursts_dropped = 0

    @staticmethod
    def _check_amplitude(amplitude: float) -> None:
        check("burst_modulator", amplitude=(amplitude, is_number(amplitude) and amplitude > 0, "above 0"))

    def set_amplitude(self, amplitude: float) -> None:
        self._check_amplitude(amplitude)
        self.amplitude = float(amplitude)

    def set_drop(self, drop: float) -> None:
        check("burst_modulator", drop=(drop, is_number(drop) and 0 <= drop <= 1, "a probability, 0 to 1"))
        self.drop = float(drop)

    @property
    def quiet(self) -> bool:
        """Whether everything is out, with the silence after it that lets a detector finish the last burst."""
        return not self._ready and self._current is None and not self._silence_left

    def reset(self) -> None:
        with self._room:
            self._ready: deque[tuple[np.ndarray, list]] = deque()  # samples and their tags (position, key)
            self._current: tuple[np.ndarray, list] | None = None
            self._at = self._silence_left = 0
            self._begun = False

    # -- PDUs in: the worker ------------------------------------------------------------------------

    def prepare(self, pdu: Pdu) -> list:
        latents = pdu.vector(np.complex64)
        for key in (keys.IMAGE_ID, keys.HEIGHT, keys.WIDTH, keys.MODEL_HASH):
            pdu.integer(key)
        if pdu.integer(keys.MODE, MODE_LATENTS) not in MODES:
            raise PduError(f"PDU of payload mode {pdu.integer(keys.MODE)}, which burst headers do not know")
        for key in (keys.KIND, keys.SENDER, keys.SIDE):
            pdu.integer(key, 0)
        if keys.BURSTS in pdu.meta:
            numbers_of(pdu.meta[keys.BURSTS])
        if pdu.integer(keys.LATENT_COUNT, len(latents)) != len(latents):
            raise PduError("PDU of latents whose vector is not latent_count long")
        sides = (pdu.integer(keys.HEIGHT), pdu.integer(keys.WIDTH))
        picture = pdu.integer(keys.KIND, KIND_IMAGE) == KIND_IMAGE
        if picture and max(sides) <= MAX_SIDE and math.prod(sides) > self._limits.largest_picture_pixels:
            raise PduError(
                f"picture of more than {self._limits.largest_picture_pixels:,} pixels: scale it, or raise "
                "largest_picture_pixels under limits in the link profile of both stations"
            )
        return [(pdu, torch.from_numpy(latents))]

    def process(self, items: list) -> list[tuple[str, Pdu]]:
        made = []
        for group in runs(items, _same_bursts):
            pdus, seals = [pdu for pdu, _ in group], self._seals(group)
            bursts = self._modem.modulate(
                torch.stack(self._with_key_streams(group, seals)),
                image_id=[pdu.integer(keys.IMAGE_ID) for pdu in pdus],
                size=(pdus[0].integer(keys.HEIGHT), pdus[0].integer(keys.WIDTH)),
                model_hash=pdus[0].integer(keys.MODEL_HASH),
                link_hash=self._link_hash,
                mode=pdus[0].integer(keys.MODE, MODE_LATENTS),
                kind=pdus[0].integer(keys.KIND, KIND_IMAGE),
                sender=[pdu.integer(keys.SENDER, self._sender) for pdu in pdus],
                side=[pdu.integer(keys.SIDE, 0) for pdu in pdus],
                cipher=self._cipher,
                seals=seals,
            )
            made += zip(pdus, bursts.cpu(), strict=True)
        for pdu, bursts in made:  # nothing can fail from here on, so a repeated batch sends nothing twice
            self._send(pdu, bursts)
        return []

    def _seals(self, group: list) -> list[Seal]:
        if self._signer is None:
            return []
        numbers = (keys.SENDER, self._sender), (keys.IMAGE_ID,), (keys.SIDE, 0)
        return [
            self._signer.seal(
                *(pdu.integer(*number) for number in numbers), self._modem.plan(len(latents)).burst_count
            )
            for pdu, latents in group
        ]

    def _with_key_streams(self, group: list, seals: list[Seal]) -> list[torch.Tensor]:
        """Payloads as they go to the modem: under cipher ring with their key streams added."""
        if self._cipher != ADDED:
            return [latents for _, latents in group]
        return [
            ring.add(
                latents,
                seal.stream_key,
                ring_order(pdu.integer(keys.MODE, MODE_LATENTS), pdu.integer(keys.MODEL_HASH)),
                pdu.number(keys.RING_SCALE, 1.0),
            )
            for (pdu, latents), seal in zip(group, seals, strict=True)
        ]

    def _send(self, pdu: Pdu, bursts: torch.Tensor) -> None:
        if keys.BURSTS in pdu.meta:
            # of an item that went out before: those that were lost
            wanted = numbers_of(pdu.meta[keys.BURSTS])
            bursts = bursts[[number for number in wanted if number < len(bursts)]]
        dropped = self._random.random(len(bursts)) < self.drop
        if self._on_sent:
            sent = {
                keys.IMAGE_ID: pdu.integer(keys.IMAGE_ID),
                keys.LATENT_COUNT: len(pdu.data),
                keys.SIDE: pdu.integer(keys.SIDE, 0),
                keys.BURST_COUNT: len(bursts),
                keys.PAPR_DB: papr_db(bursts),
                keys.AIRTIME_SAMPLES: bursts.numel(),
                "bursts_dropped": int(dropped.sum()),
                **{key: pdu.meta[key] for key in keys.CHOSEN if key in pdu.meta},
            }
            try:
                self._on_sent(sent)
            except Exception as error:  # whoever listens stands between no picture and the air
                self.fail(reason_of(error), error)
        gap = np.zeros(self.gap_samples, np.complex64)
        for burst, silent in zip(bursts.numpy(), dropped.tolist(), strict=True):
            samples = np.concatenate([np.zeros_like(burst) if silent else burst, gap])
            tags = [(0, keys.TAG_TX_SOB), (len(samples) - 1, keys.TAG_TX_EOB)] if self.tx_tags else []
            self._queue_samples(samples, tags)
            self.bursts_dropped += silent
            self.bursts_sent += 1
            self.count("bursts dropped on purpose" if silent else "bursts sent")

    def on_end(self, end: Pdu) -> None:
        samples = np.zeros(self.gap_samples + 1 + _TAIL_SAMPLES, np.complex64)
        tags = [(0, keys.TAG_TX_SOB), (len(samples) - 1, keys.TAG_TX_EOB)] if self.tx_tags else []
        self._queue_samples(samples, [*tags, (self.gap_samples, keys.TAG_END)])

    def upstream_done(self, message) -> None:
        """No more will come: ``work`` says so when what waits is out, and the silence behind it."""
        self.is_ending = all(stage.is_ending is not False for stage in Stage.before(self))

    def _queue_samples(self, samples: np.ndarray, tags: list) -> None:
        with self._room:
            while len(self._ready) >= self._max_waiting and not self._stopping.is_set():
                self._room.wait(0.5)
            if not self._begun:  # the first preamble does not start on the stream's very first sample
                self._begun = True
                self._ready.append((np.zeros(self.gap_samples, np.complex64), []))
            self._ready.append((samples, tags))
            self._room.notify_all()

    # -- samples out: the scheduler's thread --------------------------------------------------------

    def work(self, input_items, output_items) -> int:
        return self.guarded_work(lambda: self._fill(output_items[0]), fallback=-1)

    def _fill(self, out: np.ndarray) -> int:
        done = 0
        while done < len(out):
            if self._current is None and not self._next(wait=done == 0 and self.idle == "wait"):
                break
            samples, tags = self._current
            count = min(len(out) - done, len(samples) - self._at)
            np.multiply(
                samples[self._at : self._at + count], np.float32(self.amplitude), out=out[done : done + count]
            )
            for position, key in tags:
                if self._at <= position < self._at + count:
                    at = self.nitems_written(0) + done + position - self._at
                    self.add_item_tag(0, at, pmt.intern(key), pmt.PMT_T)
            done, self._at = done + count, self._at + count
            if self._at == len(samples):
                self._current, self._silence_left = None, self._flush_samples
        if not done and self.is_ending and self.quiet:
            return -1
        return done or self._silence(out)

    def _next(self, wait: bool) -> bool:
        with self._room:
            if not self._ready and wait:
                self._room.wait(_PATIENCE_S)
            if not self._ready:
                return False
            self._current, self._at = self._ready.popleft(), 0
            self._room.notify_all()
        return True

    def _silence(self, out: np.ndarray) -> int:
        """Nothing to send: silence, as long as it serves; in between, the thread is free for messages."""
        count = len(out) if self.idle == "zeros" else min(len(out), self._silence_left)
        out[:count] = 0
        self._silence_left = max(0, self._silence_left - count)
        return count


def _same_bursts(item: tuple[Pdu, torch.Tensor]) -> tuple:
    """What pictures must share to be modulated in one call."""
    pdu, latents = item
    shared = (pdu.integer(key) for key in (keys.HEIGHT, keys.WIDTH, keys.MODEL_HASH))
    return len(latents), pdu.integer(keys.MODE, MODE_LATENTS), pdu.integer(keys.KIND, KIND_IMAGE), *shared
