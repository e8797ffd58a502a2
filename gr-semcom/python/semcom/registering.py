# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of named things that a researcher's own file may add to: architectures, channels, losses."""

import sys
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from semcom.errors import ConfigError

T = TypeVar("T")

#: what an error says where a name is unknown, for it may be a plugin's
PLUGIN_CURE = (
    "If it comes from a plugin, name the file that registers it: `--plugin FILE` on the command line, or the "
    "environment variable SEMCOM_PLUGINS."
)


class Registry(Mapping[str, T], Generic[T]):
    """Names to things, in the order of their registration. Whoever looks a name up sees those of plugins as well.

    Args:
        what: kind of thing, in the words of errors, such as "architecture".
    """

    def __init__(self, what: str):
        self.what = what
        self._things: dict[str, T] = {}
        self._places: dict[str, tuple[str, int]] = {}

    def add(self, name: str, thing: T, place: tuple[str, int]) -> None:
        """Registers ``thing``; ``place`` is the file and line that did it (:func:`calling_place`).

        The same line of the same file again takes the place of its first time: a file read anew is no second thing.

        Raises:
            ConfigError: a name that is no text, or that another place has registered.
        """
        if not isinstance(name, str) or not name:
            raise ConfigError(f"the name of a registered {self.what} is text such as 'mine', not {name!r}.")
        self.refuse_another(name, place)
        self._things[name], self._places[name] = thing, place

    def refuse_another(self, name: str, place: tuple[str, int]) -> None:
        """Raises ConfigError if another place than ``place`` has registered the name, with both."""
        there = self._places.get(name, place)
        if there != place:
            raise ConfigError(
                f"{self.what} '{name}' is registered twice, in {_words(there)} and in {_words(place)}: give one of them "
                f"another name."
            )

    @property
    def built_in(self) -> tuple[str, ...]:
        """Names registered so far, for texts that are made before any plugin is read."""
        return tuple(self._things)

    def __getitem__(self, name: str) -> T:
        _read_plugins()
        return self._things[name]

    def __contains__(self, name: object) -> bool:
        _read_plugins()
        return isinstance(name, str) and name in self._things

    def __iter__(self) -> Iterator[str]:
        _read_plugins()
        return iter(tuple(self._things))

    def __len__(self) -> int:
        _read_plugins()
        return len(self._things)


def calling_place(depth: int = 2) -> tuple[str, int]:
    """File and line of the caller's caller (``depth`` 2), or of one further up."""
    frame = sys._getframe(depth)
    return frame.f_code.co_filename, frame.f_lineno


def _words(place: tuple[str, int]) -> str:
    return f"{place[0]} (line {place[1]})"


def _read_plugins() -> None:
    # here, not above: plugins register here
    from semcom import plugins

    plugins.read_pending()
