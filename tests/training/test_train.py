# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop trains, stops and resumes as it says."""

import csv
import dataclasses
import errno
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from semcom import files
from semcom.codec import build
from semcom.errors import ConfigError, OutputError
from semcom.system import zoo
from semcom_training import train
from semcom_training.data import read_image
from semcom_training.export import export_checkpoint
from semcom_training.log import Log, fields_of, held_out_snrs
from semcom_training.objective import Objective
from semcom_training.optim import Muon, make_optimisers, orthogonalise
from semcom_training.recipe import make_recipe

TINY = {
    "name": "tiny",
    "architecture": "linres",
    "arguments": {"channels": 16, "widths": [16], "encoder_blocks": [1], "decoder_blocks": [1]},
    "data": ["pictures"],
    "crop": 24,
    "held_out": 4,
    "batch": 4,
    "steps": 12,
    "warmup_steps": 4,
    "log_every": 4,
    "checkpoint_minutes": 0.0,
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(generated, out, resume=True, **changes):
    folder = train.run(
        make_recipe(TINY | changes), data=generated, out=out, progress=False, resume=resume, device="cpu"
    )
    return torch.load(folder / "checkpoint.pt", weights_only=True)


SCRIPT = """
import os, signal, sys, torch
from semcom_training import train
from semcom_training.recipe import make_recipe
torch.set_num_threads(1)
recipe, data, out, dies_at = eval(sys.argv[1])
original = train.take_step

def take_step(training, step, *rest):
    if step == dies_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(training, step, *rest)

train.take_step = take_step
train.run(make_recipe(recipe), data=data, out=out, progress=False, device="cpu")
"""


@pytest.mark.slow
def test_killed_and_resumed_equals_unbroken(generated, tmp_path):
    unbroken = run(generated, tmp_path / "a")
    arguments = repr((TINY, str(generated), str(tmp_path / "b"), 7))
    died = subprocess.run([sys.executable, "-c", SCRIPT, arguments], capture_output=True, timeout=120)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert torch.load(tmp_path / "b/tiny/checkpoint.pt", weights_only=True)["step"] == 7
    resumed = run(generated, tmp_path / "b")
    for part in ("model", "average"):
        for key, tensor in unbroken[part].items():
            assert torch.equal(tensor, resumed[part][key]), key
    steps = [row["step"] for row in csv.DictReader(open(tmp_path / "b/tiny/log.csv"))]
    assert steps == ["4", "8", "12"]
    assert not list((tmp_path / "b").rglob("*.tmp"))


STOPPED = """
import os, signal, sys, torch
from semcom.terminal import stoppable
from semcom_training import train
from semcom_training.recipe import make_recipe
torch.set_num_threads(1)
recipe, data, out, at = eval(sys.argv[1])
original = train.update

def update(training, step):
    if step == at:  # in the middle of what must be whole
        os.kill(os.getpid(), signal.SIGTERM)
    original(training, step)

train.update = update
with stoppable():
    train.run(make_recipe(recipe), data=data, out=out, progress=False, device="cpu")
"""


@pytest.mark.slow
def test_a_training_that_is_stopped_keeps_its_last_step_and_says_so(generated, tmp_path):
    recipe = TINY | {"checkpoint_minutes": 1000.0}
    words = repr((recipe, str(generated), str(tmp_path / "a"), 6))
    done = subprocess.run([sys.executable, "-c", STOPPED, words], capture_output=True, text=True)
    checkpoint = tmp_path / "a/tiny/checkpoint.pt"
    assert "step 7 of 12 is kept in" in done.stderr and "goes on" in done.stderr, done.stderr
    assert torch.load(checkpoint, weights_only=True)["step"] == 7
    resumed, unbroken = run(generated, tmp_path / "a"), run(generated, tmp_path / "b")
    for name, weights in unbroken["model"].items():
        assert torch.equal(weights, resumed["model"][name])


def test_the_measurement_at_the_end_says_how_far_it_is(tiny_model):
    from semcom_training.export import CARD_SNR_DB, measure_tables

    said = []
    pixels = torch.zeros(16, 16, 3, dtype=torch.uint8).numpy()
    measure_tables(
        zoo.load(tiny_model), "two", [("a", pixels), ("b", pixels)], progress=lambda *now: said.append(now)
    )
    total = 2 * len(CARD_SNR_DB)
    assert said == [(number, total) for number in range(1, total + 1)]


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files, which only Unix does")
def test_a_full_disk_keeps_the_checkpoint_before(generated, tmp_path, capsys):
    """A limit on the size of files is the full disk that a test can have: writing fails half-way."""
    run(generated, tmp_path, steps=3)
    checkpoint = tmp_path / "tiny/checkpoint.pt"
    before, limits = checkpoint.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OutputError, match="checkpoint of step 5.*one before it.*is kept.*room"):
            run(generated, tmp_path, steps=5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "checkpoint of step 4" in capsys.readouterr().out  # said, and the training went on
    assert checkpoint.read_bytes() == before and not list(tmp_path.rglob("*.tmp"))
    assert run(generated, tmp_path, steps=5)["step"] == 5


def test_a_full_disk_leaves_whole_rows_in_the_log(tmp_path):
    """The limit lets a part of a row through, as the last block of a disk does."""
    log, row = Log(tmp_path / "log.csv", 0), dict.fromkeys(fields_of("psnr_db"), 1.5)
    log.write(row | {"step": 1})
    before, limits = log.path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
    try:
        with pytest.raises(OutputError, match="log.csv cannot be written.*Make room"):
            log.write(row | {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert log.path.read_bytes() == before
    log.write(row | {"step": 3})
    assert [r["step"] for r in csv.DictReader(open(log.path))] == ["1", "2", "3"]


def test_a_log_that_cannot_be_written_ends_no_training(generated, tmp_path, monkeypatch, capsys):
    append, times = files.append_bytes, []

    def full_once(path, data):
        times.append(path)
        if len(times) == 1:
            raise OutputError(f"{path} cannot be written: No space left on device.")
        append(path, data)

    monkeypatch.setattr(files, "append_bytes", full_once)
    assert run(generated, tmp_path)["step"] == 12
    assert "log.csv cannot be written" in capsys.readouterr().out
    assert [row["step"] for row in csv.DictReader(open(tmp_path / "tiny/log.csv"))] == ["4", "8", "12"]


@pytest.mark.slow
def test_half_a_row_is_dropped_on_resuming(generated, tmp_path):
    run(generated, tmp_path, steps=8)
    path = tmp_path / "tiny/log.csv"
    path.write_bytes(path.read_bytes()[:-20])
    run(generated, tmp_path, steps=12)
    assert [row["step"] for row in csv.DictReader(open(path))] == ["4", "12"]


def test_a_full_disk_leaves_no_half_model(generated, tmp_path, monkeypatch):
    run(generated, tmp_path, steps=2)
    folder = tmp_path / "tiny"
    before = {name: (folder / name).read_bytes() for name in ("tiny.json", "tiny.safetensors")}
    write = Path.write_bytes

    def full(path, data):
        if ".json" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        run(generated, tmp_path, steps=4)
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert zoo.load(folder / "tiny.json").card.budget["steps"] == 2
    assert {path.name for path in folder.iterdir()} == {*before, "checkpoint.pt", "log.csv"}
    monkeypatch.undo()
    run(generated, tmp_path, steps=4)  # nothing is trained again
    assert zoo.load(folder / "tiny.json").card.budget["steps"] == 4


@pytest.mark.parametrize("what", ["cut", "empty", "garbage", "other"])
@pytest.mark.slow
def test_a_damaged_checkpoint_is_said(generated, tmp_path, what):
    run(generated, tmp_path, steps=2)
    path = tmp_path / "tiny/checkpoint.pt"
    whole = path.read_bytes()
    if what == "other":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "garbage": b"x" * 1000}[what])
    with pytest.raises(train.TrainingError, match="checkpoint.pt .*delete it and start anew"):
        run(generated, tmp_path, steps=4)
    with pytest.raises(train.TrainingError, match="checkpoint.pt .*delete it and start anew"):
        export_checkpoint(path, tmp_path / "again", measure=False)
    assert run(generated, tmp_path, resume=False, steps=3)["step"] == 3


def test_the_seed_decides(generated, tmp_path):
    same = [run(generated, tmp_path / name, steps=3)["model"]["encoder_in.weight"] for name in "ab"]
    other = run(generated, tmp_path / "c", steps=3, seed=2)["model"]["encoder_in.weight"]
    assert torch.equal(*same) and not torch.equal(same[0], other)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_nan_stops_with_step_and_names_and_keeps_the_checkpoint(generated, tmp_path, monkeypatch, what):
    run(generated, tmp_path, steps=5)
    original = Objective.forward

    def forward(self, images, *rest):
        loss, psnr = original(self, images, *rest)
        if what == "loss":
            return loss * float("nan"), psnr
        return loss + 0 * (next(self.parameters()).sum() * 0).sqrt(), psnr  # finite, with an infinite slope

    monkeypatch.setattr(Objective, "forward", forward)
    with pytest.raises(train.TrainingError, match=r"step 5.*pictures/\d\d\.png, .*checkpoint\.pt") as error:
        run(generated, tmp_path, steps=9)
    assert str(error.value).count(".png") == TINY["batch"]
    assert torch.load(tmp_path / "tiny/checkpoint.pt", weights_only=True)["step"] == 5


def test_the_named_pictures_are_the_batch(generated):
    pictures = train.Pictures(generated, ["pictures"], held_out=4)
    names = pictures.batch_names(6, torch.Generator().manual_seed(3))
    drawn = pictures.batch(6, torch.Generator().manual_seed(3))
    for name, image in zip(names, drawn):
        file = read_image(generated / name)
        assert torch.equal(image, file) or torch.equal(image, file.flip(2))


@pytest.mark.slow
def test_a_session_that_ends_early_keeps_the_schedule(generated, tmp_path):
    def rates(folder):
        return {int(r["step"]): r["learning_rate"] for r in csv.DictReader(open(folder / "tiny/log.csv"))}

    def session(out, **how):
        recipe = make_recipe(TINY | {"log_every": 1})
        return train.run(recipe, generated, out, device="cpu", progress=False, **how)

    folder = session(tmp_path / "a", stop_after=0.0)
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] == 1
    assert list(rates(tmp_path / "a")) == [1] and not list(folder.glob("*.safetensors"))
    session(tmp_path / "a")
    session(tmp_path / "b")
    assert rates(tmp_path / "a") == rates(tmp_path / "b") and len(rates(tmp_path / "b")) == 12
    weights = [(tmp_path / out / "tiny/tiny.safetensors").read_bytes() for out in "ab"]
    assert weights[0] == weights[1]
    with pytest.raises(ConfigError, match="leave stop_after out"):
        train.run(
            make_recipe(TINY | {"stages": [{}, {}]}), generated, tmp_path, progress=False, stop_after=1.0
        )


@pytest.mark.slow
def test_a_training_goes_on_from_weights_alone(generated, tmp_path):
    """Where no checkpoint can be carried: the schedule goes on, the rate warms up again."""
    card = run_whole(generated, tmp_path / "a", steps=8)
    recipe = make_recipe(TINY | {"init_from": str(card), "log_every": 1, "name": "after"})
    kept = []
    folder = train.run(
        recipe,
        generated,
        tmp_path / "b",
        device="cpu",
        progress=False,
        begin=train.Progress(8, 60.0),
        keep=lambda training, state: kept.append((state.step, state.seconds)),
    )
    rows = list(csv.DictReader(open(folder / "log.csv")))
    assert [int(row["step"]) for row in rows] == [9, 10, 11, 12] == [step for step, _ in kept]
    rates = [float(row["learning_rate"]) for row in rows]
    falls = [train.learning_rate(recipe, 10**6, step / 12) for step in range(8, 12)]
    assert rates == pytest.approx([(n + 1) / 4 * fall for n, fall in enumerate(falls)], rel=1e-3)
    assert kept[0][1] > 60 and not (folder / "checkpoint.pt").exists()


def run_whole(generated, out, **changes):
    recipe = make_recipe(TINY | changes)
    return train.run(recipe, generated, out, device="cpu", progress=False) / "tiny.json"


def test_a_gpu_is_asked_for_numbers_now_and_then_only(generated, monkeypatch):
    """Each question waits for all that was started."""
    looks = []
    recipe = make_recipe(TINY)
    training = train.prepare(recipe, generated, train.make_fabric("cpu"))

    class Gpu:
        device = torch.device("cuda")
        backward = staticmethod(training.fabric.backward)

        def all_reduce(self, value, reduce_op):
            looks.append(step)
            return value

    batch = train.draw(training, 0)
    monkeypatch.setattr(train, "draw", lambda *given: batch)
    training.fabric = Gpu()
    for step in range(train.FINITE_EVERY - 2, train.FINITE_EVERY + 2):
        train.take_step(training, step, 1e-4)
    assert looks == [train.FINITE_EVERY - 1]
    with torch.no_grad():
        next(training.trained.parameters()).fill_(torch.nan)
    step = train.FINITE_EVERY
    train.take_step(training, step, 1e-4)
    step = 2 * train.FINITE_EVERY - 1
    with pytest.raises(train.TrainingError, match="step 99"):
        train.take_step(training, step, 1e-4)


@pytest.mark.slow
def test_another_recipe_does_not_resume(generated, tmp_path):
    run(generated, tmp_path, steps=2)
    with pytest.raises(train.TrainingError, match="other values of clip"):
        run(generated, tmp_path, steps=4, clip=0.5)
    assert run(generated, tmp_path, steps=4)["step"] == 4  # a longer schedule does
    assert run(generated, tmp_path, resume=False, steps=3, clip=0.5)["step"] == 3


def test_after_a_nan_a_lower_rate_goes_on(generated, tmp_path, monkeypatch):
    """What the message advises: the same command with a lower rate in the recipe, which the card then has."""
    run(generated, tmp_path, steps=2, checkpoint_minutes=9.0)
    with pytest.raises(
        train.TrainingError, match="lower learning_rate in the recipe .now 1e.30. and start the same"
    ):
        run(generated, tmp_path, steps=6, learning_rate=1e30, checkpoint_minutes=9.0)
    kept = torch.load(tmp_path / "tiny/checkpoint.pt", weights_only=True)
    assert kept["step"] == 2
    assert run(generated, tmp_path, steps=6, learning_rate=1e-4)["step"] == 6
    assert zoo.card(tmp_path / "tiny/tiny.json").recipe["learning_rate"] == 1e-4
    card = export_checkpoint(tmp_path / "tiny/checkpoint.pt", tmp_path / "again", measure=False)
    assert zoo.card(card).recipe["learning_rate"] == 1e-4


def test_weights_that_are_no_numbers_are_not_kept(generated, tmp_path, monkeypatch):
    run(generated, tmp_path, steps=3)
    original = train.update

    def overflows(training, step):
        original(training, step)
        next(training.trained.parameters()).data.mul_(torch.inf)

    monkeypatch.setattr(train, "update", overflows)
    with pytest.raises(
        train.TrainingError, match="after step 4 a weight is not a number.*checkpoint.pt, is kept"
    ):
        run(generated, tmp_path, steps=6)
    assert torch.load(tmp_path / "tiny/checkpoint.pt", weights_only=True)["step"] == 3


@pytest.mark.slow
def test_it_learns(generated, tmp_path):
    """Short and small, yet far past the block DCT it starts from."""
    changes = {"steps": 200, "log_every": 200, "batch": 8, "outer_rate": 1.0, "checkpoint_minutes": 9.0}
    recipe = make_recipe(TINY | changes)
    torch.manual_seed(recipe.seed)
    model = build(recipe.architecture, recipe.arguments).eval()
    pictures = train.Pictures(generated, recipe.data, crop=recipe.crop, held_out=recipe.held_out)
    before = train.validate(model, pictures, recipe.crop)
    run(generated, tmp_path, **changes)
    after = list(csv.DictReader(open(tmp_path / "tiny/log.csv")))[-1]
    assert all(float(after[f"psnr_{snr}_db"]) > before[f"psnr_{snr}_db"] + 3 for snr in (1, 10))
    assert float(after["train_psnr_db"]) > 22


def test_a_training_validates_what_evaluate_measures(generated):
    """The same pictures and noise give the same figure."""
    from semcom.experiments.evaluate import evaluate

    recipe = make_recipe(TINY)
    torch.manual_seed(recipe.seed)
    model = build(recipe.architecture, recipe.arguments).eval()
    pictures = train.Pictures(generated, recipe.data, crop=24, held_out=4)
    row, held_out = train.validate(model, pictures, 24), pictures.held_out
    images = [("one", train.centre_crop(image, 24).permute(1, 2, 0).numpy()) for image in held_out]
    for snr_db in (1, 10, 20):
        measured = evaluate(zoo.LoadedModel(model, None, ""), images, snr_db, seed=snr_db, with_ms_ssim=False)
        psnr_db = sum(one["psnr_db"] for one in measured) / len(measured)
        assert row[f"psnr_{snr_db}_db"] == pytest.approx(psnr_db, abs=1e-4)


def test_the_result_is_a_zoo_entry(generated, tmp_path):
    run(generated, tmp_path, steps=2)
    model = zoo.load(tmp_path / "tiny" / "tiny.json")
    assert model.card.recipe["crop"] == 24 and model.card.budget["steps"] == 2
    card = export_checkpoint(tmp_path / "tiny/checkpoint.pt", tmp_path / "again", measure=False)
    assert zoo.load(card).sha256 == model.sha256


def test_a_training_starts_from_another_model(generated, tmp_path, capsys):
    run(generated, tmp_path, steps=2)
    arguments = TINY["arguments"] | {"channels": 8}
    start = str(tmp_path / "tiny" / "tiny.json")
    run(generated, tmp_path, name="next", steps=1, arguments=arguments, init_from=start)
    assert "tensors fit" in capsys.readouterr().out


@pytest.mark.parametrize("architecture", ["adjscc", "bdjscc"])
@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_the_baselines_train_with_the_same_loop(generated, tmp_path, architecture, optimiser):
    run(
        generated,
        tmp_path,
        architecture=architecture,
        arguments={"channels": 8, "filters": 16},
        steps=2,
        optimiser=optimiser,
    )


def test_schedule_warms_up_stays_and_falls():
    recipe = make_recipe(
        TINY | {"steps": 100, "warmup_steps": 10, "decay_fraction": 0.5, "learning_rate": 1.0}
    )
    rate = [
        train.learning_rate(recipe, step, train.schedule_position(recipe, step, 0)) for step in range(100)
    ]
    assert rate[0] == pytest.approx(0.1) and rate[10:50] == [1.0] * 40
    assert rate[75] == pytest.approx(0.5) and rate[99] == pytest.approx(0.02)
    timed = dataclasses.replace(recipe, max_minutes=1.0)
    assert train.schedule_position(timed, 10, 45.0) == 0.75


def test_orthogonalise():
    for shape in ((16, 144), (144, 16), (24, 24)):
        values = torch.linalg.svdvals(
            orthogonalise(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
        )
        assert values.min() > 0.3 and values.max() < 1.3
    assert orthogonalise(torch.zeros(4, 8)).isfinite().all()


def test_weights_of_one_shape_step_together_as_they_would_alone():
    generator = torch.Generator().manual_seed(1)
    shapes = [(16, 16, 3, 3), (32, 16, 1, 1), (16, 16, 3, 3), (16, 32, 1, 1), (16, 16, 3, 3)]
    values = [torch.randn(shape, generator=generator) for shape in shapes]
    together = [torch.nn.Parameter(value.clone()) for value in values]
    alone = [torch.nn.Parameter(value.clone()) for value in values]
    one, each = (
        Muon(together, 0.1, weight_decay=0.01),
        [Muon([weight], 0.1, weight_decay=0.01) for weight in alone],
    )
    for _ in range(3):
        for a, b in zip(together, alone):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        together[1].grad = alone[1].grad = None  # not in use
        one.step()
        for optimiser in each:
            optimiser.step()
    for a, b, value in zip(together, alone, values):
        torch.testing.assert_close(a, b)
        assert torch.equal(a, value) == (a is together[1])


def test_every_parameter_has_one_optimiser():
    model = build("linres", TINY["arguments"])
    optimisers = make_optimisers(model, "muon", 1e-3, 0.0)
    held = [id(p) for o in optimisers for g in o.param_groups for p in g["params"]]
    assert sorted(held) == sorted(map(id, model.parameters()))
    assert all(p.dim() == 4 for g in optimisers[1].param_groups for p in g["params"])


def test_held_out_images_are_measured_where_the_recipe_trains():
    assert held_out_snrs((0, 20)) == held_out_snrs((1, 25)) == (1, 10, 20)
    assert held_out_snrs((-12, -4)) == (-12, -8, -4)
    assert held_out_snrs((10, 10)) == (10,)
