# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of a command as they come: JSON lines, CSV, pictures; what a stop says of them, and what a resumed run has."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from semcom import stopping
from semcom.cli.console import mention
from semcom.errors import ConfigError, OutputError
from semcom.files import free_name, writable_file
from semcom.kept import Journal

_CSV_EVERY_S = 2.0  # it is written anew as a whole


class Results:
    """The results of a run, kept as they come.

    Args:
        settings: what decides them, of JSON's types. out: folder of received pictures. json: as ``--json``; the lines
            are beside the file, else in ``out``; else beside ``csv``; with none nothing is kept.
        resume: go on where an earlier run of the same settings ended. resumes: whether the command can.
        csv: a table of all results so far.
        total: how many results there will be. show: prints those there are; called when the run is stopped.

    Raises:
        ConfigError: nothing to resume from, or a run of other settings. OutputError: a place that cannot be written.
    """

    def __init__(
        self,
        settings: dict,
        total: int,
        *,
        out: Path | None = None,
        json: Path | None = None,
        csv: Path | None = None,
        resume: bool = False,
        resumes: bool = True,
        show: Callable[[], None] = lambda: None,
    ):
        place = _place(out, json, csv)
        if resume and place is None:
            raise ConfigError(
                "--resume goes on from what a run kept: name where, with --out, --json or --csv."
            )
        self._csv = writable_file(csv) if csv is not None else None
        beside = place is not None and place.parent != out
        self.journal = Journal(place, settings, resume, replace=beside) if place else None
        self.found = self.journal.found if self.journal else {}
        self._out, self._total, self._show = out, total, show
        self._flat: dict[str, dict] = {}
        self._csv_s = time.monotonic()
        self._go_on = ": the same command with --resume goes on." if resumes else "."
        self._faults: dict[str, list[str]] = {}
        if self.journal and self.journal.others and resumes:
            mention(
                f"{self.journal.others} is of a run that was stopped; it stays, and --resume goes on with it."
            )
        if resume:
            there = f"{len(self.found)} of {total} results were kept before."
            mention(there if self.found else "There is nothing to resume yet: all is measured.")
        stopping.at_stop(self._at_stop)

    def had(self, key: str, flat: dict) -> None:
        """A result that an earlier run kept. ``flat``: as ``--json`` has it."""
        self._flat[key] = flat

    def add(self, key: str, flat: dict, kept: dict | None = None) -> None:
        """A result that was measured now. ``kept``: what a resumed run needs of it; None: ``flat``."""
        self._flat[key] = flat
        if self.journal:
            journal = self.journal
            self.attempt("results", lambda: journal.add(key, flat if kept is None else kept))
        if self._csv and time.monotonic() - self._csv_s > _CSV_EVERY_S:
            self._write_csv()

    def attempt(self, what: str, write: Callable[[], object]) -> bool:
        """Writes something; where it cannot be written, the run goes on and ``finish`` says so, once."""
        try:
            write()
            return True
        except OutputError as error:
            self._faults.setdefault(f"{what} {error.kind}", []).append(str(error))
            return False

    def free_path(self, name: str) -> Path | None:
        """A path in the folder of pictures that no file has yet; None: there is no such folder."""
        return free_name(self._out / name) if self._out else None

    def finish(self) -> None:
        """All is there.

        Raises:
            OutputError: something could not be written on the way; how much, and the first of it.
        """
        if self._csv:
            self._write_csv()
        if not self._faults:
            if self.journal:
                self.journal.finish()
            return
        said = [f"{len(errors)} {what}. The first: {errors[0]}" for what, errors in self._faults.items()]
        self._faults = {}
        again = " What is there is whole; with room, the same command with --resume measures the rest."
        raise OutputError("\n".join(said) + again * bool(self.journal))

    def _write_csv(self) -> None:
        path = self._csv
        assert path is not None
        self.attempt("tables", lambda: write_rows(path, self._flat.values()))
        self._csv_s = time.monotonic()

    def _at_stop(self) -> str:
        done = f"{len(self._flat)} of {self._total} results"
        if self._flat:
            self._show()
        if self._csv and self._flat:
            self._write_csv()
        if self.journal is None:
            return f"{done} were there and are not kept: name a file for them, and they are."
        pictures = f", the pictures in {self._out}" * bool(self._out)
        return f"{done} are kept in {self.journal.path}{pictures}{self._go_on}"


def write_rows(path: Path, rows: Iterable[dict]) -> None:
    """Flat results as CSV, with the columns of them all. Raises OutputError; an old file is kept."""
    from semcom.experiments.table import write_csv

    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if rows:
        write_csv(path, [dict.fromkeys(columns) | row for row in rows], columns=columns)


def _place(out: Path | None, json: Path | None, csv: Path | None) -> Path | None:
    if json is not None and str(json) != "-":
        return json.with_name(f"{json.stem}.jsonl" if json.suffix != ".jsonl" else f"{json.name}.lines.jsonl")
    if out is not None:
        return out / "results.jsonl"
    return csv.with_name(f"{csv.stem}.jsonl") if csv is not None else None
