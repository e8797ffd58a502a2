# SPDX-License-Identifier: GPL-3.0-or-later
"""Architecture names, as model cards and recipes write them, to classes."""

import difflib

from semcom.codec.adjscc import ADJSCC, BDJSCC
from semcom.codec.base import Codec
from semcom.codec.linres import LinRes
from semcom.errors import ModelError

ARCHITECTURES: dict[str, type[Codec]] = {cls.name: cls for cls in (LinRes, ADJSCC, BDJSCC)}


def build(architecture: str, arguments: dict) -> Codec:
    """An untrained codec of a named architecture.

    Raises:
        ModelError: unknown name (the nearest is suggested) or arguments that the architecture does not take.
    """
    if architecture not in ARCHITECTURES:
        near = difflib.get_close_matches(str(architecture), ARCHITECTURES, n=1, cutoff=0.0)[0]
        raise ModelError(
            f"unknown architecture '{architecture}': did you mean '{near}'? "
            f"There are {', '.join(ARCHITECTURES)}."
        )
    try:
        return ARCHITECTURES[architecture](**arguments)
    except TypeError as error:
        raise ModelError(
            f"architecture '{architecture}' does not take these arguments {arguments}: {error}."
        ) from error
