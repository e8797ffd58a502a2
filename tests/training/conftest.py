# SPDX-License-Identifier: GPL-3.0-or-later
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real pictures (SEMCOM_DATA, or shared/data beside the checkout); skips where there is
    none."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("SEMCOM_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real pictures: SEMCOM_DATA is not set and {beside} does not exist")
    return folder


@pytest.fixture(scope="session")
def generated(tmp_path_factory):
    """A data folder with 40 generated photos of 72x64 in ``pictures``: smooth colours and edges."""
    root = tmp_path_factory.mktemp("data")
    (root / "pictures").mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:72, 0:64] / 32
    for n in range(40):
        a, b, c, d = rng.uniform(-3, 3, 4)
        image = (
            np.stack([np.sin(a * x + b * y + c), np.cos(b * x - a * y), np.sin(a * x * y + d)], -1) * 60 + 128
        )
        image[(x - 1 - c / 6) ** 2 + (y - 1) ** 2 < 0.2] = rng.integers(0, 255, 3)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / "pictures" / f"{n:02d}.png")
    return root
