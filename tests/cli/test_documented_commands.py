# SPDX-License-Identifier: GPL-3.0-or-later
"""Every ``semcom ...`` line of README and docs is one that the program takes as it is written; quick ones are run."""

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from semcom.cli.main import app
from semcom.kinds.video import VideoWriter
from semcom.system import zoo

UsageError = typer.BadParameter.__base__
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "hardware" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RECIPES = ROOT / "training" / "semcom_training" / "recipes"
#: stands for what a reader types in; a line with it is checked as far as it goes
LEFT_OUT = "..."
_LINE = re.compile(r"^\s*(?:\$ )?(?:\.venv/bin/)?(semcom [a-z].*)$")
_OPTIONAL = re.compile(r"\[[^\]]*\]")
_INLINE = re.compile(r"(?<!`)`(?:\.venv/bin/)?(semcom [a-z][^`]*)`(?!`)")


@dataclass(frozen=True)
class Documented:
    page: str
    line: int
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}: {self.text}"

    #: named in prose, or with something left out: not all that it takes is there
    partial: bool = False

    @property
    def words(self) -> list[str]:
        return shlex.split(_OPTIONAL.sub("", self.text), comments=True)[1:]


def commands_of(text: str, page: str = "page") -> list[Documented]:
    """The commands in fenced blocks, with their continued lines, and between backticks in prose."""
    found, fenced, whole, first = [], False, "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced and not whole and (match := _LINE.match(line)):
            whole, first = match[1], number
        elif fenced and whole:
            whole += " " + line.strip()
        elif not fenced:
            found += [Documented(page, number, match, True) for match in _INLINE.findall(line)]
        if whole and not whole.endswith("\\"):
            # columns of a picture of terminals beside each other
            beside = re.split(r"\s{8,}(?=semcom )", whole)
            found += [Documented(page, first, each.strip(), LEFT_OUT in each) for each in beside]
            whole = ""
        whole = whole.removesuffix("\\").rstrip() if whole else ""
    return found


def documented() -> list[Documented]:
    """All but those with a file of one's own, which tests/test_extending.py runs."""
    every = [each for page in PAGES for each in commands_of(page.read_text(), str(page.relative_to(ROOT)))]
    return [each for each in every if "--plugin" not in each.text]


def parse(words: list[str], partial: bool = False) -> None:
    """Takes a command's words apart as the program does, without running it. Raises the errors that it would say.

    Args:
        partial: the line leaves something out.
    """
    command, context, name = typer.main.get_command(app), None, "semcom"
    while hasattr(command, "resolve_command"):
        context = command.context_class(command, info_name=name, parent=context)
        if not words:
            return
        name, command, words = command.resolve_command(context, words)
    context = command.context_class(command, info_name=name, parent=context)
    try:
        command.parse_args(context, list(words))
    except UsageError as error:
        if not (partial and type(error).__name__ in ("MissingParameter", "BadOptionUsage")):
            raise


def names_in(words: list[str]) -> list[tuple[str, object]]:
    """What a line names that must be there, each with what there is of its kind."""
    found: list[tuple[str, object]] = []
    for option, value in zip(words, words[1:]):
        if option == "--model" and value.islower() and not value.endswith(".json"):
            found.append((value, zoo.names()))
    if words[0] == "train" and len(words) > 1 and words[1].islower() and not words[1].endswith(".yaml"):
        found.append((words[1], {path.stem for path in RECIPES.glob("*.yaml")}))
    if words[0] == "grc" and len(words) > 1 and words[1].replace("_", "").islower() and "." not in words[1]:
        found.append((words[1], {path.stem for path in (ROOT / "flowgraphs").glob("*.grc")}))
    ours = [word for word in words if word.startswith(("hardware/", "flowgraphs/"))]
    return found + [(word, [word] if (ROOT / word).exists() else "files of the repository") for word in ours]


def test_commands_are_found_in_blocks_and_in_prose():
    text = (
        "Say `semcom tx ...` or\n\n```sh\n$ semcom rx --out a \\\n    --model b   # why\ncd x\n"
        ".venv/bin/semcom grc loopback\n```\n"
    )
    assert [each.words for each in commands_of(text)] == [
        ["tx", "..."],
        ["rx", "--out", "a", "--model", "b"],
        ["grc", "loopback"],
    ]


@pytest.mark.parametrize("words", [["rx", "--no-such-option"], ["nosuch"], ["tx", "--rate", "often"]])
def test_a_line_that_the_program_refuses_is_found(words):
    with pytest.raises(UsageError):
        parse(words)


@pytest.mark.parametrize("command", documented(), ids=str)
def test_documented_command_is_taken_as_written(command):
    words = [word for word in command.words if word != LEFT_OUT]
    try:
        parse(words, partial=command.partial)
    except Exception as error:
        # a word such as FILE stands for a name of the reader's own, which is not there
        if not any(word.isupper() and f"'{word}'" in str(error) for word in words):
            pytest.fail(f"{command}\n{error}")
    missing = [name for name, there in names_in(words) if name not in there]
    assert not missing, f"{command} names {missing}, which is not there"


QUICK = (
    "models",
    "keys",
    "train photo-1-12 --dry-run",
    "grc tx_usrp --compile",
    "grc rx_zmq --compile",
    "loopback ",
)


def quick() -> list[Documented]:
    """Lines that a few seconds and a picture or two are enough for, each once."""
    whole = {each.text.split(" #")[0].strip(): each for each in documented() if not each.partial}
    begins = tuple(f"semcom {start}" for start in QUICK)
    return [each for text, each in whole.items() if text.startswith(begins) and "--radio" not in text]


@pytest.mark.slow
@pytest.mark.radio
@pytest.mark.parametrize("command", quick(), ids=str)
def test_documented_command_runs_as_written(command, tmp_path, monkeypatch):
    """In a folder made for it; what it writes goes nowhere else."""
    monkeypatch.chdir(tmp_path)
    pixels = np.linspace(0, 255, 48 * 64 * 3).reshape(48, 64, 3).astype(np.uint8)
    (tmp_path / "PICTURES").mkdir()
    for name in ("picture.png", "photo.jpg", "PICTURES/one.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    if "film.mp4" in command.words:
        pytest.importorskip("av")
        film = VideoWriter(tmp_path / "film.mp4", frames_per_s=5)
        for _ in range(3):
            film.write(pixels)
        film.close()
    (tmp_path / "flowgraphs").symlink_to(ROOT / "flowgraphs")
    monkeypatch.setenv("HOME", str(tmp_path))
    # windows open without a screen
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    semcom = [sys.executable, "-c", "from semcom.cli.main import app; app()"]
    if "key=alice" in command.words:
        subprocess.run([*semcom, "link-key", "alice"], capture_output=True, check=True)
    done = subprocess.run(
        [*semcom, *command.words],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
