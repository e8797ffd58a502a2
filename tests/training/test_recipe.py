# SPDX-License-Identifier: GPL-3.0-or-later
import json
from pathlib import Path

import pytest

from semcom.errors import ConfigError
from semcom.system import card
from semcom_training.models import build_codec
from semcom_training.recipe import NAME, RECIPES, load_recipe, make_recipe

SMALLEST = {"name": "x", "architecture": "linres", "arguments": {"channels": 8}, "data": ["pictures"]}


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_recipes_are_valid_and_build(path):
    recipe = load_recipe(path)
    build_codec(recipe)
    assert "kodak" not in recipe.data and "photos_valid" not in str(recipe.data)
    assert not any("bsds500" in folder for folder in recipe.data) or "val_" in recipe.exclude


def test_a_shipped_recipe_is_found_by_name():
    assert load_recipe("photo-1-12").name == "photo-1-12"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rat": 1e-3}, "unknown key 'learning_rat': did you mean 'learning_rate'"),
        ({"steps": "many"}, "'steps' is 'many', but must be of type int"),
        ({"steps": 0}, "'steps' must be 1 or more, not 0"),
        ({"held_out": 0}, "'held_out' must be 1 or more"),
        ({"held_out": -3}, "'held_out' must be 1 or more"),
        ({"log_every": 0}, "'log_every' must be 1 or more"),
        ({"weight_decay": -1}, "'weight_decay' must be 0 or more"),
        ({"warmup_steps": -5}, "'warmup_steps' must be 0 or more"),
        ({"max_minutes": -1}, "'max_minutes' must be 0 or more"),
        ({"crop": -8}, "'crop' must be 0 or more"),
        ({"seed": -5}, "'seed' must be 0 to 2147483647"),
        ({"clip": 0}, "'clip' must be above 0"),
        ({"snr_db": [1, 999]}, "'snr_db' must be SNRs of -20 to 60 dB"),
        ({"snr_high_db": 99}, "'snr_high_db' must be -20 to 60"),
        ({"data": []}, "'data' must be at least one folder"),
        ({"name": "my model"}, "'name' must be letters, digits"),
        ({"name": "../../escape"}, "'name' must be letters, digits"),
        ({"batch": True}, "'batch'"),
        ({"loss": "ssim"}, "'loss'"),
        ({"loss": {"mse": -1}}, "'loss'.*above 0"),
        ({"channel": "ether"}, "'channel'.*ether.*rayleigh"),
        ({"channel": {"name": "modem", "backof_db": 3}}, "'channel'.*backof_db.*backoff_db"),
        ({"channel": {"name": "modem", "backoff_db": "x"}}, "'channel'.*'backoff_db' is 'x'.*type float"),
        ({"channel": {"name": "modem", "uneven_fraction": 1}}, "'channel'.*no option 'uneven_fraction'"),
        ({"channel": {"name": "modem", 3: 1}}, "'channel'.*no option 3"),
        ({"channel": {"name": ["modem"]}}, "'channel'.*is a name, or"),
        ({"channel": {"delay_samples": 3}}, "'channel'"),
        ({"snr_db": [1, "a"]}, "'snr_db'"),
        ({"stage": "listener"}, "'stage'"),
        ({"stage": "user"}, "'anchor'"),
        ({"anchor": "photo-1-12"}, "'anchor'"),
        ({"optimiser": "sgd"}, "'optimiser'"),
        ({"snr_low_db": 30}, "'snr_high_db'"),
        ({"data": "cifar10"}, "'data'"),
    ],
)
def test_wrong_values_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        make_recipe(SMALLEST | change)


def test_names_are_those_that_a_card_can_have():
    schema = json.loads((Path(card.__file__).with_name("card.schema.json")).read_text())
    assert schema["$defs"]["name"]["pattern"] == f"^{NAME.pattern}$"


def test_missing_and_unreadable(tmp_path):
    with pytest.raises(ConfigError, match="'data' is missing"):
        make_recipe({key: value for key, value in SMALLEST.items() if key != "data"})
    with pytest.raises(ConfigError, match="there is no recipe 'nope'.*photo-1-12"):
        load_recipe("nope")
    (tmp_path / "a.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not YAML"):
        load_recipe(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("just words")
    with pytest.raises(ConfigError, match="key: value"):
        load_recipe(tmp_path / "a.yaml")


def test_whole_numbers_serve_as_floats():
    assert make_recipe(SMALLEST | {"clip": 1}).clip == 1.0
