# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the documentation: written as they were, drawn from their tables, measured at a tiny size."""

import importlib
import inspect
import re
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
import typer
from PIL import Image
from typer.testing import CliRunner

from semcom.codec.layers.conditioning import CONDITIONINGS
from semcom.errors import ConfigError
from semcom.experiments import ciphers, feedback, orders, receiver, shares, signing, table, waterfall
from semcom.experiments.command import Figure, command_of, options_of
from semcom.experiments.runner import Cell, Experiment, grid, results, run
from semcom.experiments.style import panels
from semcom.kinds.pictures import Picture, samples, write_png
from semcom_training.figures import adaptive, attackers, conditioning, digital, group
from semcom_training.multiuser.output import digits

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "docs" / "figures"
sys.path.insert(0, str(ROOT / "scripts"))

MODULES = (
    *("adaptation_figure", "adaptive_figure", "conditioning_figure", "digital_figure", "feedback_figure"),
    "finetune_figure",
    *("perceptual_figure", "separation_figures", "snr_input_figure", "beside_digital", "hybrid_shares"),
    *("security_figure", "security_cost", "security_attacks", "task_figure", "task_models_figure"),
    *("jescc_figure", "security_attackers"),
)
# they time, or send between processes, or draw what others measured or one picture: nothing that could be kept
WITHOUT_RUNNER = (
    *("gallery", "ldpc_reference", "perceptual_strip", "station_figures", "training_speed", "versus"),
)


@pytest.fixture(params=MODULES)
def figure(request) -> Figure:
    return importlib.import_module(request.param).FIGURE


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A data folder with two small photographs in each of the folders that are only measured on."""
    root = tmp_path_factory.mktemp("data")
    for number, folder in enumerate(("kodak", "photos_valid/div2k_valid_256")):
        for name in "ab":
            pixels = samples()[number].pixels[:256, :256]
            write_png(root / folder / f"{name}.png", np.ascontiguousarray(pixels))
    return root


def test_every_table_is_written_as_it_was(figure):
    path = FIGURES / f"{figure.name}.csv"
    assert table.csv_text(table.read_csv(path), figure.number) == path.read_text()


@pytest.mark.parametrize("path", sorted(FIGURES.glob("*.csv")), ids=lambda path: path.stem)
def test_one_writer_serves_every_table(path):
    numbers = repr, table.rounded(3), table.rounded(4), table.fixed(4), digits
    own = [importlib.import_module(name).FIGURE for name in MODULES]
    numbers += tuple(figure.number for figure in own if figure.name == path.stem)
    rows = table.read_csv(path)
    assert path.read_text() in [table.csv_text(rows, number) for number in numbers]


@pytest.mark.slow
def test_every_figure_is_drawn_and_its_page_names_its_command(figure, tmp_path, data):
    rows = table.read_csv(FIGURES / f"{figure.name}.csv")
    plan = figure.plan(data) if "data" in inspect.signature(figure.plan).parameters else figure.plan()
    (tmp_path / f"{figure.name}.csv").write_text((FIGURES / f"{figure.name}.csv").read_text())
    if figure.draw is not None:
        drawn = figure.redraw(plan, tmp_path)
        assert drawn.name == f"{figure.name}.png" and drawn.stat().st_size > 10_000
    text = figure.page(rows, plan, figure.made_by)
    assert f"Made by `{figure.made_by}`." in text and "nan" not in text
    assert (ROOT / figure.made_by.split()[1]).is_file()


def test_what_scripts_measure_goes_through_the_runner():
    writing = re.compile(r"write_table|markdown_table|write_csv|write_figure|csv\.writer")
    texts = {path.stem: path.read_text() for path in (ROOT / "scripts").glob("*.py")}
    alone = {name for name, text in texts.items() if "semcom.experiments.command" not in text}
    assert {name for name in alone if writing.search(texts[name])} == {*WITHOUT_RUNNER, "tables"}


def test_a_point_of_the_waterfall(tmp_path):
    reference = [{"mcs": "4-2/3", "symbols": 256, "snr_db": 2.5, "blocks": 100, "errors": 81}]
    found = results(run(waterfall.points(reference), tmp_path))
    # what docs/figures/ldpc.csv has, too
    assert [result["errors"] for _, result in found] == [193, 166]
    rows = waterfall.rows(found, reference)
    assert [row["bler"] for row in rows] == [0.965, 0.83]
    assert rows[0]["reference_bler"] is None and rows[1]["reference_bler"] == 0.81
    text = waterfall.text([*rows, rows[1] | {"snr_db": 3.0, "bler": 0.01}], "x")
    assert "| 4-2/3 | 256 | 2.7" in text


def test_a_threshold_is_searched_from_below_and_above(tmp_path, monkeypatch):
    def errors(cell):
        return {"blocks": 200, "errors": 200 if cell.point < 3 else 10 if cell.point < 4 else 0}

    monkeypatch.setattr(waterfall, "block_errors", errors)
    arm = ("4-2/3", 256)
    for start_db in (1.0, 4.0, 7.5):
        assert waterfall._search(arm, 1e-2, 600, start_db, str(tmp_path)) == 4.0
    assert waterfall._search(arm, 0.1, 600, 1.0, str(tmp_path)) == 3.0


@pytest.mark.slow
def test_demands_on_the_receiver(tmp_path):
    plan = receiver.demands(10**6)
    assert len({plan.path(cell, tmp_path) for cell in plan.cells}) == len(plan.cells) > 40
    few = [c for c in plan.cells if c.arm[1] in ("SNR 20 dB, longest burst", "random over 60 dB, SNR 5 dB")]
    found = results(run(Experiment(plan.name, plan.measure, [*few, plan.cells[-1]]), tmp_path))
    (longest, level, alone) = (row for _, row in found)
    assert longest[0] == "100/100" and longest[1] == pytest.approx(19.9, abs=0.1)
    assert level[0] == "200/200" and float(level[2]) < 0.2
    assert alone == ["0", "-", "-"]


@pytest.mark.slow
def test_feedback_beside_a_genie(tmp_path):
    plan = feedback.plan(8, 1)
    few = [c for c in plan.cells if c.arm[:2] == ("Rayleigh, mean 12 dB", "cifar-1-12")]
    found = results(run(Experiment(plan.name, plan.measure, few, plan.settings), tmp_path))
    rows = {row["arm"]: row for row in feedback.rows(found)}
    assert rows["genie"]["beside_genie_db"] == 0 and len(rows) == len(feedback.ARMS)
    assert rows["open, 0 dB"]["beside_genie_db"] < rows["closed, 0 late"]["beside_genie_db"] < 0.05


@pytest.mark.slow
def test_orders_on_a_few_pictures(tmp_path, data):
    plan = orders.plan(data, pictures=2, sample=4, fixed_sample=2)
    few = [cell for cell in plan.cells if cell.arm in ("adaptive", "BPSK")]
    rows = orders.rows(results(run(Experiment(plan.name, plan.measure, few, plan.settings), tmp_path)))
    assert [row["arm"] for row in rows] == ["adaptive"] * 4 + ["BPSK"] * 2
    _, (adapted, lowest) = orders.outcomes(rows, plan)
    assert adapted.sent > 2 * lowest.sent and len(adapted.lost_db) == 4


@pytest.mark.slow
def test_parts_of_the_adaptive_codec(tmp_path, data):
    plan = adaptive.plan(str(data), every=2)
    few = [c for c in plan.cells if c.arm[0] in ("map", "map lost") and c.point == 10]
    few += [
        c for c in plan.cells if c.arm[0] == "quantised" and c.arm[1].startswith("content") and c.point == 6
    ]
    few += [c for c in plan.cells if c.arm == ("loss", "content-adaptive") and c.point == 0]
    found = results(run(Experiment(plan.name, plan.measure, few, plan.settings), tmp_path))
    lost, linear, clear, bits, share, labels, analog, whole = (value for _, value in found)
    assert linear < clear < lost + 1 and lost < whole and 10 < bits < 5000 and 0 < share < 0.2
    assert 20 < labels < analog


@pytest.mark.slow
def test_how_the_snr_enters_is_trained_and_measured(tmp_path):
    # a photograph in small squares stands for CIFAR-10
    cifar = tmp_path / "data" / "cifar10"
    cifar.mkdir(parents=True)
    sheet = np.tile(samples()[0].pixels[:256, :200], (5, 4, 1))
    for split in ("train", "test"):
        Image.fromarray(sheet).save(cifar / f"{split}_00.webp", lossless=True)
    plan = conditioning.plan(str(tmp_path / "data"), tmp_path / "trainings", steps=2, seeds=1, images=2)
    assert [cell.arm for cell in plan.cells] == list(CONDITIONINGS)
    few = [cell for cell in plan.cells if cell.arm in ("af", "query", "none")]
    found = results(run(Experiment(plan.name, plan.measure, few, plan.settings), tmp_path / "cells"))
    rows = {row["conditioning"]: row for row in conditioning.rows(found)}
    assert rows["query"]["macs"] > rows["af"]["macs"] > rows["none"]["macs"] == 7_299_072
    assert rows["af"]["parameters"] - rows["none"]["parameters"] == 708
    assert all(5 < rows[arm]["20 dB"] < 40 for arm in rows)


@pytest.mark.slow
def test_digital_latents_beside_analog_ones(tmp_path, data, monkeypatch):
    squares = [(str(n), picture.pixels[:32, :32]) for n, picture in enumerate(samples()[:2])]
    monkeypatch.setattr(digital, "_images", lambda name, data: squares)
    plan = digital.plan(str(data))
    few = [c for c in plan.cells if c.arm[2] == "cifar-1-12" and c.point == 10 and c.arm[4] in (0, 4, 256)]
    rows = digital.rows(results(run(Experiment(plan.name, plan.measure, few), tmp_path)))
    off = {(row["codebook"], row["order"]): row["from_analog_db"] for row in rows}
    assert off["", 0] == 0 and off["uniform", 4] < off["uniform", 256] < 0


def few_of(plan, pick, folder):
    """What is measured of the cells of a plan that ``pick`` takes."""
    few = [cell for cell in plan.cells if pick(cell)]
    return results(run(Experiment(plan.name, plan.measure, few, plan.settings), folder))


def test_signed_bursts(tmp_path):
    plan = signing.plan(0.001)
    plan.cells[:] = [Cell((*cell.arm[:3], min(cell.arm[3], 1000)), 20.0) for cell in plan.cells]
    found = few_of(plan, lambda cell: cell.arm[2] in (0, 4) and cell.arm[0] != signing.FIRST, tmp_path)
    table = signing.rows(found)
    samples_of = [row["value"] for row in table if row["what"] == signing.AIRTIME]
    assert samples_of[0] < samples_of[1] < samples_of[2] < samples_of[3]
    assert all(row["value"] == row["of"] for row in table if row["what"] == signing.KNOWN)
    assert table[-1]["what"] == signing.TAGS and table[-1]["value"] == 0


@pytest.mark.slow
def test_ciphers(tmp_path, monkeypatch):
    squares = [Picture(p.name, np.ascontiguousarray(p.pixels[:64, :64])) for p in samples()[:2]]
    monkeypatch.setattr(ciphers, "samples", lambda: squares)
    two = next(iter(ciphers.PAYLOADS)), ciphers.ANALOG
    plan = ciphers.cost_plan()
    found = few_of(
        plan, lambda c: c.point == 10 and c.arm[1] in two and c.arm[2] != ciphers.LATTICE, tmp_path
    )
    at = {(row["payload"], row["cipher"]): row["psnr_db"] for row in ciphers.cost_rows(found)}
    for what in two:
        assert at[what, ciphers.SCRAMBLE] == pytest.approx(at[what, ciphers.OPEN], abs=1)
    assert at[ciphers.ANALOG, ciphers.RING] < at[ciphers.ANALOG, ciphers.OPEN] - 2
    ((_, attacks),) = few_of(ciphers.attacks_plan(), lambda cell: cell.point == 20, tmp_path)
    clear, holder, stranger, wrong, known, twice, colour = attacks.values()
    assert max(stranger, wrong, known) < colour < min(clear, holder, twice) - 5


def test_shares_of_a_hybrid():
    found = [(Cell(("m",), 4.0), [{"0": 20.0, "32": 22.0, "4": 25.0}, {"0": 30.0, "32": 28.0}])]
    values = {row["way"]: row["psnr_db"] for row in shares.rows(found)}
    assert values == {"latents alone": 25.0, "bits alone": 25.0, "best with 4/32": 27.5, "best of all": 27.5}
    assert "| 4 dB | 25.00 | 25.00 | 27.50 | 27.50 |" in shares.text(shares.rows(found), None, "x")


@pytest.mark.slow
def test_attackers_who_learn(tmp_path, monkeypatch):
    pictures = torch.rand(200, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(
        attackers, "_labelled", lambda data, split, n: (pictures[:n], torch.arange(200)[:n] % 10)
    )
    monkeypatch.setattr(attackers, "SEARCH_STEPS", 2)
    plan = attackers.plan(str(tmp_path), pairs=128, steps=1)
    found = few_of(plan, lambda cell: cell.arm[1] in ("none", "ring"), tmp_path)
    rows = attackers.rows(found)
    assert [row["cipher"] for row in rows] == ["none"] * 4 + ["ring"] * 4
    assert {row["accuracy"] is None for row in rows if row["attacker"] == attackers.INVERSION} == {True}
    assert "Attackers who learn" in attackers.text(rows, plan, "x")


def toy_figure(marks, arms) -> Figure:
    def plan(count: int = 2) -> Experiment:
        """Measures toys."""
        return Experiment("toy", partial(toy.measure, folder=str(marks)), grid(arms, range(count)))

    def rows(found):
        return [{"arm": cell.arm, "value": result["value"]} for cell, result in found]

    def draw(rows, experiment):
        figure, ((axes,),) = panels()
        axes.plot([row["value"] for row in rows])
        return figure

    return Figure(
        "toy", "make toy", plan, rows, lambda *arguments: table.page("Toys", made_by=arguments[2]), draw
    )


def invoke(figure, folder, *arguments):
    app = typer.Typer()
    app.command()(command_of(figure, folder))
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_the_command_line_of_a_figure(tmp_path):
    marks, figures = tmp_path / "marks", tmp_path / "figures"
    marks.mkdir()
    kept = "--out", tmp_path / "kept"
    done = invoke(toy_figure(marks, ["a"]), figures, "--count", 3, *kept)
    assert done.exit_code == 0, done.output
    assert (figures / "toy.csv").read_text() == "arm,value\na,0\na,1\na,2\n"
    assert (
        figures / "toy.md"
    ).read_text() == "# Toys\n\nMade by `make toy`.\n" and "[3/3] a, 2" in done.output
    (figures / "toy.png").unlink()
    assert invoke(toy_figure(marks, ["a"]), figures, "--redraw").exit_code == 0
    assert (figures / "toy.png").stat().st_size > 1000 and len(list(marks.iterdir())) == 3

    before = (figures / "toy.csv").read_text()
    failed = invoke(toy_figure(marks, ["refused", "a"]), figures, *kept)
    words = " ".join(failed.output.split())
    assert (
        failed.exit_code == 1 and "2 of 4 cells failed: (refused, 0, seed 0), (refused, 1, seed 0)" in words
    )
    assert (figures / "toy.csv").read_text() == before
    wrong = invoke(toy_figure(marks, ["a"]), figures, *kept, "--cluster-option", "timeout")
    assert wrong.exit_code == 2 and "KEY=VALUE" in wrong.output
    nothing = invoke(toy_figure(marks, ["a"]), tmp_path / "empty", "--redraw")
    assert nothing.exit_code == 2 and "cannot be read" in nothing.output


def test_options_of_a_cluster():
    assert options_of(["timeout_min=60", "slurm_partition=cpu"]) == {
        "timeout_min": 60,
        "slurm_partition": "cpu",
    }
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        options_of(["=3"])


def test_tables_keep_what_they_are_given(tmp_path):
    rows = [{"a": 1.23456, "b": None, "c": "x, y"}, {"a": 1e-9, "b": 2, "c": ""}]
    path = table.write_csv(tmp_path / "t.csv", rows, {"a": table.fixed(2)})
    assert path.read_text() == 'a,b,c\n1.23,,"x, y"\n0.00,2,\n'
    assert table.read_csv(path) == [{"a": 1.23, "b": None, "c": "x, y"}, {"a": 0.0, "b": 2, "c": None}]
    assert table.markdown_table(["h", "i"], [[1, 2.345]]) == "| h | i |\n|---|---|\n| 1 | 2.35 |".replace(
        "2.35", f"{2.345:.2f}"
    )
    assert str(Cell(("a", "", 4), 0.5, 2)) == "a 4, 0.5, seed 2"


def test_rules_of_a_group_and_what_they_lose():
    assert group.share_served((0, 5, 10, 15, 20), 0.8) == 5 and group.share_served((5, 10, 15), 0.5) == 10
    # a user's PSNR is its SNR less what the allocation is off by
    value = [
        {"allocated_db": round(at, 2), "snr_db": snr, "psnr_db": snr - abs(at - snr)}
        for snrs in group.GROUPS_DB.values()
        for at in [*(float(rule(snrs)) for rule in group.RULES.values()), *map(float, snrs)]
        for snr in snrs
    ]
    assert group.lost_db(value, (5, 10, 15), min) == (5, pytest.approx(5), 10)
    assert group.lost_db(value, (5, 10, 15), group.RULES["mean in dB"]) == (10, pytest.approx(10 / 3), 5)
