# SPDX-License-Identifier: GPL-3.0-or-later
"""The flowgraphs and link profiles that come with the project, by name: the checkout's, else the installed ones."""

import difflib
import sys
from pathlib import Path

import semcom
from semcom.errors import ConfigError

_CHECKOUT = Path(semcom.__file__).resolve().parents[3]


def shipped_link(name: str) -> str:
    """The path of ``hardware/links/<name>.yaml``: the default of flowgraphs, wherever they are started.

    Raises:
        ConfigError: there is none of that name; those that there are are listed.
    """
    return str(_find(name, "link profile", _files("hardware/links", "links", ".yaml")))


def shipped_flowgraph(name: str) -> Path:
    """The path of ``flowgraphs/<name>.grc``.

    Raises:
        ConfigError: there is none of that name; those that there are are listed.
    """
    return _find(name, "flowgraph", _files("flowgraphs", "flowgraphs", ".grc"))


def _files(checkout: str, installed: str, suffix: str) -> dict[str, Path]:
    for folder in (_CHECKOUT / checkout, Path(sys.prefix) / "share/semcom" / installed):
        found = sorted(folder.glob(f"*{suffix}"))
        if found:
            return {path.stem: path for path in found}
    return {}


def _find(name: str, what: str, files: dict[str, Path]) -> Path:
    if name in files:
        return files[name]
    near = difflib.get_close_matches(name, files, n=1)
    raise ConfigError(
        f"there is no {what} '{name}'"
        + (f": did you mean '{near[0]}'?" if near else ".")
        + f" There are {', '.join(files) or 'none'}; or give the path of a file."
    )
