# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures sent by ``loopback`` and ``demo``: each result kept as it comes, and none measured twice."""

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from semcom import keys, stopping
from semcom.cli.console import mention, progress_bar
from semcom.cli.output import as_rows, give_json
from semcom.cli.results import Results
from semcom.cli.watching import Watching
from semcom.errors import ImageError, NotSentError
from semcom.experiments.table import fixed, write_csv
from semcom.kinds.pictures import Picture, pixels_sha256, read_picture, stem_of, write_png
from semcom.link.rows import NOT_KEPT, Row, restored
from semcom.system import zoo

_MOST_REASONS = 8  # that are said
_MOST_ON_THEIR_WAY = 64  # frames


class Transmission:
    """Pictures sent with every config, each result kept as it comes and none measured twice.

    Args:
        pictures: what is sent. configs: at which SNRs, how. users: who receives (``semcom.link.users``); none: one
            receiver.
        keep: options of ``semcom.cli.results.Results``. table: makes one of rows, for the screen.
        watching: where received pictures are seen as well; closing its window ends the run.
    """

    def __init__(self, pictures, configs, users=(), table=None, watching=None, **keep):
        self._watching = watching or Watching()
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
                rows = run(
                    left,
                    config,
                    progress=lambda: bar.advance(task),
                    on_rows=self.keep_rows(config),
                    go_on=self._watching.go_on,
                )
                if self._watching.closed:
                    raise stopping.Stopped(signal.SIGINT)
                if len(rows) == len(left) * len(self._users):
                    # some of what is said of each is of the whole run
                    for position, row in enumerate(rows):
                        place = places[id(left[position // len(self._users)])]
                        self._rows[self._key(config, place, row.user)] = row
        return self.rows

    def keep_rows(self, config) -> Callable[[Picture, list[Row]], None]:
        """What is to be called with a picture and its rows, a user each, when it was sent so: they go into files."""

        def keep(picture: Picture, rows: list[Row]) -> None:
            self._keep(config, self._places[id(picture)], rows)
            self._watching.take(picture, rows[0], self.results)

        return keep

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
        """Labels in ``labels.csv``, and everything at its end.

        Raises:
            OutputError: as ``Results.finish``.
            NotSentError: of a picture, or of all, nothing could be sent.
        """
        self._watching.finish(self.results)
        path = self.results.free_path("labels.csv")
        table = self._labels()
        if path is not None and table:
            self.results.attempt("tables", lambda: write_csv(path, table, fixed(4)))
        self.results.finish()
        self._check_sent()

    def _check_sent(self) -> None:
        rows = self.rows
        unsent = [row for row in rows if keys.NOT_SENT in row.detail]
        if not unsent:
            return
        reasons = dict.fromkeys(row.detail[keys.NOT_SENT] for row in unsent)
        names = {
            reason: next(row.item for row in unsent if row.detail[keys.NOT_SENT] == reason)
            for reason in reasons
        }
        said = [f"{name}: {reason}" for reason, name in list(names.items())[:_MOST_REASONS]]
        what = "pictures" if len(self._configs) == len(self._users) == 1 else "times a picture"
        error = NotSentError(f"{len(unsent)} of {len(rows)} {what} could not be sent.\n" + "\n".join(said))
        error.exit_status = 2 if len(unsent) == len(rows) else 1
        raise error

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


class LiveTransmission(Transmission):
    """Frames of a source without an end, as they come, until it ends after all or the user does.

    Args:
        frames: a ``semcom.kinds.video.Frames``. config: how they are sent. table, watching, keep: as above.
    """

    def __init__(self, frames, config, table=None, watching=None, **keep):
        super().__init__([], [config], (), table, watching, resumes=False, **keep)
        self._frames, self._config = frames, config
        self._since: dict[str, float] = {}
        self._broken: ImageError | None = None

    def run(self, run) -> list:
        """Sends frames until their end, Ctrl-C, SIGTERM, or until the window is closed."""
        words = "frames (Ctrl-C ends)" if self._frames.limit is None else "frames"
        with stopping.stopped_by_signals() as stop, progress_bar() as bar:
            task = bar.add_task(words, total=self._frames.limit)
            try:
                run(
                    self._noted(),
                    self._config,
                    progress=lambda: bar.advance(task),
                    on_rows=self.keep_rows(self._config),
                    go_on=lambda: self._watching.go_on() and not stop.is_set(),
                    keep=False,
                )
            except ImageError as error:
                self._broken = error
        if self._frames.dropped:
            mention(f"{self._frames.dropped} frames were overtaken by newer ones and not sent.")
        return self.rows

    def keep_rows(self, config) -> Callable[[Picture, list[Row]], None]:
        def keep(picture: Picture, rows: list[Row]) -> None:
            place = len(self._stems)
            self._stems.append(stem_of(picture.name) or "frame")
            self._identities.append(str(place))
            self._keep(config, place, rows)
            self._watching.take(picture, rows[0], self.results, self._since.pop(picture.name, None))
            # without an end there is no room for all of them
            key = self._key(config, place, "")
            if key in self._rows:
                self._rows[key] = replace(rows[0], value=None if rows[0].value is None else NOT_KEPT)

        return keep

    def finish(self) -> None:
        """As of every transmission. Raises ImageError, too: the source broke off (status 1 if it gave something)."""
        super().finish()
        if self._broken is not None:
            self._broken.exit_status = 1 if self._rows else 2
            raise self._broken

    @property
    def rows(self) -> list[Row]:
        return list(self._rows.values())

    def _noted(self) -> Iterator[Picture]:
        for picture in self._frames:
            self._since[picture.name] = time.monotonic()
            while len(self._since) > _MOST_ON_THEIR_WAY:
                del self._since[next(iter(self._since))]
            yield picture


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
