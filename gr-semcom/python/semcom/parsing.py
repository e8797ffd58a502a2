# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML and JSON that somebody else wrote, read within limits: of bytes, of depth, of values, of digits.

Both parsers are made for friends. PyYAML takes a date of the 99th month, ``!!float abc`` or 5,000 brackets for a reason
to raise whatever comes to its mind, and a few aliases of aliases for more values than fit into a memory; ``json`` takes
``Infinity``, ``1e999``, 900 levels and numbers that no float holds. Settings, recipes, air scripts, cards, recordings,
journals, logs and telemetry are all read through here.
"""

import difflib
import json
import math
import re
import reprlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from semcom.errors import SemcomError

MAX_DEPTH = 32
MAX_YAML_BYTES = 2**20  # no settings file is larger; a picture given by mistake is
MAX_YAML_VALUES = 10_000  # with every alias counted as what it stands for
_MAX_NUMBER_CHARACTERS = 64
_SHOWN_CHARACTERS = 160
_NUMBER_TAGS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp"))


class ParseError(SemcomError):
    """A text that is not what it should be, as the second half of a sentence: "is not YAML: ..."."""


def read_text(path: str | Path, most_bytes: int) -> str:
    """A file's text, UTF-8, a byte-order mark left out.

    Raises:
        ParseError: no file, one that cannot be read or is no text, or more than ``most_bytes``.
    """
    try:
        file = Path(path)
        if not is_file(file):  # a pipe or a device would never end
            raise ParseError("is not there, or is no file")
        with file.open("rb") as opened:
            blob = opened.read(most_bytes + 1)
    except OSError as error:
        raise ParseError(f"cannot be read: {error.strerror or error}") from error
    if len(blob) > most_bytes:
        raise ParseError(f"is larger than {most_bytes / 2**20:g} MiB: is it the right file?")
    try:
        return blob.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ParseError(f"cannot be read as text: {error.reason} at byte {error.start}") from error


def is_file(path: str | Path) -> bool:
    """``Path.is_file``, also of a name that is too long or otherwise impossible."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: str | Path) -> bool:
    """``Path.is_dir``, likewise."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def parse_yaml(text: str) -> Any:
    """The plain values in a YAML document.

    Raises:
        ParseError: not YAML, a value that is none of its kind, or beyond the limits.
    """
    if len(text) > MAX_YAML_BYTES:
        raise ParseError(f"is larger than {MAX_YAML_BYTES >> 20} MiB")
    try:
        loader = _Loader(text)
        try:
            value = loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ParseError(f"is not YAML: {shortened(str(error))}") from error
    _refuse_half_characters(value)
    return value


def parse_json(text: str | bytes, file_names: bool = False, not_numbers: bool = False) -> Any:
    """The values in a JSON document, strictly: no NaN, no infinity, no number that a float cannot hold,
    no key twice.

    Args:
        not_numbers: whether NaN, infinities, such numbers and a key twice are taken all the same: many programs write
            them.
        file_names: whether texts may hold bytes of file names that are not UTF-8, as Python does (U+DC80 to U+DCFF).

    Raises:
        ParseError: not JSON, or beyond the limits.
    """
    try:
        if not_numbers:
            value = json.loads(text, parse_int=_whole)
        else:
            value = json.loads(
                text,
                parse_constant=_no_number,
                parse_int=_whole,
                parse_float=_finite,
                object_pairs_hook=partial(_each_once, text),
            )
    except RecursionError as error:
        raise ParseError(f"is nested more than {MAX_DEPTH} levels deep") from error
    except ValueError as error:
        raise ParseError(f"is not JSON: {shortened(str(error))}") from error
    opening = (b"[", b"{") if isinstance(text, bytes | bytearray) else ("[", "{")
    if sum(map(text.count, opening)) > MAX_DEPTH:  # else it cannot be deep
        _refuse_depth(value)
    if (b"\\ud" if isinstance(text, bytes | bytearray) else "\\ud") in text.lower():
        _refuse_half_characters(value, "surrogateescape" if file_names else "strict")
    return value


#: of 1 (equal) and 0: how alike names are of which one may have been meant
_NEAR = 0.5


def did_you_mean(name: Any, there: Iterable[str]) -> str:
    """How an error's sentence ends about a name that is not there: with the nearest one, if one is near."""
    near = difflib.get_close_matches(str(name)[:80], list(there), n=1, cutoff=_NEAR)
    return f": did you mean '{near[0]}'?" if near else "."


def shown(value: Any) -> str:
    """A value as an error shows it: on one line, short whatever it is."""
    try:
        text = _SHORT.repr(value)
    except ValueError:  # Python writes no more than 4,300 digits
        text = "a number of thousands of digits"
    return shortened(text)


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 3, 200, 200, 60


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which counts before it builds, and whose constructors only raise YAMLError."""

    def __init__(self, text: str):
        super().__init__(text)
        self._depth = self._composed = 0
        self._sizes: dict[int, int] = {}  # of nodes, aliases counted as what they stand for

    def compose_node(self, parent, index):
        self._depth, self._composed = self._depth + 1, self._composed + 1
        try:
            if self._composed > MAX_YAML_VALUES:
                raise self._refusal(self.peek_event(), f"more than {MAX_YAML_VALUES} values")
            if self._depth > MAX_DEPTH:
                raise self._refusal(self.peek_event(), f"nested more than {MAX_DEPTH} levels deep")
            is_alias = self.check_event(yaml.AliasEvent)
            node = super().compose_node(parent, index)
            if is_alias and id(node) not in self._sizes:
                raise self._refusal(node, "an alias of something that it is part of")
        finally:
            self._depth -= 1
        self._weigh(node)
        if isinstance(node, yaml.MappingNode):
            self._refuse_doubles(node)
        return node

    def construct_object(self, node, deep=False):
        if node.tag in _NUMBER_TAGS and len(node.value) > _MAX_NUMBER_CHARACTERS:
            raise self._refusal(node, f"a number or date of {len(node.value)} characters")
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:  # each of PyYAML's constructors has its own ways to fail
            kind = node.tag.rpartition(":")[2]
            raise self._refusal(node, f"{shown(node.value)} is no {kind}") from error

    def _refuse_doubles(self, node) -> None:
        """PyYAML takes the last of several values, and nothing says that the others are gone."""
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                name, line = (key.tag, key.value), key.start_mark.line + 1
                if name in lines:
                    raise ParseError(
                        f"has the key {shown(key.value)} twice, in line {lines[name]} and in line {line}: delete one"
                    )
                lines[name] = line

    def _weigh(self, node) -> None:
        """Counts the values that ``node`` becomes."""
        if id(node) in self._sizes:
            return
        children = () if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        size = 1 + sum(self._sizes[id(child)] for child in children)
        if size > MAX_YAML_VALUES:
            raise self._refusal(node, f"more than {MAX_YAML_VALUES} values, aliases counted")
        self._sizes[id(node)] = size

    @staticmethod
    def _refusal(at, problem: str) -> yaml.YAMLError:
        return yaml.composer.ComposerError(None, None, problem, at.start_mark)


def _each_once(text: str | bytes, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """``json`` takes the last of several values, too."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        name = next(name for name in names if names.count(name) > 1)
        written = text if isinstance(text, str) else bytes(text).decode(errors="replace")
        places = re.finditer(rf'"{re.escape(name)}"\s*:', written)
        lines = ", ".join(str(written.count("\n", 0, place.start()) + 1) for place in list(places)[:8])
        raise ParseError(
            f"has the key {shown(name)} twice in one object (it stands in line {lines}): delete one"
        )
    return made


def _no_number(constant: str):
    raise ValueError(f"{constant} is no number")


def _whole(digits: str) -> int:
    if len(digits) > _MAX_NUMBER_CHARACTERS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is larger than any number here")
    return value


def _refuse_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [item for held in level for item in _held(held) if isinstance(item, dict | list)]
        if not level:
            return
    raise ParseError(f"is nested more than {MAX_DEPTH} levels deep")


def _refuse_half_characters(value: Any, errors: str = "strict") -> None:
    """Half a surrogate pair passes both parsers, and then no file, socket or screen takes it."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str) and not item.isascii():
            try:
                item.encode(errors=errors)
            except UnicodeEncodeError:
                raise ParseError(f"holds half a character in {shown(item)}") from None
        elif isinstance(item, dict | list):
            waiting += [*item, *item.values()] if isinstance(item, dict) else item


def _held(value: dict | list):
    return value.values() if isinstance(value, dict) else value


def shortened(text: str) -> str:
    """Printable characters on one line, the middle left out where there are many."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text[: 20 * _SHOWN_CHARACTERS].split()))
    if len(line) <= 2 * _SHOWN_CHARACTERS:
        return line
    return f"{line[:_SHOWN_CHARACTERS]} ... {line[-_SHOWN_CHARACTERS // 2 :]}"
