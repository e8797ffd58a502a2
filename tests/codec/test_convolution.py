# SPDX-License-Identifier: GPL-3.0-or-later
"""Convolutions that use what a CPU has: the same numbers as torch's own, whatever the size, batch and strips."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from semcom.codec.layers import convolution
from semcom.codec.layers.convolution import Conv3x3, leaky, shuffled, torchs_own_convolutions, unshuffled
from semcom.system import zoo

needs_nnpack = pytest.mark.skipif(not torch._nnpack_available(), reason="torch has no NNPACK on this machine")


@pytest.fixture
def taken(monkeypatch):
    """The shapes that NNPACK was given."""
    shapes, own = [], torch._nnpack_spatial_convolution

    def noted(x, *rest):
        shapes.append(tuple(x.shape))
        return own(x, *rest)

    monkeypatch.setattr(torch, "_nnpack_spatial_convolution", noted)
    return shapes


def layer(inputs=7, outputs=5):
    torch.manual_seed(0)
    return Conv3x3(inputs, outputs).requires_grad_(False)


@needs_nnpack
@pytest.mark.parametrize("size", [(46, 47), (64, 33), (2049, 1), (1, 2050), (250, 300)])
@pytest.mark.parametrize("strip_cells", [2**14, 900])
def test_winograd_agrees_with_torch(size, strip_cells, monkeypatch, taken):
    monkeypatch.setattr(convolution, "STRIP_CELLS", strip_cells)
    conv, x = layer(), torch.randn(2, 7, *size)
    expected = nn.Conv2d.forward(conv, x)
    with torch.inference_mode():
        got = conv(x)
    assert taken
    assert float((got - expected).abs().max()) < 1e-4 * float(expected.std())


@needs_nnpack
def test_memory_beside_the_result_is_bounded_by_strips(taken):
    with torch.inference_mode():
        layer()(torch.randn(1, 7, 1000, 500))
    assert max(h * w for _, _, h, w in taken) <= convolution.STRIP_CELLS + 2 * 500
    assert len(taken) > 20


@needs_nnpack
def test_a_picture_does_not_depend_on_its_batch():
    conv, x = layer(), torch.randn(3, 7, 50, 60)
    with torch.inference_mode():
        together = conv(x)
        assert all(torch.equal(together[n : n + 1], conv(x[n : n + 1])) for n in range(3))


def test_torchs_own_where_winograd_does_not_serve(taken):
    conv, x = layer(), torch.randn(1, 7, 50, 60)
    assert torch.equal(conv(x), nn.Conv2d.forward(conv, x))  # gradients are on
    with torch.inference_mode():
        conv(x[..., :9, :9])
        with torchs_own_convolutions():
            conv(x)
        conv.double()(x.double())
        with torch.autocast("cpu", torch.bfloat16):
            conv.float()(x)
    assert not taken


@pytest.mark.parametrize("step", [2, 4])
def test_moves_between_resolutions_are_torchs_bit_by_bit(step):
    x = torch.randn(2, 3 * step * step, 5 * step, 7 * step)
    with torch.inference_mode():
        assert torch.equal(unshuffled(x, step), F.pixel_unshuffle(x, step))
        assert torch.equal(shuffled(x, step), F.pixel_shuffle(x, step))
    assert unshuffled(x.requires_grad_(), step).requires_grad


def test_leaky_keeps_its_input_where_gradients_need_it():
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    leaky(x).sum().backward()
    assert x.tolist() == [-1.0, 2.0] and torch.allclose(x.grad, torch.tensor([0.1, 1.0]))


@needs_nnpack
@pytest.mark.parametrize("name", ["photo-1-12", "photo-adaptive"])
def test_decoded_pictures_differ_by_one_level_at_most(name, taken):
    codec, size = zoo.load(name).codec, (192, 256)
    smooth = F.interpolate(
        torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(1)), size, mode="bicubic"
    )
    with torch.inference_mode():
        quick = codec.receive(codec.send(smooth.clamp(0, 1), 10.0).with_noise(10.0), 10.0, size)
        assert taken
        with torchs_own_convolutions():
            plain = codec.receive(codec.send(smooth.clamp(0, 1), 10.0).with_noise(10.0), 10.0, size)
    steps = ((255 * quick).round() - (255 * plain).round()).abs()
    assert float(steps.max()) <= 1 and float((steps > 0).float().mean()) < 0.001
