# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels out of the chain: to memory, to a function, and in words to a screen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pmt

from semcom import keys
from semcom.blocks.pdu import Pdu
from semcom.blocks.result_sink import ResultSink
from semcom.blocks.results import label_of
from semcom.errors import OutputError


class label_sink(ResultSink):
    """Takes labels (f32vector of probabilities with label and confidence) and keeps the latest.

    Ports: ``in`` PDUs; ``done`` as of ``image_sink``; ``text`` a pair ("label", "NAME 0.93"), for Qt GUI's message box.

    Args:
        folder: where to write labels.csv, a head and a line each (sender, image_id, label, confidence); made when
            missing; "": nowhere.
        names: of the classes, separated by commas; "": their numbers.
        keep: the latest held in ``kept``, as (meta, probabilities ``[classes]``).
        callback: called with (meta, probabilities) for each. max_queue: as in every block.
    """

    def __init__(
        self,
        folder: str = "",
        names: str = "",
        keep: int = 16,
        callback: Callable[[dict[str, Any], np.ndarray], None] | None = None,
        max_queue: int = 256,
    ):
        super().__init__("label_sink", "labels", keep, callback, max_queue, outputs=(keys.PORT_TEXT,))
        self._file = Path(folder).expanduser() / "labels.csv" if str(folder) else None
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        self._names = [name.strip() for name in names.split(",")] if names else []

    def value_of(self, pdu: Pdu) -> np.ndarray:
        return label_of(pdu)

    def use(self, pdu: Pdu, value: np.ndarray) -> None:
        label = int(value.argmax())
        name = self._names[label] if label < len(self._names) else str(label)
        if self._file is not None:
            self._append(pdu, label, float(value[label]))
        text = pmt.cons(pmt.intern(keys.LABEL), pmt.intern(f"{name} {value[label]:.2f}"))
        self.message_port_pub(pmt.intern(keys.PORT_TEXT), text)

    def _append(self, pdu: Pdu, label: int, confidence: float) -> None:
        numbers = pdu.integer(keys.SENDER, 0), pdu.integer(keys.IMAGE_ID, 0)
        try:
            with self._file.open("a") as file:
                if not file.tell():
                    file.write("sender,image_id,label,confidence\n")
                file.write(f"{numbers[0]},{numbers[1]},{label},{confidence:.4f}\n")
        except OSError as error:
            raise OutputError(
                f"{self._file}: {error.strerror}", kind=f"{self.not_written}{error.strerror}"
            ) from error
        self.count(self.written)
