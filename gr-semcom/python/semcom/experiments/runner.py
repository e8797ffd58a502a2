# SPDX-License-Identifier: GPL-3.0-or-later
"""A measurement as cells, arms x points x seeds: each kept as a file, resumed, in parallel processes or on a cluster.

A cell's file is named by a fingerprint of all that decides its result, so that a cell that was measured is never
measured again, and one measured with other settings, weights or code is never taken for it.
"""

import functools
import hashlib
import importlib.util
import json
import multiprocessing
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from semcom import files
from semcom.errors import ConfigError, SemcomError
from semcom.parsing import shown

_POLL_S = 0.5
_KILLED = "its process was killed: out of memory? Fewer workers need less"


@dataclass(frozen=True)
class Cell:
    """One result of an experiment.

    Args:
        arm: what is compared, a name or several. point: where on the curve, a JSON scalar; None: there is one point.
        weights: SHA-256 of every model and codebook that decides the result.
    """

    arm: str | tuple[str | int, ...]
    point: float | int | str | None = None
    seed: int = 0
    weights: tuple[str, ...] = ()

    def __str__(self) -> str:
        arm = (
            self.arm if isinstance(self.arm, str) else " ".join(str(part) for part in self.arm if part != "")
        )
        return ", ".join([arm, *([] if self.point is None else [str(self.point)]), f"seed {self.seed}"])


@dataclass(frozen=True)
class Experiment:
    """What is measured.

    Args:
        name: of the measurement; another name is another result.
        measure: ``measure(cell, **settings)`` gives a cell's result, of JSON's types; NaN comes back as None. For
            parallel processes it must be picklable: a function of a module, or a ``functools.partial`` of one that
            holds what does not decide the result (folders, devices).
        cells: in the order of the figure.
        settings: whatever decides results beside the cell, of JSON's types.
        version: of the measurement's code: raised by who changes what it gives.
    """

    name: str
    measure: Callable[..., Any]
    cells: Sequence[Cell]
    settings: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1

    def fingerprint(self, cell: Cell) -> str:
        """Sixteen hexadecimal digits of what decides the result of a cell."""
        return hashlib.sha256(json.dumps(self._decides(cell), sort_keys=True).encode()).hexdigest()[:16]

    def path(self, cell: Cell, folder: Path) -> Path:
        """Where a cell is kept."""
        arm = (cell.arm,) if isinstance(cell.arm, str) else cell.arm
        parts = [*arm, *([] if cell.point is None else [cell.point]), cell.seed]
        words = "-".join(str(part) for part in parts if part != "")
        name = "".join(letter if letter.isalnum() or letter in "-_+" else "_" for letter in words)[:80]
        return folder / f"{name}.{self.fingerprint(cell)}.json"

    def _decides(self, cell: Cell) -> dict:
        return {
            "experiment": self.name,
            "version": self.version,
            "settings": dict(self.settings),
            "arm": cell.arm,
            "point": cell.point,
            "seed": cell.seed,
            "weights": list(cell.weights),
        }


@dataclass(frozen=True)
class Report:
    """What became of a cell: its result, or in words why there is none.

    seconds: it took, now or when it was measured. kept: it was there already.
    """

    cell: Cell
    result: Any
    problem: str | None
    seconds: float
    kept: bool = False


def grid(arms: Sequence, points: Sequence = (None,), seeds: Sequence[int] = (0,)) -> list[Cell]:
    """Every arm at every point with every seed; arms outermost."""
    return [Cell(arm, point, seed) for arm in arms for point in points for seed in seeds]


def sources(*packages: str) -> str:
    """SHA-256 of the source text of packages or modules: a weight of cells whose result is made by that code."""
    digest = hashlib.sha256()
    for name in packages:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            raise ConfigError(f"there is no package '{name}' whose source could be read.")
        path = Path(found.origin)
        for file in sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]:
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def get(experiment: Experiment, cell: Cell, folder: str | Path) -> Report:
    """A cell from its file, measured and written to it first if need be.

    Raises:
        ConfigError: its file is damaged, or holds the result of another cell.
            Whatever the measurement raises, and OutputError where it cannot be kept.
    """
    path = experiment.path(cell, Path(folder))
    kept = path.exists()
    if not kept:
        began = time.monotonic()
        result = experiment.measure(cell, **experiment.settings)
        seconds = time.monotonic() - began
        files.write_json(path, experiment._decides(cell) | {"seconds": seconds, "result": result})
    try:
        # fresh results are read back, too: a run is what its resumption would be
        entry = json.loads(path.read_text())
        # its name may be a copy's or a hand's
        wanted = json.loads(json.dumps(experiment._decides(cell)))
        other = [key for key, value in wanted.items() if entry[key] != value]
        if other:
            raise ConfigError(
                f"the kept cell {shown(str(path))} is of another measurement (other {', '.join(other)}): delete it, and "
                f"it is measured again."
            )
        return Report(cell, entry["result"], None, entry["seconds"], kept)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"the kept cell {shown(str(path))} is damaged: delete it, and it is measured again."
        ) from error


def run(
    experiment: Experiment,
    folder: str | Path,
    workers: int = 1,
    threads: int | None = 1,
    progress: Callable[[int, Report], None] | None = None,
    cluster: str | None = None,
    cluster_options: Mapping[str, Any] | None = None,
) -> list[Report]:
    """Every cell of an experiment, in its order. One that fails is reported, and the others go on.

    Args:
        folder: where cells are kept; of a cluster, one that all its machines see.
        workers: processes at a time; 1: this one.
        threads: of torch in each, whose number decides last bits; None: leave them as they are.
        progress: called with how many are done, and the last of them.
        cluster: None; or where submitit is to run the cells: "slurm", "local" or "debug" (extra ``cluster``).
        cluster_options: of submitit, such as ``{"timeout_min": 60, "slurm_partition": "cpu"}``.

    Raises:
        ConfigError: no submitit, or options that it does not take. OutputError: the folder cannot be written.
        KeyboardInterrupt: cells in progress are given up; what was finished is kept.
    """
    if workers < 1:
        raise ConfigError(f"{workers} workers cannot measure anything: give 1 or more.")
    folder = files.writable_folder(folder)
    task = functools.partial(_attempt, experiment, folder, threads)
    kept = [cell for cell in experiment.cells if experiment.path(cell, folder).exists()]
    left = [cell for cell in experiment.cells if cell not in set(kept)]
    found: dict[Cell, Report] = {}
    if cluster:
        reports = _on_cluster(task, left, workers, folder, experiment.name, cluster, cluster_options or {})
    elif workers == 1 or len(left) < 2:
        reports = map(task, left)
    else:
        reports = _in_processes(task, left, workers)
    for some in (map(task, kept), reports):
        for report in some:
            found[report.cell] = report
            if progress:
                progress(len(found), report)
    return [found[cell] for cell in experiment.cells]


class CellsFailed(SemcomError):
    """Some cells could not be measured; the others are kept."""

    exit_status = 1


def results(reports: Sequence[Report]) -> list[tuple[Cell, Any]]:
    """Cells with their results, where none failed.

    Raises:
        CellsFailed: some did; it names them, and what they said.
    """
    failed = [report for report in reports if report.problem]
    if failed:
        said: dict[str, list[str]] = {}
        for report in failed:
            said.setdefault(str(report.problem).rstrip("."), []).append(str(report.cell))
        words = "; ".join(f"({'), ('.join(cells)}): {problem}" for problem, cells in said.items())
        raise CellsFailed(
            f"{len(failed)} of {len(reports)} cells failed: {words}. The others are kept: the same command goes on."
        )
    return [(report.cell, report.result) for report in reports]


def _attempt(experiment: Experiment, folder: Path, threads: int | None, cell: Cell) -> Report:
    """A cell, whatever happens; of a fault in a program the traceback is left beside where the cell would be."""
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    trace = experiment.path(cell, folder).with_suffix(".traceback.txt")
    try:
        report = get(experiment, cell, folder)
        trace.unlink(missing_ok=True)
        return report
    except SemcomError as error:
        return Report(cell, None, str(error), 0.0)
    except Exception as error:
        files.write_text(trace, traceback.format_exc())
        return Report(cell, None, f"{type(error).__name__}: {error} ({trace})", 0.0)
    finally:
        torch.set_num_threads(before)


def _in_processes(task: Callable[[Cell], Report], cells: Sequence[Cell], workers: int) -> Iterator[Report]:
    """Reports as they come. Where a process is killed, each cell that was in progress is tried once more, alone."""
    waiting, suspects = deque(cells), deque[Cell]()
    while waiting or suspects:
        alone = not waiting
        source, width = (suspects, 1) if alone else (waiting, workers)
        running: dict[Any, Cell] = {}
        others = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(width, multiprocessing.get_context("spawn"), _ignore_interrupts)
        try:
            while source or running:
                while source and len(running) < width:
                    running[pool.submit(task, source[0])] = source[0]
                    source.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    report = future.result()
                    del running[future]
                    yield report
        except BrokenProcessPool:
            lost = list(running.values())
            if alone:
                yield from (Report(cell, None, _KILLED, 0.0) for cell in lost)
            else:
                suspects += lost
        except BaseException:
            for child in set(multiprocessing.active_children()) - others:
                child.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches all processes of a terminal; the first of them sees to the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _on_cluster(task, cells, workers, folder, name, cluster, options) -> Iterator[Report]:
    """Reports as they come, from jobs of submitit, at most ``workers`` of them at a time."""
    try:
        import submitit
    except ImportError as error:
        raise ConfigError(
            "--cluster needs submitit: pip install 'gr-semcom[cluster]' (or --workers N on this machine)."
        ) from error
    try:
        executor = submitit.AutoExecutor(folder=folder / "jobs", cluster=cluster)
        executor.update_parameters(**{"name": f"semcom-{name}", "timeout_min": 24 * 60} | dict(options))
    except Exception as error:  # its own errors have no class in common
        raise ConfigError(
            f"submitit refuses the cluster '{cluster}' with {dict(options)}: {error}"
        ) from error
    waiting: deque[Cell] = deque(cells)
    running: dict[Any, Cell] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                cell = waiting.popleft()
                running[executor.submit(task, cell)] = cell
            finished = [job for job in running if job.done()]
            for job in finished:
                cell = running.pop(job)
                try:
                    yield job.result()
                except Exception as error:  # killed, out of time, a machine that went away
                    last = str(error).strip().splitlines()[-1:] or [""]
                    where = job.paths.stderr
                    yield Report(
                        cell, None, f"job {job.job_id}: {type(error).__name__}: {last[0]} ({where})", 0.0
                    )
            if not finished:
                time.sleep(_POLL_S)
    finally:
        for job in running:
            job.cancel()
