# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML files to dataclasses: every mistake is named with its key, its file and the cure, before anything runs.

Recipes, link profiles, radio profiles and air scripts are all read through here.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from semcom import parsing
from semcom.errors import ConfigError
from semcom.parsing import did_you_mean, shown

T = TypeVar("T")


def read_yaml(path: str | Path, what: str) -> dict[str, Any]:
    """The mapping in a YAML file; ``what`` says in words what the file should be ("link profile").

    Raises:
        ConfigError: no such file, too large, not text, not YAML, or not a mapping.
    """
    file = _expanded(path)
    if not parsing.is_file(file):
        raise ConfigError(f"there is no {what} {shown(str(path))}: give the path of a YAML file.")
    try:
        values = parsing.parse_yaml(parsing.read_text(file, parsing.MAX_YAML_BYTES))
    except parsing.ParseError as error:
        raise ConfigError(f"{what} {file} {error}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{what} {file} must be a list of 'key: value' lines.")
    return values


def make(cls: type[T], values: dict[str, Any], source: str) -> T:
    """``values`` as an instance of the dataclass ``cls``; ``source`` begins every complaint.

    Whole numbers pass for floats; a nested mapping becomes the nested dataclass. Rules of the dataclass's own belong in
    its ``__post_init__``, as ConfigError.

    Raises:
        ConfigError: an unknown key (the nearest is suggested), a missing or wrong value.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{source} must be a list of 'key: value' lines, not {shown(values)}.")
    hints, out = typing.get_type_hints(cls), {}
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in values:
        if key not in fields:
            hint = did_you_mean(key, fields)
            raise ConfigError(f"{source}: unknown key {shown(key)}{hint} There are {', '.join(fields)}.")
    for key, field in fields.items():
        if key in values:
            out[key] = _fit(values[key], hints[key], f"{source}: '{key}'")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{source}: '{key}' is missing.")
    return cls(**out)


def load(cls: type[T], path: str | Path, what: str) -> T:
    """``make`` of ``read_yaml``."""
    return make(cls, read_yaml(path, what), f"{what} {path}")


def require(source: str, **rules: tuple[Any, bool, str]) -> None:
    """Checks ``name=(value, is_good, "what it must be")``, for ``__post_init__``.

    Raises:
        ConfigError: naming the source, the key, what it must be and what it was.
    """
    for name, (value, good, wanted) in rules.items():
        if not good:
            raise ConfigError(f"{source}: '{name}' must be {wanted}, not {shown(value)}.")


def _fit(value: Any, kind: Any, place: str) -> Any:
    """``value`` as ``kind``: a plain type, a list or dictionary of one, a dataclass, or a union of those."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _fit_any(value, arguments, place)
    if dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else make(kind, value, place)
    plain: Callable = origin or kind
    # YAML 1.1: 1e6 is a string
    if plain is float and isinstance(value, int | str) and not isinstance(value, bool):
        value = _number(value)
    if isinstance(value, float) and plain is float and not math.isfinite(value):
        raise ConfigError(f"{place} is {shown(value)}, but must be a finite number.")
    if not isinstance(value, plain) or (isinstance(value, bool) and plain is not bool):
        raise ConfigError(f"{place} is {shown(value)}, but must be of type {plain.__name__}.")
    if origin is list and arguments:
        return [_fit(item, arguments[0], f"{place}[{i}]") for i, item in enumerate(value)]
    if origin is dict and arguments:
        for key in value:
            if arguments[0] is str and not isinstance(key, str):
                raise ConfigError(f"{place}: the name {shown(key)} must be text: put it in quotes.")
        return {key: _fit(item, arguments[1], f"{place}: {shown(key)}") for key, item in value.items()}
    return value


def _fit_any(value: Any, kinds: tuple, place: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    for kind in kinds[:-1]:
        try:
            return _fit(value, kind, place)
        except ConfigError:
            continue
    return _fit(value, kinds[-1], place)


def _number(value: int | str) -> float | int | str:
    """As a float where it is one that a float can hold."""
    try:
        return float(value)
    except (ValueError, OverflowError):
        return value


def _expanded(path: str | Path) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user
        return Path(path)
