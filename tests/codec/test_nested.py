# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace

import pytest
import torch

from semcom.codec import build
from semcom.codec.base import Latents
from semcom.errors import ConfigError

SMALL = {"channels": 8, "widths": [16], "encoder_blocks": [1], "decoder_blocks": [1]}


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(3)
    return build("nested-linres", SMALL).eval()


@pytest.fixture(scope="module")
def images():
    ramp = torch.linspace(0, 1, 24)
    return torch.stack([ramp[:, None] * ramp, 1 - ramp[:, None] * ramp, ramp.expand(24, 24)])[None].repeat(
        2, 1, 1, 1
    )


@torch.inference_mode()
def test_a_prefix_is_the_beginning_of_the_whole_at_power_1(codec, images):
    whole = codec.send(images, 10.0)
    assert whole.values.shape == (2, codec.latent_count(24, 24)) == (2, 4 * 36)
    for planes in (1, 2, 3):
        part = codec.send(images, 10.0, rho=codec.rho * planes / 4)
        assert part.values.shape == (2, planes * 36)
        power = part.values.abs().square().mean(dim=1)
        assert torch.allclose(power, torch.ones(2), atol=0.05)
        scale = (part.values / whole.values[:, : planes * 36])[0]
        assert torch.allclose(scale, scale[0].expand_as(scale), rtol=1e-3)


@torch.inference_mode()
def test_what_was_not_sent_is_an_erasure_and_the_scale_does_not_depend_on_it(codec, images):
    whole = codec.send(images, 10.0)
    noise = torch.full_like(whole.values.real, 0.01)
    for planes in (1, 3):
        count = planes * 36
        part = codec.send(images, 10.0, rho=codec.rho * planes / 4)
        alone = codec.receive(replace(part, noise_var=noise[:, :count]), 10.0, (24, 24))
        erased = noise.clone()
        erased[:, count:] = torch.inf
        # as if the rest of the whole had been lost on the way, but for the rounding of two powers
        lost = codec.receive(replace(whole, noise_var=erased), 10.0, (24, 24))
        assert (alone - lost).abs().max() < 0.03


@torch.inference_mode()
def test_more_planes_are_a_better_picture(codec, images):
    errors = []
    for planes in (1, 2, 4):
        part = codec.send(images, 10.0, rho=codec.rho * planes / 4)
        got = codec.receive(part.with_noise(30.0), 30.0, (24, 24))
        errors.append(float((got - images).square().mean()))
    assert errors[0] > errors[2]


def test_receivers_admit_whole_planes_only(codec):
    assert [count for count in range(0, 200) if codec.admits(count, (24, 24))] == [36, 72, 108, 144]
    with pytest.raises(ConfigError, match="4 planes.*would be 0"):
        codec.latent_count(24, 24, codec.rho / 100)
    with pytest.raises(ConfigError, match="would be 5"):
        codec.send(torch.rand(1, 3, 8, 8), 10.0, rho=codec.rho * 1.25)


def test_gradients_reach_both_ends(codec):
    codec = build("nested-linres", SMALL).train()
    sent = codec.send(torch.rand(2, 3, 16, 16), 10.0, rho=codec.rho / 2)
    noise = torch.full_like(sent.values.real, 0.1)
    codec.receive(
        Latents(sent.values, side=sent.side, noise_var=noise), 10.0, (16, 16)
    ).square().mean().backward()
    for part in (codec.encoder_out, codec.decoder_out):
        assert part.weight.grad.abs().sum() > 0
