# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of a long run as they come: a line of JSON each, from which a run that was stopped goes on."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semcom.errors import ConfigError
from semcom.files import append_json_line, finite, free_name, writable_file
from semcom.parsing import shown

FORMAT = 1


class Journal:
    """A file of JSON lines: first what decides the results, then one result a line under a key, at the end that it is.

    Lines are appended whole or not at all; a last one that was cut short, as by a power cut, is passed over.

    Args:
        path: of the file. One that is there stays as it is: a new run gets ``stem-2.jsonl``, ``stem-3.jsonl``, ...
        settings: what decides results, of JSON's types. resume: go on in the newest file of these settings.
        replace: a run that came to its end may be replaced, for its results are elsewhere too.

    Attributes:
        path: of the file that is written. found: results by key, of the run that is resumed; the last of a key counts.
        others: an unfinished run that lies there, in another file; None: there is none.

    Raises:
        ConfigError: there are runs to resume, but none with these settings; it names what differs.
        OutputError: the place cannot be written.
    """

    def __init__(
        self, path: str | Path, settings: Mapping[str, Any], resume: bool = False, replace: bool = False
    ):
        path = writable_file(path)
        self._settings = json.loads(json.dumps(finite(dict(settings)), sort_keys=True))
        self.found: dict[str, dict] = {}
        self.others: Path | None = None
        runs = _runs(path)
        if resume and runs:
            self.path, self.found = self._to_resume(runs)
            return
        self.others = next((place for place, run in runs if not run.complete), None)
        if replace and runs and all(run.complete for _, run in runs):
            path.unlink(missing_ok=True)
        self.path = free_name(path)
        append_json_line(self.path, {"semcom_results": FORMAT, "settings": self._settings})

    def add(self, key: str, result: Mapping[str, Any]) -> None:
        """Keeps a result. Raises OutputError: the disk does not take it; what is there stays whole."""
        append_json_line(self.path, {"key": key, "result": dict(result)})

    def finish(self) -> None:
        """Says that nothing is missing. Raises OutputError like ``add``."""
        append_json_line(self.path, {"complete": True})

    def _to_resume(self, runs: list) -> tuple[Path, dict[str, dict]]:
        for place, run in reversed(runs):
            if run.settings == self._settings:
                return place, run.results
        place, run = runs[-1]
        names = sorted(self._settings.keys() | run.settings.keys())
        differ = [name for name in names if self._settings.get(name) != run.settings.get(name)]
        raise ConfigError(
            f"{shown(str(place))} cannot be resumed: its run had other settings ({', '.join(differ)}). Give the same "
            f"ones, or leave --resume out: what is there stays."
        )


class _Run:
    """What a file holds, as far as it can be read."""

    def __init__(self, place: Path):
        self.settings: dict = {}
        self.results: dict[str, dict] = {}
        self.complete = False
        text = place.read_bytes()
        if text and not text.endswith(b"\n"):
            # what is appended next must not become a part of it
            append_json_line(place, {"cut": True})
        for line in text.split(b"\n"):
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if not isinstance(entry, dict):
                continue
            if isinstance(entry.get("settings"), dict):
                self.settings = entry["settings"]
            if isinstance(entry.get("result"), dict):
                self.results[str(entry.get("key"))] = entry["result"]
            self.complete = bool(entry.get("complete"))


def _runs(path: Path) -> list[tuple[Path, _Run]]:
    """The files of a journal's name, oldest first."""
    places, number = [path], 2
    while (another := path.with_name(f"{path.stem}-{number}{path.suffix}")).is_file():
        places.append(another)
        number += 1
    return [(place, _Run(place)) for place in places if place.is_file()]


def digest(*parts: Any) -> str:
    """Sixteen hexadecimal digits that distinguish results, of values of JSON's types."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
