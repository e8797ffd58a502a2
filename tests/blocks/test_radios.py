# SPDX-License-Identifier: GPL-3.0-or-later
"""Radio sink and source on every medium; USRPs are played by a fake one with virtual time."""

import os
import socket
import time

import numpy as np
import pmt
import pytest
import zmq
from gnuradio import blocks as gr_blocks
from gnuradio import gr
from radio_bench import Running, wait_until

from semcom import blocks, keys
from semcom.blocks.media import bursts as burst_blocks
from semcom.blocks.media import device_graph, soapy
from semcom.blocks.media.fake import FakeUhdBlock, fake_usrp
from semcom.blocks.pdu import Pdu
from semcom.errors import ConfigError, OutputError
from semcom.modem import Modem, StreamDetector
from semcom.radio import watchdog
from semcom.radio.device import Calibration, RadioProfile, Side, save_device
from semcom.radio.fake import FakeRadio
from semcom.radio.reports import ACKNOWLEDGED, NO_ANSWER, ON_AIR, OVERFLOW, SAMPLES_LOST, UNANSWERED
from semcom.radio.timing import Time
from semcom.wire.redial import CUT_OFF, LOST

pytestmark = pytest.mark.timeout(90)
RATE = 1e6


def noise(count=100_000, seed=0):
    random = np.random.default_rng(seed)
    return (random.normal(size=count) + 1j * random.normal(size=count)).astype(np.complex64)


def free_port() -> str:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{trial.getsockname()[1]}"


def run(*chain):
    """Runs until the source ends."""
    Running(*chain).top.run()


def play(samples, sink, *tags):
    """Samples with tags (offset, key) into a sink, to their end."""
    run(gr_blocks.vector_source_c(samples, tags=[tag(*one) for one in tags]), sink)


def collected(source):
    """All that a source has, to its end: samples and tags."""
    back = gr_blocks.vector_sink_c()
    run(source, back)
    return np.array(back.data(), np.complex64), back.tags()


def burst(first, last):
    """Tags of a burst from sample ``first`` to ``last``."""
    return (first, "tx_sob"), (last, "tx_eob")


def tag(offset, key):
    made = gr.tag_t()
    made.offset, made.key, made.value = offset, pmt.intern(key), pmt.PMT_T
    return made


# -- files -----------------------------------------------------------------------------------------


def test_file_there_and_back_with_its_end(tmp_path):
    samples = noise()
    sink = blocks.radio_sink(f"file:{tmp_path}/air.c64")
    play(samples, sink, (99_999, keys.TAG_END))
    assert sink.sent_all() and sink.wait_sent(0)
    got, tags = collected(blocks.radio_source(f"file:{tmp_path}/air.c64"))
    assert np.array_equal(got, samples)
    assert [(t.offset, pmt.symbol_to_string(t.key)) for t in tags] == [(99_999, keys.TAG_END)]


def test_files_there_and_back_again_and_again(tmp_path):
    """Three runs of one flowgraph each: three times the samples, and each with its end."""
    samples = noise(5000)
    sink = blocks.radio_sink(f"file:{tmp_path}/air.c64")
    there = Running(gr_blocks.vector_source_c(samples, tags=[tag(4999, keys.TAG_END)]), sink)
    for _ in range(3):
        there.chain[0].rewind()
        with there:
            assert sink.wait_sent(10)
    (tmp_path / "one.c64").write_bytes(samples.tobytes())
    collector = gr_blocks.vector_sink_c()
    back = Running(blocks.radio_source(f"file:{tmp_path}/one.c64"), collector)
    for run_ in range(1, 4):
        back.top.run()
        assert len(collector.data()) == 5000 * run_ and len(collector.tags()) == run_
    assert np.array_equal(np.fromfile(tmp_path / "air.c64", np.complex64), np.tile(samples, 3))


def test_file_that_exists_is_left_alone_unless_asked(tmp_path):
    path = tmp_path / "air.c64"
    path.write_bytes(b"precious")
    with pytest.raises(ConfigError, match="exists and is left as it is"):
        blocks.radio_sink(f"file:{path}")
    assert path.read_bytes() == b"precious"
    play(noise(10), blocks.radio_sink(f"file:{path}", overwrite=True))
    assert path.stat().st_size == 80


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="no file of samples"):
        blocks.radio_source(f"file:{tmp_path}/none.c64")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ConfigError, match="not a single sample"):
        blocks.radio_source(f"file:{tmp_path}/empty")
    with pytest.raises(OutputError):
        blocks.radio_sink(f"file:{tmp_path}/empty/air.c64")


def test_file_cut_short_and_with_numbers_that_are_none(tmp_path):
    samples = noise(1000)
    samples[[3, 500]] = np.nan, 1e30
    (tmp_path / "air.c64").write_bytes(samples.tobytes() + b"abc")
    source = blocks.radio_source(f"file:{tmp_path}/air.c64")
    got, _ = collected(source)
    assert len(got) == 1000 and got[3] == got[500] == 0 and np.array_equal(got[4:500], samples[4:500])
    assert any("cut in the middle" in reason for reason in source.counters)
    assert any("no numbers" in reason for reason in source.counters)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_full_disk_is_reported_and_ends_the_flowgraph():
    sink = blocks.radio_sink("file:/dev/full", overwrite=True)
    play(noise(1000), sink)
    assert any("cannot be written any further" in reason for reason in sink.counters)
    assert isinstance(sink.error, OutputError)


# -- ZMQ -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_zmq_there_and_back_although_the_listener_comes_late_and_again():
    address, samples = free_port(), noise(400_000)
    sink = blocks.radio_sink(f"zmq:{address}")
    got = []
    with Running(gr_blocks.vector_source_c(samples, tags=[tag(399_999, keys.TAG_END)]), sink):
        time.sleep(0.2)
        assert not sink.sent_all()
        for share in (100_000, 300_000):
            back = gr_blocks.vector_sink_c()
            # slow: messages wait
            with Running(blocks.radio_source(f"zmq:{address}"), gr_blocks.throttle(8, 2e6), back):
                wait_until(
                    lambda b=back, n=share: len(b.data()) >= n or sink.sent_all(), 10, lambda: "samples"
                )
                time.sleep(0.2)
            got += list(back.data())
        assert sink.wait_sent(5)
    assert sink.counters["samples sent"] == 400_000
    # what waited for the first listener went with it; nothing else is lost, and the order is kept
    got = np.array(got, np.complex64)
    assert len(got) > 150_000 and got[0] == samples[0] and got[-1] == samples[-1]


def test_zmq_is_lossless_for_one_listener():
    address, samples = free_port(), noise(300_000)
    sink, back = blocks.radio_sink(f"zmq:{address}"), gr_blocks.vector_sink_c()
    with Running(blocks.radio_source(f"zmq:{address}"), back):
        with Running(gr_blocks.vector_source_c(samples), sink):
            wait_until(lambda: len(back.data()) >= 300_000, 10, lambda: f"samples, {len(back.data())}")
    assert np.array_equal(np.array(back.data(), np.complex64), samples)


def test_zmq_understands_gr_zeromq_both_ways():
    zeromq = pytest.importorskip("gnuradio.zeromq")
    samples = noise(50_000)
    for theirs_sends in (True, False):
        address, back = free_port(), gr_blocks.vector_sink_c()
        if theirs_sends:
            sink, source = zeromq.push_sink(8, 1, address), blocks.radio_source(f"zmq:{address}")
        else:
            sink, source = blocks.radio_sink(f"zmq:{address}"), zeromq.pull_source(8, 1, address)
        with Running(source, back), Running(gr_blocks.vector_source_c(samples), sink):
            wait_until(lambda b=back: len(b.data()) >= 50_000, 10, lambda: "samples")
        assert np.array_equal(np.array(back.data(), np.complex64), samples)


@pytest.fixture
def spoken_to():
    """A bare PUSH socket, a source that listens to it, and what the source hears."""
    address, back = free_port(), gr_blocks.vector_sink_c()
    with zmq.Context.instance().socket(zmq.PUSH) as push:
        push.linger = 0
        push.bind(address)
        source = blocks.radio_source(f"zmq:{address}")
        with Running(source, back):
            yield push, source, back


def test_zmq_garbage_is_counted_and_the_source_lives_on(spoken_to):
    (push, source, back), samples = spoken_to, noise(1000)
    bad = samples.copy()
    bad[7] = np.inf
    for message in (b"garbage", b"", b"x" * 12, bad.tobytes(), samples.tobytes()):
        push.send(message)
    wait_until(lambda: len(back.data()) >= 2000, 10, lambda: f"{dict(source.counters)}")
    got = np.array(back.data(), np.complex64)
    assert np.array_equal(got[1000:], samples) and got[7] == 0
    assert source.counters["message that is no whole number of samples, left out"] == 2
    assert source.counters["samples that are no numbers or absurdly large, put to zero"] == 1


def test_zmq_source_hears_again_after_a_message_beyond_all_limits(spoken_to):
    """libzmq hangs up on such a sender and would never call again."""
    (push, source, back), message = spoken_to, noise(1000).tobytes()
    push.send(message)
    wait_until(lambda: len(back.data()) >= 1000, 10, lambda: "the first samples")
    push.send(bytes(40 * 2**20))

    def again():
        push.send(message, zmq.NOBLOCK)
        return len(back.data()) >= 2000

    wait_until(lambda: push.poll(100, zmq.POLLOUT) and again(), 10, lambda: f"{dict(source.counters)}")
    assert source.counters[LOST] == source.counters[CUT_OFF] == 1


def test_zmq_port_in_use_and_other_machines_are_refused_in_words():
    address = free_port()
    first = blocks.radio_sink(f"zmq:{address}")
    with pytest.raises(ConfigError, match="in use"):
        blocks.radio_sink(f"zmq:{address}")
    del first
    for make in (blocks.radio_sink, blocks.radio_source):
        with pytest.raises(ConfigError, match="other machines"):
            make("zmq:tcp://192.0.2.1:5550")


def test_zmq_flowgraph_can_be_started_again():
    address = free_port()
    sink, back = blocks.radio_sink(f"zmq:{address}"), gr_blocks.vector_sink_c()
    sending = Running(gr_blocks.null_source(8), sink)
    receiving = Running(blocks.radio_source(f"zmq:{address}"), gr_blocks.throttle(8, 1e6), back)
    for _ in range(2):
        before = len(back.data())
        with sending, receiving:
            wait_until(lambda n=before: len(back.data()) > n, 5, lambda: "samples")
    assert sink.error is None


# -- arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [blocks.radio_sink, blocks.radio_source])
def test_arguments_are_checked_in_words(make, tmp_path):
    with pytest.raises(ConfigError, match="none of usrp"):
        make("carrier-pigeon")
    with pytest.raises(ConfigError, match="sample_rate_hz"):
        make("zmq", sample_rate_hz=0)
    with pytest.raises(ConfigError, match="gain_db"):
        make("zmq", gain_db=float("nan"))
    with pytest.raises(ConfigError, match="did you mean 'b210'"):
        make("usrp", device="b211")
    with pytest.raises(ConfigError, match="soapy"):
        make("usrp", device="pluto")


@pytest.mark.parametrize("make", [blocks.radio_sink, blocks.radio_source])
@pytest.mark.parametrize("radio", ["usrp:serial=000000", "soapy:driver=plutosdr,uri=ip:127.0.0.1"])
@pytest.mark.slow
def test_a_radio_that_is_not_there(make, radio):
    pytest.importorskip(f"gnuradio.{'uhd' if radio.startswith('usrp') else 'soapy'}")
    with pytest.raises(ConfigError, match="connected|not installed"):
        make(radio)


# -- a USRP that is not there ----------------------------------------------------------------------


@pytest.fixture
def fake():
    """A fake radio behind ``usrp``; who has opened it with which arguments is its ``claims``."""
    radio = FakeRadio(now=Time(1000, 0.5))
    with fake_usrp(radio) as radio.claims:
        yield radio


def modulated_latents(modulator, pictures=6):
    random = np.random.default_rng(3)
    latents = [
        (random.normal(size=2048) + 1j * random.normal(size=2048)).astype(np.complex64)
        for _ in range(pictures)
    ]
    for number, vector in enumerate(latents):
        vector /= np.sqrt(np.mean(np.abs(vector) ** 2))
        meta = {keys.IMAGE_ID: number, keys.HEIGHT: 32, keys.WIDTH: 32, keys.MODEL_HASH: 5}
        modulator.enqueue(Pdu(meta, vector))
    modulator.enqueue(Pdu.end())


def test_modulator_through_a_usrp_every_burst_is_on_the_air_and_acknowledged(fake):
    """From latents to the air: detected again, every one, at the time it was given; the sink outlives the stream
    until all is acknowledged."""
    modulator = blocks.burst_modulator(idle="wait", amplitude=0.25, tx_tags=True)
    sink = blocks.radio_sink("usrp:type=b200", RATE, 2.45e9, 20.0)
    with Running(modulator, sink):
        modulated_latents(modulator)
        assert sink.wait_sent(30), dict(sink.counters)
    bursts = modulator.counters["bursts sent"]
    assert bursts >= 6
    # the lead-in, and the silence at the end
    assert sink.counters["bursts acknowledged by the radio"] == bursts + 2
    assert not any("(L)" in reason or "(U)" in reason for reason in sink.counters)
    first = fake.on_air[0][0]
    assert first >= 1001e6, "less than half a second of lead"
    last = max(at + len(samples) for at, samples in fake.on_air)
    air = fake.transmitted(first, last - first)
    found = StreamDetector(Modem()).push(np.concatenate([air, np.zeros(200_000, np.complex64)]))
    assert len(found) == bursts


@pytest.mark.parametrize("with_lead_in, right", [(True, 20), (False, 19)])
@pytest.mark.slow
def test_the_lead_in_makes_the_difference(fake, monkeypatch, with_lead_in, right):
    """Twenty short bursts through the blocks: one of them is wrong without the lead-in, none with it."""
    timer = burst_blocks.BurstTimer
    monkeypatch.setattr(burst_blocks, "BurstTimer", lambda scheduler: timer(scheduler, with_lead_in))
    sink = blocks.radio_sink("usrp")
    play(noise(20_000), sink, *(tag for n in range(20) for tag in burst(n * 1000, n * 1000 + 999)))
    assert sink.counters["bursts acknowledged by the radio"] == right + with_lead_in
    assert sink.counters[NO_ANSWER] == 20 - right


def test_samples_outside_of_bursts_are_not_sent(fake):
    sink = blocks.radio_sink("usrp")
    stream = noise(30_000)
    play(stream, sink, *burst(1000, 1999), *burst(5000, 24_999))  # ends by itself although no end was tagged
    on_air = np.concatenate([samples for _, samples in fake.on_air])
    assert np.array_equal(on_air[4:1004], stream[1000:2000])  # after the lead-in
    assert np.array_equal(on_air[1068:21_068], stream[5000:25_000])
    assert sink.counters["samples outside of bursts, not sent"] == 9000
    assert sink.sent_all()


def test_a_long_burst_leaves_whole(fake):
    """Five times what the radio holds: no second start, no starving, one acknowledgement."""
    sink, samples = blocks.radio_sink("usrp"), noise(325_000)
    play(samples, sink, *burst(0, 324_999))
    assert sink.counters["bursts acknowledged by the radio"] == 2
    assert not any("(U)" in reason for reason in sink.counters)
    start = min(at for at, samples in fake.on_air if len(samples) > 3)
    assert np.array_equal(fake.transmitted(start, len(samples)), samples)


def test_what_the_driver_refuses_is_said_in_words(fake, monkeypatch):
    def refuse(*_):
        raise RuntimeError("EnvironmentError: IOError: many words\nno such master clock rate")

    monkeypatch.setattr(FakeUhdBlock, "set_samp_rate", refuse)
    with pytest.raises(ConfigError, match="refuses its settings: no such master clock rate"):
        blocks.radio_sink("usrp")


def test_reports_of_the_radio_are_counted_in_words(fake):
    sink = blocks.radio_sink("usrp")
    emitter = sink._end.blocks[0]._graph.inside.blocks[0]
    for event in (
        "time_error",
        "underflow",
        "underflow_in_packet",
        "seq_error",
        "seq_error_in_burst",
        "burst_ack",
        "x",
    ):
        codes = pmt.list1(pmt.intern(event))
        content = pmt.dict_add(pmt.make_dict(), pmt.intern("event_code"), codes)
        emitter.on_report(pmt.cons(pmt.intern("uhd_async_msg"), content))
    emitter.on_report(pmt.intern("garbage"))
    words = " / ".join(sink.counters)
    for letter in (
        "(L): burst came too late",
        "(U): the computer did not deliver",
        "(S): packets",
        "acknowledged",
    ):
        assert letter in words
    assert "event 'x' of the radio" in words and "no report" in words


def test_clipped_gain_and_frequency_are_reported_with_what_the_radio_took(fake):
    sink = blocks.radio_sink("usrp", RATE, 50e6, 90.0)
    words = " / ".join(sink.counters)
    assert "tx gain: the radio took 76 dB instead of 90" in words
    assert "tx frequency: the radio took 70000000 Hz instead of 50000000" in words
    sink.set_gain_db(33.0)
    sink.set_centre_frequency_hz(1e9)
    assert (fake.gain_db, fake.centre_frequency_hz) == (33.0, 1e9)


def test_profile_of_a_radio_is_obeyed(fake, tmp_path):
    profile = RadioProfile(
        name="mine",
        args="type=b200",
        clock_source="external",
        master_clock_rate_hz=32e6,
        tx=Side(antenna="RX2", subdev="A:A", gain_max_db=30.0),
        rx=Side(antenna="TX/RX2"),
        calibration=Calibration(frequency_hz=1e9, frequency_offset_hz=500.0),
    )
    path, fake.reference = str(save_device(profile, tmp_path / "mine.yaml")), True
    sink = blocks.radio_sink("usrp:serial=7", RATE, 2e9, 30.0, device=path)
    assert fake.claims.args == "type=b200,serial=7,master_clock_rate=3.2e+07"
    assert (fake.antenna, fake.subdev, fake.clocks) == ("RX2", "A:A", ("external", ""))
    assert fake.centre_frequency_hz == pytest.approx(2e9 + 1000)
    with pytest.raises(ConfigError, match="31 dB is outside the limits"):
        blocks.radio_sink("usrp", RATE, 2e9, 31.0, device=path)
    sink.set_gain_db(60.0)
    assert fake.gain_db == 30.0 and any("held at the profile's limit" in reason for reason in sink.counters)
    with pytest.raises(ConfigError, match="no antenna 'TX/RX2': choose one of TX/RX, RX2"):
        blocks.radio_source("usrp", RATE, 2e9, 0.0, device=path)


@pytest.mark.parametrize(
    "address, args",
    [
        ("127.0.0.1", "addr=127.0.0.1"),
        ("192.168.10.2,type=x300", "addr=192.168.10.2,type=x300"),
        ("radio.lab.example", "addr=radio.lab.example"),
        ("30F4AB1", "serial=30F4AB1"),
        ("B200", "type=b200"),
        ("serial=7", "serial=7"),
    ],
)
@pytest.mark.slow
def test_an_address_a_serial_number_or_a_series_alone_is_understood(fake, address, args):
    blocks.radio_source(f"usrp:{address}", RATE, 2.4e9)
    assert fake.claims.args == args


def test_a_word_that_names_no_radio_is_refused(fake):
    with pytest.raises(ConfigError, match="'pigeon' is neither name=value, as type=b200, nor an address"):
        blocks.radio_source("usrp:pigeon", RATE, 2.4e9)


def test_the_gain_that_the_hardware_test_asks_for_reaches_the_radio(fake):
    """tests/hardware/test_uhd.py, on the fake radio: a profile without limits must let it through."""
    assert reported(
        blocks.radio_source("usrp", RATE, 2.4e9, 99.0), "rx gain: the radio took 76 dB instead of 99"
    )


def test_a_rate_that_the_clock_does_not_divide_to_is_refused(fake):
    with pytest.raises(ConfigError, match="instead of 3e"):
        blocks.radio_sink("usrp", 3e6)


def test_overflow_is_counted_with_what_it_cost_and_passed_to_the_detector(fake):
    source = blocks.radio_source("usrp", RATE, 2.4e9)
    fake.signal = lambda at: (at - 1_000_500_000).astype(np.complex64)
    block = fake.claims.block(transmit=False)
    block.feed = [fake.receive(4000) for _ in range(3)]
    fake.overflow(1234)
    block.feed += [fake.receive(4000) for _ in range(3)]
    got, tags = collected(source)
    assert np.array_equal(got.real, np.r_[:12_000, 13_234:25_234])
    assert source.counters[SAMPLES_LOST] == 1234 and source.counters[OVERFLOW] == 1
    times = [t for t in tags if pmt.symbol_to_string(t.key) == "rx_time"]
    assert [t.offset for t in times] == [0, 12_000]  # burst_detector puts zeros there


def test_dc_and_image_are_corrected_as_measured(fake, tmp_path):
    clean = noise(20_000)
    profile = RadioProfile(calibration=Calibration(dc_re=0.01, dc_im=-0.02, image_re=0.03, image_im=0.01))
    path = str(save_device(profile, tmp_path / "mine.yaml"))
    image, dc = profile.calibration.image, profile.calibration.dc
    received = (clean + image * np.conj(clean)) / (1 - abs(image) ** 2) + dc
    source = blocks.radio_source("usrp", RATE, 2.4e9, device=path)
    piece = fake.receive(4000)
    for at in range(0, 20_000, 4000):
        fake.claims.block(transmit=False).feed.append(
            type(piece)(received[at : at + 4000].astype(np.complex64), [])
        )
    assert np.allclose(collected(source)[0], clean, atol=1e-5)


def external(tmp_path, **clocks) -> str:
    return str(save_device(RadioProfile(name="mine", **clocks), tmp_path / "external.yaml"))


@pytest.mark.slow
def test_a_reference_clock_that_is_not_there_is_refused(fake, tmp_path):
    """UHD checks for one only while it opens a device, when no source is chosen yet."""
    path = external(tmp_path, clock_source="external")
    for make in (blocks.radio_sink, blocks.radio_source):
        with pytest.raises(ConfigError, match="'external', but locks to nothing there .ref_locked.: connect"):
            make("usrp", RATE, 2.4e9, device=path)
    fake.reference = True
    sink = blocks.radio_sink("usrp", RATE, 2.4e9, device=path)
    assert not any("lock" in reason for reason in sink.counters)


@pytest.mark.slow
def test_oscillators_and_gps_receivers_that_lock_to_nothing_are_reported(fake, tmp_path):
    fake.reference, fake.sensors = True, {"ref_locked": 1, "lo_locked": 0, "gps_locked": 0, "gps_time": 500}
    path = external(tmp_path, clock_source="gpsdo", time_source="gpsdo")
    words = " / ".join(blocks.radio_source("usrp", RATE, 2.4e9, device=path).counters)
    assert "rx oscillator does not lock (lo_locked)" in words and "no fix yet (gps_locked)" in words
    fake.sensors |= {"lo_locked": 1, "gps_locked": 1}
    words = " / ".join(blocks.radio_source("usrp", RATE, 2.4e9, device=path).counters)
    assert "clock is 500 s from GPS time" in words and "lo_locked" not in words


# -- a USRP that goes away -------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(watchdog, "LOOK_S", 0.2)
    monkeypatch.setattr(watchdog, "PATIENCE_S", 0.6)
    monkeypatch.setattr(device_graph, "_AGAIN_S", 0.2)


def reported(end, words):
    return any(words in reason for reason in end.counters)


@pytest.mark.slow
def test_a_transmitter_that_goes_away_is_reported_and_opened_again_when_it_is_back(fake, impatient):
    """Bursts that it was handed are answered for in words; those that wait go out when it is back, none twice."""
    answers = {}
    fake.buffer_samples = 12_000  # so that many are still to come
    modulator = blocks.burst_modulator(idle="wait", amplitude=0.25, tx_tags=True, max_waiting=2)
    sink = blocks.radio_sink("usrp:type=b200", RATE, 2.45e9, 20.0, on_answer=answers.__setitem__)
    with Running(modulator, sink):
        modulated_latents(modulator, 40)
        wait_until(lambda: sink.counters[ACKNOWLEDGED] >= 5, 10, lambda: dict(sink.counters))
        with fake.claims.lock:
            fake.unplug()
        wait_until(lambda: sink.gone_s() > 0, 10, lambda: dict(sink.counters))
        assert reported(sink, "the radio at usrp:type=b200 no longer answers")
        assert not sink.sent_all()
        fake.plug()
        assert sink.wait_sent(30), dict(sink.counters)
        assert sink.gone_s() == 0 and fake.claims.opened == 2
    bursts = modulator.counters["bursts sent"] + 1  # and the silence at the end
    assert sorted(answers) == list(range(bursts)) and set(answers.values()) == {ON_AIR, UNANSWERED}
    lost = [index for index, answer in answers.items() if answer == UNANSWERED]
    assert sink.counters[NO_ANSWER] == len(lost) < bursts / 2 and lost == list(range(lost[0], lost[-1] + 1))
    complaints = sum(n for reason, n in sink.counters.items() if "radio" in reason and "burst" not in reason)
    assert complaints < 30, "without end"


@pytest.mark.slow
def test_a_transmitter_that_stays_away_does_not_hold_up_the_end(fake, impatient):
    sink = blocks.radio_sink("usrp")
    with Running(
        gr_blocks.vector_source_c(noise(4000), True, tags=[tag(0, "tx_sob"), tag(3999, "tx_eob")]), sink
    ):
        wait_until(lambda: sink.counters[ACKNOWLEDGED] >= 5, 10, lambda: dict(sink.counters))
        with fake.claims.lock:
            fake.unplug()
        wait_until(lambda: sink.gone_s() > 0.5, 10, lambda: dict(sink.counters))
    assert not sink.sent_all() and sink.counters["bursts never handed to the radio"] >= 1
    assert sink.counters[NO_ANSWER] >= 1


@pytest.mark.slow
def test_a_receiver_that_goes_away_is_reported_and_opened_again_when_it_is_back(fake, impatient):
    fake.is_live = True
    source, back = blocks.radio_source("usrp:type=b200", RATE, 2.45e9), gr_blocks.vector_sink_c()
    with Running(source, back):
        wait_until(lambda: len(back.data()) > 50_000, 10, lambda: dict(source.counters))
        source.set_gain_db(7.0)
        with fake.claims.lock:
            fake.unplug()
        wait_until(lambda: source.gone_s() > 0, 10, lambda: dict(source.counters))
        assert reported(source, "the radio at usrp:type=b200 no longer answers")
        source.set_gain_db(11.0)
        before = len(back.data())
        fake.plug()
        wait_until(lambda: len(back.data()) > before + 50_000, 10, lambda: dict(source.counters))
        assert source.gone_s() == 0 and reported(source, "answers again") and fake.gain_db == 11.0
    assert source.counters[SAMPLES_LOST] == 0, "not an overflow"


@pytest.mark.slow
def test_a_device_with_both_ends_is_opened_anew_only_when_both_have_let_go(fake, impatient):
    fake.is_live = True
    modulator = blocks.burst_modulator(idle="wait", tx_tags=True)
    sink, source = blocks.radio_sink("usrp", RATE, 2.4e9), blocks.radio_source("usrp", RATE, 2.4e9)
    back = gr_blocks.null_sink(8)
    with Running(modulator, sink), Running(source, back):
        wait_until(lambda: back.nitems_read(0) > 50_000, 10, lambda: dict(source.counters))
        with fake.claims.lock:
            fake.unplug()
        wait_until(lambda: source.gone_s() > 0 and sink.gone_s() > 0, 10, lambda: dict(sink.counters))
        fake.plug()
        wait_until(lambda: not source.gone_s() and not sink.gone_s(), 10, lambda: dict(sink.counters))
        modulated_latents(modulator)
        assert sink.wait_sent(30), dict(sink.counters)


# -- several runs ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_flowgraph_with_a_usrp_can_be_started_again(fake):
    """Three runs of one top block: each sends all of it, lead-in and all, and is answered for."""
    samples, sink = noise(3000), blocks.radio_sink("usrp")
    graph = Running(gr_blocks.vector_source_c(samples, tags=[tag(0, "tx_sob"), tag(2999, "tx_eob")]), sink)
    for run_ in range(3):
        graph.chain[0].rewind()
        graph.top.run()
        assert sink.sent_all() and sink.counters[ACKNOWLEDGED] == 2 * (run_ + 1)
    assert fake.claims.opened == 1 and not sink.counters[NO_ANSWER]


@pytest.mark.slow
def test_a_second_station_on_the_device_in_one_process(fake):
    """gr-uhd's blocks keep their side of the device until Python has collected them."""
    for make in (blocks.radio_sink, blocks.radio_source):
        for _ in range(3):
            end = make("usrp", RATE, 2.4e9)
            with pytest.raises(ConfigError, match="this program already has a transmitter or receiver"):
                make("usrp", RATE, 2.4e9)
            del end
    assert fake.claims.opened == 6


def test_a_device_that_another_program_uses_is_reported_as_such():
    from semcom.blocks.media.usrp import complaint_of

    for said in (
        "RuntimeError: Someone tries to claim this device again (Double-claim)",
        "usb error: LIBUSB_ERROR_BUSY",
    ):
        words = str(complaint_of(RuntimeError(said), "addr=192.168.10.2"))
        assert "another program uses the USRP at 'addr=192.168.10.2'" in words and "semcom loopback" in words


def test_a_soapy_device_is_set_through_the_same_interface(tmp_path):
    class Block:
        """What gr-soapy's blocks offer."""

        def __init__(self):
            self.radio = FakeRadio(names=("A", "B"))

        def list_antennas(self, channel):
            return self.radio.names

        def set_antenna(self, channel, name):
            self.radio.set_antenna(name)

        def set_sample_rate(self, channel, rate):
            self.radio.set_sample_rate_hz(rate)

        def get_sample_rate(self, channel):
            return self.radio.sample_rate_hz

        def set_frequency(self, channel, frequency):
            self.radio.set_centre_frequency_hz(frequency)

        def get_frequency(self, channel):
            return self.radio.centre_frequency_hz

        def set_gain(self, channel, gain):
            self.radio.set_gain_db(gain)

        def get_gain(self, channel):
            return self.radio.gain_db

    from semcom.radio.interface import Controls

    said, block = [], Block()
    profile = RadioProfile(driver="soapy", rx=Side(antenna="B"))
    Controls(soapy.SoapyDevice(block), profile, False, said.append).configure(1e6, 2.4e9, 99.0)
    assert block.radio.antenna == "B" and block.radio.gain_db == 76
    assert said == ["rx gain: the radio took 76 dB instead of 99"]


def test_receive_hands_out_stretches_one_after_the_other(tmp_path):
    from semcom.blocks.receive import receive

    noise(100_000).tofile(tmp_path / "air.c64")
    source = blocks.radio_source(f"file:{tmp_path}/air.c64")
    assert len(receive(source, 10_000, RATE)) == 10_000
    source = blocks.radio_source(f"file:{tmp_path}/air.c64")
    with pytest.raises(ConfigError, match="only 80000 of 90000 samples"):
        receive(source, 90_000, RATE)


def test_receive_hands_out_stretches_of_a_radio(fake):
    """As a calibration does: one source, a flowgraph a stretch."""
    from semcom.blocks.receive import receive

    fake.is_live, fake.pace = True, 10.0
    fake.signal = lambda at: np.full(len(at), 0.5, np.complex64)
    source = blocks.radio_source("usrp", RATE, 2.4e9)
    for _ in range(3):
        stretch = receive(source, 30_000, RATE)
        assert len(stretch) == 30_000 and (stretch == 0.5).all()
    assert source.counters[SAMPLES_LOST] == 0
