# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream of samples to bursts with their latents and SNR, in one thread, or one thread and a process."""

import time
from collections import deque
from collections.abc import Iterable

import numpy as np
import pmt
import torch
from gnuradio import gr

from semcom import keys
from semcom.blocks.base import Batches, begin_anew, check, is_count, reason_of
from semcom.blocks.burst_demodulator import Demodulation, as_burst
from semcom.blocks.burst_detector import BUFFER_SAMPLES, BurstSearch, Searching, check_search
from semcom.blocks.pdu import Pdu
from semcom.blocks.pilot_snr_estimator import Estimation
from semcom.modem import DemodulatedBurst
from semcom.modem.apart import ApartError, ModemApart
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
        processes: 2: bursts are demodulated in a process of their own, for streams that are too fast for one core; the
            results are the same. It takes seconds to start; where it does not, or ends, all is done here. What it has
            made is published when the next samples come. Not for links with a key, whose state is one.

    Attributes:
        modem: by which it receives.

    Raises:
        ConfigError: naming what is wrong.
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
        processes: int = 1,
        eavesdrop: bool = False,
    ):
        check_search("receiver", chunk_samples, invert_spectrum, cfo_search)
        check(
            "receiver",
            threads=(threads, is_count(threads), "a whole number of CPU threads, 1 or more"),
            batch=(batch, is_count(batch), "a whole number of bursts, 1 or more"),
            processes=(processes, is_count(processes) and processes <= 2, "1 or 2"),
        )
        gr.sync_block.__init__(self, name="receiver", in_sig=[np.complex64], out_sig=None)
        self.init_guard("receiver")
        self.threads, self.batch = int(threads), int(batch)
        self._demodulation = Demodulation(
            self, profile, constellation_points, constellation_rate, device, key, eavesdrop
        )
        check(
            "receiver",
            processes=(
                processes,
                processes == 1 or not self._demodulation.is_keyed,
                "1 on a link with a key",
            ),
        )
        self._estimation = Estimation("receiver", history)
        self.modem, self.device, self.processes = self._demodulation.modem, device, int(processes)
        self._apart: ModemApart | None = None
        self._chunk, self.invert_spectrum, self.cfo_search = int(chunk_samples), invert_spectrum, cfo_search
        self._begin()
        # as in burst_detector
        self.set_history(BUFFER_SAMPLES)
        for port in _OUTPUTS:
            self.message_port_register_out(pmt.intern(port))

    def _begin(self) -> None:
        self._search = BurstSearch(self, self.modem, self._chunk, self.invert_spectrum, self.cfo_search)
        self._waiting: list[Pdu] = []  # bursts to be demodulated
        self._elsewhere: deque[list] = deque()  # batches that are with the other process
        # torch knows in the scheduler's thread how many threads it may have
        self._ready = False

    def start(self) -> bool:
        begin_anew(self)
        self.keep_counts()
        self._begin()
        self._estimation.clear()
        self._begin_apart()
        self.begin_stage()
        return True

    def _begin_apart(self) -> None:
        self._end_apart()
        if self.processes == 1:
            return
        try:
            self._apart = ModemApart(self.modem.profile, self.device, self.threads, self.batch)
        except (OSError, ApartError) as error:
            self.fail(f"bursts are demodulated in this process: {reason_of(error)}", error)

    def _end_apart(self) -> None:
        if self._apart is not None:
            self._apart.close()
        self._apart = None

    def stop(self) -> bool:
        """What is held back goes on its way, and so does the word that nothing follows."""
        self.guarded_work(lambda: self._use(self._search.end()), fallback=0)
        # where that failed, what had been found before
        self.guarded_work(self._demodulate, fallback=0)
        self.guarded_work(lambda: self._collect(everything=True), fallback=0)
        self._end_apart()
        self.end_stage()
        return True

    def _use(self, found: Iterable[Pdu]) -> int:
        """Publishes what is found and what is made of it, in the order of the stream."""
        try:
            for pdu in found:
                self.publish(keys.PORT_BURSTS, pdu)
                if pdu.is_end:
                    self._demodulate()
                    self._collect(everything=True)
                    self.publish(keys.PORT_OUT, pdu)
                else:
                    self._waiting.append(pdu)
                if len(self._waiting) == self.batch:
                    self._demodulate()
        finally:
            # also where the search failed: what it had found is not lost with it
            if self._waiting and not self._may_wait():
                self._demodulate()
            self._collect(everything=False)
        return 0

    def _may_wait(self) -> bool:
        """Whether more bursts to be demodulated with those that wait will be there in a moment."""
        since_s = time.monotonic() - self._waiting[0].meta[keys.DETECTED_S]
        return len(self._waiting) < _ENOUGH and self._search.is_amid_bursts and since_s < _PATIENCE_S

    def _demodulate(self) -> int:
        pdus, self._waiting = self._waiting, []
        if not pdus:
            return 0
        items = [as_burst(pdu, pdu.raw) for pdu in pdus]
        if not self._hand_over(items):
            self._collect(everything=True)
            self.process_guarded(items)
        return 0

    def _hand_over(self, items: list) -> bool:
        """Gives a batch to the other process, when that has room; False: there is none that could take it."""
        try:
            if self._apart is None:
                return False
            while not self._apart.hand_over([burst for _, burst in items]):
                if not self._elsewhere:
                    return False
                self._collect_one(wait=True)
                if self._apart is None:
                    return False
        except ApartError as error:
            self._give_up(error)
            return False
        self._elsewhere.append(items)
        return True

    def _collect(self, everything: bool) -> int:
        """Publishes what the other process has made by now, or waits for all that it was given."""
        while self._collect_one(wait=everything):
            pass
        return 0

    def _collect_one(self, wait: bool) -> bool:
        """Publishes the next batch, if it has come; whether it has."""
        if self._apart is None or not self._elsewhere:
            return False
        try:
            results = self._apart.take(wait)
        except ApartError as error:
            self._give_up(error)
            return False
        except Exception:
            # what failed there is tried again here, burst by burst, and counted
            self.process_guarded(self._elsewhere.popleft())
            return True
        if results is None:
            return False
        self.process_guarded(self._elsewhere.popleft(), results)
        return True

    def _give_up(self, error: ApartError) -> None:
        """Demodulates here from now on, first what had been handed over."""
        self.fail(f"{error}; bursts are demodulated here from now on", error)
        self._end_apart()
        while self._elsewhere:
            self.process_guarded(self._elsewhere.popleft())

    def process(self, items: list, results: list[DemodulatedBurst] | None = None) -> list[tuple[str, Pdu]]:
        made = (
            self._demodulation.process(items)
            if results is None
            else self._demodulation.made_of(items, results)
        )
        read = [(pdu, _pilots(pdu)) for port, pdu in made if port == keys.PORT_OUT]
        out = [(port, pdu) for port, pdu in made if port != keys.PORT_OUT]
        return out + self._estimation.process(read) if read else out


def _pilots(pdu: Pdu) -> torch.Tensor:
    return torch.stack([pdu.meta[keys.PILOTS_RX], pdu.meta[keys.PILOTS_REF]])
