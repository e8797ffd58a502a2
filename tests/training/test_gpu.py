# SPDX-License-Identifier: GPL-3.0-or-later
"""A training for a lent GPU, as far as a machine without one can show: packed, run in parts, brought back."""

import csv
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
import yaml

from semcom.codec import build
from semcom.errors import ConfigError, MissingError
from semcom.system import zoo
from semcom_training import gpu, train
from semcom_training.data import image_files, read_image
from semcom_training.errors import TrainingError
from semcom_training.export import export_model
from semcom_training.recipe import RECIPES, load_recipe, make_recipe

TINY = {
    "version": 2,
    "name": "tiny",
    "model": {
        "architecture": "content-adaptive",
        "arguments": {"classes": [2, 2, 2, 2], "widths": [16, 16], "sender_blocks": [1, 1], "receiver_blocks": [1, 1]},
    },
    "data": {"folders": ["pictures"], "crop": 64, "held_out": 4},
    "optimiser": {"learning_rate": 1.0e-3},
    "schedule": {"batch": 2, "steps": 100, "warmup_steps": 2},
}  # fmt: skip
PLAIN = TINY | {
    "model": {
        "architecture": "linres",
        "arguments": {"channels": 16, "widths": [16], "encoder_blocks": [1], "decoder_blocks": [1]},
    },
    "data": {"folders": ["pictures"], "crop": 24, "held_out": 4},
}
# what a bare machine with PyTorch has not, and what of ours a part must not need
BARE = """
import sys, runpy
absent = {"constriction", "sigmf", "zmq", "torchmetrics", "typer", "scipy", "av", "gnuradio", "pmt", "matplotlib",
          "pyqtgraph", "submitit", "tensorboardX"}
absent |= set(sys.argv.pop(1).split(","))
class Absent:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
runpy.run_module("semcom_training.gpu", run_name="__main__")
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """The card of an untrained content-adaptive model with a falling spectrum in its tables."""
    folder = tmp_path_factory.mktemp("start")
    recipe = make_recipe(TINY | {"name": "tables"})
    codec = build(recipe.architecture, recipe.arguments)
    for table in codec.tables():
        table.copy_(-torch.arange(table.shape[1]).clamp_max(700) * 2)
    codec.water_levels.fill_(-500), codec.thresholds.fill_(-500)
    return export_model(recipe, codec, folder, 0, 0.0, measure=False)


@pytest.fixture(scope="module")
def unpacked(start, generated, tmp_path_factory):
    """The tiny recipe packed and unpacked."""
    folder = tmp_path_factory.mktemp("packed")
    recipe = make_recipe(TINY | {"model": TINY["model"] | {"init_from": str(start)}})
    with tarfile.open(gpu.pack(recipe, generated, folder)) as tar:
        tar.extractall(folder / "there")
    return folder / "there"


def part(folder, out, *arguments, lacks=""):
    """A part in a process of its own, with nothing but what was packed and what a bare machine has."""
    command = [sys.executable, "-c", BARE, lacks, "part", str(folder), "--out", str(out), *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env={"PYTHONPATH": str(folder / "code"), "OMP_NUM_THREADS": "1", "COLUMNS": "300"},
    )


@pytest.mark.slow
def test_a_dry_run_in_two_parts_on_a_bare_machine(unpacked, tmp_path):
    minutes = ["--minutes", "0.25", "--every", "0.05", "--device", "cpu"]
    first = part(unpacked, tmp_path / "a", "--left", "2", *minutes)
    assert first.returncode == 0, first.stderr
    assert "ms a step" in first.stdout and "1 parts are left" in first.stdout
    back = tmp_path / "a" / "tiny"
    assert {path.name for path in back.iterdir()} == {"tiny.json", "tiny.safetensors", "log.csv"}
    assert all(path.stat().st_size < gpu.MODEL_MIB * gpu.MIB for path in back.iterdir())
    done = zoo.card(back).budget["steps"]
    rates = [float(row["learning_rate"]) for row in csv.DictReader(open(back / "log.csv"))]
    assert done > 0 and rates[-1] > 0.3e-3  # the schedule is not at its end

    # another machine: nothing is there but what came back
    second = part(unpacked, tmp_path / "b", "--go-on", str(back), *minutes)
    assert second.returncode == 0, second.stderr
    assert f"after step {done}" in second.stdout
    card, model = zoo.card(tmp_path / "b/tiny"), zoo.load(tmp_path / "b/tiny")
    assert card.budget["steps"] > done and card.budget["started_from"] == "tables"
    rows = list(csv.DictReader(open(tmp_path / "b/tiny/log.csv")))
    steps = [int(row["step"]) for row in rows]
    assert steps == sorted(set(steps)) and steps[0] <= done < steps[-1] == card.budget["steps"]
    assert float(rows[-1]["learning_rate"]) < 0.2e-3  # the last part ends the schedule
    before = zoo.load(back).codec.receiver.picture_out.weight
    assert model.codec.receiver.picture_out.weight.ne(before).any()

    # a third machine with another recipe's model
    text = (unpacked / "recipe.yaml").read_text()
    other = tmp_path / "other"
    other.mkdir()
    for name in ("data", "start", "code"):
        (other / name).symlink_to(unpacked / name)
    (other / "recipe.yaml").write_text(text.replace("seed: 1", "seed: 2"))
    wrong = part(other, tmp_path / "c", "--go-on", str(back), *minutes)
    assert wrong.returncode == 2 and "other values of seed" in wrong.stderr


@pytest.mark.slow
def test_what_a_machine_lacks_is_said_before_anything_is_tried(unpacked, tmp_path):
    got = part(unpacked, tmp_path, lacks="jsonschema,lightning_fabric")
    assert got.returncode == 2 and not got.stdout
    assert "lacks jsonschema lightning-fabric" in got.stderr and "--wheels" in got.stderr
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="unpack what"):
        gpu.part(tmp_path, tmp_path)
    with pytest.raises(ConfigError, match="must be above 0"):
        gpu.part(unpacked, tmp_path, left=0)


def test_a_wheel_that_is_carried_is_installed(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(gpu, "missing", lambda: [] if asked else ["yaml"])
    monkeypatch.setattr(gpu.sys, "path", list(sys.path))

    def pip(command, check):
        asked.append(command)
        return subprocess.CompletedProcess(command, len(asked) - 1)

    monkeypatch.setattr(gpu.subprocess, "run", pip)
    with pytest.raises(MissingError, match="lacks pyyaml"):
        gpu.provide(tmp_path)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a.whl").touch()
    gpu.provide(tmp_path)
    assert "--no-index" in asked[0] and asked[0][-1].endswith("a.whl")
    assert gpu.sys.path[0] == str(tmp_path / "site")
    monkeypatch.setattr(gpu, "missing", lambda: ["yaml"])
    with pytest.raises(MissingError, match="could not be installed"):
        gpu.provide(tmp_path)


def test_pictures_find_room_by_the_seed_and_the_rest_is_counted(start, generated, tmp_path):
    said = []
    recipe = make_recipe(TINY | {"model": TINY["model"] | {"init_from": str(start)}})
    whole = gpu.pack(recipe, generated, tmp_path / "a", say=said.append)
    assert "40 files of pictures (0 found no room)" in said[0]
    room = whole.stat().st_size + gpu.weights_bytes(build(recipe.architecture, recipe.arguments))
    some = gpu.pack(recipe, generated, tmp_path / "b", limit_mib=(room - 30_000) / gpu.MIB, say=said.append)
    again = gpu.pack(recipe, generated, tmp_path / "c", limit_mib=(room - 30_000) / gpu.MIB, say=said.append)
    assert some.stat().st_size < whole.stat().st_size - 10_000 and some.read_bytes() == again.read_bytes()
    left_out = int(said[2].split("(")[1].split()[0])
    names = {name for name in tarfile.open(some).getnames() if name.startswith("data/")}
    assert 0 < left_out == 40 - len(names)
    with pytest.raises(ConfigError, match="raise the limit"):
        gpu.pack(recipe, generated, tmp_path / "d", limit_mib=0.5)


def test_what_is_packed_is_what_is_trained_on(generated, unpacked, tmp_path):
    packed = image_files(unpacked / "data/pictures")
    assert len(packed) == 40
    for path in packed:
        own = read_image(generated / "pictures" / path.name.removesuffix(".webp")).float()
        assert (read_image(path).float() - own).square().mean() < 0.05 * own.var()
    assert not list((unpacked / "code").rglob("*.safetensors"))
    assert yaml.safe_load((unpacked / "recipe.yaml").read_text())["model"]["init_from"] == "start/tables.json"
    recipe = make_recipe(TINY | {"data": TINY["data"] | {"exclude": ["0"]}})
    names = tarfile.open(gpu.pack(recipe, generated, tmp_path)).getnames()
    assert not any(Path(name).name.startswith("0") for name in names if name.startswith("data/"))
    lossy = make_recipe(TINY | {"loss": {"log-mse": 1, "lpips": 1}})
    names = tarfile.open(gpu.pack(lossy, generated, tmp_path)).getnames()
    assert any(name.endswith(".safetensors") for name in names)


def test_what_cannot_be_packed_is_refused_in_words(generated, tmp_path):
    def refused(match, recipe, **how):
        with pytest.raises(ConfigError, match=match):
            gpu.pack(recipe, generated, tmp_path, **how)

    refused("16 MiB come back", "photo-1-12-gpu")
    refused("a decoder alone", "photo-1-12-conv")
    refused("classes of its pictures", "cifar-classifier")
    refused("has stages", make_recipe(TINY | {"stages": [{}, {}]}))
    refused("trains on 'elsewhere'", make_recipe(TINY | {"data": TINY["data"] | {"folders": ["elsewhere"]}}))
    refused("holds no wheel", make_recipe(TINY), wheels=tmp_path / "no")
    assert not list(tmp_path.glob("*.tar"))


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*adaptive-gpu.yaml")))
def test_a_model_of_the_recipes_for_parts_comes_back_in_one_file(name, tmp_path):
    recipe = load_recipe(name)
    codec = build(recipe.architecture, recipe.arguments)
    zoo.save_weights(codec, tmp_path / "model.safetensors")
    size = (tmp_path / "model.safetensors").stat().st_size
    assert size <= gpu.weights_bytes(codec) <= gpu.MODEL_MIB * gpu.MIB


@pytest.fixture
def training(generated):
    """A small training, ready to step."""
    return train.prepare(make_recipe(PLAIN | {"schedule": {"batch": 8}}), generated, train.make_fabric("cpu"))


def test_the_batch_is_halved_where_memory_does_not_suffice(training, monkeypatch):
    step, said, most = train.take_step, [], 3

    def limited(training, number, rate, folder=""):
        if training.recipe.batch > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return step(training, number, rate, folder)

    monkeypatch.setattr(train, "take_step", limited)
    weights = {key: value.clone() for key, value in training.trained.state_dict().items()}
    assert gpu.fitted(training, said.append) > 0
    assert training.recipe.batch == 2 and len(said) == 2 and "batch of 8: 4 from now on" in said[0]
    # the probe leaves the training as it was
    assert all(torch.equal(value, weights[key]) for key, value in training.trained.state_dict().items())
    assert not any(optimiser.state for optimiser in training.optimisers)
    most = 0
    with pytest.raises(TrainingError, match="batch of one picture: lower"):
        gpu.fitted(training, said.append)


def test_networks_are_compiled_only_where_that_works_and_is_faster(start, generated, monkeypatch):
    recipe = make_recipe(TINY | {"model": TINY["model"] | {"init_from": str(start)}})
    training = train.prepare(recipe, generated, train.make_fabric("cpu"))
    networks, said = [training.codec.sender, training.codec.receiver], []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda module: setattr(module, "_compiled_call_impl", module._call_impl)
    )

    def answer(seconds):
        def timed(training):
            if seconds is None:
                raise RuntimeError("no compiler")
            return seconds

        monkeypatch.setattr(gpu, "timed", timed)
        return gpu.compiled_if_faster(training, 1.0, said.append), [
            n._compiled_call_impl is not None for n in networks
        ]

    assert answer(None) == (1.0, [False, False]) and "could not be compiled (RuntimeError)" in said[0]
    assert answer(2.0) == (1.0, [False, False])
    assert answer(0.5) == (0.5, [True, True])


@pytest.mark.slow
def test_networks_compile_whole_and_compute_the_same(start, generated):
    """Traced and differentiated as a compiler would have them, without code being made for a device."""
    torch._dynamo.reset()
    recipe = make_recipe(TINY | {"model": TINY["model"] | {"init_from": str(start)}})
    losses = []
    for compiled in (False, True):
        training = train.prepare(recipe, generated, train.make_fabric("cpu"))
        for name in training.codec.networks if compiled else ():
            getattr(training.codec, name).compile(backend="aot_eager", fullgraph=True)
        keys = list(training.trained.state_dict())
        losses.append([train.take_step(training, step, 1e-3) for step in range(3)])
    torch.testing.assert_close(losses[0], losses[1], atol=2e-3, rtol=1e-4)
    assert keys == list(zoo.load(start).codec.state_dict())


def test_weights_that_are_no_numbers_do_not_replace_a_model(training, tmp_path):
    gpu.write_model(training, train.Progress(3, 60.0), tmp_path)
    before = (tmp_path / "tiny.safetensors").read_bytes()
    with torch.no_grad():
        next(training.average.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match="after step 4.*not a number"):
        gpu.write_model(training, train.Progress(4, 61.0), tmp_path)
    assert (tmp_path / "tiny.safetensors").read_bytes() == before
    assert zoo.card(tmp_path).budget["steps"] == 3


def test_the_command_says_what_is_wrong_and_ends_with_its_status(tmp_path, capsys):
    assert gpu.main(["part", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert "unpack what" in capsys.readouterr().err
    assert gpu.main(["pack", "no-such-recipe", "--data", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "there is no recipe" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        gpu.main(["pack", "photo-adaptive", "--quality", "0"])


def test_a_tar_is_never_larger_than_it_is_counted():
    long = "data/" + "x" * 200 + ".webp"
    members = {"a": b"", long: b"1" * 513, "b": b"2" * 512}
    blob = gpu._tar(members)
    assert gpu._tar_bytes(members) <= len(blob) <= gpu._tar_bytes(members) + 2 * tarfile.RECORDSIZE
    assert tarfile.open(fileobj=io.BytesIO(blob)).getnames() == list(members)
