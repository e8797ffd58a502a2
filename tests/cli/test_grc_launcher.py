# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom grc``: the right paths and the right interpreter."""

import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from semcom.cli import grc as grc_module
from semcom.cli.grc_paths import grc_blocks_path, grc_environment
from semcom.cli.main import app

ROOT = Path(__file__).parents[2]
FLOWGRAPH = ROOT / "flowgraphs" / "loopback.grc"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_blocks_are_found_in_the_source_tree():
    assert grc_blocks_path() == ROOT / "gr-semcom" / "grc"


def test_own_blocks_come_first_and_those_of_the_user_stay(monkeypatch):
    monkeypatch.setenv("GRC_BLOCKS_PATH", "/somewhere:/else")
    assert grc_environment()["GRC_BLOCKS_PATH"] == f"{grc_blocks_path()}:/somewhere:/else"


def test_companion_is_started_with_this_interpreter(monkeypatch, tmp_path):
    started = []
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setattr(grc_module, "gnuradio_program", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments))
    file = tmp_path / "a.grc"
    file.touch()
    assert run("grc", file).exit_code == 0
    program, command, environment = started[0]
    assert program == sys.executable
    assert command == [sys.executable, "/usr/bin/gnuradio-companion", str(file)]
    assert environment["GRC_BLOCKS_PATH"].startswith(str(grc_blocks_path()))


def test_no_display(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(grc_module, "gnuradio_program", lambda name: name)
    done = run("grc")
    assert done.exit_code == 2 and "no display" in done.output


def test_files_that_are_not_there(tmp_path):
    assert "does not exist" in run("grc", tmp_path / "none.grc").output
    assert run("grc", "--compile").exit_code == 2


def test_program_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    done = run("grc", "--compile", __file__)
    assert done.exit_code == 2 and "semcom doctor" in done.output


@pytest.mark.slow
@pytest.mark.radio
def test_compile(tmp_path):
    done = run("grc", "--compile", FLOWGRAPH, "-o", tmp_path / "new")
    assert done.exit_code == 0, done.output
    assert list((tmp_path / "new").glob("*.py"))


@pytest.mark.radio
@pytest.mark.slow
def test_compile_of_what_is_no_flowgraph(tmp_path):
    (tmp_path / "bad.grc").write_text("options: {}\n")
    done = run("grc", "--compile", tmp_path / "bad.grc", "-o", tmp_path)
    assert done.exit_code == 2 and "does not compile" in done.output
