# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of flowgraphs share: where things lie, and an environment without a screen."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GRC = ROOT / "gr-semcom" / "grc"
FLOWGRAPHS = sorted((ROOT / "flowgraphs").rglob("*.grc"))
GRCC = Path("/usr/bin/grcc")


def environment(home: Path) -> dict[str, str]:
    """No screen, no settings of the user's, our blocks."""
    clean = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return clean | {"GRC_BLOCKS_PATH": str(GRC), "QT_QPA_PLATFORM": "offscreen", "HOME": str(home)}
