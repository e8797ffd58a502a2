# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends a chain, whatever the kind of its results: the latest kept, a function called, the source let go on."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from semcom import blocks, keys
from semcom.blocks.base import PduBlock, check, is_count, reason_of
from semcom.blocks.pdu import Pdu
from semcom.kinds import IMAGE
from semcom.system.base import System


class ResultSink(PduBlock):
    """Base of the sinks of pictures and of labels.

    Args:
        name: of the block. noun: what its counter calls results. keep: the latest held in ``kept``, as (meta, value).
        callback: called with (meta, value) for each. outputs: ports beside ``done``. max_queue: as in every block.
    """

    drains = True

    def __init__(
        self,
        name: str,
        noun: str,
        keep: int,
        callback: Callable[[dict[str, Any], np.ndarray], None] | None,
        max_queue: int,
        outputs: tuple[str, ...] = (),
    ):
        check(name, keep=(keep, is_count(keep, 0), f"a whole number of {noun}, 0 or more"))
        super().__init__(name, outputs=(keys.PORT_DONE, *outputs), max_queue=max_queue)
        self._noun, self._callback = noun, callback
        # counters: in files, and what was not; the latter goes on with the reason
        self.written, self.not_written = f"{noun} written", f"{noun} that "
        self.kept: deque[tuple[dict[str, Any], np.ndarray]] = deque(maxlen=int(keep))
        # set when the end of the stream has come through
        self.ended = threading.Event()

    def reset(self) -> None:
        self.ended.clear()

    def value_of(self, pdu: Pdu) -> np.ndarray:
        """The result in a PDU. Raises PduError: it holds none of this kind."""
        raise NotImplementedError

    def use(self, pdu: Pdu, value: np.ndarray) -> None:
        """What this sink does with a result beside keeping it and calling the callback."""

    def prepare(self, pdu: Pdu) -> list:
        return [(pdu, self.value_of(pdu))]

    def process(self, items: list) -> list[tuple[str, Pdu]]:
        out = []
        for pdu, value in items:
            self.kept.append((pdu.meta, value))
            for step in (self.use, self._report):
                try:
                    step(pdu, value)
                except Exception as error:
                    self.fail(reason_of(error), error)
            self.count(self._noun)
            reported = (keys.IMAGE_ID, keys.BURSTS_RECEIVED, keys.BURST_COUNT)
            out.append(
                (keys.PORT_DONE, Pdu({key: pdu.meta[key] for key in reported if key in pdu.meta}, None))
            )
        return out

    def _report(self, pdu: Pdu, value: np.ndarray) -> None:
        if self._callback:
            self._callback(pdu.meta, value)

    def on_end(self, end: Pdu) -> None:
        self.ended.set()


def sink_of(system: System, **options):
    """The block that ends a chain of that system's results: ``image_sink`` or ``label_sink``."""
    return (blocks.image_sink if system.result is IMAGE else blocks.label_sink)(**options)
