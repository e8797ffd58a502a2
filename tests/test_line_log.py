# SPDX-License-Identifier: GPL-3.0-or-later
"""A station's log never makes anyone wait, and says what is missing of it."""

import json
import threading
import time
from pathlib import Path

import pytest

from semcom import line_log
from semcom.line_log import WRITTEN, LineLog


def test_lines_are_whole_in_order_and_counted(tmp_path):
    log = LineLog(tmp_path / "a.jsonl")
    for number in range(50):
        log.add({"number": number, "path": "caf\udce9"})
    log.close()
    written = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert written == [{"number": number, "path": "caf\udce9"} for number in range(50)]
    assert log.counters == {WRITTEN: 50} and log.fault() == ""
    log.add({"number": 50})  # a station that runs again
    log.close()
    assert len(log.path.read_text().splitlines()) == 51


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_reported_once_with_the_number_of_lines():
    log = LineLog("/dev/full")
    for _ in range(7):
        log.add({})
    log.close()
    assert list(log.counters.values()) == [7] and WRITTEN not in log.counters
    assert "/dev/full: 7 of 7 lines are missing" in log.fault() and "No space left" in log.fault()


def test_a_disk_that_stalls_holds_nobody_up(tmp_path, monkeypatch):
    stalled = threading.Event()
    monkeypatch.setattr(line_log, "append_json_line", lambda *_: stalled.wait(30))
    monkeypatch.setattr(line_log, "_MAX_WAITING", 5)
    log = LineLog(tmp_path / "a.jsonl")
    began = time.monotonic()
    for _ in range(20):
        log.add({})
    log.close(patience_s=0.1)
    assert time.monotonic() - began < 5
    assert log.fault().startswith(f"{log.path}: 20 of 20 lines are missing (the disk does not keep up)")
    stalled.set()


def test_an_entry_that_json_cannot_hold_costs_one_line(tmp_path):
    log = LineLog(tmp_path / "a.jsonl")
    for entry in ({"a": 1}, {"a": object()}, {"a": 2}):
        log.add(entry)
    log.close()
    assert log.counters[WRITTEN] == 2 and "1 of 3 lines are missing (TypeError)" in log.fault()
