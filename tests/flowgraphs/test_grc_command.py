# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom grc``, and what comes with the project."""

import pytest
import yaml
from grc_bench import FLOWGRAPHS, ROOT, environment
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.errors import ConfigError
from semcom.shipped import shipped_flowgraph, shipped_link


def refusal(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["grc", *arguments])
    assert result.exit_code == 2
    return " ".join(result.output.split())


@pytest.mark.parametrize("path", FLOWGRAPHS, ids=lambda p: p.name)
def test_a_shipped_flowgraph_is_found_by_its_name(path):
    assert shipped_flowgraph(path.stem).samefile(path)


def test_a_link_profile_is_found_by_its_name():
    assert yaml.safe_load(open(shipped_link("photo")))["model"] == "photo-1-12"
    with pytest.raises(ConfigError, match="did you mean 'photo'.*cifar, photo"):
        shipped_link("foto")


def test_a_wrong_name_is_answered_with_those_that_there_are():
    message = refusal("rx_zqm", "--compile")
    assert "did you mean 'rx_zmq'?" in message
    for path in FLOWGRAPHS:
        assert path.stem in message


def test_a_path_that_is_not_there_is_named():
    assert "elsewhere/mine.grc does not exist" in refusal("elsewhere/mine.grc")


def test_companion_without_a_screen_says_so(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert "--compile" in refusal("rx_zmq")


@pytest.mark.slow
def test_a_flowgraph_is_compiled_by_name(tmp_path, grc_home, monkeypatch):
    for name, value in environment(grc_home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["grc", "tx_zmq", "--compile"])
    assert result.exit_code == 0, result.output
    assert "class tx_zmq(" in (tmp_path / "tx_zmq.py").read_text()


def test_the_manifest_says_what_cgran_asks_for():
    manifest = yaml.safe_load((ROOT / "gr-semcom" / "MANIFEST.yml").read_text())
    asked = {"title", "brief", "tags", "author", "copyright_owner", "gr_supported_version", "dependencies"}
    assert asked | {"license", "description", "file_format"} <= set(manifest)
    message = " ".join(manifest["dependencies"])
    project = (ROOT / "pyproject.toml").read_text().split("dependencies = [")[1].split("]")[0]
    for line in project.strip().splitlines():
        assert line.strip(' ",').split(">=")[0] in message
