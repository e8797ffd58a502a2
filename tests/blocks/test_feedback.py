# SPDX-License-Identifier: GPL-3.0-or-later
"""SNR reports over ZMQ: ours to ours, to and from GNU Radio's own blocks, garbage, untrusted peers, restarts."""

import os
import time

import pmt
import pytest
import zmq
from gnuradio import gr, zeromq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from radio_bench import make_recorder, wait_until

from semcom import blocks, keys
from semcom.adaptation import read_dictionary
from semcom.blocks import pdu as bridge
from semcom.errors import ConfigError
from semcom.wire.redial import CUT_OFF, LOST
from semcom.wire.sockets import bound_address, make_keys, open_socket

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def address():
    socket = open_socket(zmq.PUB, "tcp://127.0.0.1:*", bind=True, max_bytes=10)
    free = bound_address(socket)
    socket.close()
    return free


@pytest.fixture
def graph():
    """Runs flowgraphs of message blocks: graph((a, "out", b, "in"), ...)."""
    running = []

    def run(*edges):
        top = gr.top_block("graph", catch_exceptions=True)
        for source, out, sink, port in edges:
            top.msg_connect((source, out), (sink, port))
        top.start()
        running.append((top, edges))  # GNU Radio crashes if Python drops a block that still runs
        return top

    yield run
    for top, _ in running:
        top.stop()
        top.wait()


def report(snr_db=12.5, stderr_db=0.4, **more):
    return bridge.to_dict({keys.SNR_DB: snr_db, keys.SNR_STDERR_DB: stderr_db, keys.TIMESTAMP_S: 1.0} | more)


def post(block, message):
    block.to_basic_block()._post(pmt.intern("snr"), message)


def send_until_received(send, recorder, timeout=10.0):
    """PUB drops what nobody has subscribed to yet: sends until something comes through."""
    received = len(recorder.got)
    end = time.monotonic() + timeout
    while len(recorder.got) == received:
        assert time.monotonic() < end, "nothing comes through"
        send()
        time.sleep(0.03)


def snr_of(message):
    return bridge.from_dict(message)[keys.SNR_DB]


def counted(block, words):
    return sum(number for what, number in dict(block.counters).items() if words in what)


def hears(bench, address):
    """A receiver in a running flowgraph, and a bound PUB socket to speak to it."""
    return bench(blocks.feedback_receiver(address), "snr"), open_socket(
        zmq.PUB, address, bind=True, max_bytes=100
    )


def test_ours_to_ours(graph, address):
    sender, receiver, recorder = (
        blocks.feedback_sender(address, rate_hz=1000),
        blocks.feedback_receiver(address),
        make_recorder(),
    )
    graph((make_recorder(), "out", sender, "snr"))
    graph((receiver, "snr", recorder, "in"))
    send_until_received(lambda: post(sender, report(12.5)), recorder)
    received = bridge.from_dict(recorder.got[-1])
    assert received[keys.SNR_DB] == 12.5 and 0 < received[keys.SNR_STDERR_DB] <= 0.4
    assert abs(received[keys.TIMESTAMP_S] - time.monotonic()) < 5  # of this machine's clock
    assert counted(receiver, "accepted") >= 1 and counted(receiver, "lost") == 0


def test_the_encoder_follows_what_comes_back(graph, address, model):
    sender, receiver = blocks.feedback_sender(address), blocks.feedback_receiver(address)
    encoder = blocks.deepjscc_encoder(model, snr_db=3.0)
    graph((make_recorder(), "out", sender, "snr"))
    graph((receiver, "snr", encoder, "snr"))
    end = time.monotonic() + 10
    while encoder.snr_now() != 17.0 and time.monotonic() < end:
        post(sender, report(17.0))
        time.sleep(0.03)
    assert encoder.snr_now() == 17.0


@pytest.mark.slow
def test_the_newest_goes_at_the_rate(graph, address):
    sender = blocks.feedback_sender(address, rate_hz=5)
    listener = open_socket(zmq.SUB, address, bind=False, max_bytes=1000)
    graph((make_recorder(), "out", sender, "snr"))
    end = time.monotonic() + 1.0
    value = 0.0
    while time.monotonic() < end:
        value = min(value + 0.05, 59.0)
        post(sender, report(value))
        time.sleep(0.01)
    assert 3 <= counted(sender, "reports sent") <= 7
    assert counted(sender, "replaced by newer") > 20
    wait_until(lambda: not sender._newest, 5, lambda: "the last report to go")
    got = []
    while listener.poll(300):
        got.append(read_dictionary(listener.recv()))
    listener.close()
    assert got[-1][keys.SNR_DB] == value
    sequences = [one[keys.SEQUENCE] for one in got]
    assert sequences == list(range(sequences[0], sequences[0] + len(got)))
    assert len({one[keys.SESSION] for one in got}) == 1


def test_the_sender_refuses_what_is_no_report(graph, address):
    sender = blocks.feedback_sender(address)
    graph((make_recorder(), "out", sender, "snr"))
    for message, words in (
        (pmt.intern("garbage"), "not a dictionary"),
        (bridge.to_dict({keys.TIMESTAMP_S: 1.0}), "without 'snr_db'"),
        (report(float("nan")), "NaN or infinite"),
        (report(), "SNR reports sent"),
    ):
        post(sender, message)
        wait_until(lambda: counted(sender, words) == 1, 5, lambda: dict(sender.counters))  # noqa: B023


def test_gnuradios_own_source_hears_our_sender(graph, address):
    sender, recorder = blocks.feedback_sender(address, rate_hz=1000), make_recorder()
    source = zeromq.sub_msg_source(address, 100, False)
    graph((make_recorder(), "out", sender, "snr"))
    graph((source, "out", recorder, "in"))
    send_until_received(lambda: post(sender, report(7.25)), recorder)
    received = bridge.from_dict(recorder.got[-1])
    assert received[keys.SNR_DB] == 7.25 and received[keys.SEQUENCE] >= 0 and received[keys.SESSION] >= 0


def test_gnuradios_own_sink_speaks_to_our_receiver(graph, address):
    sink, receiver, recorder = (
        zeromq.pub_msg_sink(address, 100, True),
        blocks.feedback_receiver(address),
        make_recorder(),
    )
    graph((make_recorder(), "out", sink, "in"))
    graph((receiver, "snr", recorder, "in"))
    send_until_received(lambda: sink.to_basic_block()._post(pmt.intern("in"), report(8.0)), recorder)
    assert snr_of(recorder.got[-1]) == 8.0
    wait_until(lambda: counted(receiver, "without session and sequence"), 5, lambda: dict(receiver.counters))


def test_garbage_is_counted_and_survived(bench, address):
    running, peer = hears(bench, address)
    nested = pmt.from_long(1)
    for _ in range(200):
        nested = pmt.cons(nested, pmt.PMT_NIL)
    garbage = {
        b"": "cut short",
        b"\x0c\x00\x00\xff\xff": "not a flat dictionary",  # this hangs pmt.deserialize_str
        b"\x07" * 60_000: "longer than",  # and this ends its process
        os.urandom(60_000): "longer than",
        pmt.serialize_str(nested): "not a flat dictionary",
        pmt.serialize_str(pmt.cons(report(), pmt.init_u8vector(3, [1, 2, 3]))): "not a flat dictionary",
        pmt.serialize_str(report(more=pmt.make_vector(3, pmt.PMT_NIL))): "neither number",
        pmt.serialize_str(report(snr_db=pmt.intern("12"))): "not a number",
        pmt.serialize_str(report(snr_db=float("inf"))): "NaN or infinite",
    }
    with running as b:
        send_until_received(lambda: peer.send(pmt.serialize_str(report())), b.recorders["snr"])
        for payload, words in garbage.items():
            before = counted(b.block, words)
            peer.send(payload)
            b.count(words, before + 1)
        peer.send_multipart([pmt.serialize_str(report()), b"second"])
        b.count("several parts")
        peer.send(b"x" * 100_000)  # beyond what the socket takes: the peer is cut off, and may come back
        send_until_received(lambda: peer.send(pmt.serialize_str(report(9.0))), b.recorders["snr"])
        assert b.block.counters[LOST] == b.block.counters[CUT_OFF] == 1
    peer.close()


@pytest.fixture(scope="module")
def reader_of_pmt():
    """What read_dictionary must agree with: GNU Radio's own writer."""
    return lambda values: read_dictionary(pmt.serialize_str(bridge.to_dict(values)), max_bytes=10**6)


plain = some.one_of(
    some.booleans(),
    some.integers(-(2**63), 2**63 - 1),
    some.floats(allow_nan=False),
    some.text(max_size=10).filter(lambda text: "\0" not in text),
)


@given(some.dictionaries(some.text(max_size=5).filter(lambda text: "\0" not in text), plain, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_strict_reader_reads_what_gnuradio_writes(reader_of_pmt, values):
    assert reader_of_pmt(values) == values


def test_order_loss_staleness_and_absurdity_are_counted(bench, address):
    peer = open_socket(zmq.PUB, address, bind=True, max_bytes=100)
    running = bench(blocks.feedback_receiver(address, max_age_s=0.5), "snr")

    def send(snr_db, sequence, session=3):
        peer.send(pmt.serialize_str(report(snr_db, **{keys.SEQUENCE: sequence, keys.SESSION: session})))

    with running as b:
        numbers = iter(range(10_000))
        send_until_received(lambda: send(10.0, next(numbers)), b.recorders["snr"])
        send(10.0, 20_000)
        send(10.0, 20_003)
        b.count("lost", 2)
        send(30.0, 20_002)
        b.count("out of order")
        send(30.0, 20_003)
        b.count("repeated")
        send(10.0, 0, session=4)
        b.count("restarted")
        send(99.0, 1, session=4)
        b.count("outside -20 to 60 dB")
        b.count("stale", timeout=5)
        assert all(abs(snr_of(m) - 10.0) < 1e-6 for m in b.messages("snr"))
    peer.close()


def test_either_side_may_restart(graph, address):
    recorder = make_recorder()
    receiver = blocks.feedback_receiver(address)
    graph((receiver, "snr", recorder, "in"))
    for snr_db in (5.0, 15.0):  # the receiving station, twice
        sender = blocks.feedback_sender(address, rate_hz=1000)
        top = graph((make_recorder(), "out", sender, "snr"))
        send_until_received(lambda: post(sender, report(snr_db)), recorder)  # noqa: B023
        wait_until(lambda: snr_of(recorder.got[-1]) == snr_db, 5, lambda: recorder.got[-1])  # noqa: B023
        top.stop()
        top.wait()
    wait_until(lambda: counted(receiver, "restarted") == 1, 5, lambda: dict(receiver.counters))


def test_a_block_can_be_stopped_and_started_again(graph, address):
    sender, receiver, recorder = (
        blocks.feedback_sender(address, rate_hz=1000),
        blocks.feedback_receiver(address),
        make_recorder(),
    )
    tops = [graph((make_recorder(), "out", sender, "snr")), graph((receiver, "snr", recorder, "in"))]
    for _ in range(2):
        send_until_received(lambda: post(sender, report()), recorder)
        for top in tops:
            begun = time.monotonic()
            top.stop()
            top.wait()
            assert time.monotonic() - begun < 1.5
            top.start()


def test_keys_let_our_own_in_and_nobody_else(graph, address, tmp_path):
    ours, theirs = str(make_keys(tmp_path / "ours")), str(make_keys(tmp_path / "theirs"))
    sender, recorders = blocks.feedback_sender(address, keys=ours, rate_hz=1000), []
    graph((make_recorder(), "out", sender, "snr"))
    for folder in (ours, theirs, ""):
        recorders.append(make_recorder())
        graph((blocks.feedback_receiver(address, keys=folder), "snr", recorders[-1], "in"))
    send_until_received(lambda: post(sender, report()), recorders[0])
    for _ in range(20):
        post(sender, report())
        time.sleep(0.02)
    assert len(recorders[0].got) > 5 and not recorders[1].got and not recorders[2].got


def test_a_peer_without_keys_cannot_steer_an_encoder_with_keys(graph, address, tmp_path):
    ours = str(make_keys(tmp_path / "ours"))
    receiver, recorder = blocks.feedback_receiver(address, keys=ours, bind=True), make_recorder()
    graph((receiver, "snr", recorder, "in"))
    intruder = open_socket(zmq.PUB, address, bind=False, max_bytes=100)
    friend = open_socket(zmq.PUB, address, bind=False, max_bytes=100, keys=ours)
    for _ in range(20):
        intruder.send(pmt.serialize_str(report(50.0)))
        time.sleep(0.02)
    send_until_received(lambda: friend.send(pmt.serialize_str(report(4.0))), recorder)
    assert {snr_of(message) for message in recorder.got} == {4.0}
    intruder.close()
    friend.close()


def test_complains_in_words(address):
    for cls in (blocks.feedback_sender, blocks.feedback_receiver):
        with pytest.raises(ConfigError, match="semcom keys FOLDER"):
            cls("tcp://0.0.0.0:5570")
        with pytest.raises(ConfigError, match="no folder of keys"):
            cls(address, keys="/nowhere/keys")
    taken = open_socket(zmq.PUB, address, bind=True, max_bytes=10)
    with pytest.raises(ConfigError, match="in use"):
        blocks.feedback_sender(address)
    taken.close()
    for bad in ({"rate_hz": 0}, {"rate_hz": float("inf")}):
        with pytest.raises(ConfigError, match="rate_hz must be"):
            blocks.feedback_sender(address, **bad)
    for bad in ({"max_age_s": 0}, {"wander_db": -1}):
        with pytest.raises(ConfigError, match="must be"):
            blocks.feedback_receiver(address, **bad)


def test_a_target_travels_with_the_reports(address, graph):
    """What a receiver asks for comes out beside the SNR at the transmitter, with the receiver's session."""
    sender, receiver = blocks.feedback_sender(address, target_psnr_db=30.0), blocks.feedback_receiver(address)
    recorder = make_recorder()
    graph((recorder, "out", sender, "snr"), (receiver, "snr", recorder, "in"))
    send_until_received(lambda: post(sender, report()), recorder)
    got = bridge.from_dict(recorder.got[-1])
    assert got[keys.TARGET_PSNR_DB] == 30.0 and got[keys.SESSION] > 0
    sender.set_target_psnr_db(0.0)
    send_until_received(lambda: post(sender, report()), recorder)
    wait_until(
        lambda: (post(sender, report()), keys.TARGET_PSNR_DB not in bridge.from_dict(recorder.got[-1]))[1],
        10,
        lambda: "a report without a target",
    )
    for wrong in (5.0, float("nan"), -30.0):
        with pytest.raises(ConfigError, match="target_psnr_db"):
            sender.set_target_psnr_db(wrong)
