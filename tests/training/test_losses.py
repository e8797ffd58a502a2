# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses: each falls as pictures become alike, sums add up, and what is missing is named."""

import pytest
import torch

from semcom.errors import ConfigError, MissingError
from semcom.kinds import quality
from semcom.perceptual import loading
from semcom_training.losses import loss


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(0)
    images = torch.nn.functional.interpolate(
        torch.rand(2, 3, 16, 16, generator=generator), 64, mode="bilinear"
    )
    return images, torch.randn(images.shape, generator=generator)


@pytest.mark.parametrize("what", ["mse", "log-mse", "ms-ssim", "lpips", {"mse": 0.8, "ms-ssim": 0.2}])
def test_less_noise_is_less_loss_and_gradients_are_finite(what, pictures):
    images, noise = pictures
    compare = loss(what)
    values = [float(compare(images + level * noise, images)) for level in (0.3, 0.1, 0.03, 0.0)]
    assert values == sorted(values, reverse=True) and len(set(values)) == 4
    decoded = (0.5 * noise).requires_grad_()  # nothing alike: the similarity of some scales is negative
    compare(decoded, images).backward()
    assert decoded.grad.isfinite().all() and decoded.grad.abs().sum() > 0


def test_a_sum_is_a_sum(pictures):
    images, noise = pictures
    decoded = images + 0.1 * noise
    parts = 0.8 * loss("mse")(decoded, images) + 0.2 * loss("ms-ssim")(decoded, images)
    assert torch.allclose(loss({"mse": 0.8, "ms-ssim": 0.2})(decoded, images), parts)


@pytest.mark.parametrize("side", [11, 32, 128, 176])
def test_ms_ssim_uses_the_scales_there_are_room_for(side):
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    assert float(loss("ms-ssim")(images, images)) == pytest.approx(0, abs=1e-5)


def test_what_cannot_be_a_loss_is_named():
    for what, words in (
        ("mes", "mes.*mse"),
        ({}, "name"),
        ({"mse": 0}, "above 0"),
        ({"mse": "a"}, "number"),
        ([], "name"),
    ):
        with pytest.raises(ConfigError, match=words):
            loss(what)
    with pytest.raises(ConfigError, match="11 pixels"):
        loss("ms-ssim")(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))


def test_lpips_is_what_is_measured(pictures):
    images, noise = pictures
    decoded = (images + 0.1 * noise).clamp(0, 1)
    measured = [quality.lpips(*(x.permute(1, 2, 0) for x in pair)) for pair in zip(decoded, images)]
    assert float(loss("lpips")(decoded, images)) == pytest.approx(sum(measured) / 2, rel=1e-4)


def test_lpips_says_what_it_needs(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="64 pixels a side, and these have 32: raise 'crop'"):
        loss("lpips")(torch.rand(1, 3, 32, 64), torch.rand(1, 3, 32, 64))
    monkeypatch.setattr(loading, "SHIPPED", tmp_path)
    loading._load.cache_clear()
    with pytest.raises(MissingError, match="install gr-semcom again"):
        loss({"mse": 1, "lpips": 1})
