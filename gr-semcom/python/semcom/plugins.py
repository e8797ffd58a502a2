# SPDX-License-Identifier: GPL-3.0-or-later
"""A researcher's own files: Python that registers codecs, channels and losses under names, without touching the package.

A file is named by ``--plugin FILE`` on the command line or in the environment variable ``SEMCOM_PLUGINS`` (several are
separated as in ``PATH``), which reaches GNU Radio Companion, its flowgraphs and other processes as well; an installed
package names a module in the entry point group ``semcom.plugins``. Each is read once, when the first name is looked up.

A plugin is code and runs with the rights of whoever names it. Nothing else runs code: a model card that names an
architecture of a plugin is refused until the plugin is named. See ``docs/extending.md``.
"""

import hashlib
import importlib.util
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from semcom.errors import PluginError

VARIABLE = "SEMCOM_PLUGINS"
GROUP = "semcom.plugins"

_files: dict[Path, ModuleType | PluginError] = {}
_seen_variable: str | None = None
_entry_points: PluginError | bool = False  # True: read; an error: what became of it
_reading = False
_lock = threading.RLock()  # other threads wait for what is being read


def load(file: str | Path) -> ModuleType:
    """Runs a plugin's file, the first time that it is named, and returns it as a module.

    Modules that lie beside the file can be imported from it.

    Raises:
        PluginError: there is no such file, or it does not import: which file, its own error and the line. The same
            again whenever it is named again.
    """
    path = Path(file).expanduser().resolve()
    with _lock:
        if path not in _files:
            _files[path] = _run(path)
        found = _files[path]
    if isinstance(found, PluginError):
        raise found
    return found


def use(files: Iterable[str | Path]) -> None:
    """Loads files as :func:`load` and names them in ``SEMCOM_PLUGINS``, so that processes begun from here have them."""
    for file in files:
        load(file)
        named = os.environ.get(VARIABLE, "")
        path = str(Path(file).expanduser().resolve())
        if path not in named.split(os.pathsep):
            os.environ[VARIABLE] = os.pathsep.join(filter(None, [named, path]))


def read_pending() -> None:
    """Loads what ``SEMCOM_PLUGINS`` and entry points name and is not loaded yet. Raises PluginError as :func:`load`."""
    global _seen_variable, _reading
    named = os.environ.get(VARIABLE, "")
    if named == _seen_variable and _entry_points is True:
        return
    with _lock:
        if _reading:  # a plugin that looks something up while it is read
            return
        _reading = True
        try:
            for file in filter(None, named.split(os.pathsep)):
                load(file)
            _read_entry_points()
            _seen_variable = named
        finally:
            _reading = False


def _run(path: Path) -> ModuleType | PluginError:
    if not path.is_file():
        return PluginError(f"there is no plugin {path}: give the path of a Python file.")
    # two plugins may have one name
    name = f"semcom_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    loader = SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # last: nothing of ours is hidden
    # dataclasses look their module up while it is read
    sys.modules[name] = module
    error = _guarded(lambda: loader.exec_module(module), f"plugin {path}", str(path))
    if error is not None:
        del sys.modules[name]
        return error
    return module


def _read_entry_points() -> None:
    global _entry_points
    if _entry_points is False:
        from importlib.metadata import entry_points

        _entry_points = True
        for point in entry_points(group=GROUP):
            error = _guarded(point.load, f"plugin '{point.name}' ({point.value}), an installed package's,")
            if error is not None:
                _entry_points = error
    if isinstance(_entry_points, PluginError):
        raise _entry_points


def _guarded(read: Callable[[], object], what: str, file: str = "") -> PluginError | None:
    """Calls ``read``; whatever ends it, in one sentence with the line of ``file`` (else the innermost) that did."""
    try:
        read()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        words = " ".join(f"{type(error).__name__}: {error}".rstrip(".: ").split())
        return PluginError(f"{what} does not import: {words}{_line(error, file)}.")
    return None


def fault(error: BaseException) -> PluginError | None:
    """An exception that came out of a plugin's code while it ran, in one sentence with the file and the innermost line
    of its own; None: no plugin had a part in it."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if any(str(path) == frame.filename for path in _files):
            words = " ".join(f"{type(error).__name__}: {error}".rstrip(".: ").split())
            return PluginError(f"plugin {frame.filename} fails: {words}{_line(error, frame.filename)}.")
    return None


def _line(error: BaseException, file: str) -> str:
    if isinstance(error, SyntaxError):
        if error.lineno is None:  # null bytes: of no line
            return ""
        return "" if f"line {error.lineno}" in str(error) else f", {error.filename} line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file]
    own = own or [frame for frame in frames if not frame.filename.startswith("<frozen")]
    # refused before a line of it ran
    if not own or (file and own[-1].filename == __file__):
        return ""
    return f" (line {own[-1].lineno}{'' if own[-1].filename == file else f' of {own[-1].filename}'})"
