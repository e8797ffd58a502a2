# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make types` and `make docs` run is clean; left out where the tools are not installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_types():
    pytest.importorskip(
        "mypy", reason="mypy is not installed: pip install mypy types-PyYAML types-jsonschema"
    )
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_pages_and_the_reference_build_without_a_warning(tmp_path):
    for tool in ("sphinx", "myst_parser", "autoapi"):
        pytest.importorskip(tool, reason=f"{tool} is not installed: pip install -e '.[docs]'")
    # the reference is written beside the pages
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("api"))
    for name in ("gr-semcom", "training"):
        (tmp_path / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", "site"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "api" / "semcom" / "modem" / "snr" / "index.html").read_text()
    assert "estimate_snr" in page
    # nothing is fetched by who reads it either
    assert not [file for file in (tmp_path / "site").rglob("*.html") if 'src="http' in file.read_text()]
