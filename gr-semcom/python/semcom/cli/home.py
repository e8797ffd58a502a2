# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder in which GNU Radio keeps its settings: without it no flowgraph starts, and GNU Radio says so in C++."""

import os
import tempfile
from pathlib import Path

CURE = "set HOME to a folder that you may write to (export HOME=/tmp/me), or cure its permissions"


def home_trouble() -> str:
    """Why GNU Radio cannot keep its settings, in words; "": it can.

    GNU Radio takes $HOME/.gnuradio, which is made here as it would make it; without HOME it takes a temporary folder.
    """
    home = os.environ.get("HOME")
    if home is None:
        return ""
    folder = Path(home) / ".gnuradio"
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"GNU Radio cannot write its folder {folder} ({error.strerror})"
