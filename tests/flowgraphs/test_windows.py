# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user sees of the flowgraphs, on a screen of 1366 x 768 that Xvfb makes: canvases without blocks on one another,
windows that show all that is in them."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml
from grc_bench import FLOWGRAPHS, GRC, ROOT

from semcom.security.keyfile import make_key

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]
SCREEN = (1366, 768)
WITH_ARGUMENTS = ("rx_", "tx_", "transceiver_")  # those need a radio, or another program


def on_the_screen(*command: str, home, **variables: str) -> subprocess.CompletedProcess:
    if shutil.which("xvfb-run") is None:
        pytest.skip("xvfb-run is not installed: apt-get install xvfb xauth")
    screen = f"-screen 0 {SCREEN[0]}x{SCREEN[1]}x24"
    clean = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "QT_QPA_PLATFORM")}
    return subprocess.run(
        ["xvfb-run", "-a", "-s", screen, sys.executable, *command],
        env=clean | {"HOME": str(home), "GRC_BLOCKS_PATH": str(GRC)} | variables,
        capture_output=True,
        text=True,
        timeout=150,
    )


def test_nothing_lies_on_anything_else_on_a_canvas(tmp_path):
    gi = pytest.importorskip("gi", reason="python3-gi is not installed")
    try:
        gi.require_version("Gtk", "3.0")
    except ValueError:
        pytest.skip("gir1.2-gtk-3.0 is not installed")
    drawn = on_the_screen(
        str(ROOT / "scripts" / "grc_screenshots.py"), "--all", "--out", str(tmp_path), home=tmp_path
    )
    assert drawn.returncode == 0, drawn.stderr
    assert len(list(tmp_path.glob("*_grc.png"))) == len(FLOWGRAPHS)


LOOK = """
import importlib.util, json, sys
from pathlib import Path
from PyQt5 import QtWidgets

app = QtWidgets.QApplication(sys.argv[:1])
for path in map(Path, sys.argv[1:]):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    program = getattr(module, path.stem)()
    module.snippets_main_after_init(program)
    program.show()
    for _ in range(10):
        app.processEvents()
    bars = program.top_scroll.verticalScrollBar().maximum(), program.top_scroll.horizontalScrollBar().maximum()
    print("WINDOW", json.dumps([path.stem, program.width(), program.height(), *bars]), flush=True)
    program.hide()
"""


def test_windows_show_all_that_is_in_them_without_scrolling(compiled, tmp_path, monkeypatch):
    pytest.importorskip("PyQt5")
    names = [path.stem for path in FLOWGRAPHS if not path.stem.startswith(WITH_ARGUMENTS)]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    # the eavesdropper's link has it
    make_key("demo")
    shown = on_the_screen("-c", LOOK, *(str(compiled(name)) for name in names), home=tmp_path)
    lines = [line.removeprefix("WINDOW ") for line in shown.stdout.splitlines() if line.startswith("WINDOW ")]
    seen = {name: rest for name, *rest in map(json.loads, lines)}
    assert set(seen) == set(names), shown.stderr
    for name, (width, height, *hidden) in seen.items():
        assert width <= SCREEN[0] and height <= SCREEN[1], name
        assert hidden == [0, 0], f"{name} has scroll bars"
        assert width * height > 0.7 * SCREEN[0] * SCREEN[1], f"{name} leaves the screen empty"


@pytest.mark.parametrize("path", FLOWGRAPHS, ids=lambda path: path.name)
def test_every_window_with_pictures_is_fitted_to_the_screen(path):
    graph = yaml.safe_load(path.read_text())
    ids = {block["id"] for block in graph["blocks"]}
    snippets = [block["parameters"]["code"] for block in graph["blocks"] if block["id"] == "snippet"]
    if ids & {"semcom_image_view", "semcom_dashboard"}:
        assert any("first_window import fit; fit(self)" in code for code in snippets)
