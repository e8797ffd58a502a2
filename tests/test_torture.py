# SPDX-License-Identifier: GPL-3.0-or-later
"""``make torture`` counts crashes, hangs and memory as what they are, and its areas are those of scripts/torture."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from semcom.errors import ConfigError

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from torture import KEYS, Trial, forgers, mutated, row, strangers  # noqa: E402


def test_a_trial_counts_what_calls_do():
    def call(what):
        if what == "slow":
            time.sleep(5)
        if what == "typed":
            raise ConfigError("no")
        if what == "bare":
            raise KeyError("x")

    trial = Trial(limit_s=0.2)
    trial.feed(call, ["fine", "typed", "slow", "bare", "bare"])
    assert (trial.inputs, trial.hangs, trial.refused, sum(trial.crashes.values())) == (5, 1, 1, 2)
    found = trial.row("area", "case")
    assert tuple(found) == KEYS and not found["ok"] and "2 x KeyError" in found["result"]


def test_a_trial_sees_memory_that_goes_again():
    trial = Trial()
    trial.feed(lambda size: len(bytearray(size)), [100 * 2**20])
    assert 90 < trial.worst_memory_mib < 150 and not trial.row("a", "b", most_mib=50)["ok"]


def test_mutants_differ_and_are_drawn_by_the_seed():
    first, again = ([mutated(b"key: value\n", random.Random(7)) for _ in range(3)] for _ in range(2))
    assert first == again and first[0] != b"key: value\n"


@pytest.mark.parametrize("case", strangers.COUNTS)
@pytest.mark.slow
def test_a_hundred_inputs_of_every_kind(case, tmp_path):
    trial = strangers._FUZZED[case](min(100, strangers.COUNTS[case] // 100), random.Random(11), tmp_path)
    found = trial.row("strangers", case)
    assert found["ok"], found["result"]


@pytest.mark.parametrize("case", forgers.COUNTS)
def test_forgers(case, tmp_path):
    found = forgers.FUZZED[case](100, random.Random(11), tmp_path).row("forgers", case)
    assert found["ok"], found["result"]


def test_a_million_inputs_at_full_size():
    assert sum(strangers.COUNTS.values()) + sum(forgers.COUNTS.values()) >= 10**6
    assert forgers.COUNTS["burst headers"] + forgers.COUNTS["second header blocks"] >= 10**6


def _main(tmp_path, text, *arguments):
    """The command, its folder a copy with one area."""
    place = tmp_path / "torture"
    place.mkdir()
    for name in ("__init__.py", "__main__.py"):
        (place / name).write_text((SCRIPTS / "torture" / name).read_text())
    (tmp_path / "tables.py").write_text((SCRIPTS / "tables.py").read_text())
    (place / "area.py").write_text(text)
    command = [sys.executable, str(place), "--out", str(tmp_path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_table_and_the_exit_status(tmp_path):
    good = row(
        "area", "case", inputs=1234, worst_memory_mib=3.2, result="99 % read", target=">= 99 %", ok=True
    )
    done = _main(
        tmp_path, f"def run(scale, seed):\n    return [{good!r} | {{'inputs': int(scale * 1000)}}]\n"
    )
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "torture.md").read_text()
    assert "| area | case | 1,000 | 0 | 0 | 3 | 99 % read | >= 99 % | yes |" in table
    assert "scripts/torture" in table


@pytest.mark.parametrize(
    "text, words",
    [
        ("import os\ndef run(scale, seed):\n    os._exit(7)\n", "ended with status 7 before its time"),
        ("def run(scale, seed):\n    return [{'case': 1}]\n", "1 rows of another form"),
    ],
)
@pytest.mark.slow
def test_an_area_that_ends_is_a_row(tmp_path, text, words):
    done = _main(tmp_path, text)
    assert done.returncode == 1 and words in (tmp_path / "torture.md").read_text()
