# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.kinds.pictures import samples, write_png

run = CliRunner().invoke


@pytest.fixture
def folder(tmp_path):
    write_png(tmp_path / "in" / "a.png", np.ascontiguousarray(samples()[0].pixels[::2, ::2][:96, :96]))
    return tmp_path / "in"


def said(result):
    return " ".join(result.output.split())


@pytest.mark.slow
def test_compare_writes_its_four_files(folder, tmp_path):
    out = tmp_path / "out"
    options = [
        "--model",
        "cifar-1-12",
        "--source",
        "jpeg",
        "--orders",
        "",
        "--mcs",
        "16-3/4",
        "--snr-db",
        "20",
    ]
    result = run(app, ["compare", "--data", str(folder), "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == [
        "compare.csv",
        "compare.md",
        "compare.png",
        "compare_strip.jpg",
    ]
    assert "LPIPS" in (out / "compare.md").read_text()


@pytest.mark.parametrize(
    "options, words",
    [
        (["--mcs", "16-9/10"], "no modulation and coding scheme '16-9/10'"),
        (["--orders", "four"], "--orders takes numbers"),
        (["--orders", "5"], "5"),
        (["--digital-model", "cifar-1-6", "--orders", "4"], "compare models of one ratio"),
        (["--strip", "3"], "only 1 pictures"),
        (["--snr-error-db", "nan"], "nan is not a"),
        (["--model", "cifar-1-13"], "cifar-1-13"),
        (
            ["--hybrid", "half"],
            "'chosen', or scheme and share of a fixed base such as 16-2/3@1/16, not 'half'",
        ),
        (["--hybrid", "16-2/3@1/0", "--hybrid-model", "photo-adaptive"], "not '16-2/3@1/0'"),
        (["--hybrid", "16-2/3@2", "--hybrid-model", "photo-adaptive"], "1/32 to 31/32"),
        (["--hybrid", "chosen"], "such as photo-adaptive"),
        (["--hybrid", "chosen", "--hybrid-model", "cifar-1-6"], "compare models of one ratio"),
    ],
)
def test_mistakes_are_named_before_anything_is_sent(folder, tmp_path, options, words):
    base = ["compare", "--data", str(folder), "--out", str(tmp_path / "out"), "--source", "jpeg"]
    result = run(app, [*base, "--model", "cifar-1-12", *options])
    assert result.exit_code == 2 and words in said(result)


def test_loopback_by_separation(folder):
    options = ["--model", "cifar-1-12", "--source", "jpeg", "--no-radio", "--snr-db", "25", "--mcs", "64-3/4"]
    result = run(app, ["loopback", str(folder), "--scheme", "separation", *options, "--json", "-"])
    assert result.exit_code == 0, result.output
    assert '"decoded": true' in result.output and '"mcs": "64-3/4"' in result.output


@pytest.mark.parametrize(
    "way", [["--no-radio"], pytest.param([], marks=pytest.mark.slow)], ids=["library", "flowgraph"]
)
def test_loopback_by_a_hybrid(folder, way):
    if not way:
        pytest.importorskip("gnuradio")
    options = [
        "--scheme",
        "hybrid",
        "--model",
        "photo-adaptive",
        "--source",
        "jpeg",
        "--no-lpips",
        "--snr-db",
        "25",
    ]
    fixed = ["--mcs", "64-3/4", "--set", "share=0.5"]
    result = run(app, ["loopback", str(folder), *way, *options, *fixed, "--json", "-"])
    assert result.exit_code == 0, result.output
    assert '"decoded": true' in result.output and "hybrid, jpeg on 16/32" in result.output


def test_a_hybrid_takes_no_settings_of_latents(folder):
    base = ["loopback", str(folder), "--no-radio", "--model", "photo-adaptive", "--scheme", "hybrid"]
    result = run(app, [*base, "--set", "rate=0.5"])
    assert result.exit_code == 2 and "--scheme hybrid goes without rate" in said(result)
    result = run(app, [*base, "--set", "share=3"])
    assert result.exit_code == 2 and "1/32 to 31/32" in said(result)


def test_separation_takes_no_order(folder):
    result = run(
        app, ["loopback", str(folder), "--model", "cifar-1-12", "--scheme", "separation", "--order", "4"]
    )
    assert result.exit_code == 2 and "--order" in said(result)


@pytest.mark.slow
def test_a_stopped_comparison_goes_on_from_what_it_kept(folder, tmp_path, monkeypatch):
    from semcom.experiments.rival import cells

    base = ["compare", "--data", str(folder), "--source", "jpeg", "--model", "cifar-1-12", "--orders", ""]
    base += ["--mcs", "", "--no-lpips", "--keep", str(tmp_path / "kept"), "--snr-db", "20"]
    measure = cells.compare

    def stops(pictures, snr_db, arms, *rest, **options):
        if arms[0].scheme != "DeepJSCC":
            raise KeyboardInterrupt
        return measure(pictures, snr_db, arms, *rest, **options)

    monkeypatch.setattr(cells, "compare", stops)
    stopped = run(app, [*base, "--out", str(tmp_path / "a")])
    assert stopped.exit_code != 0 and len(list((tmp_path / "kept").glob("DeepJSCC-*.json"))) == 1
    asked = []
    monkeypatch.setattr(cells, "compare", lambda *a, **o: (asked.append(a[2][0].scheme), measure(*a, **o))[1])
    results = [run(app, [*base, "--out", str(tmp_path / name)]) for name in "ab"]
    assert [result.exit_code for result in results] == [0, 0], results[0].output
    assert "DeepJSCC" not in asked and len(asked) == 4  # adaptive and bound, in two accountings; once
    one, other = ((tmp_path / name / "compare.csv").read_text() for name in "ab")
    assert one == other and one.count("\n") == 6
