# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/tutorial.ipynb runs as it stands, cell by cell, and shows what it shows in the repository."""

import copy
import importlib.util
import os
import re
import stat
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip(
    "nbformat", reason="the notebook's tools are missing: pip install -e '.[test]'"
)
pytest.importorskip("ipykernel", reason="the notebook's kernel is missing: pip install -e '.[test]'")
nbclient = pytest.importorskip("nbclient")

PATH = Path(__file__).parents[1] / "docs/tutorial.ipynb"
HAS_RADIO = importlib.util.find_spec("gnuradio") is not None
LINES = 20  # of a cell at most


@pytest.fixture(scope="module")
def stored():
    return nbformat.read(PATH, as_version=4)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell) -> list[str]:
    """What a cell gives: kinds of data, and the names of streams that it printed to."""
    found = []
    for output in cell.outputs:
        kinds = sorted(output.data) if "data" in output else [output.get("name", output.output_type)]
        found += [kind for kind in kinds if kind not in found]
    return found


def text(notebook) -> str:
    return "".join(o.text for cell in code_cells(notebook) for o in cell.outputs if o.output_type == "stream")


def test_cells_are_short_and_their_outputs_are_kept(stored):
    nbformat.validate(stored)
    for cell in code_cells(stored):
        assert len(cell.source.splitlines()) <= LINES, cell.source
        assert cell.execution_count and not any(o.output_type == "error" for o in cell.outputs), cell.source
    assert "\x1b" not in text(stored), "outputs of a terminal"
    assert PATH.stat().st_size < 600_000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_runs_as_it_stands(stored, tmp_path, monkeypatch):
    command = tmp_path / "bin" / "semcom"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom semcom.cli.main import app\n\napp()\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = copy.deepcopy(stored)
    if not HAS_RADIO:
        notebook.cells = [cell for cell in notebook.cells if "radio" not in cell.metadata.get("tags", ())]
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    kept = {cell.id: shown(cell) for cell in code_cells(stored)}

    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()

    for cell in code_cells(notebook):
        assert [k for k in shown(cell) if k != "stderr"] == [k for k in kept[cell.id] if k != "stderr"], (
            cell.source
        )
    said = text(notebook)
    first, own = (float(psnr_db) for psnr_db in re.findall(r"^PSNR ([\d.]+) dB", said, re.M))
    assert 15 < own < first
    if HAS_RADIO:
        equal, compared = re.search(r"^(\d+) of (\d+) bursts: latents as recorded", said, re.M).groups()
        assert equal == compared != "0"
