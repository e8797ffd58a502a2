# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipes of version 1 become version 2 and stay the same training; stages follow each other."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from semcom.errors import ConfigError
from semcom.system import zoo
from semcom_training import train
from semcom_training.budget import budget
from semcom_training.recipe import RECIPES, load_recipe, make_recipe, stages_of
from semcom_training.recipe_form import PLACES, upgraded, upgraded_text

#: all recipes as they shipped in version 1
FLAT = dict(
    re.findall(
        r"^=== (\S+)\n(.*?)(?=^===|\Z)", Path(__file__).with_name("recipes_v1.txt").read_text(), re.S | re.M
    )
)
NESTED = {
    "version": 2,
    "name": "tiny",
    "model": {
        "architecture": "linres",
        "arguments": {"channels": 16, "widths": [8], "encoder_blocks": [1], "decoder_blocks": [1]},
    },
    "data": {"folders": ["pictures"], "crop": 24, "held_out": 4},
    "schedule": {"batch": 4, "steps": 2, "warmup_steps": 1, "log_every": 2},
}


def test_every_recipe_of_old_is_still_there():
    assert set(FLAT) <= {path.stem for path in RECIPES.glob("*.yaml")}


@pytest.mark.parametrize("name", FLAT)
def test_an_old_recipe_is_the_same_training(name):
    old, new = FLAT[name], (RECIPES / f"{name}.yaml").read_text()
    assert "version: 2" in new and "version" not in old
    made = [make_recipe(yaml.safe_load(text)) for text in (old, upgraded_text(old), new)]
    assert made[0] == made[1] == made[2]
    # the head is kept, and what it says: the values are those of the file that shipped
    assert upgraded_text(old).splitlines()[1] == old.splitlines()[1]
    for field, value in yaml.safe_load(old).items():
        if field not in ("loss", "loss_floor", "channel"):
            assert getattr(made[2], field) == value


def test_what_checkpoints_and_cards_hold_is_read_again():
    for name in FLAT:
        recipe = load_recipe(name)
        assert make_recipe(dataclasses.asdict(recipe)) == recipe
        before = yaml.safe_load(FLAT[name])
        older = {"loss": "log-mse", "loss_floor": 3e-5, "snr_db": [], "channel": {"name": "awgn"}} | before
        assert make_recipe(older) == recipe
    for name in zoo.names():
        held = zoo.card(name).recipe
        assert not held or make_recipe(dict(held)).name == held["name"]


def test_every_field_has_a_place():
    fields = {field.name for field in dataclasses.fields(load_recipe("photo-1-12"))}
    assert fields == set(PLACES) - {"loss_floor"}


def test_comments_stand_above_their_keys(tmp_path):
    text = (
        "# the head\n# in two lines\nname: x\n# what it is\narchitecture: linres  # ours\narguments:\n  channels: 8\n"
        "data:\n- pictures\nloss_floor: 1e-4\nlearning_rate: 1e-3 # low\nsnr_high_db: 9\n"
    )
    (tmp_path / "x.yaml").write_text(text)
    program = [sys.executable, "-m", "semcom_training.recipe_form", str(tmp_path / "x.yaml")]
    subprocess.run(program, check=True)
    assert subprocess.run(program, capture_output=True).returncode == 2  # it is of version 2 already
    new = (tmp_path / "x.yaml").read_text()
    assert new == (
        "# the head\n# in two lines\nversion: 2\nname: x\nmodel:\n  # what it is\n  # ours\n  architecture: linres\n"
        "  arguments: {channels: 8}\ndata:\n  folders: [pictures]\ntold:\n  snr_db: {high: 9}\n"
        "loss: {log-mse: {weight: 1, floor: 1e-4}}\noptimiser:\n  # low\n  learning_rate: 1e-3\n"
    )
    assert make_recipe(yaml.safe_load(new)) == make_recipe(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"loss": "mse", "loss_floor": 1e-4}, "'loss_floor' is of log-mse.*version 2 cannot say it"),
        ({"learning_rat": 1}, "unknown key 'learning_rat': did you mean 'learning_rate'"),
        ({"stage": "listener"}, "'stage' must be anchor or user"),
    ],
)
def test_what_version_2_cannot_say_is_named(values, words):
    with pytest.raises(ConfigError, match=words):
        upgraded(values)
    with pytest.raises(ConfigError, match="nothing to upgrade"):
        upgraded_text("version: 2\n")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 3}, "'version' must be 2"),
        ({"optimizer": {}}, "unknown key 'optimizer': did you mean 'optimiser'"),
        (
            {"optimiser": {"learning_rat": 1}},
            "unknown key 'optimiser.learning_rat': did you mean 'learning_rate'",
        ),
        ({"optimiser": {"learning_rate": 0}}, "'optimiser.learning_rate' must be above 0"),
        ({"optimiser": "adamw"}, "'optimiser' must be a list of 'key: value' lines"),
        ({"optimiser": {"name": "sgd"}}, "'optimiser.name' must be muon or adamw"),
        ({"schedule": {"steps": "many"}}, "'schedule.steps' is 'many', but must be of type int"),
        ({"told": {"snr_db": {"lowest": 1}}}, "'told.snr_db.lowest'.*low, high and skew"),
        ({"told": {"snr_db": {"low": 30}}}, "'told.snr_db.high' must be at least"),
        ({"told": {"snr_db": [1, "a"]}}, r"'told.snr_db'\[1\] is 'a'"),
        ({"train": ["encoder"]}, r"'train' must be \[encoder, decoder\]"),
        ({"train": ["decoder"]}, "'model.encoder' must be a model where a decoder alone"),
        ({"loss": {"mes": 1}}, "'loss': loss 'mes' is unknown"),
        (
            {"loss": {"mse": {"weight": 1, "floor": 1}}},
            "'loss' takes no option|loss 'mse' takes no option 'floor'",
        ),
        ({"loss": {"log-mse": {"weight": 1, "floor": 0}}}, "'floor' must be above 0"),
        ({"channel": "ether"}, "'channel': channel 'ether' is unknown"),
        ({"data": {"crop": 4}}, "'data.folders' is missing"),
        ({"stages": [{}, {"model": 3}]}, r"stages\[1\]: 'model' must be a list of 'key: value' lines, not 3"),
        ({"stages": [{"schedul": {}}]}, r"stages\[0\]: unknown key 'schedul': did you mean 'schedule'"),
        ({"stages": [{"name": "x"}]}, r"stages\[0\]: 'name' is the recipe's"),
        ({"stages": [{}, {"schedule": {"steps": 0}}]}, r"stages\[1\]: 'schedule.steps' must be 1 or more"),
    ],
)
def test_wrong_values_are_named_by_their_place(change, words):
    with pytest.raises(ConfigError, match=words):
        make_recipe(NESTED | change)


@pytest.mark.slow
def test_stages_follow_each_other(generated, tmp_path):
    """One for pixels, one for another loss from there, one of a decoder alone behind the encoder that came of it."""
    torch.set_num_threads(1)
    decoder = {"architecture": "conv", "arguments": {"width": 8, "depth": 1}}
    changes = [{}, {"loss": {"mse": 1}, "schedule": {"steps": 1}}, {"train": ["decoder"], "model": decoder}]
    recipe = make_recipe(NESTED | {"stages": changes})
    folder = train.run(recipe, data=generated, out=tmp_path, progress=False, device="cpu")
    assert folder == tmp_path / "tiny"
    first, second, last = (
        zoo.card(tmp_path / name / f"{name}.json") for name in ("tiny-stage1", "tiny-stage2", "tiny")
    )
    assert first.recipe["loss"] == {"log-mse": 1} and second.recipe["loss"] == {"mse": 1}
    assert second.budget["started_from"].endswith("tiny-stage1.json") and second.budget["steps"] == 1
    assert zoo.load(tmp_path / "tiny/tiny.json").model_hash == second.model_hash != first.model_hash
    assert [stage.name for stage in stages_of(recipe, tmp_path)] == ["tiny-stage1", "tiny-stage2", "tiny"]
    assert "the first of 3 stages" in budget(recipe, generated, "cpu")["time"]
