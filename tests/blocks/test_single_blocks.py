# SPDX-License-Identifier: GPL-3.0-or-later
"""Each block alone: what it makes of good input, and what it counts of bad."""

import time

import numpy as np
import pmt
import pytest
import torch
from gnuradio import blocks as gr_blocks
from gnuradio import gr
from radio_bench import make_recorder, wait_until

from semcom import blocks, keys
from semcom.air.process import FLUSH_SAMPLES
from semcom.blocks import pdu as bridge
from semcom.blocks.pdu import Pdu
from semcom.errors import ConfigError, ImageError, ModelError
from semcom.kinds.pictures import write_png
from semcom.modem import BurstHeader, DetectedBurst, Modem, ModemProfile, StreamDetector

pytestmark = pytest.mark.timeout(90)


def pdus_of(messages):
    return [bridge.from_message(m) for m in messages]


def picture_pdu(picture, image_id=0, **meta):
    height, width = picture.pixels.shape[:2]
    return Pdu(
        {keys.IMAGE_ID: image_id, keys.HEIGHT: height, keys.WIDTH: width, **meta}, picture.pixels.reshape(-1)
    )


# -- image source ----------------------------------------------------------------------------------


def test_source_sends_a_folder_in_order_and_the_end(bench, make_pictures, tmp_path):
    for picture in make_pictures(3, 8, 12):
        write_png(tmp_path / f"{picture.name}.png", picture.pixels)
    (tmp_path / "wave1b.png").write_bytes(b"not a picture")
    block = blocks.image_source(str(tmp_path), max_in_flight=0)
    with bench(block, "out") as b:
        out = pdus_of(b.messages("out", 4))
        b.count("not a picture")
    assert [p.meta.get(keys.IMAGE_NAME) for p in out[:3]] == ["wave0.png", "wave1.png", "wave2.png"]
    assert [p.meta[keys.IMAGE_ID] for p in out[:3]] == [0, 1, 2]
    assert (out[0].meta[keys.HEIGHT], out[0].meta[keys.WIDTH], len(out[0].data)) == (8, 12, 288)
    assert out[3].is_end
    assert np.array_equal(out[2].data, list(make_pictures(3, 8, 12))[2].pixels.reshape(-1))


def test_source_sends_the_frames_of_a_video_and_the_end(bench, film):
    block = blocks.image_source(str(film), max_in_flight=0)
    with bench(block, "out") as b:
        sent = pdus_of(b.messages("out", 13))
    assert [p.meta[keys.IMAGE_NAME] for p in sent[:12]] == [f"steps-{n:06d}" for n in range(12)]
    assert sent[12].is_end


def test_a_camera_that_is_not_there_is_counted_in_words_and_the_stream_ends(bench):
    with bench(blocks.image_source("/dev/video987"), "out") as b:
        assert pdus_of(b.messages("out"))[0].is_end
        b.count("there is no camera /dev/video987")


def test_source_with_nothing_readable_ends(bench, tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with bench(blocks.image_source(str(tmp_path), repeat=True), "out") as b:
        assert pdus_of(b.messages("out"))[0].is_end
        b.count("no picture could be read")


def test_source_defaults_to_the_packaged_samples_and_repeats(bench):
    with bench(blocks.image_source(repeat=True, max_in_flight=6), "out") as b:
        out = pdus_of(b.messages("out", 6))
        assert out[4].meta[keys.IMAGE_NAME] == out[0].meta[keys.IMAGE_NAME]
        assert out[5].meta[keys.IMAGE_ID] == 5
        time.sleep(0.2)
        assert len(b.messages("out")) == 6  # the window is closed
        b.post(bridge.to_dict({keys.IMAGE_ID: 0}), keys.PORT_DONE)
        b.messages("out", 7)
        b.post(pmt.intern("garbage"), keys.PORT_DONE)
        b.count("control message")


def test_source_presumes_pictures_lost(bench, make_pictures):
    with bench(blocks.image_source(pictures_in=make_pictures(4), max_in_flight=2, timeout_s=0.1), "out") as b:
        b.messages("out", 5)
        b.count("presumed lost", 2)


def test_source_keeps_to_its_rate(bench, make_pictures):
    begun = time.monotonic()
    with bench(blocks.image_source(pictures_in=make_pictures(6), rate=20.0), "out") as b:
        b.messages("out", 7)
    assert 0.2 <= time.monotonic() - begun < 3


def test_source_complains_in_words(tmp_path):
    with pytest.raises(ImageError, match="no file or folder"):
        blocks.image_source(str(tmp_path / "gone"))
    with pytest.raises(ImageError, match="no picture"):
        blocks.image_source(str(tmp_path))
    for bad in ({"rate": -1}, {"rate": float("nan")}, {"max_in_flight": -1}, {"timeout_s": 0}):
        with pytest.raises(ConfigError, match=f"image_source: {next(iter(bad))} must be"):
            blocks.image_source(**bad)


# -- encoder ---------------------------------------------------------------------------------------


def test_encoder_makes_what_the_library_makes(bench, model, make_pictures):
    block = blocks.deepjscc_encoder(model, snr_db=7.0)
    pictures = [*make_pictures(3), *make_pictures(2, 24, 40)]
    with bench(block, "out") as b:
        for i, picture in enumerate(pictures):
            b.post(picture_pdu(picture, i, mine="kept"))
        out = pdus_of(b.messages("out", 5))
    for i, picture in enumerate(pictures):
        wanted = block.model.encode_image(picture.pixels, 7.0)
        assert out[i].meta[keys.IMAGE_ID] == i and out[i].meta["mine"] == "kept"
        assert out[i].meta[keys.LATENT_COUNT] == len(wanted) and out[i].meta[keys.SNR_DB] == 7.0
        assert out[i].meta[keys.MODEL_HASH] == block.model.model_hash
        assert torch.allclose(torch.from_numpy(out[i].data), wanted, atol=1e-5)


def test_encoder_follows_fresh_feedback_and_falls_back(bench, model, make_pictures):
    picture = next(make_pictures(1))
    block = blocks.deepjscc_encoder(model, snr_db=7.0, max_age_s=0.4)
    with bench(block, "out") as b:
        b.post(bridge.to_dict({keys.SNR_DB: 13.5}), keys.PORT_SNR)
        b.count("SNR feedback received")
        b.post(picture_pdu(picture))
        assert pdus_of(b.messages("out", 1))[0].meta[keys.SNR_DB] == 13.5
        time.sleep(0.5)
        b.post(picture_pdu(picture))
        assert pdus_of(b.messages("out", 2))[1].meta[keys.SNR_DB] == 7.0
        assert b.count("stale") == 1
        for absurd in (1e6, float("nan"), -300.0):
            b.post(bridge.to_dict({keys.SNR_DB: absurd}), keys.PORT_SNR)
        b.count("absurd SNR report refused", 3)
        b.post(bridge.to_dict({keys.CFO: 1.0}), keys.PORT_SNR)
        b.count("without 'snr_db'")
        block.set_snr_db(3.0)
        b.post(picture_pdu(picture))
        assert pdus_of(b.messages("out", 3))[2].meta[keys.SNR_DB] == 3.0


def test_encoder_refuses_bad_pictures_and_goes_on(bench, model, make_pictures):
    good = picture_pdu(next(make_pictures(1)))
    with bench(blocks.deepjscc_encoder(model), "out") as b:
        for key in (keys.HEIGHT, keys.WIDTH):
            b.post(Pdu({k: v for k, v in good.meta.items() if k != key}, good.data))
            b.count(f"without '{key}'")
        b.post(good.with_meta(**{keys.HEIGHT: 31}))
        b.post(good.with_meta(**{keys.HEIGHT: 2**40, keys.WIDTH: 2**40}))
        b.post(good.with_meta(**{keys.HEIGHT: -32, keys.WIDTH: -32}))
        b.count("do not fit its height and width", 3)
        b.post(Pdu(good.meta, good.data.astype(np.float32)))
        b.count("vector is not a u8vector")
        b.post(good)
        b.messages("out", 1)


def test_unknown_model_suggests_and_bad_arguments_are_named(model):
    for block in (blocks.deepjscc_encoder, blocks.deepjscc_decoder):
        with pytest.raises(ModelError, match="there is no model 'cifar-1-21'"):
            block("cifar-1-21")
    for bad in ({"snr_db": 100.0}, {"snr_db": float("nan")}, {"max_age_s": 0.0}):
        with pytest.raises(ConfigError, match=f"deepjscc_encoder: {next(iter(bad))} must be"):
            blocks.deepjscc_encoder(model, **bad)


def test_a_device_that_is_not_there_is_named(model):
    for make in (
        lambda: blocks.deepjscc_encoder(model, device="cuda:9"),
        lambda: blocks.deepjscc_decoder(model, device="abacus"),
        lambda: blocks.burst_modulator(device="cuda:9"),
        lambda: blocks.burst_demodulator(device="abacus"),
    ):
        with pytest.raises(ConfigError, match="cannot be used here"):
            make()


# -- modulator -------------------------------------------------------------------------------------


def latents_pdu(count=500, image_id=3, seed=0, **meta):
    latents = torch.randn(count, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))
    return Pdu(
        {keys.IMAGE_ID: image_id, keys.HEIGHT: 20, keys.WIDTH: 25, keys.MODEL_HASH: 77, **meta},
        latents.numpy(),
    )


class Stream:
    """A modulator into a vector sink, until ``samples`` have come."""

    def __init__(self, block):
        self.block, self.sink, self.top = block, gr_blocks.vector_sink_c(), gr.top_block()
        self.top.connect(block, self.sink)

    def run(self, pdus, condition, timeout=20.0):
        self.top.start()
        for pdu in pdus:
            self.block.to_basic_block()._post(pmt.intern("in"), bridge.to_message(pdu))
        end = time.monotonic() + timeout
        while not condition(self):
            assert time.monotonic() < end, dict(self.block.counters)
            time.sleep(0.02)
        self.top.stop()
        self.top.wait()
        return np.array(self.sink.data(), dtype=np.complex64)

    def has_tag(self, key):
        return any(pmt.symbol_to_string(tag.key) == key for tag in self.sink.tags())


def test_modulator_sends_what_the_modem_makes_with_gaps_and_tags():
    sent = []
    block = blocks.burst_modulator(gap_samples=100, amplitude=0.5, tx_tags=True, on_sent=sent.append)
    stream = Stream(block)
    pdu = latents_pdu(9000)
    out = stream.run([pdu, Pdu.end()], lambda s: s.has_tag(keys.TAG_END))
    wanted = Modem().modulate(torch.from_numpy(pdu.data)[None], image_id=[3], size=(20, 25), model_hash=77)[0]
    count, size = wanted.shape
    for i in range(count):
        at = 100 + i * (size + 100)
        assert np.allclose(out[at : at + size], 0.5 * wanted[i].numpy(), atol=1e-6)
        assert not out[at + size : at + size + 100].any()
    tags = {(pmt.symbol_to_string(tag.key), tag.offset) for tag in stream.sink.tags()}
    assert ("tx_sob", 100) in tags and ("tx_eob", 100 + size + 99) in tags
    assert (block.bursts_sent, block.bursts_dropped) == (2, 0)
    assert (
        sent[0][keys.BURST_COUNT] == 2
        and sent[0][keys.AIRTIME_SAMPLES] == 2 * size
        and 5 < sent[0][keys.PAPR_DB] < 20
    )
    assert not out[100 + count * (size + 100) :].any()  # silence to the end


def test_kind_sender_and_side_go_through_both_ends(bench):
    """In a batch that shares all but sender and side, and one of another kind, whose size is no picture's."""
    metas = [{}, {keys.SENDER: 5, keys.SIDE: 2**20 - 1}, {keys.KIND: 3, keys.HEIGHT: 8000, keys.WIDTH: 8000}]
    pdus = [latents_pdu(300, image_id=i, seed=i, **meta) for i, meta in enumerate(metas)]
    bad = [latents_pdu(300, **{keys.SIDE: 2**20}), latents_pdu(300, **{keys.SENDER: "me"})]
    block = blocks.burst_modulator()
    samples = Stream(block).run([*bad, *pdus, Pdu.end()], lambda s: s.has_tag(keys.TAG_END))
    assert any("side is 1048576" in reason for reason in block.counters)
    assert any("'sender' is not" in reason for reason in block.counters)
    library = StreamDetector(Modem())
    with bench(blocks.burst_demodulator(), "out") as b:
        for found in library.push(torch.from_numpy(samples)) + library.flush():
            b.post(Pdu({keys.CFO: found.cfo}, found.samples.numpy()))
        out = pdus_of(b.messages("out", 3))
    names = (keys.IMAGE_ID, keys.KIND, keys.SENDER, keys.SIDE, keys.BURST_COUNT)
    assert [[pdu.meta[key] for key in names] for pdu in out] == [
        [0, 0, 0, 0, 1],
        [1, 0, 5, 2**20 - 1, 1],
        [2, 3, 0, 0, 1],
    ]


def test_modulator_waits_or_sends_zeros():
    waiting = blocks.burst_modulator(idle="wait")
    out = Stream(waiting).run([], lambda s, t=time.monotonic(): time.monotonic() > t + 0.3)
    assert len(out) == 0
    stream = Stream(blocks.burst_modulator(idle="zeros"))
    out = stream.run([], lambda s: s.block.nitems_written(0) > 50_000)
    assert len(out) > 50_000 and not out.any()


def test_modulator_drops_with_a_seed():
    def run():
        block = blocks.burst_modulator(drop=0.5, seed=4)
        Stream(block).run(
            [latents_pdu(300, i) for i in range(40)] + [Pdu.end()], lambda s: s.has_tag(keys.TAG_END)
        )
        return block.bursts_sent, block.bursts_dropped

    first = run()
    assert first == run() and first[0] == 40 and 8 <= first[1] <= 32


def test_modulator_refuses_bad_latents_and_goes_on():
    block = blocks.burst_modulator()
    good = latents_pdu()
    bad = [
        Pdu(good.meta, good.data.real),
        Pdu({}, good.data),
        good.with_meta(**{keys.LATENT_COUNT: 3}),
        good.with_meta(**{keys.HEIGHT: 10**6}),
        Pdu(good.meta, np.full(9, np.nan, np.complex64)),
        Pdu(good.meta, np.empty(0, np.complex64)),
    ]
    stream = Stream(block)
    stream.run([*bad, good, Pdu.end()], lambda s: s.has_tag(keys.TAG_END))
    assert block.bursts_sent == 1
    reasons = "; ".join(block.counters)
    for words in (
        "not a c32vector",
        "without 'image_id'",
        "latent_count long",
        "height is 1000000",
        "NaN",
        "0 latents",
    ):
        assert words in reasons


def test_modulator_arguments():
    wrong = (
        {"gap_samples": -1},
        {"idle": "sing"},
        {"amplitude": 0.0},
        {"drop": 1.5},
        {"seed": -1},
        {"sender": 16},
    )
    for bad in wrong:
        with pytest.raises(ConfigError, match=f"burst_modulator: {next(iter(bad))} must be"):
            blocks.burst_modulator(**bad)
    with pytest.raises(ConfigError):
        blocks.burst_modulator().set_amplitude(float("inf"))


# -- detector --------------------------------------------------------------------------------------


def on_air(bursts, gap=600):
    line = torch.nn.functional.pad(bursts, (gap, 0)).flatten()
    line = torch.nn.functional.pad(line, (0, gap))
    noise = torch.randn(line.shape, dtype=line.dtype, generator=torch.Generator().manual_seed(1))
    return (line + 0.1 * noise).numpy()


def modulated(count=6, latents=500):
    payload = torch.randn(count, latents, dtype=torch.complex64, generator=torch.Generator().manual_seed(2))
    bursts = (
        Modem().modulate(payload, image_id=list(range(count)), size=(20, 25), model_hash=77).flatten(0, 1)
    )
    return payload, bursts


def tag_of(offset, key, value):
    tag = gr.tag_t()
    tag.offset, tag.key, tag.value = offset, pmt.intern(key), value
    return tag


def detect(samples, tags=(), **options):
    """Samples through the detector block, an end tag on the last; the PDUs up to the end."""
    tags = [*tags, tag_of(len(samples) - 1, keys.TAG_END, pmt.PMT_T)]
    source = gr_blocks.vector_source_c(np.concatenate([samples, np.zeros(9000)]).tolist(), False, 1, tags)
    block, recorder, top = blocks.burst_detector(**options), make_recorder(), gr.top_block()
    top.connect(source, block)
    top.msg_connect((block, "out"), (recorder, "in"))
    top.start()
    wait_until(
        lambda: recorder.got and bridge.from_message(recorder.got[-1]).is_end, 30, lambda: str(block.counters)
    )
    top.stop()
    top.wait()
    return block, pdus_of(recorder.got)


@pytest.mark.parametrize("chunk", [1, 5000, 32768])
def test_detector_finds_what_the_library_finds(chunk):
    samples = on_air(modulated()[1])
    library = StreamDetector(Modem())
    wanted = library.push(samples) + library.flush()
    block, out = detect(samples, chunk_samples=max(chunk, 512))
    assert [p.meta[keys.SAMPLE_OFFSET] for p in out[:-1]] == [w.sample_offset for w in wanted]
    assert len(wanted) == 6 and block.counters["bursts found"] == 6
    for pdu, burst in zip(out, wanted, strict=False):
        assert abs(pdu.meta[keys.CFO] - burst.cfo) < 1e-4 and 0.13 < pdu.meta[keys.SYNC_QUALITY] <= 1
        size = modulated()[1].shape[1]
        assert np.array_equal(pdu.data[:size], burst.samples.numpy()[:size])


def test_detector_puts_zeros_where_rx_time_shows_lost_samples():
    """An overflow of 700 samples, its place and size known: the burst keeps its timing, and none is found to slip."""
    rate, lost = 1e6, 700
    samples = on_air(modulated()[1])
    library = StreamDetector(Modem())
    wanted = library.push(samples) + library.flush()
    at = wanted[2].sample_offset + modulated()[1].shape[1] - 900
    begin = pmt.make_tuple(pmt.from_uint64(1_700_000_000), pmt.from_double(0.25))
    after = pmt.make_tuple(pmt.from_uint64(1_700_000_000), pmt.from_double(0.25 + (at + lost) / rate))
    tags = [tag_of(0, keys.TAG_RX_TIME, begin), tag_of(0, keys.TAG_RX_RATE, pmt.from_double(rate))]
    tags += [tag_of(at, keys.TAG_RX_TIME, after), tag_of(at, keys.TAG_RX_RATE, pmt.from_double(rate))]
    tags += [
        tag_of(at + 5, keys.TAG_RX_TIME, pmt.intern("soon")),
        tag_of(at + 6, keys.TAG_RX_RATE, pmt.PMT_NIL),
    ]
    block, out = detect(np.concatenate([samples[:at], samples[at + lost :]]), tags)
    assert [p.meta[keys.SAMPLE_OFFSET] for p in out[:-1]] == [w.sample_offset for w in wanted]
    begins = at - wanted[2].sample_offset
    assert not out[2].data[begins : begins + lost].any() and out[2].data[begins + lost :].any()
    assert block.counters["samples lost to overflows, zeros in their place"] == lost
    read = Modem().demodulate(
        [DetectedBurst(torch.from_numpy(out[2].data.copy()), 0, out[2].meta[keys.CFO], 1.0)]
    )[0]
    assert read.header is not None and not read.slips and 2 <= read.symbols_erased <= 3


def test_detector_counts_samples_that_are_not_numbers():
    samples = on_air(modulated()[1])
    samples[200:210] = np.nan
    samples[-50] = np.inf
    block, out = detect(samples)
    assert len(out) == 7
    assert block.counters["samples that were not numbers"] == 11


def test_detector_on_noise_finds_nothing():
    noise = np.random.default_rng(0).normal(size=(2, 200_000))
    block, out = detect((noise[0] + 1j * noise[1]).astype(np.complex64))
    assert len(out) == 1 and out[0].is_end


# -- demodulator, estimator, decoder ----------------------------------------------------------------


def detected(bursts):
    library = StreamDetector(Modem())
    found = library.push(on_air(bursts)) + library.flush()
    return [
        Pdu(
            {keys.SAMPLE_OFFSET: f.sample_offset, keys.CFO: f.cfo, keys.SYNC_QUALITY: f.quality},
            f.samples.numpy(),
        )
        for f in found
    ]


def test_demodulator_and_estimator(bench):
    payload, bursts = modulated()
    with bench(blocks.burst_demodulator(), "out", "constellation") as b:
        for pdu in detected(bursts):
            b.post(pdu.with_meta(mine=1))
        out = pdus_of(b.messages("out", 6))
        assert pdus_of(b.messages("constellation", 1))[0].data.dtype == np.complex64
    for i, pdu in enumerate(out):
        assert pdu.meta[keys.IMAGE_ID] == i and pdu.meta[keys.MODEL_HASH] == 77 and pdu.meta["mine"] == 1
        assert (
            pdu.meta[keys.LATENT_COUNT] == 500
            and len(pdu.data) == len(pdu.vector(np.float32, keys.NOISE_VAR)) == 500
        )

    with bench(blocks.pilot_snr_estimator(history=4), "out", "snr", "history") as b:
        for pdu in out:
            b.post(pdu)
        estimates = pdus_of(b.messages("out", 6))
        feedback = [bridge.from_dict(m) for m in b.messages("snr", 6)]
        b.messages("history", 1)
    for pdu, reported in zip(estimates, feedback, strict=True):
        assert abs(pdu.meta[keys.SNR_DB] - 20) < 1.5 and 0 < pdu.meta[keys.SNR_STDERR_DB] < 1
        assert (
            reported[keys.SNR_DB] == pdu.meta[keys.SNR_DB] and reported[keys.TIMESTAMP_S] <= time.monotonic()
        )
        assert pdu.meta["mine"] == 1


def test_demodulator_counts_what_it_cannot_read(bench):
    _, bursts = modulated(1)
    good = detected(bursts)[0]
    noise = (
        np.random.default_rng(0).normal(size=(20_000, 2)).astype(np.float32).view(np.complex64).reshape(-1)
    )
    bad = good.data.copy()
    bad[100] = np.nan
    with bench(blocks.burst_demodulator(), "out") as b:
        b.post(Pdu({}, noise))
        b.count("CRC")
        b.post(Pdu(good.meta, good.data[:900]))
        b.count("cut short before its header")
        b.post(Pdu(good.meta, good.data[:3800]))
        b.count("cut short before its payload")
        b.post(Pdu(good.meta, bad))
        b.count("NaN")
        b.post(Pdu(good.meta, good.data.real.copy()))
        b.count("not a c32vector")
        b.post(good)
        b.messages("out", 1)


def test_demodulator_counts_slips_and_erased_symbols(bench):
    _, bursts = modulated(1)
    good = detected(bursts)[0]
    with bench(blocks.burst_demodulator(), "out") as b:
        b.post(Pdu(good.meta, np.delete(good.data, np.arange(3750, 3780))))
        b.count("timing slip")
        b.post(Pdu(good.meta, good.data[:4000]))
        b.count("erased", 1)
        out = pdus_of(b.messages("out", 2))
    assert np.isinf(out[1].vector(np.float32, keys.NOISE_VAR)[-60:]).all()
    assert all(np.isfinite(pdu.data).all() for pdu in out)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"version": 1}, "frame version 1"),
        ({"waveform": 4}, "waveform 4"),
        ({"cipher": 3}, "cipher 3: it is sealed or signed with a key"),
        ({"height": 0}, "empty picture"),
        ({"burst_index": 3}, "burst 3 of 1"),
        ({"latent_count": 2**22 - 1}, "too many for"),
    ],
)
def test_demodulator_counts_headers_of_another_make(fields, words, bench):
    """The CRC is good, the contents are not for us: counted before anything is allocated, and the next burst
    is read."""
    modem = Modem()
    usual = {
        "image_id": 1,
        "burst_index": 0,
        "height": 20,
        "width": 25,
        "latent_count": 500,
        "model_hash": 77,
    }
    payload = torch.randn(2, 500, dtype=torch.complex64, generator=torch.Generator().manual_seed(5))
    headers = [BurstHeader(**{**usual, **fields}), BurstHeader(**{**usual, "image_id": 2})]
    with bench(blocks.burst_demodulator(), "out") as b:
        for pdu in detected(modem.modulate_bursts(payload, headers)):
            b.post(pdu)
        out = pdus_of(b.messages("out", 1))
        b.count(words)
    assert out[0].meta[keys.IMAGE_ID] == 2


def test_demodulator_says_that_a_burst_is_of_frame_version_2(bench):
    before = Modem(ModemProfile(frame_version=2, header_symbols=6))
    latents = torch.randn(1, 500, dtype=torch.complex64, generator=torch.Generator().manual_seed(5))
    old = before.modulate(latents, image_id=[1], size=(20, 25), model_hash=77, link_hash=9)[0]
    _, new = modulated(1)
    with bench(blocks.burst_demodulator(), "out", "failed") as b:
        for pdu in [*detected(old), *detected(new)]:
            b.post(pdu)
        b.messages("out", 1)
        b.count("frame version 2, this receiver reads version 3")
        (failed,) = b.messages("failed", 1)
    assert "give both stations the same release" in bridge.from_dict(failed)[keys.ERROR]


def test_estimator_counts_what_it_cannot_use(bench):
    ones = np.ones(64, np.complex64)
    with bench(blocks.pilot_snr_estimator(), "out") as b:
        b.post(Pdu({}, ones))
        b.count("without 'pilots_rx'")
        b.post(Pdu({keys.PILOTS_RX: ones, keys.PILOTS_REF: ones[:9]}, ones))
        b.count("differ in length")
        b.post(Pdu({keys.PILOTS_RX: ones[:2], keys.PILOTS_REF: ones[:2], keys.PILOT_DOF: 5.0}, ones))
        b.count("give more pilots")
        b.post(Pdu({keys.PILOTS_RX: ones * np.nan, keys.PILOTS_REF: ones}, ones))
        b.count("NaN")
        b.post(Pdu({keys.PILOTS_RX: ones, keys.PILOTS_REF: ones}, ones))
        b.messages("out", 1)


def burst_pdus(model, picture, image_id=0, snr_db=20.0):
    """A picture's bursts as the estimator would hand them on, free of noise."""
    from semcom.system import zoo

    loaded, modem = zoo.load(model), Modem()
    latents = loaded.encode_image(picture.pixels, snr_db)
    plan = modem.plan(len(latents))
    height, width = picture.pixels.shape[:2]
    for index, row in enumerate(modem.pack_latents(latents[None])):
        yield Pdu(
            {
                keys.IMAGE_ID: image_id,
                keys.BURST_INDEX: index,
                keys.BURST_COUNT: plan.burst_count,
                keys.HEIGHT: height,
                keys.WIDTH: width,
                keys.LATENT_COUNT: plan.latent_count,
                keys.MODEL_HASH: loaded.model_hash,
                keys.NOISE_VAR: np.full(len(row), 0.01, np.float32),
                keys.SNR_DB: snr_db,
            },
            row.numpy(),
        )


def test_decoder_brings_pictures_back(bench, model, make_pictures):
    from semcom.system import zoo

    pictures = [*make_pictures(3), *make_pictures(1, 120, 410)]
    with bench(blocks.deepjscc_decoder(model), "out") as b:
        for i, picture in enumerate(pictures):
            for pdu in burst_pdus(model, picture, i):
                b.post(pdu)
        out = pdus_of(b.messages("out", 4))
    loaded = zoo.load(model)
    for i, (picture, pdu) in enumerate(zip(pictures, out, strict=True)):
        received = pdu.data.reshape(pdu.meta[keys.HEIGHT], pdu.meta[keys.WIDTH], 3)
        latents = loaded.encode_image(picture.pixels, 20.0)
        wanted = loaded.decode_image(latents, 20.0, picture.pixels.shape[:2])
        assert np.abs(received.astype(int) - wanted).max() <= 1
        assert pdu.meta[keys.IMAGE_ID] == i and pdu.meta[keys.BURSTS_RECEIVED] == pdu.meta[keys.BURST_COUNT]
        assert abs(pdu.meta[keys.SNR_DB] - 20) < 1e-6


def test_decoder_gives_out_what_came_at_the_end(bench, model, make_pictures):
    bursts = list(burst_pdus(model, next(make_pictures(1, 600, 600))))
    assert len(bursts) > 2
    with bench(blocks.deepjscc_decoder(model), "out") as b:
        b.post(bursts[1])
        b.post(bursts[1])
        b.post(Pdu.end())
        out = pdus_of(b.messages("out", 2))
        b.count("repeated or too late")
        b.count("bursts missing", len(bursts) - 1)
    assert out[0].meta[keys.BURSTS_RECEIVED] == 1 and out[1].is_end


def test_decoder_counts_other_models_and_goes_on(bench, model, other_model, make_pictures):
    picture = next(make_pictures(1))
    good = next(burst_pdus(model, picture))
    with bench(blocks.deepjscc_decoder(model), "out") as b:
        b.post(next(burst_pdus(other_model, picture)))
        b.count("another model")
        b.post(
            good.with_meta(
                **{keys.HEIGHT: 4000, keys.WIDTH: 4000, keys.LATENT_COUNT: 2**22 - 1, keys.BURST_COUNT: 486}
            )
        )
        b.count("larger than the link profile's limits")
        b.post(good.with_meta(**{keys.HEIGHT: 33}))
        b.count("size does not fit the model")
        b.post(good.with_meta(**{keys.BURST_INDEX: 7}))
        b.count("burst 7 of 1 cannot be")
        b.post(good.with_meta(**{keys.KIND: 3}))
        b.count("kind 3 is unknown to this receiver")
        b.post(good.with_meta(**{keys.LATENT_COUNT: 2**30}))
        b.count("latent_count is 1073741824")
        b.post(good.with_meta(**{keys.SNR_DB: "much"}))
        b.count("'snr_db' is not a number")
        b.post(Pdu({k: v for k, v in good.meta.items() if k != keys.NOISE_VAR}, good.data))
        b.count("without 'noise_var'")
        b.post(Pdu(good.meta, good.data[:-1]))
        b.count("wrong length")
        b.post(good)
        b.messages("out", 1)


# -- sink ------------------------------------------------------------------------------------------


def test_sink_writes_keeps_calls_and_acknowledges(bench, make_pictures, tmp_path):
    from semcom.kinds.pictures import read_picture

    seen = []
    block = blocks.image_sink(str(tmp_path / "out"), keep=2, callback=lambda meta, pixels: seen.append(meta))
    pictures = list(make_pictures(3, 9, 7))
    with bench(block, "done") as b:
        for i, picture in enumerate(pictures):
            b.post(picture_pdu(picture, i, **{keys.BURSTS_RECEIVED: 1}))
        b.post(Pdu.end())
        done = [bridge.from_dict(m) for m in b.messages("done", 3)]
        assert block.ended.wait(5)
        b.post(Pdu({}, np.zeros(3, np.uint8)))
        b.count("without 'height'")
    assert [d[keys.IMAGE_ID] for d in done] == [0, 1, 2] and done[0][keys.BURSTS_RECEIVED] == 1
    assert len(block.pictures) == 2 and len(seen) == 3
    assert np.array_equal(read_picture(tmp_path / "out" / "00002.png").pixels, pictures[2].pixels)


def test_sink_goes_on_when_a_callback_fails(bench, make_pictures):
    def fail(meta, pixels):
        raise RuntimeError("callback")

    with bench(blocks.image_sink(callback=fail), "done") as b:
        for i, picture in enumerate(make_pictures(2)):
            b.post(picture_pdu(picture, i))
        b.messages("done", 2)
        b.count("RuntimeError: callback", 2)


def test_demodulator_reports_another_link_profile(bench, tmp_path):
    """A mismatch is said in words with both hashes, and the burst is used all the same: its sizes fit."""
    from semcom.radio import load_link

    (tmp_path / "ours.yaml").write_text("name: ours\n")
    (tmp_path / "theirs.yaml").write_text("name: theirs\n")
    ours, theirs = (load_link(tmp_path / f"{name}.yaml").hash for name in ("ours", "theirs"))
    latents = torch.randn(1, 130, dtype=torch.complex64)
    block = blocks.burst_demodulator(profile=str(tmp_path / "ours.yaml"))
    with bench(block, "out") as b:
        for sent in (theirs, ours, 0):
            samples = Modem().modulate(latents, image_id=[5], size=(20, 30), model_hash=7, link_hash=sent)[
                0, 0
            ]
            b.post(Pdu({keys.CFO: 0.0}, samples))
        out = pdus_of(b.messages("out", 3))
    assert [pdu.meta[keys.LINK_HASH] for pdu in out] == [theirs, ours, 0]
    reported = [reason for reason in block.counters if "but loaded here is" in reason]
    assert len(reported) == 2 and all(
        "give both stations the same link profile" in reason for reason in reported
    )
    assert any(
        f"with link profile {theirs:#05x}, but loaded here is link profile {ours:#05x}" in r for r in reported
    )


@pytest.mark.parametrize("loaded", [True, False])
def test_demodulator_suspects_the_profile_before_the_header(bench, tmp_path, loaded):
    """Sizes that cannot be by this station's profile are those of another; only within one profile are they wrong."""
    from semcom.radio import load_link

    (tmp_path / "ours.yaml").write_text("name: ours\n")
    (tmp_path / "theirs.yaml").write_text("name: theirs\nmodem: {max_payload_symbols: 20}\n")
    profiles = {name: load_link(tmp_path / f"{name}.yaml") for name in ("ours", "theirs")}
    ours = profiles["ours"].hash if loaded else 0
    here = f"link profile {ours:#05x}" if loaded else "no link profile"
    modem = Modem(ModemProfile(max_payload_symbols=20))
    latents = torch.randn(1, 9000, dtype=torch.complex64)
    block = blocks.burst_demodulator(profile=str(tmp_path / "ours.yaml") if loaded else "")
    with bench(block, "failed") as b:
        for sent in (profiles["theirs"].hash, ours):
            samples = modem.modulate(latents, image_id=[5], size=(64, 64), model_hash=7, link_hash=sent)
            b.post(Pdu({keys.CFO: 0.0}, samples[0, 0]))
        reported = [bridge.from_dict(m)[keys.ERROR] for m in b.messages("failed", 2)]
    theirs = profiles["theirs"].hash
    assert reported[0].startswith(
        f"bursts sent with link profile {theirs:#05x}, but loaded here is {here}: give both"
    )
    assert reported[1].startswith(
        "burst of a link whose bursts have up to 20 payload symbols; here they have 40"
    )
    assert all(block.counters[reason] == 1 for reason in reported)


@pytest.mark.parametrize("who", ["burst_modulator", "the air"])
def test_the_silence_behind_the_last_burst_is_enough_however_fast_it_comes(who):
    """A search comes with so many samples, or with the clock; what falls silent must not wait for the clock."""
    silence = blocks.burst_modulator()._flush_samples if who == "burst_modulator" else FLUSH_SAMPLES
    modem = Modem()
    bursts = modem.modulate(
        torch.ones(1, 256, dtype=torch.complex64), image_id=[1], size=(32, 32), model_hash=1
    )
    detector = StreamDetector(modem)
    found = detector.push(torch.cat([torch.zeros(600), bursts[0, 0]]))
    for piece in torch.zeros(silence).split(8192):
        found += detector.push(piece)
    assert len(found) == 1
