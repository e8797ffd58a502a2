# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom train`` and ``semcom data``: what they say, and what they do not do."""

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.system import zoo

RECIPE = {
    "name": "mine",
    "stage": "user",
    "anchor": "photo-1-12",
    "architecture": "conv",
    "arguments": {"width": 8, "depth": 1},
    "data": ["pictures"],
    "crop": 24,
    "held_out": 2,
    "batch": 2,
    "steps": 2,
    "optimiser": "adamw",
}


@pytest.fixture
def place(tmp_path):
    (tmp_path / "data/pictures").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for n in range(5):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(
            tmp_path / f"data/pictures/{n}.png"
        )
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path


def call(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exit_code, " ".join((done.output + done.stderr).split())


def train(place, *words):
    return call(
        "train",
        place / "mine.yaml",
        "--data",
        place / "data",
        "--out",
        place / "out",
        "--device",
        "cpu",
        *words,
    )


def test_a_user_is_trained_by_command(place):
    status, said = train(place)
    assert status == 0 and f"Trained: {place}/out/mine" in said, said
    assert zoo.load(place / "out/mine/mine.json").card.anchor["name"] == "photo-1-12"


def test_dry_run_writes_nothing(place):
    status, said = train(place, "--dry-run", "--channel", "modem")
    assert status == 0 and "images/s" in said and "3,300,160 more are frozen" in said, said
    assert not (place / "out").exists()


def test_an_unknown_channel_is_named(place):
    status, said = train(place, "--channel", "modm")
    assert status == 2 and "'modm' is unknown" in said and "rayleigh" in said


def test_a_channel_comes_with_options(place):
    status, said = train(place, "--channel", "{name: modem, backoff_db: 6, delay_samples: 16}")
    assert status == 0, said
    written = zoo.card(place / "out/mine/mine.json").recipe["channel"]
    assert written == {"name": "modem", "backoff_db": 6, "delay_samples": 16}


@pytest.mark.parametrize(
    ("channel", "words"),
    [
        ("{name: modem, backoff: 6}", "unknown key 'backoff': did you mean 'backoff_db'"),
        ("{name: modem, backoff_db: x}", "'backoff_db' is 'x', but must be of type float"),
        ("{name: modem", "is not YAML"),
        ("{name:modem}", "a space after each colon"),
    ],
)
def test_options_that_cannot_be_are_reported(place, channel, words):
    status, said = train(place, "--channel", channel)
    assert status == 2 and words in said, said
    assert not (place / "out").exists()


def test_the_help_says_how_options_are_written():
    assert "{name: modem, backoff_db: 6" in " ".join(call("train", "-h")[1].replace("│", " ").split())


def test_a_name_that_no_card_can_have_is_reported_before_the_training(place):
    (place / "mine.yaml").write_text(yaml.safe_dump(RECIPE | {"name": "../../escape"}))
    status, said = train(place)
    assert status == 2 and "'name' must be letters" in said, said
    assert not (place / "out").exists()


def test_a_lower_rate_may_be_resumed_with(place):
    assert train(place)[0] == 0
    (place / "mine.yaml").write_text(yaml.safe_dump(RECIPE | {"steps": 3, "learning_rate": 1e-5}))
    status, said = train(place)
    assert status == 0, said
    assert zoo.card(place / "out/mine/mine.json").budget["steps"] == 3


def test_picture_sets_are_listed_and_misspelt_ones_named(tmp_path):
    assert "kodak" in call("data", "list")[1]
    status, said = call("data", "get", "cifar", "--to", tmp_path)
    assert status == 2 and "did you mean 'cifar10'" in said
