# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts back into pictures' worth of payload symbols; what never came is an erasure, and is counted."""

from collections import Counter, OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field

import torch

from semcom.equivalent_snr import rescale
from semcom.modem import frame
from semcom.modem.header import DIGITAL_MODES, MODE_LATENTS, BurstHeader, describe
from semcom.modem.labels import bits_per_latent
from semcom.modem.profile import ModemProfile


@dataclass(frozen=True)
class AssembledImage:
    """The payload of one picture, as far as it came.

    latents ``[k]`` complex (0 where erased): latents, or the symbols of another payload mode; noise_var ``[k]`` (inf
    where erased); snr_db: mean over the bursts that came, of the estimates given with them; size: (height, width) in
    pixels; mode, model_hash: as its headers have them.
    """

    image_id: int
    size: tuple[int, int]
    latents: torch.Tensor
    noise_var: torch.Tensor
    bursts_received: int
    burst_count: int
    snr_db: float
    mode: int = MODE_LATENTS
    model_hash: int = 0


@dataclass
class _Open:
    header: BurstHeader
    latents: torch.Tensor
    noise_var: torch.Tensor
    snr_db: dict[int, float] = field(default_factory=dict)


class ImageAssembler:
    """Collects bursts by picture, in whatever order they come.

    A picture is handed out when its last burst is in, or when ``max_open`` younger ones are begun (bursts of it are
    then given up), or by ``flush``. Repeated and late bursts are dropped and counted.

    Args:
        profile: the modem's.
        model_hash: only bursts of this codec are taken; None takes all.
        latent_count_of: (height, width) -> k of the codec, checked before anything is allocated; None: unchecked.
        max_open: pictures under way at once.
        modes: payload modes taken.
        digital_hashes: what bursts of ``DIGITAL_MODES`` are named (codec and codebooks); None takes all.
    """

    def __init__(
        self,
        profile: ModemProfile,
        model_hash: int | None = None,
        latent_count_of=None,
        max_open: int = 4,
        modes: Collection[int] = (MODE_LATENTS,),
        digital_hashes: Collection[int] | None = None,
    ):
        self._profile, self._hash, self._count_of = profile, model_hash, latent_count_of
        self._max_open, self._modes, self._digital_hashes = max_open, frozenset(modes), digital_hashes
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._closed: OrderedDict[int, BurstHeader] = OrderedDict()
        self.counters: Counter[str] = Counter()

    def add(self, header: BurstHeader, latents: torch.Tensor, noise_var: torch.Tensor, snr_db: float):
        """Takes one burst: ``latents`` ``[m]``, ``noise_var`` ``[m]``; returns the pictures that are done with it.

        ``snr_db`` is the burst's estimated SNR; it sets the scale of ``noise_var``, whose shape over the subcarriers
        is kept.
        """
        if reason := self._refuse(header, latents, noise_var):
            self.counters[reason] += 1
            return []
        done = []
        entry = self._open.get(header.image_id)
        if entry is not None and not _same_picture(entry.header, header):
            done.append(self._close(header.image_id))  # the picture numbers have wrapped round
            entry = None
        if entry is None:
            if (past := self._closed.get(header.image_id)) is not None and _same_picture(past, header):
                self.counters["bursts repeated or too late"] += 1
                return done
            entry = self._begin(header)
            while len(self._open) > self._max_open:
                done.append(self._close(next(iter(self._open))))
        if header.burst_index in entry.snr_db:
            self.counters["bursts repeated or too late"] += 1
            return done
        at = header.burst_index * len(latents)
        entry.latents[at : at + len(latents)] = latents.cpu()
        entry.noise_var[at : at + len(latents)] = rescale(noise_var.cpu(), snr_db)
        entry.snr_db[header.burst_index] = snr_db
        self.counters["bursts used"] += 1
        if len(entry.snr_db) == header.burst_count:
            done.append(self._close(header.image_id))
        return done

    def flush(self) -> list[AssembledImage]:
        """Hands out every picture under way, complete or not."""
        return [self._close(image_id) for image_id in list(self._open)]

    def _refuse(self, header: BurstHeader, latents, noise_var) -> str | None:
        if header.mode not in self._modes:
            return f"bursts of {describe(header.mode)}, not read here"
        if not self._named_right(header):
            return "bursts of another model"
        if self._count_of is not None and not _fits(header, self._count_of(header.height, header.width)):
            return "bursts whose size does not fit the model"
        plan = self._profile.plan(header.latent_count)
        if not len(latents) == len(noise_var) == plan.latents_per_burst:
            return "bursts with a payload of the wrong length"
        if not bool(torch.isfinite(torch.view_as_real(latents)).all() and (noise_var > 0).all()):
            return "bursts with latents that are not numbers"
        return None

    def _named_right(self, header: BurstHeader) -> bool:
        if header.mode in DIGITAL_MODES:
            return self._digital_hashes is None or header.model_hash in self._digital_hashes
        return self._hash is None or header.model_hash == self._hash

    def _begin(self, header: BurstHeader) -> _Open:
        plan = self._profile.plan(header.latent_count)
        room = plan.burst_count * plan.latents_per_burst
        entry = _Open(header, torch.zeros(room, dtype=torch.complex64), torch.full((room,), torch.inf))
        self._open[header.image_id] = entry
        self._closed.pop(header.image_id, None)
        return entry

    def _close(self, image_id: int) -> AssembledImage:
        entry = self._open.pop(image_id)
        header, received = entry.header, len(entry.snr_db)
        self._closed[image_id] = header
        while len(self._closed) > 64:
            self._closed.popitem(last=False)
        self.counters["pictures"] += 1
        self.counters["pictures with bursts missing"] += received < header.burst_count
        self.counters["bursts missing"] += header.burst_count - received
        k = header.latent_count
        return AssembledImage(
            image_id,
            (header.height, header.width),
            frame.unscramble(entry.latents[None, :k])[0],
            frame.deinterleave(entry.noise_var[None, :k])[0],
            received,
            header.burst_count,
            sum(entry.snr_db.values()) / received,
            header.mode,
            header.model_hash,
        )


def _same_picture(a: BurstHeader, b: BurstHeader) -> bool:
    return (a.mode, a.height, a.width, a.latent_count, a.model_hash) == (
        b.mode,
        b.height,
        b.width,
        b.latent_count,
        b.model_hash,
    )


def _fits(header: BurstHeader, k: int) -> bool:
    """Whether ``k`` latents make the header's count of payload symbols."""
    if header.mode in DIGITAL_MODES:
        return bits_per_latent(header.latent_count, k, header.order) is not None
    return header.latent_count == k
