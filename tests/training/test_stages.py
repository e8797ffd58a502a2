# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage 1 and stage 2 by recipes: the frozen encoder stays as it is, and a user's result is a zoo entry."""

import csv
import dataclasses
import os
import struct
import subprocess
import sys

import pytest
import torch
import yaml

from semcom.errors import ConfigError, MissingError
from semcom.kinds.pictures import samples, write_png
from semcom.system import zoo
from semcom_training import machine, train
from semcom_training.budget import budget
from semcom_training.errors import TrainingError
from semcom_training.export import export_checkpoint, export_model
from semcom_training.objective import draw_snr
from semcom_training.recipe import load_recipe, make_recipe

SHORT = {
    "data": ["pictures"],
    "crop": 24,
    "held_out": 4,
    "batch": 4,
    "steps": 3,
    "warmup_steps": 1,
    "log_every": 1,
    "optimiser": "adamw",
}
ANCHOR = SHORT | {
    "name": "base",
    "architecture": "anchor",
    "arguments": {"channels": 8, "stride": 4, "width": 8, "depth": 1},
    "snr_db": [1, 4, 7, 10, 13],
    "loss": "mse",
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(recipe, generated, out, **options):
    return train.run(make_recipe(recipe), data=generated, out=out, progress=False, device="cpu", **options)


@pytest.fixture(scope="module")
def anchor(generated, tmp_path_factory):
    return run(ANCHOR, generated, tmp_path_factory.mktemp("anchor"))


def user(anchor, family="conv", **changes):
    arguments = {"width": 8, "depth": 2}
    recipe = {"name": f"base-{family}", "stage": "user", "anchor": str(anchor), "architecture": family}
    return SHORT | recipe | {"arguments": arguments} | changes


@pytest.mark.parametrize(
    "family", ["conv", *(pytest.param(f, marks=pytest.mark.slow) for f in ("attention", "resnet", "vgg"))]
)
def test_a_user_is_trained_against_the_frozen_encoder(family, anchor, generated, tmp_path, monkeypatch):
    seen = []
    original = train.prepare
    monkeypatch.setattr(train, "prepare", lambda *a: seen.append(original(*a)) or seen[-1])
    folder = run(user(anchor, family), generated, tmp_path)
    before, model = zoo.load(anchor), zoo.load(folder / f"base-{family}.json")
    for key, tensor in before.codec.state_dict().items():
        assert torch.equal(tensor, seen[0].codec.anchor.state_dict()[key]), key
    untrained = original(make_recipe(user(anchor, family)), generated, seen[0].fabric).trained
    assert any(not torch.equal(a, b) for a, b in zip(untrained.parameters(), seen[0].trained.parameters()))
    assert model.card.anchor == before.card.reference and model.card.architecture == family
    assert model.card.arguments["stride"] == 4 and model.model_hash == before.model_hash
    assert model.own is model.codec.user
    assert model.card.parameters == sum(p.numel() for p in model.codec.user.parameters())


@pytest.mark.slow
def test_a_user_training_resumes_and_is_exported_from_its_checkpoint(anchor, generated, tmp_path):
    whole = run(user(anchor, "resnet"), generated, tmp_path / "a")
    part = user(anchor, "resnet", checkpoint_minutes=0.0)
    run(part | {"steps": 2, "decay_fraction": 0.0}, generated, tmp_path / "b")
    run(part | {"decay_fraction": 0.0}, generated, tmp_path / "b")
    run(part | {"decay_fraction": 0.0}, generated, tmp_path / "c")
    resumed, unbroken = (
        torch.load(tmp_path / name / "base-resnet/checkpoint.pt", weights_only=True) for name in "bc"
    )
    assert any("running_mean" in key for key in unbroken["average"])
    for part in ("model", "average"):  # with what batch normalisation has seen
        assert all(torch.equal(tensor, resumed[part][key]) for key, tensor in unbroken[part].items())
    card = export_checkpoint(whole / "checkpoint.pt", tmp_path / "again", measure=False)
    assert zoo.load(card).sha256 == zoo.load(whole / "base-resnet.json").sha256
    started = user(anchor, "resnet", name="next", init_from=str(card), steps=1)
    assert zoo.load(run(started, generated, tmp_path) / "next.json").card.budget["started_from"] == str(card)


def test_an_anchor_that_was_trained_again_is_no_longer_the_users(generated, tmp_path):
    anchor = run(ANCHOR | {"steps": 1}, generated, tmp_path) / "base.json"
    folder = run(user(anchor, steps=2), generated, tmp_path)
    before = {file.name: file.read_bytes() for file in anchor.parent.iterdir()}
    run(ANCHOR | {"steps": 3}, generated, tmp_path)
    with pytest.raises(
        TrainingError, match="trained for an anchor .*base.json' whose weights were .*put that anchor"
    ):
        run(user(anchor, steps=4), generated, tmp_path)
    with pytest.raises(TrainingError, match="put that anchor back"):
        export_checkpoint(folder / "checkpoint.pt", tmp_path / "again", measure=False)
    for name, content in before.items():
        (anchor.parent / name).write_bytes(content)
    run(user(anchor, steps=4), generated, tmp_path)

    recipe = make_recipe(user(anchor))  # the anchor was changed while its user was trained
    with pytest.raises(TrainingError, match="put that anchor back and start the same command again"):
        export_model(
            recipe, zoo.load(folder / "base-conv.json").codec, tmp_path / "x", 1, 1.0, anchor="0" * 64
        )


def test_a_user_cannot_be_an_anchor(anchor, generated, tmp_path):
    folder = run(user(anchor), generated, tmp_path)
    with pytest.raises(ConfigError, match="is a user decoder.*'base'"):
        run(user(folder / "base-conv.json"), generated, tmp_path)


@pytest.mark.parametrize(
    "channel", ["rayleigh", {"name": "modem", "delay_samples": 8, "backoff_db": 6, "carrier_offset": 1e-4}]
)
def test_any_channel_and_a_sum_of_losses_train(channel, generated, tmp_path):
    recipe = ANCHOR | {"channel": channel, "loss": {"mse": 0.8, "ms-ssim": 0.2}}
    folder = run(recipe, generated, tmp_path)
    assert zoo.load(folder).card.recipe["channel"] == channel
    assert zoo.load(folder).card.snr_range_db == [1, 13]


@pytest.mark.parametrize("snr_range_db", [(-12.0, -4.0), (-1.0, 21.0), (25.0, 40.0)])
def test_a_card_keeps_the_range_that_was_trained(snr_range_db, generated, tmp_path):
    low, high = snr_range_db
    recipe = {key: value for key, value in ANCHOR.items() if key != "snr_db"}
    folder = run(recipe | {"snr_low_db": low, "snr_high_db": high}, generated, tmp_path)
    assert zoo.load(folder).card.snr_range_db == [low, high]


def test_snrs_are_those_of_the_list():
    snr, given = draw_snr(make_recipe(ANCHOR | {"stale_fraction": 0}), 2000, torch.Generator().manual_seed(0))
    values, counts = snr.unique(return_counts=True)
    assert values.tolist() == [1, 4, 7, 10, 13] and counts.min() > 300 and torch.equal(snr, given)
    of_range = make_recipe(ANCHOR | {"snr_db": [], "snr_low_db": 2, "snr_high_db": 5})
    snr, given = draw_snr(of_range, 2000, torch.Generator().manual_seed(0))
    assert snr.min() >= 2 and snr.max() <= 5 and 0.05 < (snr != given).float().mean() < 0.15


def losses(folder):
    return [float(row["train_loss"]) for row in csv.DictReader(open(folder / "log.csv"))]


TWO = ["--standalone", "--nproc-per-node", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["fabric", "torchrun"])
def test_two_processes_train_as_one(launch, generated, tmp_path):
    quiet = {"channel": "ideal", "uneven_fraction": 0.0, "stale_fraction": 0.0, "steps": 5}
    recipe = ANCHOR | quiet | {"loss": "log-mse"}
    alone = losses(run(recipe, generated, tmp_path / "one", export=False))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    start = [sys.executable, "-m"] + (["torch.distributed.run", *TWO, "-m"] if launch == "torchrun" else [])
    command = [*start, "semcom_training.train", str(tmp_path / "recipe.yaml"), "--data", str(generated)]
    command += ["--out", str(tmp_path / "two"), "--device", "cpu", "--threads", "1"]
    command += ["--devices", "2"] if launch == "fabric" else []
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=180, env=os.environ | {"MASTER_ADDR": "localhost"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses(tmp_path / "two/base") == pytest.approx(alone, abs=3e-4)
    assert len(set(alone)) == 5
    assert (tmp_path / "two/base/base.json").exists()


def test_a_batch_that_cannot_be_split_is_said(generated):
    class Three:
        world_size = 3

    with pytest.raises(ConfigError, match="batch of 4.*3 processes"):
        train.prepare(make_recipe(ANCHOR), generated, Three())


def test_dry_run_says_what_it_costs_and_writes_nothing(anchor, generated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = budget(make_recipe(user(anchor, steps=7)), generated, "cpu")
    trained = sum(p.numel() for p in train.build_codec(make_recipe(user(anchor)))[1].parameters())
    assert said["trains"].startswith(f"{trained:,} parameters") and "frozen" in said["trains"]
    assert said["steps"].startswith("7 of 7, 28 pictures") and "images/s" in said["speed"]
    assert list(tmp_path.iterdir()) == []


def test_a_tensorboard_log_holds_the_course(generated, tmp_path):
    pytest.importorskip("tensorboardX")
    folder = run(ANCHOR, generated, tmp_path, tensorboard=True)
    (file,) = (folder / "tensorboard").glob("events.*")
    steps = [event.step for event in events(file) if is_loss(event)]
    assert steps == [1, 2, 3]


def is_loss(event) -> bool:
    return any(value.tag == "train_loss" and value.simple_value > 0 for value in event.summary.value)


def events(file) -> list:
    """What an event file of TensorBoard holds: records of length, checksum, message, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    data, at, out = file.read_bytes(), 0, []
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        out.append(Event.FromString(data[at + 12 : at + 12 + length]))
        at += 12 + length + 4
    return out


def test_what_is_not_installed_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(MissingError, match="pip install lightning-fabric"):
        machine.make_fabric("cpu")


def test_a_gpu_that_is_not_there_is_said():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="no GPU"):
        machine.make_fabric("cuda")


def test_a_user_is_trained_behind_a_content_adaptive_front_end(tmp_path):
    """Against the shipped model, on the packaged photographs: its network learns, the anchor stays as it is."""
    for picture in samples():
        write_png(tmp_path / "data" / "photos" / picture.name, picture.pixels)
    recipe = dataclasses.replace(
        load_recipe("photo-adaptive-conv"),
        **{"data": ["photos"], "arguments": {"width": 8, "depth": 1}, "crop": 64, "batch": 2, "held_out": 1},
        **{"steps": 2, "max_minutes": 0.0, "warmup_steps": 0, "log_every": 2, "checkpoint_minutes": 60.0},
    )
    folder = train.run(recipe, data=tmp_path / "data", out=tmp_path / "out", progress=False, device="cpu")
    model = zoo.load(folder / "photo-adaptive-conv.json")
    assert model.card.anchor == zoo.card("photo-adaptive").reference
    assert model.card.arguments["front"] == "content-adaptive"
    last = model.own.network.blocks[-1].get_submodule("convolution").weight
    assert last.abs().max() > 0 and last.isfinite().all()
