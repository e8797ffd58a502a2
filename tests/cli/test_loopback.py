# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom loopback``, ``evaluate`` and ``demo``, from files to files."""

import json
import os

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.cli.output import KEYS
from semcom.kinds.pictures import samples, write_png


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def strict(path_or_text):
    """Parses JSON, refusing NaN and Infinity."""

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    text = path_or_text.read_text() if hasattr(path_or_text, "read_text") else path_or_text
    return json.loads(text, parse_constant=refuse)


WAYS = [
    pytest.param(["--no-radio"], id="no-radio"),
    pytest.param([], id="flowgraph", marks=pytest.mark.radio),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [b"caf\xe9.png", b"\xff" * 240 + b".png", b"a\nb\x1b[31m.png"])
@pytest.mark.slow
def test_names_that_are_not_utf8_lose_no_result(tmp_path, picture_file, tiny_model, way, name):
    there = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
    os.link(picture_file, there)
    report, out = tmp_path / "r.json", tmp_path / "out"
    done = run("loopback", there, picture_file, "--model", tiny_model, "--out", out, "--json", report, *way)
    assert done.exit_code == 0, done.output
    rows = strict(report)
    assert len(rows) == 2 and rows[0]["image"].isprintable() and rows[0]["psnr_db"] > 10
    assert len(list(out.iterdir())) == 2


@pytest.mark.parametrize("way", WAYS)
def test_files_to_files(tmp_path, picture_file, tiny_model, way):
    out, report = tmp_path / "new" / "out", tmp_path / "results" / "r.json"
    done = run(
        "loopback",
        picture_file,
        "--model",
        tiny_model,
        "--snr-db",
        10,
        "--snr-db",
        20,
        "--channel",
        "awgn",
        "--cfo-hz",
        1000,
        "--sro-ppm",
        5,
        "--seed",
        3,
        "--out",
        out,
        "--json",
        report,
        *way,
    )
    assert done.exit_code == 0, done.output
    rows = strict(report)
    assert [row["snr_db"] for row in rows] == [10, 20]
    for row in rows:
        assert set(KEYS) <= set(row) and "picture" not in row
        assert row["image"] == "pattern.png"
        assert row["bursts_sent"] == row["bursts_found"] > 0 and row["bursts_lost"] == 0
        assert abs(row["snr_est_db"] - row["snr_db"]) < 2
        assert 0 < row["rho"] < 1 and 0 < row["overhead"] < 1 and row["real_time_factor"] > 0
        assert row["ms_ssim"] is None  # too small a picture for it
    for name in ("pattern_10dB.png", "pattern_20dB.png"):
        assert np.asarray(Image.open(out / name)).shape == (32, 48, 3)
    assert "pattern.png" in done.stdout


@pytest.mark.parametrize("way", WAYS)
def test_nothing_arrives(tmp_path, picture_file, tiny_model, way):
    report = tmp_path / "r.json"
    done = run(
        "loopback",
        picture_file,
        "--model",
        tiny_model,
        "--drop",
        1,
        "--json",
        report,
        "--out",
        tmp_path / "o",
        *way,
    )
    assert done.exit_code == 0, done.output
    (row,) = strict(report)
    assert row["psnr_db"] is None and row["snr_est_db"] is None
    assert row["bursts_found"] == 0 and row["bursts_lost"] == row["bursts_sent"] > 0
    assert list((tmp_path / "o").iterdir()) == []


def test_the_same_seed_gives_the_same_numbers(tmp_path, picture_file, tiny_model):
    def psnr(seed):
        report = tmp_path / "r.json"
        done = run(
            "loopback", picture_file, "--model", tiny_model, "--seed", seed, "--json", report, "--no-radio"
        )
        assert done.exit_code == 0, done.output
        return strict(report)[0]["psnr_db"]

    assert psnr(1) == psnr(1) != psnr(2)


def test_json_on_the_standard_output(picture_file, tiny_model):
    done = run("loopback", picture_file, "--model", tiny_model, "--no-radio", "--json", "-")
    assert done.exit_code == 0, done.output
    assert strict(done.stdout)[0]["image"] == "pattern.png"


def test_equal_names_do_not_overwrite_each_other(tmp_path, picture_file, tiny_model):
    other = tmp_path / "other"
    other.mkdir()
    (other / picture_file.name).write_bytes(picture_file.read_bytes())
    done = run("loopback", picture_file, other, "--model", tiny_model, "--no-radio", "--out", tmp_path / "o")
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in (tmp_path / "o").glob("*.png")) == [
        "pattern-2_10dB.png",
        "pattern_10dB.png",
    ]


class TestBadInput:
    def test_strict_names_every_bad_picture_and_sends_nothing(self, tmp_path, picture_file, tiny_model):
        (tmp_path / "text.png").write_text("no picture")
        (tmp_path / "cut.png").write_bytes(picture_file.read_bytes()[:60])
        report = tmp_path / "r.json"
        done = run("loopback", tmp_path, "--model", tiny_model, "--no-radio", "--json", report, "--strict")
        assert done.exit_code == 2
        assert all(word in done.output for word in ("text.png", "cut.png", "Nothing was done", "--strict"))
        assert not report.exists()

    def test_a_bad_picture_is_named_counted_and_left_out(self, tmp_path, picture_file, tiny_model):
        (tmp_path / "text.png").write_text("no picture")
        (tmp_path / "notes.txt").touch()
        report = tmp_path / "r.json"
        done = run("loopback", tmp_path, "--model", tiny_model, "--no-radio", "--json", report)
        assert done.exit_code == 0, done.output
        words = done.output.replace("\n", " ")
        assert "skipped" in words and "text.png" in words and "1 of 2 were skipped" in words
        assert "1 files" in words and "(.txt)" in words
        assert [row["image"] for row in strict(report)] == ["pattern.png"]

    def test_nothing_good(self, tmp_path, tiny_model):
        (tmp_path / "text.png").write_text("no picture")
        assert run("loopback", tmp_path, "--model", tiny_model, "--no-radio").exit_code == 2

    def test_a_path_that_does_not_exist_is_a_mistake(self, tmp_path, picture_file, tiny_model):
        done = run("loopback", picture_file, tmp_path / "typo.png", "--model", tiny_model, "--no-radio")
        assert done.exit_code == 2 and "typo.png does not exist" in done.output.replace("\n", "")

    def test_unknown_model(self, picture_file):
        done = run("loopback", picture_file, "--model", "no-such-model", "--no-radio")
        assert done.exit_code == 2 and "no-such-model" in done.output

    def test_altered_weights(self, picture_file, tiny_model, tmp_path):
        for file in tiny_model.parent.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        weights = bytearray((tmp_path / "tiny.safetensors").read_bytes())
        weights[-1] ^= 1
        (tmp_path / "tiny.safetensors").write_bytes(weights)
        done = run("loopback", picture_file, "--model", tmp_path / "tiny.json", "--no-radio")
        assert done.exit_code == 2 and "sha256" in done.output

    def test_carrier_offset_out_of_reach(self, picture_file, tiny_model):
        done = run("loopback", picture_file, "--model", tiny_model, "--cfo-hz", 40_000, "--no-radio")
        assert done.exit_code == 2 and "sample rate" in done.output
        done = run(
            "loopback",
            picture_file,
            "--model",
            tiny_model,
            "--cfo-hz",
            40_000,
            "--sample-rate",
            4e6,
            "--no-radio",
        )
        assert done.exit_code == 0, done.output

    @pytest.mark.parametrize("option", ["--out", "--json"])
    def test_output_that_cannot_be_written_is_known_before(self, tmp_path, picture_file, option, monkeypatch):
        (tmp_path / "file").touch()
        done = run(
            "loopback",
            picture_file,
            "--model",
            "never-looked-at",
            "--no-radio",
            option,
            tmp_path / "file" / "x",
        )
        assert done.exit_code == 2
        assert "cannot be written" in done.output or "is a file" in done.output

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_read_only_folder(self, tmp_path, picture_file):
        (tmp_path / "ro").mkdir(mode=0o500)
        done = run("loopback", picture_file, "--no-radio", "--out", tmp_path / "ro" / "x")
        assert done.exit_code == 2 and "cannot be written" in done.output

    def test_no_radio_on_this_machine(self, monkeypatch, picture_file, tiny_model):
        monkeypatch.setitem(__import__("sys").modules, "gnuradio", None)
        monkeypatch.setitem(__import__("sys").modules, "gnuradio.gr", None)
        done = run("loopback", picture_file, "--model", tiny_model)
        assert done.exit_code == 2
        assert "--no-radio" in done.output and "semcom doctor" in done.output


class TestEvaluate:
    def test_same_keys_as_loopback(self, tmp_path, picture_file, tiny_model):
        report = tmp_path / "e.json"
        done = run(
            "evaluate",
            "--model",
            tiny_model,
            "--data",
            tmp_path,
            "--snr-db",
            0,
            "--snr-db",
            10,
            "--json",
            report,
        )
        assert done.exit_code == 0, done.output
        rows = strict(report)
        assert [(row["image"], row["snr_db"]) for row in rows] == [("pattern.png", 0), ("pattern.png", 10)]
        assert set(KEYS) <= set(rows[0])
        assert rows[0]["bursts_sent"] is None

    def test_cifar_folder_and_limit(self, tmp_path, tiny_model):
        sheet = np.random.default_rng(0).integers(0, 256, (40 * 32, 25 * 32, 3), dtype=np.uint8)
        Image.fromarray(sheet).save(tmp_path / "test_00.webp", lossless=True)
        report = tmp_path / "e.json"
        done = run("evaluate", "--model", tiny_model, "--data", tmp_path, "--limit", 3, "--json", report)
        assert done.exit_code == 0, done.output
        assert [row["image"] for row in strict(report)] == ["test_00000", "test_00001", "test_00002"]

    def test_no_such_folder(self, tmp_path, tiny_model):
        done = run("evaluate", "--model", tiny_model, "--data", tmp_path / "none")
        assert done.exit_code == 2 and "does not exist" in done.output


class TestDemo:
    @pytest.mark.slow
    def test_report(self, tmp_path, tiny_model):
        done = run(
            "demo",
            "--model",
            tiny_model,
            "--snr-db",
            10,
            "--no-radio",
            "--out",
            tmp_path / "demo",
            "--no-open",
            "--json",
            tmp_path / "d.json",
        )
        assert done.exit_code == 0, done.output
        page = (tmp_path / "demo" / "report.html").read_text()
        assert page.count("data:image/png;base64,") == 8 and 'src="http' not in page
        assert all(words in page for words in ("Es/N0 in dB", "PSNR", "astronaut.png", "received at 10 dB"))
        with Image.open(tmp_path / "demo" / "report.png") as image:
            assert min(image.size) > 400
        assert len(strict(tmp_path / "d.json")) == 4

    @pytest.mark.slow
    def test_goes_on_without_gnuradio(self, tmp_path, tiny_model, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "gnuradio", None)
        monkeypatch.setitem(__import__("sys").modules, "gnuradio.gr", None)
        done = run("demo", "--model", tiny_model, "--snr-db", 10, "--out", tmp_path / "demo", "--no-open")
        assert done.exit_code == 0, done.output
        assert "without it" in done.output

    @pytest.mark.slow
    def test_a_picture_that_never_arrived_is_shown_as_such(self, tmp_path, tiny_model):
        done = run(
            "demo",
            "--model",
            tiny_model,
            "--snr-db",
            10,
            "--drop",
            1,
            "--no-radio",
            "--out",
            tmp_path,
            "--no-open",
        )
        assert done.exit_code == 0, done.output
        assert "nothing arrived" in (tmp_path / "report.html").read_text()


class TestTrain:
    def test_unknown_recipe(self, tmp_path):
        done = run("train", "no-such-recipe", "--data", tmp_path)
        assert done.exit_code == 2 and "no-such-recipe" in done.output

    def test_no_data(self, tmp_path):
        done = run("train", "cifar-1-12", "--data", tmp_path / "none")
        assert done.exit_code == 2 and "does not exist" in done.output


def test_models_without_traceback():
    assert run("models").exit_code == 0


@pytest.mark.parametrize("option", [("--mcs", "16-3/4"), ("--source", "jpeg"), ("--header-bytes", "25")])
def test_options_of_the_rival_without_it_are_refused(picture_file, option):
    done = run("loopback", picture_file, "--no-radio", *option)
    assert done.exit_code != 0
    words = " ".join(done.output.split())
    assert option[0] in words and "add --scheme separation" in words


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.slow
def test_a_picture_that_could_not_be_decoded_is_called_so(tmp_path, way):
    picture, report = tmp_path / "square.png", tmp_path / "r.json"
    write_png(picture, np.ascontiguousarray(samples()[0].pixels[:128, :128]))
    rival = ["--scheme", "separation", "--source", "jpeg", "--mcs", "64-3/4"]
    done = run("loopback", picture, *way, *rival, "--snr-db", 5, "--snr-db", 30, "--json", report)
    assert done.exit_code == 0, done.output
    low, high = strict(report)
    assert (low["decoded"], high["decoded"]) == (False, True)
    assert low["bursts_lost"] == 0 and low["mcs"] == high["mcs"] == "64-3/4"
    assert " ".join(done.output.split()).count("(not") == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_picture_that_cannot_be_sent_costs_one_picture(tmp_path, picture_file, way):
    """Whatever stands in its way is found behind the reading, in the codec of the one picture."""
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    options = ["--model", "cifar-1-12", "--set", "mcs=4-1/5", "--set", "source=jpeg", "--no-lpips", *way]
    some = run("loopback", tmp_path / "one.png", picture_file, *options, "--json", tmp_path / "rows.json")
    text = " ".join(some.output.split())
    assert some.exit_code == 1 and "1 of 2 pictures could not be sent. one.png: 4 symbols of 4-1/5" in text
    assert "1 of 2 pictures not sent; PSNR" in text and "pictures lost" not in text
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert rows[0]["not_sent"].startswith("4 symbols") and rows[1]["bursts_found"] == 1
    none = run("loopback", tmp_path / "one.png", *options)
    assert none.exit_code == 2 and "1 of 1 pictures could not be sent" in none.output


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_of_models_can_be_read_on_narrow_screens(monkeypatch, columns):
    from semcom.system import zoo

    monkeypatch.setenv("COLUMNS", str(columns))
    done = run("models")
    assert done.exit_code == 0 and "\u2026" not in done.output
    assert max(map(len, done.output.splitlines())) <= columns
    words = done.output.split()
    for name in zoo.names():
        card = zoo.card(name)
        assert (name if card.anchor is None else card.architecture) in words
        assert {measured["set"].split()[0] for measured in card.tables("psnr_db", "awgn")} <= set(words)
