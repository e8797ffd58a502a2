# SPDX-License-Identifier: GPL-3.0-or-later
"""The receiver block against the three single blocks: the same stream, the same messages and counters."""

import sys

import numpy as np
import pmt
import pytest
import torch
from gnuradio import blocks as gr_blocks
from gnuradio import gr
from radio_bench import make_recorder, wait_until

from semcom import blocks, keys
from semcom.blocks import pdu as bridge
from semcom.blocks.burst_detector import SAMPLES_FILLED
from semcom.errors import ConfigError
from semcom.modem import DetectedBurst, Modem, StreamDetector
from semcom.modem.apart import ApartError, ModemApart
from semcom.security.keyfile import ENVIRONMENT, make_key

PORTS = ("out", "bursts", "failed", "constellation", "snr", "history")
RATE, LOST = 1e6, 700
TIMES = {keys.DETECTED_S, keys.DEMODULATED_S, keys.ESTIMATED_S, keys.TIMESTAMP_S}
# which bursts are demodulated together depends on the clock, and on it the last bits of all that is computed
TOGETHER = {keys.BATCH, keys.BATCH_START}


def tag_of(offset, key, value):
    tag = gr.tag_t()
    tag.offset, tag.key, tag.value = offset, pmt.intern(key), value
    return tag


def time_of(seconds):
    return pmt.make_tuple(pmt.from_uint64(1_700_000_000), pmt.from_double(seconds))


def on_air(count=8, latents=500, seed=2):
    """Bursts at 20 dB with pauses: samples ``[n]``, where they begin, what they carry."""
    generator = torch.Generator().manual_seed(seed)
    payload = torch.randn(count, latents, dtype=torch.complex64, generator=generator)
    bursts = Modem().modulate(payload, image_id=range(count), size=(20, 25), model_hash=77).flatten(0, 1)
    line = torch.nn.functional.pad(torch.nn.functional.pad(bursts, (600, 0)).flatten(), (0, 600))
    line = line + 0.1 * torch.randn(line.shape, dtype=line.dtype, generator=generator)
    return line.numpy(), 600 + (600 + bursts.shape[1]) * np.arange(count), payload


def eventful():
    """A stream with all that can happen to one: NaN, a header that nobody reads, an overflow of ``LOST`` samples in a
    burst, tags that say nothing, an end in the middle, and another at the end."""
    samples, starts, _ = on_air()
    samples[200:210] = np.nan
    profile = Modem().profile
    header = starts[1] + profile.preamble_samples
    gone = np.arange(len(samples) - header) < profile.header_samples
    samples[header:] = np.where(gone, 0.1 + 0j, samples[header:])
    at = int(starts[3]) + 3000
    samples = np.concatenate([samples[:at], samples[at + LOST :], np.zeros(1000, np.complex64)])
    middle = int(starts[5]) - LOST - 100
    tags = [
        tag_of(0, keys.TAG_RX_TIME, time_of(0.25)),
        tag_of(0, keys.TAG_RX_RATE, pmt.from_double(RATE)),
        tag_of(at, keys.TAG_RX_TIME, time_of(0.25 + (at + LOST) / RATE)),
        tag_of(at + 5, keys.TAG_RX_TIME, pmt.intern("soon")),
        tag_of(middle, keys.TAG_END, pmt.PMT_T),
        tag_of(len(samples) - 1, keys.TAG_END, pmt.PMT_T),
    ]
    return samples, tags


def single_blocks(**options):
    detector = {key: options[key] for key in options.keys() & {"chunk_samples", "invert_spectrum"}}
    chain = [blocks.burst_detector(**detector), blocks.burst_demodulator(), blocks.pilot_snr_estimator()]
    return chain, dict(zip(PORTS, (chain[2], chain[0], chain[1], chain[1], chain[2], chain[2]), strict=True))


def one_block(**options):
    block = blocks.receiver(**options)
    return [block], dict.fromkeys(PORTS, block)


def run(make, samples, tags, ends=1, **options):
    """A stream through a chain: PDUs by port, dictionaries alone as Python's, and the chain."""
    chain, by = make(**options)
    top, recorders = gr.top_block("test", catch_exceptions=True), {port: make_recorder() for port in PORTS}
    source = gr_blocks.vector_source_c(samples.tolist(), False, 1, tags)
    top.connect(source, chain[0])
    for one, other in zip(chain, chain[1:], strict=False):
        top.msg_connect((one, "out"), (other, "in"))
    for port, block in by.items():
        name = "out" if port == "bursts" and len(chain) > 1 else port
        top.msg_connect((block, name), (recorders[port], "in"))
    top.start()

    def ended():
        got = [message for message in recorders["out"].got if pmt.is_pair(message)]
        return sum(bridge.from_message(message).is_end for message in got) >= ends

    wait_until(ended, 30, lambda: str([dict(block.counters) for block in chain]))
    top.stop()
    top.wait()
    got = {
        port: [
            bridge.from_dict(message) if port in ("failed", "snr") else bridge.from_message(message)
            for message in recorder.got
        ]
        for port, recorder in recorders.items()
    }
    return got, chain


def counters_of(chain):
    """Of all blocks, without what passes between them and how often a plot was drawn."""
    total = {}
    for block in chain:
        for reason, number in block.counters.items():
            if not reason.startswith("sent to") and number:
                total[reason] = total.get(reason, 0) + number
    return total


@pytest.fixture(scope="module")
def both():
    samples, tags = eventful()
    return {make: run(make, samples, tags, ends=2) for make in (single_blocks, one_block)}


def test_what_leaves_is_what_leaves_the_three(both):
    wanted, got = both[single_blocks][0], both[one_block][0]
    assert len(wanted["out"]) == 7 + 2 and len(wanted["bursts"]) == 8 + 2  # with the ends
    assert [p.is_end for p in got["out"]] == [p.is_end for p in wanted["out"]]
    for one, other in zip(got["bursts"], wanted["bursts"], strict=True):
        assert set(one.meta) == set(other.meta)
        if not other.is_end:
            assert one.meta[keys.SAMPLE_OFFSET] == other.meta[keys.SAMPLE_OFFSET]
            # where chunks begin depends on the clock, and on them what tones are looked for
            assert one.meta[keys.CFO] == pytest.approx(other.meta[keys.CFO], abs=1e-6)
            assert np.allclose(one.data, other.data, atol=1e-4) and len(one.data) == len(other.data)
    for one, other in zip(got["out"], wanted["out"], strict=True):
        assert set(one.meta) == set(other.meta)
        for key, value in other.meta.items():
            if key in (keys.NOISE_VAR, keys.PILOTS_RX, keys.PILOTS_REF):
                kind = np.float32 if key == keys.NOISE_VAR else np.complex64
                assert np.allclose(one.vector(kind, key), other.vector(kind, key), rtol=0.05, atol=1e-3), key
            elif key not in TIMES | TOGETHER:
                assert one.meta[key] == pytest.approx(value, abs=1e-3), key
        assert np.allclose(one.data, other.data, atol=1e-3)
    assert len(got["failed"]) == len(wanted["failed"]) == 1 and got["failed"] == wanted["failed"]
    for one, other in zip(got["snr"], wanted["snr"], strict=True):
        assert set(one) == set(other) and one[keys.SNR_DB] == pytest.approx(other[keys.SNR_DB], abs=1e-2)
    assert np.allclose(got["history"][-1].data, wanted["history"][-1].data, atol=1e-2)
    assert got["constellation"] and len(got["constellation"][0].data) == len(wanted["constellation"][0].data)


def test_what_is_counted_is_what_the_three_count(both):
    assert counters_of(both[one_block][1]) == counters_of(both[single_blocks][1])
    counters = both[one_block][1][0].counters
    assert counters["bursts read"] == 7 and counters[SAMPLES_FILLED] == LOST
    assert counters["sent to 'out'"] == 7 + 2 and counters["sent to 'bursts'"] == 8 + 2


def test_latents_are_those_of_the_batch_that_is_noted(both):
    """What recordings rely on: the samples and the batch of the messages give the same latents to the last bit."""
    got = both[one_block][0]
    there = {p.meta[keys.SAMPLE_OFFSET]: p for p in got["bursts"] if not p.is_end}
    modem = Modem()
    for pdu in got["out"]:
        if pdu.is_end:
            continue
        offsets = pdu.meta[keys.BATCH_START] + pdu.vector(np.int32, keys.BATCH)
        batch = [
            DetectedBurst(torch.from_numpy(there[at].data.copy()), int(at), there[at].meta[keys.CFO], 1.0)
            for at in offsets.tolist()
        ]
        at = offsets.tolist().index(pdu.meta[keys.SAMPLE_OFFSET])
        with torch.inference_mode():
            assert np.array_equal(modem.demodulate(batch)[at].latents.numpy(), pdu.data)


@pytest.mark.parametrize("chunk", [512, 5000])
def test_bursts_are_those_of_the_library(chunk):
    samples, starts, payload = on_air()
    library = StreamDetector(Modem())
    wanted = library.push(samples) + library.flush()
    end = [tag_of(len(samples) - 1, keys.TAG_END, pmt.PMT_T)]
    got, chain = run(one_block, samples, end, chunk_samples=chunk, batch=3)
    assert [p.meta[keys.SAMPLE_OFFSET] for p in got["bursts"][:-1]] == [w.sample_offset for w in wanted]
    assert [p.meta[keys.IMAGE_ID] for p in got["out"][:-1]] == list(range(8))
    assert max(len(p.vector(np.int32, keys.BATCH)) for p in got["out"][:-1]) <= 3
    assert all(p.meta[keys.SNR_DB] == pytest.approx(20, abs=1) for p in got["out"][:-1])


def test_of_a_fast_stream_many_bursts_are_demodulated_together_and_none_is_kept(monkeypatch):
    """The end of a stream need not be marked: after the silence that every transmitter sends, all is out."""
    for name in ("burst_detector", "receiver"):
        # the package shows the classes of these names
        monkeypatch.setattr(sys.modules[f"semcom.blocks.{name}"], "_PATIENCE_S", 1e9)
    samples, _, _ = on_air(60)
    block, out = blocks.receiver(chunk_samples=20_000), []
    monkeypatch.setattr(block, "publish", lambda port, pdu: out.append((port, pdu)))
    stream = np.concatenate([samples, np.zeros(40_000, np.complex64)])
    with torch.inference_mode():
        for start in range(0, len(stream), 4096):
            block._use(block._search.take(stream[start : start + 4096], start, []))
    sizes = [pmt.length(pdu.meta[keys.BATCH]) for port, pdu in out if port == "out"]
    assert len(sizes) == 60 and 16 <= max(sizes) <= 32 and np.mean(sizes) > 10


def test_a_stream_that_just_stops_ends_here_and_starts_anew():
    """No word of an end, twice: the last burst, cut short, comes out, and then the word; the next run counts on."""
    samples, starts, _ = on_air(4)
    samples = samples[: starts[3] + 2900]
    block, recorder = blocks.receiver(), make_recorder()
    top = gr.top_block("test", catch_exceptions=True)
    source = gr_blocks.vector_source_c(samples.tolist())
    top.connect(source, block)
    sink = blocks.capture_recorder("")  # as every block of ours, it waits for those before it
    top.msg_connect((block, "out"), (sink, "in"))
    top.msg_connect((block, "bursts"), (recorder, "in"))
    for times in (1, 2):
        source.rewind()
        top.run()
        assert block.counters["bursts found"] == 4 * times == block.counters["sent to 'bursts'"] - times
        assert block.counters["bursts read"] == 4 * times
        assert block.counters["sent to 'out'"] == 5 * times


def test_one_bad_burst_takes_no_other_with_it(monkeypatch):
    samples, _, _ = on_air(4)
    demodulate = Modem.demodulate

    def fails(self, bursts):
        if any(burst.sample_offset < 1000 for burst in bursts):
            raise RuntimeError("not this one")
        return demodulate(self, bursts)

    monkeypatch.setattr(Modem, "demodulate", fails)
    end = [tag_of(len(samples) - 1, keys.TAG_END, pmt.PMT_T)]
    got, (block,) = run(one_block, samples, end)
    assert [p.meta[keys.IMAGE_ID] for p in got["out"][:-1]] == [1, 2, 3]
    assert block.counters["RuntimeError: not this one"] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"chunk_samples": 0},
        {"batch": 0},
        {"threads": 0},
        {"history": 1},
        {"constellation_points": 0},
        {"constellation_rate": -1.0},
        {"invert_spectrum": "yes"},
        {"processes": 3},
    ],
)
def test_arguments_are_refused_in_words(wrong):
    with pytest.raises(ConfigError, match=f"receiver: {next(iter(wrong))} must be"):
        blocks.receiver(**wrong)


@pytest.mark.slow
def test_a_process_of_its_own_changes_nothing(both):
    """But for what depends on the clock, as between the blocks above."""
    samples, tags = eventful()
    got, (block,) = run(one_block, samples, tags, ends=2, processes=2)
    wanted, (other,) = both[one_block]
    assert [p.is_end for p in got["out"]] == [p.is_end for p in wanted["out"]]
    for one, two in zip(got["out"], wanted["out"], strict=True):
        assert set(one.meta) == set(two.meta)
        if not one.is_end:
            assert one.meta[keys.SAMPLE_OFFSET] == two.meta[keys.SAMPLE_OFFSET]
            assert one.meta[keys.SNR_DB] == pytest.approx(two.meta[keys.SNR_DB], abs=0.01)
            assert np.allclose(one.vector(np.complex64), two.vector(np.complex64), atol=1e-3)
    assert got["failed"] == wanted["failed"] and counters_of([block]) == counters_of([other])
    assert block._apart is None


@pytest.mark.slow
def test_a_process_that_dies_loses_no_burst(monkeypatch):
    samples, _, _ = on_air(count=6)
    end = [tag_of(len(samples) - 1, keys.TAG_END, pmt.PMT_T)]
    hand_over, dead = ModemApart.hand_over, []

    def once(self, bursts):
        if not dead:
            dead.append(hand_over(self, bursts))
            self._process.kill()
            self._process.wait()
            # what it had made by then, too
            monkeypatch.setattr(ModemApart, "take", gone)
        return hand_over(self, bursts)

    def gone(self, wait):
        raise ApartError("the process that demodulates has ended")

    monkeypatch.setattr(ModemApart, "hand_over", once)
    got, (block,) = run(one_block, samples, end, processes=2, batch=2)
    assert dead == [True] and [p.meta[keys.IMAGE_ID] for p in got["out"][:-1]] == list(range(6))
    assert any("demodulated here from now on" in reason for reason in block.counters)


def test_a_link_with_a_key_has_one_process(tmp_path, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "keys"))
    make_key("alice")
    with pytest.raises(ConfigError, match="processes must be 1 on a link with a key"):
        blocks.receiver(key="alice", processes=2)
    with pytest.raises(ConfigError, match="processes must be 1 on a link with a key"):
        blocks.receiver(eavesdrop=True, processes=2)
