# SPDX-License-Identifier: GPL-3.0-or-later
"""The one table of payloads: what is chosen on a command line or in a flowgraph, and the system that it makes."""

import dataclasses
from collections.abc import Callable

from semcom.errors import ConfigError
from semcom.parsing import did_you_mean, parse_yaml, shown
from semcom.payload.base import ANALOG, Analog
from semcom.payload.quantised import DigitalMode
from semcom.payload.sealed import Sealed, opened
from semcom.settings import make as make_settings
from semcom.system import zoo
from semcom.system.base import System
from semcom.system.coded import Coded, CodedSystem
from semcom.system.hybrid import Hybrid, HybridSystem
from semcom.system.latents import LatentSystem

#: a payload's fields are the names that ``--set`` takes
Payload = Analog | DigitalMode | Coded | Hybrid | Sealed
SYSTEMS: dict[type, Callable[..., System]] = {
    Analog: LatentSystem,
    DigitalMode: LatentSystem,
    Coded: CodedSystem,
    Hybrid: HybridSystem,
}
#: the payload that each ``--scheme`` begins from
SCHEMES: dict[str, type] = {
    "deepjscc": Analog,
    "separation": Coded,
    "hybrid": Hybrid,
}


_SEALING = ("key", "cipher")


def make(model, payload: Payload = ANALOG, device: str = "cpu") -> System:
    """The system of a model with a payload.

    Args:
        model: name in the zoo, path of a card, or a model that ``zoo.load`` gave.
        payload: of a sealed one the inner: keys are the modem's and the assembler's.

    Raises:
        ModelError: no such model, or it has no such codebooks.
    """
    loaded = model if isinstance(model, zoo.LoadedModel) else zoo.load(model, device=device)
    inner = opened(payload)
    return SYSTEMS[type(inner)](loaded, inner)


def payload_with(settings: dict[str, str], of: type = Analog) -> Payload:
    """The payload of settings as a command line has them, by the fields of the payloads; none: analog latents.

    Args:
        of: whose settings they are, one of ``SCHEMES``; analog: whichever payload has them.

    Raises:
        ConfigError: a name that no payload has, names of different payloads, or a value that cannot be.
    """
    names = {field.name for payload in SYSTEMS for field in dataclasses.fields(payload)} | set(_SEALING)
    for name in settings:
        if name not in names:
            hint = did_you_mean(name, names)
            raise ConfigError(
                f"--set {shown(name)}: there is no such setting{hint} There are {', '.join(sorted(names))}."
            )
    sealing = {name: settings[name] for name in _SEALING if name in settings}
    if sealing:
        inner = payload_with({name: value for name, value in settings.items() if name not in sealing}, of)
        if "key" not in sealing:
            raise ConfigError("--set cipher is for a link with a key: add --set key=NAME, or leave it out.")
        return Sealed(**sealing, inner=inner)
    for payload in SYSTEMS if of is Analog else [of]:
        if settings.keys() <= {field.name for field in dataclasses.fields(payload)}:
            values = {name: parse_yaml(value) for name, value in settings.items()}
            return make_settings(payload, values, "--set")
    raise ConfigError(
        f"--set {', '.join(settings)}: these belong to different ways of sending; name those of one."
    )
