# SPDX-License-Identifier: GPL-3.0-or-later
"""Theorems and tables on systems and cells small enough to know the answer."""

import dataclasses

import pytest

from semcom_training.multiuser import theory
from semcom_training.multiuser.cells import PROBE, Cells
from semcom_training.multiuser.experiment import EvaluationSet, Experiment, User
from semcom_training.multiuser.forgetting import forgetting_rows, write_forgetting
from semcom_training.multiuser.system import System
from semcom_training.multiuser.tables import order_rows, psnr_rows


@pytest.fixture(scope="module")
def experiment():
    return Experiment(
        name="tiny",
        users={"attention": User("attention", 8, 1), "conv": User("conv", 8, 1)},
        data=["pictures"],
        evaluate={"div2k": EvaluationSet("pictures", 2, 32)},
        snr_db=[1.0],
        crop=16,
        batch=4,
        seeds=[1, 2],
    )


@pytest.fixture
def cells(experiment, generated, tmp_path):
    return Cells(experiment, generated, tmp_path, "cpu", lambda text: None)


def test_a_frozen_encoder_and_other_users_get_no_gradient(cells, experiment):
    system, batch = System(experiment, 1), cells.batch(1, 0)
    for encoder in (True, False):
        for row in theory.gradient_norms(system, batch, encoder):
            own = row["loss_of"]
            other = {"attention": "conv", "conv": "attention"}[own]
            assert row[own] > 0 and row[other] == 0
            assert (row["encoder"] > 0) == encoder


def test_users_behind_a_frozen_encoder_are_independent_to_the_bit(cells, experiment):
    rows = theory.alone_and_together(cells, System(experiment, 1), seed=1, steps=3)
    assert len(rows) == 2
    for row in rows:
        assert row["trained"] == "yes"
        assert {row["bits_alone_and_together"], row["others"], row["encoder"]} == {"same"}


def test_behind_a_trained_encoder_they_are_not(cells, experiment):
    together, alone = System(experiment, 1), System(experiment, 1)
    theory._train(cells, together, together.users, 1, 3, encoder=True)
    theory._train(cells, alone, ["attention"], 1, 3, encoder=True)
    assert together.digest("attention") != alone.digest("attention")


def test_small_steps_descend_as_predicted_and_leave_the_system(cells, experiment):
    system, batch = System(experiment, 1), cells.batch(1, PROBE)
    before = system.digest("encoder")
    rows = theory.gradient_descent(system, batch, 0.05, 4)
    assert system.digest("encoder") == before
    assert all(row["decrease"] > 0 for row in rows)
    for row, following in zip(rows, rows[1:]):
        assert row["loss"] - row["decrease"] == pytest.approx(following["loss"], abs=1e-9)
        # by the descent lemma, with room for the smoothness beyond the two ends of a step
        least = row["predicted"] * (1 - row["step_size"] * 2 * row["smoothness"] / 2)
        assert row["decrease"] >= least - 1e-6


@pytest.mark.slow
def test_stage_1_lowers_the_loss_on_a_batch_it_never_saw(cells, experiment):
    fast = dataclasses.replace(experiment, learning_rate=1e-2, epochs=1, steps_per_epoch=80)
    course = theory.adam_descent(cells, System(fast, 1), 1, 80)
    assert len(course) == 81 and max(course[-10:]) < course[0]


def cell(scheme, seed, psnr, series=()):
    return {"scheme": scheme, "seed": seed, "psnr_db": {"div2k": {"1": psnr}}, "series": list(series)}


def test_tables_give_mean_spread_and_where_the_order_fails(experiment):
    found = [cell("two_stage", s, {"attention": 20.0 + s, "conv": 10.0}) for s in (1, 2)]
    found += [cell("iterative", s, {"attention": 19.0 + s, "conv": 11.0}) for s in (2, 1)]  # any order
    found += [cell("simultaneous", s, {"attention": 15.0, "conv": 11.0}) for s in (1, 2)]
    rows = {(r["user"], r["scheme"]): r for r in psnr_rows(experiment, found)}
    assert rows["attention", "two_stage"]["psnr_db"] == 21.5
    assert rows["attention", "two_stage"]["spread_db"] == pytest.approx(0.5**0.5)
    assert rows["attention", "two_stage"]["seeds"] == 2
    order = {(r["user"], r["expected"]): r for r in order_rows(experiment, found)}
    first, second = "two_stage >= iterative", "iterative >= simultaneous"
    assert order["attention", first]["difference_db"] == 1 and order["attention", first]["spread_db"] == 0
    assert order["attention", first]["holds"] and not order["conv", first]["holds"]
    assert order["conv", second]["holds"]  # equal


def test_forgetting_compares_the_epochs_of_the_rival_only():
    def entry(users, number, psnr, digest):
        digests = {"encoder": digest, "attention": digest}
        epoch = {"users": users, "number": number, "encoder": True} if users else None
        return {"epoch": epoch, "psnr_db": {"attention": psnr}, "digests": digests}

    series = [entry([], 0, 10.0, "a"), entry(["attention"], 0, 22.0, "b"), entry(["vgg"], 0, 20.5, "c")]
    series += [entry(["attention"], 1, 23.0, "d"), entry(["vgg"], 1, 23.0, "d")]
    rows = forgetting_rows([cell("iterative", 1, {}, series)], "attention", "vgg")
    assert [(r["rival_epoch"], r["lost_db"], r["bits"]) for r in rows] == [
        (1, 1.5, "changed"),
        (2, 0.0, "same"),
    ]


def test_forgetting_is_drawn_for_any_number_of_seeds(experiment, tmp_path):
    def entry(users, psnr):
        epoch = {"users": users, "number": 0, "encoder": True} if users else None
        return {"epoch": epoch, "psnr_db": {"attention": psnr}, "digests": {"encoder": psnr, "attention": 0}}

    seeds = [1, 2, 3, 4, 5, 6]
    series = [entry([], 10.0), entry(["attention"], 20.0), entry(["conv"], 18.5)]
    cells = [cell(scheme, seed, {}, series) for scheme in ("two_stage", "iterative") for seed in seeds]
    many = dataclasses.replace(experiment, seeds=seeds)
    write_forgetting(many, cells, tmp_path, "forgetting", "a test", "attention", "conv")
    assert (tmp_path / "forgetting.png").stat().st_size > 1000
    assert "1.50 ± 0.00 dB lost per epoch over all 6" in (tmp_path / "forgetting.md").read_text()


def test_cosine_rows_show_both_angle_and_length():
    series = [{"cosines": {"a/b": -0.5}, "norms": {"a": 2.0, "b": 1.0}}]
    (row,) = theory.cosine_rows([cell("iterative", 1, {}, series)])
    assert (row["epoch"], row["pair"], row["cosine"], row["norm_ratio"]) == (0, "a/b", -0.5, 0.5)
