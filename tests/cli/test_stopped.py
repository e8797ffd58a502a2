# SPDX-License-Identifier: GPL-3.0-or-later
"""Long commands that are stopped: what was done is whole and kept, the exit status tells, and --resume goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.kinds.pictures import read_picture, write_png

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def start(*arguments):
    # a shell that runs tests in the background has SIGINT ignored, and that is inherited
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from semcom.cli.main import app; app()"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TERM": "dumb"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def lines(path):
    return path.read_text().count('"result"') if path.exists() else 0


def stop_at(process, ready, number=signal.SIGINT):
    """Signals a process as soon as ``ready``; its words and exit status."""
    end = time.monotonic() + 120
    while not ready() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return out, err, process.returncode


@pytest.fixture
def folder(tmp_path):
    """Forty noisy pictures."""
    generator = np.random.default_rng(0)
    for number in range(40):
        write_png(tmp_path / "in" / f"p{number:02d}.png", generator.integers(0, 256, (64, 64, 3), np.uint8))
    return tmp_path / "in"


WAYS = [
    pytest.param(["--no-radio"], signal.SIGINT, id="no-radio"),
    pytest.param([], signal.SIGTERM, id="flowgraph", marks=[pytest.mark.radio, pytest.mark.slow]),
]


@pytest.mark.slow
@pytest.mark.parametrize("way, number", WAYS)
def test_loopback_keeps_what_it_has_and_goes_on(tmp_path, folder, tiny_model, way, number):
    out, report = tmp_path / "out", tmp_path / "r.json"
    command = ["loopback", folder, "--model", tiny_model, "--no-lpips", "--out", out, "--json", report, *way]
    kept = tmp_path / "r.jsonl"
    _, err, status = stop_at(start(*command), lambda: lines(kept) >= 3, number)
    assert status == 128 + number, err
    assert "Stopped." in err and "--resume" in err and str(kept) in err.replace("\n", "")
    there = lines(kept)
    assert 3 <= there < 40 and not report.exists()
    entries = [json.loads(line) for line in kept.read_text().splitlines()]
    named = {entry["result"]["file"] for entry in entries if "result" in entry}
    assert named <= {path.name for path in out.iterdir()}
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for path in out.iterdir():
        assert read_picture(path).pixels.shape == (64, 64, 3)

    done = run(*command, "--resume")
    assert done.exit_code == 0, done.output
    rows = json.loads(report.read_text())
    assert [row["image"] for row in rows] == sorted(path.name for path in folder.iterdir())
    assert lines(kept) == 40
    assert all((out / name).read_bytes() == content for name, content in before.items())


def test_resume_refuses_other_settings(tmp_path, picture_file, tiny_model):
    command = ["loopback", picture_file, "--model", tiny_model, "--no-lpips", "--no-radio"]
    command += ["--out", tmp_path / "out"]
    assert run(*command).exit_code == 0
    done = run(*command, "--resume", "--channel", "rayleigh")
    assert done.exit_code == 2 and "channel" in done.output and "cannot be resumed" in done.output
    done = run(*command[:-2], "--resume")
    assert done.exit_code == 2 and "--out" in done.output


def test_a_second_run_overwrites_nothing(tmp_path, picture_file, tiny_model):
    out = tmp_path / "out"
    command = ["loopback", picture_file, "--model", tiny_model, "--no-lpips", "--no-radio", "--out", out]
    assert run(*command).exit_code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert run(*command, "--seed", 1).exit_code == 0
    assert len(list(out.iterdir())) == 2 * len(before)
    assert all((out / name).read_bytes() == content for name, content in before.items())


@pytest.mark.slow
@settings(max_examples=3, suppress_health_check=list(HealthCheck))
@given(fraction=st.floats(0, 1))
def test_stopped_at_any_moment_files_are_whole_or_absent(tmp_path_factory, folder, tiny_model, fraction):
    place = tmp_path_factory.mktemp("any")
    command = ["loopback", folder, "--model", tiny_model, "--no-lpips", "--no-radio", "--out", place]
    process = start(*command)
    wanted = int(40 * fraction)
    stop_at(process, lambda: len(list(place.glob("*.png"))) >= wanted)
    for path in place.iterdir():
        if path.suffix == ".png":
            read_picture(path)
        else:
            assert path.name == "results.jsonl"
            assert all(isinstance(json.loads(line), dict) for line in path.read_text().splitlines())
    done = run(*command, "--resume")
    assert done.exit_code == 0, done.output
    assert lines(place / "results.jsonl") == 40


@pytest.mark.slow
@pytest.mark.parametrize("command", ["evaluate", "loopback"])
def test_a_disk_that_fills_is_counted_once_and_what_is_there_is_whole(tmp_path, folder, tiny_model, command):
    """The disk is a limit of the size of files, which the lines of results meet."""
    report = tmp_path / "r.json"
    words = ["--data"] if command == "evaluate" else ["--no-radio"]
    arguments = [command, *words, folder, "--model", tiny_model, "--no-lpips", "--csv", tmp_path / "r.csv"]
    code = (
        "import resource, signal; from semcom.cli.main import app\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8000, resource.RLIM_INFINITY)); app()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    kept = (tmp_path / "r.jsonl").read_text()
    assert kept.endswith("\n") and all(json.loads(line) for line in kept.splitlines())
    assert done.stderr.count("results cannot be written: File too large") == 1
    there = lines(tmp_path / "r.jsonl")
    assert 0 < there < 40 and f"{40 - there} results cannot" in done.stderr
    assert not report.exists() and "PSNR" in done.stdout
    assert run(*arguments, "--resume").exit_code == 0
    assert lines(tmp_path / "r.jsonl") == 40


@pytest.mark.slow
def test_evaluate_keeps_what_it_has_and_goes_on(tmp_path, folder, tiny_model):
    report, kept = tmp_path / "e.json", tmp_path / "e.jsonl"
    command = ["evaluate", "--data", folder, "--model", tiny_model, "--json", report, "--snr-db", 5]
    command += ["--snr-db", 10, "--snr-db", 15]
    _, err, status = stop_at(start(*command), lambda: lines(kept) >= 1)
    assert status == 130 and "of 120 results are kept in" in err, err
    there = lines(kept)
    done = run(*command, "--resume")
    assert done.exit_code == 0 and f"{there} of 120 results were kept before" in done.output.replace(
        "\n", " "
    )
    rows = json.loads(report.read_text())
    assert [row["snr_db"] for row in rows] == [5] * 40 + [10] * 40 + [15] * 40
    assert len({(row["image"], row["snr_db"]) for row in rows}) == lines(kept) == 120


def test_tolerance_goes_on_with_the_orders_that_it_has(tmp_path, folder, monkeypatch):
    from semcom.adaptation import tolerance

    card, measured = tmp_path / "card" / "mine.json", []

    def largest(trial, order, *rule):
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(order)
        return 0.01

    monkeypatch.setattr(tolerance, "_largest_rate", largest)
    command = ["tolerance", "cifar-1-12", "--data", folder, "--side", 32, "--pictures", 40, "--share", 0.1]
    command += ["--bits-per-latent", 2, "--out", card]
    assert run(*command).exit_code != 0 and not card.exists()
    first = list(measured)
    measured.clear()
    done = run(*command, "--resume")
    assert done.exit_code == 0 and card.exists(), done.output
    assert len(first) == len(measured) == 3 and not set(first) & set(measured)


@pytest.mark.slow
def test_compare_keeps_its_points_and_goes_on(tmp_path, folder):
    for path in sorted(folder.iterdir())[2:]:
        path.unlink()
    out = tmp_path / "out"
    command = [
        "compare",
        "--data",
        folder,
        "--out",
        out,
        "--model",
        "cifar-1-12",
        "--source",
        "jpeg",
        "--orders",
        "",
    ]
    command += ["--mcs", "", "--no-lpips", "--snr-db", 0, "--snr-db", 10]
    points = out / "compare.points"
    _, err, status = stop_at(start(*command), lambda: len(list(points.glob("*.json"))) >= 2, signal.SIGTERM)
    assert status == 143 and "points are kept in" in err and str(points) in err.replace("\n", ""), err
    before = {path: path.read_bytes() for path in points.glob("*.json")}
    done = run(*command)
    assert done.exit_code == 0 and f"{len(before)} of 10 points" in done.output.replace("\n", " "), (
        done.output
    )
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.slow
def test_demo_that_was_stopped_goes_on(tmp_path):
    out = tmp_path / "demo"
    command = ["demo", "--out", out, "--no-radio", "--snr-db", 5, "--snr-db", 15, "--no-open"]
    kept = out / "received" / "results.jsonl"
    _, err, status = stop_at(start(*command), lambda: lines(kept) >= 1)
    assert status == 130 and "of 8 results are kept in" in err, err
    done = run(*command, "--resume")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "report.png"]
