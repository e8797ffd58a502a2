# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream of samples to bursts."""

import time
from collections.abc import Iterable, Iterator

import numpy as np
import pmt
import torch
from gnuradio import gr

from semcom import keys
from semcom.blocks import pdu as bridge
from semcom.blocks.base import Guarded, Stage, begin_anew, check, is_count
from semcom.blocks.pdu import Pdu, Pmt
from semcom.modem import DetectedBurst, Modem, StreamDetector
from semcom.modem.sync import MIRRORED_BURSTS
from semcom.radio import load_link
from semcom.radio.reports import RxClock
from semcom.radio.timing import Time
from semcom.wire.samples import SEARCH_SAMPLES

BUFFER_SAMPLES = 32768
_PATIENCE_S = 0.05
_HINT_BURSTS = 3  # one may be chance
_TAGS = (keys.TAG_RX_RATE, keys.TAG_RX_TIME, keys.TAG_END)  # those of one sample in this order
SAMPLES_FILLED = "samples lost to overflows, zeros in their place"


class BurstSearch:
    """A stream and its tags to the PDUs of its bursts, and of its ends: what a block does between samples and messages.

    For one run of a flowgraph. What ``burst_detector`` says of lost samples, tags and ends holds here.

    Args:
        guard: the block, which counts.
        modem, chunk_samples, invert_spectrum, cfo_search: as in ``StreamDetector``.
    """

    def __init__(
        self, guard: Guarded, modem: Modem, chunk_samples: int, invert_spectrum: bool, cfo_search: bool
    ):
        self._guard, self._longest, self._inverts = guard, modem.profile.max_burst_samples, invert_spectrum
        self._detector = StreamDetector(
            modem, chunk_samples, _PATIENCE_S, invert_spectrum=invert_spectrum, cfo_search=cfo_search
        )
        self._hinted = False
        # the source counts overflows
        self._clock = RxClock(lambda what, number=1: None, lambda what: None, 1.0)
        # something came that no END has followed; anything at all
        self._is_open = self._has_samples = False

    @property
    def loudest(self) -> torch.Tensor:
        """The loudest samples that came ``[n]``, as they came: what to look at where nothing was found."""
        return self._detector.loudest

    @property
    def is_amid_bursts(self) -> bool:
        """As of ``StreamDetector``."""
        return self._detector.is_amid_bursts

    def take(self, samples: np.ndarray, start: int, tags: Iterable) -> Iterator[Pdu]:
        """The next samples ``[n]`` of the stream, which are kept; the PDUs that are ready by then.

        Args:
            start: number of the first sample in the stream. tags: ``(offset, key, value)`` as ``tags_of`` has them.
        """
        at = 0
        if not self._has_samples:
            self._has_samples = self._is_open = True
        for offset, key, value in tags:
            if key == keys.TAG_RX_RATE:
                self._clock.on_rate(pmt.to_double(value))
            elif key == keys.TAG_RX_TIME:
                lost = min(self._clock.on_time(offset, _time_of(value)), self._longest)
                if lost:
                    yield from self._push(samples[at : offset - start])
                    yield from self._push(np.zeros(lost, np.complex64))
                    self._guard.count(SAMPLES_FILLED, lost)
                    at = offset - start
            else:
                upto = offset - start + 1
                yield from self._push(samples[at:upto])
                yield from self._end_here()
                at = upto
        yield from self._push(samples[at:])

    def end(self) -> Iterator[Pdu]:
        """The stream is over: what is held back, and the word that nothing follows; nothing if no sample came."""
        if self._has_samples:
            yield from self._end_here()

    def _end_here(self) -> Iterator[Pdu]:
        yield from self._found(self._detector.flush())
        if self._is_open:
            self._is_open = False
            yield Pdu.end()

    def _push(self, samples: np.ndarray) -> Iterator[Pdu]:
        return self._found(self._detector.push(samples))

    def _found(self, bursts: list[DetectedBurst]) -> Iterator[Pdu]:
        counters = self._detector.counters
        self._guard.set_counts(counters)
        if (
            not self._hinted
            and counters.get(MIRRORED_BURSTS, 0) >= _HINT_BURSTS
            and not counters["bursts found"]
        ):
            self._hinted = True
            what = "does not come inverted" if self._inverts else "comes inverted, or I and Q are swapped"
            self._guard.warn(
                f"the spectrum {what}: change invert_spectrum (--invert-spectrum) of the receiver"
            )
        for burst in bursts:
            self._is_open = True
            yield Pdu(
                {
                    keys.SAMPLE_OFFSET: burst.sample_offset,
                    keys.CFO: burst.cfo,
                    keys.SYNC_QUALITY: burst.quality,
                    keys.DETECTED_S: time.monotonic(),
                },
                burst.samples,
            )


def tags_of(block: gr.sync_block, count: int) -> list[tuple[int, str, Pmt]]:
    """Offset, key and value of the tags that matter in the next ``count`` samples of a block's only input, in the order
    in which they are to be heeded."""
    tags = []
    for tag in block.get_tags_in_window(0, 0, count):
        key = pmt.symbol_to_string(tag.key) if pmt.is_symbol(tag.key) else ""
        if key == keys.TAG_END or key in _TAGS and _says_what_it_should(key, tag.value):
            tags.append((tag.offset, key, tag.value))
    return sorted(tags, key=lambda tag: (tag[0], _TAGS.index(tag[1])))


def check_search(block: str, chunk_samples: int, invert_spectrum: bool, cfo_search: bool) -> None:
    """Validates the settings of a search. Raises ConfigError like ``check``."""
    check(
        block,
        chunk_samples=(chunk_samples, is_count(chunk_samples), "a whole number of samples, 1 or more"),
        invert_spectrum=(invert_spectrum, isinstance(invert_spectrum, bool), "True or False"),
        cfo_search=(cfo_search, isinstance(cfo_search, bool), "True or False"),
    )


class Searching(Stage):
    """What the blocks share that search a stream: ``work`` hands each call's samples to their ``BurstSearch``.

    They have ``threads``, ``_search``, ``_ready`` (False until torch was given its threads) and ``_use``.
    """

    def _use(self, found: Iterable[Pdu]) -> int:
        """Does the block's work on what a search found; 0."""
        raise NotImplementedError

    @property
    def loudest(self) -> torch.Tensor:
        """As of ``BurstSearch``."""
        return self._search.loudest

    def work(self, input_items, output_items) -> int:
        if not self._ready:
            torch.set_num_threads(self.threads)
            self._ready = True
        samples = input_items[0][BUFFER_SAMPLES - 1 :]
        return self.guarded_work(lambda: self._take(samples), fallback=len(samples))

    def _take(self, samples: np.ndarray) -> int:
        # the buffer is the scheduler's: a copy is kept
        self._use(self._search.take(samples.copy(), self.nitems_read(0), tags_of(self, len(samples))))
        return len(samples)


class burst_detector(Searching, Guarded, gr.sync_block):
    """Cuts bursts out of an endless stream and publishes each as a PDU: sample_offset, cfo, sync_quality and
    the samples from the burst's first preamble sample on (c32vector).

    Ports: stream in; ``out`` PDUs. The tag ``semcom_end`` flushes what is held back and is followed by a PDU
    with ``end_of_stream``; so does a stop of the flowgraph. Where the tag ``rx_time`` shows lost samples, zeros take
    their place (as many as the longest burst has, at most), so that the burst they are missing from keeps its timing;
    the tag ``rx_rate`` must have given the sample rate.

    Steady tones, DC among them, are taken out before anything is searched (``modem.tones``).

    Args:
        profile: path of the link profile, for the modem's sizes; "": none.
        chunk_samples: new samples gathered for one search; smaller is sooner, larger is cheaper. A slower
            stream is searched every 50 ms.
        threads: CPU threads of torch.
        invert_spectrum: the spectrum comes inverted, or I and Q are swapped: every sample is conjugated.
        cfo_search: carrier offsets up to +-10 % of the sample rate are found, not only up to 3.1 %; it costs more.
        key: instead of the link profile's, for the modem's sizes; "": as it has it.
    """

    def __init__(
        self,
        profile: str = "",
        chunk_samples: int = SEARCH_SAMPLES,
        threads: int = 1,
        invert_spectrum: bool = False,
        cfo_search: bool = False,
        key: str = "",
    ):
        check_search("burst_detector", chunk_samples, invert_spectrum, cfo_search)
        check(
            "burst_detector",
            threads=(threads, is_count(threads), "a whole number of CPU threads, 1 or more"),
        )
        gr.sync_block.__init__(self, name="burst_detector", in_sig=[np.complex64], out_sig=None)
        self.init_guard("burst_detector")
        self.threads = int(threads)
        self.modem, self._chunk = Modem(load_link(profile, key=key).modem), int(chunk_samples)
        self.invert_spectrum, self.cfo_search = invert_spectrum, cfo_search
        self._begin()
        self._ready = False  # torch knows in this thread how many more it may have
        # GNU Radio sizes the buffer before a block by its history: room for few, large calls. The history
        # itself, the first samples of each call, is not looked at.
        self.set_history(BUFFER_SAMPLES)
        self.message_port_register_out(pmt.intern(keys.PORT_OUT))

    def _begin(self) -> None:
        self._search = BurstSearch(self, self.modem, self._chunk, self.invert_spectrum, self.cfo_search)

    def start(self) -> bool:
        begin_anew(self)
        self.keep_counts()
        self._begin()
        self._ready = False
        self.begin_stage()
        return True

    def stop(self) -> bool:
        """What is held back goes on its way, and so does the word that nothing follows."""
        self.guarded_work(lambda: self._use(self._search.end()), fallback=0)
        self.end_stage()
        return True

    def _use(self, found: Iterable[Pdu]) -> int:
        for pdu in found:
            self.message_port_pub(pmt.intern(keys.PORT_OUT), bridge.to_message(pdu))
            self.count(f"sent to '{keys.PORT_OUT}'")
        return 0


def _says_what_it_should(key: str, value) -> bool:
    if key == keys.TAG_RX_RATE:
        return pmt.is_real(value) and pmt.to_double(value) > 0
    if not (pmt.is_tuple(value) and pmt.length(value) == 2):
        return False
    whole, fraction = pmt.tuple_ref(value, 0), pmt.tuple_ref(value, 1)
    return (pmt.is_uint64(whole) or pmt.is_integer(whole)) and pmt.is_real(fraction)


def _time_of(value) -> Time:
    return Time(pmt.to_uint64(pmt.tuple_ref(value, 0)), pmt.to_double(pmt.tuple_ref(value, 1)))
