# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the block descriptions for GNU Radio Companion lie, and its programs."""

import os
import shutil
import sys
from pathlib import Path

from semcom.errors import MissingError
from semcom.shipped import shipped_folder


def grc_blocks_path() -> Path | None:
    """The folder of our ``.block.yml`` files: the source tree's, else the installed one, else None."""
    return shipped_folder("gr-semcom/grc", "share/gnuradio/grc/blocks", ".block.yml")


def grc_environment() -> dict[str, str]:
    """The environment in which GNU Radio Companion and grcc see our blocks.

    Raises:
        MissingError: if no block description is installed.
    """
    folder = grc_blocks_path()
    if folder is None:
        raise MissingError("the block descriptions (.block.yml) are not installed. Install gr-semcom anew.")
    paths = [str(folder), *filter(None, os.environ.get("GRC_BLOCKS_PATH", "").split(":"))]
    return os.environ | {"GRC_BLOCKS_PATH": ":".join(dict.fromkeys(paths))}


def gnuradio_program(name: str) -> str:
    """The path of one of GNU Radio's Python programs; the one beside this interpreter's base comes first.

    Raises:
        MissingError: if it is nowhere.
    """
    here = os.pathsep.join([f"{sys.base_prefix}/bin", os.environ.get("PATH", "")])
    found = shutil.which(name, path=here)
    if found is None:
        raise MissingError(
            f"the program {name} is not on this machine. Install GNU Radio; `semcom doctor` says how."
        )
    return found
