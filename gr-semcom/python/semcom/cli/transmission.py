# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures sent by ``loopback`` and ``demo``: each result kept as it comes, and none measured twice."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from semcom.cli.console import progress_bar
from semcom.cli.output import as_rows, give_json
from semcom.cli.results import Results
from semcom.errors import ImageError
from semcom.experiments.table import fixed, write_csv
from semcom.kinds.pictures import Picture, pixels_sha256, read_picture, stem_of, write_png
from semcom.link.rows import Row, restored
from semcom.system import zoo


class Transmission:
    """Pictures sent with every config, each result kept as it comes and none measured twice.

    Args:
        pictures: what is sent. configs: at which SNRs, how. users: who receives (``semcom.link.users``); none: one
            receiver.
        keep: options of ``semcom.cli.results.Results``. table: makes one of rows, for the screen.
    """

    def __init__(self, pictures, configs, users=(), table=None, **keep):
        self._pictures, self._configs = pictures, configs
        self._stems = _stems(pictures)
        self._users = [user.name for user in users] or [""]
        self._json, self._out, self._table = keep.get("json"), keep.get("out"), table
        self._identities = [pixels_sha256(picture.pixels)[:16] for picture in pictures]
        self._places = {id(picture): place for place, picture in enumerate(pictures)}
        self._rows: dict[str, Row] = {}
        self._files: dict[str, Path] = {}
        total = len(pictures) * len(configs) * len(self._users)
        self.results = Results(_settings_of(configs[0], users), total, show=self._show, **keep)
        self._restore()

    def run(self, run) -> list:
        """Sends what is not there yet, with a bar; all rows, by config, picture and user.

        Args:
            run: of ``sender``.
        """
        with progress_bar() as bar:
            task = bar.add_task("sending", total=len(self._pictures) * len(self._configs))
            for config in self._configs:
                bar.update(task, description=f"sending at {config.snr_db:g} dB")
                places = self._places
                left = [p for p in self._pictures if not self._done(config, places[id(p)])]
                bar.advance(task, len(self._pictures) - len(left))
                if not left:
                    continue
                rows = run(left, config, progress=lambda: bar.advance(task), on_rows=self.keep_rows(config))
                if len(rows) == len(left) * len(self._users):
                    # some of what is said of each is of the whole run
                    for position, row in enumerate(rows):
                        place = places[id(left[position // len(self._users)])]
                        self._rows[self._key(config, place, row.user)] = row
        return self.rows

    def keep_rows(self, config) -> Callable[[Picture, list[Row]], None]:
        """What is to be called with a picture and its rows, a user each, when it was sent so: they go into files."""
        return lambda picture, rows: self._keep(config, self._places[id(picture)], rows)

    def _keep(self, config, place: int, rows) -> None:
        for row in rows:
            key, entry = self._key(config, place, row.user), row.to_dict()
            if self._out is not None and row.value is not None and row.kind == "image":
                user = f"_{row.user}" if row.user else ""
                path = self._files.get(key) or self.results.free_path(
                    f"{self._stems[place]}{user}_{row.snr_db:g}dB.png"
                )
                if not self.results.attempt(
                    "pictures", lambda path=path, row=row: write_png(path, row.value)
                ):
                    continue  # to be measured again, with room
                self._files[key], entry["file"] = path, path.name
            self._rows[key] = row
            self.results.add(key, row.flat(), entry)

    def finish(self) -> None:
        """Labels in ``labels.csv``, and everything at its end. Raises OutputError as ``Results.finish``."""
        path = self.results.free_path("labels.csv")
        table = self._labels()
        if path is not None and table:
            self.results.attempt("tables", lambda: write_csv(path, table, fixed(4)))
        self.results.finish()

    def discard(self) -> None:
        """Removes what is kept, where another file has it all."""
        names = [path.name for path in self._files.values()] + [
            entry["file"] for entry in self.results.found.values() if entry.get("file")
        ]
        places = [self._out / name for name in names] if self._out else []
        if self.results.journal and self.results.journal.path.parent == self._out:
            places.append(self.results.journal.path)
        for place in places:
            place.unlink(missing_ok=True)
        if self._out and not any(self._out.iterdir()):
            self._out.rmdir()

    def _labels(self) -> list[dict]:
        out = []
        for config in self._configs:
            for place, stem in enumerate(self._stems):
                for user in self._users:
                    row = self._rows.get(self._key(config, place, user))
                    if row is None or row.value is None or row.kind != "label":
                        continue
                    best = int(row.value.argmax())
                    said = {"label": best, "confidence": float(row.value[best])}
                    out.append({"file": stem, "snr_db": f"{row.snr_db:g}", "user": user, **said})
        return out

    def _restore(self) -> None:
        for config in self._configs:
            for place in range(len(self._pictures)):
                for user in self._users:
                    key = self._key(config, place, user)
                    entry = self.results.found.get(key)
                    if entry is None:
                        continue
                    pixels = None
                    try:
                        if self._out is not None and entry.get("file"):
                            pixels = read_picture(self._out / entry["file"]).pixels
                        self._rows[key] = row = restored(entry, pixels)
                    except (ImageError, KeyError, TypeError):
                        continue  # it is gone, or not ours: measured again
                    self.results.had(key, row.flat())

    def _done(self, config, place: int) -> bool:
        return all(self._key(config, place, user) in self._rows for user in self._users)

    @property
    def rows(self) -> list[Row]:
        """Those there are, in order."""
        keys = (
            self._key(config, place, user)
            for config in self._configs
            for place in range(len(self._pictures))
            for user in self._users
        )
        return [self._rows[key] for key in keys if key in self._rows]

    def _key(self, config, place: int, user: str) -> str:
        return f"{self._stems[place]} {self._identities[place]} {config.snr_db:g} {user}"

    def _show(self) -> None:
        dash = self._json if str(self._json) == "-" else None
        rows = self.rows
        give_json(dash, as_rows(rows), self._table(rows) if self._table else "")


def _stems(pictures) -> list[str]:
    """What the files of received pictures are called: as those that were sent, numbered apart where two share a name."""
    stems: list[str] = []
    for picture in pictures:
        first = stem = stem_of(picture.name) or "picture"
        number = 1
        while stem in stems:
            number += 1
            stem = f"{first}-{number}"
        stems.append(stem)
    return stems


def _settings_of(config, users) -> dict:
    """What decides the results of a transmission beside picture, SNR and user: models stand for their weights."""
    settings = asdict(config) | {"payload": repr(config.payload)}
    for name in ("snr_db", "model"):
        del settings[name]
    others = [[user.name, user.seed, user.snr_db, zoo.card(user.model).weights_sha256] for user in users]
    return settings | {"weights": zoo.card(config.model).weights_sha256, "users": others}
