# SPDX-License-Identifier: GPL-3.0-or-later
"""``--set NAME=VALUE``: the fields of the payloads, without an option of their own each."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.kinds.pictures import samples, write_png


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("pictures")
    write_png(out / "a.png", np.ascontiguousarray(samples()[0].pixels[:128, :128]))
    return out


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def rows(*words, report):
    done = run(*words, "--no-lpips", "--json", report)
    assert done.exit_code == 0, done.output
    return json.loads(report.read_text())


@pytest.mark.parametrize("command", ["evaluate", "loopback"])
def test_half_the_rate_is_half_the_symbols(folder, tmp_path, command):
    what = ["--data", folder] if command == "evaluate" else [folder, "--no-radio"]
    (whole,) = rows(command, *what, "--model", "photo-linear", report=tmp_path / "whole.json")
    half = ["--model", "photo-linear", "--set", "rate=0.5"]
    (part,) = rows(command, *what, *half, report=tmp_path / "half.json")
    assert part["rho"] == pytest.approx(whole["rho"] / 2, rel=0.01) and part["psnr_db"] < whole["psnr_db"]


def test_a_setting_says_the_same_as_the_option(folder, tmp_path):
    what = ["loopback", folder, "--no-radio", "--model", "cifar-1-12"]
    (one,) = rows(*what, "--order", 16, report=tmp_path / "one.json")
    (other,) = rows(*what, "--set", "order=16", report=tmp_path / "other.json")
    assert one["psnr_db"] == other["psnr_db"] and other["system"] == "cifar-1-12, quantised, order 16"


@pytest.mark.parametrize("way", [["--no-radio"], pytest.param([], marks=pytest.mark.slow)])
def test_a_target_sends_fewer_symbols_where_less_is_asked_for(folder, tmp_path, way):
    what = ["loopback", folder, *way, "--model", "photo-adaptive"]
    low, high = (
        rows(*what, "--target-psnr-db", target, report=tmp_path / f"{target}.json")[0] for target in (22, 29)
    )
    assert low["rho"] < high["rho"] and low["psnr_db"] > 20 and high["psnr_db"] > 27


@pytest.mark.parametrize("target", ["-3", "nan", "1000"])
def test_targets_that_are_none_are_refused_by_name(folder, target):
    done = run("loopback", folder, "--no-radio", "--model", "photo-adaptive", "--target-psnr-db", target)
    assert done.exit_code == 2 and "number, 10 to 60" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--target-psnr-db", "30"], "has one rate"),
        (["--target-psnr-db", "30", "--set", "target_psnr_db=30"], "given twice"),
        (["--target-psnr-db", "30", "--order", "16"], "belong to different ways"),
        (["--set", "rate"], "takes NAME=VALUE"),
        (["--set", "rate=0.5", "--set", "rate=1"], "given twice"),
        (["--set", "rate=0.5"], "one bandwidth ratio"),
        (["--set", "colour=red"], "there is no such setting"),
        (["--set", "mcs=17-1/2"], "17-1/2"),
        (["--scheme", "separation", "--set", "rate=0.5"], "those are for latents"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_sent(folder, words, complaint):
    done = run("loopback", folder, "--no-radio", "--model", "cifar-1-12", *words)
    assert done.exit_code == 2 and complaint in " ".join(done.output.split()), done.output


def test_a_classifier_is_measured_where_classes_are_known(folder):
    done = run("evaluate", "--data", folder, "--model", "photo-1-12", "--set", "mcs=4-1/2")
    assert done.exit_code == 2 and "semcom compare" in " ".join(done.output.split())


def test_a_map_that_outlives_lost_bursts(folder, tmp_path):
    careful = ["--model", "photo-linear", "--set", "side_loss=0.3"]
    (row,) = rows("loopback", folder, "--no-radio", *careful, report=tmp_path / "careful.json")
    assert row["psnr_db"] > 20 and not row.get("side_information_lost")
    wrong = run("loopback", folder, "--no-radio", "--model", "photo-linear", "--set", "side_loss=0.4")
    assert wrong.exit_code == 2 and "0.1, 0.3, 0.6" in wrong.output
    without = run("loopback", folder, "--no-radio", "--model", "cifar-1-12", "--set", "side_loss=0.3")
    assert without.exit_code == 2 and "leave side_loss out" in " ".join(without.output.split())
