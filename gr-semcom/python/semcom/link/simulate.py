# SPDX-License-Identifier: GPL-3.0-or-later
"""Items across the simulated air without GNU Radio: the same library calls the blocks make, in one loop.

``simulate`` is the reference that the flowgraph is held against, and what runs on a machine without GNU Radio.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from semcom import keys
from semcom.channel import fading, frontend
from semcom.channel.awgn import awgn
from semcom.channel.named import named_channel
from semcom.errors import SemcomError
from semcom.kinds.pictures import Picture
from semcom.link.config import LinkConfig
from semcom.link.rows import NOT_KEPT, Row, row_of
from semcom.link.users import THE_ONE, User
from semcom.modem import AssembledImage, ImageAssembler, Modem, ModemProfile, StreamDetector, estimate_snr
from semcom.modem.header import ADDED, OPEN
from semcom.modem.tensors import papr_db
from semcom.payload.sealed import CIPHERS, Sealed
from semcom.security import Signer, guard_of, ring, signer_of
from semcom.system.base import Received, Sent, System
from semcom.system.coded import ring_order
from semcom.system.make import make

# silence between bursts
GAP_SAMPLES = 600


def simulate(
    items: Iterable[Picture],
    config: LinkConfig,
    users: Sequence[User] = (THE_ONE,),
    progress: Callable[[], None] | None = None,
    device: str = "cpu",
    on_rows: Callable[[Picture, list[Row]], None] | None = None,
    go_on: Callable[[], bool] = lambda: True,
    keep: bool = True,
) -> list[Row]:
    """Sends each item once, through system, modem and a simulated channel to every user, one after the other.

    Args:
        items: what to send. users: who receives, each with a channel (``User.config``) and a decoder of its own.
        progress: called after each item. on_rows: called with each item and its rows as soon as there are any.
        go_on: asked before each item (the flowgraph: ten times a second); once it says no, no more are sent.
        keep: False: the rows that are returned are without what was received.

    Returns:
        For each item, in order, one row a user, in order. One that cannot be sent has a row without bursts, which says
        why (``keys.NOT_SENT``).
    """
    sender = make(config.model, config.payload, device)
    links = [user.config(config) for user in users]
    receivers = [
        sender if link.model == config.model else make(link.model, config.payload, device) for link in links
    ]
    sealed = config.payload if isinstance(config.payload, Sealed) else None
    key, cipher = (sealed.key, CIPHERS[sealed.cipher]) if sealed else ("", OPEN)
    profile, airs = ModemProfile(), [Air(link) for link in links]
    profile, signer = (profile.signed, signer_of(key)) if key else (profile, None)
    # a burst that a receiver has had it does not take again, so each has a guard of its own
    modems = [Modem(profile, device=device, guard=guard_of(key)) for _ in users]
    modem = modems[0]
    rows: list[Row] = []
    with torch.inference_mode():
        for number, item in enumerate(items):
            if not go_on():
                break
            first = len(rows)
            began = time.perf_counter()
            try:
                sent, bursts = transmit(
                    number, item.pixels, config.told_snr_db, sender, modem, signer, cipher
                )
            except SemcomError as error:
                said = {keys.NOT_SENT: str(error)}
                rows += [
                    row_of(item, link, receiver, None, user=user.name, **said)
                    for user, link, receiver in zip(users, links, receivers, strict=True)
                ]
                sent = None
            sending = time.perf_counter() - began
            for user, link, receiver, air, its_modem in (
                zip(users, links, receivers, airs, modems, strict=True) if sent else ()
            ):
                assert sent is not None
                began = time.perf_counter()
                image, received = receive(air.carry(bursts), receiver, its_modem)
                seconds = sending + time.perf_counter() - began
                plan = modem.plan(sent.symbols.shape[1])
                rows.append(
                    row_of(
                        item,
                        link,
                        receiver,
                        received,
                        user=user.name,
                        snr_est_db=image.snr_db if image else None,
                        bursts_sent=plan.burst_count,
                        bursts_found=image.bursts_received if image else 0,
                        symbols=plan.latent_count,
                        airtime_samples=plan.airtime_samples,
                        papr_db=papr_db(bursts),
                        real_time_factor=plan.airtime_samples / config.sample_rate_hz / seconds,
                        **sent.detail,
                    )
                )
            if on_rows:
                on_rows(item, rows[first:])
            if not keep:
                rows[first:] = [
                    replace(row, value=None if row.value is None else NOT_KEPT) for row in rows[first:]
                ]
            if progress:
                progress()
    return rows


def transmit(
    number: int,
    value: np.ndarray,
    snr_db: float,
    system: System,
    modem: Modem,
    signer: Signer | None = None,
    cipher: int = OPEN,
) -> tuple[Sent, torch.Tensor]:
    """One value to payload symbols, and to its bursts ``[N, n]``.

    Args:
        number: of the item; its last 16 bits are on the air. snr_db: what the encoder is given.
        signer, cipher: of a modem with a signed profile.
    """
    sent = system.send([value], [snr_db])
    item, fields, symbols = number % 65536, sent.header_fields, sent.symbols
    if signer is not None:
        side, bursts = (sent.side or (0,))[0], modem.plan(sent.symbols.shape[1]).burst_count
        seal = signer.seal(0, item, side, bursts)
        fields |= {"seals": [seal], "cipher": cipher}
        if cipher == ADDED:
            order = ring_order(sent.mode, sent.model_hash)
            symbols = ring.add(symbols[0], seal.stream_key, order, sent.ring_scale[0])[None]
    return sent, modem.modulate(symbols, image_id=[item], **fields)[0]


def receive(
    samples: torch.Tensor, system: System, modem: Modem
) -> tuple[AssembledImage | None, Received | None]:
    """Received samples ``[m]`` to the first item in them: as it was put together, and what the system makes of it.

    Both are None if no burst that the system admits was found.
    """
    detector = StreamDetector(modem)
    assembler = ImageAssembler(modem.profile, system.admits)
    assembled: list[AssembledImage] = []
    for burst in modem.demodulate(detector.push(samples) + detector.flush()):
        if burst.header is not None:
            snr = estimate_snr(burst.pilots_rx[None], burst.pilots_ref[None], burst.pilot_dof)
            taken = burst.header, burst.latents, burst.noise_var, float(snr.snr_db)
            assembled += assembler.add(*taken, session=burst.session)
    assembled += assembler.flush()
    image = assembled[0] if assembled else None
    return image, system.receive([image])[0] if image else None


class Air:
    """Drops bursts, lays the rest on a time line with silence between, and does what the channel does."""

    def __init__(self, config: LinkConfig):
        self._config = config
        self._generator = torch.Generator().manual_seed(config.seed)
        self._channel = named_channel(config.channel)
        self._taps = fading.still_taps(self._channel.delay_samples, config.seed)

    def carry(self, bursts: torch.Tensor) -> torch.Tensor:
        """Bursts ``[N, n]`` to received samples ``[m]``."""
        config = self._config
        alive = torch.rand(len(bursts), 1, generator=self._generator) >= config.drop
        gap = torch.zeros(len(bursts), GAP_SAMPLES, dtype=bursts.dtype)
        line = torch.cat([gap, bursts.cpu() * alive], dim=1).flatten()
        line = torch.nn.functional.pad(line, (0, GAP_SAMPLES))[None]
        if self._channel.doppler:
            line = line * fading.rayleigh_taps(torch.ones(1), 1, self._generator)
        if self._channel.delay_samples:
            line = fading.multipath(line, self._taps)
        line = frontend.sample_clock_offset(line, config.sro_ppm)
        line = frontend.carrier_offset(line, config.cfo_hz / config.sample_rate_hz)
        if self._channel.noisy:
            line = awgn(line, config.snr_db, self._generator)
        return line[0]
