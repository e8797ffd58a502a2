# SPDX-License-Identifier: GPL-3.0-or-later
"""User decoders in the zoo: paired with their anchor on loading, refused in words where they do not fit."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from semcom.codec import DECODERS, build, build_decoder
from semcom.codec.image.paired import Paired
from semcom.errors import ModelError
from semcom.experiments.evaluate import evaluate
from semcom.system import zoo
from semcom.system.card import read_card, user_parts

IMAGE = np.random.default_rng(0).integers(0, 255, (37, 50, 3), dtype=np.uint8)


@pytest.fixture
def folder(tiny_users, tmp_path):
    """A copy of the tiny anchor and its users that a test may spoil."""
    shutil.copytree(tiny_users["anchor"].parent, tmp_path, dirs_exist_ok=True)
    return tmp_path


def change(path, anchor=(), weights_sha256=None, snr_range_db=None, **changes):
    """A card with other values; ``anchor`` as ``reference`` of a card, or None: its own file encodes as well."""
    values = json.loads(path.read_text()) | changes
    own = values["parts"]["decoder"]
    own["sha256"] = weights_sha256 or own["sha256"]
    if anchor is None:
        values["parts"]["encoder"] = own
    elif anchor:
        names = {"name": "model", "weights_sha256": "sha256"}
        values["parts"]["encoder"] = {names[key]: value for key, value in anchor.items()}
    if snr_range_db:
        values["trained_for"]["snr_range_db"] = snr_range_db
    path.write_text(json.dumps(values))
    return path


@pytest.mark.parametrize("family", DECODERS)
def test_a_user_encodes_as_its_anchor_and_decodes_itself(family, tiny_users):
    anchor, user = zoo.load(tiny_users["anchor"]), zoo.load(tiny_users[family])
    assert user.model_hash == anchor.model_hash and user.sha256 != anchor.sha256
    assert user.codec.rho == anchor.codec.rho and not user.codec.training
    latents = anchor.encode_image(IMAGE, 10)
    assert torch.equal(user.encode_image(IMAGE, 10), latents)
    assert not np.array_equal(
        user.decode_image(latents, 10, (37, 50)), anchor.decode_image(latents, 10, (37, 50))
    )
    assert evaluate(user, [("noise", IMAGE)], 10, with_ms_ssim=False)[0]["psnr_db"] > 5


def test_each_is_given_the_snr_within_its_own_range(folder):
    change(folder / "tiny-conv.json", snr_range_db=[5, 10])
    codec = zoo.load(folder / "tiny-conv.json").codec
    assert codec.anchor.snr_range_db == (0, 20) and codec.user.snr_range_db == (5, 10)
    with torch.no_grad():  # an untrained fusion is blind to the SNR
        codec.user.blocks[0].fusion.dense.weight.fill_(0.3)
    latents, variance = torch.randn(1, 8, dtype=torch.complex64), torch.full((1, 8), 0.1)
    low, at, inside = (codec.decode(latents, snr, (8, 4), variance) for snr in (-9.0, 5.0, 8.0))
    assert torch.equal(low, at) and not torch.equal(at, inside)


@pytest.mark.parametrize("inner", ["conv", "linres"])
def test_a_fine_tuned_decoder_is_given_the_snr_within_its_cards_range(inner, tiny_users, folder):
    """Its networks, not only what is around them: those that train see the range that those that fly see."""
    family = zoo.card(tiny_users["conv" if inner == "conv" else "anchor"])
    arguments = {"decoder": inner, "arguments": family.arguments}
    decoder = build_decoder("adapted", arguments)
    card = dataclasses.replace(
        zoo.card(tiny_users["conv"]),
        name="tiny-air",
        architecture="adapted",
        arguments=arguments,
        trained_for={"snr_range_db": [5, 10]},
        parts=user_parts(
            zoo.card(tiny_users["anchor"]).reference,
            "tiny-air.safetensors",
            zoo.save_weights(decoder, folder / "tiny-air.safetensors"),
        ),
    )
    codec = zoo.load(card.write(folder / "tiny-air.json")).codec
    assert codec.user.snr_range_db == codec.user.decoder.snr_range_db == (5, 10)
    given_db = []
    decode_planes = codec.user.decoder.decode_planes
    codec.user.decoder.decode_planes = lambda planes, weights, snr_db: (
        given_db.append(float(snr_db)) or decode_planes(planes, weights, snr_db)
    )
    latents = torch.randn(1, 8, dtype=torch.complex64)
    for snr_db in (-9.0, 8.0, 40.0):
        codec.decode(latents, snr_db, (8, 4), torch.full((1, 8), 10 ** (-snr_db / 10)))
    assert given_db == [5, pytest.approx(8, abs=0.1), 10]


def test_the_anchor_is_beside_the_user_or_ships(tiny_users, folder):
    loose = folder / "loose"
    loose.mkdir()
    for suffix in ("json", "safetensors"):
        shutil.copy(folder / f"tiny-vgg.{suffix}", loose)
    with pytest.raises(ModelError, match="put tiny.json and its weights beside the user's card"):
        zoo.load(loose)
    shipped = zoo.card("cifar-1-12")  # a stride of 4 and 8 planes, as the tiny one
    change(loose / "tiny-vgg.json", anchor=shipped.reference)
    model = zoo.load(loose)
    assert model.model_hash == zoo.load("cifar-1-12").model_hash == shipped.model_hash


def test_another_anchor_of_the_same_name(folder):
    wrong = {"name": "tiny", "weights_sha256": "0" * 64}
    with pytest.raises(ModelError, match="was trained for another 'tiny'.*trained again"):
        zoo.load(change(folder / "tiny-conv.json", anchor=wrong))


def test_an_altered_anchor(folder):
    blob = bytearray((folder / "tiny.safetensors").read_bytes())
    blob[-1] ^= 1
    (folder / "tiny.safetensors").write_bytes(blob)
    with pytest.raises(ModelError, match="model 'tiny': .*altered or cut short"):
        zoo.load(folder / "tiny-conv.json")


def test_a_user_is_no_anchor(folder):
    reference = read_card(folder / "tiny-vgg.json").reference
    with pytest.raises(ModelError, match="is itself a user decoder.*'tiny'"):
        zoo.load(change(folder / "tiny-conv.json", anchor=reference))


ADAPTIVE = {"classes": [1, 1, 1, 1], "widths": [8, 8], "sender_blocks": [0, 0], "receiver_blocks": [0, 0]}


def test_an_anchor_that_sends_no_planes(folder):
    codec = build("content-adaptive", ADAPTIVE)
    sha256 = zoo.save_weights(codec, folder / "tiny.safetensors")
    values = json.loads((folder / "tiny.json").read_text())
    values |= {"architecture": "content-adaptive", "arguments": ADAPTIVE, "payloads": ["analog"]}
    for part in values["parts"].values():
        part["sha256"] = sha256
    (folder / "tiny.json").write_text(json.dumps(values))
    reference = read_card(folder / "tiny.json").reference
    with pytest.raises(ModelError, match="'conv' takes planes.*'content-adaptive' sends none"):
        zoo.load(change(folder / "tiny-conv.json", anchor=reference))


def test_only_what_decodes_planes_is_adapted_to_a_transmitter():
    with pytest.raises(ModelError, match="'task-deepjscc'.*planes"):
        build_decoder("adapted", {"decoder": "task-deepjscc", "arguments": {}})


def test_a_decoder_that_does_not_fit_its_anchors_grid(folder):
    arguments = {"channels": 32, "stride": 8, "width": 8, "depth": 2}  # the same rho
    sha256 = zoo.save_weights(build_decoder("conv", arguments), folder / "tiny-conv.safetensors")
    card = change(folder / "tiny-conv.json", arguments=arguments, weights_sha256=sha256)
    with pytest.raises(ModelError, match="takes 32 planes at stride 8.*sends 8 at stride 4"):
        zoo.load(card)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("tiny-conv", {"anchor": None}, "names no other model's encoder"),
        ("tiny-conv", {"architecture": "linres"}, "a user decoder is one of attention, conv"),
        ("tiny-conv", {"architecture": "convv"}, "did you mean 'conv'"),
        ("tiny-conv", {"anchor": {"name": "tiny"}}, "'parts.encoder'"),
        ("tiny-conv", {"parent": {"name": "x", "weights_sha256": "?"}}, "'parent.weights_sha256'"),
        ("tiny-conv", {"capture": {"folder": "/data"}}, "'capture'.*sha256"),
        ("tiny-conv", {"arguments": {"channels": 8, "stride": 4, "width": 9, "depth": 2}}, "should be"),
    ],
)
def test_wrong_cards(folder, name, changes, message):
    with pytest.raises(ModelError, match=message):
        zoo.load(change(folder / f"{name}.json", **changes))


def test_optional_fields_come_back_and_stay_out_when_unset(folder):
    plain = read_card(folder / "tiny.json")
    assert not {"parent", "capture", "digital"} & set(plain.to_dict())
    capture = {"sha256": "ab" * 32, "bursts": 12}
    dataclasses.replace(plain, parent=plain.reference, capture=capture).write(folder / "tuned.json")
    tuned = read_card(folder / "tuned.json")
    assert tuned.parent["name"] == "tiny" and tuned.capture == capture and tuned.anchor is None


def test_what_a_card_fills_is_what_is_saved(folder):
    user, anchor = zoo.load(folder / "tiny-resnet.json"), zoo.load(folder / "tiny.json")
    assert user.own is user.codec.user and anchor.own is anchor.codec
    sha256 = zoo.save_weights(user.own, folder / "again.safetensors")
    assert sha256 == read_card(folder / "tiny-resnet.json").weights_sha256


def test_counters_of_batch_norm_survive_half_precision(folder):
    codec = zoo.load(folder / "tiny-resnet.json").codec
    norm = next(m for m in codec.user.modules() if isinstance(m, nn.BatchNorm2d))
    norm.num_batches_tracked.fill_(123_457)
    sha256 = zoo.save_weights(codec.user, folder / "tiny-resnet.safetensors")
    again = zoo.load(change(folder / "tiny-resnet.json", weights_sha256=sha256)).codec
    assert (
        next(m for m in again.user.modules() if isinstance(m, nn.BatchNorm2d)).num_batches_tracked == 123_457
    )


def test_gradients_of_a_pair_stop_before_the_anchor(tiny_users):
    codec = zoo.load(tiny_users["conv"]).codec
    codec.user.requires_grad_(True).train()
    latents = codec.encode(torch.rand(1, 3, 16, 16), 10.0)
    codec.decode(latents, 10.0, (16, 16)).mean().backward()
    assert all(p.grad is None for p in codec.anchor.parameters())
    assert all(p.grad is not None for p in codec.user.parameters())


def test_users_of_an_anchor(tiny_users):
    found = zoo.users(tiny_users["anchor"])
    assert list(found) == list(DECODERS)
    assert zoo.load(found["vgg"]).card.name == "tiny-vgg"
    with pytest.raises(ModelError, match="'tiny-conv' is a user decoder of 'tiny'"):
        zoo.users(tiny_users["conv"])
    assert zoo.users("cifar-1-6") == {}
    assert set(zoo.anchors()) <= set(zoo.names()) and "photo-1-12" in zoo.anchors()


def test_pairing_by_hand(tiny_users):
    anchor = zoo.load(tiny_users["anchor"]).codec
    decoder = build_decoder("vgg", {"channels": 8, "stride": 4, "width": 8, "depth": 1})
    pair = Paired(anchor, decoder)
    assert (pair.channels, pair.stride) == (8, 4) and pair.user is decoder


@pytest.mark.parametrize("family", DECODERS)
def test_the_users_that_ship(family):
    name = zoo.users("photo-1-12")[family]
    model = zoo.load(name)
    assert name == model.card.name == f"photo-1-12-{family}" and model.card.architecture == family
    assert model.model_hash == zoo.load("photo-1-12").model_hash
    assert (zoo.WEIGHTS / model.card.weights_file).stat().st_size <= 1.5e6
    assert sum(p.numel() for p in model.codec.user.parameters()) == model.card.parameters
    (table,) = model.card.tables("psnr_db")
    assert table["items"] == 24 and table["values"] == sorted(table["values"])
    ramp = np.linspace(40, 210, 128)[None, :, None] + np.linspace(-30, 30, 96)[:, None, None]
    ramp = np.repeat(ramp, 3, axis=2).clip(0, 255).astype(np.uint8)
    low, high = (evaluate(model, [("ramp", ramp)], snr, with_ms_ssim=False)[0]["psnr_db"] for snr in (0, 20))
    assert high > low > 20 and high > 27
