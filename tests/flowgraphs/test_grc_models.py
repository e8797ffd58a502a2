# SPDX-License-Identifier: GPL-3.0-or-later
"""The models that GNU Radio Companion offers are the ones that ship and can fly; no GNU Radio is needed to tell."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import yaml

from semcom.system import zoo

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("grc_models", ROOT / "scripts" / "grc_models.py")
grc_models = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(grc_models)


def models_of(path: Path) -> dict | None:
    parameters = yaml.safe_load(path.read_text())["parameters"]
    return next((one for one in parameters if one["id"] == "model" and "options" in one), None)


@pytest.mark.parametrize("block", grc_models.choices())
def test_a_block_offers_the_models_that_it_can_use(block):
    text = grc_models.path_of(block).read_text()
    assert grc_models.rewritten(block, text) == text, "run .venv/bin/python scripts/grc_models.py"
    model = models_of(grc_models.path_of(block))
    assert model["default"] in model["options"] and "cifar-1-12-digital" in model["options"]


def test_no_other_block_has_a_list_of_models():
    listing = {path for path in grc_models.GRC.glob("*.block.yml") if models_of(path)}
    assert listing == {grc_models.path_of(block) for block in grc_models.choices()}


def test_models_with_side_information_are_not_offered(tiny_users, tmp_path, monkeypatch):
    """Nor are users of such a model."""
    shutil.copytree(tiny_users["anchor"].parent, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    assert zoo.flying() == ["tiny"] and zoo.flying(users=True) == zoo.names() and len(zoo.names()) == 5
    values = json.loads((tmp_path / "tiny.json").read_text())
    for change in (
        {"arguments": values["arguments"] | {"true_scale": True}},
        {"architecture": "content-adaptive"},
    ):
        (tmp_path / "tiny.json").write_text(json.dumps(values | change))
        assert zoo.flying() == zoo.flying(users=True) == []
    for name in zoo.names():
        assert name not in grc_models.choices()["deepjscc_decoder"]
