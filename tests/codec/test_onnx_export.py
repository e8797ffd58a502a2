# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks as ONNX files: torch's numbers, at the size exported and at others."""

import sys

import pytest
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.errors import ConfigError, ModelError
from semcom.system import onnx_export, zoo


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def exporters():
    for module in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason="the extra 'onnx' is not installed")


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["photo-1-12", "photo-adaptive"])
def test_exported_networks_give_torchs_numbers_at_any_size(name, exporters, tmp_path):
    done = onnx_export.export(zoo.load(name), tmp_path)
    assert len(done) == 2 and all(each.path.exists() for each in done)
    assert all(each.difference <= onnx_export.TOLERANCE for each in done)


@pytest.mark.timeout(120)
def test_command_writes_files_of_one_size(tiny_model, exporters, tmp_path):
    done = run("export", tiny_model, "--onnx", "--size", "64x40", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    import onnx

    graph = onnx.load(tmp_path / "tiny.encoder.onnx").graph
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [1, 3, 40, 64]


def test_a_network_that_differs_is_not_written(tiny_model, exporters, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "TOLERANCE", -1.0)
    with pytest.raises(ModelError, match="differs from torch"):
        onnx_export.export(zoo.load(tiny_model), tmp_path, (64, 64))
    assert list(tmp_path.iterdir()) == []


def test_sizes_and_missing_exporters_are_refused_in_words(tiny_model, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="multiples of 8"):
        onnx_export.export(zoo.load(tiny_model), tmp_path, (64, 63))
    done = run("export", tiny_model, "--size", "big", "--out", tmp_path)
    assert done.exit_code == 2 and "such as 768x512" in done.stderr
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = run("export", tiny_model, "--out", tmp_path)
    assert done.exit_code == 2 and "gr-semcom[onnx]" in " ".join(done.stderr.split())


def test_what_is_no_picture_codec_is_refused():
    with pytest.raises(ModelError, match="cannot be exported"):
        onnx_export.networks(zoo.load("cifar-classifier").codec, 64, 64)
