# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts to equalised latents."""

import time

import numpy as np
import torch

from semcom import keys
from semcom.blocks import pdu as bridge
from semcom.blocks.base import Guarded, PduBlock, check, check_device, is_count, is_number
from semcom.blocks.pdu import Pdu
from semcom.modem import DemodulatedBurst, DetectedBurst, Modem
from semcom.modem.header import VERSION
from semcom.radio import load_link
from semcom.security import Eavesdropper, guard_of

BURSTS_READ = "bursts read"
TIMING_SLIP = "timing slip: samples lost or inserted inside a burst, re-timed"
SYMBOLS_ERASED = "symbols inside bursts of which nothing came, erased"


class Demodulation:
    """PDUs of bursts' samples to those of their latents: what a block does between messages and messages.

    Args:
        guard: the block, which counts.
        profile, constellation_points, constellation_rate, device, key: as in ``burst_demodulator``.

    Raises:
        ConfigError: naming the block and what is wrong.
    """

    def __init__(
        self,
        guard: Guarded,
        profile: str,
        constellation_points: int,
        constellation_rate: float,
        device: str,
        key: str = "",
        eavesdrop: bool = False,
    ):
        block = guard.name()
        check(
            block,
            constellation_points=(
                constellation_points,
                is_count(constellation_points),
                "a whole number, 1 or more",
            ),
            constellation_rate=(
                constellation_rate,
                is_number(constellation_rate) and constellation_rate >= 0,
                "0 or more a second",
            ),
        )
        self._guard, self._points = guard, int(constellation_points)
        self._period = 1 / constellation_rate if constellation_rate else None
        self._shown = -1e9
        link = load_link(profile, key=key)
        self._link_hash = link.hash if profile else 0
        check(block, eavesdrop=(eavesdrop, isinstance(eavesdrop, bool), "True or False"))
        if eavesdrop:
            its_modem, judge = link.modem.signed, Eavesdropper()
        else:
            its_modem, judge = link.modem, guard_of(link.key, tolerance_s=link.limits.clock_tolerance_s)
        #: bursts are judged by a guard, whose state is one
        self.is_keyed = judge is not None
        self.modem = Modem(its_modem, device=check_device(block, device), guard=judge)

    def process(self, items: list[tuple[Pdu, DetectedBurst]]) -> list[tuple[str, Pdu]]:
        """A batch of ``as_burst`` to PDUs for the ports ``out``, ``failed`` and ``constellation``."""
        return self.made_of(items, self.modem.demodulate([burst for _, burst in items]))

    def made_of(
        self, items: list[tuple[Pdu, DetectedBurst]], results: list[DemodulatedBurst]
    ) -> list[tuple[str, Pdu]]:
        """As ``process``, of a batch that the modem, here or elsewhere, has demodulated."""
        out = []
        first = items[0][1].sample_offset
        together = bridge.to_vector(np.array([b.sample_offset - first for _, b in items], np.int32))
        for (pdu, _), burst in zip(items, results, strict=True):
            header = burst.header
            if header is None:
                error = self._why_unread(burst)
                self._guard.fail(error)
                failed = {keys.ERROR: error, keys.SAMPLE_OFFSET: pdu.integer(keys.SAMPLE_OFFSET, 0)}
                out.append((keys.PORT_FAILED, Pdu(failed, None)))
                continue
            if self._link_hash and header.link_hash != self._link_hash:
                self._guard.fail(_other_profile(header.link_hash, self._link_hash))
            if burst.slips:
                self._guard.fail(TIMING_SLIP)
            if burst.symbols_erased:
                self._guard.count(SYMBOLS_ERASED, burst.symbols_erased)
            meta = {
                keys.IMAGE_ID: header.image_id,
                keys.BURST_INDEX: header.burst_index,
                keys.BURST_COUNT: self.modem.plan(header.latent_count).burst_count,
                keys.HEIGHT: header.height,
                keys.WIDTH: header.width,
                keys.LATENT_COUNT: header.latent_count,
                keys.MODEL_HASH: header.model_hash,
                keys.LINK_HASH: header.link_hash,
                keys.MODE: header.mode,
                keys.ORDER: header.order,
                keys.KIND: header.kind,
                keys.SENDER: header.sender,
                keys.SIDE: header.side,
                keys.CFO: float(burst.cfo),
                keys.BATCH_START: first,
                keys.BATCH: together,
                keys.NOISE_VAR: burst.noise_var.float(),
                keys.PILOTS_RX: burst.pilots_rx,
                keys.PILOTS_REF: burst.pilots_ref,
                keys.PILOT_DOF: float(burst.pilot_dof),
                keys.DEMODULATED_S: time.monotonic(),
            }
            if burst.session is not None:
                meta[keys.CIPHER] = header.cipher
                meta[keys.KEY_EPOCH], meta[keys.AUTH_SESSION] = burst.session.epoch, burst.session.number
            out.append((keys.PORT_OUT, Pdu(pdu.with_meta(**meta).meta, burst.latents)))
        read = [pdu for port, pdu in out if port == keys.PORT_OUT]
        if read and self._period is not None and time.monotonic() - self._shown >= self._period:
            self._shown = time.monotonic()
            latents = read[-1].data
            out.append((keys.PORT_CONSTELLATION, Pdu({}, latents[:: -(-len(latents) // self._points)])))
        if read:
            self._guard.count(BURSTS_READ, len(read))
        return out

    def _why_unread(self, burst: DemodulatedBurst) -> str:
        """Sizes that contradict each other here may fit where they come from: another profile is the first suspect."""
        sent = burst.refused
        if sent is not None and sent.version == VERSION and sent.link_hash != self._link_hash:
            return _other_profile(sent.link_hash, self._link_hash)
        return burst.error or "burst without a header"


def as_burst(pdu: Pdu, samples: torch.Tensor) -> tuple[Pdu, DetectedBurst]:
    """A detector's PDU beside what the modem takes. Raises PduError: a key of another kind."""
    return pdu, DetectedBurst(
        samples,
        pdu.integer(keys.SAMPLE_OFFSET, 0),
        pdu.number(keys.CFO, 0.0),
        pdu.number(keys.SYNC_QUALITY, 0.0),
    )


class burst_demodulator(PduBlock):
    """Demodulates bursts in batches: header, equalised latents, noise variance of each, pilots for the SNR.

    Ports: ``in`` PDUs of samples (c32vector; cfo, sample_offset, sync_quality); ``out`` PDUs of latents in
    burst order, with the header's fields, noise_var, pilots_rx, pilots_ref, pilot_dof, cfo and which bursts
    were demodulated together (the last bits depend on it); ``constellation`` PDUs with some of the latents,
    to show; ``failed`` a dictionary (sample_offset, error) for a burst that cannot be read, which is also
    counted under the reason. Bursts that lost or gained samples on the way are re-timed and counted ("timing slip").

    Args:
        profile: path of the link profile; "": none. A burst that names another is reported as such, and used if its
            sizes fit.
        constellation_points: latents in a PDU of ``constellation``, at most. constellation_rate: such PDUs a
            second; 0: none.
        device, threads, batch, max_queue: as in every block.
        key: instead of the link profile's; "": as it has it. With one, bursts without its tag are counted and not read.
    """

    drains = True

    def __init__(
        self,
        profile: str = "",
        constellation_points: int = 1024,
        constellation_rate: float = 10.0,
        device: str = "cpu",
        threads: int = 1,
        batch: int = 32,
        max_queue: int = 256,
        key: str = "",
    ):
        super().__init__(
            "burst_demodulator",
            outputs=(keys.PORT_OUT, keys.PORT_CONSTELLATION, keys.PORT_FAILED),
            threads=threads,
            batch=batch,
            max_queue=max_queue,
        )
        self._demodulation = Demodulation(
            self, profile, constellation_points, constellation_rate, device, key
        )

    def prepare(self, pdu: Pdu) -> list:
        return [as_burst(pdu, torch.from_numpy(pdu.vector(np.complex64)))]

    def process(self, items: list) -> list[tuple[str, Pdu]]:
        return self._demodulation.process(items)


def _other_profile(theirs: int, ours: int) -> str:
    sent, here = (f"link profile {code:#05x}" if code else "no link profile" for code in (theirs, ours))
    return (
        f"bursts sent with {sent}, but loaded here is {here}: give both stations the same link profile file"
    )
