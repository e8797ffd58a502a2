# SPDX-License-Identifier: GPL-3.0-or-later
import math

import numpy as np
import pytest
import torch

from semcom.errors import ImageError
from semcom.kinds.quality import ms_ssim, psnr


def test_psnr_by_hand():
    a = np.zeros((4, 5, 3), np.uint8)
    b = a.copy()
    b[0, 0, 0] = 51  # 0.2 of full scale in one of 60 values
    assert psnr(a, b) == pytest.approx(10 * math.log10(60 / 0.04))
    assert psnr(a / 255.0, torch.from_numpy(b) / 255) == pytest.approx(psnr(a, b), abs=1e-4)
    assert psnr(a, a) == math.inf


def test_psnr_is_per_image():
    a = torch.zeros(2, 3, 4, 4)
    b = torch.stack([a[0] + 0.1, a[1] + 0.01])
    torch.testing.assert_close(psnr(a, b), torch.tensor([20.0, 40.0], dtype=torch.float64), atol=1e-4, rtol=0)


def test_ms_ssim():
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 255, (22, 23, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    noisy = np.clip(image + rng.normal(0, 20, image.shape), 0, 255).astype(np.uint8)
    assert ms_ssim(image, image) == pytest.approx(1)
    assert 0.5 < ms_ssim(image, noisy) < 0.999
    assert ms_ssim(image[:176, :176], image[:176, :176]) == pytest.approx(1)
    assert ms_ssim(image[:175], image[:175]) is None


@pytest.mark.parametrize("size", [(176, 223), (301, 190)])
def test_ms_ssim_is_that_of_torchmetrics(size):
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as reference

    rng = np.random.default_rng(1)
    a = np.kron(rng.random((*(-(-side // 6) for side in size), 3)), np.ones((6, 6, 1)))[: size[0], : size[1]]
    for b in (0.9 * a + 0.05, np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1), np.zeros_like(a), 1 - a):
        pair = (torch.from_numpy(x).permute(2, 0, 1)[None].float() for x in (b, a))
        assert ms_ssim(b, a) == pytest.approx(float(reference(*pair, data_range=1.0)), abs=2e-5)


def test_shapes_must_agree():
    with pytest.raises(ImageError, match="one shape"):
        psnr(np.zeros((4, 4, 3)), np.zeros((4, 5, 3)))
    with pytest.raises(ImageError, match="one shape"):
        ms_ssim(np.zeros((4, 4, 3)), np.zeros((4, 5, 3)))
