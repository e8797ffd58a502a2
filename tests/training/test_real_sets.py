# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped models on a part of the sets that their cards name; the cards hold the whole measurement."""

import pytest

from semcom.experiments.evaluate import evaluate, summarise
from semcom.system import zoo
from semcom_training.export import evaluation_images
from semcom_training.recipe import make_recipe

# at 1 and 10 dB
FLOORS_DB = {"cifar-1-12": (21.0, 26.5), "cifar-1-6": (23.0, 29.0), "photo-1-12": (25.2, 28.5)}


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOORS_DB)
def test_shipped_models_reach_their_floors(data_folder, name):
    model = zoo.load(name)
    found = evaluation_images(make_recipe(dict(model.card.recipe)), data_folder)
    if found is None:
        pytest.skip(f"the data folder holds no evaluation set of {name}")
    images = found[1][:: 10 if name.startswith("cifar") else 3]
    psnr = [row["psnr_db"] for row in summarise(evaluate(model, images, [1, 10], with_ms_ssim=False))]
    assert all(p >= floor - 0.1 for p, floor in zip(psnr, FLOORS_DB[name])), psnr
