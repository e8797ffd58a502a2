# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of results: whole, resumed by their settings, never overwritten."""

import json

import pytest

from semcom.errors import ConfigError
from semcom.kept import Journal

SETTINGS = {"seed": 1, "snr_db": float("nan")}


def test_a_run_is_resumed_where_it_ended(tmp_path):
    path = tmp_path / "r.jsonl"
    journal = Journal(path, SETTINGS)
    journal.add("a", {"psnr_db": 1.0})
    journal.add("a", {"psnr_db": 2.0})
    assert Journal(path, SETTINGS, resume=True).found == {"a": {"psnr_db": 2.0}}


def test_a_line_that_was_cut_is_passed_over_and_spoils_no_other(tmp_path):
    path = tmp_path / "r.jsonl"
    journal = Journal(path, SETTINGS)
    journal.add("a", {"x": 1})
    with path.open("ab") as file:
        file.write(b'{"key": "b", "result": {"x"')
    again = Journal(path, SETTINGS, resume=True)
    assert again.found == {"a": {"x": 1}}
    again.add("c", {"x": 3})
    assert Journal(path, SETTINGS, resume=True).found == {"a": {"x": 1}, "c": {"x": 3}}


def test_other_settings_are_another_run(tmp_path):
    path = tmp_path / "r.jsonl"
    Journal(path, {"seed": 1, "model": "x"}).add("a", {"x": 1})
    with pytest.raises(ConfigError, match=r"other settings \(seed\)"):
        Journal(path, {"seed": 2, "model": "x"}, resume=True)
    second = Journal(path, {"seed": 2, "model": "x"})
    assert second.path.name == "r-2.jsonl" and second.others == path
    second.add("a", {"x": 2})
    # each goes on in its own
    assert Journal(path, {"seed": 1, "model": "x"}, resume=True).found == {"a": {"x": 1}}
    assert Journal(path, {"seed": 2, "model": "x"}, resume=True).path == second.path


def test_what_is_elsewhere_too_is_replaced_when_it_was_complete(tmp_path):
    path = tmp_path / "r.jsonl"
    journal = Journal(path, SETTINGS, replace=True)
    journal.add("a", {"x": 1})
    assert Journal(path, SETTINGS, replace=True).path != path
    (tmp_path / "r-2.jsonl").unlink()
    journal.finish()
    assert Journal(path, SETTINGS).path.name == "r-2.jsonl"
    (tmp_path / "r-2.jsonl").unlink()
    again = Journal(path, SETTINGS, replace=True)
    assert again.path == path and not again.found and len(path.read_text().splitlines()) == 1


def test_lines_are_strict_json(tmp_path):
    journal = Journal(tmp_path / "r.jsonl", SETTINGS)
    journal.add("a\udce9", {"psnr_db": float("inf"), "name": "caf\udce9"})
    entries = [json.loads(line) for line in journal.path.read_text().splitlines()]
    assert entries[1]["result"]["psnr_db"] is None and entries[0]["settings"]["snr_db"] is None
