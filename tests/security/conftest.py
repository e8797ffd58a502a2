# SPDX-License-Identifier: GPL-3.0-or-later
"""A key folder of the test's own, with two keys."""

import pytest

from semcom.security import make_key


@pytest.fixture(autouse=True)
def key_folder(tmp_path, monkeypatch):
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("SEMCOM_KEY_FOLDER", str(folder))
    for name in ("alice", "bob"):
        make_key(str(folder / f"{name}.key"))
    return folder
