# SPDX-License-Identifier: GPL-3.0-or-later
"""What the project's own flowgraphs share: PDUs from block to block, and waiting for the end without hanging."""

import time
from collections.abc import Callable

from gnuradio import gr

from semcom import keys
from semcom.errors import SemcomError


class Flowgraph(gr.top_block):
    """A top block of ours; ``chain`` holds every block with counters."""

    chain: list

    def connect_pdus(self, *line) -> None:
        """The port ``out`` of each block to the port ``in`` of the next."""
        for upstream, downstream in zip(line, line[1:], strict=False):
            self.msg_connect((upstream, keys.PORT_OUT), (downstream, keys.PORT_IN))

    def watch_to_end(
        self,
        ended: Callable[[], bool],
        starved: Callable[[float], str],
        stall_s: float,
        on_tick: Callable[[], None] | None,
    ) -> float:
        """Starts, waits until ``ended`` (which may itself wait a tenth of a second), stops; seconds it took.

        Raises:
            SemcomError: no counter moved for ``stall_s``; ``starved(stall_s)`` are its words.
        """
        began = moved = time.perf_counter()
        seen = None
        self.start()
        try:
            while not ended():
                if on_tick:
                    on_tick()
                state = tuple(sum(block.counters.values()) for block in self.chain)
                if state != seen:
                    seen, moved = state, time.perf_counter()
                elif time.perf_counter() - moved > stall_s:
                    raise SemcomError(starved(stall_s))
            return time.perf_counter() - began
        finally:
            self.stop()
            self.wait()
