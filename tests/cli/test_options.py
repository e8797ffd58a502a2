# SPDX-License-Identifier: GPL-3.0-or-later
"""What every command refuses, and how it says so."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from semcom.cli.main import app
from semcom.cli.options import file_or_name
from semcom.shipped import shipped_link

COMMANDS = ("demo", "loopback", "evaluate", "train", "models", "bench", "grc", "doctor")


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_installed_command_lists_its_commands():
    program = Path(sys.executable).with_name("semcom")
    done = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in COMMANDS)


def test_help_loads_neither_torch_nor_matplotlib_nor_gnuradio():
    program = (
        "import sys; from semcom.cli.main import app\n"
        "print([m for m in ('torch', 'matplotlib', 'gnuradio', 'numpy', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each(command):
    assert run(command, "--help").exit_code == 0


def test_version():
    import semcom

    assert semcom.__version__ in run("--version").stdout


@pytest.mark.parametrize(
    "option, value",
    [
        ("--drop", "1.5"),
        ("--drop", "-0.1"),
        ("--drop", "nan"),
        ("--sro-ppm", "201"),
        ("--snr-db", "61"),
        ("--snr-db", "-21"),
        ("--snr-db", "nan"),
        ("--snr-db", "many"),
        ("--cfo-hz", "inf"),
        ("--sample-rate", "0"),
        ("--sample-rate", "-1e6"),
        ("--sample-rate", "inf"),
        ("--seed", "-1"),
        ("--channel", "vacuum"),
    ],
)
def test_out_of_range(picture_file, option, value):
    done = run("loopback", picture_file, "--no-radio", option, value)
    assert done.exit_code == 2
    assert option in done.output
    assert "Traceback" not in done.output


def test_an_error_of_the_user_has_no_traceback(tmp_path):
    done = run("loopback", tmp_path / "none.png", "--no-radio")
    assert done.exit_code == 2
    assert "does not exist" in done.output and "none.png" in done.output.replace("\n", "")
    assert "Traceback" not in done.output


def test_any_other_error_keeps_its_traceback(monkeypatch, picture_file):
    import semcom.kinds.sets

    def broken(path, **options):
        raise RuntimeError("a bug")

    monkeypatch.setattr(semcom.kinds.sets, "read_picture", broken)
    done = run("loopback", picture_file, "--no-radio")
    assert isinstance(done.exception, RuntimeError)


def test_a_bare_name_is_looked_up_unless_a_file_has_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("elsewhere/photo", "photo.yaml"):
        assert file_or_name(Path(path), shipped_link) == Path(path)
    assert file_or_name(Path("photo"), shipped_link).name == "photo.yaml"
    Path("photo").touch()
    assert file_or_name(Path("photo"), shipped_link) == Path("photo")


@pytest.mark.parametrize("command", [("tx",), ("rx",), ("capture", "--out", "captures")])
def test_a_wrong_name_of_a_link_profile_is_answered(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    done = run(*command, "--link", "foto")
    assert done.exit_code == 2 and "did you mean 'photo'? There are cifar, photo" in " ".join(
        done.output.split()
    )
