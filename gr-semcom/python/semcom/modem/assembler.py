# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts to the payload symbols of whole pictures; what was not received is an erasure, and is counted."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from semcom import settings
from semcom.equivalent_snr import rescale
from semcom.errors import HeaderError
from semcom.modem import frame
from semcom.modem.header import ADDED, KIND_IMAGE, MODE_LATENTS, SCRAMBLED, BurstHeader
from semcom.modem.profile import ModemProfile
from semcom.security import ring
from semcom.security.cipher import unscramble
from semcom.security.sessions import SessionKeys

_MOST_OPEN = 16  # pictures, and payload symbols of all of them: whatever headers claim, the memory is bounded
_MOST_OPEN_SYMBOLS = 2**22
# What is done is remembered for so long: a burst of it that comes again is known as repeated, a part joins it. At most
# so many items are (some 4 MB), and so many payload symbols of parts (12 bytes each: 25 MB).
KEPT_S = 30.0
KEPT_ITEMS = 2**12
KEPT_SYMBOLS = 2**21
MOST_PARTS = 64  # of an item
TOO_LARGE = "bursts of pictures larger than the link profile's limits"
TOO_FEW = "pictures given up: too few of their bursts came"
NO_BUDGET = "pictures given up: more to decode than what came is worth"
MISPLACED = "bursts of parts that lie outside of their item"
TOO_MANY_PARTS = f"bursts of items in more than {MOST_PARTS} parts"
JOINED = "parts joined to what came before"


@dataclass(frozen=True)
class PictureLimits:
    """What a receiver decodes, whatever headers claim: anyone can send a header, and one burst can claim a picture that
    takes half a minute and gigabytes.

    Attributes:
        largest_picture_pixels: height times width; larger ones are not begun.
        least_share: of a picture's bursts that must have been received for it to be decoded.
        decode_budget: pixels that may be decoded for each pixel whose share of a burst was received, 1 or more: what
            complete pictures do not use is left for incomplete ones. A complete picture is always decoded.
        clock_tolerance_s: of a link with a key, by how much the clocks of two stations may differ.

    Raises:
        ConfigError: an impossible value, named.
    """

    largest_picture_pixels: int = 2**22
    least_share: float = 0.05
    decode_budget: float = 4.0
    clock_tolerance_s: float = 300.0

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
            clock_tolerance_s=(self.clock_tolerance_s, 1 <= self.clock_tolerance_s <= 1e10, "1 to 1e10 s"),
        )


@dataclass(frozen=True)
class AssembledImage:
    """The payload of one picture, as far as it was received.

    latents ``[k]`` complex (0 where erased): latents, or the symbols of another payload mode; noise_var ``[k]`` (inf
    where erased); snr_db: mean over the bursts received, of the estimates given with them; size: (height, width) in
    pixels; mode, model_hash, kind, sender, side: as its headers have them, side as that of the last part received.
    parts: (first, count) of the ranges of ``latents`` that bursts were sent of, in the order in which they were done;
    what lies between them is erased; sides: of their headers; missing: the bursts of each that did not come.
    bursts_received, burst_count: of all parts together. notes: what ``add`` was given
    with the bursts that were used, in the order in which they came. steps: ``[k, 2]``, of a key stream that was added
    (``security.ring``) and that the latents still hold; None: none was.
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
    kind: int = KIND_IMAGE
    sender: int = 0
    side: int = 0
    parts: tuple[tuple[int, int], ...] = ()
    notes: tuple = ()
    steps: torch.Tensor | None = None
    sides: tuple[int, ...] = ()
    missing: tuple[tuple[int, ...], ...] = ()


_NOTHING = torch.empty(0, dtype=torch.complex64), torch.empty(0)


@dataclass
class _Open:
    header: BurstHeader
    first: int  # place of its first latent in the item
    burst_count: int
    latents: torch.Tensor
    noise_var: torch.Tensor
    snr_db: dict[int, float] = field(default_factory=dict)
    begun_since: int = 0  # pictures, since its last burst
    notes: list = field(default_factory=list)
    session: SessionKeys | None = None

    @property
    def owner(self) -> int | None:
        """Whose limits it is under: of signed bursts each sender has limits of its own, and all others share theirs, as
        anybody can claim to be any sender."""
        return None if self.session is None else self.header.sender


@dataclass(frozen=True)
class _Part:
    """Latents of an item from ``first`` on, in their order, ``[m]``."""

    first: int
    latents: torch.Tensor
    noise_var: torch.Tensor
    bursts_received: int
    burst_count: int
    snr_db: float  # sum over its bursts
    notes: tuple = ()
    steps: torch.Tensor | None = None
    side: int = 0
    missing: tuple[int, ...] = ()
    entry: _Open | None = None  # of a part with bursts missing, which may still come


@dataclass
class _Closed:
    """An item that is done, by now: its headers by their place among the parts, and its parts if any can be joined."""

    headers: dict[int, BurstHeader] = field(default_factory=dict)
    parts: list[_Part] = field(default_factory=list)
    since_s: float = 0.0
    session: SessionKeys | None = None


class ImageAssembler:
    """Collects bursts by picture, in whatever order they come, of one transmitter or several.

    A picture is handed out when its last burst is in, or when ``max_open`` others and one more have been begun since a
    burst of it came (the rest of it is then given up), or by ``flush``. Repeated and late bursts are counted, not used;
    what is done is remembered for ``KEPT_S`` seconds, and of the last ``KEPT_ITEMS``.
    So ``max_open`` + 1 transmitters may send at once, their bursts in any order. Of signed bursts each sender
    has this and the limits to itself.

    An item may come in parts: bursts of one sender, number, kind, size, model and mode whose ``side`` differs. Each
    part that is done hands out the item as known by then: with parts of the last ``KEPT_S`` seconds (``KEPT_SYMBOLS``
    in all), and of parts under way what is there. Where parts overlap, the latent with less noise counts. A burst that
    is missing in a part may come later, as one that was asked for: that part is then done once more.

    Args:
        profile: the modem's.
        admits: why bursts with a header are not taken, in the words of a counter, or None; asked before anything is
            allocated (``System.admits``). None takes all.
        max_open: pictures that may begin between two bursts of another.
        limits: what is taken and handed out; None: all that the memory's bound allows.
        first_place: header -> where a burst's part begins in the latents of its item; None: no item comes in parts.
        clock: seconds, for what is remembered; of a replay those of the recording.
    """

    def __init__(
        self,
        profile: ModemProfile,
        admits: Callable[[BurstHeader], str | None] | None = None,
        max_open: int = 4,
        limits: PictureLimits | None = None,
        first_place: Callable[[BurstHeader], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._profile, self._admits, self._max_open = profile, admits, max_open
        self._first_place, self._clock = first_place, clock
        # by sender, number and side of parts
        self._open: OrderedDict[tuple[int, int, int], _Open] = OrderedDict()
        # by sender and number, the oldest first
        self._closed: OrderedDict[tuple[int, int], _Closed] = OrderedDict()
        self._kept_symbols = 0
        self._limits = limits
        self._credit: dict[int | None, float] = {}  # pixels, by owner
        self.counters: Counter[str] = Counter()

    def add(
        self,
        header: BurstHeader,
        latents: torch.Tensor,
        noise_var: torch.Tensor,
        snr_db: float,
        note: object = None,
        session: SessionKeys | None = None,
    ):
        """Takes one burst: ``latents`` ``[m]``, ``noise_var`` ``[m]``; returns the pictures that are done with it.

        ``snr_db`` is the burst's estimated SNR; it sets the scale of ``noise_var``, whose shape over the subcarriers
        is kept. ``note``: anything that is returned with the picture if the burst is used, so that callers need no
        second record of which bursts make which picture. session: of a signed burst, by which its payload is opened.
        """
        if reason := self._refuse(header, latents, noise_var):
            self.counters[reason] += 1
            return []
        first = self._place(header)
        if first is None:
            self.counters[MISPLACED] += 1
            return []
        self._forget()
        done = self._end_others(header, session)
        key = self._key(header)
        entry = self._open.get(key)
        if entry is None:
            past = self._closed.get(_number(header))
            entry = self._opened_again(key, header, past)
        if entry is None:
            if past is not None and key[2] in past.headers:
                self.counters["bursts repeated or too late"] += 1
                return done
            if past is not None and len(past.headers) >= MOST_PARTS:
                self.counters[TOO_MANY_PARTS] += 1
                return done
            entry = _Open(header, first, 0, *_NOTHING, session=session)
            done += self._make_room(entry)
            self._begin(key, entry)
        if header.burst_index in entry.snr_db:
            self.counters["bursts repeated or too late"] += 1
            return done
        at = header.burst_index * len(latents)
        entry.latents[at : at + len(latents)] = latents.cpu()
        entry.noise_var[at : at + len(latents)] = rescale(noise_var.cpu(), snr_db)
        entry.snr_db[header.burst_index] = snr_db
        entry.notes.append(note)
        entry.begun_since = 0
        self._open.move_to_end(key)  # the first is the one without a burst for longest
        self._earn(entry)
        self.counters["bursts used"] += 1
        if len(entry.snr_db) == entry.burst_count:
            done += self._close(key)
        return done

    def _opened_again(
        self, key: tuple[int, int, int], header: BurstHeader, past: "_Closed | None"
    ) -> _Open | None:
        """A part that is done but for bursts such as this one."""
        for part in past.parts if past is not None else ():
            if part.entry is not None and part.side == header.side and header.burst_index in part.missing:
                past.parts.remove(part)
                del past.headers[key[2]]
                self._kept_symbols -= len(part.latents)
                self._open[key] = part.entry
                return part.entry
        return None

    def flush(self) -> list[AssembledImage]:
        """Hands out every picture under way, complete or not."""
        last = {key[:2]: image for key in list(self._open) for image in self._close(key)}
        return list(last.values())

    def _place(self, header: BurstHeader) -> int | None:
        """Where the part begins; None: nowhere in an item of that size."""
        if self._first_place is None:
            return 0
        try:
            first = self._first_place(header)
        except HeaderError:
            return None
        return first if 0 <= first <= header.most_latents - header.latent_count else None

    def _key(self, header: BurstHeader) -> tuple[int, int, int]:
        return (*_number(header), header.side if self._first_place else 0)

    def _forget(self) -> None:
        """What was done long ago, or before too many others."""
        now = self._clock()
        while self._closed:
            oldest = next(iter(self._closed.values()))
            if len(self._closed) <= KEPT_ITEMS and oldest.since_s >= now - KEPT_S:
                break
            self._drop(self._closed.popitem(last=False)[1])

    def _drop(self, closed: _Closed) -> None:
        self._kept_symbols -= sum(len(part.latents) for part in closed.parts)
        closed.parts = []

    def _end_others(self, header: BurstHeader, session: SessionKeys | None) -> list[AssembledImage]:
        """Ends an item of the same sender and number that is another one: numbers have wrapped round, or the sender has
        begun another session."""
        number, done = _number(header), []
        for key, entry in list(self._open.items()):
            same = entry.session == session and self._same_item(entry.header, header)
            if key[:2] == number and not same:
                done += self._close(key)
        past = self._closed.get(number)
        same = past is None or past.session == session
        if past is not None and not (
            same and all(self._same_item(one, header) for one in past.headers.values())
        ):
            self._drop(self._closed.pop(number))
        return done

    def _same_item(self, a: BurstHeader, b: BurstHeader) -> bool:
        alike = all(getattr(a, name) == getattr(b, name) for name in _ITEM)
        if self._first_place is not None and a.side != b.side:
            return alike
        return alike and (a.latent_count, a.side) == (b.latent_count, b.side)

    def _refuse(self, header: BurstHeader, latents, noise_var) -> str | None:
        if self._limits and header.height * header.width > self._limits.largest_picture_pixels:
            return TOO_LARGE
        if self._admits is not None and (reason := self._admits(header)):
            return reason
        plan = self._profile.plan(header.latent_count)
        if not len(latents) == len(noise_var) == plan.latents_per_burst:
            return "bursts with a payload of the wrong length"
        if not bool(torch.isfinite(torch.view_as_real(latents)).all() and (noise_var > 0).all()):
            return "bursts with latents that are not numbers"
        return None

    def _make_room(self, new: _Open) -> list[AssembledImage]:
        """Hands out what must go before a picture is begun: another owner's only if that has more than this one."""
        done: list[AssembledImage] = []
        for key, entry in list(self._open.items()):
            entry.begun_since += entry.owner == new.owner
            if entry.begun_since > self._max_open:
                done += self._close(key)
        room = self._profile.plan(new.header.latent_count)
        held: Counter[int | None] = Counter({new.owner: room.burst_count * room.latents_per_burst})
        for entry in self._open.values():
            held[entry.owner] += len(entry.latents)
        while self._open and (len(self._open) >= _MOST_OPEN or held.total() > _MOST_OPEN_SYMBOLS):
            owners = {entry.owner for entry in self._open.values()}
            largest = max(owners, key=held.__getitem__)
            oldest = next(key for key, entry in self._open.items() if entry.owner == largest)
            held[largest] -= len(self._open[oldest].latents)
            done += self._close(oldest)
        return done

    def _credit_of(self, owner: int | None) -> float:
        return self._credit.get(owner, float(self._limits.largest_picture_pixels) if self._limits else 0.0)

    def _earn(self, entry: _Open) -> None:
        if self._limits:
            pixels = entry.header.height * entry.header.width
            earned = self._limits.decode_budget * pixels / entry.burst_count
            most = self._limits.decode_budget * self._limits.largest_picture_pixels
            self._credit[entry.owner] = min(self._credit_of(entry.owner) + earned, most)

    def _given_up(self, entry: _Open) -> str | None:
        """Why an incomplete picture is not worth its decoding; pays for one that is handed out."""
        if not self._limits:
            return None
        pixels, received = entry.header.height * entry.header.width, len(entry.snr_db)
        if received < self._limits.least_share * entry.burst_count:
            return TOO_FEW
        credit = self._credit_of(entry.owner)
        if pixels > credit and received < entry.burst_count:
            return NO_BUDGET
        self._credit[entry.owner] = max(0.0, credit - pixels)
        return None

    def _begin(self, key: tuple[int, int, int], entry: _Open) -> None:
        plan = self._profile.plan(entry.header.latent_count)
        room = plan.burst_count * plan.latents_per_burst
        entry.burst_count = plan.burst_count
        entry.latents, entry.noise_var = (
            torch.zeros(room, dtype=torch.complex64),
            torch.full((room,), torch.inf),
        )
        self._open[key] = entry

    def _close(self, key: tuple[int, int, int]) -> list[AssembledImage]:
        """The picture, or nothing if it is given up."""
        entry = self._open.pop(key)
        header, number = entry.header, key[:2]
        closed = self._closed.setdefault(number, _Closed())
        closed.headers[key[2]], closed.since_s = header, self._clock()
        closed.session = entry.session
        self._closed.move_to_end(number)
        if reason := self._given_up(entry):
            self.counters[reason] += 1
            return []
        part = self._part(entry)
        self.counters["pictures with bursts missing"] += part.bursts_received < part.burst_count
        self.counters["bursts missing"] += part.burst_count - part.bursts_received
        self.counters[JOINED if closed.parts else "pictures"] += 1
        parts = [*closed.parts, part]
        if self._first_place is not None:
            parts += [self._part(other) for at, other in self._open.items() if at[:2] == number]
            self._keep(closed, part)
        return [_joined(header, parts)]

    def _keep(self, closed: _Closed, part: _Part) -> None:
        closed.parts.append(part)
        self._kept_symbols += len(part.latents)
        for oldest in list(self._closed.values()):
            if self._kept_symbols <= KEPT_SYMBOLS:
                break
            self._drop(oldest)

    def _part(self, entry: _Open) -> _Part:
        k, version = entry.header.latent_count, self._profile.frame_version
        latents, noise_var, header, steps = entry.latents[:k], entry.noise_var[:k], entry.header, None
        key = entry.session and entry.session.stream_key(header.sender, header.image_id, header.side)
        if key and header.cipher == SCRAMBLED:
            latents, noise_var = unscramble(latents, noise_var, key)
        else:
            steps = ring.steps(key, k) if key and header.cipher == ADDED else None
            latents = frame.unscramble(latents[None], version)[0]
            noise_var = frame.deinterleave(noise_var[None], version)[0]
        return _Part(
            entry.first,
            latents,
            noise_var,
            len(entry.snr_db),
            entry.burst_count,
            sum(entry.snr_db.values()),
            tuple(entry.notes),
            steps,
            header.side,
            tuple(sorted(set(range(entry.burst_count)) - entry.snr_db.keys())),
            entry if len(entry.snr_db) < entry.burst_count else None,
        )


# beside sender and number, what parts of an item share
_ITEM = ("kind", "mode", "height", "width", "model_hash")


def _number(header: BurstHeader) -> tuple[int, int]:
    return header.sender, header.image_id


def _joined(header: BurstHeader, parts: list[_Part]) -> AssembledImage:
    """An item of which these parts are known."""
    end = max(part.first + len(part.latents) for part in parts)
    latents, noise_var, steps = parts[0].latents, parts[0].noise_var, parts[0].steps
    if len(parts) > 1 or parts[0].first:
        latents, noise_var = torch.zeros(end, dtype=latents.dtype), torch.full((end,), torch.inf)
        steps = torch.zeros(end, 2) if any(part.steps is not None for part in parts) else None
        for part in parts:
            place = slice(part.first, part.first + len(part.latents))
            better = part.noise_var < noise_var[place]
            latents[place] = torch.where(better, part.latents, latents[place])
            if steps is not None and part.steps is not None:
                steps[place] = torch.where(better[:, None], part.steps, steps[place])
            noise_var[place] = torch.where(better, part.noise_var, noise_var[place])
    received = sum(part.bursts_received for part in parts)
    return AssembledImage(
        header.image_id,
        (header.height, header.width),
        latents,
        noise_var,
        received,
        sum(part.burst_count for part in parts),
        sum(part.snr_db for part in parts) / received,
        header.mode,
        header.model_hash,
        header.kind,
        header.sender,
        header.side,
        tuple((part.first, len(part.latents)) for part in parts),
        tuple(note for part in parts for note in part.notes),
        steps,
        tuple(part.side for part in parts),
        tuple(part.missing for part in parts),
    )
