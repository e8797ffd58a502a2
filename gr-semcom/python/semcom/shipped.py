# SPDX-License-Identifier: GPL-3.0-or-later
"""The flowgraphs, link profiles, scripts for the air and block descriptions that come with the project: the checkout's,
else those that the wheel installed."""

import importlib.metadata
from pathlib import Path

import semcom
from semcom.errors import ConfigError
from semcom.parsing import did_you_mean

DISTRIBUTION = "gr-semcom"
_CHECKOUT = Path(semcom.__file__).resolve().parents[3]


def shipped_link(name: str) -> str:
    """The path of ``hardware/links/<name>.yaml``: the default of flowgraphs, wherever they are started.

    Raises:
        ConfigError: there is none of that name; those that there are are listed.
    """
    return str(_find(name, "link profile", _files("hardware/links", "share/semcom/links", ".yaml")))


def shipped_flowgraph(name: str) -> Path:
    """The path of ``flowgraphs/<name>.grc``.

    Raises:
        ConfigError: there is none of that name; those that there are are listed.
    """
    return _find(name, "flowgraph", _files("flowgraphs", "share/semcom/flowgraphs", ".grc"))


def shipped_air_script(name: str) -> Path:
    """The path of ``hardware/air/<name>.yaml``.

    Raises:
        ConfigError: there is none of that name; those that there are are listed.
    """
    return _find(name, "script for the air", _files("hardware/air", "share/semcom/air", ".yaml"))


def shipped_folder(checkout: str, installed: str, suffix: str) -> Path | None:
    """Where the files with the ending ``suffix`` lie: ``checkout`` in the source tree, else ``installed`` below the
    prefix that pip installed the wheel to (an environment, the system, the user's own), else None."""
    folder = _CHECKOUT / checkout
    if in_checkout():
        return folder if any(folder.glob(f"*{suffix}")) else None
    try:
        listed = importlib.metadata.files(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in listed:
        if file.parent.as_posix().endswith(installed) and file.name.endswith(suffix):
            return Path(file.locate()).parent.resolve()
    return None


def in_checkout() -> bool:
    """Whether this package is imported from a source tree, and not from where a wheel was installed."""
    return (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "gr-semcom").is_dir()


def _files(checkout: str, installed: str, suffix: str) -> dict[str, Path]:
    folder = shipped_folder(checkout, installed, suffix)
    return {path.stem: path for path in sorted(folder.glob(f"*{suffix}"))} if folder else {}


def _find(name: str, what: str, files: dict[str, Path]) -> Path:
    if name in files:
        return files[name]
    raise ConfigError(
        f"there is no {what} '{name}'{did_you_mean(name, files)}"
        f" There are {', '.join(files) or 'none'}; or give the path of a file."
    )
