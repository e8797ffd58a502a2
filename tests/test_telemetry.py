# SPDX-License-Identifier: GPL-3.0-or-later
"""The telemetry wire: what is sent comes back, what is not telemetry is refused in words, senders may restart."""

import json
import time

import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from semcom.dashboard.digest import Digest
from semcom.errors import ConfigError, PduError
from semcom.wire import telemetry
from semcom.wire.numbering import Numbering
from semcom.wire.redial import CUT_OFF, LOST
from semcom.wire.telemetry import PICTURE, STATE, Message, Publisher, Subscriber, pack, unpack

EXAMPLE = Message(
    STATE,
    "rx",
    2**51,
    7,
    {"snr_db": 10.5, "name": "a.png", "on": True, "none": None, "image_id": 3},
    {"burst_detector": {"bursts found": 12}},
    {"latents": np.arange(6, dtype=np.complex64), "pixels": np.zeros((2, 3, 3), np.uint8)},
)


def same(a: Message, b: Message) -> bool:
    plain = ("kind", "station", "session", "sequence", "values", "counters")
    return all(getattr(a, name) == getattr(b, name) for name in plain) and all(
        np.array_equal(a.arrays[name], b.arrays[name]) for name in a.arrays.keys() | b.arrays.keys()
    )


def test_there_and_back():
    assert same(unpack(pack(EXAMPLE)), EXAMPLE)


def test_the_sender_tidies_what_the_wire_does_not_carry():
    message = Message(
        STATE, "tx", values={"x": float("nan"), "name": "a\nb\ud800" + "c" * 500}, counters={"b": {"r\t": 1}}
    )
    back = unpack(pack(message))
    assert (
        back.values["x"] is None
        and back.values["name"].startswith("a b c")
        and len(back.values["name"]) == 200
    )
    assert back.counters == {"b": {"r ": 1}}


def test_arrays_of_another_kind_are_not_sent():
    with pytest.raises(PduError, match="float64"):
        pack(Message(STATE, "rx", arrays={"x": np.zeros(3)}))


def header(**changes) -> bytes:
    fields = json.loads(pack(EXAMPLE)[0])
    fields.update(changes)
    return json.dumps({key: value for key, value in fields.items() if value != "leave out"}).encode()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 2}, "another version"),
        ({"kind": "song"}, "unknown kind"),
        ({"station": ["rx"]}, "unknown kind"),
        ({"session": -1}, "counts"),
        ({"session": 2**70}, "counts"),
        ({"sequence": True}, "counts"),
        ({"sequence": 1.5}, "counts"),
        ({"values": "leave out"}, "lacks fields"),
        ({"values": {"a": [1]}}, "plain numbers"),
        ({"values": {"a": 1e999}}, "JSON"),
        ({"values": {"a": 2**63}}, "plain numbers"),
        ({"values": {"a": "x" * 201}}, "plain numbers"),
        ({"values": {"a": "\ud800"}}, "not JSON"),
        ({"values": {str(i): 0 for i in range(65)}}, "too many"),
        ({"counters": {"b": 3}}, "lacks fields"),
        ({"counters": {"b": {"r": -1}}}, "counts"),
        ({"counters": {"b": {str(i): 0 for i in range(81)}}}, "too many"),
        ({"arrays": []}, "those it announces"),
        ({"arrays": [["latents", "complex64", [6]]] * 2}, "those it announces"),
        ({"arrays": [["latents", "object", [6]], ["pixels", "uint8", [18]]]}, "not allowed"),
        ({"arrays": [["latents", {}, [6]], ["pixels", "uint8", [18]]]}, "not allowed"),
        ({"arrays": [["latents", "complex64", [7]], ["pixels", "uint8", [18]]]}, "fit its shape"),
        (
            {"arrays": [["latents", "complex64", [2**61, 8]], ["pixels", "uint8", [18]]]},
            "a shape that is not",
        ),
        ({"arrays": [["latents", "complex64", [-6, -1]], ["pixels", "uint8", [18]]]}, "counts"),
        ({"arrays": [["latents", "complex64", [1, 1, 1, 6]], ["pixels", "uint8", [18]]]}, "shape"),
    ],
)
def test_a_header_that_is_wrong(changes, words):
    with pytest.raises(PduError, match=words):
        unpack([header(**changes), *pack(EXAMPLE)[1:]])


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [b"\xff\xfe"],
        [b"[" * 100_000],
        [b"[]"],
        [b'{"version": NaN}'],
        [b" " * 300_000],
        [b"{}", b"x" * (telemetry.MAX_BYTES + 1)],
        [pack(EXAMPLE)[0]],
        [*pack(EXAMPLE), b""],
    ],
)
def test_frames_that_are_no_message(frames):
    with pytest.raises(PduError, match="telemetry"):
        unpack(frames)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = sorted(json.loads(pack(EXAMPLE)[0]))


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(FIELDS), json_values, min_size=1),
    st.lists(st.binary(max_size=40), max_size=3),
)
def test_any_header_gives_a_message_or_is_refused(changes, frames):
    fields = json.loads(pack(EXAMPLE)[0]) | changes
    try:
        message = unpack([json.dumps(fields).encode(), *(frames or pack(EXAMPLE)[1:])])
    except PduError:
        return
    assert same(unpack(pack(message)), message)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=4))
def test_any_bytes_are_refused(frames):
    with pytest.raises(PduError):
        unpack(frames)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(pack(EXAMPLE)[0]) - 1), st.integers(0, 255))
def test_a_byte_changed_gives_a_message_or_is_refused(at, byte):
    frames = pack(EXAMPLE)
    frames[0] = frames[0][:at] + bytes([byte]) + frames[0][at + 1 :]
    try:
        assert isinstance(unpack(frames), Message)
    except PduError:
        pass


# -- sockets -----------------------------------------------------------------------------------------


def until(condition, what: str, timeout_s: float = 10.0):
    end = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)
    return result


@pytest.fixture
def publisher():
    made = Publisher("tcp://127.0.0.1:*")
    yield made
    made.close()


@pytest.fixture
def subscriber(publisher):
    made = Subscriber(publisher.address)
    yield made
    made.close()


def test_nobody_listens_until_somebody_does(publisher):
    assert not publisher.is_heard
    watcher = Subscriber(publisher.address)
    until(lambda: publisher.is_heard, "a subscription")
    watcher.close()
    until(lambda: not publisher.is_heard, "the end of the subscription")


def test_messages_come_in_order_and_numbered(publisher, subscriber):
    until(lambda: publisher.is_heard, "a subscription")
    numbering = Numbering()
    for value in range(5):
        publisher.send(Message(PICTURE, "tx", **numbering.next(), values={"value": value}))
    got = []
    until(lambda: got.extend(subscriber.receive()) or len(got) == 5, "five messages")
    assert [m.values["value"] for m in got] == [m.sequence for m in got] == list(range(5))
    assert len({m.session for m in got}) == 1 and got[0].station == "tx"


def test_a_publisher_never_waits_for_a_slow_watcher(publisher, subscriber):
    until(lambda: publisher.is_heard, "a subscription")
    numbering, pixels = Numbering(), {"pixels": np.zeros((512, 512, 3), np.uint8)}
    began = time.monotonic()
    for _ in range(300):
        publisher.send(Message(PICTURE, "rx", **numbering.next(), arrays=pixels))
    assert time.monotonic() - began < 5
    got = []
    until(lambda: got.extend(subscriber.receive()) or not subscriber.receive(1), "the queue to be empty")
    assert 0 < len(got) < 300


def test_garbage_is_counted_in_words_and_the_rest_goes_on():
    with zmq.Context() as context, context.socket(zmq.PUB) as intruder:
        intruder.linger = 0
        port = intruder.bind_to_random_port("tcp://127.0.0.1")
        watcher = Subscriber(f"tcp://127.0.0.1:{port}")
        got = []

        def good_among_bad():
            intruder.send_multipart([b"hello"])
            intruder.send_multipart([b"{}", b"x"])
            intruder.send_multipart(pack(EXAMPLE))
            got.extend(watcher.receive())
            return got and len(watcher.problems) == 2

        def recovered():
            intruder.send_multipart(pack(EXAMPLE))
            return watcher.receive()

        until(good_among_bad, "a good message among bad ones")
        assert {
            "telemetry whose header is not JSON",
            "telemetry of another version: give both sides the same release",
        } == set(watcher.problems)
        assert all(same(message, EXAMPLE) for message in got)
        intruder.send_multipart([b"x" * (telemetry.MAX_BYTES + 1)])  # libzmq cuts the connection for good
        time.sleep(0.2)
        watcher.receive()
        until(recovered, "a message after one that was too large")
        assert watcher.problems[LOST] == watcher.problems[CUT_OFF] == 1
        watcher.close()


def test_a_watcher_hears_a_publisher_that_was_restarted(publisher, subscriber):
    until(lambda: publisher.is_heard, "a subscription")
    publisher.send(Message(STATE, "rx", **Numbering().next()))
    first = until(subscriber.receive, "the first message")[0]
    address = publisher.address
    publisher.close()
    again = Publisher(address)
    try:
        until(lambda: subscriber.receive() or again.is_heard, "a new subscription")
        again.send(Message(STATE, "rx", **Numbering().next()))
        second = until(subscriber.receive, "a message of the new one")[0]
    finally:
        again.close()
    assert first.session != second.session and first.sequence == second.sequence == 0


def test_a_port_in_use_and_a_wrong_station_are_reported(publisher):
    with pytest.raises(ConfigError, match="in use"):
        Publisher(publisher.address)
    with pytest.raises(ConfigError, match="without keys|keys"):
        Publisher("tcp://0.0.0.0:5599")
    with pytest.raises(ConfigError, match="station must be one of rx, tx"):
        Digest("both")
