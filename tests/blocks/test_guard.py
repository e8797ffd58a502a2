# SPDX-License-Identifier: GPL-3.0-or-later
"""What every block inherits: bounded queue, batches, one bad PDU never takes others with it, order of the
end."""

import threading

import numpy as np
import pmt
import pytest
from gnuradio import gr

from semcom import keys
from semcom.blocks import pdu as bridge
from semcom.blocks.base import _MAX_REASONS, Guarded, PduBlock, check, meta_of
from semcom.blocks.pdu import Pdu
from semcom.errors import ConfigError, PduError

pytestmark = pytest.mark.timeout(60)


class doubler(PduBlock):
    """Doubles reals; fails on demand; can be held up."""

    def __init__(self, **options):
        super().__init__("doubler", **options)
        self.sizes, self.held, self.gate = [], [], threading.Event()
        self.gate.set()

    def prepare(self, pdu):
        self.gate.wait(10)
        return [(pdu, pdu.vector(np.float32))]

    def process(self, items):
        self.sizes.append(len(items))
        if any((data < 0).any() for _, data in items):
            raise ValueError("negative number")
        return [(keys.PORT_OUT, Pdu(pdu.meta, 2 * data)) for pdu, data in items]


def numbers(*values, **meta):
    return Pdu(meta, np.array(values, np.float32))


def data_of(messages):
    return [bridge.from_message(m).data.tolist() for m in messages]


def test_passes_unknown_keys_on_and_keeps_order(bench):
    with bench(doubler(), "out") as b:
        for i in range(50):
            b.post(numbers(i, mine=i))
        pdus = [bridge.from_message(m) for m in b.messages("out", 50)]
    assert [p.data[0] for p in pdus] == [2.0 * i for i in range(50)]
    assert [p.meta["mine"] for p in pdus] == list(range(50))


def test_waiting_pdus_go_as_one_batch(bench):
    block = doubler(batch=8)
    block.gate.clear()
    with bench(block, "out") as b:
        for i in range(17):
            b.post(numbers(i))
        threading.Event().wait(0.2)
        block.gate.set()
        b.messages("out", 17)
    assert max(block.sizes) == 8
    assert sum(block.sizes) == 17


def test_one_bad_pdu_takes_no_other_with_it(bench):
    block = doubler()
    block.gate.clear()
    with bench(block, "out") as b:
        for value in (1, 2, -3, 4):
            b.post(numbers(value))
        threading.Event().wait(0.1)
        block.gate.set()
        assert sorted(data_of(b.messages("out", 3))) == [[2.0], [4.0], [8.0]]
        b.count("ValueError: negative number")


def test_garbage_is_counted_in_words_and_the_block_goes_on(bench):
    with bench(doubler(), "out") as b:
        b.post(pmt.intern("garbage"))
        b.post(pmt.cons(pmt.make_dict(), pmt.PMT_NIL))
        b.post(Pdu({}, np.zeros(3, np.uint8)))
        b.post(numbers(np.nan))
        b.post(numbers(21))
        assert data_of(b.messages("out")) == [[42.0]]
        b.count("not a PDU", 2)
        b.count("vector is not a f32vector")
        b.count("NaN or infinity")


def test_full_queue_drops_the_oldest_and_counts(bench):
    block = doubler(max_queue=4, batch=1)
    block.gate.clear()
    with bench(block, "out") as b:
        b.post(numbers(0))
        threading.Event().wait(0.2)  # 0 is in the worker's hands
        for i in range(1, 11):
            b.post(numbers(i))
        b.post(Pdu.end())
        b.count("oldest first", 6)
        block.gate.set()
        out = [bridge.from_message(m) for m in b.messages("out", 6)]
    assert [p.data[0] for p in out[:-1]] == [0, 14, 16, 18, 20]
    assert out[-1].is_end


def test_end_comes_after_everything_before_it(bench):
    class holder(doubler):
        def finish(self):
            return [(Pdu(), np.ones(1, np.float32))]

    with bench(holder(), "out") as b:
        for i in range(5):
            b.post(numbers(i))
        b.post(Pdu.end().with_meta(mine=7))
        out = [bridge.from_message(m) for m in b.messages("out", 7)]
    assert out[5].data.tolist() == [2.0] and out[6].is_end and out[6].meta["mine"] == 7


def test_stops_and_starts_again(bench):
    block = doubler()
    for _ in range(2):
        with bench(block, "out") as b:
            b.post(numbers(1))
            b.messages("out")
        assert not block._worker.is_alive()


def test_failing_warm_up_is_counted(bench):
    class cold(doubler):
        def warm_up(self):
            raise RuntimeError("no GPU")

    with bench(cold(), "out") as b:
        b.post(numbers(1))
        b.messages("out")
        b.count("warm-up failed: RuntimeError: no GPU")


def test_what_waits_is_processed_before_upstream_done_ends_the_block(bench):
    """GNU Radio ends a message block as soon as a block upstream is done, whatever is still in its queue."""
    first, second = doubler(batch=1), doubler(batch=1)
    for block in (first, second):
        block.gate.clear()
    with bench(second, "out") as b:
        b.top.stop()
        b.top.wait()
        b.top.msg_connect((first, "out"), (second, "in"))
        b.top.start()
        for i in range(200):
            first.to_basic_block()._post(pmt.intern("in"), bridge.to_message(numbers(i)))
        first.to_basic_block()._post(pmt.intern("system"), pmt.cons(pmt.intern("done"), pmt.from_long(1)))
        threading.Event().wait(0.3)
        first.gate.set()
        second.gate.set()
        assert len(b.messages("out", 200)) == 200
        waiter = threading.Thread(target=b.top.wait, daemon=True)
        waiter.start()
        waiter.join(10)
        assert not waiter.is_alive(), "the flowgraph does not end by itself"


def test_reasons_are_bounded():
    guard = Guarded()
    guard.init_guard("test")
    for i in range(10 * _MAX_REASONS):
        guard.fail(f"reason {i}")
    assert len(guard.counters) <= _MAX_REASONS + 1
    assert sum(guard.counters.values()) == 10 * _MAX_REASONS


def test_exception_in_work_does_not_hang_the_flowgraph():
    from gnuradio import blocks as gr_blocks

    class broken(Guarded, gr.sync_block):
        def __init__(self, fallback):
            gr.sync_block.__init__(self, name="broken", in_sig=[np.complex64], out_sig=None)
            self.init_guard("broken")
            self.fallback = fallback

        def work(self, input_items, output_items):
            def fail():
                raise ValueError("cannot")

            return self.guarded_work(fail, self.fallback or len(input_items[0]))

    for fallback in (-1, 0):  # give up, or go on
        block = broken(fallback)
        top = gr.top_block()
        top.connect(gr_blocks.null_source(8), gr_blocks.head(8, 100_000), block)
        top.start()
        waiter = threading.Thread(target=top.wait, daemon=True)
        waiter.start()
        waiter.join(10)
        assert not waiter.is_alive()
        assert block.counters["ValueError: cannot"] >= 1


def test_arguments_are_checked_in_words():
    with pytest.raises(ConfigError, match="thing: size must be even, not 3"):
        check("thing", size=(3, False, "even"))
    for options in ({"max_queue": 0}, {"batch": -1}, {"threads": 1.5}, {"batch": True}):
        with pytest.raises(ConfigError, match=f"doubler: {next(iter(options))} must be"):
            doubler(**options)


def test_control_messages_may_be_dictionaries_or_pdus():
    assert meta_of(bridge.to_dict({"a": 1})) == {"a": 1}
    assert meta_of(bridge.to_message(Pdu({"a": 1}))) == {"a": 1}
    with pytest.raises(PduError):
        meta_of(pmt.from_long(1))
