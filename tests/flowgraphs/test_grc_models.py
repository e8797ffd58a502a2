# SPDX-License-Identifier: GPL-3.0-or-later
"""The models that GNU Radio Companion offers are the ones that ship and can fly; no GNU Radio is needed to check."""

import importlib.util
from pathlib import Path

import pytest
import yaml

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
    expected = "photo-adaptive" if block == "rate_controller" else "cifar-1-12-digital"
    assert model["default"] in model["options"] and expected in model["options"]


def test_no_other_block_has_a_list_of_models():
    listing = {path for path in grc_models.GRC.glob("*.block.yml") if models_of(path)}
    assert listing == {grc_models.path_of(block) for block in grc_models.choices()}


def test_the_mapper_is_offered_what_labels_can_carry():
    offered = grc_models.choices()
    assert set(offered["latent_mapper"]) < set(offered["deepjscc_encoder"]) < set(offered["deepjscc_decoder"])
    assert (
        "photo-adaptive" in offered["deepjscc_encoder"] and "photo-adaptive" not in offered["latent_mapper"]
    )
