# SPDX-License-Identifier: GPL-3.0-or-later
"""DeepJESCC: a codec between protection and deprotection, which stays as it is."""

import dataclasses
import hashlib

import pytest
import torch

from semcom.codec import build
from semcom.errors import ConfigError, ImageError, ModelError
from semcom.system import zoo
from semcom.system.card import ModelCard, own_parts
from semcom_training.export import export_model
from semcom_training.models import build_codec, start_from
from semcom_training.objective import Objective
from semcom_training.protection_losses import ssim
from semcom_training.recipe import make_recipe

INNER = {"channels": 8, "widths": [16], "encoder_blocks": [1], "decoder_blocks": [1]}
ARGUMENTS = {"inner": "linres", "arguments": INNER, "width": 8}


@pytest.fixture(scope="module")
def images():
    """Smooth colours."""
    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.interpolate(torch.rand(4, 3, 4, 4, generator=generator), 32, mode="bilinear")


@torch.inference_mode()
def test_what_the_transmission_sees_is_unlike_the_picture_that_comes_out(images):
    torch.manual_seed(0)
    codec = build("protected", ARGUMENTS).eval()
    sent = codec.send(images, 20.0, in_memory=True)
    got = codec.receive(sent.with_noise(20.0), 20.0, (32, 32))
    assert sent.shared.protected.shape == sent.shared.received.shape == images.shape
    assert float(ssim(sent.shared.protected, images).mean()) < 0.3 < 0.4 < float(ssim(got, images).mean())
    # on the air is what the codec inside makes of that picture, and nothing else
    assert torch.equal(sent.values, codec.backbone.encode(sent.shared.protected, 20.0))
    assert torch.equal(codec.encode(images, 20.0), sent.values)
    assert torch.equal(
        codec.decode(sent.values, 20.0, (32, 32), torch.full_like(sent.values.real, 0.01)), got
    )


@torch.inference_mode()
@pytest.mark.parametrize("size", [(1, 1), (33, 20)])
def test_any_size_is_sent_as_whole_blocks(size):
    codec = build("protected", ARGUMENTS).eval()
    sent = codec.send(torch.rand(1, 3, *size), 10.0)
    assert sent.values.shape[1] == codec.latent_count(*size) and codec.admits(sent.values.shape[1], size)
    assert sent.values.shape[1] == codec.backbone.latent_count(-(-size[0] // 16) * 16, -(-size[1] // 16) * 16)
    assert codec.receive(sent.with_noise(10.0), 10.0, size).shape == (1, 3, *size)


def test_what_cannot_be_is_named():
    with pytest.raises(ConfigError, match="sends planes, not 'content-adaptive'"):
        build("protected", ARGUMENTS | {"inner": "content-adaptive"})
    with pytest.raises(ConfigError, match="sends planes, not 'linrez'"):
        build("protected", ARGUMENTS | {"inner": "linrez"})
    with pytest.raises(ImageError, match="an encoder takes"):
        build("protected", ARGUMENTS).send(torch.rand(3, 8, 8), 10.0)


@pytest.fixture(scope="module")
def inside(tmp_path_factory):
    """The card of a codec that was trained before."""
    torch.manual_seed(1)
    folder, codec = tmp_path_factory.mktemp("inside"), build("linres", INNER)
    sha256 = zoo.save_weights(codec, folder / "inside.safetensors")
    return ModelCard(
        name="inside", architecture="linres", arguments=INNER, rho=1 / 12, trained_for={"snr_range_db": [0, 20]},
        parts=own_parts("inside.safetensors", sha256), weights_dtype="float16",
        parameters=sum(p.numel() for p in codec.parameters()), training_data=["none"], recipe={}, seed=0,
        budget={"steps": 0, "minutes": 0.0, "hardware": "none"}, measured=[], licence="GPL-3.0-or-later",
    ).write(folder / "inside.json")  # fmt: skip


def recipe(inside, **loss):
    return make_recipe(
        {
            "version": 2,
            "name": "guarded",
            "model": {"architecture": "protected", "arguments": ARGUMENTS, "init_from": str(inside)}
            | {"frozen": ["backbone"]},
            "data": {"folders": ["none"]},
            "told": {"snr_db": {"low": 0, "high": 20}},
            "loss": loss or {"log-mse": 1},
        }
    )  # fmt: skip


def test_a_card_takes_the_whole_of_another_model_and_holds_the_rest_alone(tmp_path, inside):
    made = recipe(inside)
    codec, _ = build_codec(made)
    start_from(codec, str(inside))
    path = export_model(made, codec, tmp_path, 1, 1.0)
    loaded, there = zoo.load(path), zoo.load(inside).codec.state_dict()
    assert {p.name for p in zoo.companions(path)} == {"guarded.safetensors", "inside.safetensors"}
    assert (tmp_path / "guarded.safetensors").stat().st_size < (
        tmp_path / "inside.safetensors"
    ).stat().st_size
    assert all(torch.equal(loaded.codec.backbone.state_dict()[key], tensor) for key, tensor in there.items())
    # another model of that name in its place is refused
    (tmp_path / "inside.safetensors").write_bytes(b"0" * 8)
    with pytest.raises(ModelError, match="altered or cut short"):
        zoo.load(path)


@pytest.mark.slow
def test_training_makes_pictures_unlike_and_leaves_the_transmission_alone(inside, images):
    terms = {"log-mse": 0.1, "inversion": 1, "protection": 1, "protection-received": 1, "structure": 1}
    made = recipe(inside, **terms)
    torch.manual_seed(0)
    codec, _ = build_codec(made)
    start_from(codec, str(inside))
    with torch.no_grad():  # P and D that do nothing, which is what the losses are to undo
        for end in (codec.protection, codec.deprotection):
            end.colours.copy_(torch.eye(3))
            end.rows.copy_(torch.eye(16))
            end.columns.copy_(torch.eye(16))
    objective = Objective(codec, made).train()
    before = {key: tensor.clone() for key, tensor in codec.backbone.state_dict().items()}
    likeness = [float(ssim(codec.protect(images, 10.0), images).detach().mean())]
    optimiser = torch.optim.Adam([p for p in codec.parameters() if p.requires_grad], 3e-3)
    for step in range(12):
        snr = torch.full((4,), 10.0)
        value, _ = objective(images, snr, snr, torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    likeness.append(float(ssim(codec.protect(images, 10.0), images).detach().mean()))
    assert likeness[0] > 0.99 and likeness[1] < likeness[0] - 0.1
    assert all(torch.equal(codec.backbone.state_dict()[key], tensor) for key, tensor in before.items())


def test_the_losses_are_of_this_codec_alone(images):
    made = dataclasses.replace(
        make_recipe({"version": 2, "name": "plain", "model": {"architecture": "linres", "arguments": INNER},
                     "data": {"folders": ["none"]}, "loss": {"structure": 1}})
    )  # fmt: skip
    codec, _ = build_codec(made)
    with pytest.raises(
        ConfigError, match="'structure' is of architecture 'protected' alone, not of 'linres'"
    ):
        Objective(codec, made)(images, torch.full((4,), 10.0), torch.full((4,), 10.0), torch.Generator())


def test_hash_on_the_air_is_of_p_and_d(tmp_path, inside):
    made = recipe(inside)
    codec, _ = build_codec(made)
    path = export_model(made, codec, tmp_path, 1, 1.0)
    own = hashlib.sha256((tmp_path / "guarded.safetensors").read_bytes()).hexdigest()
    assert zoo.load(path).model_hash == int(own[:8], 16) >> 10 != zoo.load(inside).model_hash
