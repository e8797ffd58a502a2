# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts back into pictures' worth of payload symbols; what never came is an erasure, and is counted."""

from collections import Counter, OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field

import torch

from semcom import settings
from semcom.equivalent_snr import rescale
from semcom.modem import frame
from semcom.modem.header import DIGITAL_MODES, MODE_LATENTS, BurstHeader, describe
from semcom.modem.labels import bits_per_latent
from semcom.modem.profile import ModemProfile

_MOST_OPEN = 16  # pictures, and payload symbols of all of them: whatever headers claim, the memory is bounded
_MOST_OPEN_SYMBOLS = 2**22
TOO_LARGE = "bursts of pictures larger than the link profile's limits"
TOO_FEW = "pictures given up: too few of their bursts came"
NO_BUDGET = "pictures given up: more to decode than what came is worth"


@dataclass(frozen=True)
class PictureLimits:
    """What a receiver decodes, whatever headers claim: anybody can send a header, and one burst can claim a picture
    that takes half a minute and gigabytes.

    Attributes:
        largest_picture_pixels: height times width; larger ones are not begun.
        least_share: of a picture's bursts that must have come for it to be decoded.
        decode_budget: pixels that may be decoded for each pixel whose share of a burst came, 1 or more: what complete
            pictures leave over is there for incomplete ones. A complete picture is always decoded.

    Raises:
        ConfigError: an impossible value, named.
    """

    largest_picture_pixels: int = 2**22
    least_share: float = 0.05
    decode_budget: float = 4.0

    def __post_init__(self):
        settings.require(
            "picture limits",
            largest_picture_pixels=(
                self.largest_picture_pixels,
                1 <= self.largest_picture_pixels <= 2**26,
                "1 to 67108864 pixels",
            ),
            least_share=(self.least_share, 0 <= self.least_share <= 1, "0 to 1"),
            decode_budget=(self.decode_budget, 1 <= self.decode_budget <= 1e6, "1 to 1e6"),
        )


@dataclass(frozen=True)
class AssembledImage:
    """The payload of one picture, as far as it came.

    latents ``[k]`` complex (0 where erased): latents, or the symbols of another payload mode; noise_var ``[k]`` (inf
    where erased); snr_db: mean over the bursts that came, of the estimates given with them; size: (height, width) in
    pixels; mode, model_hash: as its headers have them. notes: what ``add`` was given with the bursts that were used, in
    the order in which they came.
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
    notes: tuple = ()


@dataclass
class _Open:
    header: BurstHeader
    latents: torch.Tensor
    noise_var: torch.Tensor
    snr_db: dict[int, float] = field(default_factory=dict)
    begun_since: int = 0  # pictures, since its last burst
    notes: list = field(default_factory=list)


class ImageAssembler:
    """Collects bursts by picture, in whatever order they come, of one transmitter or several.

    A picture is handed out when its last burst is in, or when ``max_open`` others and one more have been begun since a
    burst of it came (the rest of it is then given up), or by ``flush``. Repeated and late bursts are counted, not used.
    So ``max_open`` + 1 transmitters may send at once, their bursts in any order.

    Args:
        profile: the modem's.
        model_hash: only bursts of this codec are taken; None takes all.
        latent_count_of: (height, width) -> k of the codec, checked before anything is allocated; None: unchecked.
        max_open: pictures that may begin between two bursts of another.
        modes: payload modes taken.
        digital_hashes: what bursts of ``DIGITAL_MODES`` are named (codec and codebooks); None takes all.
        limits: what is taken and handed out; None: all that the memory's bound allows.
    """

    def __init__(
        self,
        profile: ModemProfile,
        model_hash: int | None = None,
        latent_count_of=None,
        max_open: int = 4,
        modes: Collection[int] = (MODE_LATENTS,),
        digital_hashes: Collection[int] | None = None,
        limits: PictureLimits | None = None,
    ):
        self._profile, self._hash, self._count_of = profile, model_hash, latent_count_of
        self._max_open, self._modes, self._digital_hashes = max_open, frozenset(modes), digital_hashes
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._closed: OrderedDict[int, BurstHeader] = OrderedDict()
        self._limits = limits
        self._credit = float(limits.largest_picture_pixels) if limits else 0.0  # pixels
        self.counters: Counter[str] = Counter()

    def add(
        self,
        header: BurstHeader,
        latents: torch.Tensor,
        noise_var: torch.Tensor,
        snr_db: float,
        note: object = None,
    ):
        """Takes one burst: ``latents`` ``[m]``, ``noise_var`` ``[m]``; returns the pictures that are done with it.

        ``snr_db`` is the burst's estimated SNR; it sets the scale of ``noise_var``, whose shape over the subcarriers
        is kept. ``note``: anything that is to come back with the picture, if the burst is used: so that nobody keeps
        another account of which bursts make which picture.
        """
        if reason := self._refuse(header, latents, noise_var):
            self.counters[reason] += 1
            return []
        done = []
        entry = self._open.get(header.image_id)
        if entry is not None and not _same_picture(entry.header, header):
            done += self._close(header.image_id)  # the picture numbers have wrapped round
            entry = None
        if entry is None:
            if (past := self._closed.get(header.image_id)) is not None and _same_picture(past, header):
                self.counters["bursts repeated or too late"] += 1
                return done
            done += self._make_room(header)
            entry = self._begin(header)
        if header.burst_index in entry.snr_db:
            self.counters["bursts repeated or too late"] += 1
            return done
        at = header.burst_index * len(latents)
        entry.latents[at : at + len(latents)] = latents.cpu()
        entry.noise_var[at : at + len(latents)] = rescale(noise_var.cpu(), snr_db)
        entry.snr_db[header.burst_index] = snr_db
        entry.notes.append(note)
        entry.begun_since = 0
        self._open.move_to_end(header.image_id)  # the first is the one not heard of for longest
        self._earn(header)
        self.counters["bursts used"] += 1
        if len(entry.snr_db) == header.burst_count:
            done += self._close(header.image_id)
        return done

    def flush(self) -> list[AssembledImage]:
        """Hands out every picture under way, complete or not."""
        return [image for image_id in list(self._open) for image in self._close(image_id)]

    def _refuse(self, header: BurstHeader, latents, noise_var) -> str | None:
        if header.mode not in self._modes:
            return f"bursts of {describe(header.mode)}, not read here"
        if not self._named_right(header):
            return "bursts of another model"
        if self._count_of is not None and not _fits(header, self._count_of(header.height, header.width)):
            return "bursts whose size does not fit the model"
        if self._limits and header.height * header.width > self._limits.largest_picture_pixels:
            return TOO_LARGE
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

    def _make_room(self, header: BurstHeader) -> list[AssembledImage]:
        """Hands out what must go before a picture with this header is begun."""
        done: list[AssembledImage] = []
        for image_id, entry in list(self._open.items()):
            entry.begun_since += 1
            if entry.begun_since > self._max_open:
                done += self._close(image_id)
        room = self._profile.plan(header.latent_count)
        held = (
            sum(len(entry.latents) for entry in self._open.values())
            + room.burst_count * room.latents_per_burst
        )
        while self._open and (len(self._open) >= _MOST_OPEN or held > _MOST_OPEN_SYMBOLS):
            oldest = next(iter(self._open))
            held -= len(self._open[oldest].latents)
            done += self._close(oldest)
        return done

    def _earn(self, header: BurstHeader) -> None:
        if self._limits:
            earned = self._limits.decode_budget * header.height * header.width / header.burst_count
            most = self._limits.decode_budget * self._limits.largest_picture_pixels
            self._credit = min(self._credit + earned, most)

    def _given_up(self, header: BurstHeader, received: int) -> str | None:
        """Why an incomplete picture is not worth its decoding; pays for one that is handed out."""
        if not self._limits:
            return None
        pixels, complete = header.height * header.width, received == header.burst_count
        if received < self._limits.least_share * header.burst_count:
            return TOO_FEW
        if pixels > self._credit and not complete:
            return NO_BUDGET
        self._credit = max(0.0, self._credit - pixels)
        return None

    def _begin(self, header: BurstHeader) -> _Open:
        plan = self._profile.plan(header.latent_count)
        room = plan.burst_count * plan.latents_per_burst
        entry = _Open(header, torch.zeros(room, dtype=torch.complex64), torch.full((room,), torch.inf))
        self._open[header.image_id] = entry
        self._closed.pop(header.image_id, None)
        return entry

    def _close(self, image_id: int) -> list[AssembledImage]:
        """The picture, or nothing if it is given up."""
        entry = self._open.pop(image_id)
        header, received = entry.header, len(entry.snr_db)
        self._closed[image_id] = header
        while len(self._closed) > 64:
            self._closed.popitem(last=False)
        if reason := self._given_up(header, received):
            self.counters[reason] += 1
            return []
        self.counters["pictures"] += 1
        self.counters["pictures with bursts missing"] += received < header.burst_count
        self.counters["bursts missing"] += header.burst_count - received
        k = header.latent_count
        image = AssembledImage(
            image_id,
            (header.height, header.width),
            frame.unscramble(entry.latents[None, :k])[0],
            frame.deinterleave(entry.noise_var[None, :k])[0],
            received,
            header.burst_count,
            sum(entry.snr_db.values()) / received,
            header.mode,
            header.model_hash,
            tuple(entry.notes),
        )
        return [image]


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
