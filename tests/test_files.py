# SPDX-License-Identifier: GPL-3.0-or-later
import contextlib
import errno
import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from semcom import files
from semcom.errors import OutputError


def test_json_is_strict(tmp_path):
    value = {
        "a": float("nan"),
        "b": [1.5, float("inf"), None, True, "x"],
        "c": np.float32("nan"),
        "d": np.int64(3),
    }
    text = files.write_json(tmp_path / "deep" / "a.json", value).read_text()
    assert json.loads(text) == {"a": None, "b": [1.5, None, None, True, "x"], "c": None, "d": 3}
    assert "NaN" not in text and "Infinity" not in text


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path):
    path = files.write_text(tmp_path / "a.json", "old")
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_checks_before_a_run(tmp_path):
    (tmp_path / "file").write_text("kept")
    assert files.writable_folder(tmp_path / "new").is_dir()
    files.writable_file(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"
    with pytest.raises(OutputError, match="is a file"):
        files.writable_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="is a folder"):
        files.writable_file(tmp_path)
    with pytest.raises(OutputError, match="is a file"):
        files.writable_file(tmp_path / "file" / "x.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "new"]


def test_names_that_are_not_utf8_lead_back_to_the_file(tmp_path):
    value = {"path": "/photos/caf\udce9.png", "note": "\ud800"}
    assert json.loads(files.write_json(tmp_path / "a.json", value).read_bytes()) == value
    files.append_json_line(tmp_path / "a.jsonl", value)
    assert json.loads((tmp_path / "a.jsonl").read_bytes()) == value


@contextlib.contextmanager
def small_files():
    """A disk on which files end at 10,000 bytes; within a test alone, for pytest writes its report to a file as well."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_no_half_line(tmp_path):
    lines = []
    with small_files(), pytest.raises(OutputError, match=r"a.jsonl cannot be written.*Make room") as error:
        while True:
            files.append_json_line(tmp_path / "a.jsonl", {"number": len(lines), "text": "x" * 700})
            lines.append(len(lines))
    assert len(lines) > 10 and "a.jsonl" not in error.value.kind
    text = (tmp_path / "a.jsonl").read_text()
    assert text.endswith("\n") and [json.loads(line)["number"] for line in text.splitlines()] == lines


def test_a_full_disk_is_seen_before_a_run(tmp_path, monkeypatch):
    def full(path, data):
        path.touch()
        if data:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        files.writable_folder(tmp_path)
    assert files.writable_file(tmp_path / "log", room_bytes=0) == tmp_path / "log"
    assert not list(tmp_path.iterdir())


def test_what_is_no_file_is_written_to_and_stays(tmp_path):
    kept, link, pipe = tmp_path / "kept.json", tmp_path / "link.json", tmp_path / "pipe"
    kept.write_text("old")
    link.symlink_to(kept)
    files.write_bytes(link, b"new")
    assert link.is_symlink() and kept.read_text() == "new"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write_bytes(pipe, b"through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.json", "link.json", "pipe"]
