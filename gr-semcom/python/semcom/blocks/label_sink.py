# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels out of the chain: to memory, to a function, and in words to a screen."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pmt

from semcom import keys
from semcom.blocks.pdu import Pdu
from semcom.blocks.result_sink import ResultSink
from semcom.blocks.results import label_of


class label_sink(ResultSink):
    """Takes labels (f32vector of probabilities with label and confidence) and keeps the latest.

    Ports: ``in`` PDUs; ``done`` as of ``image_sink``; ``text`` a pair ("label", "NAME 0.93"), for Qt GUI's message box.

    Args:
        names: of the classes, separated by commas; "": their numbers.
        keep: the latest held in ``kept``, as (meta, probabilities ``[classes]``).
        callback: called with (meta, probabilities) for each. max_queue: as in every block.
    """

    def __init__(
        self,
        names: str = "",
        keep: int = 16,
        callback: Callable[[dict[str, Any], np.ndarray], None] | None = None,
        max_queue: int = 256,
    ):
        super().__init__("label_sink", "labels", keep, callback, max_queue, outputs=(keys.PORT_TEXT,))
        self._names = [name.strip() for name in names.split(",")] if names else []

    def value_of(self, pdu: Pdu) -> np.ndarray:
        return label_of(pdu)

    def use(self, pdu: Pdu, value: np.ndarray) -> None:
        label = int(value.argmax())
        name = self._names[label] if label < len(self._names) else str(label)
        text = pmt.cons(pmt.intern(keys.LABEL), pmt.intern(f"{name} {value[label]:.2f}"))
        self.message_port_pub(pmt.intern(keys.PORT_TEXT), text)
