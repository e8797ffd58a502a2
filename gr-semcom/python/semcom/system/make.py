# SPDX-License-Identifier: GPL-3.0-or-later
"""The one table of payloads: what is chosen on a command line or in a flowgraph, and the system that it makes."""

from semcom.payload.base import ANALOG, Analog
from semcom.payload.quantised import DigitalMode
from semcom.system import zoo
from semcom.system.base import System
from semcom.system.coded import Coded, CodedSystem
from semcom.system.latents import LatentSystem

Payload = Analog | DigitalMode | Coded
SYSTEMS: dict[type, type[System]] = {Analog: LatentSystem, DigitalMode: LatentSystem, Coded: CodedSystem}


def make(model, payload: Payload = ANALOG, device: str = "cpu") -> System:
    """The system of a model with a payload.

    Args:
        model: name in the zoo, path of a card, or a model that ``zoo.load`` gave.

    Raises:
        ModelError: no such model, or it has no such codebooks.
    """
    loaded = model if isinstance(model, zoo.LoadedModel) else zoo.load(model, device=device)
    return SYSTEMS[type(payload)](loaded, payload)
