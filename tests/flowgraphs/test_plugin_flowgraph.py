# SPDX-License-Identifier: GPL-3.0-or-later
"""A researcher's own codec in a flowgraph: grcc's program knows it by SEMCOM_PLUGINS alone."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest
import torch
from grc_bench import GRC, GRCC, ROOT, RUNNER, environment

from semcom import plugins
from semcom.codec import build
from semcom.system import zoo
from semcom.system.card import own_parts, read_card


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_plugin_flies_from_a_flowgraph(tiny_model, tmp_path, grc_home, fresh_plugins):
    pytest.importorskip("PyQt5")
    if not GRCC.exists():
        pytest.skip(f"{GRCC} is not installed")
    page = (ROOT / "docs/extending.md").read_text()
    plugin, card = tmp_path / "my_codec.py", tmp_path / "mine.json"
    plugin.write_text(re.search(r"```python\n(# my_codec.py.*?)```", page, re.S)[1])
    plugins.load(plugin)
    torch.manual_seed(0)
    codec = build("mine", {})
    sha256 = zoo.save_weights(codec, tmp_path / "mine.safetensors")
    own = {"name": "mine", "architecture": "mine", "arguments": {}, "rho": codec.rho}
    own |= {"parts": own_parts("mine.safetensors", sha256)}
    own |= {"parameters": sum(p.numel() for p in codec.parameters())}
    dataclasses.replace(read_card(tiny_model), **own).write(card)

    graph = (ROOT / "flowgraphs/loopback.grc").read_text()
    assert '"photo-1-12"' in graph
    (tmp_path / "loopback.grc").write_text(graph.replace('"photo-1-12"', f'"{card}"'))
    made = subprocess.run(
        [sys.executable, str(GRCC), "-o", str(tmp_path), str(tmp_path / "loopback.grc")],
        env=environment(grc_home) | {"GRC_BLOCKS_PATH": str(GRC)},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    wish = json.dumps({"until": ["view", "pictures shown", 2]})
    program = [sys.executable, str(RUNNER), str(tmp_path / "loopback.py"), wish]
    for named, works in ((plugin, True), ("", False)):
        done = subprocess.run(
            program,
            env=environment(tmp_path) | {"SEMCOM_PLUGINS": str(named)},
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert (done.returncode == 0 and "FIGURES" in done.stdout) == works, done.stdout + done.stderr
    assert "unknown architecture 'mine'" in done.stderr and "SEMCOM_PLUGINS" in done.stderr
