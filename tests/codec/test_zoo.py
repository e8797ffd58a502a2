# SPDX-License-Identifier: GPL-3.0-or-later
"""The zoo checks what it loads; what ships does what its card says."""

import dataclasses
import hashlib
import json
import math
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from semcom.channel.symbols import awgn_channel
from semcom.codec import build, build_decoder
from semcom.codec.bounds import MOST_TENSOR_VALUES
from semcom.errors import ImageError, ModelError
from semcom.experiments.evaluate import evaluate, summarise
from semcom.payload.quantised import DigitalMode
from semcom.system import zoo
from semcom.system.card import ModelCard, check_card, own_parts, read_card
from semcom.system.make import make

ARGUMENTS = {"channels": 8, "widths": [16], "encoder_blocks": [1], "decoder_blocks": [1]}


def write_model(folder, **changes):
    torch.manual_seed(0)
    codec = build("linres", ARGUMENTS)
    sha256 = zoo.save_weights(codec, folder / "mine.safetensors")
    card = ModelCard(
        name="mine", architecture="linres", arguments=ARGUMENTS, rho=1 / 12, trained_for={"snr_range_db": [0, 20]},
        parts=own_parts("mine.safetensors", sha256), weights_dtype="float16",
        parameters=sum(p.numel() for p in codec.parameters()), training_data=["none"], recipe={}, seed=0,
        budget={"steps": 0, "minutes": 0.0, "hardware": "none"}, measured=[], licence="GPL-3.0-or-later",
    )  # fmt: skip
    (folder / "mine.json").write_text(json.dumps(dataclasses.replace(card).to_dict() | changes))
    return folder / "mine.json"


def write_version_1(folder, **changes):
    """The same as cards were written before, flat."""
    card = read_card(write_model(folder))
    kept = (
        "name",
        "architecture",
        "arguments",
        "rho",
        "weights_dtype",
        "parameters",
        "training_data",
        "recipe",
        "seed",
    )
    values = {key: getattr(card, key) for key in (*kept, "budget", "licence")} | {
        "schema_version": 1,
        "snr_range_db": [0, 20],
        "weights_file": card.weights_file,
        "weights_sha256": card.weights_sha256,
        "measured": [],
    }
    (folder / "mine.json").write_text(json.dumps(values | changes))
    return folder / "mine.json"


def test_own_model_by_card_and_by_folder(tmp_path):
    card = write_model(tmp_path)
    model = zoo.load(card)
    assert zoo.load(tmp_path).sha256 == model.sha256 == zoo.card(card).weights_sha256
    assert model.model_hash == int(bin(int(model.sha256, 16))[2:].zfill(256)[:22], 2) < 2**22
    assert not model.codec.training and not any(p.requires_grad for p in model.codec.parameters())
    assert all(p.dtype == torch.float32 for p in model.codec.parameters())


def test_convenience_encode_and_decode(tmp_path):
    model = zoo.load(write_model(tmp_path))
    image = np.random.default_rng(0).integers(0, 255, (37, 50, 3), dtype=np.uint8)
    latents = model.encode_image(image, 10)
    assert latents.shape == (model.codec.latent_count(37, 50),)
    lost = np.where(np.arange(len(latents)) % 3 == 0, np.inf, 0.1)
    for noise_var in (None, lost):
        decoded = model.decode_image(latents.numpy(), 10, (37, 50), noise_var)
        assert decoded.dtype == np.uint8 and decoded.shape == image.shape
    with pytest.raises(ImageError, match="uint8"):
        model.encode_image(image / 255, 10)


def test_altered_weights(tmp_path):
    card = write_model(tmp_path)
    blob = bytearray((tmp_path / "mine.safetensors").read_bytes())
    blob[-1] ^= 1
    (tmp_path / "mine.safetensors").write_bytes(blob)
    with pytest.raises(ModelError, match="altered or cut short"):
        zoo.load(card)
    (tmp_path / "mine.safetensors").unlink()
    with pytest.raises(ModelError, match="missing"):
        zoo.load(card)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rho": "a lot"}, "'rho'"),
        ({"seed": None}, "'seed'"),
        ({"weights_sha256": "abc"}, "'weights_sha256'"),
        ({"weights_file": "../elsewhere.safetensors"}, "'weights_file'"),
        ({"surprise": 1}, "surprise"),
        ({"budget": {"steps": 1, "minutes": 1}}, "hardware"),
        ({"architecture": "linrez"}, "did you mean 'linres'"),
        ({"arguments": {"depth": 3}}, "does not take"),
        ({"arguments": ARGUMENTS | {"widths": [32]}}, "should be"),
        ({"arguments": ARGUMENTS | {"decoder_blocks": [2]}}, "absent"),
        ({"rho": 0.5}, "rho"),
        ({"rho": math.nan}, "(?i)nan is no .*number"),
        ({"snr_range_db": [0, math.inf]}, "(?i)inf(inity)? is no .*number"),
        ({"snr_range_db": [20, 0]}, "'snr_range_db': the lower SNR comes first, not 20 before 0"),
        ({"arguments": ARGUMENTS | {"widths": [math.nan]}}, "(?i)nan is no .*number"),
        ({"arguments": ARGUMENTS | {"widths": [100_000]}}, "'widths' is at most 2048, not 100000"),
        ({"arguments": ARGUMENTS | {"widths": [8] * 99}}, "'widths' has 99 values"),
        ({"arguments": ARGUMENTS | {"widths": [-3]}}, "does not take these arguments"),
        ({"arguments": ARGUMENTS | {"decoder_blocks": [10**9]}}, "'decoder_blocks' is at most 64"),
    ],
)
def test_wrong_cards_of_version_1(tmp_path, change, message):
    with pytest.raises(ModelError, match=message):
        zoo.load(write_version_1(tmp_path, **change))


TABLE = {"set": "s", "items": 1, "channel": "awgn", "metric": "psnr_db", "snr_db": [1, 2], "values": [20, 21]}
OWN = {"file": "mine.safetensors", "sha256": "a" * 64}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rho": "a lot"}, "'rho'"),
        ({"rho": [0.1, 0.2]}, "the card says rho"),
        ({"rho": [0.2, 0.1]}, "'rho': the lower ratio comes first"),
        ({"rho": math.nan}, "(?i)nan is no .*number"),
        ({"parts": {"decoder": OWN}}, "'parts'.*'encoder' is a required"),
        (
            {"parts": {"encoder": OWN, "decoder": OWN | {"file": "../elsewhere.safetensors"}}},
            "'parts.decoder.file'",
        ),
        ({"parts": {"encoder": OWN, "decoder": OWN | {"sha256": "abc"}}}, "'parts.decoder.sha256'"),
        ({"parts": {"encoder": {"model": "tiny"}, "decoder": OWN}}, "'parts.encoder'"),
        ({"trained_for": {}}, "'trained_for'.*snr_range_db"),
        ({"trained_for": {"snr_range_db": [20, 0]}}, "'trained_for.snr_range_db': the lower SNR comes first"),
        ({"snr_range_db": [0, 20]}, "'the card'.*snr_range_db"),
        ({"payloads": []}, "'payloads'"),
        ({"senders": 0}, "'senders'"),
        ({"result": "label"}, "the card says result = label, but that of linres is image"),
        ({"power": "loud"}, "'power'"),
        ({"power": "peak"}, "the card says power = peak, but that of linres is mean"),
        ({"streams": 4}, "the card says streams = 4"),
        ({"payloads": ["analog", "smoke"]}, "the card says payloads = .*smoke.*analog, quantised"),
        ({"parts": {"encoder": OWN | {"sha256": "b" * 64}, "decoder": OWN}}, "'parts'.*has two sha256"),
        ({"measured": [TABLE | {"images": 3}]}, "'measured.0'.*images"),
        ({"measured": [TABLE | {"values": [20]}]}, "'measured.0': 2 SNRs have 1 values"),
        ({"schema_version": 3}, "'schema_version'"),
        ({"architecture": "linrez"}, "did you mean 'linres'"),
        ({"arguments": ARGUMENTS | {"widths": [32]}}, "should be"),
    ],
)
def test_wrong_cards(tmp_path, change, message):
    with pytest.raises(ModelError, match=message):
        zoo.load(write_model(tmp_path, **change))


def test_latents_that_the_card_does_not_quantise_are_not_sent_as_labels(tmp_path):
    model = zoo.load(write_model(tmp_path, payloads=["analog"]))
    with pytest.raises(ModelError, match=r"payloads in its card: analog\): leave the order out"):
        make(model, DigitalMode(16))


def test_a_card_of_version_1_is_the_same_model(tmp_path):
    (tmp_path / "old").mkdir()
    new, old = zoo.load(write_model(tmp_path)), zoo.load(write_version_1(tmp_path / "old"))
    assert old.model_hash == new.model_hash and old.codec.snr_range_db == new.codec.snr_range_db == (0, 20)
    image = np.random.default_rng(0).integers(0, 255, (37, 50, 3), dtype=np.uint8)
    assert torch.equal(old.encode_image(image, 10), new.encode_image(image, 10))
    written = json.loads(old.card.write(tmp_path / "again.json").read_text())
    assert written["schema_version"] == 2 and read_card(tmp_path / "again.json") == old.card


@pytest.mark.parametrize("name", ["cifar-1-12", "photo-1-12-conv"])
@pytest.mark.slow
def test_a_card_as_it_shipped_is_the_card_that_ships(name, tmp_path):
    """Read, and rewritten by the program for it: what is on the air and every figure are those of the old card."""
    before = Path(__file__).with_name(f"card_v1_{name}.json")
    old, card = json.loads(before.read_text()), read_card(before)
    assert card == zoo.card(name)
    encoder = (old.get("anchor") or old)["weights_sha256"]
    assert card.model_hash == int(encoder[:8], 16) >> 10 and card.anchor == old.get("anchor")
    (table,), was = card.tables("psnr_db", "awgn"), old["measured"][0]
    assert (table["set"], table["items"]) == (was["evaluation_set"], was["images"])
    assert (table["snr_db"], table["values"]) == (was["snr_db"], was["psnr_db"])
    mine = shutil.copy(before, tmp_path / f"{name}.json")
    subprocess.run([sys.executable, "-m", "semcom.system.card_upgrade", str(mine)], check=True)
    assert json.loads(Path(mine).read_text()) == json.loads(zoo.card_path(name).read_text())


def test_what_version_2_cannot_say_is_named(tmp_path):
    table = {"evaluation_set": "s", "images": 1, "channel": "awgn", "snr_db": [1], "psnr_db": [20]}
    assert read_card(write_version_1(tmp_path, measured=[table])).tables()[0]["values"] == [20]
    with pytest.raises(ModelError, match="'measured.1.vmaf' is nothing that version 2 of cards can say"):
        read_card(write_version_1(tmp_path, measured=[table, table | {"vmaf": [90]}]))
    with pytest.raises(ModelError, match="surprise"):
        read_card(write_version_1(tmp_path, surprise=1))
    with pytest.raises(ModelError, match="'measured.0': 2 SNRs have 1 values"):
        read_card(write_version_1(tmp_path, measured=[table | {"snr_db": [1, 2]}]))


def test_parts_may_lie_in_files_of_their_own(tmp_path):
    """An encoder and a decoder that were stored apart are one codec, and travel together."""
    card = read_card(write_model(tmp_path))
    whole = zoo.load(tmp_path / "mine.json")
    tensors, parts = whole.codec.state_dict(), {}
    for part, mine in (("encoder", True), ("decoder", False)):
        some = {key: tensor.half() for key, tensor in tensors.items() if key.startswith("encoder") == mine}
        save_file(some, tmp_path / f"{part}.safetensors")
        sha256 = hashlib.sha256((tmp_path / f"{part}.safetensors").read_bytes()).hexdigest()
        parts[part] = {"file": f"{part}.safetensors", "sha256": sha256}
    split = dataclasses.replace(card, name="split", parts=parts).write(tmp_path / "split.json")
    again = zoo.load(split)
    assert all(torch.equal(again.codec.state_dict()[key], tensor) for key, tensor in tensors.items())
    assert {path.name for path in zoo.companions(split)} == {"encoder.safetensors", "decoder.safetensors"}
    assert again.model_hash == int(parts["encoder"]["sha256"][:8], 16) >> 10


@pytest.mark.slow
def test_a_network_beyond_any_here_is_refused_before_its_memory_is_filled(monkeypatch):
    """Each argument alone is within its bound, together they ask for 39 GB."""
    arguments = {"channels": 8, "widths": [2048], "encoder_blocks": [64], "decoder_blocks": [64]}
    filled = []
    monkeypatch.setattr(torch.nn.init, "kaiming_uniform_", lambda tensor, **_: filled.append(tensor.numel()))
    with pytest.raises(ModelError, match="'linres': these arguments make a network of more than 268,435,456"):
        build("linres", arguments)
    assert sum(filled) <= MOST_TENSOR_VALUES
    inner = {"decoder": "linres", "arguments": arguments}
    with pytest.raises(ModelError, match="more than 268,435,456"):
        build_decoder("adapted", inner)
    with pytest.raises(ModelError, match="unknown decoder family 'adapted'"):
        build_decoder("adapted", {"decoder": "adapted", "arguments": inner})
    with pytest.raises(ModelError, match="'linres' takes arguments by name, not \\[3\\]"):
        build("linres", [3])
    with pytest.raises(ModelError, match="'linres': 'widths' must be a finite number, not nan"):
        build("linres", ARGUMENTS | {"widths": [math.nan]})
    torch.nn.Linear(8, 2**16)  # elsewhere nothing is counted any more


def test_no_card_is_written_with_a_number_that_is_none(tmp_path):
    card = read_card(write_model(tmp_path))
    with pytest.raises(ModelError, match="'measured.0.values.0': inf is no finite number"):
        dataclasses.replace(card, measured=[TABLE | {"values": [math.inf]}]).write(tmp_path / "mine.json")
    assert read_card(tmp_path / "mine.json") == card


def test_cards_that_are_no_cards(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ModelError, match="not JSON"):
        zoo.load(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(ModelError, match="the card"):
        read_card(tmp_path / "b.json")
    with pytest.raises(ModelError, match="holds 2"):
        zoo.load(tmp_path)
    (tmp_path / "weights.pt").write_bytes(b"pickle")
    with pytest.raises(ModelError, match="no model card"):
        zoo.load(tmp_path / "weights.pt")


def test_what_is_not_safetensors_is_not_read(tmp_path):
    blob = pickle.dumps({"a": 1})
    card = write_model(tmp_path, parts=own_parts("mine.safetensors", hashlib.sha256(blob).hexdigest()))
    (tmp_path / "mine.safetensors").write_bytes(blob)
    with pytest.raises(ModelError, match="not a safetensors file"):
        zoo.load(card)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ModelError, match="did you mean 'photo-1-12'"):
        zoo.load("photo-112")
    with pytest.raises(ModelError, match="did you mean 'cifar"):
        zoo.card("cifar")


# --- what ships ----------------------------------------------------------------------------------------

GOLDEN = Path(__file__).with_name("golden_psnr.json")
SHIPPED = {
    "cifar-1-12": 1 / 12,
    "cifar-1-12-digital": 1 / 12,
    "cifar-1-12-power": 1 / 12,
    "cifar-1-6": 1 / 6,
    "cifar-1-6-jescc": 1 / 6,
    "photo-1-12": 1 / 12,
    "photo-1-12-nested": 1 / 12,
    "photo-adaptive": 1 / 12,
    "photo-adaptive-lpips": 1 / 12,
    "photo-linear": 1 / 12,
}
# in quick tests one of each architecture
QUICK = "cifar-1-12", "photo-1-12-nested", "photo-adaptive"
ALIKE = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SHIPPED]


def pictures():
    """Generated: smooth colour, edges and texture, so that the test needs no data."""
    y, x = np.mgrid[0:128, 0:192] / 64
    rng = np.random.default_rng(7)
    base = np.stack([np.sin(2 * x + y), np.cos(x - 1.5 * y), np.sin(x * y)], -1) * 70 + 120
    base[((x - 1.5) ** 2 + (y - 1) ** 2) < 0.25] = (200, 60, 40)
    base += 18 * np.sin(25 * x)[..., None] * (y > 1.2)[..., None] + rng.normal(0, 2, base.shape)
    scene = base.clip(0, 255).astype(np.uint8)
    return [("scene", scene)] + [
        (f"tile-{n}", scene[32 * (n % 4) :][:32, 32 * n :][:, :32]) for n in range(6)
    ]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_model_loads_and_its_card_is_whole(name):
    check_card(json.loads(zoo.card_path(name).read_text()), name)  # reading one that ships leaves that out
    model = zoo.load(name)
    assert model.card.name == name and model.codec.rho == pytest.approx(SHIPPED[name])
    assert sum(p.numel() for p in model.codec.parameters()) == model.card.parameters
    table = model.card.tables("psnr_db")[0]
    assert table["snr_db"] == [0, 1, 4, 7, 10, 13, 16, 20]
    assert table["values"] == sorted(table["values"])
    assert abs(table.get("float16_loss_db", 0.0)) < 0.02
    assert "val_" in model.card.recipe["exclude"] or name.startswith("cifar")


def test_shipped_weights_are_small():
    sizes = {path.name: path.stat().st_size for path in zoo.WEIGHTS.iterdir()}
    assert sum(sizes.values()) <= 56e6
    assert sum(sizes[f"{name}.safetensors"] for name in ("cifar-1-12", "cifar-1-6", "photo-1-12")) <= 20e6


@pytest.mark.parametrize("name", ALIKE)
def test_shipped_model_sends_generated_pictures(name):
    images = pictures()[:1] if name.startswith("photo") else pictures()[1:]
    rows = summarise(evaluate(zoo.load(name), images, [1, 10, 20], seed=1, with_ms_ssim=False))
    found = [row["psnr_db"] for row in rows]
    golden = json.loads(GOLDEN.read_text())[name]
    assert found == pytest.approx(golden, abs=0.3), f"generated pictures: {found}"


@pytest.mark.parametrize("name", ALIKE)
@pytest.mark.slow
def test_loss_of_latents_degrades_gracefully(name):
    images = pictures()[:1] if name.startswith("photo") else pictures()[1:]
    model = zoo.load(name)

    def erase(share):
        def channel(latents, snr_db, generator):
            received, noise_var = awgn_channel(latents, snr_db, generator)
            lost = torch.rand(noise_var.shape, generator=generator) < share
            return received, torch.where(lost, torch.inf, noise_var)

        return summarise(evaluate(model, images, 10, channel, seed=2, with_ms_ssim=False))[0]["psnr_db"]

    whole, some, half = erase(0.0), erase(0.1), erase(0.5)
    assert whole > some > half > 12
    assert whole - some < 6


@pytest.mark.parametrize("name", ALIKE)
def test_the_same_seed_gives_the_same_numbers(name):
    images = pictures()[-2:]
    model = zoo.load(name)
    first, second = (evaluate(model, images, [0, 10], "multipath", seed=5) for _ in range(2))
    assert first == second
    assert {"image", "snr_db", "snr_est_db", "psnr_db", "ms_ssim", "rho"} <= set(first[0])
    assert first[0]["ms_ssim"] is None


def test_copy_of_a_shipped_model_is_the_same_model(tmp_path):
    for suffix in ("json", "safetensors", "codebooks.safetensors"):
        shutil.copy(zoo.WEIGHTS / f"cifar-1-12.{suffix}", tmp_path)
    assert zoo.load(tmp_path).model_hash == zoo.load("cifar-1-12").model_hash
