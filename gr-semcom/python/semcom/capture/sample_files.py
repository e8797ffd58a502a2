# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of samples of every make as one kind of stream: raw ones, SigMF of other tools, archives, collections.

The ``sigmf`` package validates before it reads, so that a date without Z or a number with a point costs all samples, and
it knows no trailing bytes and no channels of archives; so where samples lie is worked out here, and only that.
"""

import lzma
import math
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import numpy as np

from semcom.air.filters import HALF_TAPS, interpolation_kernel
from semcom.capture import metadata
from semcom.capture.errors import CaptureError
from semcom.capture.sample_types import RAW, SampleType, looks_like_floats, sample_type, type_of_name
from semcom.wire.samples import BAD, usable

META, DATA, COLLECTION, ARCHIVE = ".sigmf-meta", ".sigmf-data", ".sigmf-collection", ".sigmf"
ARCHIVES = (ARCHIVE, ".sigmf.gz", ".sigmf.xz", ".sigmf.bz2", ".sigmf.zip")
_MAX_META = 2**28  # bytes of metadata
_SNIFFED = 2**15  # bytes looked at to find out whether a raw file is of complex float32
_MAX_CHANNELS = 4096
_MAX_RATIO = 256  # of sample rates
_PHASES = 2048  # of the interpolation kernel, where the ratio of the rates asks for more
_PIECE = 16384  # samples made at once by the resampler
# what archives raise that are cut, damaged, encrypted or of another make
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


@dataclass(frozen=True)
class _Source:
    """Where the bytes of a recording are: ``open`` gives a file to seek in. metadata: None of a raw file."""

    path: PurePath
    metadata: dict[str, Any] | None
    size: int
    open: Any
    sample_type: SampleType
    channels: int = 1


@dataclass
class SampleFile:
    """Samples of one channel of a recording, by number.

    Attributes:
        path: that was opened. type: of the samples in it. channel: which of ``channels``.
        sample_rate_hz, centre_frequency_hz, first_s: as the metadata say (UTC seconds since 1970); None: they do not.
        count: samples of the channel. metadata: SigMF's, None of a raw file.
        notes: what the user should know, sentences. counters: what was wrong with samples that were read.
    """

    path: PurePath
    type: SampleType
    channels: int
    channel: int
    sample_rate_hz: float | None
    centre_frequency_hz: float | None
    first_s: float | None
    metadata: dict[str, Any] | None
    extents: list[tuple[int, int, int]]  # first sample, byte, samples
    open: Any
    data_bytes: int
    notes: list[str] = field(default_factory=list)
    counters: Counter = field(default_factory=Counter)

    def __post_init__(self):
        self.count = sum(samples for _, _, samples in self.extents)
        self._file: BinaryIO | None = None
        self._held = 0, np.zeros(0, np.complex64)  # first sample and samples that were read last

    def at(self, first: int, count: int) -> np.ndarray:
        """Samples ``first`` to ``first + count``, ``[count]`` complex64; 0 before the first and after the last.

        Raises:
            CaptureError: the file cannot be read, or has become shorter.
        """
        out = np.zeros(count, np.complex64)
        low, high = max(first, 0), min(first + count, self.count)
        if low >= high:
            return out
        start, held = self._held
        if not start <= low <= start + len(held):
            start, held = low, held[:0]
        if start + len(held) < high:  # an archive that is compressed is read on, not anew
            held = np.concatenate([held[low - start :], self._read(start + len(held), high)])
            start, self._held = low, (low, held)
        out[low - first : high - first] = held[low - start : high - start]
        return out

    def _read(self, low: int, high: int) -> np.ndarray:
        pieces, frame = [], self.type.sample_bytes * self.channels
        try:
            self._file = self._file or self.open()
            for first, byte, samples in self.extents:
                begin, end = max(low, first), min(high, first + samples)
                if begin >= end:
                    continue
                self._file.seek(byte + (begin - first) * frame)
                data = self._file.read((end - begin) * frame)
                if len(data) != (end - begin) * frame:
                    raise CaptureError(f"{self.path} has become shorter while it was read.")
                values = np.frombuffer(data, self.type.part).reshape(
                    end - begin, self.channels, self.type.parts
                )
                with np.errstate(over="ignore", invalid="ignore"):
                    pieces.append(self.type.to_complex64(values[:, self.channel].reshape(-1), begin))
        except _UNREADABLE as error:
            raise CaptureError(f"{self.path} cannot be read: {error}.") from error
        samples, bad = usable(np.concatenate(pieces))
        self.counters[BAD] += bad
        return samples


class SampleStream:
    """A ``SampleFile`` at another sample rate; samples by number, so that any part of it is always the same.

    Args:
        rate_hz: of the samples handed out. A file that does not say its rate is taken to have this one (twice it, of
            real samples).

    Raises:
        CaptureError: rates too far apart; real samples at less than twice the rate.
    """

    def __init__(self, file: SampleFile, rate_hz: float):
        self.file, self.rate_hz = file, float(rate_hz)
        file_rate_hz = file.sample_rate_hz or rate_hz * (2 if file.type.is_real else 1)
        ratio = file_rate_hz / rate_hz
        if not 1 / _MAX_RATIO <= ratio <= _MAX_RATIO:
            raise CaptureError(
                f"{file.path} has {file_rate_hz:g} samples a second, the link {rate_hz:g}: resample it first, to the "
                "link's."
            )
        if file.type.is_real and ratio < 2 - 1e-9:
            raise CaptureError(
                f"{file.path} holds real samples, {file_rate_hz:g} a second: a link of {rate_hz:g} needs twice as many."
            )
        self._as_it_is = abs(ratio - 1) < 1e-9
        self._step = Fraction(file_rate_hz).limit_denominator(10**9) / Fraction(rate_hz).limit_denominator(
            10**9
        )
        self._step = self._step.limit_denominator(10**6)
        self.count = (
            file.count if self._as_it_is else int((file.count - 1) / self._step) + 1 if file.count else 0
        )
        self.note = "" if self._as_it_is else f"{file_rate_hz:g} samples a second, resampled to {rate_hz:g}"
        if not self._as_it_is:
            self._half, self._kernels = _kernels(self._step)

    def at(self, first: int, count: int) -> np.ndarray:
        """``[count]`` complex64 from sample ``first`` on; 0 beyond the ends. Raises as ``SampleFile.at``."""
        if self._as_it_is:
            return self.file.at(first, count)
        pieces = [
            self._piece(at, min(_PIECE, first + count - at)) for at in range(first, first + count, _PIECE)
        ]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.complex64)

    def _piece(self, first: int, count: int) -> np.ndarray:
        up, phases = self._step.denominator, len(self._kernels) - 1
        begin, rest = divmod(first * self._step.numerator, up)
        steps = rest + np.arange(count) * self._step.numerator
        places, fractions = steps // up, (steps % up * phases + up // 2) // up
        line = self.file.at(begin - self._half, int(places[-1]) + 2 * self._half + 1)
        windows = np.lib.stride_tricks.sliding_window_view(line, 2 * self._half + 1)[places]
        return np.einsum("nt,nt->n", windows, self._kernels[fractions])


@lru_cache(4)
def _kernels(step: Fraction) -> tuple[int, np.ndarray]:
    """Half the length of the kernel, and its taps for each fraction of an input sample, ``[phases + 1, 2 half + 1]``.

    Fewer samples out than in: the kernel is as much longer, so that what does not fit the new band goes.
    """
    wide = max(1.0, float(step))
    half = math.ceil((HALF_TAPS + 1) * wide)
    phases = min(step.denominator, math.ceil(_PHASES / wide))  # a longer kernel is a smoother one
    fractions = np.arange(phases + 1) / phases
    offsets = (np.arange(-half, half + 1) - fractions[:, None]) / wide
    return half, (interpolation_kernel(offsets) * (np.abs(offsets) <= HALF_TAPS + 1) / wide).astype(
        np.float32
    )


def open_samples(path: str | Path, type_name: str = "", channel: int | None = None) -> SampleFile:
    """Opens a file of samples.

    Args:
        path: a raw file, or a SigMF recording by any of its files, an archive (.sigmf, also compressed) or a collection.
        type_name: of a raw file's samples; "": its ending says (.cu8, .cs16), or complex float32, if it looks like it.
        channel: which one, counted from 0 through all recordings of an archive or collection; None: the only one.

    Raises:
        CaptureError: nothing there, a type that is none or needs to be named, several channels and none chosen, metadata
            that cannot be used; in words.
    """
    path = Path(path).expanduser()
    sources = _sources(path, type_name)
    labels = [(source, number) for source in sources for number in range(source.channels)]
    if channel is None and len(labels) > 1:
        raise CaptureError(
            f"{path} holds {len(labels)} channels: choose one, --channel 0 to {len(labels) - 1}."
        )
    channel = channel or 0
    if not 0 <= channel < len(labels):
        raise CaptureError(f"{path} has no channel {channel}: it holds {len(labels)}, counted from 0.")
    source, number = labels[channel]
    return _file_of(source, number)


def _sources(path: Path, type_name: str) -> list[_Source]:
    name = path.name.lower()
    if name.endswith(ARCHIVES) and path.is_file():
        found = _archived(path)
    elif name.endswith(COLLECTION) and path.is_file():
        found = list(_collected(path))
    else:
        base = path.with_name(path.name[: -len(META)]) if name.endswith((META, DATA)) else path
        meta = base.with_name(base.name + META)
        if not meta.is_file() or (base is path and path.is_file()):
            return [_raw(path, type_name)]
        found = [_described(meta)]
    if type_name:
        raise CaptureError(f"{path} says itself of what type its samples are: leave --sample-type out.")
    return found


def _raw(path: Path, type_name: str) -> _Source:
    if path.name.lower().endswith(META):
        raise CaptureError(f"there is no file {path}.")
    if not path.is_file():
        raise CaptureError(f"there is no file of samples '{path}': give the path of one.")
    size, known_type = path.stat().st_size, type_name or type_of_name(path)
    kind = sample_type(known_type or RAW)
    if size < kind.sample_bytes:
        raise CaptureError(f"{path} holds not a single sample: is it the right file?")
    if not known_type:
        _check_floats(path)
    return _Source(path, None, size, lambda: path.open("rb"), kind)


def _check_floats(path: Path) -> None:
    """Raises CaptureError where a raw file cannot be of complex float32, looked at in its begin, middle and end."""
    try:
        with path.open("rb") as file:
            begin = file.read(_SNIFFED)
            size = path.stat().st_size
            places = [begin]
            for place in (size // 2, size - _SNIFFED):
                file.seek(max(0, place) // 8 * 8)
                places.append(file.read(_SNIFFED))
    except OSError as error:
        raise CaptureError(f"{path} cannot be read: {error.strerror}.") from error
    if begin.startswith((b"RIFF", b"RF64")) and begin[8:12] == b"WAVE":
        raise CaptureError(f"{path} is a WAV file: convert it first, for example with `sigmf_convert`.")
    if not all(looks_like_floats(np.frombuffer(part[: len(part) // 8 * 8], "<f4")) for part in places):
        raise CaptureError(
            f"the samples of {path} are no complex float32 numbers: say what they are, such as --sample-type ci16."
        )


def _described(meta: Path) -> _Source:
    """A recording beside its metadata."""
    content = _parsed(_read_all(meta), meta)
    info = content["global"]
    name = info.get("core:dataset")
    data = (
        meta.with_name(_plain(name, meta))
        if name is not None
        else meta.with_name(meta.name[: -len(META)] + DATA)
    )
    if info.get("core:metadata_only") is True and not data.is_file():
        raise CaptureError(f"{meta} holds metadata only: its samples were never in a file beside it.")
    if not data.is_file():
        raise CaptureError(f"{data} is missing: {meta.name} without its samples cannot be used. Copy both.")
    return _source(meta, content, data.stat().st_size, lambda: data.open("rb"))


def _collected(path: Path) -> Iterator[_Source]:
    content = metadata.parse(_read_all(path), path, {"collection": dict})
    streams = content["collection"].get("core:streams")
    names = [s.get("name") for s in streams if isinstance(s, dict)] if isinstance(streams, list) else []
    if not names or len(names) > _MAX_CHANNELS:
        raise CaptureError(f"{path} is a SigMF collection without recordings in it (core:streams).")
    for name in names:
        plain = _plain(name, path)
        meta = path.with_name(plain if plain.endswith(META) else plain + META)
        if not meta.is_file():
            raise CaptureError(f"{meta}, which {path.name} names, is missing: copy it too.")
        yield _described(meta)


def _archived(path: Path) -> list[_Source]:
    try:
        members = _members(path)
        found = []
        for name, (_, opened) in members.items():
            if not name.endswith(META):
                continue
            with opened() as file:
                content = _parsed(file.read(_MAX_META), PurePath(path, name))
            inner = content["global"].get("core:dataset")
            folder = PurePath(name).parent
            data = str(folder / _plain(inner, path)) if inner is not None else name[: -len(META)] + DATA
            if data not in members:
                raise CaptureError(f"{path} lacks {data}, the samples of {name}: pack it again.")
            found.append(_source(PurePath(path, name), content, *members[data]))
    except _UNREADABLE as error:
        raise CaptureError(
            f"{path} is no SigMF archive, or was cut short ({error}). Copy it again."
        ) from error
    if not found:
        raise CaptureError(f"{path} is an archive without SigMF metadata (*{META}) in it.")
    return found


def _members(path: Path) -> dict[str, tuple[int, Any]]:
    """Ordinary files of a tar or zip archive: name to size and a function that opens it."""
    if zipfile.is_zipfile(path):
        packed = zipfile.ZipFile(path)
        return {
            item.filename: (item.file_size, lambda item=item: packed.open(item))
            for item in packed.infolist()
            if not item.is_dir()
        }
    tar = tarfile.open(path, "r:*")  # noqa: SIM115  (stays open as long as its samples are read)
    return {
        item.name: (item.size, lambda item=item: tar.extractfile(item))
        for item in tar.getmembers()
        if item.isreg()
    }


def _parsed(data: bytes, path: PurePath) -> dict[str, Any]:
    content = metadata.parse(data, path, {"global": dict})
    captures = content.get("captures")
    content["captures"] = [] if captures is None else [captures] if isinstance(captures, dict) else captures
    if not isinstance(content["captures"], list):
        raise CaptureError(f"{path} is JSON, but not SigMF metadata: captures is no list.")
    return content


def _read_all(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_META)
    except OSError as error:
        raise CaptureError(f"{path} cannot be read: {error.strerror or error}.") from error


def _plain(name: Any, path: PurePath) -> str:
    """A file's name in its own folder; raises CaptureError for anything that leads elsewhere."""
    if (
        not isinstance(name, str)
        or not name
        or name in (".", "..")
        or PurePath(name).name != name
        or "\0" in name
    ):
        raise CaptureError(f"{path} names the file {str(name)[:80]!r}: a name without a folder is needed.")
    return name


def _source(path: PurePath, content: dict[str, Any], size: int, opened: Any) -> _Source:
    info = content["global"]
    kind = info.get("core:datatype")
    if not isinstance(kind, str):
        raise CaptureError(f"{path} does not say of what type its samples are (core:datatype).")
    channels = metadata.whole(info, "num_channels", 1, path)
    if not 1 <= channels <= _MAX_CHANNELS:
        raise CaptureError(f"{path}: core:num_channels is {channels}, not 1 to {_MAX_CHANNELS}.")
    try:
        return _Source(path, content, size, opened, sample_type(kind), channels)
    except CaptureError as error:
        raise CaptureError(f"{path}: {error}") from error


def _file_of(source: _Source, channel: int) -> SampleFile:
    kind, notes = source.sample_type, []
    frame, content = kind.sample_bytes * source.channels, source.metadata or {"global": {}, "captures": []}
    info, captures = content["global"], _captures(content, source.path)
    end = source.size - metadata.whole(info, "trailing_bytes", 0, source.path)
    extents, left = _extents(captures, frame, end)
    if not extents:
        raise CaptureError(f"{source.path} holds not a single sample: is it the right file?")
    if left:
        notes.append(f"{source.path} is cut in the middle of a sample: its last {left} bytes are left out")
    frequencies = {_number(capture.get("core:frequency")) for _, _, capture in captures} - {None}
    if len(frequencies) > 1:
        notes.append(f"{source.path} was tuned {len(frequencies)} times: read as one stream")
    if kind.is_real:
        notes.append(f"{source.path} holds real samples: taken around a quarter of their sample rate")
    return SampleFile(
        path=source.path,
        type=kind,
        channels=source.channels,
        channel=channel,
        sample_rate_hz=_rate(info, source.path),
        centre_frequency_hz=_number(next((c.get("core:frequency") for _, _, c in captures), None)),
        first_s=metadata.utc_seconds(next((c.get("core:datetime") for _, _, c in captures), None)),
        metadata=source.metadata,
        extents=extents,
        open=source.open,
        data_bytes=source.size,
        notes=notes,
    )


def _captures(content: dict[str, Any], path: PurePath) -> list[tuple[int, int, dict]]:
    """First sample in the file, bytes before it that are no samples, and the segment itself, in order."""
    offset, out = metadata.whole(content["global"], "offset", 0, path), []
    for capture in content["captures"]:
        if not isinstance(capture, dict):
            raise CaptureError(f"{path} is JSON, but not SigMF metadata: a capture segment is no object.")
        start = metadata.whole(capture, "sample_start", 0, path)
        # numbers count from core:offset; some programs count from 0 all the same
        out.append((max(0, start - offset), metadata.whole(capture, "header_bytes", 0, path), capture))
    return sorted(out, key=lambda item: item[0])


def _extents(captures: list, frame: int, end: int) -> tuple[list[tuple[int, int, int]], int]:
    """Stretches of samples without a header between, and the bytes that are left at the end."""
    stretches = {0: 0}  # first sample to bytes before it that are none
    headers = 0
    for start, header, _ in captures:
        headers += header
        if header or not start:
            stretches[start] = headers
    firsts, extents = sorted(stretches), []
    for first, following in zip(firsts, [*firsts[1:], None]):
        byte = stretches[first] + first * frame
        there = max(0, end - byte) // frame
        count = there if following is None else min(there, following - first)
        if count:
            extents.append((first, byte, count))
    last = stretches[firsts[-1]] + firsts[-1] * frame
    return extents, max(0, end - last) % frame


def _rate(info: dict[str, Any], path: PurePath) -> float | None:
    value = info.get("core:sample_rate")
    if value is None:
        return None
    rate = _number(value)
    if rate is None or not 0 < rate < 1e12:
        raise CaptureError(
            f"{path}: core:sample_rate is {str(value)[:40]!r}, not a number of samples a second."
        )
    return rate


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e18:
        return None
    return float(value)
