# SPDX-License-Identifier: GPL-3.0-or-later
"""What every block shares: a guard, a bounded queue, a worker thread that takes waiting PDUs as one batch.

GNU Radio's own message queues have no bound, an exception in a message handler kills the block silently and
one in ``work()`` makes ``top_block.wait()`` hang. So a handler here only converts and enqueues; the worker
does the rest:

    message --> Pdu --> queue --prepare, one by one--> items --process, one batch--> (port, Pdu) --> publish

What goes wrong is counted under a reason in words (``counters``), logged sparingly, and the flow goes on.

A flowgraph that is stopped: GNU Radio ends all threads at once, with PDUs still on their way. Blocks of a receiver
therefore wait in ``stop`` for those before them, take what these have left, and end then (``Stage``). One that is
started again begins anew (``reset``).
"""

import itertools
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pmt
import torch
from gnuradio import gr

from semcom import keys
from semcom.adaptation.feedback import SNR_RANGE_DB
from semcom.blocks import pdu as bridge
from semcom.blocks.pdu import Pdu, Pmt
from semcom.errors import ConfigError, PduError, SemcomError, printable
from semcom.payload.base import TARGETS_DB

MAX_BATCH_PIXELS = 2**21  # of one batch through a network
_MAX_REASONS = 64  # distinct reasons kept; the rest are counted together
_LOG_FIRST, _LOG_EVERY_S = 3, 5.0
_DRAIN_S = 20.0  # after a stop, for what a receiver still holds


def check(block: str, **rules: tuple[Any, bool, str]) -> None:
    """Validates constructor arguments: ``name=(value, is_good, "what it must be")``.

    Raises:
        ConfigError: naming the block, the argument, what it must be and what it was.
    """
    for name, (value, good, wanted) in rules.items():
        if not good:
            raise ConfigError(f"{block}: {name} must be {wanted}, not {value!r}")


def check_device(block: str, device: str) -> str:
    """The name of a device on which torch can compute here.

    Raises:
        ConfigError: there is no such device.
    """
    try:
        torch.empty(1, device=device).add_(1)
    except Exception as error:  # torch has many ways to say that there is no GPU
        raise ConfigError(
            f"{block}: device {device!r} cannot be used here ({str(error).splitlines()[0]}); 'cpu' always can"
        ) from error
    return device


def check_snr(block: str, snr_db: Any) -> None:
    """Validates an SNR in dB that reports could have as well. Raises ConfigError."""
    low, high = SNR_RANGE_DB
    check(block, snr_db=(snr_db, is_number(snr_db) and low <= snr_db <= high, f"{low:g} to {high:g} dB"))


def check_target(block: str, psnr_db: Any) -> None:
    """Validates a target PSNR in dB, 0 for none. Raises ConfigError."""
    low, high = TARGETS_DB
    good = is_number(psnr_db) and (psnr_db == 0 or low <= psnr_db <= high)
    check(block, target_psnr_db=(psnr_db, good, f"{low:g} to {high:g} dB, or 0"))


def is_number(value: Any) -> bool:
    """A finite real number."""
    return (
        isinstance(value, int | float | np.number)
        and not isinstance(value, bool)
        and bool(np.isfinite(value))
    )


def is_count(value: Any, at_least: int = 1) -> bool:
    """A whole number of at least ``at_least``."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= at_least


def is_heartbeat(message: Pmt) -> bool:
    """Whether this is a ``feedback_sender``'s sign of life, as GNU Radio's own ZMQ blocks hand it on."""
    return pmt.is_null(message)


def begin_anew(block: gr.basic_block) -> None:
    """To be called by ``start``: GNU Radio remembers from run to run that a block upstream was done, and delivers in the
    next what was said too late. (No block works before all have started, so nothing of this run is lost.)"""
    system = pmt.intern(keys.PORT_SYSTEM)
    while block.gateway.delete_head_nowait(system) is not None:
        pass
    block.gateway.system_handler(pmt.cons(pmt.intern("done"), pmt.from_long(0)))


def reason_of(error: BaseException) -> str:
    """An exception in words that are worth counting: without the names of files, of which each would be a reason."""
    if isinstance(error, SemcomError):
        return error.kind
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return printable(
        f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"[:160]
    )


class _UpstreamDone:
    """Stands in the queue for GNU Radio's word that a block upstream is done."""

    is_end = True

    def __init__(self, message: Pmt):
        self.message = message


class Guarded:
    """Mixin: counters in words and a log that does not flood."""

    def init_guard(self, name: str) -> None:
        self.counters: Counter[str] = Counter()
        self._theirs: dict[str, int] = {}  # a library object's counts, and those of objects before it
        self._before: Counter[str] = Counter()
        self.error: BaseException | None = None  # the last failure, for tests and debuggers
        self._guard_lock = threading.Lock()
        self._log = gr.logger(f"semcom.{name}")
        self._logged: dict[str, tuple[int, float]] = {}

    def count(self, what: str, number: int = 1) -> None:
        """Adds to a counter; use for what is ordinary."""
        with self._guard_lock:
            if what not in self.counters and len(self.counters) >= _MAX_REASONS:
                what = "other reasons"
            self.counters[what] += number

    def set_counts(self, counts: dict[str, int]) -> None:
        """Takes over the counters of a library object, as they stand."""
        with self._guard_lock:
            self._theirs.update(counts)
            for what, number in counts.items():
                self.counters[what] = self._before[what] + number

    def keep_counts(self) -> None:
        """The library object is replaced by a new one: what ``set_counts`` is given from here on adds to what it was."""
        with self._guard_lock:
            self._before.update(self._theirs)
            self._theirs = {}

    def fail(self, reason: str, error: BaseException | None = None) -> None:
        """Counts and logs something that went wrong: the first times, then at most every few seconds. The log names the
        input of an error whose ``kind`` is counted."""
        reason = printable(reason)
        words = str(error) if isinstance(error, SemcomError) and error.kind == reason else reason
        self.count(reason)
        self.error = error or self.error
        with self._guard_lock:
            times, last = self._logged.get(reason, (0, 0.0))
            now = time.monotonic()
            if times < _LOG_FIRST or now - last > _LOG_EVERY_S:
                if len(self._logged) < 2 * _MAX_REASONS or reason in self._logged:
                    self._logged[reason] = (times + 1, now)
                    self._log.warn(f"{words} ({self.counters.get(reason, 0)} so far)")

    def warn(self, words: str) -> None:
        """Says something once, in the log."""
        self._log.warn(words)

    def guarded_work(self, work, fallback: int) -> int:
        """Runs a stream block's ``work``; an exception is counted and ``fallback`` returned instead."""
        try:
            with torch.inference_mode():
                return work()
        except Exception as error:
            self.fail(reason_of(error), error)
            return fallback


class Stage:
    """Mixin of blocks of a chain that is drained: each knows when those before it have published their last.

    The block calls ``begin_stage`` in ``start``, and in ``stop`` ``await_earlier`` first and ``end_stage`` last.

    Attributes:
        is_ending: whether it has published its last and tells GNU Radio so. Of a stream block None: GNU Radio itself
            says that it is done, before ``stop``.
    """

    is_ending: bool | None = None

    _stages: "weakref.WeakSet[Stage]" = weakref.WeakSet()
    _stages_lock = threading.Lock()

    def begin_stage(self) -> None:
        with Stage._stages_lock:
            self.stage_over = threading.Event()
            Stage._stages.add(self)

    def end_stage(self) -> None:
        with Stage._stages_lock:
            Stage._stages.discard(self)
        self.stage_over.set()

    def await_earlier(self, until_s: float) -> None:
        """Waits for the blocks whose port ``out`` is connected to our ``in``, at most until that monotonic time."""
        for stage in Stage.before(self):
            stage.stage_over.wait(max(0.0, until_s - time.monotonic()))

    @staticmethod
    def before(block: gr.basic_block, any_port: bool = False) -> "list[Stage]":
        """The running stages whose port ``out`` is connected to the block's ``in``, or any of theirs to any of its."""
        with Stage._stages_lock:
            others = [stage for stage in Stage._stages if stage is not block]
        return [stage for stage in others if stage.feeds(block, any_port)]

    def feeds(self, other: gr.basic_block, any_port: bool = False) -> bool:
        """Whether our port ``out`` is connected to the other's ``in``, or any port of ours to any of its."""
        name = pmt.intern(other.alias())
        if any_port:
            ports = pmt.to_python(self.message_ports_out())
            listeners = [one for port in ports for one in _items(self.message_subscribers(pmt.intern(port)))]
            return any(pmt.equal(pmt.car(listener), name) for listener in listeners)
        listener = pmt.cons(name, pmt.intern(keys.PORT_IN))
        return pmt.list_has(self.message_subscribers(pmt.intern(keys.PORT_OUT)), listener)


def _items(listing: Pmt) -> list[Pmt]:
    return [pmt.nth(at, listing) for at in range(pmt.length(listing))]


class Batches(Guarded):
    """Mixin of blocks that make messages of items, a batch at a time.

    Attributes:
        on_lost: called with the metadata of a PDU that came to nothing here, and the error; of blocks whose items are
            PDUs, or tuples that begin with theirs. None: nobody wants to know.
    """

    on_lost: Callable[[dict[str, Any], Exception], None] | None = None

    def process(self, items: list[Any], *made: Any) -> list[tuple[str, Pdu]]:
        """A batch of items to messages. Must be safe to repeat: after an exception each is tried alone.

        made: what was made of the items before, by blocks that hand that on."""
        raise NotImplementedError

    def process_guarded(self, items: list[Any], *made: Any) -> None:
        """``process``, and publishes; what fails is counted."""
        try:
            outputs = self.process(items, *made)
        except Exception as error:
            if len(items) == 1:
                self.lose(items[0], error)
                return
            for item in items:  # one bad PDU must not take the others with it
                self.process_guarded([item])
            return
        for port, pdu in outputs:
            self.publish(port, pdu)

    def lose(self, item: Any, error: Exception) -> None:
        """Counts an item that nothing can be made of, and tells who wants to know."""
        self.fail(reason_of(error), error)
        if self.on_lost:
            self.on_lost((item if isinstance(item, Pdu) else item[0]).meta, error)

    def publish(self, port: str, pdu: Pdu) -> None:
        """Sends a PDU; nothing is made of one that nobody would get."""
        symbol = pmt.intern(port)
        if pmt.is_null(self.message_subscribers(symbol)):
            if port == keys.PORT_OUT:  # the others are there for who wants them
                self.count(f"not sent: nobody is connected to '{port}'")
            return
        self.message_port_pub(symbol, bridge.to_message(pdu))
        self.count(f"sent to '{port}'")


class PduWorker(Stage, Batches):
    """Mixin of blocks that take PDUs: bounded queue, worker thread, batches.

    A block implements ``prepare`` and ``process``, and ``finish`` if it holds anything back. Messages with
    ``keys.END`` travel in order: everything before them is processed, ``finish`` is asked for the rest, and
    they are passed on.

    Attributes:
        drains: whether a stop waits for what is on its way to the block (a receiver's), or drops it.
    """

    drains = False

    def init_pdus(
        self,
        name: str,
        *,
        outputs=(keys.PORT_OUT,),
        max_queue: int = 256,
        batch: int = 16,
        threads: int = 1,
        has_input: bool = True,
    ) -> None:
        check(
            name,
            max_queue=(max_queue, is_count(max_queue), "a whole number of PDUs, 1 or more"),
            batch=(batch, is_count(batch), "a whole number of PDUs, 1 or more"),
            threads=(threads, is_count(threads), "a whole number of CPU threads, 1 or more"),
        )
        self.init_guard(name)
        self.max_queue, self.batch, self.threads = int(max_queue), int(batch), int(threads)
        self._queue: deque[Pdu] = deque()
        self._arrived = threading.Condition()
        self._stopping = threading.Event()
        self._worker: threading.Thread | None = None
        self._draining = self._has_run = False
        self._outputs, self._has_input = tuple(outputs), has_input
        if has_input:
            self.message_port_register_in(pmt.intern(keys.PORT_IN))
            self.set_msg_handler(pmt.intern(keys.PORT_IN), self.on_message)
            self.set_msg_handler(pmt.intern(keys.PORT_SYSTEM), self.on_system)
        for port in self._outputs:
            self.message_port_register_out(pmt.intern(port))

    # -- what a block implements --------------------------------------------------------------------

    def prepare(self, pdu: Pdu) -> list[Any]:
        """One PDU to items for ``process``. Refuses a bad one with a SemcomError; called once a PDU."""
        return [pdu]

    def finish(self) -> list[Any]:
        """At the end of the stream: the items that were held back."""
        return []

    def warm_up(self) -> None:
        """Called by the worker before the first PDU."""

    def reset(self) -> None:
        """Forgets what belongs to a former run; called before every start but the first."""

    # -- the machinery ------------------------------------------------------------------------------

    def on_message(self, message: Pmt) -> None:
        """Handler of the input port, in the block's own thread: converts and enqueues, nothing else."""
        try:
            pdu = bridge.from_message(message)
        except Exception as error:
            self.fail(reason_of(error), error)
            return
        self.enqueue(pdu)

    def on_system(self, message: Pmt) -> None:
        """GNU Radio says that a block upstream is done. Left alone it would end this one on the spot, with
        PDUs still waiting; so they go first, and only then is the block informed."""
        self._take_what_came()
        with self._arrived:
            self._queue.append(_UpstreamDone(message))
            self._arrived.notify_all()

    def upstream_done(self, message: Pmt) -> None:
        """All that came before is processed and published: the block is done as well, unless it is only a source of what
        is shown beside, say, and pictures are still on their way to ``in``."""
        if all(stage.is_ending is not False for stage in Stage.before(self)):
            self.is_ending = True
            self.gateway.system_handler(message)

    def enqueue(self, pdu: Pdu) -> None:
        with self._arrived:
            is_open = self._draining or self._stopping.is_set()
            dropped = len(self._queue) >= self.max_queue and not (pdu.is_end or is_open)
            if dropped:
                oldest = next((i for i, waiting in enumerate(self._queue) if not waiting.is_end), None)
                if oldest is not None:
                    del self._queue[oldest]
            self._queue.append(pdu)
            self._arrived.notify_all()
        if dropped:
            self.fail(f"PDUs dropped, oldest first: more than {self.max_queue} waiting")

    def start(self) -> bool:
        begin_anew(self)
        if self._has_run:
            self.reset()
        self._has_run, self._draining = True, False
        self._stopping.clear()
        self.is_ending = False
        self.begin_stage()
        self._worker = threading.Thread(target=self._run, name=f"semcom {self.name()}", daemon=True)
        self._worker.start()
        return True

    def stop(self) -> bool:
        until_s = time.monotonic() + _DRAIN_S
        if self.drains:
            self._draining = True
            self.await_earlier(until_s)
            self._take_what_came()
        self._stopping.set()
        with self._arrived:
            self._arrived.notify_all()
        if self._worker is not None and self._worker is not threading.current_thread():
            self._worker.join(timeout=max(10.0, until_s - time.monotonic()))
            if self._worker.is_alive():
                self.fail("worker still busy when the flowgraph had long been stopped")
        if self._has_input:
            self.await_earlier(until_s)
            self._take_what_came()
        self._drop_the_rest()
        self.end_stage()
        return True

    def drop_rest(self) -> None:
        """A stop that follows does not wait for what is on its way."""
        self.drains = False

    @property
    def inboxes(self) -> dict[str, Callable[[Pmt], None]]:
        """Ports that PDUs come by, and their handlers."""
        return {keys.PORT_IN: self.on_message}

    def _take_what_came(self) -> None:
        """What waits in GNU Radio's queues, in our own thread."""
        for port, handler in self.inboxes.items():
            for left in iter(lambda port=port: self.gateway.delete_head_nowait(pmt.intern(port)), None):
                handler(left)

    def _drop_the_rest(self) -> None:
        with self._arrived:
            self._draining = False
            left, self._queue = [pdu for pdu in self._queue if not pdu.is_end], deque()
        if left:
            self.count("PDUs not processed: the flowgraph was stopped", len(left))

    def _run(self) -> None:
        torch.set_num_threads(self.threads)
        with torch.inference_mode():
            try:
                self.warm_up()
            except Exception as error:
                self.fail(f"warm-up failed: {reason_of(error)}", error)
            while True:
                batch = self._take()
                if batch is None:
                    return
                try:
                    self._serve(batch)
                except Exception as error:  # publishing itself failed; nothing may end this thread
                    self.fail(reason_of(error), error)

    def _take(self) -> list[Pdu] | None:
        """All that waits, up to ``batch``; an END comes alone. None: the block is stopping."""
        with self._arrived:
            while not self._queue and not self._stopping.is_set():
                self._arrived.wait()
            if self._stopping.is_set() and not (self._draining and self._queue):
                return None
            taken = [self._queue.popleft()]
            while self._queue and len(taken) < self.batch and not (taken[0].is_end or self._queue[0].is_end):
                taken.append(self._queue.popleft())
            return taken

    def _serve(self, pdus: list[Pdu]) -> None:
        if isinstance(pdus[0], _UpstreamDone):
            self.upstream_done(pdus[0].message)
            return
        items, end = [], pdus[0] if pdus[0].is_end else None
        if end is not None:
            items = self._finish()
        for pdu in pdus if end is None else []:
            try:
                items += self.prepare(pdu)
            except Exception as error:
                self.lose(pdu, error)
        for start in range(0, len(items), self.batch):
            self.process_guarded(items[start : start + self.batch])
        if end is not None:
            self.on_end(end)

    def _finish(self) -> list[Any]:
        try:
            return list(self.finish())
        except Exception as error:
            self.fail(reason_of(error), error)
            return []

    def on_end(self, end: Pdu) -> None:
        """Passes the end of the stream on, after everything before it."""
        if keys.PORT_OUT in self._outputs:
            self.publish(keys.PORT_OUT, end)


class PduBlock(PduWorker, gr.basic_block):
    """A block with message ports only. Arguments are those of ``PduWorker.init_pdus``."""

    def __init__(self, name: str, **options):
        gr.basic_block.__init__(self, name=name, in_sig=None, out_sig=None)
        self.init_pdus(name, **options)


def runs(items: list, key: Callable[[Any], Any]) -> list[list]:
    """Neighbours with the same key together, order kept: what can go through the library as one batch."""
    return [list(group) for _, group in itertools.groupby(items, key)]


def runs_of_pictures(items: list, size: Callable[[Any], tuple[int, int]]) -> list[list]:
    """As ``runs``, by (height, width), and no more pictures together than memory bears."""
    out = []
    for group in runs(items, size):
        height, width = size(group[0])
        room = max(1, MAX_BATCH_PIXELS // (height * width))
        out += [group[start : start + room] for start in range(0, len(group), room)]
    return out


def meta_of(message: Pmt) -> dict[str, Any]:
    """The dictionary of a control message: a plain dictionary, or a PDU's.

    Raises:
        PduError: neither.
    """
    if not pmt.is_dict(message) and pmt.is_pair(message):
        message = pmt.car(message)
    if not pmt.is_dict(message):
        raise PduError("control message that is neither a dictionary nor a PDU")
    return bridge.from_dict(message)
