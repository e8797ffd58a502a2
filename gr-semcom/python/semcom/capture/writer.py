# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts to SigMF recordings that survive a kill, a full disk and their own length.

A recording is three files while it is written, two when closed: NAME.sigmf-data, NAME.sigmf-meta and the journal. The
samples of a burst go first, then its journal line; the metadata are rewritten whole now and then. See
docs/captures.md for what a reader makes of what a kill leaves behind.
"""

import datetime
import hashlib
import os
import secrets
import time
from collections import Counter, deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sigmf import SigMFFile

import semcom
from semcom import files, settings
from semcom.capture import namespace
from semcom.capture.journal import SUFFIX as JOURNAL
from semcom.capture.journal import Journal, line_of, write_all
from semcom.capture.namespace import BurstNote
from semcom.capture.sent_log import SentLog
from semcom.errors import OutputError
from semcom.modem.header import VERSION

DATA, META = ".sigmf-data", ".sigmf-meta"
_CHECKPOINT_SHARE = 20  # rewriting the metadata takes at most one part in so many of the time
_META_PER_LINE = 1.5  # bytes of metadata for a byte of journal, at most
_SLACK_BYTES = 2**14  # globals, twice


@dataclass(frozen=True)
class RecordingInfo:
    """What holds for a whole recording.

    hardware: the receiver, in words. link: its link profile as a dictionary, and link_hash; engine: what computes the
    latents (``capture.replaying.engine``).
    """

    sample_rate_hz: float
    centre_frequency_hz: float = 0.0
    hardware: str = ""
    link: dict[str, Any] | None = None
    link_hash: int = 0
    engine: str = ""

    def to_global(self, session: str) -> dict[str, Any]:
        """SigMF's global object; recordings of one run share ``session``."""
        out = {
            "core:datatype": namespace.DATATYPE,
            "core:sample_rate": self.sample_rate_hz,
            "core:version": "1.0.0",
            "core:recorder": f"gr-semcom {semcom.__version__}",
            "core:description": "Bursts of pictures, one after another; a capture segment and an annotation each",
            "core:extensions": [namespace.EXTENSION],
            namespace.SESSION: session,
            namespace.LINK_HASH: self.link_hash,
            namespace.FRAME_VERSION: VERSION,
        }
        optional = {"core:hw": self.hardware, namespace.LINK: self.link, namespace.ENGINE: self.engine}
        return out | {key: value for key, value in optional.items() if value}


class CaptureWriter:
    """Writes bursts into recordings of at most ``max_file_bytes`` of samples each.

    All recordings in the folder together never take more than ``max_total_bytes``: the oldest **of this run** goes,
    whole; what earlier runs left is counted but never removed, and when it leaves no room, recording stops. It also
    stops when the disk fails or has less than ``min_free_bytes`` left. ``stopped`` then says why; ``write`` counts on.

    Args:
        folder: made when missing. info: what holds for all of it.
        max_file_bytes, max_total_bytes, min_free_bytes: bytes.
        checkpoint_s: seconds between rewritings of the metadata.
        sent_log: the transmitter's log, asked for the names of pictures.

    Raises:
        OutputError: the folder cannot be written.
        ConfigError: impossible limits.
    """

    def __init__(
        self,
        folder: str | Path,
        info: RecordingInfo,
        max_file_bytes: int = 2**28,
        max_total_bytes: int = 2**34,
        min_free_bytes: int = 2**26,
        checkpoint_s: float = 2.0,
        sent_log: SentLog | None = None,
    ):
        settings.require(
            "recorder",
            max_file_bytes=(max_file_bytes, max_file_bytes >= 2**16, "65536 bytes or more"),
            max_total_bytes=(
                max_total_bytes,
                max_total_bytes >= 2 * max_file_bytes,
                "at least twice max_file_bytes, so that a recording can go while the next is written",
            ),
            min_free_bytes=(min_free_bytes, min_free_bytes >= 0, "0 bytes or more"),
            checkpoint_s=(checkpoint_s, checkpoint_s >= 0, "0 s or more"),
        )
        self.folder, self.info = files.writable_folder(Path(folder).expanduser()), info
        self.session = secrets.token_hex(8)
        self.counters: Counter[str] = Counter()
        self.stopped: str | None = None
        self._max_file, self._max_total, self._min_free = max_file_bytes, max_total_bytes, min_free_bytes
        self._checkpoint_s, self._log = checkpoint_s, sent_log
        self._open: _Recording | None = None
        self._last: _Recording | None = None  # the one closed before, whose bursts may still be read late
        self._closed: deque[Path] = deque()  # of this run, oldest first; paths without their endings
        self._made = 0
        self._others = 0  # bytes of all recordings in the folder but the open one

    def write(self, samples: np.ndarray, note: BurstNote, received_s: float) -> bool:
        """Appends a burst.

        Args:
            samples: ``[n]`` complex64. received_s: when it was detected, UTC, seconds since 1970.

        Returns:
            Whether it is in the file; if not, ``counters`` says why.
        """
        samples = np.ascontiguousarray(samples, dtype="<c8")
        if self.stopped is None and not 0 < samples.nbytes <= self._max_file:
            self.counters["bursts not recorded: empty, or longer than max_file_bytes"] += 1
            return False
        if self.stopped is None:
            try:
                self._append(samples, note, received_s)
            except OSError as error:
                self._stop(f"{self.folder} cannot be written: {error.strerror or error}")
        if self.stopped is not None:
            self.counters[f"bursts not recorded: {self.stopped}"] += 1
            return False
        self.counters["bursts recorded"] += 1
        self.counters["bursts recorded that could not be read"] += note.error is not None
        self._checkpoint_when_due()
        return True

    def amend(self, note: BurstNote) -> bool:
        """Puts what was read of a burst after it had been written (``note.sample_offset``) in place of its error.

        Returns:
            Whether that burst is in this run's open recording, or the one before.
        """
        there = False
        for recording in (self._open, self._last):
            written = recording.unread.get(note.sample_offset) if recording is not None else None
            there = there or written is not None
            if written is None or self.stopped is not None:
                continue
            note = _named(note, self._log, written.received_s)
            entry = _entry(self.info, written.start, written.count, note, written.received_s)
            try:
                recording.amend(written, line_of(entry), entry)
                if recording is self._last:
                    recording.checkpoint(self._log)
            except (OSError, OutputError) as error:
                self._stop(f"{self.folder} cannot be written: {getattr(error, 'strerror', None) or error}")
                break
            del recording.unread[note.sample_offset]
            self.counters["bursts recorded that could not be read"] -= note.error is None
            return True
        # once recording has stopped, a burst that is not there has been counted as such
        if there or self.stopped is None:
            self.counters["late readings not recorded: their burst is in no open recording"] += 1
        return False

    def tick(self) -> None:
        """Call it now and then when nothing is written: brings the metadata up to date."""
        self._checkpoint_when_due()

    def close(self) -> None:
        """Completes the open recording, with the SHA512 of its samples."""
        if self._open is None:
            return
        recording, self._open = self._open, None
        try:
            recording.finish(self._log)
        except (OSError, OutputError) as error:
            why = getattr(error, "kind", None) or getattr(error, "strerror", None) or error
            self.counters[f"recordings left with their journal: {why}"] += 1
        self._closed.append(recording.path)
        self._last = recording

    # ------------------------------------------------------------------------------------------------

    def _append(self, samples: np.ndarray, note: BurstNote, received_s: float) -> None:
        if self._open is not None and self._open.data_bytes + samples.nbytes > self._max_file:
            self.close()
        if self._open is None:
            self._others = folder_bytes(self.folder)
        note = _named(note, self._log, received_s)
        start = self._open.samples if self._open else 0
        entry = _entry(self.info, start, len(samples), note, received_s)
        line = line_of(entry)
        if not self._make_room(samples.nbytes, len(line)):
            return
        if self._open is None:
            self._open = _Recording(self._next_path(), self.info.to_global(self.session))
        self._open.append(samples, line, entry, received_s)

    def _make_room(self, data_bytes: int, line_bytes: int) -> bool:
        """Whether the burst fits the bounds, after the oldest recordings of this run have gone."""
        need = _peak_bytes(self._open, data_bytes, line_bytes)
        while self._others + need > self._max_total and self._closed:
            gone = self._closed.popleft()
            remove(gone)
            if self._last is not None and self._last.path == gone:
                self._last = None
            self.counters["recordings removed to stay within max_total_bytes"] += 1
            self._others = folder_bytes(self.folder, leave_out=self._open.path if self._open else None)
        if self._others + need > self._max_total:
            self._stop(
                f"earlier recordings in {self.folder} leave no room within max_total_bytes "
                f"({self._max_total >> 20} MiB); move them or choose another folder"
            )
            return False
        disk = os.statvfs(self.folder)
        if disk.f_bavail * disk.f_frsize < self._min_free + (data_bytes if self._min_free else 0):
            self._stop(f"the disk of {self.folder} is full: less than {self._min_free >> 20} MiB left")
            return False
        return True

    def _stop(self, why: str) -> None:
        self.stopped = why
        self.counters["recording stopped"] += 1
        self.close()

    def _next_path(self) -> Path:
        self._made += 1
        now = datetime.datetime.now(datetime.timezone.utc)
        return self.folder / f"{now:%Y%m%dT%H%M%SZ}_{self.session[:8]}_{self._made:04d}"

    def _checkpoint_when_due(self) -> None:
        if self._open is not None and self._open.is_due(self._checkpoint_s):
            try:
                self._open.checkpoint(self._log)
            except (OSError, OutputError) as error:
                self._stop(str(error))


@dataclass(frozen=True)
class _Unread:
    """A burst written without a reading: place of its annotation, samples in the file, UTC seconds."""

    at: int
    start: int
    count: int
    received_s: float


class _Recording:
    """One recording while it is written. ``path`` has no ending. Raises OSError or OutputError where the disk does."""

    def __init__(self, path: Path, global_info: dict[str, Any]):
        self.path, self.samples, self.data_bytes = path, 0, 0
        self.journal = Journal(path.with_name(path.name + JOURNAL))
        try:
            self.journal.append(line_of({"global": global_info}))
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._data = os.open(path.with_name(path.name + DATA), flags, 0o644)
        except OSError:
            self.journal.close()
            self.journal.path.unlink(missing_ok=True)
            raise
        self._sum = hashlib.sha512()
        self._global, self._captures, self._annotations = global_info, [], []
        self._nameless: list[tuple[int, float]] = []
        self.unread: dict[int, _Unread] = {}  # by sample offset
        self._closed = False
        self._written_s, self._took_s, self._stale = -1e9, 0.0, False

    def append(self, samples: np.ndarray, line: bytes, entry: dict[str, Any], received_s: float) -> None:
        try:
            write_all(self._data, samples)
            self.journal.append(line)
        except OSError:  # the part of a burst that fitted goes again
            os.ftruncate(self._data, self.data_bytes)
            raise
        self._sum.update(samples)
        annotation, at = entry["annotation"], len(self._annotations)
        if "semcom:error" in annotation:
            written = _Unread(at, self.samples, len(samples), received_s)
            self.unread[annotation[namespace.SAMPLE_OFFSET]] = written
        self.data_bytes += samples.nbytes
        self.samples += len(samples)
        self._ask_for_name(at, annotation, received_s)
        self._captures.append(entry["capture"])
        self._annotations.append(annotation)
        self._stale = True

    def amend(self, written: _Unread, line: bytes, entry: dict[str, Any]) -> None:
        """Another annotation for a burst that is in the file; a reader of the journal takes the one that was read."""
        if not self._closed:
            self.journal.append(line)
        self._annotations[written.at] = entry["annotation"]
        self._ask_for_name(written.at, entry["annotation"], written.received_s)
        self._stale = True

    def _ask_for_name(self, at: int, annotation: dict[str, Any], received_s: float) -> None:
        if "semcom:image_id" in annotation and "semcom:image" not in annotation:
            self._nameless.append((at, received_s))

    def is_due(self, checkpoint_s: float) -> bool:
        pause = max(checkpoint_s, _CHECKPOINT_SHARE * self._took_s)
        return self._stale and time.monotonic() - self._written_s >= pause

    def checkpoint(self, log: SentLog | None) -> None:
        """Rewrites the metadata: a reader sees the old or the new ones, never a part."""
        began = time.monotonic()
        self._name_late(log)
        write_meta(self.path, self._global, self._captures, self._annotations)
        self._stale, self._written_s = False, time.monotonic()
        self._took_s = self._written_s - began

    def finish(self, log: SentLog | None) -> None:
        os.close(self._data)
        self._closed = True
        try:
            if not self.samples:
                remove(self.path)
                return
            self._global = self._global | {"core:sha512": self._sum.hexdigest()}
            self.checkpoint(log)
            self.journal.path.unlink()
        finally:
            self.journal.close()

    def _name_late(self, log: SentLog | None) -> None:
        """A transmitter may log a picture after its bursts have come: those without a name get another look."""
        still = []
        for at, received_s in self._nameless if log is not None else []:
            annotation = self._annotations[at]
            sent = log.find(
                annotation["semcom:image_id"],
                annotation.get("semcom:model_hash"),
                received_s,
                annotation.get("semcom:sender"),
            )
            if sent is None:
                still.append((at, received_s))
            else:
                named = BurstNote(0, 0.0, image=sent.name, image_sha256=sent.sha256).to_annotation()
                annotation |= {key: named[key] for key in named if "image" in key}
        self._nameless = still


def write_meta(path: Path, global_info, captures, annotations) -> None:
    """Writes NAME.sigmf-meta of ``path`` (which has no ending), whole or not at all. Raises OutputError."""
    meta = SigMFFile(metadata={"global": dict(global_info), "captures": captures, "annotations": annotations})
    files.write_text(path.with_name(path.name + META), meta.dumps(pretty=False) + "\n")


def remove(path: Path) -> None:
    """Removes a recording, given without ending; the samples last, so that nothing is left that cannot be read."""
    for ending in (JOURNAL, META, DATA):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def folder_bytes(folder: Path, leave_out: Path | None = None) -> int:
    """Bytes of all recordings' files in a folder, but for the one named without its ending."""
    total = 0
    for file in os.scandir(folder):
        left_out = leave_out is not None and file.name.lstrip(".").startswith(leave_out.name + ".")
        if ".sigmf-" in file.name and not left_out:
            try:
                total += file.stat().st_size
            except OSError:  # went while we looked
                continue
    return total


def _peak_bytes(recording: _Recording | None, data_bytes: int, line_bytes: int) -> int:
    """What a recording takes with one burst more, at the moment when its metadata are being rewritten."""
    data, lines = (recording.data_bytes, recording.journal.size) if recording else (0, 0)
    lines += line_bytes
    return data + data_bytes + lines + int(2 * _META_PER_LINE * lines) + _SLACK_BYTES


def _entry(info: RecordingInfo, start: int, count: int, note: BurstNote, received_s: float) -> dict[str, Any]:
    moment = datetime.datetime.fromtimestamp(received_s, datetime.timezone.utc)
    capture = {
        "core:sample_start": start,
        "core:datetime": f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z",
        "core:frequency": info.centre_frequency_hz,
        namespace.SAMPLE_OFFSET: note.sample_offset,
    }
    if note.sample_offset >= 0:
        capture["core:global_index"] = note.sample_offset
    half = info.sample_rate_hz / 2
    annotation = {
        "core:sample_start": start,
        "core:sample_count": count,
        "core:freq_lower_edge": info.centre_frequency_hz - half,
        "core:freq_upper_edge": info.centre_frequency_hz + half,
        "core:label": note.label,
        "core:generator": "gr-semcom",
        **note.to_annotation(),
    }
    return {"capture": capture, "annotation": annotation}


def _named(note: BurstNote, log: SentLog | None, received_s: float) -> BurstNote:
    if log is None or note.image_id is None or note.image is not None:
        return note
    sent = log.find(note.image_id, note.model_hash, received_s, note.sender)
    return note if sent is None else replace(note, image=sent.name, image_sha256=sent.sha256)
