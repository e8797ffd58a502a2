# SPDX-License-Identifier: GPL-3.0-or-later
"""Schemes for several users: what is trained when, what stays to the bit, what is resumed."""

import csv
import dataclasses
import json
import os
import re

import pytest
import torch
import yaml
from typer.testing import CliRunner

from semcom.errors import ConfigError, OutputError
from semcom_training.errors import TrainingError
from semcom_training.multiuser import cells as cells_module
from semcom_training.multiuser import system as system_module
from semcom_training.multiuser.__main__ import app
from semcom_training.multiuser.cells import Cells
from semcom_training.multiuser.experiment import SHIPPED, Experiment, load_experiment
from semcom_training.multiuser.measure import cosines, gradient_report
from semcom_training.multiuser.schemes import SCHEMES, budget, plan
from semcom_training.multiuser.system import Optimisers, System, learning_rate
from semcom_training.multiuser.tables import late_gains, scale_words

TINY = {
    "name": "tiny",
    "channel": "awgn",
    "users": {
        "attention": {"family": "attention", "width": 8, "depth": 1},
        "vgg": {"family": "vgg", "width": 8, "depth": 1},
        "resnet": {"family": "resnet", "width": 8, "depth": 2},
    },
    "data": ["pictures"],
    "evaluate": {"div2k": {"folder": "pictures", "images": 3, "crop": 32}},
    "snr_db": [1, 13],
    "crop": 16,
    "batch": 4,
    "epochs": 2,
    "steps_per_epoch": 2,
    "warmup_steps": 2,
    "seeds": [1, 2],
    "watch_images": 2,
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def recipe(tmp_path):
    """Writes the tiny experiment with changes and returns its path."""

    def write(**changes):
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(TINY | changes, sort_keys=False))
        return path

    return write


@pytest.fixture
def cells(recipe, generated, tmp_path):
    return Cells(load_experiment(recipe()), generated, tmp_path / "runs", "cpu", lambda text: None)


@pytest.fixture
def system(cells):
    return System(cells.experiment, 1)


def test_every_decoder_gets_the_same_steps_in_every_scheme():
    users = ["attention", "vgg", "conv", "resnet"]
    found = {scheme: budget(plan(scheme, users, 5), 7) for scheme in SCHEMES}
    for counts in found.values():
        assert [counts[user] for user in users] == [35] * 4
        assert counts["losses"] == 140
    assert [found[s]["encoder"] for s in ("two_stage", "iterative", "simultaneous")] == [35, 140, 35]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_user_meets_the_same_epochs_in_order(scheme):
    for user in ("a", "b", "c"):
        numbers = [epoch.number for epoch in plan(scheme, ["a", "b", "c"], 4) if user in epoch.users]
        assert numbers == [0, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_budget_is_what_the_optimisers_did(cells, monkeypatch, scheme):
    taken, batches = [], []
    step, batch = Optimisers.step, Cells.batch
    monkeypatch.setattr(Optimisers, "step", lambda self, *a: (taken.append(self), step(self, *a))[1])
    monkeypatch.setattr(Cells, "batch", lambda self, *a: (batches.append(a), batch(self, *a))[1])
    cell = cells.get(scheme, 1)
    done = {
        name: max(int(state["step"]) for state in optimiser.state.values())
        for name, optimiser in taken[-1].of.items()
    }
    assert done == {part: n for part, n in cell["budget"].items() if part != "losses"}
    assert {number for _, number in batches} == {0, 1, 2, 3, cells_module.PROBE}


def test_what_a_step_does_not_train_stays_to_the_bit(cells, system):
    optimisers = Optimisers(system)
    before = {part: system.digest(part) for part in system.parts()}
    optimisers.step(["vgg"], cells.batch(1, 0), False, 1e-3)
    after = {part: system.digest(part) for part in system.parts()}
    assert {part for part in before if before[part] != after[part]} == {"vgg"}
    optimisers.step(["resnet"], cells.batch(1, 0), True, 1e-3)
    later = {part: system.digest(part) for part in system.parts()}
    assert {part for part in after if after[part] != later[part]} == {"encoder", "resnet"}


@pytest.mark.slow
def test_encoder_and_anchor_are_the_same_bits_after_stage_2(cells):
    series = cells.get("two_stage", 1)["series"]
    first, stage_1, end = series[0]["digests"], series[2]["digests"], series[-1]["digests"]
    for part in ("encoder", "attention"):
        assert first[part] != stage_1[part] == end[part]
    assert stage_1["vgg"] == first["vgg"] != end["vgg"]
    assert len({entry["psnr_db"]["attention"] for entry in series[2:]}) == 1


def test_a_user_starts_the_same_whoever_else_is_there(cells):
    few = dict(list(cells.experiment.users.items())[:2])
    whole, part = (
        System(dataclasses.replace(cells.experiment, users=u), 1) for u in (cells.experiment.users, few)
    )
    other = System(cells.experiment, 2)
    for name in part.parts():
        assert whole.digest(name) == part.digest(name) != other.digest(name)


def test_a_linear_path_is_part_of_encoder_and_user_and_of_the_digest(recipe):
    plain = load_experiment(recipe())
    users = {name: user | {"linear": True} for name, user in TINY["users"].items()}
    straight = load_experiment(recipe(users=users))
    system = System(straight, seed=1)
    assert system.encoder.linear is not None and all(d.linear is not None for d in system.decoders.values())
    assert plain.fingerprint() != straight.fingerprint()
    assert "Encoder and decoders have a linear path" in scale_words(straight)
    assert "this is not the paper's network" in scale_words(straight) and "linear" not in scale_words(plain)
    some = dict(list(users.items())[:1]) | {"vgg": TINY["users"]["vgg"]}
    assert "Of these the encoder and the decoders of attention have" in scale_words(
        load_experiment(recipe(users=some))
    )
    off = {name: user | {"linear": False} for name, user in TINY["users"].items()}
    assert load_experiment(recipe(users=off)).fingerprint() == plain.fingerprint()


@pytest.mark.slow
def test_killed_between_epochs_ends_as_unbroken(recipe, generated, tmp_path, monkeypatch):
    experiment = load_experiment(recipe())
    unbroken = Cells(experiment, generated, tmp_path / "a", "cpu", lambda text: None).get("iterative", 1)

    class Killed(Exception):
        pass

    def dies(text):
        if "epoch 4/6" in text:
            raise Killed

    broken = Cells(experiment, generated, tmp_path / "b", "cpu", dies)
    with pytest.raises(Killed):
        broken.get("iterative", 1)
    assert (tmp_path / "b/tiny/iterative-1.pt").exists()
    steps, step = [], Optimisers.step
    monkeypatch.setattr(Optimisers, "step", lambda self, *a: (steps.append(a), step(self, *a))[1])
    resumed = Cells(experiment, generated, tmp_path / "b", "cpu", lambda text: None).get("iterative", 1)
    assert len(steps) == 4  # two epochs were left
    assert unbroken.pop("minutes") > 0 and resumed.pop("minutes") > 0
    assert unbroken == resumed
    (kept,) = (tmp_path / "b/tiny").iterdir()
    assert re.fullmatch(r"iterative-1\.[0-9a-f]{16}\.json", kept.name)


def test_a_finished_cell_is_not_done_again_and_not_mistaken(cells, recipe, generated, tmp_path, monkeypatch):
    cell = cells.get("simultaneous", 1)
    monkeypatch.setattr(Cells, "_train", lambda *a: pytest.fail("trained again"))
    assert cells.get("simultaneous", 1) == cell
    more_seeds = load_experiment(recipe(seeds=[1, 2, 3]))
    assert Cells(more_seeds, generated, tmp_path / "runs", "cpu").get("simultaneous", 1) == cell
    (kept,) = (tmp_path / "runs/tiny").iterdir()
    kept.rename(kept.with_name("simultaneous-1.json"))
    # as it was kept before it had a fingerprint in its name
    kept.with_name("simultaneous-1.json").write_text(json.dumps(cell))
    monkeypatch.undo()
    monkeypatch.setattr(cells_module, "System", lambda *a: pytest.fail("trained again"))
    assert cells.get("simultaneous", 1) == cell
    other = Cells(load_experiment(recipe(learning_rate=0.01)), generated, tmp_path / "runs", "cpu")
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        other.get("simultaneous", 1)


def test_a_checkpoint_of_other_settings_is_refused(cells, recipe, generated, tmp_path):
    def dies(text):
        raise KeyboardInterrupt

    cells.say = dies
    with pytest.raises(KeyboardInterrupt):
        cells.get("simultaneous", 1)
    other = load_experiment(recipe(learning_rate=0.01))
    with pytest.raises(ConfigError, match="other settings"):
        Cells(other, generated, tmp_path / "runs", "cpu").get("simultaneous", 1)


@pytest.mark.slow
def test_cells_in_two_processes_are_those_of_one(cells, generated, tmp_path):
    cells.say = print
    other = Cells(cells.experiment, generated, tmp_path / "other", "cpu", print)
    found = (
        cells.all(["iterative", "simultaneous"], [1], workers=2),
        other.all(["iterative", "simultaneous"], [1]),
    )
    for cell in (cell for some in found for cell in some):
        assert cell.pop("minutes") > 0
    assert found[0] == found[1]


def test_cosines_of_known_vectors():
    found = cosines(
        {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([0.0, 2.0]), "c": torch.tensor([-3.0, 3.0])}
    )
    assert found == pytest.approx({"a/b": 0.0, "a/c": -(0.5**0.5), "b/c": 0.5**0.5})


def test_gradients_at_the_encoder_are_those_of_the_losses(cells, system):
    """The gradient of the sum is the sum: its squared norm follows from norms and cosines."""
    from semcom_training.multiuser.measure import encoder_gradients

    batch = cells.batch(1, 0)
    report, gradients = gradient_report(system, batch), encoder_gradients(system, batch)
    together = sum(gradients.values()).square().sum()
    norms = report["norms"]
    expected = sum(n**2 for n in norms.values())
    for pair, cosine in report["cosines"].items():
        a, b = pair.split("/")
        expected += 2 * cosine * norms[a] * norms[b]
    assert expected == pytest.approx(float(together), rel=1e-4)


def test_measuring_changes_nothing(cells, system):
    before = {part: system.digest(part) for part in system.parts()}
    cells._watch(system, 1, None)
    assert before == {part: system.digest(part) for part in system.parts()}


def test_rate_warms_up_and_falls(cells):
    e = dataclasses.replace(
        cells.experiment, epochs=10, steps_per_epoch=10, warmup_steps=10, decay_fraction=0.5
    )
    rates = [learning_rate(e, number) / e.learning_rate for number in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[50] == 1
    assert rates[75] == pytest.approx(0.5) and rates[99] == pytest.approx(0.02)


def test_nan_stops_with_step_and_pictures_and_keeps_the_last_epoch(recipe, generated, tmp_path):
    cells = Cells(load_experiment(recipe()), generated, tmp_path / "runs", "cpu", lambda text: None)
    batch, spoilt_at = cells.batch, 3

    def spoilt(seed, number):
        found = batch(seed, number)
        bad = number == spoilt_at
        return dataclasses.replace(found, images=found.images * float("nan")) if bad else found

    cells.batch = spoilt
    words = r"loss is nan.*at step 3 with attention, vgg, resnet.*pictures/\d\d\.png.*1 of 2 epochs are kept in .*1\.pt"
    with pytest.raises(TrainingError, match=words) as error:
        cells.get("simultaneous", 1)
    assert str(error.value).count(".png") == TINY["batch"]
    kept = torch.load(tmp_path / "runs/tiny/simultaneous-1.pt", weights_only=True)
    assert kept["done"] == 1
    spoilt_at = 0
    with pytest.raises(
        TrainingError, match="at step 0 with attention: .*No epoch was finished, none is kept"
    ):
        cells.get("iterative", 1)


def test_a_gradient_that_is_no_number_changes_no_weight(cells, system, monkeypatch):
    original = system_module.user_loss

    def endless(system, user, latents, batch):  # finite, with an infinite slope
        return (
            original(system, user, latents, batch) + 0 * (next(system.encoder.parameters()).sum() * 0).sqrt()
        )

    monkeypatch.setattr(system_module, "user_loss", endless)
    before = {part: system.digest(part) for part in system.parts()}
    with pytest.raises(TrainingError, match="its gradient is not a number. at step 0 with vgg"):
        Optimisers(system).step(["vgg"], cells.batch(1, 0), True, 1e-3)
    assert before == {part: system.digest(part) for part in system.parts()}


def test_weights_that_are_no_numbers_and_damaged_cells_are_said(recipe, generated, tmp_path, monkeypatch):
    cells = Cells(load_experiment(recipe()), generated, tmp_path / "runs", "cpu", lambda text: None)
    step = Optimisers.step

    def overflows(self, users, batch, *rest):
        out = step(self, users, batch, *rest)
        if batch.number == 3:
            next(self.system.parameters()).data.mul_(torch.inf)
        return out

    monkeypatch.setattr(Optimisers, "step", overflows)
    with pytest.raises(
        TrainingError, match="after epoch 2 of 2 .*a weight is not a number.*1 of 2 epochs are kept"
    ):
        cells.get("simultaneous", 1)
    path = tmp_path / "runs/tiny/simultaneous-1.pt"
    assert torch.load(path, weights_only=True)["done"] == 1
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="simultaneous-1.pt cannot be read as a checkpoint"):
        cells.get("simultaneous", 1)


def test_a_full_disk_keeps_the_last_checkpoint(recipe, generated, tmp_path, monkeypatch):
    replace, times = os.replace, []

    def full(source, target):
        times.append(target)
        if len(times) == 2:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    cells = Cells(load_experiment(recipe()), generated, tmp_path / "runs", "cpu", lambda text: None)
    with pytest.raises(OutputError, match="No space left"):
        cells.get("iterative", 1)
    kept = torch.load(tmp_path / "runs/tiny/iterative-1.pt", weights_only=True)
    assert kept["done"] == 1
    assert [path.name for path in (tmp_path / "runs/tiny").iterdir()] == ["iterative-1.pt"]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"chanel": "awgn"}, "did you mean 'channel'"),
        ({"channel": "rician"}, "channel"),
        ({"users": {"u": {"family": "vgg", "width": 8, "depth": 1}}}, "attention"),
        ({"users": {"u": {"family": "gan", "width": 8, "depth": 1}}}, "family"),
        ({"users": {}}, "at least one user"),
        ({"schemes": ["parallel"]}, "two_stage"),
        ({"watch": "kodak"}, "watch"),
        ({"epochs": 0}, "epochs"),
        ({"name": "../escape"}, "'name' must be letters"),
        ({"clip": 0}, "'clip' must be above 0"),
        ({"warmup_steps": -5}, "'warmup_steps' must be 0 or more"),
        ({"snr_db": [1, 999]}, "'snr_db' must be at least one SNR, of -20 to 60 dB"),
        ({"seeds": [-5]}, "'seeds' must be at least one seed, of 0 to"),
        ({"watch_images": 0}, "'watch_images' must be at least 1"),
    ],
)
def test_a_wrong_experiment_is_refused_in_words(recipe, changes, words):
    with pytest.raises(ConfigError, match=words):
        load_experiment(recipe(**changes))


def test_evaluation_pictures_that_are_not_there(recipe, generated, tmp_path):
    for chosen, words in (({"folder": "nowhere"}, "does not exist"), ({"images": 99}, "lower 'images'")):
        evaluate = {"div2k": TINY["evaluate"]["div2k"] | chosen}
        cells = Cells(load_experiment(recipe(evaluate=evaluate)), generated, tmp_path / "runs", "cpu")
        with pytest.raises(ConfigError, match=words):
            cells.evaluation()


def test_shipped_experiments_load_and_train_on_no_evaluation_folder():
    found = [load_experiment(path.stem) for path in SHIPPED.glob("*.yaml")]
    assert len(found) >= 3
    for experiment in found:
        assert isinstance(experiment, Experiment)
        assert not set(experiment.data) & {s.folder for s in experiment.evaluate.values()}
    with pytest.raises(ConfigError, match="rayleigh"):
        load_experiment("raleigh")


@pytest.mark.slow
def test_commands_make_every_figure(recipe, generated, tmp_path):
    path, figures = recipe(channel="rayleigh", seeds=[2]), tmp_path / "figures"
    common = [str(path), "--data", str(generated), "--out", str(tmp_path / "runs"), "--device", "cpu"]
    drawn = [*common, "--figures", str(figures)]
    runner = CliRunner()
    assert "| iterative | 12 | 4 | 4 | 4 | 12 |" in runner.invoke(app, ["run", str(path), "--dry-run"]).output
    for arguments in (
        ["run", *common],
        ["table", *drawn, "--seed", "2"],
        ["forgetting", *drawn],
        ["theory", *drawn, "--steps", "3", "--step-sizes", "0.001"],
    ):
        result = runner.invoke(app, arguments)
        assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "runs/tiny").glob("*.json"))) == 3
    names = {file.name for file in figures.iterdir()}
    for name in ("schemes", "forgetting", "theory_1_cosine", "theory_2_independence", "theory_3_descent"):
        assert {f"{name}.csv", f"{name}.png"} <= names
    assert {"schemes.md", "rayleigh.md", "rayleigh.csv", "forgetting.md", "theory.md"} <= names
    assert {"rayleigh.png", "theory_2_alone.csv"} <= names
    alone = list(csv.DictReader(open(figures / "theory_2_alone.csv")))
    assert [row["user"] for row in alone] == list(TINY["users"])
    assert {row["bits_alone_and_together"] for row in alone} == {"same"}
    for page in figures.glob("*.md"):  # what a page points at is there
        linked = re.findall(r"\]\(([^)]+)\)", page.read_text())
        assert linked and {name for name in linked} <= names
    assert "| 26.08 | 28.25 |" in (figures / "rayleigh.md").read_text()
    page_text = (figures / "schemes.md").read_text()
    assert "## How near to done" in page_text and "seeds 2." in page_text
    (kept,) = (tmp_path / "runs/tiny").glob("iterative-2.*.json")
    cell = json.loads(kept.read_text())["result"]
    assert all(0 < v < 60 for by_user in cell["psnr_db"]["div2k"].values() for v in by_user.values())


def test_late_gains_are_those_of_a_users_own_epochs():
    def entry(user, psnr):
        return {"epoch": {"users": [user], "number": 0, "encoder": True}, "psnr_db": {"a": psnr}}

    series = [{"epoch": None, "psnr_db": {"a": 5.0}}, *(entry("a", p) for p in (10.0, 12.0, 13.0, 13.5))]
    cell = {"scheme": "two_stage", "seed": 1, "series": [*series, entry("b", 99.0)]}
    assert late_gains([cell], "two_stage", "a") == [0.5] and late_gains([cell], "two_stage", "a", 0.5) == [
        1.5
    ]
    assert late_gains([cell], "iterative", "a") == []


def test_one_cell_can_be_run_apart(recipe, generated, tmp_path):
    common = [str(recipe()), "--data", str(generated), "--out", str(tmp_path / "runs"), "--device", "cpu"]
    runner = CliRunner()
    result = runner.invoke(app, ["run", *common, "--scheme", "simultaneous", "--seed", "2"])
    assert result.exit_code == 0, result.output
    (kept,) = (tmp_path / "runs/tiny").iterdir()
    assert kept.name.startswith("simultaneous-2.")
    wrong = runner.invoke(app, ["run", *common, "--scheme", "parallel"])
    assert wrong.exit_code == 2 and "no scheme 'parallel'" in wrong.output


def test_commands_complain_in_words(recipe, generated, tmp_path):
    common = ["--data", str(generated), "--out", str(tmp_path / "runs")]
    runner = CliRunner()
    wrong = runner.invoke(app, ["forgetting", str(recipe()), *common, "--rival", "gan"])
    assert wrong.exit_code == 2 and "no user 'gan'" in wrong.output
    wrong = runner.invoke(app, ["theory", str(recipe()), *common, "--step-sizes", "big"])
    assert wrong.exit_code == 2 and "numbers" in wrong.output
