# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx: these pages, and a reference from docstrings. `make docs` needs no network; warnings are errors."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

project = "gr-semcom"
author = "gr-semcom developers"
release = re.search(
    r'__version__ = "(.+)"', (ROOT / "gr-semcom/python/semcom/__init__.py").read_text()
).group(1)

extensions = ["myst_parser", "autoapi.extension", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
html_theme = "alabaster"
html_theme_options = {
    "description": "Pictures over the air with DeepJSCC and GNU Radio",
    "page_width": "1100px",
}
# several classes have a field of one name; constants assigned as a tuple are not followed
suppress_warnings = ["ref.python", "autoapi.python_import_resolution"]

# sources are read, never imported: no GNU Radio, no GPU, no torch
autoapi_dirs = [str(ROOT / "gr-semcom/python/semcom"), str(ROOT / "training/semcom_training")]
# the command line explains itself with -h
autoapi_ignore = ["*/semcom/cli/*", "*/semcom_training/multiuser/__main__.py"]
autoapi_root = "api"
autoapi_options = ["members", "undoc-members", "show-inheritance", "show-module-summary"]
autoapi_member_order = "bysource"
autoapi_add_toctree_entry = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True

_LITERAL = re.compile(r"(``.*?``|`[^`]*`)", re.S)


def _bars_are_magnitudes(app, what, name, obj, options, lines: list[str]) -> None:
    """|h| in a docstring is a magnitude; reStructuredText would look for a substitution of that name."""
    parts = _LITERAL.split("\n".join(lines))
    parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
    lines[:] = "".join(parts).split("\n")


def setup(app) -> None:
    app.connect("autodoc-process-docstring", _bars_are_magnitudes)
