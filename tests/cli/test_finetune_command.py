# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom finetune`` from files to files."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.system import zoo

sys.path.append(str(Path(__file__).parents[1] / "training"))
from finetune_bench import MODEL, make_capture  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("capture")
    make_capture(folder, 24)
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["finetune", *map(str, arguments)])


@pytest.mark.slow
def test_a_better_model_is_written_and_reported(folder, tmp_path):
    result = run(
        *("--capture", folder / "air", "--originals", folder / "sent", "--model", MODEL),
        *("--out", tmp_path, "--steps", 2, "--batch", 4, "--json", tmp_path / "report.json"),
    )
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text())
    (model,) = report["models"]
    assert report["pictures"] == 24 and model["gain_db"] > 0
    assert zoo.load(model["card"]).card.capture["sha256"] == report["capture"]


@pytest.mark.slow
def test_the_models_own_decoder_is_the_user_anchor(folder, tmp_path):
    result = run(
        *("--capture", folder / "air", "--originals", folder / "sent", "--model", MODEL, "--users", "anchor"),
        *("--out", tmp_path, "--steps", 0, "--json", tmp_path / "report.json"),
    )
    assert result.exit_code == 0, result.output
    (model,) = json.loads((tmp_path / "report.json").read_text())["models"]
    assert model["model"] == MODEL and zoo.load(model["card"]).card.anchor["name"] == MODEL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--model", MODEL),
            "original is not known (give the folder of the pictures that were sent: --originals)",
        ),
        (("--model", MODEL, "--users", "ancor"), "names of models and paths of cards, not 'ancor'"),
        (("--model", "photo-1-12"), "bursts of another model"),
        (("--model", MODEL, "--users", "attention"), "ships without a user 'attention'"),
        (("--model", MODEL, "--users", "photo-1-12"), "its anchor is another"),
        (("--model", MODEL, "--users", MODEL, "--anchor"), "--anchor tunes encoder and decoder"),
        (("--model", MODEL, "--pictures", "."), "--pictures is for --anchor"),
    ],
)
def test_mistakes_are_reported_in_words(folder, tmp_path, arguments, words):
    result = run("--capture", folder / "air", "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()
