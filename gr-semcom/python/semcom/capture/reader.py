# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings back to bursts: closed ones, ones that are being written, and what a kill or a full disk left behind."""

import os
from pathlib import Path
from typing import Any

from semcom.capture import metadata, namespace
from semcom.capture.errors import CaptureError
from semcom.capture.journal import SUFFIX as JOURNAL
from semcom.capture.journal import is_being_written, read_journal
from semcom.capture.namespace import SAMPLE_BYTES, note_of
from semcom.capture.recording import ForeignRecording, RecordedBurst, Recording, sha512
from semcom.capture.sample_files import ARCHIVES, open_samples
from semcom.capture.writer import DATA, META, remove, write_meta

_UNREAD = f"{namespace.PREFIX}error"


def open_recording(path: str | Path, type_name: str = "", channel: int | None = None) -> Recording:
    """Opens a recording by the name of any of its files, or without an ending; also one of another tool, or a raw file.

    Args:
        type_name, channel: as in ``sample_files.open_samples``, of what is not ours.

    Raises:
        CaptureError: nothing there, no samples, metadata that are cut or are not SigMF, ours with another datatype; in
            words.
    """
    path = Path(path).expanduser()
    base = base_of(path)
    meta, data, journal = (_with(base, ending) for ending in (META, DATA, JOURNAL))
    described = meta.is_file() or journal.is_file()
    if not described or (base == path and path.is_file()):
        if path.is_file() and (type_name or path.suffix not in (META, DATA, JOURNAL)):
            return _foreign(path, type_name, channel)
        alone = " Its samples are there, but what they are is not." if data.is_file() else ""
        raise CaptureError(f"there is no SigMF recording {meta}.{alone}")
    if not journal.is_file() and not _is_ours(_read_meta(meta, {"global": dict})):
        return _foreign(meta, type_name, channel)
    content = _merged(meta, journal)
    if not data.is_file() and meta.is_file():
        raise CaptureError(f"{data} is missing: {meta.name} without its samples cannot be used. Copy both.")
    state = "closed"
    if journal.is_file():
        state = "being written" if is_being_written(journal) else "cut off"
    _check(meta, content)
    recording = Recording(base, state, content)
    _take_bursts(recording, data.stat().st_size // SAMPLE_BYTES if data.is_file() else 0)
    return recording


def _foreign(path: Path, type_name: str, channel: int | None) -> ForeignRecording:
    file = open_samples(path, type_name, channel)
    content = file.metadata or {"global": {}, "captures": []}
    recording = ForeignRecording(base_of(path), "foreign", content, file=file)
    recording.skipped.update(file.notes)
    return recording


def read_recordings(
    path: str | Path, type_name: str = "", channel: int | None = None
) -> tuple[list[Recording], list[str]]:
    """The recordings of a folder, by name (so by time), or the one that a file belongs to. Arguments as
    ``open_recording``.

    Returns:
        Recordings, and for each of the folder that cannot be used a sentence.

    Raises:
        CaptureError: none can be used.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        return [open_recording(path, type_name, channel)], []
    try:
        names = {base_of(file) for file in path.iterdir() if file.suffix in (META, JOURNAL)}
        names |= {file for file in path.iterdir() if file.name.endswith(ARCHIVES)}
    except OSError as error:
        raise CaptureError(f"{path} cannot be read: {error.strerror}.") from error
    recordings, problems = [], []
    for base in sorted(names):
        try:
            recordings.append(open_recording(base, type_name, channel))
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
            recording.global_info | {"core:sha512": sha512(recording.data_path)},
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
        out = _read_meta(meta, {"global": dict, "captures": list, "annotations": list})
    elif lines and isinstance(lines[0].get("global"), dict):
        out = {"global": lines[0]["global"], "captures": [], "annotations": []}
    else:
        raise CaptureError(
            f"{journal} is cut before its first line: its recorder was killed before the first burst."
        )
    try:
        for key in ("captures", "annotations"):
            items = out[key]
            wanted = (lambda item: True) if key == "captures" else _is_note
            places = {item["core:sample_start"]: at for at, item in enumerate(items) if wanted(item)}
            for line in lines[1:]:
                item = line[key[:-1]]
                at = places.setdefault(item["core:sample_start"], len(items))
                if at == len(items):
                    items.append(item)
                elif _UNREAD in items[at] and _UNREAD not in item:
                    items[at] = item  # read late; otherwise metadata may know names that came later
            items.sort(key=lambda item: item["core:sample_start"])
    except (KeyError, TypeError) as error:
        raise CaptureError(
            f"{meta} is JSON, but not SigMF metadata ({type(error).__name__}: {error})."
        ) from error
    return out


def _read_meta(meta: Path, parts: dict[str, type]) -> dict[str, Any]:
    try:
        data = meta.read_bytes()
    except OSError as error:
        raise CaptureError(f"{meta} cannot be read: {error.strerror or error}.") from error
    return metadata.parse(data, meta, parts)


def _is_note(annotation: dict[str, Any]) -> bool:
    return any(key.startswith(namespace.PREFIX) for key in annotation)


def _is_ours(content: dict[str, Any]) -> bool:
    extensions = content["global"].get("core:extensions")
    return isinstance(extensions, list) and any(
        isinstance(entry, dict) and entry.get("name") == namespace.NAME for entry in extensions
    )


def _check(meta: Path, content: dict[str, Any]) -> None:
    info = content["global"]
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
        if not _is_note(annotation):
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
        received_s = metadata.utc_seconds(times.get(start))
        recording.bursts.append(RecordedBurst(recording, start, count, note, received_s))
    end = max((burst.start + burst.count for burst in recording.bursts), default=0)
    if samples_there > end and not recording.skipped:
        recording.skipped["samples after the last whole burst"] += samples_there - end
