# SPDX-License-Identifier: GPL-3.0-or-later
"""Skipped as a whole where GNU Radio is absent."""

import subprocess
import sys

import pytest
from grc_bench import FLOWGRAPHS, GRCC, environment

try:
    from gnuradio import gr  # noqa: F401
except Exception:  # tests/blocks/test_gnuradio.py says why
    collect_ignore_glob = ["test_*.py"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        # whoever asks first waits until grcc has compiled them all
        if "compiled" in item.fixturenames:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def grc_home(tmp_path_factory):
    """A home for GRC without the user's settings; its cache of 500 block descriptions serves all tests."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def compiled(tmp_path_factory, grc_home):
    """All flowgraphs through grcc, in one call (it takes long to start): a function from name to Python file."""
    if not GRCC.exists():
        pytest.skip(
            f"{GRCC} is not installed: GNU Radio Companion's compiler comes with the gnuradio package"
        )
    out = tmp_path_factory.mktemp("compiled")
    result = subprocess.run(
        [sys.executable, str(GRCC), "-o", str(out), *map(str, FLOWGRAPHS)],
        env=environment(grc_home),
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return lambda name: out / f"{name}.py"
