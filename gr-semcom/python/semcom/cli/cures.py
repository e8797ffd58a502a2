# SPDX-License-Identifier: GPL-3.0-or-later
"""What cures an installation: in a checkout its Makefile and git, elsewhere the wheel that was installed."""

import importlib.metadata
import json
import shlex
import sys

from semcom.shipped import DISTRIBUTION, in_checkout


def new_environment(python: str = "") -> str:
    """The command that makes a new environment that sees GNU Radio.

    Args:
        python: the interpreter to make it from; "": the one that is found.
    """
    if in_checkout():
        return f"SEMCOM_PYTHON={python} make clean setup" if python else "make clean setup"
    return (
        f"{python or '/usr/bin/python3'} -m venv --system-site-packages semcom-env && "
        f"semcom-env/bin/python -m pip install {_source()}"
    )


def whole_again(files: str) -> str:
    """The command that brings back files that came with the project.

    Args:
        files: their folder in the checkout.
    """
    if in_checkout():
        return f"git checkout -- {files}"
    return f"{shlex.quote(sys.executable)} -m pip install --force-reinstall --no-deps {_source()}"


def _source() -> str:
    """What pip was given: the wheel's file or address where it wrote that down (PEP 610), else the name."""
    try:
        written = importlib.metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        return shlex.quote(json.loads(written)["url"]) if written else DISTRIBUTION
    except (importlib.metadata.PackageNotFoundError, ValueError, KeyError):
        return DISTRIBUTION
