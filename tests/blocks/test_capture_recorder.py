# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorder block beside a receive chain: all bursts, with what was made of them, and never in the way."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("gnuradio")

import torch  # noqa: E402
from radio_bench import Bench, make_recorder, wait_until  # noqa: E402

from semcom import blocks, capture, keys  # noqa: E402
from semcom.blocks.pdu import Pdu  # noqa: E402
from semcom.capture import writer as writer_module  # noqa: E402
from semcom.errors import ConfigError, OutputError  # noqa: E402
from semcom.kinds.pictures import samples  # noqa: E402
from semcom.modem import Modem  # noqa: E402
from semcom.radio import load_link  # noqa: E402
from semcom.system import zoo  # noqa: E402

MODEL = "cifar-1-12"


def burst(offset, count=500):
    items = (
        np.random.default_rng(offset).standard_normal((count, 2)).astype(np.float32).view(np.complex64)[:, 0]
    )
    return Pdu({keys.SAMPLE_OFFSET: offset, keys.CFO: 1 / 3e3, keys.SYNC_QUALITY: 0.75}, items)


def reading(offset, **changes):
    meta = {
        keys.SAMPLE_OFFSET: offset,
        keys.CFO: 1 / 2.9e3,
        keys.IMAGE_ID: 7,
        keys.BURST_INDEX: 0,
        keys.BURST_COUNT: 1,
        keys.HEIGHT: 32,
        keys.WIDTH: 32,
        keys.LATENT_COUNT: 256,
        keys.MODEL_HASH: 9,
        keys.LINK_HASH: 5,
        keys.SNR_DB: 8.25,
        keys.SNR_STDERR_DB: 0.5,
        keys.BATCH_START: offset,
        keys.BATCH: np.array([0, 600], np.int32),
    }
    return Pdu({**meta, **changes}, np.full(256, 1j, np.complex64))


class Feeding(Bench):
    """A bench for a block without outputs. GNU Radio keeps no Python block alive: this keeps its feeder."""

    def __init__(self, block):
        from gnuradio import gr

        self.block, self.recorders, self.feeder = block, {}, make_recorder()
        self.top = gr.top_block("bench", catch_exceptions=True)
        self.top.msg_connect((self.feeder, "out"), (block, "in"))


def bench_of(folder, **options):
    return Feeding(blocks.capture_recorder(str(folder), min_free_bytes=0, **options))


def bursts_in(folder):
    recordings, problems = capture.read_recordings(folder)
    assert not problems and all(r.state == "closed" and r.checksum_fits() for r in recordings)
    return [found for recording in recordings for found in recording.bursts]


def test_a_burst_and_its_reading_become_one_annotation(tmp_path):
    with bench_of(tmp_path, sample_rate_hz=2e6, hardware="bench") as bench:
        bench.post(burst(1000), "bursts")
        bench.post(reading(1000))
        bench.count("bursts recorded")
    (found,) = bursts_in(tmp_path)
    assert np.array_equal(found.samples(), burst(1000).data)
    note = found.note
    assert (note.cfo, note.cfo_refined, note.sync_quality) == (1 / 3e3, 1 / 2.9e3, 0.75)
    assert (note.image_id, note.model_hash, note.link_hash, note.snr_db) == (7, 9, 5, 8.25)
    assert note.batch == (0, 600) and note.batch_start == 1000 and note.error is None
    assert found.recording.sample_rate_hz == 2e6 and found.recording.global_info["core:hw"] == "bench"


def test_bursts_that_nobody_could_read_say_why(tmp_path):
    with bench_of(tmp_path, wait_s=0.3) as bench:
        bench.post(burst(0), "bursts")
        bench.post(burst(1000), "bursts")
        bench.post(Pdu({keys.SAMPLE_OFFSET: 1000, keys.ERROR: "header failed its CRC"}, None), "failed")
        bench.count("bursts recorded that could not be read", 2, timeout=5)
        bench.post(burst(2000), "bursts")
        wait_until(lambda: bench.block._joiner._waiting, 5, lambda: "the third burst")
    assert [found.note.error for found in bursts_in(tmp_path)] == [
        "no header or estimate came within 0.3 s",
        "header failed its CRC",
        "the recording ended before it was read",
    ]


def test_a_reading_that_comes_late_is_recorded(tmp_path):
    with bench_of(tmp_path, wait_s=0.2) as bench:
        bench.post(burst(1000), "bursts")
        bench.count("bursts recorded that could not be read", timeout=5)
        bench.post(reading(1000))
        bench.count("readings that came late", timeout=5)
        assert bench.block.counters["bursts recorded that could not be read"] == 0
    (found,) = bursts_in(tmp_path)
    assert (found.note.image_id, found.note.snr_db, found.note.error) == (7, 8.25, None)


def test_messages_that_make_no_sense_are_counted_and_the_next_is_recorded(tmp_path):
    import pmt

    with bench_of(tmp_path) as bench:
        for port in ("in", "bursts", "failed"):
            bench.post(pmt.intern("rubbish"), port)
        bench.post(Pdu({}, np.zeros(3, np.complex64)), "bursts")
        bench.post(Pdu({keys.SAMPLE_OFFSET: 1, keys.CFO: 0.0}, np.zeros(3, np.float32)), "bursts")
        bench.post(Pdu({keys.SAMPLE_OFFSET: 1, keys.CFO: 0.0}, np.full(3, np.nan, np.complex64)), "bursts")
        bench.post(reading(5, **{keys.SNR_DB: "loud"}))
        bench.post(burst(5), "bursts")
        bench.post(reading(5))
        bench.count("bursts recorded")
        counters = dict(bench.block.counters)
    for words in (
        "not a PDU",
        "not a dictionary",
        "without 'sample_offset'",
        "NaN",
        "'snr_db' is not a number",
    ):
        assert any(words in reason for reason in counters), (words, counters)
    assert len(bursts_in(tmp_path)) == 1


def test_arguments_are_checked_before_anything_runs(tmp_path):
    with pytest.raises(ConfigError, match="max_file_bytes"):
        blocks.capture_recorder(str(tmp_path), max_file_bytes=3)
    with pytest.raises(ConfigError, match="sample_rate_hz"):
        blocks.capture_recorder(str(tmp_path), sample_rate_hz=0)
    with pytest.raises(ConfigError, match="link profile"):
        blocks.capture_recorder(str(tmp_path), link="no_such.yaml")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        blocks.capture_recorder(str(tmp_path / "file"))


def test_without_a_folder_nothing_is_recorded_and_that_is_counted():
    with Feeding(blocks.capture_recorder()) as bench:
        bench.post(burst(0), "bursts")
        bench.post(reading(0))
        bench.count("no folder")


# --- in a whole receiver ---------------------------------------------------------------------------------


def stream_of(pictures, link_hash=0):
    """Pictures on the air at 12 dB, one burst of which is noise after its preamble."""
    model, modem, generator = zoo.load(MODEL), Modem(), torch.Generator().manual_seed(1)
    pieces = []
    for number, pixels in enumerate(pictures):
        latents = model.encode_image(pixels, 12.0)[None]
        sent = modem.modulate(
            latents,
            image_id=[number],
            size=pixels.shape[:2],
            model_hash=model.model_hash,
            link_hash=link_hash,
        )
        for row in sent[0]:
            pieces += [torch.zeros(700, dtype=row.dtype), row.clone()]
    spoilt = pieces[5]
    spoilt[1700:] = torch.randn(len(spoilt) - 1700, generator=generator, dtype=spoilt.dtype)
    line = torch.cat([*pieces, torch.zeros(40_000, dtype=torch.complex64)])
    line = line + torch.randn(len(line), generator=generator, dtype=line.dtype) * 10 ** (-12 / 20)
    turns = 0.00123 * torch.arange(len(line), dtype=torch.float64)
    return (line * torch.polar(torch.ones_like(turns), 2 * torch.pi * turns).to(line.dtype)).numpy()


def receive(stream, folder, tmp_path, stop=True, **options):
    """Runs a receiver with a recorder over ``stream``, stopped after eight pictures or left to end; its blocks."""
    from gnuradio import blocks as gr_blocks
    from gnuradio import gr

    path = tmp_path / "stream.c64"
    stream.astype(np.complex64).tofile(path)
    top = gr.top_block("receiver", catch_exceptions=True)
    profile = options.pop("profile", "")
    chain = SimpleNamespace(
        detector=blocks.burst_detector(profile=profile, chunk_samples=40_000),
        demodulator=blocks.burst_demodulator(profile=profile, constellation_rate=0.0),
        estimator=blocks.pilot_snr_estimator(),
        decoder=blocks.deepjscc_decoder(MODEL, profile=profile),
        sink=blocks.image_sink(keep=100),
        recorder=blocks.capture_recorder(str(folder), **{"min_free_bytes": 0, **options}),
    )
    top.connect(gr_blocks.file_source(gr.sizeof_gr_complex, str(path), False), chain.detector)
    line = (chain.detector, chain.demodulator, chain.estimator, chain.decoder, chain.sink)
    for before, after in zip(line, line[1:], strict=False):
        top.msg_connect((before, "out"), (after, "in"))
    top.msg_connect((chain.detector, "out"), (chain.recorder, "bursts"))
    top.msg_connect((chain.estimator, "out"), (chain.recorder, "in"))
    top.msg_connect((chain.demodulator, "failed"), (chain.recorder, "failed"))
    top.start()
    wait_until(lambda: len(chain.sink.pictures) >= 8, 40, lambda: dict(chain.decoder.counters))
    if stop:
        top.stop()
    top.wait()
    top.stop()
    return chain


@pytest.fixture(scope="module")
def pictures():
    crops = [
        p.pixels[y : y + h, 40 : 40 + w]
        for p in samples()
        for y, h, w in ((0, 32, 32), (50, 48, 80), (90, 32, 32))
    ]
    return [np.ascontiguousarray(crop) for crop in crops[:10]]


@pytest.mark.timeout(90)
def test_a_receiver_recorded_and_replayed_gives_the_same_latents_and_pictures(pictures, tmp_path):
    profile = tmp_path / "link.yaml"
    profile.write_text(f"name: test\nmodel: {MODEL}\n")
    link = load_link(profile)
    chain = receive(
        stream_of(pictures, link.hash), tmp_path / "c", tmp_path, profile=str(profile), link=str(profile)
    )
    found = bursts_in(tmp_path / "c")
    assert len(found) == 10 == chain.recorder.counters["bursts recorded"]
    assert [f.note.sample_offset for f in found] == sorted(f.note.sample_offset for f in found)
    (unread,) = [f for f in found if f.note.error]
    assert unread.note.image_id is None and "header" in unread.note.error
    info = found[0].recording.global_info
    assert info["semcom:link_hash"] == link.hash == found[0].note.link_hash
    assert info["semcom:link"]["model"] == MODEL

    run = capture.replaying.Replay(tmp_path / "c")
    again = {p.header.image_id: p for p in run}
    assert run.latents_equal == run.latents_known == 9
    shown = {meta[keys.IMAGE_ID]: pixels for meta, pixels in chain.sink.pictures}
    assert len(shown) >= 8
    for image_id, pixels in shown.items():
        # the decoder's own batches round otherwise: a step of one in a byte, rarely
        assert np.abs(again[image_id].pixels.astype(int) - pixels).max() <= 1


@pytest.mark.timeout(90)
def test_when_the_disk_is_full_recording_stops_and_the_receiver_goes_on(pictures, tmp_path, monkeypatch):
    full = SimpleNamespace(f_bavail=0, f_frsize=4096)
    monkeypatch.setattr(
        writer_module.os,
        "statvfs",
        lambda path: full if os.listdir(path) else SimpleNamespace(f_bavail=2**20, f_frsize=4096),
    )
    chain = receive(stream_of(pictures), tmp_path / "c", tmp_path, min_free_bytes=2**20)
    assert len(chain.sink.pictures) >= 8
    assert "is full" in chain.recorder.writer.stopped
    counters = chain.recorder.counters
    assert counters["recording stopped"] == 1 and counters["bursts recorded"] == 1
    assert sum(n for reason, n in counters.items() if "not recorded" in reason) == 9
    assert len(bursts_in(tmp_path / "c")) == 1


@pytest.mark.timeout(90)
def test_a_stream_that_ends_ends_the_recorder_too_and_nothing_is_lost(pictures, tmp_path):
    """GNU Radio informs the recorder that the detector is done while estimates are still on their way."""
    chain = receive(
        stream_of(pictures), tmp_path / "c", tmp_path, stop=False, wait_s=0.5, max_file_bytes=2**18
    )
    found = bursts_in(tmp_path / "c")
    assert (
        len(found) == chain.detector.counters["bursts found"] and len({f.recording.name for f in found}) > 1
    )
    read = chain.estimator.counters["sent to 'out'"] - 1  # without the word that nothing follows
    assert sum(f.note.snr_db is not None for f in found) == read
