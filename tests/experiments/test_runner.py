# SPDX-License-Identifier: GPL-3.0-or-later
"""Cells that are kept, resumed, named when they fail, and measured in other processes."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import toy

from semcom.errors import ConfigError
from semcom.experiments.runner import Cell, CellsFailed, Experiment, get, grid, results, run, sources


@pytest.fixture
def marks(tmp_path):
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept"


def experiment(marks, cells, **settings) -> Experiment:
    return Experiment("toy", partial(toy.measure, folder=str(marks)), cells, settings)


def values(reports) -> list:
    return [report.result and report.result["value"] for report in reports]


def test_every_arm_at_every_point_with_every_seed_once(marks, kept):
    one, seen = experiment(marks, grid(["a", "b"], [1, 10], [1, 2])), []
    found = run(one, kept, progress=lambda done, report: seen.append((done, report.kept)))
    assert values(found) == [2, 3, 11, 12] * 2 and seen == [(n, False) for n in range(1, 9)]
    again = run(one, kept)
    # NaN as JSON has it, and every other bit the same: fresh and kept results cannot be distinguished
    assert [r.result for r in again] == [r.result for r in found] and again[0].result["nothing"] is None
    assert again[0].result["third"] == 1 / 3 and all(report.kept for report in again)
    assert len(list(marks.iterdir())) == len(list(kept.iterdir())) == 8


def test_whatever_decides_a_result_makes_another_cell(marks, kept):
    one = experiment(marks, [Cell("a", 1, 1, ("00ff",))])
    (cell,) = one.cells
    others = [
        replace(one, settings={"scale": 2}),
        replace(one, version=2),
        replace(one, name="other"),
        *(replace(one, cells=[replace(cell, **what)]) for what in (
            {"weights": ("00fe",)}, {"seed": 2}, {"point": 2}, {"arm": "b"}, {"arm": ("a", "")},
        )),
    ]  # fmt: skip
    for other in [one, *others, one]:
        run(other, kept)
    assert len({path.name for path in kept.iterdir()}) == 1 + len(others) == len(list(marks.iterdir()))
    assert values(run(others[0], kept)) == [3]


def test_who_fails_is_named_and_the_others_go_on(marks, kept):
    one = experiment(marks, grid(["a", "refused", "broken", "b"], [7]))
    found = run(one, kept)
    assert values(found) == [7, None, None, 7]
    with pytest.raises(CellsFailed) as error:
        results(found)
    said = str(error.value)
    assert "2 of 4 cells failed" in said and "(refused, 7, seed 0): no such channel" in said
    assert "(broken, 7, seed 0): ZeroDivisionError" in said
    (trace,) = kept.glob("*.traceback.txt")
    assert str(trace) in said and "return 1 / 0" in trace.read_text()
    assert len(results(run(replace(one, cells=grid(["a", "b"], [7])), kept))) == 2


@pytest.mark.slow
def test_processes_of_one_thread_each_and_one_that_is_killed(marks, kept):
    one = experiment(marks, [*grid(["a", "killed"], [1]), *grid(["a"], [2]), *grid(["refused"])])
    found = run(one, kept, workers=2)
    assert values(found) == [1, None, 2, None] and found[3].problem == "no such channel."
    assert "killed: out of memory?" in found[1].problem
    said = [mark.read_text().split() for mark in marks.iterdir()]
    assert {threads for _, threads in said} == {"1"} and str(os.getpid()) not in {pid for pid, _ in said}
    assert sorted(path.name[:3] for path in kept.iterdir()) == ["a-1", "a-2"]


_PROGRAM = """
import sys
from functools import partial
sys.path.insert(0, {tests!r})
import toy
from semcom.experiments.runner import Experiment, grid, run
if __name__ == "__main__":
    run(Experiment("toy", partial(toy.measure, folder={marks!r}), grid(["a", "slow"], [1], [1])), {kept!r}, {workers})
"""


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "how"), [(1, signal.SIGKILL), (2, signal.SIGINT)])
def test_a_run_that_is_stopped_keeps_what_it_has(marks, kept, tmp_path, workers, how):
    program = tmp_path / "program.py"
    here = str(Path(toy.__file__).parent)
    program.write_text(_PROGRAM.format(tests=here, marks=str(marks), kept=str(kept), workers=workers))
    started = subprocess.Popen([sys.executable, program], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not (any(marks.glob("slow*")) and list(kept.glob("a-*.json"))) and time.monotonic() < deadline:
            time.sleep(0.05)
        started.send_signal(how)
        _, said = started.communicate(timeout=30)  # less than the slow cell takes
    finally:
        started.kill()
    assert started.returncode != 0 and ("KeyboardInterrupt" in said) == (how == signal.SIGINT)
    one = experiment(marks, grid(["a", "b"], [1], [1]))
    assert [report.kept for report in run(one, kept)] == [True, False]
    left = [int(mark.read_text().split()[0]) for mark in marks.glob("slow*")]
    if how == signal.SIGINT:  # nobody goes on behind our back
        assert not [pid for pid in left if Path(f"/proc/{pid}").exists()]


def test_a_damaged_cell_is_said(marks, kept):
    one = experiment(marks, grid(["a"]))
    run(one, kept)
    (path,) = kept.iterdir()
    path.write_text(path.read_text()[:30])
    with pytest.raises(ConfigError, match="damaged: delete it"):
        get(one, one.cells[0], kept)
    path.unlink()
    assert values(run(one, kept)) == [0]


def test_the_digest_of_sources_follows_every_file(tmp_path, monkeypatch):
    package = tmp_path / "package_of_a_test"
    (package / "inner").mkdir(parents=True)
    files = [package / "__init__.py", package / "inner" / "__init__.py", package / "inner" / "one.py"]
    for file in files:
        file.write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    seen = {sources("package_of_a_test")}
    for file in files:
        file.write_text("# changed")
        seen.add(sources("package_of_a_test"))
    assert len(seen) == 4 and sources("semcom.modem.snr") != sources("semcom.modem")
    with pytest.raises(ConfigError, match="no package 'semcom.moden'"):
        sources("semcom.moden")


def test_no_workers_and_no_such_cluster(marks, kept):
    one = experiment(marks, grid(["a"]))
    with pytest.raises(ConfigError, match="1 or more"):
        run(one, kept, workers=0)
    with pytest.raises(ConfigError, match="submitit"):
        run(one, kept, cluster="moon")
    assert not list(marks.iterdir())


@pytest.mark.slow
def test_jobs_of_a_cluster(marks, kept, monkeypatch):
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'gr-semcom[cluster]'")
    # a job is a program of its own, and finds the toy as it finds an installed package
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(toy.__file__).parent), *sys.path]))
    one = experiment(marks, grid(["a", "killed"], [1], [1]))
    found = run(one, kept, workers=2, cluster="local", cluster_options={"timeout_min": 2})
    assert values(found) == [2, None]
    assert found[1].problem.startswith("job ")
    more = replace(one, cells=grid(["a", "b"], [1], [1]))
    assert [report.kept for report in run(more, kept, cluster="debug")] == [True, False]
