# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold of the repository as a whole."""

import ast
import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = (".py", ".sh", ".yml", ".yaml", ".toml", ".grc")
SPDX = "SPDX-License-Identifier: GPL-3.0-or-later"


def tracked() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def text_files() -> list[tuple[str, str]]:
    found = []
    for path in tracked():
        try:
            found.append((str(path.relative_to(ROOT)), path.read_text()))
        except UnicodeDecodeError:
            pass
    return found


def test_every_source_file_names_its_licence():
    extra = ("Makefile", ".ci/run")
    lacking = [
        name
        for name, text in text_files()
        if (name.endswith(SOURCES) or name in extra) and not name.endswith(".grc") and SPDX not in text[:200]
    ]
    assert lacking == []


def test_no_path_of_a_single_machine():
    pattern = re.compile(r"(?<![\w.])/(?:home|root|work|Users|scratch)/\w")
    offending = [name for name, text in text_files() if name != "LICENSE" and pattern.search(text)]
    assert [name for name in offending if name != "tests/test_repository.py"] == []


def test_only_tests_look_for_data_beside_the_repository():
    allowed = ("tests/",)
    assert [n for n, text in text_files() if "../shared" in text and not n.startswith(allowed)] == []


def test_nothing_is_larger_than_the_weights():
    assert [p.name for p in tracked() if p.stat().st_size > 20e6] == []


def test_generated_files_are_not_tracked():
    names = [str(path.relative_to(ROOT)) for path in tracked()]
    assert [n for n in names if re.search(r"__pycache__|\.egg-info|\.pyc$|^\.venv|^demo/|^runs/", n)] == []


_BLOCKER = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("gnuradio", "pmt"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
import importlib, importlib.util, pkgutil, semcom, semcom_training
skipped = ("semcom.blocks",)
if not (importlib.util.find_spec("pyqtgraph") and importlib.util.find_spec("PyQt5")):
    skipped += ("semcom.dashboard.window", "semcom.dashboard.app")
for package in (semcom, semcom_training):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".", onerror=lambda name: None):
        if not module.name.startswith(skipped):
            importlib.import_module(module.name)
            print(module.name)
"""


@pytest.mark.slow
def test_the_library_is_importable_without_gnuradio():
    done = subprocess.run([sys.executable, "-c", _BLOCKER], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert {"semcom.link", "semcom.modem", "semcom.system.zoo", "semcom_training.train"} <= set(
        done.stdout.split()
    )


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def imported(path: Path, at_once: bool) -> set[str]:
    """Modules that a file imports, anywhere in it or, ``at_once``, when it is imported itself."""
    found, waiting = set(), [parsed(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        if not (at_once and isinstance(node, ast.FunctionDef)):
            waiting += ast.iter_child_nodes(node)
    return found


def test_no_arrow_runs_back_up():
    """The training package does not know the command line, and the library neither; commands know trainings when run."""
    library, training = ROOT / "gr-semcom/python/semcom", ROOT / "training/semcom_training"
    for path in [*library.rglob("*.py"), *training.rglob("*.py")]:
        if path.parent.name != "cli" or path.is_relative_to(training):
            up = {name for name in imported(path, at_once=False) if f"{name}.".startswith("semcom.cli.")}
            assert not up, f"{path} imports {', '.join(up)}"
        if path.is_relative_to(library):
            up = {name for name in imported(path, at_once=True) if name.split(".")[0] == "semcom_training"}
            assert not up, f"{path} imports {', '.join(up)} before it is asked to"


def floors() -> dict[str, tuple[int, int]]:
    """The rooms in docs/images/house.png: floor, and place on it. Modules beside the rooms are the ground floor."""
    tree = ast.parse((ROOT / "scripts/house.py").read_text())
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "FLOORS"
    )
    drawn = ast.literal_eval(value)
    rooms = {room[0].rstrip("/"): (level, n) for level, row in enumerate(drawn) for n, room in enumerate(row)}
    # LPIPS as a measure is the kinds', as a loss the training's; it knows no room
    return rooms | {"perceptual": (0, 1)}


def test_a_room_uses_only_what_is_drawn_below_it():
    library, training, rooms = ROOT / "gr-semcom/python/semcom", ROOT / "training/semcom_training", floors()
    for path in [*library.rglob("*.py"), *training.rglob("*.py")]:
        inside = path.relative_to(library).parts if path.is_relative_to(library) else ("training", "")
        own = rooms[inside[0]] if len(inside) > 1 else (0, 0)
        for name in imported(path, at_once=False):
            parts = name.split(".")
            if parts[0] not in ("semcom", "semcom_training") or path.parent.name == "cli":
                continue
            room = "training" if parts[0] == "semcom_training" else parts[1] if len(parts) > 1 else ""
            if room == inside[0] or room not in rooms:
                continue
            assert rooms[room] < own, f"{path}: {inside[0]} stands below {room}, and imports {name}"


def test_every_package_is_installed():
    """A folder of the library without ``__init__.py`` would be missing in a wheel."""
    for root in (ROOT / "gr-semcom" / "python" / "semcom", ROOT / "training" / "semcom_training"):
        for path in root.rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), path


@pytest.mark.parametrize("script", ["scripts/bootstrap.sh", ".ci/run"])
def test_scripts_are_executable_and_parse(script):
    assert os.access(ROOT / script, os.X_OK)
    assert subprocess.run(["bash", "-n", ROOT / script]).returncode == 0


def test_make_help_names_every_target():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    targets = "setup demo test test-fast types docs bench torture grc doctor clean"
    for target in targets.split():
        assert re.search(rf"^{target} ", done.stdout, re.M), done.stdout


class TestBootstrap:
    """The set-up script on pretended machines: what it says when something is missing."""

    @pytest.fixture
    def clone(self, tmp_path):
        for name in ("pyproject.toml", "scripts/bootstrap.sh"):
            target = tmp_path / "clone" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
        return tmp_path / "clone"

    def run(self, clone, **environment):
        keep = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        return subprocess.run(
            [clone / "scripts" / "bootstrap.sh"],
            env=keep | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_a_program_that_is_not_there(self, clone):
        done = self.run(clone, SEMCOM_PYTHON="/no/such/python")
        assert done.returncode == 1 and "/no/such/python" in done.stderr

    def test_a_python_without_gnuradio(self, clone, tmp_path):
        fake = tmp_path / "python"
        fake.write_text('#!/bin/sh\ncase "$*" in *gnuradio*) exit 1;; esac\nexit 0\n')
        fake.chmod(0o755)
        done = self.run(clone, SEMCOM_PYTHON=str(fake))
        assert done.returncode == 1 and "cannot import GNU Radio" in done.stderr

    def test_a_finished_set_up_is_left_alone(self, clone):
        """With its stamp in place the script ends at once and writes nothing."""
        (clone / ".venv" / "bin").mkdir(parents=True)
        python = clone / ".venv" / "bin" / "python"
        python.write_text("#!/bin/sh\nexit 0\n")
        python.chmod(0o755)
        program = "{ cat pyproject.toml scripts/bootstrap.sh; pwd; echo; } | cksum"
        mark = subprocess.run(["bash", "-c", program], cwd=clone, capture_output=True, text=True).stdout
        (clone / ".venv" / "semcom-stamp").write_text(f"radio\n{mark}")
        for environment in ({}, {"SEMCOM_NO_RADIO": "1"}):
            done = self.run(clone, **environment)
            assert done.returncode == 0 and done.stderr == "", done.stderr


def test_files_of_tests_have_names_of_their_own():
    """pytest imports them by name: two of one name stop every test."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)
