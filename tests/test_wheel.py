# SPDX-License-Identifier: GPL-3.0-or-later
"""The wheel has what the checkout has, and its user finds it without one."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SHARED = {
    "hardware/air": "share/semcom/air",
    "hardware/links": "share/semcom/links",
    "hardware/profiles": "share/semcom/profiles",
    "flowgraphs": "share/semcom/flowgraphs",
    "gr-semcom/grc": "share/gnuradio/grc/blocks",
}
PACKAGES = {"gr-semcom/python/": "", "training/semcom_training/": "semcom_training/"}
QUESTIONS = """
import semcom.cli.cures as cures, semcom.shipped as shipped
from semcom.cli.grc_paths import grc_blocks_path
print(shipped.shipped_air_script("fading"))
print(shipped.shipped_link("photo"))
print(shipped.shipped_flowgraph("loopback"))
print(grc_blocks_path())
print(cures.whole_again("anywhere"), "|", cures.new_environment("/usr/bin/python3"))
"""


def tracked() -> list[str]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def version() -> str:
    tree = ast.parse((ROOT / "gr-semcom/python/semcom/__init__.py").read_text())
    (value,) = [node.value.value for node in tree.body if isinstance(node, ast.Assign)]
    return value


def test_files_for_other_programs_name_the_package_s_version():
    for file in ("gr-semcom/MANIFEST.yml", "CITATION.cff"):
        assert str(yaml.safe_load((ROOT / file).read_text())["version"]) == version(), file
    assert version() in (ROOT / "CHANGELOG.md").read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of the tracked files, so that no earlier build lends it any."""
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip(
            f"setuptools {setuptools.__version__} is too old to build it: pip install 'setuptools>=77'"
        )
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked():
        if name.startswith((*SHARED, *PACKAGES, "pyproject.toml", "README.md", "LICENSE")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "-w", out, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_has_what_the_checkout_has(wheel):
    assert wheel.name == f"gr_semcom-{version()}-py3-none-any.whl"
    data = f"gr_semcom-{version()}.data/data/"
    expected = set()
    for name in tracked():
        folder, _, file = name.rpartition("/")
        if folder in SHARED:
            expected.add(f"{data}{SHARED[folder]}/{file}")
        for checkout, package in PACKAGES.items():
            if name.startswith(checkout):
                expected.add(package + name.removeprefix(checkout))
    carried = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert carried == expected


@pytest.mark.slow
def test_what_ships_is_found_in_an_installed_wheel(wheel, tmp_path):
    """Laid out by pip below another prefix, as in an environment of its own; dependencies are this one's."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--ignore-installed"]
    done = subprocess.run([*command, "--prefix", tmp_path, wheel], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.rglob("semcom/shipped.py")
    environment = os.environ | {"PYTHONPATH": str(package.parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", QUESTIONS], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *places, cure = done.stdout.splitlines()
    assert len(places) == 4 and all(Path(place).is_relative_to(tmp_path) for place in places), places
    assert all(Path(place).exists() for place in places), places
    assert "git" not in cure and "make" not in cure and wheel.name in cure
