# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorded bursts through the same modem, assembler and codec as in flight: results again, latents to the last bit.

What a burst's latents are in their last bits depends on which others were demodulated with it (matrix products and
vector units sum in another order). So a recording says what was demodulated together, and the same call is made again.
"""

import hashlib
import platform
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from semcom import settings
from semcom.capture import namespace
from semcom.capture.errors import CaptureError
from semcom.capture.finding import BATCH, find_bursts
from semcom.capture.originals import Original, Originals
from semcom.capture.reader import read_recordings
from semcom.capture.recording import ForeignRecording, FoundBurst, RecordedBurst, Recording
from semcom.errors import ModelError, SemcomError
from semcom.kinds import IMAGE, KINDS, LABEL, Kind, quality
from semcom.modem import (
    AssembledImage,
    BurstHeader,
    DemodulatedBurst,
    DetectedBurst,
    ImageAssembler,
    Modem,
    PictureLimits,
    estimate_snr,
    v2,
)
from semcom.modem.header import ADDED, MODE_CODED, MODE_LATENTS, VERSION, describe
from semcom.parsing import shown
from semcom.radio import LinkProfile, load_link
from semcom.security import guard_of
from semcom.system import coded, zoo
from semcom.system.latents import LatentSystem

_MAX_OPEN = 2  # pictures under way, as in the receiver
_KINDS = {kind.code: kind for kind in KINDS.values()}


def engine() -> str:
    """What computes latents here; another one may round their last bits otherwise."""
    return f"torch {torch.__version__} {torch.backends.cpu.get_cpu_capability()} {platform.machine()}"


def latents_sha256(latents) -> str:
    """The hash that recordings carry: SHA-256 of ``[m]`` complex latents as little-endian complex64, in hex."""
    latents = latents.detach().cpu().numpy() if isinstance(latents, torch.Tensor) else latents
    return hashlib.sha256(np.ascontiguousarray(latents, dtype="<c8")).hexdigest()


@dataclass(frozen=True)
class CapturedPicture:
    """One recorded picture, or a label of one.

    header: of its first burst that came. burst_count: how many it has. latents ``[k]`` complex64 (0: erased), noise_var
    ``[k]`` (inf: erased): in the order of the codec; of a digital mode (``header.order``) the symbols that carry them.
    snr_db: mean of the live estimates. sent: the picture that was sent, as far as it is known. value: the result, of
    ``kind``; None: its model is not here, or it was not asked for.
    latents_equal, latents_known: bursts with the very latents of the live run, of those used whose hash is known.
    """

    header: BurstHeader
    latents: np.ndarray
    noise_var: np.ndarray
    snr_db: float
    bursts_received: int
    burst_count: int
    latents_equal: int
    latents_known: int
    received_s: float | None
    sent: Original = Original()
    value: np.ndarray | None = None

    @property
    def kind(self) -> Kind:
        """What it is: ``IMAGE``, pixels uint8 ``[H, W, 3]``, or ``LABEL``, probabilities ``[classes]``."""
        return _KINDS[self.header.kind]

    @property
    def name(self) -> str | None:
        return self.sent.name

    @property
    def original(self) -> np.ndarray | None:
        """The picture that was sent, uint8 ``[H, W, 3]``; None: not known, or not looked for as this is a label."""
        return self.sent.pixels

    @property
    def pixels(self) -> np.ndarray | None:
        """The decoded picture; None: there is none, or this is a label."""
        return self.value if self.kind is IMAGE else None

    @property
    def label(self) -> int | None:
        """The likeliest class; None: not decoded, or this is a picture."""
        return int(self.value.argmax()) if self.value is not None and self.kind is LABEL else None

    @property
    def verdict(self) -> dict[str, float | None]:
        """``correct`` and ``confidence`` of a label, as of its kind; None each of what is not known, or of a picture."""
        if self.label is None:
            return {"correct": None, "confidence": None}
        return LABEL.score(self.sent.label, self.value)

    @property
    def psnr_db(self) -> float | None:
        """Of the decoded picture against the one that was sent; None without both."""
        if self.pixels is None or self.original is None:
            return None
        return float(quality.psnr(self.original, self.pixels))


class Replay:
    """Iterates over the pictures and labels of recordings; ``counters`` then says what else was found, in words.

    Args:
        path: a folder or a file of a recording.
        model: name or path of a model; None: each picture's own, looked for among those that ship.
        decode: whether to decode at all. originals: where to look for what was sent.
        link: path of the link profile, for recordings that hold none: those of other tools, in which bursts are searched
            for as a receiver does, and raw files. "": the defaults.
        type_name, channel: of such a recording, as in ``sample_files.open_samples``.

    Raises:
        CaptureError: nothing there that can be used. ModelError: no such model. ConfigError: no such profile, or no
            key of a link that has one.
    """

    def __init__(
        self,
        path: str | Path,
        model: str | None = None,
        decode: bool = True,
        originals: Originals | None = None,
        link: str | Path = "",
        type_name: str = "",
        channel: int | None = None,
    ):
        self._link = load_link(link, recorded=True)
        self.recordings, self.problems = read_recordings(path, type_name, channel)
        self.counters: Counter[str] = Counter()
        self.bursts = self.latents_equal = self.latents_known = 0
        self._decode, self._originals = decode, originals or Originals()
        self._chosen = zoo.load(model) if model else None
        self._models: dict[int, zoo.LoadedModel | None] = {}
        self.engines = {str(r.global_info.get(namespace.ENGINE, "")) for r in self.recordings} - {""}
        for recording in self.recordings:
            self.counters.update(recording.skipped)

    @property
    def same_engine(self) -> bool:
        """Whether what recorded computes as what replays: then all latents must be equal."""
        return self.engines == {engine()}

    def __iter__(self) -> Iterator[CapturedPicture]:
        sessions: OrderedDict[str, list[Recording]] = OrderedDict()
        for recording in self.recordings:
            sessions.setdefault(recording.session, []).append(recording)
        for recordings in sessions.values():
            yield from self._session(recordings)

    def _session(self, recordings: list[Recording]) -> Iterator[CapturedPicture]:
        """The pictures of one run of a recorder, whose sample offsets count on from file to file."""
        link = link_of(recordings[0], self._link)
        # what was on the air then is as old as the recording
        modem = Modem(link.modem, guard=guard_of(link.key, clock=None))
        # as recorded
        self._now_s = 0.0
        assemblers: dict[int, ImageAssembler] = {}
        for burst, result in self._demodulated(modem, link, recordings):
            self.bursts += 1
            if result.header is None:
                self.counters[f"bursts not read: {result.error}"] += 1
                continue
            header = result.header
            used = _Used(burst, header, self._compare(burst, result))
            if header.kind not in _KINDS or header.mode == MODE_CODED and header.kind != IMAGE.code:
                what = describe(header.mode)
                self.counters[f"bursts of {what} of items of kind {header.kind}, not read here"] += 1
                continue
            code = header.model_hash
            if self._chosen is not None and code not in _hashes(self._chosen):
                self.counters["bursts of another model"] += 1
                continue
            if code not in assemblers:
                assemblers[code] = self._assembler(modem, header)
            snr_db = _snr_db(burst, result)
            self._now_s = getattr(burst, "received_s", None) or self._now_s
            for image in assemblers[code].add(
                header, result.latents, result.noise_var, snr_db, used, session=result.session
            ):
                yield self._picture(image)
        for assembler in assemblers.values():
            for image in assembler.flush():
                yield self._picture(image)
            self.counters.update({k: n for k, n in assembler.counters.items() if n})

    def _assembler(self, modem: Modem, first: BurstHeader) -> ImageAssembler:
        code = first.model_hash
        model = self._model(code) if first.mode in LatentSystem.modes else None
        system = LatentSystem(model) if model else None

        def admits(header: BurstHeader) -> str | None:
            if header.model_hash != code:
                return "bursts of another model"
            if system is None or header.mode not in system.modes:
                # what is not decoded is assembled all the same
                return None
            return system.admits(header)

        return ImageAssembler(
            modem.profile, admits, max_open=_MAX_OPEN, limits=PictureLimits(), clock=lambda: self._now_s
        )

    def _demodulated(
        self, modem: Modem, link: LinkProfile, recordings: list[Recording]
    ) -> Iterator[tuple[RecordedBurst, DemodulatedBurst]]:
        """The bursts of a session; of other tools' recordings as they are found, so that any length fits memory."""
        for recording in recordings:
            if isinstance(recording, ForeignRecording):
                found = find_bursts(recording, link, modem)
                while batch := list(islice(found, BATCH)):
                    yield from self._demodulate(modem, batch)
                self.counters.update({why: n for why, n in recording.file.counters.items() if n})
        yield from self._demodulate(modem, [burst for recording in recordings for burst in recording.bursts])

    def _demodulate(
        self, modem: Modem, bursts: list[RecordedBurst]
    ) -> Iterator[tuple[RecordedBurst, DemodulatedBurst]]:
        """Every burst once, in order, each in a call of the same make as the live one."""
        by_offset = {burst.note.sample_offset: burst for burst in bursts}
        done: set[int] = set()
        for burst in bursts:
            if id(burst) in done:
                continue
            note = burst.note
            batched = note.batch is not None and note.batch_start is not None
            offsets = [note.batch_start + at for at in note.batch] if batched else [note.sample_offset]
            members = [by_offset.get(offset) for offset in offsets]
            if burst not in members:  # the annotation contradicts itself
                members = [burst]
            absent = sum(member is None for member in members)
            if absent:
                self.counters["bursts demodulated with others that are not in the recordings"] += absent
            with _one_thread(), torch.inference_mode():
                results = modem.demodulate([_detected(member or burst) for member in members])
            for member, result in zip(members, results, strict=True):
                together = member is not None and (member.note.batch or ()) in ((), note.batch)
                if together and id(member) not in done:
                    done.add(id(member))
                    yield member, result

    def _compare(self, burst: RecordedBurst, result: DemodulatedBurst) -> bool | None:
        """Whether the latents are those of the live run; None: they are not known."""
        if isinstance(burst, FoundBurst):  # nothing was computed when it was recorded
            return None
        if burst.note.latents_sha256 is None:
            self.counters["bursts without a hash of their latents"] += 1
            return None
        equal = latents_sha256(result.latents) == burst.note.latents_sha256
        self.latents_known += 1
        self.latents_equal += equal
        return equal

    def _picture(self, image: AssembledImage) -> CapturedPicture:
        used: tuple[_Used, ...] = image.notes
        bursts, header = [one.burst for one in used], used[0].header
        known = [one.is_equal for one in used if one.is_equal is not None]
        noted = next((b for b in bursts if b.note.image is not None), bursts[0])
        note = noted.note
        if note.image_id is None:  # not read when it was recorded
            note = replace(note, image_id=header.image_id, model_hash=header.model_hash)
        size = image.size if image.kind == IMAGE.code else None
        sent = self._originals.find(note, noted.received_s, size)
        value = self._value(image) if self._decode else None
        return CapturedPicture(
            header,
            image.latents.numpy(),
            image.noise_var.numpy(),
            float(image.snr_db),
            image.bursts_received,
            image.burst_count,
            sum(known),
            len(known),
            bursts[0].received_s,
            sent,
            value,
        )

    def _value(self, image: AssembledImage) -> np.ndarray | None:
        if image.mode == MODE_CODED:
            pixels = coded.decode(image)
            self.counters["pictures of coded bits that could not be decoded"] += pixels is None
            return pixels
        if image.mode not in LatentSystem.modes:
            self.counters[f"pictures of {describe(image.mode)}, not decoded here"] += 1
            return None
        model = self._model(image.model_hash)
        if model is None:
            return None
        with _one_thread(), torch.inference_mode():
            return LatentSystem(model).receive([image])[0].value

    def _model(self, code: int) -> zoo.LoadedModel | None:
        if self._chosen is not None:
            return self._chosen
        if code not in self._models:
            self._models[code] = _model_of(code)
            if self._models[code] is None:
                self.counters[f"models that are not here (hash {code:#08x}; name theirs with --model)"] += 1
        return self._models[code]


def link_of(recording: Recording, default: LinkProfile) -> LinkProfile:
    """The link profile that a recording was made with, of its frame version; ``default`` where it holds none.

    Raises:
        CaptureError: a profile or frame version of another release.
    """
    if isinstance(recording, ForeignRecording):
        return default
    version = recording.global_info.get(namespace.FRAME_VERSION, v2.VERSION)
    if version not in (v2.VERSION, VERSION):
        raise CaptureError(
            f"{recording.name}: bursts of frame version {shown(version)}; this release reads {v2.VERSION} and "
            f"{VERSION}. Replay it with the release that recorded it, or a later one."
        )
    fields = recording.global_info.get(namespace.LINK)
    if fields is None:
        return default.at_frame_version(version)
    if version == v2.VERSION and isinstance(fields, dict) and isinstance(fields.get("modem", {}), dict):
        fields = fields | {
            "modem": v2.as_recorded({"header_symbols": v2.HEADER_SYMBOLS} | fields.get("modem", {}))
        }
    try:
        return settings.make(LinkProfile, fields, f"link profile in {recording.name}")
    except SemcomError as error:
        raise CaptureError(f"{error} Was it recorded by another release?") from error


def replay(path: str | Path, **options) -> list[CapturedPicture]:
    """All pictures and labels of a recording or a folder of them. Options are those of ``Replay``."""
    return list(Replay(path, **options))


def dataset(
    path: str | Path, originals: str | Path | None = None, sent_log: str | Path | None = None
) -> Iterator[CapturedPicture]:
    """Recorded pictures as training wants them: received latents, noise variances, SNR and, if known, the original.

    Pictures whose latents were not sent as they are, but quantised, coded or with a key stream added, are left out, and
    so are labels.

    Args:
        path: a folder or a file of a recording. originals: folder of the pictures that were sent.
        sent_log: the transmitter's log, which says where they are.

    Raises:
        CaptureError: nothing there that can be used.
    """
    replay = Replay(path, decode=False, originals=Originals(originals, sent_log))
    yield from (
        one
        for one in replay
        if one.header.mode == MODE_LATENTS and one.header.cipher != ADDED and one.kind is IMAGE
    )


@dataclass(frozen=True)
class _Used:
    """What is kept of a burst until its picture is done. is_equal: None: no hash of its latents is known."""

    burst: RecordedBurst
    header: BurstHeader
    is_equal: bool | None


def _hashes(model: zoo.LoadedModel) -> set[int]:
    """What bursts of a model are named: analog ones, and digital ones by codebooks."""
    return {model.model_hash, *model.digital_hashes}


def _detected(burst: RecordedBurst) -> DetectedBurst:
    note = burst.note
    samples = torch.from_numpy(burst.samples().astype(np.complex64, copy=False))
    return DetectedBurst(samples, note.sample_offset, note.cfo, note.sync_quality or 0.0)


def _snr_db(burst: RecordedBurst, result: DemodulatedBurst) -> float:
    """As estimated live; where it was not, as estimated now."""
    if burst.note.snr_db is not None:
        return burst.note.snr_db
    with torch.inference_mode():
        return float(estimate_snr(result.pilots_rx[None], result.pilots_ref[None], result.pilot_dof).snr_db)


def _model_of(code: int) -> zoo.LoadedModel | None:
    for name in zoo.names():
        try:
            card = zoo.card(name)
            if card.anchor is None and code in (card.model_hash, *card.digital_hashes):
                return zoo.load(name)
        except ModelError:
            continue
    return None


@contextmanager
def _one_thread() -> Iterator[None]:
    """As in a flowgraph: with more threads tensors are cut elsewhere, and round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
