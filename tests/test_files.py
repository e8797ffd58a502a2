# SPDX-License-Identifier: GPL-3.0-or-later
import json

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
