# SPDX-License-Identifier: GPL-3.0-or-later
"""The four families of user decoder and the anchor: any size, any stride, and the layers the paper names."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from semcom.codec import DECODERS, build, build_decoder
from semcom.codec.image.linres import block_dct
from semcom.codec.layers.attention import AttentionFeature
from semcom.codec.layers.conditioning import SnrFusion
from semcom.codec.layers.gdn import GDN
from semcom.equivalent_snr import equivalent_snr_db
from semcom.errors import ConfigError, ImageError, ModelError

STRIDES = {4: 8, 8: 32}  # stride: channels at rho = 1/12
DEPTHS = {"attention": 1, "conv": 1, "resnet": 5, "vgg": 1}


def small(family, stride=4, **changes):
    arguments = {"channels": STRIDES[stride], "stride": stride, "width": 16, "depth": DEPTHS[family]}
    torch.manual_seed(0)
    return build_decoder(family, arguments | changes)


def received(decoder, size, batch=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, decoder.latent_count(*size))
    return torch.randn(shape, dtype=torch.complex64, generator=generator)


def kinds(module, kind):
    return [m for m in module.modules() if isinstance(m, kind)]


def test_the_four_families():
    assert list(DECODERS) == ["attention", "conv", "resnet", "vgg"]


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (67, 45)])
def test_any_size_at_any_stride(family, stride, size):
    decoder = small(family, stride).eval()
    with torch.no_grad():
        images = decoder.decode(received(decoder, size), torch.tensor([3.0, 12.0]), size)
    assert images.shape == (2, 3, *size) and images.min() >= 0 and images.max() <= 1


@pytest.mark.parametrize("family", DECODERS)
def test_one_decodes_what_the_encoder_of_the_same_grid_sends(family):
    codec = build("linres", {"channels": 8, "widths": [16], "encoder_blocks": [1], "decoder_blocks": [1]})
    decoder = small(family)
    assert decoder.rho == codec.rho and decoder.latent_count(50, 37) == codec.latent_count(50, 37)
    assert decoder.decode(codec.encode(torch.rand(1, 3, 50, 37), 10.0), 10.0, (50, 37)).shape[-2:] == (50, 37)
    with pytest.raises(ImageError, match="do not fit"):
        small(family, 8).decode(codec.encode(torch.rand(1, 3, 32, 30), 10.0)[:, 1:], 10.0, (32, 30))


@pytest.mark.parametrize("family", DECODERS)
def test_lost_latents_are_ignored_and_known(family):
    decoder, size = small(family).eval(), (24, 32)
    latents = received(decoder, size)
    noise_var = torch.full(latents.shape, 0.1)
    lost = torch.arange(latents.shape[1]) % 3 == 0
    noise_var[:, lost] = math.inf
    garbage = latents.masked_fill(lost, complex("nan"))
    with torch.no_grad():
        first = decoder.decode(garbage, equivalent_snr_db(noise_var), size, noise_var)
        again = decoder.decode(latents, equivalent_snr_db(noise_var), size, noise_var)
        zeros_believed = decoder.decode(latents.masked_fill(lost, 0), equivalent_snr_db(noise_var), size)
    assert first.isfinite().all() and torch.equal(first, again)
    assert not torch.allclose(first, zeros_believed)  # a zero that was received is not one that was lost


@pytest.mark.parametrize("family", DECODERS)
def test_gradients_reach_every_parameter_and_the_latents(family):
    decoder, size = small(family).train(), (16, 16)
    latents = received(decoder, size).requires_grad_()
    decoder.decode(latents, torch.tensor([1.0, 13.0]), size).square().mean().backward()
    assert latents.grad.abs().min() > 0
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("family", DECODERS)
def test_a_picture_does_not_depend_on_its_neighbours_in_the_batch(family):
    decoder, size = small(family).eval(), (32, 24)
    latents = received(decoder, size, batch=3)
    with torch.no_grad():
        together = decoder.decode(latents, 10.0, size)
        alone = torch.cat([decoder.decode(row[None], 10.0, size) for row in latents])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", DECODERS)
def test_width_and_depth_are_capacity(family):
    def size_of(decoder):
        return sum(p.numel() for p in decoder.parameters())

    depth = DEPTHS[family]
    assert size_of(small(family, width=16)) < size_of(small(family, width=32))
    assert size_of(small(family, depth=depth)) < size_of(small(family, depth=depth + 1))


@pytest.mark.parametrize("family", DECODERS)
def test_a_linear_path_decodes_beside_the_network(family):
    decoder, size = small(family, linear=True).eval(), (24, 16)
    latents = received(decoder, size)
    with torch.no_grad():
        # nothing learnt
        assert torch.equal(decoder.decode(latents, 10.0, size), torch.full((2, 3, *size), 0.5))
        decoder.linear.weight[:, :, 1, 1] = 0.02
        one, two = (decoder.train().decode(scale * latents, 10.0, size) - 0.5 for scale in (1.0, 2.0))
        weights = 10 / 11 * torch.ones(2, 4, 6, 4)  # the path also sees these, which do not scale
        offset = decoder.linear(torch.cat([torch.zeros(2, 8, 6, 4), weights], dim=1))[0, 0, 0, 0]
    assert "linear" not in dict(small(family).named_children()) or small(family).linear is None
    torch.testing.assert_close(two - offset, 2 * (one - offset), atol=1e-4, rtol=1e-3)


def test_layers_are_those_the_paper_names():
    attention, conv, resnet, vgg = (small(family, 8) for family in DECODERS)
    # one AF, one PReLU a stage but the last, one IGDN a stage: 1 on the grid, 3 doublings
    assert [len(kinds(attention, kind)) for kind in (AttentionFeature, nn.PReLU, GDN)] == [3, 3, 4]
    assert [len(kinds(conv, kind)) for kind in (SnrFusion, nn.PReLU, GDN)] == [3, 3, 3]
    assert [len(kinds(resnet, kind)) for kind in (nn.BatchNorm2d, nn.PReLU, nn.Conv2d)] == [10, 5, 5 + 3]
    assert [len(kinds(vgg, kind)) for kind in (nn.ConvTranspose2d, nn.AvgPool2d, SnrFusion)] == [7, 3, 3]
    for decoder in (attention, conv):
        assert all(gdn.inverse for gdn in kinds(decoder, GDN))
    assert not kinds(resnet, GDN) and not kinds(vgg, GDN) and not kinds(vgg, nn.BatchNorm2d)


def test_fusion_starts_as_the_identity_and_then_follows_the_snr():
    fusion, x, snr = SnrFusion(3), torch.rand(2, 3, 4, 4), torch.tensor([0.0, 20.0])
    assert torch.equal(fusion(x, snr), x)
    with torch.no_grad():
        fusion.dense.weight[:3], fusion.dense.weight[3:] = 2.0, 0.5
    changed = fusion(x, snr)
    torch.testing.assert_close(changed[0], x[0])
    torch.testing.assert_close(changed[1], 3 * x[1] + 0.5)


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("stride", STRIDES)
def test_the_anchors_encoder_mirrors_its_decoder(stride, depth):
    anchor = build("anchor", {"channels": STRIDES[stride], "stride": stride, "width": 16, "depth": depth})
    downwards = [(s.convolution.in_channels, s.convolution.out_channels) for s in anchor.encoder.stages]
    upwards = [(s.convolution.out_channels, s.convolution.in_channels) for s in anchor.decoder.blocks][::-1]
    assert downwards[:-1] == upwards[:-1] and downwards[-1] == (upwards[-1][0], STRIDES[stride])
    assert anchor.encode(torch.rand(1, 3, 33, 20), 5.0).shape == (1, anchor.latent_count(33, 20))
    # the decoder is one of the family, by itself
    latents = received(anchor, (16, 24))
    with torch.no_grad():
        by_anchor, by_decoder = (m.eval().decode(latents, 4.0, (16, 24)) for m in (anchor, anchor.decoder))
    assert torch.equal(by_anchor, by_decoder)


def test_what_cannot_be_is_refused():
    with pytest.raises(ModelError, match="unknown decoder family 'atention': did you mean 'attention'"):
        build_decoder("atention", {})
    with pytest.raises(ModelError, match="does not take these arguments"):
        build_decoder("conv", {"channels": 8, "stride": 4, "width": 16, "layers": 3})
    with pytest.raises(ConfigError, match="must be even"):
        small("conv", channels=7)
    with pytest.raises(ConfigError, match="must be 2, 4, 8"):
        build_decoder("vgg", {"channels": 8, "stride": 6, "width": 8, "depth": 1})
    with pytest.raises(ConfigError, match="width must be at least 1"):
        small("attention", width=0)
    with pytest.raises(ConfigError, match="depth at least 0"):
        small("conv", depth=-1)
    with pytest.raises(ConfigError, match="depth of at least 3"):
        small("resnet", 8, depth=2)


@pytest.mark.parametrize("stride", STRIDES)
def test_with_a_linear_path_an_anchor_starts_as_a_block_dct(stride):
    arguments = {"channels": STRIDES[stride], "stride": stride, "width": 16, "depth": 1, "linear": True}
    anchor = build("anchor", arguments)
    images = torch.rand(2, 3, 4 * stride, 3 * stride)
    cells = F.pixel_unshuffle(images - 0.5, stride)
    expected = torch.einsum("pc,bchw->bphw", block_dct(STRIDES[stride], stride), cells)
    snr = torch.tensor([2.0, 12.0])
    torch.testing.assert_close(anchor.encoder(images, snr), expected, atol=1e-5, rtol=1e-4)
    assert anchor.decoder.linear is not None
    anchor.encode_planes(images, snr).square().sum().backward()
    assert anchor.encoder.stages[-1].convolution.weight.grad.abs().sum() > 0  # the network can begin
