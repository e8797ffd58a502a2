# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream of samples to bursts."""

import time

import numpy as np
import pmt
import torch
from gnuradio import gr

from semcom import keys
from semcom.blocks import pdu as bridge
from semcom.blocks.base import Guarded, Stage, begin_anew, check, is_count
from semcom.blocks.pdu import Pdu
from semcom.modem import Modem, StreamDetector
from semcom.modem.sync import MIRRORED_BURSTS
from semcom.radio import load_link

_BUFFER_SAMPLES = 32768
_PATIENCE_S = 0.05
_HINT_BURSTS = 3  # one may be chance


class burst_detector(Stage, Guarded, gr.sync_block):
    """Cuts bursts out of an endless stream and publishes each as a PDU: sample_offset, cfo, sync_quality and
    the samples from the burst's first preamble sample on (c32vector).

    Ports: stream in; ``out`` PDUs. The tag ``semcom_end`` flushes what is held back and is followed by a PDU
    with ``end_of_stream``; so does a stop of the flowgraph.

    Steady tones, DC among them, are taken out before anything is searched (``modem.tones``).

    Args:
        profile: path of the link profile, for the modem's sizes; "": none.
        chunk_samples: new samples gathered for one search; smaller is sooner, larger is cheaper. A slower
            stream is searched every 50 ms.
        threads: CPU threads of torch.
        invert_spectrum: the spectrum comes inverted, or I and Q are swapped: every sample is conjugated.
        cfo_search: carrier offsets up to +-10 % of the sample rate are found, not only up to 3.1 %; it costs more.
    """

    def __init__(
        self,
        profile: str = "",
        chunk_samples: int = 131072,
        threads: int = 1,
        invert_spectrum: bool = False,
        cfo_search: bool = False,
    ):
        check(
            "burst_detector",
            chunk_samples=(chunk_samples, is_count(chunk_samples), "a whole number of samples, 1 or more"),
            threads=(threads, is_count(threads), "a whole number of CPU threads, 1 or more"),
            invert_spectrum=(invert_spectrum, isinstance(invert_spectrum, bool), "True or False"),
            cfo_search=(cfo_search, isinstance(cfo_search, bool), "True or False"),
        )
        gr.sync_block.__init__(self, name="burst_detector", in_sig=[np.complex64], out_sig=None)
        self.init_guard("burst_detector")
        self.threads = int(threads)
        self.modem, self._chunk = Modem(load_link(profile).modem), int(chunk_samples)
        self.invert_spectrum, self.cfo_search = invert_spectrum, cfo_search
        self._begin()
        self._end = pmt.intern(keys.TAG_END)
        self._ready = False  # torch knows in this thread how many more it may have
        # GNU Radio sizes the buffer before a block by its history: room for few, large calls. The history
        # itself, the first samples of each call, is not looked at.
        self.set_history(_BUFFER_SAMPLES)
        self.message_port_register_out(pmt.intern(keys.PORT_OUT))

    def _begin(self) -> None:
        self._detector = StreamDetector(
            self.modem,
            self._chunk,
            _PATIENCE_S,
            invert_spectrum=self.invert_spectrum,
            cfo_search=self.cfo_search,
        )
        self._hinted = False
        self._is_open = self._has_samples = False  # something came that no END has followed; anything at all

    def start(self) -> bool:
        begin_anew(self)
        self.keep_counts()
        self._begin()
        self._ready = False
        self.begin_stage()
        return True

    def stop(self) -> bool:
        """What is held back goes on its way, and so does the word that nothing follows."""
        if self._has_samples:
            self.guarded_work(self._end_here, fallback=0)
        self.end_stage()
        return True

    def _end_here(self) -> int:
        self._publish(self._detector.flush())
        if self._is_open:
            self._is_open = False
            self._send(Pdu.end())
        return 0

    @property
    def loudest(self) -> torch.Tensor:
        """The loudest samples that came ``[n]``, as they came: what to look at where nothing was found."""
        return self._detector.loudest

    def work(self, input_items, output_items) -> int:
        if not self._ready:
            torch.set_num_threads(self.threads)
            self._ready = True
        samples = input_items[0][_BUFFER_SAMPLES - 1 :]
        return self.guarded_work(lambda: self._take(samples), fallback=len(samples))

    def _take(self, samples: np.ndarray) -> int:
        start = self.nitems_read(0)
        at = 0
        if not self._has_samples:
            self._has_samples = self._is_open = True
        for tag in self.get_tags_in_window(0, 0, len(samples), self._end):
            upto = tag.offset - start + 1
            self._publish(self._detector.push(samples[at:upto].copy()))
            self._end_here()
            at = upto
        self._publish(self._detector.push(samples[at:].copy()))  # the buffer is the scheduler's: keep a copy
        return len(samples)

    def _publish(self, bursts) -> None:
        counters = self._detector.counters
        self.set_counts(counters)
        if (
            not self._hinted
            and counters.get(MIRRORED_BURSTS, 0) >= _HINT_BURSTS
            and not counters["bursts found"]
        ):
            self._hinted = True
            what = (
                "does not come inverted" if self.invert_spectrum else "comes inverted, or I and Q are swapped"
            )
            self._log.warn(f"the spectrum {what}: change invert_spectrum (--invert-spectrum) of the receiver")
        for burst in bursts:
            self._is_open = True
            self._send(
                Pdu(
                    {
                        keys.SAMPLE_OFFSET: burst.sample_offset,
                        keys.CFO: burst.cfo,
                        keys.SYNC_QUALITY: burst.quality,
                        keys.DETECTED_S: time.monotonic(),
                    },
                    burst.samples,
                )
            )

    def _send(self, pdu: Pdu) -> None:
        self.message_port_pub(pmt.intern(keys.PORT_OUT), bridge.to_message(pdu))
        self.count(f"sent to '{keys.PORT_OUT}'")
