# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream of samples to bursts with their latents and SNR, in one thread."""

import time
from collections.abc import Iterable

import numpy as np
import pmt
import torch
from gnuradio import gr

from semcom import keys
from semcom.blocks.base import Batches, begin_anew, check, is_count
from semcom.blocks.burst_demodulator import Demodulation, as_burst
from semcom.blocks.burst_detector import BUFFER_SAMPLES, BurstSearch, Searching, check_search
from semcom.blocks.pdu import Pdu
from semcom.blocks.pilot_snr_estimator import Estimation
from semcom.wire.samples import SEARCH_SAMPLES

# bursts demodulated together cost less than one by one: of a fast stream so many are awaited, but not for long
_ENOUGH, _PATIENCE_S = 16, 0.05
_OUTPUTS = (
    keys.PORT_OUT,
    keys.PORT_BURSTS,
    keys.PORT_FAILED,
    keys.PORT_CONSTELLATION,
    keys.PORT_SNR,
    keys.PORT_HISTORY,
)


class receiver(Searching, Batches, gr.sync_block):
    """``burst_detector``, ``burst_demodulator`` and ``pilot_snr_estimator`` as one block, whose one thread does the work
    of all three: nothing becomes a message on the way, and no threads hand the interpreter to and fro.

    Ports: stream in; ``bursts`` PDUs as the detector's ``out``; ``out``, ``snr`` and ``history`` as the estimator's;
    ``failed`` and ``constellation`` as the demodulator's. What these three say of tags, lost samples and the end holds
    here, and all their counters are counted here. There is no queue between them in which bursts could be dropped:
    while bursts are demodulated, the stream waits before the block (a radio's in ``radio_source``).

    Args:
        profile, chunk_samples, invert_spectrum, cfo_search: as in ``burst_detector``.
        constellation_points, constellation_rate, device: as in ``burst_demodulator``.
        history: as in ``pilot_snr_estimator``.
        threads: CPU threads of torch.
        batch: bursts demodulated together, at most.
        key: as in ``burst_demodulator``. eavesdrop: receive as somebody without the key who does not care for tags,
            to see what a cipher leaves him; the decoder that follows says so too.

    Attributes:
        modem: by which it receives.
    """

    def __init__(
        self,
        profile: str = "",
        chunk_samples: int = SEARCH_SAMPLES,
        invert_spectrum: bool = False,
        cfo_search: bool = False,
        constellation_points: int = 1024,
        constellation_rate: float = 10.0,
        history: int = 200,
        device: str = "cpu",
        threads: int = 1,
        batch: int = 32,
        key: str = "",
        eavesdrop: bool = False,
    ):
        check_search("receiver", chunk_samples, invert_spectrum, cfo_search)
        check(
            "receiver",
            threads=(threads, is_count(threads), "a whole number of CPU threads, 1 or more"),
            batch=(batch, is_count(batch), "a whole number of bursts, 1 or more"),
        )
        gr.sync_block.__init__(self, name="receiver", in_sig=[np.complex64], out_sig=None)
        self.init_guard("receiver")
        self.threads, self.batch = int(threads), int(batch)
        self._demodulation = Demodulation(
            self, profile, constellation_points, constellation_rate, device, key, eavesdrop
        )
        self._estimation = Estimation("receiver", history)
        self.modem = self._demodulation.modem
        self._chunk, self.invert_spectrum, self.cfo_search = int(chunk_samples), invert_spectrum, cfo_search
        self._begin()
        # as in burst_detector
        self.set_history(BUFFER_SAMPLES)
        for port in _OUTPUTS:
            self.message_port_register_out(pmt.intern(port))

    def _begin(self) -> None:
        self._search = BurstSearch(self, self.modem, self._chunk, self.invert_spectrum, self.cfo_search)
        self._waiting: list[Pdu] = []  # bursts to be demodulated
        # torch knows in the scheduler's thread how many threads it may have
        self._ready = False

    def start(self) -> bool:
        begin_anew(self)
        self.keep_counts()
        self._begin()
        self._estimation.clear()
        self.begin_stage()
        return True

    def stop(self) -> bool:
        """What is held back goes on its way, and so does the word that nothing follows."""
        self.guarded_work(lambda: self._use(self._search.end()), fallback=0)
        # where that failed, what had been found before
        self.guarded_work(self._demodulate, fallback=0)
        self.end_stage()
        return True

    def _use(self, found: Iterable[Pdu]) -> int:
        """Publishes what is found and what is made of it, in the order of the stream."""
        try:
            for pdu in found:
                self.publish(keys.PORT_BURSTS, pdu)
                if pdu.is_end:
                    self._demodulate()
                    self.publish(keys.PORT_OUT, pdu)
                else:
                    self._waiting.append(pdu)
                if len(self._waiting) == self.batch:
                    self._demodulate()
        finally:
            # also where the search failed: what it had found is not lost with it
            if self._waiting and not self._may_wait():
                self._demodulate()
        return 0

    def _may_wait(self) -> bool:
        """Whether more bursts to be demodulated with those that wait will be there in a moment."""
        since_s = time.monotonic() - self._waiting[0].meta[keys.DETECTED_S]
        return len(self._waiting) < _ENOUGH and self._search.is_amid_bursts and since_s < _PATIENCE_S

    def _demodulate(self) -> int:
        pdus, self._waiting = self._waiting, []
        if pdus:
            self.process_guarded([as_burst(pdu, pdu.raw) for pdu in pdus])
        return 0

    def process(self, items: list) -> list[tuple[str, Pdu]]:
        made = self._demodulation.process(items)
        read = [(pdu, _pilots(pdu)) for port, pdu in made if port == keys.PORT_OUT]
        out = [(port, pdu) for port, pdu in made if port != keys.PORT_OUT]
        return out + self._estimation.process(read) if read else out


def _pilots(pdu: Pdu) -> torch.Tensor:
    return torch.stack([pdu.meta[keys.PILOTS_RX], pdu.meta[keys.PILOTS_REF]])
