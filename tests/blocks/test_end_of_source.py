# SPDX-License-Identifier: GPL-3.0-or-later
"""A source that does not repeat ends its flowgraph, as GNU Radio's own sources do: ``top.wait()`` returns by itself."""

import threading

import pytest
from gnuradio import gr

from semcom import blocks, keys
from semcom.blocks.flowgraph import Flowgraph

pytestmark = pytest.mark.timeout(120)


def ended_by_itself(top: gr.top_block, timeout_s: float = 30.0) -> bool:
    """Whether it has come to its end without a stop."""
    waiting = threading.Thread(target=top.wait, daemon=True)
    waiting.start()
    waiting.join(timeout_s)
    return not waiting.is_alive()


class Link(Flowgraph):
    """Pictures through a codec and a modem, back to back; ``telemetry`` looks on at both ends."""

    def __init__(self, pictures, model, idle):
        super().__init__("test", catch_exceptions=True)
        self.source = blocks.image_source(pictures_in=pictures, max_in_flight=0)
        self.encoder = blocks.deepjscc_encoder(model)
        self.modulator = blocks.burst_modulator(idle=idle)
        self.receiver = blocks.receiver()
        self.decoder = blocks.deepjscc_decoder(model)
        self.sink = blocks.image_sink()
        self.telemetry = blocks.telemetry("tcp://127.0.0.1:*")
        self.connect(self.modulator, self.receiver)
        self.connect_pdus(self.source, self.encoder, self.modulator)
        self.connect_pdus(self.receiver, self.decoder, self.sink)
        self.msg_connect((self.receiver, keys.PORT_SNR), (self.encoder, keys.PORT_SNR))
        self.msg_connect((self.source, keys.PORT_OUT), (self.telemetry, keys.PORT_PICTURES))
        self.msg_connect((self.decoder, keys.PORT_OUT), (self.telemetry, keys.PORT_PICTURES))


@pytest.mark.parametrize("idle", ["wait", "zeros"])
@pytest.mark.slow
def test_a_flowgraph_whose_source_ends_ends_itself_and_can_start_again(model, make_pictures, idle):
    link = Link(list(make_pictures(3)), model, idle)
    for run in (1, 2):
        link.start()
        assert ended_by_itself(link), [(b.name(), dict(b.counters)) for b in (link.modulator, link.receiver)]
        link.stop()
        assert link.sink.counters["pictures"] == 3 * run and link.sink.ended.is_set()
        assert "PDUs not processed: the flowgraph was stopped" not in link.sink.counters


@pytest.mark.slow
def test_a_block_that_sees_the_sent_pictures_too_waits_for_the_received_ones(model, make_pictures):
    """Of what feeds its ``in`` something is still at work when the source is done."""

    class Slow(blocks.image_sink):
        """Takes what was sent at a port of its own, as the image view does."""

        def __init__(self):
            import pmt

            super().__init__()
            self.sent = 0
            self.message_port_register_in(pmt.intern(keys.PORT_SENT))
            self.set_msg_handler(pmt.intern(keys.PORT_SENT), self.on_sent)

        def on_sent(self, message):
            self.sent += 1

    link = Link(list(make_pictures(2)), model, "wait")
    slow = Slow()
    link.msg_connect((link.source, keys.PORT_OUT), (slow, keys.PORT_SENT))
    link.msg_connect((link.decoder, keys.PORT_OUT), (slow, keys.PORT_IN))
    link.start()
    assert ended_by_itself(link)
    link.stop()
    assert slow.sent == 3 and slow.counters["pictures"] == 2, "two pictures and the end"


@pytest.mark.slow
def test_a_source_that_repeats_goes_on(model, make_pictures):
    link = Link(list(make_pictures(1)), model, "wait")
    link.source.repeat, link.source.rate = True, 20.0
    link.start()
    assert not ended_by_itself(link, 2.0)
    link.stop()
    link.wait()
    assert link.sink.counters["pictures"] > 1
