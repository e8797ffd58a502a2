# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that no file can have, and names that look like markup: a sentence, no traceback, nothing left out."""

import pytest
from typer.testing import CliRunner

from semcom.cli.main import app

LONG = "x" * 300


@pytest.mark.parametrize(
    "command",
    [
        ["tx", LONG],
        ["tx", f"{LONG}.png"],
        ["loopback", LONG],
        ["air", LONG],
        ["replay", LONG],
        ["inspect", LONG],
        ["evaluate", LONG, "--model", "cifar-1-12"],
        ["evaluate", "--model", LONG],
        ["train", LONG],
        ["rx", "--link", LONG],
        ["rx", "--out", LONG],
        ["models", "--json", LONG],
    ],
    ids=lambda command: " ".join(command)[:24],
)
def test_a_name_that_is_too_long(command):
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2, (done.output[-500:], done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_a_path_that_looks_like_markup_is_shown_whole(tmp_path, monkeypatch):
    from semcom.cli import train

    monkeypatch.setattr(train, "writable_folder", lambda folder: folder)
    monkeypatch.setattr("semcom_training.train.run", lambda *args, **options: tmp_path / "[/bold]" / "[red]a")
    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    done = CliRunner().invoke(app, ["train", "cifar-1-12", "--data", str(tmp_path / "data")])
    assert done.exit_code == 0, done.output
    assert "[/bold]/[red]a" in done.output
