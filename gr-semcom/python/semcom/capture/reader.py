# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings back to bursts: closed ones, ones that are being written, and what a kill or a full disk left behind."""

import datetime
import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from semcom.capture import namespace
from semcom.capture.errors import CaptureError
from semcom.capture.journal import SUFFIX as JOURNAL
from semcom.capture.journal import is_being_written, read_journal
from semcom.capture.namespace import SAMPLE_BYTES, BurstNote, note_of
from semcom.capture.writer import DATA, META, remove, write_meta


@dataclass(frozen=True)
class RecordedBurst:
    """One burst of a recording; ``samples`` are read when asked for.

    start: its first sample in the file. received_s: when it was detected, UTC, seconds since 1970; None: not known.
    """

    recording: "Recording"
    start: int
    count: int
    note: BurstNote
    received_s: float | None

    def samples(self) -> np.ndarray:
        """``[count]`` complex64.

        Raises:
            CaptureError: the file has become shorter, or cannot be read.
        """
        path = self.recording.data_path
        try:
            out = np.fromfile(path, dtype="<c8", count=self.count, offset=SAMPLE_BYTES * self.start)
        except OSError as error:
            raise CaptureError(f"{path} cannot be read: {error.strerror or error}.") from error
        if len(out) != self.count:
            raise CaptureError(f"{path} ends within a burst: it has become shorter while it was read.")
        return out


@dataclass
class Recording:
    """A recording: its metadata and its bursts, in the order of the file.

    path: without an ending. state: "closed", "being written" or "cut off" (its writer was killed, or its disk was full).
    skipped: what is in the file but cannot be used, in words.
    """

    path: Path
    state: str
    metadata: dict[str, Any]
    bursts: list[RecordedBurst] = field(default_factory=list)
    skipped: Counter = field(default_factory=Counter)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def data_path(self) -> Path:
        return _with(self.path, DATA)

    @cached_property
    def global_info(self) -> dict[str, Any]:
        return self.metadata["global"]

    @property
    def sample_rate_hz(self) -> float:
        return float(self.global_info["core:sample_rate"])

    @property
    def centre_frequency_hz(self) -> float:
        captures = self.metadata["captures"]
        return float(captures[0].get("core:frequency", 0.0)) if captures else 0.0

    @property
    def session(self) -> str:
        return str(self.global_info.get(namespace.SESSION, self.name))

    def checksum_fits(self) -> bool | None:
        """Whether the samples are those that were recorded; None: the recording was not closed. Raises CaptureError."""
        told = self.global_info.get("core:sha512")
        return None if told is None else told == _sha512(self.data_path)


def open_recording(path: str | Path) -> Recording:
    """Opens a recording by the name of any of its files, or without an ending.

    Raises:
        CaptureError: nothing there, no samples, metadata that are cut or are not SigMF, another datatype, or no
            ``semcom`` namespace; in words.
    """
    base = base_of(path)
    meta, data, journal = (_with(base, ending) for ending in (META, DATA, JOURNAL))
    if not meta.is_file() and not journal.is_file():
        alone = " Its samples are there, but what they are is not." if data.is_file() else ""
        raise CaptureError(f"there is no SigMF recording {meta}.{alone}")
    if not data.is_file() and meta.is_file():
        raise CaptureError(f"{data} is missing: {meta.name} without its samples cannot be used. Copy both.")
    state = "closed"
    if journal.is_file():
        state = "being written" if is_being_written(journal) else "cut off"
    metadata = _merged(meta, journal)
    _check(meta, metadata)
    recording = Recording(base, state, metadata)
    _take_bursts(recording, data.stat().st_size // SAMPLE_BYTES if data.is_file() else 0)
    return recording


def read_recordings(path: str | Path) -> tuple[list[Recording], list[str]]:
    """The recordings of a folder, by name (so by time), or the one that a file belongs to.

    Returns:
        Recordings, and for each of the folder that cannot be used a sentence.

    Raises:
        CaptureError: none can be used.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        return [open_recording(path)], []
    try:
        names = {base_of(file) for file in path.iterdir() if file.suffix in (META, JOURNAL)}
    except OSError as error:
        raise CaptureError(f"{path} cannot be read: {error.strerror}.") from error
    recordings, problems = [], []
    for base in sorted(names):
        try:
            recordings.append(open_recording(base))
        except CaptureError as error:
            problems.append(str(error))
    if not recordings:
        raise CaptureError(problems[0] if problems else f"{path} holds no SigMF recording (*{META}).")
    return recordings, problems


def repair(path: str | Path) -> str:
    """Completes a recording that was cut off: metadata with all bursts, SHA512, no journal. Returns what was done.

    Samples after the last whole burst are cut away; where not one burst is whole, nothing is left.

    Raises:
        CaptureError: it is being written, or cannot be read or written.
    """
    base = base_of(path)
    journal = _with(base, JOURNAL)
    if not journal.exists():
        return f"{base.name}: complete, nothing to do"
    if is_being_written(journal):
        raise CaptureError(f"{base.name} is being written: stop its recorder first.")
    if not _with(base, DATA).exists() or _with(base, DATA).stat().st_size < SAMPLE_BYTES:
        remove(base)
        return f"{base.name}: removed, it held no burst"
    recording = open_recording(base)
    if not recording.bursts:
        remove(base)
        return f"{base.name}: removed, it held no whole burst"
    end = max(burst.start + burst.count for burst in recording.bursts)
    starts = {burst.start for burst in recording.bursts}
    try:
        os.truncate(recording.data_path, end * SAMPLE_BYTES)
        write_meta(
            base,
            recording.global_info | {"core:sha512": _sha512(recording.data_path)},
            *(
                [item for item in recording.metadata[key] if item["core:sample_start"] in starts]
                for key in ("captures", "annotations")
            ),
        )
        for left in base.parent.glob(f".{base.name}{META}.*.part"):
            left.unlink()
        journal.unlink()
    except OSError as error:
        raise CaptureError(f"{base} cannot be repaired: {error.strerror or error}.") from error
    return f"{base.name}: completed, {len(recording.bursts)} bursts"


def base_of(path: str | Path) -> Path:
    """The path of a recording without its ending."""
    path = Path(path).expanduser()
    return path.with_name(path.stem) if path.suffix in (META, DATA, JOURNAL) else path


def _with(base: Path, ending: str) -> Path:
    return base.with_name(base.name + ending)


def _merged(meta: Path, journal: Path) -> dict[str, Any]:
    """Metadata as last rewritten, with the bursts that only the journal knows yet."""
    lines = []
    if journal.is_file():
        try:
            lines = read_journal(journal)
        except OSError as error:
            raise CaptureError(f"{journal} cannot be read: {error.strerror or error}.") from error
    if meta.is_file():
        out = _read_meta(meta)
    elif lines and isinstance(lines[0].get("global"), dict):
        out = {"global": lines[0]["global"], "captures": [], "annotations": []}
    else:
        raise CaptureError(
            f"{journal} is cut before its first line: its recorder was killed before the first burst."
        )
    try:
        for key in ("captures", "annotations"):
            known = {item["core:sample_start"] for item in out[key]}
            out[key] += [
                line[key[:-1]]
                for line in lines[1:]
                if line[key[:-1]]["core:sample_start"] not in known  # metadata may know names that came later
            ]
            out[key].sort(key=lambda item: item["core:sample_start"])
    except (KeyError, TypeError) as error:
        raise CaptureError(
            f"{meta} is JSON, but not SigMF metadata ({type(error).__name__}: {error})."
        ) from error
    return out


def _read_meta(meta: Path) -> dict[str, Any]:
    try:
        text = meta.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CaptureError(f"{meta} cannot be read as text: {error}.") from error
    try:
        out = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CaptureError(
            f"{meta} is not JSON, or was cut short after {len(text)} characters ({error}). Copy it again."
        ) from error
    parts = {"global": dict, "captures": list, "annotations": list}
    if not isinstance(out, dict) or not all(isinstance(out.get(key), kind) for key, kind in parts.items()):
        raise CaptureError(
            f"{meta} is JSON, but not SigMF metadata: it lacks global, captures or annotations."
        )
    return out


def _check(meta: Path, metadata: dict[str, Any]) -> None:
    info = metadata["global"]
    extensions = info.get("core:extensions")
    names = [e.get("name") for e in extensions if isinstance(e, dict)] if isinstance(extensions, list) else []
    if namespace.NAME not in names:
        raise CaptureError(
            f"{meta} is SigMF without the 'semcom' namespace: not a recording of ours; where bursts are is not known."
        )
    if info.get("core:datatype") != namespace.DATATYPE:
        raise CaptureError(
            f"{meta}: samples are {info.get('core:datatype')!r}, this reader takes {namespace.DATATYPE}; convert them."
        )
    rate = info.get("core:sample_rate")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < 1e12:
        raise CaptureError(f"{meta}: core:sample_rate is {rate!r}, not a number of samples a second.")
    if info.get("core:num_channels", 1) != 1:
        raise CaptureError(f"{meta}: {info['core:num_channels']} channels, this reader takes one.")


def _take_bursts(recording: Recording, samples_there: int) -> None:
    times = {
        capture["core:sample_start"]: capture.get("core:datetime")
        for capture in recording.metadata["captures"]
    }
    for annotation in recording.metadata["annotations"]:
        if not any(key.startswith(namespace.PREFIX) for key in annotation):
            recording.skipped["annotations of others"] += 1
            continue
        try:
            note = note_of(annotation)
        except CaptureError as error:
            recording.skipped[str(error)] += 1
            continue
        start, count = annotation["core:sample_start"], annotation["core:sample_count"]
        if start + count > samples_there:
            recording.skipped["bursts whose samples are cut off"] += 1
            continue
        recording.bursts.append(RecordedBurst(recording, start, count, note, _seconds(times.get(start))))
    end = max((burst.start + burst.count for burst in recording.bursts), default=0)
    if samples_there > end and not recording.skipped:
        recording.skipped["samples after the last whole burst"] += samples_there - end


def _seconds(text: Any) -> float | None:
    try:
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (AttributeError, ValueError):
        return None


def _sha512(path: Path) -> str:
    try:
        with path.open("rb") as file:
            digest = hashlib.sha512()
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise CaptureError(f"{path} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()
